"""Photos that a source found become one batch of tagged_photos: checked, each once, in the groups and splits of the library."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vibe_assets.lake import checked_key
from vibe_assets.records import PHOTO_GROUPS, TABLES
from vibe_assets.records.tags import TAGGED_PHOTOS
from vibe_assets.stages.library import accepted_photos
from vibe_assets.stages.platform import Platform
from vibe_assets.teacher.pace import Pace
from vibe_assets.vlm.failures import VlmError
from vibe_assets.vlm.found import Found
from vibe_assets.vlm.sources import library_photos, read_tag_file
from vibe_assets.vlm.tags import normalise_tags
from vibe_assets.vlm.unsplash import Wish, fetch

if TYPE_CHECKING:
    import polars as pl

RAW_PHOTOS = TABLES["raw_photos"]
MAX_BATCH_CHARS = 32


@dataclass(frozen=True)
class Order:
    """Where a batch comes from: one of Unsplash, a tag file or folder, or the library's labels (`audited`, `auto`)."""

    unsplash: Wish | None = None
    file: Path | None = None
    library: str = ""
    limit: int | None = None
    allow_nothing_new: bool = False


@dataclass(frozen=True)
class Ingested:
    """What one ingest run did."""

    batch: str
    rows: pl.DataFrame  # TAGGED_PHOTOS rows of the batch
    known: int  # photos that were there already
    stopped: str  # why the source gave no more, '' where it gave all
    pruned: tuple[str, ...]


def new_batch(now: datetime | None = None) -> str:
    """Name of a batch that starts now."""
    return (now or datetime.now(UTC)).strftime("%Y%m%d-%H%M%S")


def ingest(platform: Platform, batch: str, order: Order, *, now: datetime | None = None, pace: Pace | None = None) -> Ingested:
    """Fill one batch; photos of other batches are left out. Raises VlmError when nothing new came, unless that is allowed."""
    import polars as pl

    if len(checked_key(batch)) > MAX_BATCH_CHARS or not batch.isascii():
        raise VlmError(f"{batch!r}: a batch is named by at most {MAX_BATCH_CHARS} of a to z, 0 to 9 and '-'")
    now = now or datetime.now(UTC)
    pruned = prune(platform, now=now)
    others = platform.lake.scan(TAGGED_PHOTOS).filter((pl.col("batch") != batch) & pl.col("reason").is_null()).collect()
    found, stopped = _found(platform, order, others, pace)
    rows = _checked(found, platform, batch, now)
    new = rows.filter(~pl.col("image_id").fill_null("").is_in(others["image_id"].to_list()))
    known = rows.height - new.height
    new = new.head(order.limit) if order.limit is not None else new
    if new.filter(pl.col("reason").is_null()).is_empty() and not order.allow_nothing_new:
        broken = f", {new.height} broken or unreachable" if new.height else ""
        raise VlmError(
            f"nothing new: {known} photos are in other batches already{broken}; ask for other photos, or allow it with --allow-nothing-new"
        )
    new = _grouped(platform, new)
    platform.lake.replace(TAGGED_PHOTOS, new, folder_key=batch, commit=platform.commit)
    return Ingested(batch, new, known, stopped, pruned)


def batches(platform: Platform) -> list[str]:
    """Batches with photos, oldest first."""
    import polars as pl

    rows = platform.lake.scan(TAGGED_PHOTOS).group_by("batch").agg(pl.col("ingested_at").min()).collect()
    return rows.sort("ingested_at", "batch")["batch"].to_list()


def prune(platform: Platform, *, now: datetime) -> tuple[str, ...]:
    """Remove batches older than vlm.keep_days, and the downloads that no batch holds any more; return the batches removed."""
    import polars as pl

    days = platform.settings.vlm.keep_days
    if not days:
        return ()
    rows = platform.lake.read(TAGGED_PHOTOS)
    old = rows.group_by("batch").agg(pl.col("ingested_at").max()).filter(pl.col("ingested_at") < now - timedelta(days=days))
    gone = sorted(old["batch"])
    kept = {os.fsdecode(path) for path in rows.filter(~pl.col("batch").is_in(gone))["path_bytes"].drop_nulls()}
    for batch in gone:
        platform.lake.replace(TAGGED_PHOTOS, rows.clear(), folder_key=batch, commit=platform.commit)
    downloads = downloads_dir(platform).resolve()
    for path in rows.filter(pl.col("batch").is_in(gone))["path_bytes"].drop_nulls():
        file = Path(os.fsdecode(path))
        if str(file) not in kept and file.parent == downloads:  # photos of people's own folders are theirs
            file.unlink(missing_ok=True)
    return tuple(gone)


def downloads_dir(platform: Platform) -> Path:
    return platform.settings.tags_dir / "photos"


def _found(platform: Platform, order: Order, others: pl.DataFrame, pace: Pace | None) -> tuple[Sequence[Found], str]:
    if sum((order.unsplash is not None, order.file is not None, bool(order.library))) != 1:
        raise VlmError("give one source: Unsplash (--query, --collection, --random), --from FILE, or --library audited|auto")
    if order.unsplash is not None:
        known = set(others.filter(source="unsplash")["source_id"])
        fetched = fetch(order.unsplash, downloads_dir(platform).resolve(), settings=platform.settings.vlm, known=known, pace=pace)
        return fetched.found, fetched.stopped
    if order.file is not None:
        return read_tag_file(order.file), ""
    if order.library not in ("audited", "auto"):
        raise VlmError(f"library = {order.library!r}: use audited (people's labels) or auto (the teacher's)")
    return library_photos(platform, order.library), ""


def _checked(found: Iterable[Found], platform: Platform, batch: str, now: datetime) -> pl.DataFrame:
    """TAGGED_PHOTOS rows without groups: every photo decoded once, a copy of one in the same batch rejected."""
    import polars as pl

    from vibe_assets.photos.workers import measure_photos

    found = list(found)
    unmeasured = [one.path for one in found if one.reason is None and one.path is not None and one.image_id is None]
    measured = dict(zip(unmeasured, measure_photos(unmeasured, settings=platform.settings.library), strict=True))
    rows: list[dict[str, Any]] = []
    seen: set[str] = set()
    for one in found:
        look = measured.get(one.path or b"", {})
        row: dict[str, Any] = {
            "batch": batch, "image_id": one.image_id or look.get("image_id"), "path_bytes": one.path, "name": one.name,
            "tags": normalise_tags(one.raw_tags), "raw_tags": len(one.raw_tags), "source": one.source, "source_id": one.source_id,
            "photographer": one.photographer, "credit_url": one.credit_url, "licence": one.licence,
            "phash": one.phash or look.get("phash"), "group_id": None, "split": None, "ingested_at": now,
            "reason": one.reason or look.get("reason"), "detail": one.detail or look.get("detail"),
        }  # fmt: skip
        if row["reason"] is None and row["image_id"] in seen:
            row |= {"reason": "duplicate", "detail": "the same picture twice in this batch"}
        if row["reason"] is None:
            seen.add(row["image_id"])
        rows.append(row)
    return pl.DataFrame(rows, schema=TAGGED_PHOTOS.polars_schema(), orient="row")


def _grouped(platform: Platform, rows: pl.DataFrame) -> pl.DataFrame:
    """The rows with group and split: a photo the library or an older batch has a near-duplicate of joins its group, and its side."""
    import polars as pl

    from vibe_assets.photos.groups import group_photos

    lake = platform.lake
    tagged = pl.concat([lake.read(TAGGED_PHOTOS).filter(pl.col("batch") != rows["batch"].first()), rows]) if rows.height else rows
    tagged = tagged.filter(pl.col("reason").is_null())
    shape = {"folder_key": pl.col("batch"), "camera": pl.lit(None, pl.String), "taken_at": pl.lit(None, pl.Datetime("us"))}
    columns = ["image_id", "folder_key", "path_bytes", "phash", "taken_at", "camera", "reason"]
    library = accepted_photos(platform)
    outside = tagged.filter(~pl.col("image_id").is_in(library["image_id"].to_list())).with_columns(**shape)
    earlier = tagged.filter(pl.col("split").is_not_null()).select(
        "image_id", "group_id", "split", link=pl.lit("single"), group_size=pl.lit(1, pl.Int32)
    )
    previous = pl.concat([lake.read(PHOTO_GROUPS), earlier.select(PHOTO_GROUPS.polars_schema().names())])
    groups = group_photos(
        pl.concat([library.select(columns), outside.select(columns)]), previous_rows=previous, settings=platform.settings.split
    )
    return (
        rows.drop("group_id", "split").join(groups.select("image_id", "group_id", "split"), on="image_id", how="left").select(rows.columns)
    )
