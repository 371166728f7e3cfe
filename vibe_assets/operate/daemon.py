"""The Dagster daemon as `vibe ui` starts it: it ends when its parent does, however that ended, so that two never work on one instance."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

LOOK_S = 1.0


def end_with(parent: int) -> None:
    """Ask this process to end in order, once its parent is another than `parent`."""
    while os.getppid() == parent:
        time.sleep(LOOK_S)
    os.kill(os.getpid(), signal.SIGTERM)


def main(arguments: list[str]) -> None:
    """Run the daemon with the arguments of `dagster-daemon`."""
    threading.Thread(target=end_with, args=(os.getppid(),), name="watches the parent", daemon=True).start()

    from dagster import DagsterInstance
    from dagster._daemon.cli import main as run

    from vibe_assets.operate.launcher import end_lost_starts

    with DagsterInstance.get() as instance:
        end_lost_starts(instance)
    sys.argv = ["dagster-daemon", *arguments]
    try:
        run()
    except SystemExit as end:
        if end.code not in (0, None):
            raise
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)  # its threads have ended in order; the interpreter's own end would wait for every run that was started, and these go on


if __name__ == "__main__":
    main(sys.argv[1:])
