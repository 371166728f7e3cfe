"""A number of folders goes in; what Dagster itself costs comes out: a look and a tick where nothing moved, and a run of one folder.

    python benchmarks/dagster_overhead.py [--full]

Every folder of the installation holds one tiny photo and counts as made and judged (see installation.py). `look` is the folder sensor,
`tick` what the daemon asks of the automation conditions, with its cursor read and written. A run embeds one folder of 2 MP photos and
judges it: `cold` starts an interpreter as Dagster's own launcher does, `warm` forks a server as `run_launcher` of dagster.yaml does. CPU
seconds decide: the machine is shared.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from multiprocessing import forkserver
from pathlib import Path

import dagster as dg
from dagster._core.definitions.reconstruct import ReconstructableRepository
from dagster._core.launcher import LaunchRunContext
from dagster._core.storage.dagster_run import DagsterRunStatus
from dagster._grpc.types import ExecuteRunArgs
from installation import install, opened, settle
from measure import Bench, Figures, Variant, parser, seconds
from pictures import TWO_MP, write_library

from vibe_assets.definitions import defs
from vibe_assets.defs.automation import folder_sensor
from vibe_assets.defs.drive import Driver, report_outside_world
from vibe_assets.operate.launcher import WarmRunLauncher
from vibe_assets.stages.platform import Platform

SIZES, PHOTOS = (100, 1_000, 10_000), (1, 10, 100)
STAGE = "image_embeddings"


# -- nothing moved -----------------------------------------------------------------------------------------------------
class Quiet:
    """An installation in which nothing moves, looked at as the daemon does."""

    def __init__(self, folder: Path, instance: dg.DagsterInstance) -> None:
        self.instance, self.cursor = instance, ""
        self.driver = Driver(instance, defs, progress=False)
        self.look()  # the first look learns where things are
        self.tick()

    def look(self) -> Figures:
        """The folder sensor; it must find nothing to report."""
        answers: list[object] = []
        context = dg.build_sensor_context(instance=self.instance, cursor=self.cursor, definitions=defs)
        wall, cpu = seconds(lambda: answers.append(folder_sensor(context)))
        (answer,) = answers
        if isinstance(answer, dg.SensorResult):
            assert not answer.asset_events, answer.asset_events[:3]
            self.cursor = answer.cursor or ""
        return {"s": wall, "cpu s": cpu}

    def tick(self) -> Figures:
        """A whole look at what is to be made; it must want nothing."""
        wanted: list[object] = []
        wall, cpu = seconds(lambda: wanted.extend(self.driver.wanted()))
        assert not wanted, wanted
        return {"s": wall, "cpu s": cpu, "runs": len(wanted)}


def nothing_moved(bench: Bench, count: int) -> None:
    with tempfile.TemporaryDirectory(prefix="vibe-bench-") as home:
        folder = install(Path(home), count)
        with opened(folder) as instance:
            settle(folder, instance)
            quiet = Quiet(folder, instance)
            bench.turns({f"look, {count}": quiet.look, f"tick, {count}": quiet.tick})


# -- one folder --------------------------------------------------------------------------------------------------------
def run_of(instance: dg.DagsterInstance, key: str) -> dg.DagsterRun:
    """A run as the queue hands it to a launcher."""
    job = ReconstructableRepository.for_module("vibe_assets.definitions", "defs").get_reconstructable_job("__ASSET_JOB")
    return instance.create_run_for_job(
        defs.resolve_implicit_global_asset_job_def(),
        asset_selection=frozenset({dg.AssetKey(STAGE)}),
        job_code_origin=job.get_python_origin(),
        status=DagsterRunStatus.STARTING,
        tags={"dagster/partition": key},
    )


def cold(instance: dg.DagsterInstance, key: str) -> Variant:
    """An interpreter for the run, which imports everything."""

    def work() -> Figures:
        run, before, at = run_of(instance, key), resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        origin = run.job_code_origin
        assert origin is not None
        told = dg.serialize_value(ExecuteRunArgs(job_origin=origin, run_id=run.run_id, instance_ref=instance.get_ref()))
        subprocess.run([sys.executable, "-m", "dagster", "api", "execute_run", told], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        well(instance, run)
        return {"s": time.perf_counter() - at, "cpu s": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime}

    return work


def warm(instance: dg.DagsterInstance, key: str) -> Variant:
    """A process forked from the server."""

    def spent() -> float:
        server = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
        fields = Path(f"/proc/{server}/stat").read_text(encoding="utf-8").rpartition(")")[2].split() if server else ["0"] * 20
        return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")  # its own time and that of the processes it buried

    def work() -> Figures:
        run, before, at = run_of(instance, key), spent(), time.perf_counter()
        launcher = instance.run_launcher
        assert isinstance(launcher, WarmRunLauncher)
        launcher.launch_run(LaunchRunContext(run, workspace=None))
        launcher._processes[-1].join()
        time.sleep(0.1)  # until the server has buried it
        well(instance, run)
        return {"s": time.perf_counter() - at - 0.1, "cpu s": spent() - before}

    return work


def well(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    ended = instance.get_run_by_id(run.run_id)
    assert ended is not None
    assert ended.status == DagsterRunStatus.SUCCESS, ended


def anew(folder: Path, work: Variant) -> Variant:
    """The work with nothing in the cache of embeddings."""

    def run() -> object:
        shutil.rmtree(folder / "data" / "cache", ignore_errors=True)
        return work()

    return run


def scanned_elsewhere(key: str) -> None:
    """Scan in another process: a process has one fork server, and the one that decodes photos would be it."""
    code = (
        "from vibe_assets.stages.library import scan_folder; from vibe_assets.stages.platform import Platform; "
        f"scan_folder(Platform.open(progress=False), {key!r})"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def one_folder(bench: Bench, photos: int) -> None:
    """A run of a folder of `photos`, started in two ways."""
    with tempfile.TemporaryDirectory(prefix="vibe-bench-") as home:
        folder = install(Path(home), 1, photos=0)
        write_library(next((folder / "photos").glob("*/*")), photos, TWO_MP)
        with opened(folder) as instance:
            platform = Platform.open(run_id="benchmark", progress=False)
            report_outside_world(platform, instance)
            (key,) = instance.get_dynamic_partitions("photo_folders")
            scanned_elsewhere(key)
            ways = {"cold": cold(instance, key), "warm": warm(instance, key)}
            bench.turns({f"{name}, {photos} photos": anew(folder, way) for name, way in ways.items()}, warm=True)
    bench.ratio(f"warm_start_vs_cold_cpu_{photos}", f"cold, {photos} photos", f"warm, {photos} photos", unit="cpu s")


def main() -> None:
    options = parser(__doc__, runs=3).parse_args()
    bench = Bench("dagster_overhead", options, seed=0, packages=("dagster", "polars", "deltalake", "torch"))
    for count in SIZES if options.full else SIZES[:-1]:
        nothing_moved(bench, count)
    for photos in PHOTOS if options.full else PHOTOS[:-1]:
        one_folder(bench, photos)
    bench.work = {"folders": list(SIZES), "photos": list(PHOTOS), "stage": STAGE}
    bench.write()


if __name__ == "__main__":
    main()
