"""A photo root goes in; the folders that hold photos (one partition each) and what could not be looked at come out."""

# ruff: noqa: PTH118 -- paths are bytes here, and pathlib takes text only
from __future__ import annotations

import hashlib
import os
import re
import stat
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from vibe_assets.errors import UserError
from vibe_assets.photos.decode import looks_like_image, suffix
from vibe_assets.records import FOLDER_SET
from vibe_assets.storage import Place, Url, below

if TYPE_CHECKING:
    import polars as pl

    from vibe_assets.storage.objects import Entry

SLUG_LENGTH = 60
SLUG_BYTES = 120  # percent-encoded, as tables name the folder of a partition: encrypted home folders take names of 143 bytes, not 255
UNSEEN = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0000-\U000e0fff]")
MIN_MISSING_FOLDERS = 3  # fewer are an everyday clean-up, whatever their share
UNREADABLE = "unreadable"
I64 = 1 << 63  # what the lake's columns of sizes and times can hold


class LibraryVanished(UserError, RuntimeError):
    """So much of the library is missing that the disk, not the photos, is probably gone; nothing was changed."""


@dataclass(frozen=True)
class Folder:
    """A directory that directly holds photos."""

    folder_key: str
    rel_path: str  # "." for the root itself
    path_bytes: bytes  # b"" for the root itself
    files: int
    listing: str  # hash over names, sizes and times of the files


@dataclass(frozen=True)
class Problem:
    """Something below the root that was not looked at. `reason`: unreadable | link_to_folder | key_collision."""

    rel_path: str
    reason: str
    detail: str
    path_bytes: bytes


@dataclass(frozen=True)
class Discovery:
    root: Place
    folders: tuple[Folder, ...]
    problems: tuple[Problem, ...]


class FileSeen(NamedTuple):
    """A regular file, or a link that may lead to one, as the directory shows it; nothing was opened."""

    name: bytes
    size: int
    mtime_ns: int
    is_link: bool
    error: str | None = None  # why it has no size and time (a link to nowhere, no permission)


def file_time(nanoseconds: int) -> int:
    """A modification time as it is kept: one before 1678 or after 2262 becomes the first or last that 64 bits of nanoseconds can hold."""
    return max(-I64, min(I64 - 1, nanoseconds))


def readable_path(path_bytes: bytes) -> str:
    """Text for people and columns: UTF-8, other bytes as \\xNN; '.' for the root."""
    return path_bytes.decode("utf-8", "backslashreplace") or "."


def hidden(name: bytes) -> bool:
    """By the leading dot; '...' and the like are odd names that people give, not hidden ones."""
    return name.startswith(b".") and not name.startswith(b"..")


def folder_key(path_bytes: bytes) -> str:
    """Partition key of a relative path: readable slug, '-', 8 hex digits of the SHA-256 of its bytes.

    The slug is ASCII where that keeps every letter and digit (a mark may go: müller is muller), else it has the letters, digits and marks
    of the path's own script, in lower case and NFC. The end of a long path is kept: that is where siblings differ.
    """
    text = "".join(char for char in path_bytes.decode("utf-8", "ignore") if not _is_unseen(char))
    plain = unicodedata.normalize("NFKD", text)
    if any(_is_letter(char) for char in plain if not char.isascii()):
        slug = _slug(text)
    else:
        slug = re.sub(r"[^a-z0-9]+", "-", plain.encode("ascii", "ignore").decode().lower())[-SLUG_LENGTH:].strip("-")
    return f"{slug or ('folder' if path_bytes else 'root')}-{hashlib.sha256(path_bytes).hexdigest()[:8]}"


def _slug(text: str) -> str:
    """Letters with their marks, anything else as '-'; as much of the end as has room, a letter never without its marks."""
    parts: list[str] = []
    for char in unicodedata.normalize("NFC", text.lower()):
        if _is_letter(char):
            parts.append(char)
        elif parts and parts[-1] != "-":
            parts[-1:] = [parts[-1] + char] if unicodedata.category(char).startswith("M") else [parts[-1], "-"]
    slug = ""
    for part in reversed(parts):
        if len(part + slug) > SLUG_LENGTH or len(quote(part + slug)) > SLUG_BYTES:
            break
        slug = part + slug
    return slug.strip("-")


def _is_letter(char: str) -> bool:
    """A letter or digit of any script."""
    category = unicodedata.category(char)
    return category.startswith("L") or category == "Nd"


def _is_unseen(char: str) -> bool:
    """What shows nothing of its own: controls of direction and joining, variation selectors, fillers."""
    return unicodedata.category(char) == "Cf" or UNSEEN.match(char) is not None


def folder_path(root: Place, path_bytes: bytes) -> bytes:
    """Absolute path, or URL, of a folder below the root. Raises ValueError for anything but a plain relative path."""
    parts = path_bytes.split(b"/") if path_bytes else []
    if b"\0" in path_bytes or any(part in (b"", b".", b"..") for part in parts):
        raise ValueError(f"expected a plain path below the photo root, got {path_bytes!r}")
    return below(root, path_bytes)


def list_objects(folder: Url) -> list[FileSeen]:
    """Objects directly in a folder of a store, as `list_files` gives files; none where there is no such folder. Raises OSError."""
    from vibe_assets.storage.objects import list_folder

    return _objects_seen(entry for entry in list_folder(folder) if not hidden(entry.name))


def _objects_seen(entries: Iterable[Entry]) -> list[FileSeen]:
    return [
        FileSeen(entry.name, min(entry.size, I64 - 1), file_time(entry.changed), is_link=False) for entry in entries if not entry.is_folder
    ]


def list_files(folder: bytes) -> list[FileSeen]:
    """Files of one directory by name, hidden ones left out; stat only. Raises OSError when the directory cannot be read."""
    seen = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if not hidden(entry.name):
                file = _look(entry)
                if file is not None:
                    seen.append(file)
    return sorted(seen, key=lambda file: file.name)


def _look(entry: os.DirEntry[bytes]) -> FileSeen | None:
    is_link = False
    try:
        if entry.is_dir(follow_symlinks=False):  # mostly known without a stat, which fails on paths that are too long
            return None
        is_link = entry.is_symlink()
        status = entry.stat()
    except OSError as error:
        return FileSeen(entry.name, 0, 0, is_link, error.strerror or str(error))
    if not stat.S_ISREG(status.st_mode):
        return None
    return FileSeen(entry.name, status.st_size, file_time(status.st_mtime_ns), is_link)


def discover_folders(root: Place) -> Discovery:
    """Walk the root without following links to directories; every directory with a photo-like file becomes a folder."""
    folders: dict[str, Folder] = {}
    problems: list[Problem] = []
    for path_bytes, files in _objects(root, problems) if isinstance(root, Url) else _files(root, problems):
        if not any(_photo_like(file) for file in files):
            continue
        folder = Folder(folder_key(path_bytes), readable_path(path_bytes), path_bytes, len(files), _listing(files))
        twin = folders.setdefault(folder.folder_key, folder)
        if twin is not folder:
            problems.append(_problem(path_bytes, "key_collision", f"same key {folder.folder_key} as {twin.rel_path}; rename one"))
    return Discovery(root, tuple(sorted(folders.values(), key=lambda folder: folder.path_bytes)), tuple(problems))


def _photo_like(file: FileSeen) -> bool:
    """By its name; what cannot be looked at and has no extension is no more likely a photo than a folder."""
    return looks_like_image(file.name) and (file.error is None or suffix(file.name) != "")


def _files(root: Path, problems: list[Problem]) -> Iterator[tuple[bytes, list[FileSeen]]]:
    """Every readable directory with its files."""
    for path_bytes in _walk(root, problems):
        try:
            yield path_bytes, list_files(folder_path(root, path_bytes))
        except OSError as error:
            problems.append(_problem(path_bytes, UNREADABLE, error.strerror or str(error)))


def _objects(root: Url, problems: list[Problem]) -> Iterator[tuple[bytes, list[FileSeen]]]:
    """Every folder of a store with its objects; each is listed once, and nothing is opened."""
    from vibe_assets.storage.objects import usable, walk

    for path_bytes, found in walk(root, skip=hidden):
        if isinstance(found, OSError):
            problems.append(_problem(path_bytes, UNREADABLE, found.strerror or str(found)))
            continue
        for entry in found:
            if entry.is_folder and not usable(entry.name):
                below_it = path_bytes + b"/" + entry.name if path_bytes else entry.name
                problems.append(_problem(below_it, UNREADABLE, "keys with '//' or '..' name no folder; copy the objects to plain keys"))
        yield path_bytes, _objects_seen(found)


def _walk(root: Path, problems: list[Problem]) -> Iterator[bytes]:
    """Relative paths of all readable directories, the root first; adds what it could not enter to `problems`."""
    waiting = [b""]
    while waiting:
        path_bytes = waiting.pop()
        inner: list[bytes] = []
        try:
            with os.scandir(folder_path(root, path_bytes)) as entries:
                for entry in entries:
                    below = os.path.join(path_bytes, entry.name)
                    if hidden(entry.name):
                        continue
                    try:
                        if entry.is_dir(follow_symlinks=False):
                            inner.append(below)
                        elif entry.is_symlink() and entry.is_dir():
                            problems.append(_problem(below, "link_to_folder", "links to folders are not followed"))
                    except OSError as error:  # a link that loops or leads where nobody may look: this entry's trouble, not its folder's
                        problems.append(_problem(below, UNREADABLE, error.strerror or str(error)))
        except OSError as error:
            problems.append(_problem(path_bytes, UNREADABLE, error.strerror or str(error)))
            continue
        yield path_bytes
        waiting.extend(sorted(inner, reverse=True))


def _problem(path_bytes: bytes, reason: str, detail: str) -> Problem:
    return Problem(readable_path(path_bytes), reason, detail, path_bytes)


def _listing(files: list[FileSeen]) -> str:
    """Sidecars are left out: writing labels beside the photos must not look like new photos."""
    digest = hashlib.sha256()
    for file in files:
        if file.name.lower().endswith(b".xmp"):
            continue
        digest.update(b"%d:%b %d %d\n" % (len(file.name), file.name, file.size, file.mtime_ns))
    return digest.hexdigest()[:16]


def next_folder_set(
    discovery: Discovery, known_rows: pl.DataFrame | None, *, max_missing_share: float, accept_missing: bool, now: datetime
) -> pl.DataFrame:
    """FOLDER_SET rows after this look: gone folders stay as tombstones, returning ones are revived, sorted by key.

    A folder at or below an unreadable directory is not gone: its last row stays. One that is there under another key, as an earlier
    release gave keys, is gone under the old one, and not missing. Raises LibraryVanished when the root itself cannot be read, and
    (unless `accept_missing`) when no folder is left or too many are missing.
    """
    import polars as pl

    known = {row["folder_key"]: row for row in known_rows.iter_rows(named=True)} if known_rows is not None else {}
    rows: dict[str, dict[str, Any]] = {folder.folder_key: {**vars(folder), "gone_at": None} for folder in discovery.folders}
    unread = [problem for problem in discovery.problems if problem.reason == UNREADABLE]
    _refuse_unreadable_root(discovery.root, unread)
    live = [row for row in known.values() if row["gone_at"] is None]
    missing = [row for row in live if row["folder_key"] not in rows and not _covered(row["path_bytes"], unread)]
    if not accept_missing:
        there = {folder.path_bytes for folder in discovery.folders}
        vanished = sum(row["path_bytes"] not in there for row in missing)
        _refuse_vanished(discovery.root, len(rows), vanished, len(live), max_missing_share)
    gone = {row["folder_key"] for row in missing}
    for key, row in known.items():
        rows.setdefault(key, {**row, "gone_at": now} if key in gone else row)
    return pl.DataFrame([rows[key] for key in sorted(rows)], schema=FOLDER_SET.polars_schema(), orient="row")


def _covered(path_bytes: bytes, unread: list[Problem]) -> bool:
    return any(path_bytes == problem.path_bytes or path_bytes.startswith(problem.path_bytes + b"/") for problem in unread)


def _refuse_unreadable_root(root: Place, unread: list[Problem]) -> None:
    for problem in unread:
        if not problem.path_bytes:
            raise LibraryVanished(
                f"photo root {root} cannot be read: {problem.detail}. "
                f"{'Mend it' if isinstance(root, Url) else 'Mount it'}, or correct [library] root in vibe.toml. Nothing was changed"
            )


def _refuse_vanished(root: Place, found: int, missing: int, live: int, max_missing_share: float) -> None:
    too_many = missing >= MIN_MISSING_FOLDERS and missing > max_missing_share * live
    if live and (not found or too_many):
        raise LibraryVanished(
            f"photo root {root}: {missing} of {live} known folders are missing, {found} found "
            f"(at most {max_missing_share:.0%} may go missing at one look). "
            f"{'Is it the right bucket and folder?' if isinstance(root, Url) else 'Is the disk or share mounted?'} "
            "If they were really removed, run `vibe folders --accept-missing`. Nothing was changed"
        )
