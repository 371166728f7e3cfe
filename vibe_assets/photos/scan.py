"""A folder of the photo root goes in; one RAW_PHOTOS row per file comes out, rejected files included with a reason."""

# ruff: noqa: PTH118 -- paths are bytes here, and pathlib takes text only
from __future__ import annotations

import errno
import os
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import PIL

from vibe_assets.photos.decode import JPEG_PIXELS, looks_decodable, suffix
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
from vibe_assets.records import RAW_PHOTOS, fingerprint
from vibe_assets.settings import LibrarySettings
from vibe_assets.storage import Place, Url, is_url

if TYPE_CHECKING:
    import polars as pl

__all__ = [
    "Discovery", "Folder", "LibraryVanished", "Problem", "discover_folders", "folder_key", "lacks_photos", "next_folder_set", "scan_folder",
]  # fmt: skip

MIN_MISSING_PHOTOS = 10  # fewer are an everyday clean-up, whatever their share
TRANSIENT = frozenset(["io_error", "decode_timeout", "decoder_crashed", "out_of_memory"])  # may end otherwise at the next look
DAMAGED = frozenset(["truncated", "unreadable", "unsupported_format"])  # so may these while the file is young: it may be half written
YOUNG = timedelta(hours=1)
FIRST_PAUSE, LONGEST_PAUSE = timedelta(minutes=5), timedelta(days=1)  # before a file is looked at again by itself; doubled each time
REJECTED_BY = 2  # raise when the code may accept what it rejected before
MEASURED_BY = {"TIFF": 3, "PNG": 2}  # format -> version, 1 elsewhere; raise when the row of an accepted photo comes out otherwise
Row = dict[str, Any]
Measure = Callable[[Sequence[bytes]], Iterable[Row]]  # paths -> one record each, in their order


class Known(NamedTuple):
    """What of a known row decides whether it still holds; the row itself stays where it is."""

    at: int  # index into the known rows
    image_id: str | None
    bytes: int
    mtime_ns: int
    reason: str | None
    tries: int | None
    outdated: bool  # see to_measure_again


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
    now: datetime | None = None,
) -> pl.DataFrame:
    """RAW_PHOTOS rows of one folder, its sub-folders left out, sorted by path.

    A file with the path, size and modification time of a known row keeps that row unopened, unless its reason may have passed, or it was
    measured by other code or rejected under other limits. Files
    that are gone stay as rows with the reason `deleted` where their image_id is known. `image_id` is null where the bytes were not read:
    unsupported_format by extension, outside_root, io_error, empty, too_many_bytes. Raises LibraryVanished when the folder cannot be
    read, and (unless `accept_missing`) when it is empty now or over `max_missing_share` of its photos (at least 10) are gone for good.
    """
    now = now or datetime.now(UTC)
    known_rows = _known_rows(known_rows, folder_key)
    short = known_rows.with_row_index("at").with_columns(outdated=to_measure_again(settings, now)).select(Known._fields)
    known = dict(zip(known_rows["path_bytes"], map(Known._make, short.iter_rows()), strict=True))
    place = folder_path(root, path_bytes)
    before = os.path.join(path_bytes, b"") if path_bytes else b""
    kept: dict[bytes, Known] = {}
    rows: dict[bytes, Row] = {}
    unopened: dict[bytes, bytes] = {}  # relative path -> where to read it
    for file in _files(root, place, path_bytes, accept_missing=accept_missing):
        path = before + file.name
        row = known.get(path)
        if row is not None and not _still_holds(row, file):
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
    for path, new in rows.items():
        _sign(new, known.get(path), settings, now)
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
    schema = RAW_PHOTOS.polars_schema()
    new = pl.DataFrame([_storable(row, schema) for row in rows], schema=schema, orient="row")
    return pl.concat([old, gone, new]).sort("path_bytes")


def _storable(row: Row, schema: Mapping[str, Any]) -> Row:
    """The row with what its columns cannot hold made so that they can: one odd file must not cost its folder.

    A number beyond its column is unknown (a TIFF may claim more pixels a side than 32 bits count), half a surrogate pair is spelled out.
    """
    import polars as pl

    bits = {name: 31 if dtype == pl.Int32 else 63 for name, dtype in schema.items() if dtype in (pl.Int32, pl.Int64)}
    kept = dict(row)
    for name, value in row.items():
        if isinstance(value, str):
            kept[name] = value.encode("utf-8", "backslashreplace").decode()
        elif isinstance(value, int) and name in bits and not -(1 << bits[name]) <= value < 1 << bits[name]:
            kept[name] = None
    return kept


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


def _still_holds(row: Known, file: FileSeen) -> bool:
    """Whether a known row describes the file as it is now, under the code and the limits of now."""
    if row.outdated or row.bytes != file.size or row.mtime_ns != file.mtime_ns:
        return False
    if row.reason == "unsupported_format" and row.image_id is None:  # it was judged by its name, which costs nothing
        return False
    return row.reason not in TRANSIENT and row.reason not in ("deleted", "outside_root")


def to_measure_again(settings: LibrarySettings, now: datetime) -> pl.Expr:
    """Of RAW_PHOTOS rows: whether a file that has not changed is to be opened again, by its row.

    True where other code measured it, where it was rejected by other code or under other limits or now exceeds them, and where the
    reason may pass and the pause since the last try is over. A pause is 5 min, doubled with each try, a day at the most.
    """
    import polars as pl

    rejected, tries = pl.col("reason").is_not_null(), pl.col("tries").fill_null(0)
    pause = pl.min_horizontal(pl.lit(2).pow((tries - 1).clip(0, 20)) * pl.lit(FIRST_PAUSE), pl.lit(LONGEST_PAUSE))
    passing = (pl.col("reason").is_in(TRANSIENT) & (pl.col("bytes") > 0)) | (tries > 0)  # no size: the listing moves once it has one
    due = passing & (pl.col("tried_at") + pause <= now).fill_null(True)
    code = pl.col("format").replace_strict({name: str(version) for name, version in MEASURED_BY.items()}, default="1")
    times = pl.when(pl.col("format").is_in(["JPEG", "MPO"])).then(JPEG_PIXELS).otherwise(1)
    too_many = pl.col("width").cast(pl.Int64) * pl.col("height") > settings.max_pixels * times
    too_large = pl.col("bytes") > settings.max_bytes
    judged = pl.col("image_id").is_not_null() & ~pl.col("reason").is_in(TRANSIENT)
    old = (
        pl.when(rejected)
        .then(judged & pl.col("measured_by").ne_missing(_rejected_by(settings)))
        .otherwise(too_many.fill_null(False) | too_large | (pl.col("measured_by").fill_null("1") != code))
    )
    lifted = (pl.col("reason") == "too_many_bytes") & ~too_large
    return (pl.col("reason").ne_missing("deleted") & (due | old | lifted)).fill_null(False)


def _rejected_by(settings: LibrarySettings) -> str:
    """Fingerprint of what rejects photos: code, decoder and limits."""
    return fingerprint({"code": REJECTED_BY, "pillow": PIL.__version__, "max_pixels": settings.max_pixels, "max_bytes": settings.max_bytes})


def _sign(row: Row, before: Known | None, settings: LibrarySettings, now: datetime) -> None:
    """Write into a new row what decides when its file is opened again."""
    reason, opened = row["reason"], row["image_id"] is not None
    if reason is None:
        row["measured_by"] = str(MEASURED_BY.get(row["format"], 1))
    elif opened and reason not in TRANSIENT:
        row["measured_by"] = _rejected_by(settings)
    written = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=row["mtime_ns"] // 1000)
    if (reason in TRANSIENT and row["bytes"]) or (reason in DAMAGED and opened and now - written < YOUNG):
        same = before is not None and (before.bytes, before.mtime_ns) == (row["bytes"], row["mtime_ns"])
        row["tries"], row["tried_at"] = (before.tries or 0) + 1 if before is not None and same else 1, now


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
