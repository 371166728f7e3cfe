"""Lines go in, one immutable object per call; every line of every writer comes out. An object store cannot append.

An object is there whole or not at all, so that a line is kept exactly when `append` returned. No two writers ever share an object's name.
When a writer has put many small objects it puts one that holds them all, and only then removes them: a reader meets a line at least
once, and twice where it reads while objects are merged.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

from vibe_assets.storage.objects import AT_ONCE, filesystem, worded
from vibe_assets.storage.place import Url

SUFFIX = ".jsonl"
MERGE = 32  # objects of one level that become one of the next
LARGE_BYTES = 64 * 1024 * 1024  # what is as large is not merged any more
ROUNDS = 50


class ObjectLog:
    """The objects below `folder`; this writer's own lie in a folder of its name. Threads may share it."""

    def __init__(self, folder: Url, writer: str) -> None:
        self.folder = folder
        self.mine = folder / quote(writer, safe="")
        self._lock = threading.Lock()
        self._levels: dict[int, dict[str, int]] | None = None  # level -> this writer's objects that may be merged, with their bytes
        self._newest = 0

    # -- reading -------------------------------------------------------------------------------------------------------
    def lines(self) -> Iterator[bytes]:
        """Lines of every object that ends with .jsonl, however deep. Raises OSError."""
        seen: set[str] = set()
        for _ in range(ROUNDS):
            fresh = [(name, size) for name, size in self._names(self.folder).items() if name not in seen]
            seen.update(name for name, _ in fresh)
            missed = False
            for at in range(0, len(fresh), AT_ONCE):
                for data in self._read(fresh[at : at + AT_ONCE]):
                    missed = missed or data is None
                    yield from (data or b"").splitlines(keepends=True)
            if not missed:
                return
        raise OSError(f"{self.folder}: its objects were replaced {ROUNDS} times while it was read; read it again when fewer write")

    def _names(self, folder: Url) -> dict[str, int]:
        """Names ('bucket/key') below a folder with their bytes, sorted; none where there is nothing."""
        with worded(folder.scheme, str(folder)):
            system = filesystem(folder.scheme)
            found = system.find(f"{folder.bucket}/{folder.key}" if folder.key else folder.bucket, detail=True)
            if not found and not system.exists(folder.bucket):
                raise FileNotFoundError(f"there is no bucket {folder.bucket!r}")
        return {name: int(found[name]["size"] or 0) for name in sorted(found) if name.endswith(SUFFIX)}

    def _read(self, listed: Iterable[tuple[str, int]]) -> list[bytes | None]:
        """Bytes of each object (name, bytes), which never change; None for one that was merged since it was listed."""

        def read(one: tuple[str, int]) -> bytes | None:
            name, size = one
            try:
                with worded(self.folder.scheme, f"{self.folder.scheme}://{name}"):
                    return bytes(filesystem(self.folder.scheme).cat_file(name, start=0, end=size)) if size else b""
            except FileNotFoundError:
                return None

        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="vibe-log") as pool:
            return list(pool.map(read, listed))

    # -- writing -------------------------------------------------------------------------------------------------------
    def append(self, lines: Iterable[bytes]) -> None:
        """Keep the lines, each with its newline: when this returns, the store has them. Raises OSError: it may have them or not."""
        data = b"".join(lines)
        if not data:
            return
        with self._lock:
            if self._levels is None:
                self._levels = self._known()
            self._levels.setdefault(0, {})[self._put(0, data)] = len(data)
            self._merge_full()

    def close(self) -> None:
        """Leave one object of what this writer put since it last merged."""
        with self._lock:
            if self._levels is not None and len(self._levels.get(0, ())) > 1:
                self._merge(0)
            self._levels = None

    def _known(self) -> dict[int, dict[str, int]]:
        """What earlier processes of the same name left. One that still writes may merge the same objects: both then hold their lines."""
        levels: dict[int, dict[str, int]] = {}
        for name, size in self._names(self.mine).items():
            level = name.removesuffix(SUFFIX).rpartition(".")[2]
            if level.isdecimal():
                levels.setdefault(int(level), {})[name] = size
        return levels

    def _put(self, level: int, data: bytes) -> str:
        """A merged object's name comes after those of its parts: a listing that missed the parts has yet to come to it."""
        self._newest = max(time.time_ns(), self._newest + 1)
        name = f"{self.mine.bucket}/{self.mine.key}/{self._newest:020d}-{secrets.token_hex(8)}.{level}{SUFFIX}"
        with worded(self.mine.scheme, f"{self.mine.scheme}://{name}"):
            filesystem(self.mine.scheme).pipe_file(name, data)
        return name

    def _merge_full(self) -> None:
        """Merge from the lowest level up. A merge that fails costs nothing: its parts are still there, and the next one takes them."""
        levels = self._levels or {}
        level = 0
        while len(levels.get(level, ())) >= MERGE:
            if not self._merge(level):
                return
            level += 1

    def _merge(self, level: int) -> bool:
        assert self._levels is not None
        parts = self._levels[level]
        if sum(parts.values()) > LARGE_BYTES:
            self._levels[level] = {}  # large enough as they are
            return False
        names = sorted(parts)
        try:
            found = self._read((name, parts[name]) for name in names)
            read = {name: data for name, data in zip(names, found, strict=True) if data is not None}
            if read:
                self._newest = max(self._newest, *map(_stamp, read))
                data = b"".join(read.values())
                self._levels.setdefault(level + 1, {})[self._put(level + 1, data)] = len(data)
            self._levels[level] = {}
            with worded(self.mine.scheme, str(self.mine)):
                for name in read:
                    filesystem(self.mine.scheme).rm_file(name)
        except OSError:
            return False
        return True


def _stamp(name: str) -> int:
    head = name.rpartition("/")[2].partition("-")[0]
    return int(head) if head.isdecimal() else 0
