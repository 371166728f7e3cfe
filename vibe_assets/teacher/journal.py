"""Annotation records go in one durable line at a time; what the folder's files know comes out by photo.

Answers are paid for: a line is written whole, synced before it counts as kept, and survives a kill, a power cut and a torn neighbour.
"""

from __future__ import annotations

import errno
import fcntl
import json
import math
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vibe_assets.storage import Place, Url
from vibe_assets.storage.disk import claim_room, still_named, to_disk
from vibe_assets.strangers import json_value
from vibe_assets.teacher.failures import TeacherError

if TYPE_CHECKING:
    from vibe_assets.storage.object_log import ObjectLog

_WRITER = re.compile(r"[^./\x00-\x1f][^/\x00-\x1f]{0,99}")
MOVES = 5  # times that a file may vanish under one append before it is refused
AHEAD_BYTES = 256 * 1024  # claimed beyond what is needed, so that not every answer asks the file system
TEXTS = ("teacher", "model", "reason", "detail", "at")
TOKENS = ("prompt_tokens", "completion_tokens")
MOST = 2**53  # tokens or seconds
Record = dict[str, Any]


class Journal:
    """Append-only JSONL of one teacher: `folder` holds one file per writer, readers see all of them.

    Not opened, and nothing created, before the first append. Safe to append to from several threads; a second process that
    writes under the same name is refused, under another name it is welcome. A file that is deleted or replaced while it is written to
    is made again, with all that this Journal kept in it.

    Where `folder` is an URL, every append is one object (see storage.object_log), a second process of the same name is welcome, too, and
    a record may be met twice by a reader.
    """

    def __init__(self, folder: Place, writer: str, *, reads: Callable[[Record], Record] | None = None) -> None:
        """`reads` takes a record for an answer, or raises ValueError; `read_answer` by default."""
        self.reads = reads or read_answer
        self._descriptor: int | None = None
        self._objects: ObjectLog | None = None
        self._lock = threading.Lock()
        self._start = self._claimed = 0  # offsets in the open file: where this Journal's lines begin, up to where room is claimed
        if not _WRITER.fullmatch(writer):
            raise ValueError(
                f"expected a writer's name that can be a file's (1 to 100 characters, no '/', no '.' in front), got {writer!r}"
            )
        self.folder = folder
        self.path = folder / f"{writer}.jsonl"
        if isinstance(folder, Url):
            from vibe_assets.storage.object_log import ObjectLog

            self._objects = ObjectLog(folder, writer)

    # -- reading -------------------------------------------------------------------------------------------------------
    def records(self) -> Iterator[Record]:
        """Every intact record of every file of the folder; torn or damaged lines are passed over.

        Raises TeacherError when a store cannot be read: to take that for an empty journal would ask, and pay, again.
        """
        if self._objects is not None:
            try:
                yield from intact_records(self._objects.lines())
            except OSError as error:
                raise TeacherError(f"{self.folder}: {error.strerror or error}; the journal cannot be read") from error
        elif isinstance(self.folder, Path):
            for path in sorted(self.folder.glob("*.jsonl")) if self.folder.is_dir() else []:
                yield from read_records(path)

    def answers(self) -> Iterator[Record]:
        """The records that are answers or failures; what has another shape is a damaged line, whole as its JSON may be."""
        for record in self.records():
            with suppress(ValueError):
                yield self.reads(record)

    def known(self) -> dict[str, Record]:
        """Newest answer or failure of each photo, by image_id. A failure never hides an answer, however new it is."""
        newest: dict[str, Record] = {}
        for record in self.answers():
            held = newest.get(record["image_id"])
            if held is None or _rank(record) >= _rank(held):
                newest[record["image_id"]] = record
        return newest

    # -- writing -------------------------------------------------------------------------------------------------------
    def append(self, record: Mapping[str, Any]) -> None:
        """Keep one record: when this returns, it is on disk."""
        self.append_many([record])

    def append_many(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Keep several records with one sync; each is one whole write.

        Raises TeacherError when the disk is full or cannot be written, or another process writes to the same file. What
        was kept before stays, and a half-written line is taken back.
        """
        lines = [_line(record) for record in records]
        if self._objects is not None:
            try:
                return self._objects.append(lines)
            except OSError as error:
                raise TeacherError(f"{self.folder}: {error.strerror or error}; answers kept so far stay; mend it, run again") from error
        assert isinstance(self.path, Path)
        with self._lock:
            for _ in range(MOVES):
                descriptor = self._opened()
                try:
                    for line in lines:
                        _write_whole(descriptor, line)
                    os.fsync(descriptor)
                    if still_named(self.path, descriptor):
                        return
                    lines = _lines_since(descriptor, self._start)
                except OSError as error:
                    raise TeacherError(f"{self.path}: {error}; answers kept so far stay: free some space, then run again") from error
                self._shut()
            raise TeacherError(f"{self.path} was deleted or replaced {MOVES} times while it was written to; stop what does that, run again")

    def claim(self, size: int) -> None:
        """Make sure that `size` more bytes can be kept, before anybody is paid for them. What is not used is given back by `close`.

        Raises TeacherError when the disk is full, or another process is writing to the file. A store is not asked.
        """
        if not isinstance(self.path, Path):
            return
        with self._lock:
            descriptor = self._opened()
            end = os.fstat(descriptor).st_size
            if end + size <= self._claimed:
                return
            try:
                try:
                    claim_room(descriptor, end, size + AHEAD_BYTES)
                    self._claimed = end + size + AHEAD_BYTES
                except OSError as error:
                    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                        raise
                    claim_room(descriptor, end, size)
                    self._claimed = end + size
            except OSError as error:
                raise TeacherError(
                    f"{self.path}: {error}; there is no room for the next answer, so nobody is asked: free some space, then run again"
                ) from error

    def close(self) -> None:
        """Let go of the file; a later append opens it again. Small objects of a store are merged."""
        if self._objects is not None:
            self._objects.close()
        self._let_go()

    def _let_go(self) -> None:
        with self._lock:
            self._shut()

    def _shut(self) -> None:
        """Close the file, give back what was claimed of the disk, and leave no file behind that was only made to claim it."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        with suppress(OSError):
            if self._claimed:
                os.ftruncate(descriptor, size := os.fstat(descriptor).st_size)
                if not size and still_named(path := Path(str(self.path)), descriptor):
                    path.unlink()
        self._claimed = 0
        os.close(descriptor)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self._let_go()  # a journal that was simply forgotten must not lock out the next

    def _opened(self) -> int:
        if self._descriptor is not None:
            return self._descriptor
        assert isinstance(self.folder, Path)
        assert isinstance(self.path, Path)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        except OSError as error:
            raise TeacherError(f"{self.path}: {error}; the journal's folder must be writable") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _end_torn_line(descriptor)
            to_disk(self.folder)
        except BlockingIOError:
            os.close(descriptor)
            raise TeacherError(f"{self.path}: another process is writing to it; wait for it to end, or stop it") from None
        except OSError as error:
            os.close(descriptor)
            raise TeacherError(f"{self.path}: {error}") from error
        self._descriptor, self._start = descriptor, os.fstat(descriptor).st_size
        return descriptor


def read_answer(record: Record) -> Record:
    """The record itself where all that is reckoned with has its type. Raises ValueError naming what has not."""
    for name in TEXTS:
        _require(isinstance(record.get(name), str | None), name, record)
    usage, latency = record.get("usage"), record.get("latency_s")
    _require(isinstance(record.get("annotation"), dict | None), "annotation", record)
    _require(latency is None or (is_number(latency) and 0 <= latency < MOST), "latency_s", record)
    _require(isinstance(usage, dict | None), "usage", record)
    for name in TOKENS:
        count = (usage or {}).get(name)
        _require(count is None or (isinstance(count, int) and is_number(count) and 0 <= count < MOST), f"usage.{name}", record)
    return record


def is_number(value: object) -> bool:
    """A finite number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _require(right: bool, name: str, record: Record) -> None:
    if not right:
        raise ValueError(f"{name} is {record.get(name)!r:.80}")


def is_record(line: bytes, reads: Callable[[Record], object] = read_answer) -> bool:
    """Whether a line is a record that `reads` takes: it raises ValueError, KeyError or TypeError for one that it does not."""
    try:
        return bool([reads(record) for record in intact_records([line])])
    except (ValueError, KeyError, TypeError):
        return False


def read_records(path: Path) -> Iterator[Record]:
    """Intact records of one file. A line counts when it is a JSON object with a string `image_id`."""
    with path.open("rb") as handle:
        yield from intact_records(handle)


def intact_records(lines: Iterable[bytes]) -> Iterator[Record]:
    for line in lines:
        try:
            record = json_value(line) if b"\\u" in line else json.loads(line)  # half a surrogate pair can be in no table
        except (ValueError, RecursionError):  # torn by a crash; the photo is simply asked again
            continue
        if isinstance(record, dict) and isinstance(record.get("image_id"), str):
            yield record


def journals_in(folder: Place) -> list[str]:
    """Names of the journals that lie side by side in a folder, as teachers' do, sorted."""
    if isinstance(folder, Url):
        from vibe_assets.storage.objects import list_folder

        try:
            return sorted(entry.name.decode() for entry in list_folder(folder) if entry.is_folder and entry.name)
        except OSError as error:
            raise TeacherError(f"{folder}: {error.strerror or error}; the journal cannot be read") from error
    return sorted(entry.name for entry in folder.iterdir() if any(entry.glob("*.jsonl"))) if folder.is_dir() else []


def _rank(record: Record) -> tuple[bool, str]:
    return isinstance(record.get("annotation"), dict), str(record.get("at") or "")


def _line(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record, ensure_ascii=False, separators=(", ", ": "), allow_nan=False).encode("utf-8", "replace") + b"\n"


def _write_whole(descriptor: int, line: bytes) -> None:
    """All of the line or none: only this process writes to the file, so a part can be cut off again."""
    before = os.fstat(descriptor).st_size
    try:
        written = os.write(descriptor, line)
        if written != len(line):  # a disk that is nearly full takes a part; the next write says why
            written += os.write(descriptor, line[written:])
        if written != len(line):
            raise OSError(f"wrote {written} of {len(line)} bytes")
    except OSError:
        os.ftruncate(descriptor, before)
        raise


def _lines_since(descriptor: int, start: int) -> list[bytes]:
    """What lies from `start` on in an open file, whether or not a name still leads to it."""
    return os.pread(descriptor, max(0, os.fstat(descriptor).st_size - start), start).splitlines(keepends=True)


def _end_torn_line(descriptor: int) -> None:
    size = os.fstat(descriptor).st_size
    if size and os.pread(descriptor, 1, size - 1) != b"\n":
        os.write(descriptor, b"\n")
