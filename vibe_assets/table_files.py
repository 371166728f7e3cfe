"""The folder of a Delta table goes in; its newest commits come out durable, and what a power cut tore is found, named and set aside.

delta-rs writes a commit whole or not at all as far as other processes can see, but leaves it to the system when it reaches the disk:
after a power cut a commit that nobody had acknowledged may be there in part. A commit counts as acknowledged once `sync_commits` is back.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from vibe_assets.storage import Place, Url
from vibe_assets.storage.disk import to_disk

LOG, LAST = "_delta_log", "_last_checkpoint"
REMEDY = "`vibe repair` goes back to the last commit that is whole, or makes the table anew"


@dataclass(frozen=True)
class Torn:
    """A file of a table that is not what was written."""

    file: Place
    what: str
    version: int = -1  # the commit or checkpoint that it belongs to
    data: bool = False  # not a file of the log

    def __str__(self) -> str:
        return f"{self.file}: {self.what}"


def sync_commits(table: Path, *, after: int) -> None:
    """Bring to disk every commit above `after`: data first, then the log, then the names of both. Raises OSError."""
    commits = [file for number, file in _commits(table) if number > after]
    data = {table / unquote(added["path"]) for file in commits for added in _added(file)}
    log = table / LOG
    newest = [file for file in log.iterdir() if file.name == LAST or (_number(file) or 0) > after]
    for path in [*data, *newest, *{file.parent for file in data}, log, table, table.parent]:
        if path.exists():  # an overwritten file may be gone again: another writer's vacuum
            to_disk(path)


def torn_data(table: Path, files: Mapping[str, int]) -> Torn | None:
    """The first data file that is missing or has another size than its commit says; `files` is path below the table -> bytes."""
    for name, size in files.items():
        try:
            found = os.stat(table / name).st_size  # noqa: PTH116 - one call per file of every read
        except FileNotFoundError:
            return Torn(table / name, "the file is missing", data=True)
        if found != size:
            return Torn(table / name, f"{found} bytes instead of {size}", data=True)
    return None


def torn_tail(table: Path) -> list[Torn]:
    """What is torn of the newest commits, newest first, up to the first commit that is whole, or of the newest checkpoint.

    Empty for a sound table, and for one that is not there.
    """
    found = _torn_checkpoint(table)
    for number, file in reversed(_commits(table)):
        torn = _torn_commit(table, number, file)
        if torn is None:
            break
        found.append(torn)
    return found


def set_aside(table: Path) -> list[Path]:
    """Rename the torn newest commits, and checkpoints as new as they, to `*.damaged`; what was renamed. The table is as of before them.

    Their data files stay: they are in no commit any more. A table whose every commit is torn is left as it is. Raises OSError.
    """
    torn, log = torn_tail(table), table / LOG
    commits = {entry.version for entry in torn if entry.file.name.endswith(".json") or entry.data}
    if not torn or len(commits) == len(_commits(table)):
        return []
    oldest = min(commits, default=None)
    doomed = [file for number, file in _commits(table) if oldest is not None and number >= oldest]
    torn_checkpoints = {entry.version for entry in torn} - commits
    doomed += [
        file for file in log.glob("*.checkpoint*.parquet")
        if (number := _number(file)) is not None and (number in torn_checkpoints or (oldest is not None and number >= oldest))
    ]  # fmt: skip
    doomed += [file for file in [log / LAST] if file.exists()]  # the log is read from its beginning, or from an older checkpoint
    for file in sorted(doomed, reverse=True):
        file.rename(file.with_name(f"{file.name}.damaged"))
    to_disk(log)
    return sorted(doomed)


def delete_data(table: Place, names: Iterable[str]) -> None:
    """Delete data files, named by their paths below the table as a vacuum has them; what is gone already is no error. Raises OSError."""
    if isinstance(table, Url):
        from vibe_assets.storage.objects import filesystem, worded

        with worded(table.scheme, str(table)):
            for name in names:
                filesystem(table.scheme).rm_file(f"{table.bucket}/{table.key}/{name}")
        return
    for name in names:
        (table / name).unlink(missing_ok=True)


def move_aside(table: Path) -> Path:
    """Rename the whole table to `NAME.damaged`, or `NAME.damaged-2` and so on; the new name. Raises OSError."""
    names = (f"{table.name}.damaged{f'-{number}' if number > 1 else ''}" for number in itertools.count(1))
    aside = next(place for name in names if not (place := table.with_name(name)).exists())
    table.rename(aside)
    to_disk(table.parent)
    return aside


def _torn_commit(table: Path, number: int, file: Path) -> Torn | None:
    try:
        actions = _actions(file)
    except ValueError:
        return Torn(file, f"a commit that ends after {file.stat().st_size} bytes", number)
    if not actions:
        return Torn(file, "a commit without content", number)
    later = {removed["path"] for above, newer in _commits(table) if above > number for removed in _removed(newer)}
    added = {unquote(entry["path"]): int(entry["size"]) for entry in _entries(actions, "add") if entry["path"] not in later}
    torn = torn_data(table, added)
    return torn and replace(torn, version=number)


def _torn_checkpoint(table: Path) -> list[Torn]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    log = table / LOG
    for file in sorted(log.glob("*.checkpoint.parquet"))[-1:]:
        try:
            pq.read_metadata(file)
        except (pa.ArrowException, OSError):
            return [Torn(file, "a checkpoint that is cut", _number(file) or 0)]
    try:
        json.loads((log / LAST).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except ValueError:
        return [Torn(log / LAST, "no JSON")]
    return []


def _commits(table: Path) -> list[tuple[int, Path]]:
    """(version, file) of every commit, oldest first."""
    files = (table / LOG).glob("*.json") if (table / LOG).is_dir() else []
    return sorted((number, file) for file in files if (number := _number(file)) is not None)


def _number(file: Path) -> int | None:
    name = file.name.partition(".")[0]
    return int(name) if name.isdigit() else None


def _actions(commit: Path) -> list[dict[str, Any]]:
    """The lines of a commit. Raises ValueError when one is no JSON object, or the last is cut."""
    lines = [json.loads(line) for line in commit.read_bytes().splitlines()]
    if not all(isinstance(line, dict) for line in lines):
        raise ValueError(f"{commit}: expected JSON objects")
    return lines


def _added(commit: Path) -> list[dict[str, Any]]:
    return list(_entries(_actions(commit), "add"))


def _removed(commit: Path) -> list[dict[str, Any]]:
    try:
        return list(_entries(_actions(commit), "remove"))
    except ValueError:
        return []


def _entries(actions: list[dict[str, Any]], kind: str) -> Iterator[dict[str, Any]]:
    return (action[kind] for action in actions if kind in action)
