"""Labels or a pick per photo go in; sidecar files are written, left or taken away on disk, and every file says what became of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vibe_assets.export import pick_sidecar
from vibe_assets.export.packet import LABELS, PICKS, is_ours
from vibe_assets.export.pick_sidecar import Pick
from vibe_assets.export.sidecar import Entry, merged, removed
from vibe_assets.export.xmp_tree import MAX_BYTES, SidecarError
from vibe_assets.lake import atomic_file
from vibe_assets.photos.decode import PhotoRejected, read_photo
from vibe_assets.photos.folders import hidden, readable_path

SUFFIX = b".xmp"
NOTHING_TO_SAY, WRITTEN, CHANGED, UNCHANGED, STRIPPED, DELETED, REFUSED = (
    "no label qualifies", "written", "changed", "unchanged", "ours taken out", "deleted", "left alone",
)  # fmt: skip
NO_PICK, JUDGED = "no pick", "judged_by_somebody"


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


def write_sidecar(place: Path, entries: Sequence[Entry], *, root: Path, min_precision: float, today: str, dry_run: bool) -> Outcome:
    """Bring one sidecar up to date; without labels, what an earlier run wrote is taken out. The photo itself is never opened.

    Here and below, `place` lies below `root`, and nothing is read or written through a link that stands between the two.
    """

    def bring(existing: bytes | None) -> bytes | None:
        if not entries and (existing is None or not is_ours(existing, LABELS)):
            return existing
        return merged(existing, entries, min_precision=min_precision, today=today)

    return _edit(root, place, bring, LABELS, NOTHING_TO_SAY, dry_run=dry_run)


def remove_sidecar(place: Path, *, root: Path, dry_run: bool) -> Outcome | None:
    """Take out the labels that we wrote; None where there are none."""
    return _strip(root, place, removed, LABELS, dry_run=dry_run)


def write_pick(place: Path, pick: Pick | None, *, root: Path, today: str, dry_run: bool, embedded: str = "") -> Outcome:
    """Bring the pick of one sidecar up to date; without one, what an earlier run wrote is taken out.

    `embedded`: what somebody's rating within the photo says, '' for none. Rated photos are left alone, and say so.
    """
    kept = embedded if pick else ""

    def bring(existing: bytes | None) -> bytes | None:
        nonlocal kept
        wanted = None if embedded else pick
        if wanted is None and (existing is None or not is_ours(existing, PICKS)):
            return existing
        found = pick_sidecar.merged(existing, wanted, today=today)
        kept = kept or found.kept
        return found.data

    outcome = _edit(root, place, bring, PICKS, NO_PICK, dry_run=dry_run)
    if not kept or outcome.what == REFUSED:
        return outcome
    return replace(outcome, what=REFUSED if outcome.what in (UNCHANGED, NO_PICK) else outcome.what, reason=JUDGED, detail=kept)


def remove_pick(place: Path, *, root: Path, dry_run: bool) -> Outcome | None:
    """Take out the pick that we wrote; None where there is none."""
    return _strip(root, place, pick_sidecar.removed, PICKS, dry_run=dry_run)


def _strip(root: Path, place: Path, take_out: Callable[[bytes], bytes | None], namespace: str, *, dry_run: bool) -> Outcome | None:
    outcome = _edit(root, place, lambda data: take_out(data) if data and is_ours(data, namespace) else data, namespace, dry_run=dry_run)
    return None if outcome.what in (UNCHANGED, NOTHING_TO_SAY) else outcome


def _edit(
    root: Path, place: Path, bring: Callable[[bytes | None], bytes | None], namespace: str, silent: str = NOTHING_TO_SAY, *, dry_run: bool
) -> Outcome:
    """Put what `bring` makes of a sidecar (None: no file) in its place; `silent` names a photo that needs none."""
    shown = readable_path(os.fsencode(place))
    try:
        _refuse_detour(root, place)
        existing = _read(place)
        wanted = bring(existing)
        _refuse_detour(root, place)  # once more at the write: making the content takes its time
        if wanted == existing and (existing is None or not is_ours(existing, namespace)):
            return Outcome(shown, silent)
        return _put(place, existing, wanted, shown, namespace, dry_run=dry_run)
    except SidecarError as error:
        return Outcome(shown, REFUSED, error.reason, error.detail)
    except OSError as error:
        return Outcome(shown, REFUSED, "io_error", error.strerror or str(error))


def _refuse_detour(root: Path, place: Path) -> None:
    """Raises SidecarError where the way from the root to a sidecar is no longer the one that its name says. The root may be a link."""
    found, named = place.parent.resolve(), root.resolve() / place.parent.relative_to(root)
    if found != named:
        raise SidecarError("link", f"a folder on its way has become a link, to {readable_path(os.fsencode(found))}; links are not followed")


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


def _put(place: Path, existing: bytes | None, wanted: bytes | None, shown: str, namespace: str, *, dry_run: bool) -> Outcome:
    if wanted == existing:
        return Outcome(shown, UNCHANGED)
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
    return Outcome(shown, CHANGED if is_ours(wanted, namespace) else STRIPPED)
