"""Minutes and a seed go in: random operations, each in a process of its own that may be killed at any moment, held to the model.

    python tests/soak/soak.py --minutes 60 --seed 1

Prints a line for every tenth operation and a summary; ends with 1 at the first promise that was broken, leaving the folder to look at.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("OMP_NUM_THREADS", "1")

from tests.soak.model import FOLDERS, REFUSALS, TEACHERS, Installation, check, check_against_rebuild, do, installation  # noqa: E402

SERVER = """
import json, sys, traceback
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.soak.model import REFUSALS, do
import vibe_assets.encoders.handcrafted, vibe_assets.heads.train, vibe_assets.photos.workers, vibe_assets.teacher.client
if __name__ == "__main__":
    print("ready", flush=True)
    for line in sys.stdin:
        operation, arguments = json.loads(line)
        try:
            said = ["done", do(Path({config!r}), operation, **arguments)]
        except REFUSALS as refusal:
            said = ["declined", str(refusal)]
        except Exception:
            said = ["failed", traceback.format_exc()]
        print(json.dumps(said), flush=True)
"""
WEIGHTS = {
    "put": 14, "remove": 4, "remove_folder": 2, "copy": 3, "swap": 3, "look": 5, "scan": 8, "annotate": 10, "embed": 6, "group": 3,
    "convert": 5, "sample": 2, "judge": 10, "settle": 3, "train": 5, "deploy": 3, "predict": 4, "refresh": 6,
}  # fmt: skip
OUTSIDE = ("put", "remove", "remove_folder", "copy", "swap")  # done by people, not by processes of the product
KILL_SHARE = 0.35
REBUILD_EVERY = 40


def arguments_of(operation: str, rng: random.Random) -> dict[str, Any]:
    """Random arguments of one operation."""
    folder, name = rng.choice(FOLDERS), rng.choice("abcdefgh")
    return {
        "put": {"folder": folder, "name": name, "seed": rng.randrange(200)}, "remove": {"folder": folder, "name": name},
        "remove_folder": {"folder": folder}, "copy": {"folder": folder, "into": rng.choice(FOLDERS)},
        "swap": {"teacher": rng.choice(TEACHERS)},
        "judge": {"at": rng.randrange(50), "scene": rng.randrange(4), "done": rng.random() < 0.7},
        "train": {"kind": rng.choice(["scene", "attribute", "object"])},
        **{stage: {"at": rng.choice([None, rng.randrange(4)])} for stage in ("scan", "annotate", "embed", "predict")},
    }.get(operation, {})  # fmt: skip


class Worker:
    """A process that does one operation after the other until it is killed; the next one takes its place."""

    def __init__(self, made: Installation) -> None:
        self.made = made
        self.process: subprocess.Popen[str] | None = None

    def alive(self) -> subprocess.Popen[str]:
        if self.process is None:
            script = SERVER.format(root=str(ROOT), config=str(self.made.config))
            file = self.made.folder.parent / "worker.py"
            file.write_text(script)
            self.process = subprocess.Popen(
                [sys.executable, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                start_new_session=True,
            )  # fmt: skip
            assert self.process.stdout is not None
            assert self.process.stdout.readline() == "ready\n"
        return self.process

    def do(self, operation: str, arguments: dict[str, Any], kill_after_s: float | None) -> tuple[str, str]:
        """('done' | 'declined' | 'failed' | 'killed', what it said)."""
        process = self.alive()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps([operation, arguments]) + "\n")
        process.stdin.flush()
        if kill_after_s is not None:
            time.sleep(kill_after_s)
            self.kill()
        line = process.stdout.readline()
        if not line.endswith("\n"):
            return "killed", ""
        status, said = json.loads(line)
        return status, said

    def kill(self) -> None:
        """SIGKILL for the process and all it started."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


def soak(folder: Path, *, minutes: float, seed: int) -> Counter[str]:
    """Operate until the time is over; counts by operation and outcome. Raises AssertionError when a promise is broken."""
    rng, counts = random.Random(seed), Counter[str]()
    with installation(folder / "home", latency_s=0.02) as made:
        worker = Worker(made)
        try:
            for at in range(8):
                do(made.config, "put", folder=FOLDERS[at % 3], name="abcdefgh"[at], seed=at)
            end = time.monotonic() + 60 * minutes
            while time.monotonic() < end:
                step(made, worker, rng, counts)
                if counts["operations"] % 10 == 0:
                    print(f"{counts['operations']:5} operations, {made.kills} kills, {made.paid.total()} answers, "
                          f"{len(made.promised)} verdicts, {counts['rebuilds']} rebuilds", flush=True)  # fmt: skip
            check_against_rebuild(made, counts["operations"])
            counts["rebuilds"] += 1
        finally:
            worker.kill()
        twice = sum(count - 1 for count in made.paid.values())
        counts.update({"answers paid": made.paid.total(), "paid twice after kills": twice, "verdicts kept": len(made.promised)})
    return counts


def step(made: Installation, worker: Worker, rng: random.Random, counts: Counter[str]) -> None:
    """One operation, perhaps a kill, and the check."""
    operation = rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
    arguments = arguments_of(operation, rng)
    counts["operations"] += 1
    if operation in OUTSIDE:
        do(made.config, operation, **arguments)
        counts[f"{operation} done"] += 1
        return
    kill_after_s = rng.choice([0.01, 0.05, 0.2, 0.5, 1.5]) * rng.random() if rng.random() < KILL_SHARE else None
    worker.alive()
    status, said = worker.do(operation, arguments, kill_after_s)
    if kill_after_s is not None:
        made.kills += 1
        counts["kills"] += 1
    counts[f"{operation} {status}"] += 1
    assert status != "failed", f"{operation} {arguments}:\n{said}"
    if operation == "judge" and status == "done":
        made.promised.add(said)
    check(made)
    if counts["operations"] % REBUILD_EVERY == 0:
        check_against_rebuild(made, counts["operations"])
        counts["rebuilds"] += 1


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix=f"soak-{asked.seed}-"))
    print(f"seed {asked.seed}, {folder}", flush=True)
    try:
        counts = soak(folder, minutes=asked.minutes, seed=asked.seed)
    except (AssertionError, *REFUSALS) as broken:
        print(f"BROKEN with seed {asked.seed}, see {folder}:\n{type(broken).__name__}: {broken}", flush=True)
        raise
    print("\n".join(f"{name:32} {count:8}" for name, count in sorted(counts.items())))
    print(f"every promise was kept; seed {asked.seed}")
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
