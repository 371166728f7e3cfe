"""A number of folders of rendered photos goes in; the share of the time that the whole lineage spends outside of domain code comes out.

    python benchmarks/lineage.py [--folders 100] [--photos 20]

The real daemon, with the settings that we ship, builds everything from an empty lake: the folder sensor finds the folders, the conditions
ask for runs, and every run is a process. The teacher is a replay server that takes 0.3 s for an answer. `inside`: wall-clock time in which
at least one run was inside an asset or a check, by the steps' own events; the rest is Dagster's: looking, ticking, queueing, starting and
ending runs. People answer the sample at once when it is drawn. It ends with the last event, not when the daemon has found out that nothing
more is wanted.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

import dagster as dg
from installation import HOME, opened
from measure import Bench, Figures, parser
from tqdm import tqdm

from vibe_assets.demo.render import render_library, simulate_audit
from vibe_assets.operate.ui import DAEMON
from vibe_assets.stages.platform import Platform
from vibe_assets.stages.truth import accept_audited, sample_file
from vibe_assets.teacher.replay import ReplayFaults, ReplayTeacher, running_replay

SEED, LATENCY_S, QUIET_S = 7, 0.3, 75.0  # longer than any sensor's pause
SETTINGS = """\
[library]
root = "photos"
home = "data"

[audit]
sample_size = 100

[gates]
min_teacher_agreement = 0.5
max_calibration_error = 1.0
"""
INSIDE = {dg.DagsterEventType.STEP_START: 1, dg.DagsterEventType.STEP_SUCCESS: -1, dg.DagsterEventType.STEP_FAILURE: -1}
WHOLE = {dg.DagsterEventType.RUN_START: 1, dg.DagsterEventType.RUN_SUCCESS: -1, dg.DagsterEventType.RUN_FAILURE: -1}


def write_installation(home: Path, folders: int, photos: int) -> None:
    """Rendered photos, dealt out to folders of the same size."""
    rendered = home / "rendered"
    render_library(rendered, seed=SEED, photos=folders * photos, progress=True)
    for at, photo in enumerate(sorted(path for path in (rendered / "photos").rglob("*") if path.is_file())):
        shelf = home / "photos" / f"{at % folders:03d}"
        shelf.mkdir(parents=True, exist_ok=True)
        shutil.copy2(photo, shelf / f"{at:06d}{photo.suffix}")
    (home / "vibe.toml").write_text(SETTINGS, encoding="utf-8")
    (home / "dagster_home").mkdir()
    shutil.copy(HOME, home / "dagster_home")


def build(home: Path, folders: int) -> Figures:
    """Start the daemon and wait until nothing has happened for a while."""
    answers = {"": home / "rendered" / "teacher_answers.jsonl"}
    replay = ReplayTeacher(answers, home / "rendered" / "photos")
    replay.faults = ReplayFaults(latency_s=LATENCY_S)
    with running_replay(replay) as url, opened(home, QWEN_BASE_URL=url, QWEN_API_KEY="none") as instance:
        with (home / "daemon.log").open("wb") as log:
            began = time.time()
            daemon = subprocess.Popen(DAEMON, stdout=log, stderr=log, start_new_session=True)
            try:
                _wait(home, instance, daemon, folders)
            finally:
                daemon.terminate()
                daemon.wait(60)
        return spent(instance, began)


def audit(home: Path) -> None:
    """What people would say of the sample."""
    truth = [json.loads(line) for line in (home / "rendered" / "truth.jsonl").read_text(encoding="utf-8").splitlines()]
    platform, file = Platform.open(progress=False), home / "people.json"
    file.write_text(json.dumps(simulate_audit(sample_file(platform), truth, seed=SEED)), encoding="utf-8")
    accept_audited(platform, file)


def _wait(home: Path, instance: dg.DagsterInstance, daemon: subprocess.Popen[bytes], folders: int) -> None:
    """Until drift_report, which comes last, and then silence."""
    heard, last = -1, time.monotonic()
    with tqdm(total=4 * folders, desc="materialised folders", unit="") as bar:
        while time.monotonic() - last < QUIET_S or _unfinished(instance):
            if daemon.poll() is not None:
                sys.exit(f"the daemon ended with {daemon.returncode}")
            now = instance.event_log_storage.get_maximum_record_id() or 0
            heard, last = now, last if now == heard else time.monotonic()
            if not (home / "people.json").exists() and instance.get_latest_materialization_event(dg.AssetKey("audit_sample")):
                audit(home)
            done = sum(
                len(instance.get_materialized_partitions(dg.AssetKey(name)))
                for name in ("raw_photos", "annotations", "image_embeddings", "predictions")
            )
            bar.update(done - bar.n)
            time.sleep(5)  # each look costs as much as a small run
    if not instance.get_latest_materialization_event(dg.AssetKey("drift_report")):
        failed = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE]))
        sys.exit(f"the lineage was not built to its end; failed runs: {[sorted(run.asset_selection or ()) for run in failed]}")


def _unfinished(instance: dg.DagsterInstance) -> int:
    unfinished = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED]
    return instance.get_runs_count(dg.RunsFilter(statuses=unfinished))


def spent(instance: dg.DagsterInstance, began: float) -> Figures:
    """How the time from `began` to the last event divides."""
    steps: list[tuple[float, int]] = []
    runs: list[tuple[float, int]] = []
    by_asset: dict[str, float] = defaultdict(float)
    made: Counter[str] = Counter()
    for run in instance.get_runs():
        for entry in instance.all_logs(run.run_id, of_type={*INSIDE, *WHOLE}):
            assert entry.dagster_event is not None
            kind, at = entry.dagster_event.event_type, entry.timestamp
            steps += [(at, INSIDE[kind])] if kind in INSIDE else []
            runs += [(at, WHOLE[kind])] if kind in WHOLE else []
            if kind in INSIDE:
                by_asset[str(entry.step_key)] -= INSIDE[kind] * at
                made[str(entry.step_key)] += INSIDE[kind] == 1
    for name, took in sorted(by_asset.items(), key=lambda item: -item[1])[:12]:
        print(f"  {name}: {took:.1f} s in {made[name]} steps")
    whole = max(at for at, _ in runs) - began
    inside, running = covered(steps), covered(runs)
    return {"s": whole, "inside s": inside, "a run was under way s": running, "runs": len(runs) / 2,
            "beyond domain code": 1 - inside / whole, "of that without any run": (whole - running) / whole}  # fmt: skip


def covered(edges: Iterable[tuple[float, int]]) -> float:
    """Length of the union of intervals, given as (time, +1 where one opens or -1 where one closes)."""
    total, depth, since = 0.0, 0, 0.0
    for at, step in sorted(edges):
        if depth == 0:
            since = at
        depth += step
        if depth == 0:
            total += at - since
    return total


def main() -> None:
    wanted = parser(__doc__, runs=1)
    wanted.add_argument("--folders", type=int, default=100)
    wanted.add_argument("--photos", type=int, default=20, help="in every folder")
    options = wanted.parse_args()
    bench = Bench("lineage", options, seed=SEED, packages=("dagster", "polars", "deltalake", "torch"))
    for turn in range(options.runs):
        with tempfile.TemporaryDirectory(prefix="vibe-bench-") as folder:
            write_installation(Path(folder), options.folders, options.photos)
            figures = build(Path(folder), options.folders)
            bench.turns({"whole lineage": lambda figures=figures: figures}, runs=1)  # type: ignore[misc]
        print(f"turn {turn + 1} of {options.runs} done")
    bench.ratios["share_beyond_domain_code"] = round(bench.median("whole lineage", "beyond domain code"), 3)
    bench.work = {"folders": options.folders, "photos in each": options.photos, "teacher latency s": LATENCY_S}
    bench.write()


if __name__ == "__main__":
    main()
