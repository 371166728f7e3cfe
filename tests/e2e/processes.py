"""Real processes for tests: started in a session of their own, watched with deadlines, ended with everything they started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

Found = TypeVar("Found")
VIBE = (sys.executable, "-m", "vibe_assets.cli")


@dataclass
class Process:
    """A running program; its session id is its process id, so that its children can be told from everything else."""

    popen: subprocess.Popen[bytes]
    log: Path

    @property
    def said(self) -> str:
        """What it printed so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def family(self) -> list[int]:
        """Living processes of its session, itself included."""
        return [pid for pid, session in _sessions() if session == self.popen.pid]

    def interrupt(self) -> None:
        """Ctrl-C in its terminal."""
        os.kill(self.popen.pid, signal.SIGINT)

    def ended(self, *, seconds: float = 60.0) -> int:
        """Wait for its end; the exit status."""
        return self.popen.wait(seconds)


def until(look: Callable[[], Found], *, seconds: float, what: str, every: float = 0.25, process: Process | None = None) -> Found:
    """Ask until the answer is truthy, and return it. Fails after `seconds`, or when `process` ends before."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        said = f"\n--- it said ---\n{process.said[-6000:]}" if process else ""
        if process and process.popen.poll() is not None:
            raise AssertionError(f"waited for: {what}; the process ended with {process.popen.returncode}{said}")
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:.0f} s for: {what}{said}")
        time.sleep(every)
    return found


@contextmanager
def running(
    command: Sequence[str], log: Path, *, environment: Mapping[str, str] | None = None, cwd: Path | None = None
) -> Iterator[Process]:
    """Run a program for the length of the block; nothing of its session lives on after it."""
    with log.open("wb") as out:
        popen = subprocess.Popen(
            command,
            stdout=out,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            cwd=cwd,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
        )
    process = Process(popen, log)
    try:
        yield process
    finally:
        if popen.poll() is None:
            popen.terminate()
            try:
                popen.wait(20)
            except subprocess.TimeoutExpired:
                popen.kill()
                popen.wait()
        for pid in process.family():
            _kill(pid)


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _sessions() -> Iterator[tuple[int, int]]:
    """(process id, session id) of every living process; a zombie is not living."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, _parent, _group, session = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
            except (OSError, ValueError):
                continue
            if state not in "ZX":
                yield int(entry.name), int(session)
