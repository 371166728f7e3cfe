"""Picks go in; ratings and pick labels in XMP sidecars come out, and out again. No photo is opened for writing, moved or deleted."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vibe_assets.export.pick_sidecar import RATING, Pick
from vibe_assets.export.sidecar_files import Outcome, find_sidecars, remove_pick, sidecar_path, write_pick
from vibe_assets.records import RAW_PHOTOS
from vibe_assets.stages.platform import Platform
from vibe_assets.stages.sidecars import sidecar_root
from vibe_assets.storage import below, is_url

if TYPE_CHECKING:
    import polars as pl

EXIF_RATING = 0x4746


def write_picks(
    platform: Platform, rows: pl.DataFrame, *, into: Path | None = None, dry_run: bool = False, now: datetime | None = None
) -> Iterator[Outcome]:
    """Make the sidecars say what BEST_OF_SERIES rows say, for every file of a photo, copies included; yields what became of each.

    Picks of earlier runs that are none any more are taken out, also of photos that are in no series now. Photos of a series without a
    pick, and the others of one with a pick, get nothing: a photo that was not picked is not a rejected one.
    """
    import polars as pl

    today = (now or datetime.now(UTC)).date().isoformat()
    folder, stars = into or sidecar_root(platform), platform.settings.triage.rating
    files = platform.lake.read_live(RAW_PHOTOS, columns=["image_id", "folder_key", "path_bytes", "rel_path", "reason"])
    files = files.filter(pl.col("reason").is_null()).join(rows.drop("rel_path"), on="image_id", how="inner").sort("rel_path", "pick")
    done: set[Path] = set()
    for row in files.unique("path_bytes", keep="last", maintain_order=True).iter_rows(named=True):
        place = sidecar_path(folder, bytes(row["path_bytes"]))
        done.add(place)
        pick = _pick(row, stars)
        embedded = embedded_rating(below(platform.settings.root, bytes(row["path_bytes"]))) if pick else ""
        yield write_pick(place, pick, root=folder, today=today, dry_run=dry_run, embedded=embedded)
    for place in find_sidecars(folder):
        if place not in done and (outcome := remove_pick(place, root=folder, dry_run=dry_run)) is not None:
            yield outcome


def remove_picks(platform: Platform, *, into: Path | None = None, dry_run: bool = False) -> Iterator[Outcome]:
    """Take our picks out of the sidecars below the photo root, or below `into`; labels and what others wrote stay."""
    folder = into or sidecar_root(platform)
    for place in find_sidecars(folder):
        if (outcome := remove_pick(place, root=folder, dry_run=dry_run)) is not None:
            yield outcome


def embedded_rating(photo: bytes | Path) -> str:
    """What somebody's stars within a photo say, '' for none: a sidecar would hide them. Cameras write 0 or nothing."""
    from PIL import Image

    from vibe_assets.export.packet import descriptions, rdf_of
    from vibe_assets.export.xmp_tree import SidecarError
    from vibe_assets.photos.decode import read_photo

    try:
        with Image.open(io.BytesIO(read_photo(photo)) if is_url(photo) else os.fsdecode(photo)) as image:
            stars = image.getexif().get(EXIF_RATING)
            packet = image.info.get("xmp") or b""
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return ""
    if isinstance(stars, int) and stars > 0:
        return f"rated {stars} within the photo"
    try:
        abouts = descriptions(rdf_of(packet)) if isinstance(packet, bytes) and packet else []
    except SidecarError:
        return ""
    for about in abouts:
        prop = about.first(RATING.name)
        said = (about.attributes.get(RATING.name) or (prop.text if prop else "")).strip()
        if said not in RATING.silent:
            return f"rated {said} within the photo"
    return ""


def _pick(row: Mapping[str, Any], stars: int) -> Pick | None:
    return Pick(row["series_id"], row["model"], row["probability"], stars) if row["pick"] else None
