"""Runs in processes forked from a warm server: real runs, killed, cancelled and cold where the server does not fit."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.reconstruct import ReconstructableJob, ReconstructableRepository
from dagster._core.launcher import LaunchRunContext, WorkerStatus
from dagster._core.storage.dagster_run import DagsterRunStatus
from PIL import Image

from tests.e2e.processes import until
from vibe_assets.definitions import defs
from vibe_assets.defs.drive import report_outside_world
from vibe_assets.operate.launcher import PROCESS_TAG, WarmRunLauncher, end_lost_starts, started
from vibe_assets.stages.platform import Platform

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
SETTINGS = {"run_launcher": {"module": "vibe_assets.operate.launcher", "class": "WarmRunLauncher"}}


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """An instance that knows one folder with one photo."""
    (tmp_path / "photos" / "trip").mkdir(parents=True)
    Image.new("RGB", (40, 30), "teal").save(tmp_path / "photos" / "trip" / "one.png")
    (tmp_path / "vibe.toml").write_text('[library]\nroot = "photos"\nhome = "data"\nscan_workers = 1\n', encoding="utf-8")
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("VIBE_CONFIG", str(tmp_path / "vibe.toml"))
    with dg.DagsterInstance.local_temp(str(tmp_path / "home"), overrides=SETTINGS) as instance:
        report_outside_world(Platform.open(), instance)
        yield instance


def starting(instance: dg.DagsterInstance, **tags: str) -> dg.DagsterRun:
    """A run of the only folder, as the queue hands it to the launcher."""
    job = ReconstructableRepository.for_module("vibe_assets.definitions", "defs").get_reconstructable_job("__ASSET_JOB")
    (key,) = instance.get_dynamic_partitions("photo_folders")
    return instance.create_run_for_job(
        defs.resolve_implicit_global_asset_job_def(),
        asset_selection=frozenset({dg.AssetKey("raw_photos")}),
        job_code_origin=job.get_python_origin(),
        status=DagsterRunStatus.STARTING,
        tags={"dagster/partition": key, **tags},
    )


def launched(instance: dg.DagsterInstance) -> dg.DagsterRun:
    """A run that was launched, after its end."""
    run = starting(instance)
    instance.run_launcher.launch_run(LaunchRunContext(run, workspace=None))
    ended = until(lambda: (now := instance.get_run_by_id(run.run_id)) and now.is_finished and now, seconds=200, what="the run's end")
    assert isinstance(ended, dg.DagsterRun)
    return ended


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    asked = partial(signal.signal, signal.SIGTERM, signal.SIG_DFL)  # a shell's background job may have left it ignored
    with subprocess.Popen(["sleep", "600"], preexec_fn=asked) as process:
        yield process
        process.kill()


def at_work(instance: dg.DagsterInstance, process: subprocess.Popen[bytes]) -> dg.DagsterRun:
    """A run that is at work in a given process."""
    where = {"host": socket.gethostname(), "pid": process.pid, "started": started(process.pid)}
    return starting(instance, **{PROCESS_TAG: json.dumps(where)})


def test_runs_end_well_one_after_the_other_each_in_a_process_of_its_own(instance: dg.DagsterInstance) -> None:
    runs = [launched(instance) for _ in range(2)]
    assert [run.status for run in runs] == [DagsterRunStatus.SUCCESS] * 2
    pids = {json.loads(run.tags[PROCESS_TAG])["pid"] for run in runs}
    assert len(pids - {os.getpid()}) == 2
    assert instance.get_latest_materialization_event(dg.AssetKey("raw_photos"))


def test_a_run_whose_job_is_not_there_is_marked_as_failed(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ReconstructableRepository, "get_reconstructable_job", lambda self, name: ReconstructableJob(self, "no such job"))
    run = launched(instance)
    assert run.status == DagsterRunStatus.FAILURE


def test_a_run_whose_process_was_killed_is_told_from_one_at_work(instance: dg.DagsterInstance, sleeper: subprocess.Popen[bytes]) -> None:
    run, health = at_work(instance, sleeper), instance.run_launcher.check_run_worker_health
    assert health(run).status == WorkerStatus.RUNNING
    sleeper.kill()
    sleeper.wait()
    assert health(run).status == WorkerStatus.NOT_FOUND


def test_another_process_with_the_same_id_is_not_taken_for_the_run(instance: dg.DagsterInstance, sleeper: subprocess.Popen[bytes]) -> None:
    where = {"host": socket.gethostname(), "pid": sleeper.pid, "started": (started(sleeper.pid) or 0) - 1}
    run = starting(instance, **{PROCESS_TAG: json.dumps(where)})
    assert instance.run_launcher.check_run_worker_health(run).status == WorkerStatus.NOT_FOUND
    assert instance.run_launcher.terminate(run.run_id)
    assert sleeper.poll() is None


def test_a_run_that_dagster_s_own_launcher_started_is_watched_too(instance: dg.DagsterInstance, sleeper: subprocess.Popen[bytes]) -> None:
    run, health = starting(instance), instance.run_launcher.check_run_worker_health
    assert health(run).status == WorkerStatus.RUNNING, "it has not begun"
    instance.report_engine_event(f"Started process for run (pid: {sleeper.pid}).", run)
    assert health(run).status == WorkerStatus.RUNNING
    sleeper.kill()
    sleeper.wait()
    assert health(run).status == WorkerStatus.NOT_FOUND


def test_a_run_that_a_daemon_was_about_to_start_when_it_ended_holds_nobody_up(
    instance: dg.DagsterInstance, sleeper: subprocess.Popen[bytes]
) -> None:
    began, lost = [at_work(instance, sleeper), starting(instance)], starting(instance)
    instance.report_engine_event(f"Started process for run (pid: {sleeper.pid}).", began[1])
    assert end_lost_starts(instance) == 1
    found = instance.get_run_by_id(lost.run_id)
    assert found is not None
    assert found.status == DagsterRunStatus.FAILURE
    assert {run.run_id for run in instance.get_runs(dg.RunsFilter(statuses=[DagsterRunStatus.STARTING]))} == {run.run_id for run in began}
    assert end_lost_starts(instance) == 0


def test_a_cancelled_run_is_asked_to_end(instance: dg.DagsterInstance, sleeper: subprocess.Popen[bytes]) -> None:
    run = at_work(instance, sleeper)
    assert instance.run_launcher.terminate(run.run_id)
    assert sleeper.wait(30) == -signal.SIGTERM
    assert instance.get_run_by_id(run.run_id).status == DagsterRunStatus.CANCELING  # type: ignore[union-attr]


def test_changed_code_is_not_run_by_a_server_that_knows_the_old_one(instance: dg.DagsterInstance) -> None:
    warm = instance.run_launcher
    assert isinstance(warm, WarmRunLauncher)
    warm._code = 1
    with pytest.raises(dg.DagsterInvariantViolationError, match="DefaultRunLauncher requires a workspace"):
        warm.launch_run(LaunchRunContext(starting(instance), workspace=None))
