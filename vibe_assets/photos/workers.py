"""Paths go in, one measured record per path comes out, whatever the files do to the process that decodes them.

Decoders are C code fed with files from anywhere: each photo is measured in a worker with a memory cap and a limit of computing time (a
busy machine is not the photo's fault), and a worker that hangs, runs out of memory or crashes costs that one photo. Workers outlive the
folder they were started for: the next folder of the same process finds them warm.
"""

# ruff: noqa: PTH123 -- paths are bytes here, and pathlib takes text only
from __future__ import annotations

import atexit
import hashlib
import io
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import TimeoutError as FutureTimeout
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any

from vibe_assets.photos.decode import PhotoRejected, open_photo, read_photo
from vibe_assets.photos.quality import MEASURE_PX, at_measuring_size, measure, perceptual_hash
from vibe_assets.storage import is_url

if TYPE_CHECKING:
    from pebble import ProcessFuture, ProcessPool

    from vibe_assets.settings import LibrarySettings  # for types only: every worker would pay for the import

FREE_MEMORY = 256 * 1024 * 1024  # for the interpreter's own needs on top of what one photo may take
BYTES_PER_PIXEL = 16  # worst case seen: decoded RGBA, white background, result and one scaled copy
FETCH_S = 60.0  # for an object to arrive, on top of what decoding may take
BY_THE_CLOCK = 10  # times decode_timeout_s: a decoder that waits computes nothing, but may not wait for ever
AHEAD = 4  # photos per worker that wait in the pipe; the pool walks over all that wait several times a second
FEW = 4  # workers that are started for however few photos, so that the next folder need not start anew


def memory_cap(settings: LibrarySettings) -> int:
    """Bytes that one worker may take on top of what it has after its imports."""
    return FREE_MEMORY + BYTES_PER_PIXEL * settings.max_pixels + 2 * settings.max_bytes


def measure_photo(path: bytes, max_pixels: int, max_bytes: int) -> dict[str, Any]:
    """Identity and measures of one file as RAW_PHOTOS columns; a rejected file keeps its image_id where its bytes were read."""
    try:
        data = read_photo(path, max_bytes=max_bytes)
    except PhotoRejected as rejected:
        return {"reason": rejected.reason, "detail": rejected.detail}
    identity = {"image_id": hashlib.sha256(data).hexdigest()[:32]}
    try:
        photo = open_photo(io.BytesIO(data), max_pixels=max_pixels, max_bytes=max_bytes, draft_px=MEASURE_PX)
        small = at_measuring_size(photo.image)
        return identity | {
            "format": photo.format, "width": photo.width, "height": photo.height, "frames": photo.frames, "stored_share": photo.stored,
            **vars(photo.exif), **vars(measure(small)), "phash": perceptual_hash(small),
        }  # fmt: skip
    except PhotoRejected as rejected:
        width, height = rejected.size or (None, None)
        return identity | {"width": width, "height": height, "reason": rejected.reason, "detail": rejected.detail}
    except MemoryError:
        return identity | {"reason": "out_of_memory", "detail": "not enough memory to measure it"}


def identify(path: bytes, max_pixels: int, max_bytes: int) -> dict[str, Any]:
    """The image_id alone, for a file that no decoder survives."""
    return {"image_id": hashlib.sha256(read_photo(path, max_bytes=max_bytes)).hexdigest()[:32]}


def measure_photos(paths: Sequence[bytes], *, settings: LibrarySettings) -> Iterator[dict[str, Any]]:
    """Yield one record per path, in order. Raises nothing for what a file does."""
    if not paths:
        return
    with _warm_workers(min(settings.scan_workers, max(len(paths), FEW)), settings) as workers:
        for path, record in workers.each(measure_photo, paths):
            if record.get("image_id") is None and record["reason"] in ("decoder_crashed", "decode_timeout", "out_of_memory"):
                _, again = next(workers.each(identify, [path]))
                record = record | {"image_id": again.get("image_id")}
            yield record


class _Workers:
    """A pool of capped processes that is built anew should it break as a whole."""

    def __init__(self, count: int, settings: LibrarySettings) -> None:
        self.count, self.settings, self.home = count, settings, os.getpid()
        self.pool: ProcessPool | None = None

    def suit(self, count: int, settings: LibrarySettings) -> bool:
        """Whether they are enough and may take as much memory as `settings` say; a forked child does not own its parent's."""
        return self.home == os.getpid() and self.count >= count and memory_cap(self.settings) == memory_cap(settings)

    def _start(self) -> ProcessPool:
        from pebble import ProcessPool

        if self.pool is None:
            context = _context()
            self.pool = ProcessPool(max_workers=self.count, context=context, initializer=_confine, initargs=[memory_cap(self.settings)])
        return self.pool

    def stop(self) -> None:
        if self.pool is not None and self.home == os.getpid():
            self.pool.stop()
            self.pool.join()
        self.pool = None

    def each(self, function: Callable[..., dict[str, Any]], paths: Sequence[bytes]) -> Iterator[tuple[bytes, dict[str, Any]]]:
        """Records in the order of `paths`, with a bounded number in flight."""
        running: deque[tuple[bytes, ProcessFuture]] = deque()
        for path in paths:
            running.append((path, self._submit(function, path)))
            if len(running) > self.count * AHEAD:
                first, future = running.popleft()
                yield first, self._settled(function, first, future)
        while running:
            first, future = running.popleft()
            yield first, self._settled(function, first, future)

    def _submit(self, function: Callable[..., dict[str, Any]], path: bytes) -> ProcessFuture:
        settings = self.settings
        arguments = (settings.decode_timeout_s, function, path, settings.max_pixels, settings.max_bytes)
        try:
            return self._start().schedule(_computing_at_most, args=arguments, timeout=_clock_s(path, settings))
        except RuntimeError:  # the pool broke since the last call
            self.stop()
            return self._start().schedule(_computing_at_most, args=arguments, timeout=_clock_s(path, settings))

    def _settled(self, function: Callable[..., dict[str, Any]], path: bytes, future: ProcessFuture) -> dict[str, Any]:
        record = _outcome(future, path, self.settings)
        if record is None:  # went down with the pool; it may not be this photo's doing, so it gets one more chance
            self.stop()
            record = _outcome(self._submit(function, path), path, self.settings)
        return record or {"reason": "decoder_crashed", "detail": "the worker processes ended twice while it was decoded"}


_idle: list[_Workers] = []  # those of this process that wait for the next folder
_idle_lock = threading.Lock()


@contextmanager
def _warm_workers(count: int, settings: LibrarySettings) -> Iterator[_Workers]:
    """Idle workers that suit, or new ones; kept for the next caller unless the block was left early, with photos still in flight."""
    with _idle_lock:
        workers = _idle.pop() if _idle else None
    if workers is not None and not workers.suit(count, settings):
        workers.stop()
        workers = None
    workers = workers or _Workers(count, settings)
    workers.settings = settings
    try:
        yield workers
    except BaseException:
        workers.stop()
        raise
    with _idle_lock:
        _idle.append(workers)


@atexit.register
def stop_idle_workers() -> None:
    """End the processes that wait for another folder; the interpreter would wait for them."""
    with _idle_lock:
        waiting, _idle[:] = list(_idle), []
    for workers in waiting:
        workers.stop()


def _context() -> Any:
    """Where workers come from: a server process that has their imports, so that each starts within milliseconds."""
    if sys.platform == "win32":
        return multiprocessing.get_context("spawn")
    context = _ForkServer()
    context.set_forkserver_preload([__name__, "imagehash", "scipy.fftpack", "pi_heif"])
    return context


if sys.platform != "win32":
    from multiprocessing.context import ForkServerContext, ForkServerProcess

    class _WorkerProcess(ForkServerProcess):
        @staticmethod
        def _Popen(process_obj: Any) -> Any:
            with _no_main_module():
                return ForkServerProcess._Popen(process_obj)

    class _ForkServer(ForkServerContext):
        Process = _WorkerProcess


@contextmanager
def _no_main_module() -> Iterator[None]:
    """Hide the program's main module: every worker would run it again, and the main script of a command imports half the platform."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _computing_at_most(limit_s: float, function: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """Call it; the system ends this process with SIGPROF, in the midst of C code too, once the call took `limit_s` of CPU time."""
    if not hasattr(signal, "setitimer"):  # Windows: the clock alone
        return function(*arguments)
    signal.setitimer(signal.ITIMER_PROF, limit_s)
    try:
        return function(*arguments)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _clock_s(path: bytes, settings: LibrarySettings) -> float:
    return BY_THE_CLOCK * settings.decode_timeout_s + (FETCH_S if is_url(path) else 0)


def _outcome(future: ProcessFuture, path: bytes, settings: LibrarySettings) -> dict[str, Any] | None:
    """The record, a record with the reason, or None when the whole pool broke."""
    from pebble import ProcessExpired

    try:
        return future.result()
    except FutureTimeout:
        return {"reason": "decode_timeout", "detail": f"not decoded within {_clock_s(path, settings):g} s, computing or waiting"}
    except BrokenProcessPool:
        return None
    except ProcessExpired as error:
        if _exit_name(error.exitcode) == "SIGPROF":
            detail = f"not decoded within {settings.decode_timeout_s:g} s of computing (library.decode_timeout_s)"
            return {"reason": "decode_timeout", "detail": detail}
        return {"reason": "decoder_crashed", "detail": f"the decoder ended with {_exit_name(error.exitcode)}"}
    except MemoryError:
        return {"reason": "out_of_memory", "detail": "not enough memory to decode it"}
    except PhotoRejected as rejected:
        return {"reason": rejected.reason, "detail": rejected.detail}


def _exit_name(code: int) -> str:
    try:
        return signal.Signals(-code).name if code < 0 else f"exit status {code}"
    except ValueError:
        return f"signal {-code}"


def _confine(extra: int) -> None:
    """Limit this worker's address space where the system can, let signals end it inside a decoder, and mute the decoders' chatter."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if hasattr(signal, "SIGPROF"):
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    try:
        import resource

        with open("/proc/self/statm", "rb") as statm:
            taken = int(statm.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        limit = taken + extra
        resource.setrlimit(resource.RLIMIT_AS, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
    except (ImportError, OSError, ValueError):  # no such limit on this system: the time limit and the pixel cap remain
        return
