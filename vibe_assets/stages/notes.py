"""What commands wrote, or want to be made, as notes for the graph: append-only JSON lines below library.home, one an asset.

The graph hears of them at its next look (the source sensor, `vibe run`), also when nothing listens now, or on another machine.
"""

from __future__ import annotations

import errno
import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vibe_assets.storage.disk import to_disk
from vibe_assets.strangers import json_value

if TYPE_CHECKING:
    from vibe_assets.stages.platform import Platform

WROTE: Literal["wrote"] = "wrote"  # the asset is as a command left it
WANTED: Literal["wanted"] = "wanted"  # the graph is to make the asset


@dataclass(frozen=True)
class Note:
    """One line. `partition` is a folder's key, a batch, a shard; None for an asset without partitions."""

    id: str
    asset: str
    partition: str | None
    what: Literal["wrote", "wanted"]
    by: str  # the command
    at: str  # ISO 8601


def notes_file(platform: Platform) -> Path:
    return platform.settings.home / "notes.jsonl"


def leave_note(platform: Platform, asset: str, partition: str | None = None, *, what: Literal["wrote", "wanted"] = WROTE) -> Note:
    """Append one note; it is on disk when the call returns. Raises OSError."""
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    note = Note(uuid.uuid4().hex, asset, partition, what, platform.by or platform.run_id, at)
    file = notes_file(platform)
    file.parent.mkdir(parents=True, exist_ok=True)
    new = not file.exists()
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        line = ("\n" + json.dumps(asdict(note)) + "\n").encode()  # what a crash tore before it stays a line of its own
        if os.write(descriptor, line) != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(descriptor)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(file)) from error
    finally:
        os.close(descriptor)
    if new:
        to_disk(file.parent)
    return note


@contextmanager
def noted(platform: Platform, *assets: str) -> Iterator[None]:
    """A note for each asset before the block writes and after it wrote: whenever the command is killed, the graph looks again."""
    for asset in assets:
        leave_note(platform, asset)
    yield
    for asset in assets:
        leave_note(platform, asset)


def read_notes(platform: Platform, *, after: int = 0) -> list[tuple[int, Note]]:
    """Notes behind a place in the file, each with the place where it ends. A file that is shorter than that was replaced: all of it."""
    file = notes_file(platform)
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return []
    at = after if after <= len(content) else 0
    found = []
    while (end := content.find(b"\n", at)) >= 0:
        line, at = content[at:end], end + 1
        if note := _note(line):  # others were torn by a crash: the command did not report success
            found.append((at, note))
    return found


def _note(line: bytes) -> Note | None:
    try:
        note = Note(**json_value(line))
    except (ValueError, TypeError):
        return None
    texts = asdict(note) | {"partition": note.partition or ""}
    return note if all(isinstance(text, str) for text in texts.values()) else None


def is_note(line: bytes) -> bool:
    """Whether a line is a whole note."""
    return _note(line) is not None
