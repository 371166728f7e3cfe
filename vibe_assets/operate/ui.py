"""The Dagster UI and daemon of this installation, served on loopback behind the guard."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from vibe_assets.operate.follow import following, label_file
from vibe_assets.operate.instance import open_instance, working
from vibe_assets.settings import load_settings
from vibe_assets.web.guard import Application, Guard
from vibe_assets.web.headers import with_defaults
from vibe_assets.web.pages import ReportPages
from vibe_assets.web.serve import answered_hosts, ensure_free, in_address

if TYPE_CHECKING:
    from dagster._core.workspace.context import WorkspaceProcessContext
    from dagster._core.workspace.load_target import WorkspaceLoadTarget

DEFINITIONS = "vibe_assets.definitions"
AGAIN_S = 3.0  # between two looks at the daemon
ENDED_S, RENEWED_S = 20.0, 90.0  # that it has to end: the threads of a daemon finish what they are at, launches among it
DAEMON = (sys.executable, "-m", "vibe_assets.operate.daemon", "run", "--log-level", "warning", "-m", DEFINITIONS)


@contextmanager
def running_daemon(workspace: Path | None = None) -> Iterator[Callable[[], None]]:
    """The Dagster daemon as a child process, started again when it is gone; ended at the end of the block.

    What it gives starts the daemon anew: it ends in order first, and the runs that it started go on.
    """
    command = DAEMON if workspace is None else (*DAEMON[:-2], "-w", str(workspace))
    over, anew = threading.Event(), threading.Event()
    watch = threading.Thread(target=_keep_running, args=(command, over, anew), name="keeps the daemon running")
    watch.start()
    try:
        yield anew.set
    finally:
        over.set()
        watch.join()


def _keep_running(command: Sequence[str], over: threading.Event, anew: threading.Event) -> None:
    process: subprocess.Popen[bytes] | None = None
    while not over.is_set():
        if process is not None and anew.is_set():
            _end(process, RENEWED_S)
            process = None
        if process is None or process.poll() is not None:
            if process is not None:
                print(f"the Dagster daemon ended with status {process.returncode}: it is started again", flush=True)  # noqa: T201
            anew.clear()
            process = subprocess.Popen(command)  # noqa: S603
        over.wait(AGAIN_S)
    if process is not None:
        _end(process, ENDED_S)


def _end(process: subprocess.Popen[bytes], patience_s: float) -> None:
    """Ask it to end in order, which it does between two launches; kill it when it does not."""
    process.terminate()
    try:
        process.wait(patience_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def serve(
    *,
    host: str = "127.0.0.1",
    port: int = 3000,
    daemon: bool = True,
    read_only: bool = False,
    workspace: Path | None = None,
    served_as: Sequence[str] = (),
) -> None:
    """Serve until interrupted or terminated, then end the daemon too. Raises ServeError when the port is taken, InstanceError when the
    Dagster instance is another library's or somebody lets its graph move already.

    `workspace` names code location servers to use instead of one of our own; `served_as` the HOST[:PORT] that people reach an
    authenticating proxy in front of us by.
    """
    import uvicorn
    from dagster._core.nux import set_nux_seen
    from dagster._core.workspace.context import WorkspaceProcessContext
    from dagster_webserver.app import create_app_from_workspace_process_context

    hosts = answered_hosts(host, port, served_as)
    ensure_free(host, port)
    settings = load_settings()
    set_nux_seen()  # otherwise the first page asks for an e-mail address
    with ExitStack() as stack:
        stack.enter_context(_ended_in_order())
        instance = stack.enter_context(open_instance(settings))
        labels, renew_daemon = stack.enter_context(label_file()), None
        if daemon:
            stack.enter_context(working(settings, "`vibe ui`"))
            stack.callback(instance.wipe_daemon_heartbeats)  # the daemon that ended in order is not taken for a living one
            renew_daemon = stack.enter_context(running_daemon(workspace))
        context = stack.enter_context(WorkspaceProcessContext(instance, _target(workspace), read_only=read_only))
        stack.enter_context(following(labels, lambda: _load_anew(context, renew_daemon)))
        guarded = guarded_app(create_app_from_workspace_process_context(context), settings.reports_dir, hosts)
        print(f"Dagster UI on http://{in_address(host)}:{port} (Ctrl-C ends it)", flush=True)  # noqa: T201
        uvicorn.run(guarded, host=host, port=port, log_level="warning")


def _load_anew(context: WorkspaceProcessContext, renew_daemon: Callable[[], None] | None) -> None:
    """Code location and daemon, after the questions changed. A code server of others is asked to load its code anew."""
    if renew_daemon is not None:
        renew_daemon()
    for name in context.create_request_context().code_location_names:
        context.reload_code_location(name)


def _target(workspace: Path | None) -> WorkspaceLoadTarget:
    from dagster._core.workspace.load_target import ModuleTarget, WorkspaceFileTarget

    if workspace is not None:
        return WorkspaceFileTarget([str(workspace)])
    return ModuleTarget(module_name=DEFINITIONS, attribute=None, working_directory=str(Path.cwd()), location_name=None)


def guarded_app(app: Application, reports: Path, hosts: Iterable[str]) -> Application:
    """The Dagster UI with the reports folder below /reports/, both behind the guard."""
    return with_defaults(Guard(ReportPages(app, reports), hosts))


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """SIGTERM unwinds like Ctrl-C does; by default it would end this process on the spot and leave the daemon behind."""

    def leave(*_: object) -> None:
        raise SystemExit(0)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    except KeyboardInterrupt:
        print("ended", flush=True)  # noqa: T201
    finally:
        signal.signal(signal.SIGTERM, before)
