"""A run that the queue lets go comes in; a process that has its imports already comes out, where Dagster would start an interpreter.

Dagster starts one interpreter a run, and most of a small folder's run is spent importing. Here a server process imports once and is
forked for every run: a run still has a process of its own, and queue, pools, monitoring, retries and cancelling stay Dagster's.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import signal
import socket
import sys
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dagster import DagsterEventType, DagsterRunStatus, RunsFilter
from dagster._core.launcher import CheckRunHealthResult, DefaultRunLauncher, LaunchRunContext, WorkerStatus

from vibe_assets.errors import UserError
from vibe_assets.settings import load_settings
from vibe_assets.stages.platform import library_questions

if TYPE_CHECKING:
    from dagster import DagsterInstance, DagsterRun
    from dagster._core.instance import InstanceRef

PROCESS_TAG = ".dagster/vibe_process"  # with this prefix the UI does not show it
HELD_TAG = ".dagster/vibe_held_by"  # of a run inside a process that makes others too, as `vibe run` does
IMPORTED = "vibe_assets.operate.warm"  # what the server imports
PACKAGE = Path(__file__).parents[1]
BEGAN = re.compile(r"Started process for run \(pid: (\d+)\)")  # Dagster's own words
CLOCK_S = 2.0  # btime is in whole seconds


class WarmRunLauncher(DefaultRunLauncher):
    """Dagster's own launcher with a quicker start for runs of this platform. Others, and other systems than Linux, get Dagster's."""

    _code: object = None  # of the running server: when its code was written, and the heads that its graph has
    _processes: tuple[BaseProcess, ...] = ()

    def launch_run(self, context: LaunchRunContext) -> None:
        """Start the run; what fails in it is in its event log."""
        if not self._warm(context):
            super().launch_run(context)
            return
        run = context.dagster_run
        arguments = (run.run_id, self._instance.get_ref(), dict(os.environ))
        process = get_context("forkserver").Process(target=execute, args=arguments, name=f"run {run.run_id}")
        process.start()
        self._processes = (*(one for one in self._processes if one.is_alive()), process)  # is_alive() also buries the dead
        self._instance.add_run_tags(run.run_id, {PROCESS_TAG: _named(process.pid or 0)})
        self._run_ids.add(run.run_id)

    def _warm(self, context: LaunchRunContext) -> bool:
        """Whether the server can run it: its code is ours, and code and heads are as when it started (a daemon's restart makes it so)."""
        origin = context.job_code_origin
        pointer = origin.repository_origin.code_pointer if origin else None
        if sys.platform != "linux" or not str(getattr(pointer, "module", "")).startswith(f"{PACKAGE.name}."):
            return False
        code = max(file.stat().st_mtime_ns for file in PACKAGE.rglob("*.py")), _heads()
        if self._code is None:
            self._code = code
            get_context("forkserver").set_forkserver_preload([IMPORTED])
        return self._code == code

    def terminate(self, run_id: str) -> bool:
        """Ask the run to end; it is marked as cancelled when it did."""
        run = self._instance.get_run_by_id(run_id)
        where = _process_of(run)
        if run is None or run.is_finished or where is None:
            return bool(super().terminate(run_id))
        self._instance.report_run_canceling(run)
        if not _lives(where):
            self._instance.report_run_canceled(run, "its process had ended before")
            return True
        if where["host"] != socket.gethostname():
            return False
        os.kill(where["pid"], signal.SIGTERM)
        return True

    @property
    def supports_check_run_worker_health(self) -> bool:
        return sys.platform == "linux"

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Whether its process lives. A run that ended together with its daemon would otherwise hold its place in the pool for ever."""
        where = _process_of(run, HELD_TAG)
        if where is None:
            began = self._began(run)
            lost = began is not None and not _still_there(*began)
            return _not_found(began[0]) if began and lost else CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.RUNNING) if _lives(where) else _not_found(where["pid"])

    def never_began(self, run: DagsterRun) -> bool:
        """Whether a daemon ended between taking the run and giving it a process. To be asked only while no daemon starts runs."""
        return _process_of(run) is None and self._began(run) is None

    def _began(self, run: DagsterRun) -> tuple[int, float] | None:
        """Of a run that Dagster's own launcher started: the id of its process, and when that said so (seconds since 1970)."""
        for entry in reversed(self._instance.all_logs(run.run_id, of_type=DagsterEventType.ENGINE_EVENT)):
            if found := BEGAN.search(entry.user_message or entry.message):
                return int(found[1]), entry.timestamp
        return None


def _heads() -> tuple[str, ...] | None:
    """Of the label file; None where it cannot be read."""
    try:
        return library_questions(load_settings()).heads
    except UserError:
        return None


def end_lost_starts(instance: DagsterInstance) -> int:
    """Mark runs as failed that a daemon was about to start when it ended; how many. For whoever starts runs next, before the first.

    Dagster would wait for run_monitoring.start_timeout_seconds, and the pool with it.
    """
    launcher, lost = instance.run_launcher, 0
    if isinstance(launcher, WarmRunLauncher):
        for run in instance.get_runs(RunsFilter(statuses=[DagsterRunStatus.STARTING])):
            if launcher.never_began(run):
                instance.report_run_failed(run, "the daemon ended before it had given the run a process")
                lost += 1
    return lost


def held_here() -> dict[str, str]:
    """Tags of a run that this process makes itself; none where the system does not tell processes apart."""
    return {HELD_TAG: _named(os.getpid())} if sys.platform == "linux" else {}


def is_lost(instance: DagsterInstance, run: DagsterRun) -> bool:
    """Whether a run that counts as at work is not: the process that it was in has ended, and nobody has said so yet."""
    if where := _process_of(run, HELD_TAG):
        return not _lives(where)
    launcher = instance.run_launcher
    if not isinstance(launcher, WarmRunLauncher) or not launcher.supports_check_run_worker_health:
        return False
    return launcher.check_run_worker_health(run).status == WorkerStatus.NOT_FOUND


def execute(run_id: str, ref: InstanceRef, environment: dict[str, str]) -> None:
    """Body of the process: the run, as `dagster api execute_run` does it; the server's environment may be older than the run's."""
    from dagster import DagsterInstance
    from dagster._cli.api import _execute_run_command_body
    from dagster._utils.interrupts import capture_interrupts

    os.environ.clear()
    os.environ.update(environment)
    with capture_interrupts(), DagsterInstance.from_ref(ref) as instance:
        try:
            _execute_run_command_body(run_id, instance, lambda event: None, set_exit_code_on_failure=False)
        except BaseException as error:
            _report_failed(instance, run_id, error)
            raise
        finally:
            atexit._run_exitfuncs()  # a forked process leaves without them, and with them the workers that decode end


def _report_failed(instance: DagsterInstance, run_id: str, error: BaseException) -> None:
    run = instance.get_run_by_id(run_id)
    if run is not None and not run.is_finished:
        instance.report_run_failed(run, f"the run did not start: {type(error).__name__}: {error}")


def _not_found(pid: int) -> CheckRunHealthResult:
    return CheckRunHealthResult(WorkerStatus.NOT_FOUND, f"process {pid} has ended")


def _still_there(pid: int, seen: float) -> bool:
    """Whether the process that had this id at that moment is there, and not a later one."""
    ticks = started(pid)
    return ticks is not None and _booted() + ticks / os.sysconf("SC_CLK_TCK") <= seen + CLOCK_S


def _booted() -> float:
    """When the machine started, in seconds since 1970."""
    lines = Path("/proc/stat").read_text(encoding="utf-8").splitlines()
    return float(next(line for line in lines if line.startswith("btime")).split()[1])


def _named(pid: int) -> str:
    """A process, so that it can be told from a later one of the same id and from those of other machines."""
    return json.dumps({"host": socket.gethostname(), "pid": pid, "started": started(pid)})


def _process_of(run: DagsterRun | None, *others: str) -> dict[str, Any] | None:
    """Of a run that was given a process here; `others` are further tags that may name it."""
    tags = run.tags if run is not None else {}
    return next((json.loads(tags[name]) for name in (PROCESS_TAG, *others) if name in tags), None)


def _lives(where: dict[str, Any]) -> bool:
    """A process elsewhere counts as living: it cannot be asked from here."""
    return where["host"] != socket.gethostname() or (where["started"] is not None and started(where["pid"]) == where["started"])


def started(pid: int) -> int | None:
    """Start time of a process in clock ticks since boot, which tells it from a later one of the same id; None when it has ended."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if state in "ZX" else int(fields[18])
