"""A folder of the photo root goes in; one RAW_PHOTOS row per file comes out, rejected files included with a reason."""

# ruff: noqa: PTH118 -- paths are bytes here, and pathlib takes text only
from __future__ import annotations

import errno
import os
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from vibe_assets.photos.decode import looks_decodable, suffix
from vibe_assets.photos.folders import (
    Discovery,
    FileSeen,
    Folder,
    LibraryVanished,
    Problem,
    discover_folders,
    folder_key,
    folder_path,
    list_files,
    list_objects,
    next_folder_set,
    readable_path,
)
from vibe_assets.records import RAW_PHOTOS
from vibe_assets.settings import LibrarySettings
from vibe_assets.storage import Place, Url, is_url

if TYPE_CHECKING:
    import polars as pl

__all__ = [
    "Discovery", "Folder", "LibraryVanished", "Problem", "discover_folders", "folder_key", "lacks_photos", "next_folder_set", "scan_folder",
]  # fmt: skip

MIN_MISSING_PHOTOS = 10  # fewer are an everyday clean-up, whatever their share
TRANSIENT = frozenset(["io_error", "decode_timeout", "decoder_crashed", "out_of_memory"])  # may end otherwise at the next look
Row = dict[str, Any]
Measure = Callable[[Sequence[bytes]], Iterable[Row]]  # paths -> one record each, in their order


class Known(NamedTuple):
    """What of a known row decides whether it still holds; the row itself stays where it is."""

    at: int  # index into the known rows
    image_id: str | None
    bytes: int
    mtime_ns: int
    width: int | None
    height: int | None
    reason: str | None


def scan_folder(
    root: Place,
    folder_key: str,
    path_bytes: bytes,
    *,
    known_rows: pl.DataFrame | None,
    settings: LibrarySettings,
    accept_missing: bool = False,
    progress: bool = False,
    measure: Measure | None = None,
) -> pl.DataFrame:
    """RAW_PHOTOS rows of one folder, its sub-folders left out, sorted by path.

    A file with the path, size and modification time of a known row keeps that row unopened, unless its reason may have passed. Files
    that are gone stay as rows with the reason `deleted` where their image_id is known. `image_id` is null where the bytes were not read:
    unsupported_format by extension, outside_root, io_error, empty, too_many_bytes. Raises LibraryVanished when the folder cannot be
    read, and (unless `accept_missing`) when it is empty now or over `max_missing_share` of its photos (at least 10) are gone for good.
    """
    known_rows = _known_rows(known_rows, folder_key)
    short = known_rows.with_row_index("at").select(Known._fields)
    known = dict(zip(known_rows["path_bytes"], map(Known._make, short.iter_rows()), strict=True))
    place = folder_path(root, path_bytes)
    before = os.path.join(path_bytes, b"") if path_bytes else b""
    kept: dict[bytes, Known] = {}
    rows: dict[bytes, Row] = {}
    unopened: dict[bytes, bytes] = {}  # relative path -> where to read it
    for file in _files(root, place, path_bytes, accept_missing=accept_missing):
        path = before + file.name
        row = known.get(path)
        if row is not None and not _still_holds(row, file, settings):
            row = None
        if row is not None and row.image_id is not None and not file.is_link:  # it was read once: name and place are in order
            kept[path] = row
            continue
        target, refusal = _judged(file, place, root, settings.max_bytes)
        if refusal:
            rows[path] = _base(folder_key, path, file) | refusal
        elif row is not None:
            kept[path] = row
        else:
            rows[path], unopened[path] = _base(folder_key, path, file), target
    if not accept_missing:
        _refuse_empty(place, len(rows) + len(kept), known)
    _measure(rows, unopened, settings, progress, measure)
    deleted = [row for path, row in known.items() if path not in rows and path not in kept and row.image_id is not None]
    if not accept_missing:
        here = {row["image_id"] for row in rows.values()} | {row.image_id for row in kept.values()}
        _refuse_vanished(place, deleted, known, here, settings.max_missing_share)
    return _table(known_rows, kept.values(), deleted, rows.values())


def lacks_photos(root: Place, folder_key: str, path_bytes: bytes, known_rows: pl.DataFrame) -> bool:
    """Whether a known photo of the folder is not where it was. Raises LibraryVanished as scan_folder does."""
    import polars as pl

    before = os.path.join(path_bytes, b"") if path_bytes else b""
    files = _files(root, folder_path(root, path_bytes), path_bytes, accept_missing=True)
    known = _known_rows(known_rows, folder_key).filter(pl.col("reason").is_null())["path_bytes"]
    return not set(known) <= {before + file.name for file in files}


def _known_rows(known_rows: pl.DataFrame | None, folder_key: str) -> pl.DataFrame:
    import polars as pl

    if known_rows is None:
        return pl.DataFrame(schema=RAW_PHOTOS.polars_schema())
    return known_rows.filter(pl.col("folder_key") == folder_key).unique("path_bytes", keep="last", maintain_order=True)


def _table(known_rows: pl.DataFrame, kept: Iterable[Known], deleted: Iterable[Known], rows: Iterable[Row]) -> pl.DataFrame:
    """Known rows as they were, known rows of files that are gone, and new ones, as one table sorted by path."""
    import polars as pl

    old = known_rows[[row.at for row in kept]]
    gone = known_rows[[row.at for row in deleted]].with_columns(reason=pl.lit("deleted"), detail=pl.lit("the file is gone"))
    new = pl.DataFrame(list(rows), schema=RAW_PHOTOS.polars_schema(), orient="row")
    return pl.concat([old, gone, new]).sort("path_bytes")


def _files(root: Place, place: bytes, path_bytes: bytes, *, accept_missing: bool) -> list[FileSeen]:
    """Files of the folder; none when it is gone and that is accepted. A folder reached through a link is refused."""
    try:
        if isinstance(root, Url):
            return list_objects(root / path_bytes.decode("utf-8") if path_bytes else root)
        if os.path.realpath(place) != os.path.join(os.path.realpath(os.fsencode(root)), *filter(None, [path_bytes])):
            raise NotADirectoryError(errno.ENOTDIR, "a link stands in its place")
        return list_files(place)
    except (FileNotFoundError, NotADirectoryError) as error:
        if accept_missing and isinstance(root, Path) and root.is_dir():
            return []
        raise LibraryVanished(_gone(place, error)) from error
    except OSError as error:
        raise LibraryVanished(_gone(place, error)) from error


def _gone(place: bytes, error: OSError) -> str:
    return (
        f"photo folder {readable_path(place)} cannot be read: {error.strerror}. Is the disk or share mounted? "
        "If the folder was really removed, run `vibe folders --accept-missing`. Nothing was changed"
    )


def _base(folder_key: str, path: bytes, file: FileSeen) -> Row:
    row: Row = dict.fromkeys(RAW_PHOTOS.columns)
    return row | {
        "folder_key": folder_key, "path_bytes": path, "rel_path": readable_path(path), "bytes": file.size, "mtime_ns": file.mtime_ns,
    }  # fmt: skip


def _judged(file: FileSeen, place: bytes, root: Place, max_bytes: int) -> tuple[bytes, Row | None]:
    """Where to read the file, and reason and detail where it is refused unopened."""
    path = os.path.join(place, file.name)
    if isinstance(root, Path) and file.is_link:
        path = os.path.realpath(path)
        home = os.path.realpath(os.fsencode(root))
        if os.path.commonpath([home, path]) != home:
            return path, {"reason": "outside_root", "detail": f"links to {readable_path(path)}"}
    if file.error is not None:
        return path, {"reason": "io_error", "detail": file.error}
    if not looks_decodable(file.name):
        return path, {"reason": "unsupported_format", "detail": f"{suffix(file.name)} files are not read"}
    if is_url(path) and not 0 < file.size <= max_bytes:  # the listing says as much as reading it would
        reason = "too_many_bytes" if file.size else "empty"
        detail = f"{file.size} bytes, at most {max_bytes} are allowed" if file.size else "the file has no bytes"
        return path, {"reason": reason, "detail": detail}
    return path, None


def _still_holds(row: Known, file: FileSeen, settings: LibrarySettings) -> bool:
    """Whether a known row describes the file as it is now, under the limits of now."""
    if row.bytes != file.size or row.mtime_ns != file.mtime_ns:
        return False
    reason = row.reason
    if reason in TRANSIENT or reason in ("deleted", "outside_root"):
        return False
    if (reason == "too_many_bytes") != (file.size > settings.max_bytes):
        return False
    pixels = row.width * row.height if row.width and row.height else None
    return pixels is None or (reason == "too_many_pixels") == (pixels > settings.max_pixels)


def _measure(
    rows: dict[bytes, Row], unopened: Mapping[bytes, bytes], settings: LibrarySettings, progress: bool, measure: Measure | None
) -> None:
    """Fill in the rows of the files that must be opened."""
    if not unopened:
        return
    from tqdm import tqdm

    from vibe_assets.photos.workers import measure_photos

    paths = list(unopened)
    places = [unopened[path] for path in paths]
    records = measure(places) if measure else measure_photos(places, settings=settings)
    for path, record in zip(tqdm(paths, desc="photos", unit="photo", disable=None if progress else True), records, strict=True):
        rows[path] |= record


def _refuse_empty(place: bytes, files: int, known: Mapping[bytes, Known]) -> None:
    accepted = sum(row.reason is None for row in known.values())
    if accepted and not files:
        raise LibraryVanished(_worded(place, accepted, accepted, 0))


def _refuse_vanished(
    place: bytes, deleted: Sequence[Known], known: Mapping[bytes, Known], here: Container[str | None], max_missing_share: float
) -> None:
    """A photo under a new name is not missing: it is told by its content, `here` being the image_ids that were found."""
    accepted = sum(row.reason is None for row in known.values())
    missing = sum(row.reason is None and row.image_id not in here for row in deleted)
    if missing >= MIN_MISSING_PHOTOS and missing > max_missing_share * accepted:
        raise LibraryVanished(_worded(place, missing, accepted, max_missing_share))


def _worded(place: bytes, missing: int, accepted: int, share: float) -> str:
    return (
        f"photo folder {readable_path(place)}: {missing} of {accepted} known photos are missing (at most {share:.0%} may go missing at one "
        "look). Is the disk or share mounted? If they were really removed, run `vibe folders --accept-missing`. Nothing was changed"
    )
