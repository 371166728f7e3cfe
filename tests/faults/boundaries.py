"""A writer and a folder go in; copies of the folder come out, in each of which the writer was killed at another of its system calls.

A boundary is a system call that changes what is on disk below the folder: making, writing, syncing, renaming, linking or removing a
file. The writer runs in a process of its own under ptrace, so that the calls of native code (delta-rs, Arrow, DuckDB) count like those
of Python, and gets SIGKILL at the entry of the n-th of them: for every n, until it lives to its end. A seccomp filter stops it at these
calls only, so that imports stay as fast as ever. Linux on x86-64 and arm64.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import platform
import shutil
import signal
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

TRACEME, CONTINUE, SETOPTIONS, SYSCALL_INFO = 0, 7, 0x4200, 0x420E
OPTIONS = 2 | 4 | 8 | 0x80 | 0x100000  # forks, vforks and threads followed, stopped by the filter, killed with the tracer
AT_FILTER, WALL, O_CREAT = 7, 0x40000000, 0o100
NO_NEW_PRIVILEGES, SET_SECCOMP, FILTER = 38, 22, 2  # of prctl(2)
LOAD, IF_EQUAL, IF_ANY, RETURN = 0x20, 0x15, 0x45, 0x06  # of the filter's machine
STOP, GO_ON = 0x7FF00000, 0x7FFF0000
BY_DESCRIPTOR = {
    "x86_64": {1: "write", 18: "pwrite", 20: "writev", 296: "pwritev", 74: "fsync", 75: "fdatasync", 77: "ftruncate", 285: "fallocate"},
    "aarch64": {64: "write", 68: "pwrite", 66: "writev", 70: "pwritev", 82: "fsync", 83: "fdatasync", 46: "ftruncate", 47: "fallocate"},
}
BY_PATH = {  # number -> name and the places of the path arguments
    "x86_64": {
        82: ("rename", 0, 1), 264: ("rename", 1, 3), 316: ("rename", 1, 3), 86: ("link", 0, 1), 265: ("link", 1, 3), 83: ("mkdir", 0),
        258: ("mkdir", 1), 84: ("rmdir", 0), 87: ("unlink", 0), 263: ("unlink", 1), 76: ("truncate", 0), 2: ("open", 0), 257: ("open", 1),
    },
    "aarch64": {
        38: ("rename", 1, 3), 276: ("rename", 1, 3), 37: ("link", 1, 3), 34: ("mkdir", 1), 35: ("unlink", 1), 45: ("truncate", 0),
        56: ("open", 1),
    },
}  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """One copy of the folder after its writer ended."""

    folder: Path
    boundary: str  # the call that was never made, and its file; '' where the writer lived
    before: tuple[str, ...]  # the calls that were made
    said: tuple[str, ...]  # what the writer had acknowledged

    @property
    def killed(self) -> bool:
        return bool(self.boundary)


def kill_at_every_boundary(writer: Callable[..., None], base: Path, *, least: int = 3) -> list[Outcome]:
    """Outcomes in the order of the boundaries; the last one lived. `writer(folder, say)` must be a function of a module.

    Copies lie beside `base`. A writer with fewer than `least` boundaries fails the test: then they were not seen.
    """
    command = [sys.executable, "-m", __name__, f"{writer.__module__}:{writer.__name__}", str(base)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    if done.returncode == 77:
        pytest.skip(done.stdout.strip())
    assert done.returncode == 0, done.stderr
    outcomes = [
        Outcome(Path(line["folder"]), line["boundary"], tuple(line["before"]), tuple(line["said"]))
        for line in map(json.loads, done.stdout.splitlines())
    ]
    assert not outcomes[-1].killed
    assert len(outcomes) > least, outcomes
    return outcomes


def main() -> None:
    """Kill and print, once for every boundary."""
    module, _, function = sys.argv[1].partition(":")
    writer, base = getattr(importlib.import_module(module), function), Path(sys.argv[2])
    if sys.platform != "linux" or platform.machine() not in BY_PATH:
        refuse(f"no list of system calls for {sys.platform} on {platform.machine()}")
    killed = True
    while killed:
        number = len(list(base.parent.glob(f"{base.name}.*")))
        folder = base.with_name(f"{base.name}.{number:03d}")
        shutil.copytree(base, folder)
        boundary, before, said = run_until(number, writer, folder)
        print(json.dumps({"folder": str(folder), "boundary": boundary, "before": before, "said": said}), flush=True)
        killed = bool(boundary)


def run_until(number: int, writer: Callable[..., None], folder: Path) -> tuple[str, list[str], list[str]]:
    """Run the writer up to its `number`-th boundary: the boundary ('' when it ended before), those before it, what it had said."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        be_traced(writer, folder, writing)
    os.close(writing)
    os.waitpid(pid, 0)
    ptrace(SETOPTIONS, pid, OPTIONS)
    before: list[str] = []
    boundary, status = follow(pid, folder, before, number)
    with os.fdopen(reading) as pipe:
        said = pipe.read().split()
    if not boundary and status:
        raise SystemExit(f"the writer failed with status {status} (its error is above)")
    return boundary, before, said


def be_traced(writer: Callable[..., None], folder: Path, pipe: int) -> NoReturn:
    """The child: let the parent look at every system call, write, end."""
    try:
        ptrace(TRACEME, 0, 0)
        os.kill(os.getpid(), signal.SIGSTOP)
        stop_at_disk_calls()
        writer(folder, lambda text: os.write(pipe, f"{text}\n".encode()))
        os._exit(0)
    except BaseException:
        import traceback

        traceback.print_exc()
        os._exit(1)


def follow(pid: int, folder: Path, before: list[str], number: int) -> tuple[str, int]:
    """Let the process and its threads run from call to call; SIGKILL at boundary `number`. The boundary, and the exit status."""
    ptrace(CONTINUE, pid, 0)
    while True:
        tid, status = os.waitpid(-1, WALL)
        if os.WIFEXITED(status) or os.WIFSIGNALED(status):
            if tid == pid:
                return "", status
            continue
        if status >> 16 == AT_FILTER and (call := disk_call(tid, folder)) is not None:
            if len(before) == number:
                os.kill(pid, signal.SIGKILL)
                reap(pid)
                return call, 0
            before.append(call)
        passed_on = 0 if status >> 16 or os.WSTOPSIG(status) == signal.SIGSTOP else os.WSTOPSIG(status)  # a thread begins with SIGSTOP
        ptrace(CONTINUE, tid, passed_on)


def reap(pid: int) -> None:
    while True:
        tid, status = os.waitpid(-1, WALL)
        if tid == pid and (os.WIFEXITED(status) or os.WIFSIGNALED(status)):
            return


def disk_call(tid: int, folder: Path) -> str | None:
    """Name and file of the call that is about to be made, when it changes something below the folder."""
    info = ctypes.create_string_buffer(88)
    if ptrace(SYSCALL_INFO, tid, 88, ctypes.addressof(info)) <= 0:
        return None
    number, *arguments = (int.from_bytes(info.raw[at : at + 8], "little") for at in range(24, 80, 8))
    machine = platform.machine()
    if name := BY_DESCRIPTOR[machine].get(number):
        file = target(tid, arguments[0])
        return f"{name} {file.removeprefix(str(folder))}" if file.startswith(str(folder)) else None
    name, *places = BY_PATH[machine][number]
    paths = [text_at(tid, arguments[place]) for place in places]
    below = [path.removeprefix(str(folder)) for path in paths if path.startswith(str(folder))]
    return f"{name} {' '.join(below)}" if below else None


def target(tid: int, descriptor: int) -> str:
    try:
        return str(Path(f"/proc/{tid}/fd/{descriptor & 0xFFFFFFFF}").readlink())
    except OSError:
        return ""


def text_at(tid: int, address: int) -> str:
    """The zero-ended path at an address of the traced process; pages that are not there end it."""
    found = b""
    with Path(f"/proc/{tid}/mem").open("rb", buffering=0) as memory:
        while b"\0" not in found and len(found) < 4096:
            try:
                memory.seek(address + len(found))
                found += memory.read(256 - (address + len(found)) % 256)
            except OSError:
                break
    return found.partition(b"\0")[0].decode("utf-8", "replace")


def stop_at_disk_calls() -> None:
    """Install the filter: the calls of the lists stop this process and its threads to come, `open` only where it may make a file."""
    machine, program = platform.machine(), [(LOAD, 0, 0, 0)]
    for number, (name, place, *_) in BY_PATH[machine].items():
        if name == "open":
            flags = 16 + 8 * (place + 1)
            program += [(IF_EQUAL, 0, 4, number), (LOAD, 0, 0, flags), (IF_ANY, 0, 1, O_CREAT), (RETURN, 0, 0, STOP), (RETURN, 0, 0, GO_ON)]
    for number in [*BY_DESCRIPTOR[machine], *(number for number, (name, *_) in BY_PATH[machine].items() if name != "open")]:
        program += [(IF_EQUAL, 0, 1, number), (RETURN, 0, 0, STOP)]
    program.append((RETURN, 0, 0, GO_ON))
    packed = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
    header = ctypes.create_string_buffer(struct.pack("H6xQ", len(program), ctypes.addressof(packed)))
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in ((NO_NEW_PRIVILEGES, 1, 0, 0, 0), (SET_SECCOMP, FILTER, ctypes.addressof(header), 0, 0)):
        if libc.prctl(*map(ctypes.c_ulong, arguments)):
            raise OSError(ctypes.get_errno(), "no seccomp filter here")


def ptrace(request: int, pid: int, data: int, address: int | None = None) -> int:
    """ptrace(2); SYSCALL_INFO takes its size where others take an address."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes, libc.ptrace.restype = [ctypes.c_long] * 4, ctypes.c_long
    done = int(libc.ptrace(request, pid, *((data, address) if address is not None else (0, data))))
    if done < 0 and request in (TRACEME, SETOPTIONS):
        refuse(f"no ptrace here: {os.strerror(ctypes.get_errno())}")
    return done


def refuse(reason: str) -> NoReturn:
    os.write(1, f"{reason}\n".encode())
    os._exit(77)


if __name__ == "__main__":
    main()
