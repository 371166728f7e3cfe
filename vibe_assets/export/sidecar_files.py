"""Labels per photo go in; sidecar files are written, left or taken away on disk, and every file says what became of it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vibe_assets.export.sidecar import Entry, is_ours, merged, removed
from vibe_assets.export.xmp_tree import MAX_BYTES, SidecarError
from vibe_assets.lake import atomic_file
from vibe_assets.photos.decode import PhotoRejected, read_photo
from vibe_assets.photos.folders import hidden, readable_path

SUFFIX = b".xmp"
NOTHING_TO_SAY, WRITTEN, CHANGED, UNCHANGED, STRIPPED, DELETED, REFUSED = (
    "no label qualifies", "written", "changed", "unchanged", "ours taken out", "deleted", "left alone",
)  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """What became of one sidecar. `reason` and `detail` where it was left alone."""

    rel_path: str
    what: str
    reason: str | None = None
    detail: str | None = None


def sidecar_path(folder: Path, path_bytes: bytes) -> Path:
    """IMG.jpg -> IMG.jpg.xmp below `folder`, in the same sub-folder, whatever bytes the name has."""
    return Path(os.fsdecode(os.path.join(os.fsencode(folder), path_bytes) + SUFFIX))  # noqa: PTH118 - bytes


def write_sidecar(place: Path, entries: Sequence[Entry], *, min_precision: float, today: str, dry_run: bool) -> Outcome:
    """Bring one sidecar up to date; without labels, what an earlier run wrote is taken out. The photo itself is never opened."""
    shown = readable_path(os.fsencode(place))
    try:
        existing = _read(place)
        if existing is None and not entries:
            return Outcome(shown, NOTHING_TO_SAY)
        if existing is not None and not entries and not is_ours(existing):
            return Outcome(shown, NOTHING_TO_SAY)
        return _put(place, existing, merged(existing, entries, min_precision=min_precision, today=today), shown, dry_run=dry_run)
    except SidecarError as error:
        return Outcome(shown, REFUSED, error.reason, error.detail)
    except OSError as error:
        return Outcome(shown, REFUSED, "io_error", error.strerror or str(error))


def remove_sidecar(place: Path, *, dry_run: bool) -> Outcome | None:
    """Take out what we wrote; None where there is nothing of ours."""
    shown = readable_path(os.fsencode(place))
    try:
        existing = _read(place)
        if existing is None or not is_ours(existing):
            return None
        return _put(place, existing, removed(existing), shown, dry_run=dry_run)
    except SidecarError as error:
        return Outcome(shown, REFUSED, error.reason, error.detail)
    except OSError as error:
        return Outcome(shown, REFUSED, "io_error", error.strerror or str(error))


def find_sidecars(folder: Path, below: Iterable[bytes] | None = None) -> Iterator[Path]:
    """Every .xmp file below a folder; with `below`, those that lie directly in these relative folders. Links are not followed."""
    root = os.fsencode(folder)
    walked = os.walk(root) if below is None else ((place, [], _names(place)) for place in (os.path.join(root, part) for part in below))  # noqa: PTH118
    for place, folders, names in walked:
        folders[:] = sorted(name for name in folders if not hidden(name))
        for name in sorted(names):
            if name.lower().endswith(SUFFIX):
                yield Path(os.fsdecode(os.path.join(place, name)))  # noqa: PTH118 - bytes


def _names(place: bytes) -> list[bytes]:
    try:
        return os.listdir(place)  # noqa: PTH208 - bytes
    except OSError:
        return []


def _read(place: Path) -> bytes | None:
    """The bytes of a sidecar; None where there is none. Raises SidecarError for links, pipes and what is too large."""
    if place.is_symlink():
        raise SidecarError("link", "a symbolic link stands in its place")
    if not place.exists():
        return None
    if place.stat().st_size == 0:
        raise SidecarError("malformed", "the file is empty")
    try:
        return read_photo(place, max_bytes=MAX_BYTES)
    except PhotoRejected as error:
        raise SidecarError("io_error" if error.reason == "io_error" else "too_large", error.detail) from error


def _put(place: Path, existing: bytes | None, wanted: bytes | None, shown: str, *, dry_run: bool) -> Outcome:
    if wanted == existing:
        return Outcome(shown, NOTHING_TO_SAY if wanted is None else UNCHANGED)
    if not dry_run:
        if wanted is None:
            place.unlink()
        else:
            with atomic_file(place) as temporary:
                temporary.write_bytes(wanted)
                if existing is not None:
                    temporary.chmod(place.stat().st_mode & 0o7777)
    if wanted is None:
        return Outcome(shown, DELETED)
    if existing is None:
        return Outcome(shown, WRITTEN)
    return Outcome(shown, CHANGED if is_ours(wanted) else STRIPPED)
