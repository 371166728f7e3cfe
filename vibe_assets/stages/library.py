"""Photo root -> folder_set, raw_photos and photo_groups."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from vibe_assets.lake import write_text
from vibe_assets.records import FOLDER_SET, PHOTO_GROUPS, RAW_PHOTOS, fingerprint
from vibe_assets.stages.notes import WANTED, leave_note
from vibe_assets.stages.platform import Platform

if TYPE_CHECKING:
    from collections.abc import Iterable

    import polars as pl

    from vibe_assets.photos.scan import Problem


@dataclass(frozen=True)
class Look:
    """What one look at the photo root found."""

    folders: pl.DataFrame  # FOLDER_SET rows of the live folders
    problems: tuple[Problem, ...]

    @property
    def version(self) -> str:
        """Moves when a folder comes or goes."""
        return fingerprint({"folders": self.folders["folder_key"].sort().to_list()})

    @property
    def listings(self) -> dict[str, str]:
        """folder_key -> hash of the names, sizes and times of its files."""
        return dict(self.folders.select("folder_key", "listing").iter_rows())


def look_at_folders(platform: Platform, *, accept_missing: bool = False, now: datetime | None = None) -> Look:
    """Walk the photo root and bring folder_set up to date. Raises LibraryVanished when far too much is missing."""
    rows, known, problems = _walked(platform, accept_missing=accept_missing, now=now)
    if not rows.equals(known):
        platform.lake.replace(FOLDER_SET, rows, commit=platform.commit)
    return _look(rows, problems)


def folders_as_they_lie(platform: Platform) -> Look:
    """What `look_at_folders` would find; nothing is written. Raises LibraryVanished."""
    rows, _, problems = _walked(platform)
    return _look(rows, problems)


def _walked(
    platform: Platform, *, accept_missing: bool = False, now: datetime | None = None
) -> tuple[pl.DataFrame, pl.DataFrame, tuple[Problem, ...]]:
    """FOLDER_SET as it is now and as it was at the last look, and what could not be read."""
    from vibe_assets.photos.scan import discover_folders, next_folder_set

    settings = platform.settings
    discovery = discover_folders(settings.root)
    known = platform.lake.read(FOLDER_SET)
    rows = next_folder_set(
        discovery, known, max_missing_share=settings.library.max_missing_share, accept_missing=accept_missing, now=now or datetime.now(UTC)
    )
    return rows, known, tuple(discovery.problems)


def _look(rows: pl.DataFrame, problems: tuple[Problem, ...]) -> Look:
    import polars as pl

    return Look(rows.filter(pl.col("gone_at").is_null()), problems)


def scan_folder(platform: Platform, folder_key: str, *, accept_missing: bool = False, now: datetime | None = None) -> pl.DataFrame:
    """Bring one folder's raw_photos up to date; unchanged files cost a stat call."""
    from vibe_assets.photos.scan import scan_folder as scan
    from vibe_assets.stages.spread import measurer

    accepted = _accepted(platform).get(folder_key) == _listing(platform, folder_key)
    rows = scan(
        platform.settings.root,
        folder_key,
        platform.folder_path(folder_key),
        known_rows=platform.lake.read(RAW_PHOTOS, folder_key=folder_key),
        settings=platform.settings.library,
        accept_missing=accept_missing or accepted,
        measure=measurer(platform),
        now=now,
    )
    platform.lake.replace(RAW_PHOTOS, rows, folder_key=folder_key, commit=platform.commit)
    if accepted:  # once: no licence for the next loss
        write_text(
            _accepted_file(platform), json.dumps({key: of for key, of in _accepted(platform).items() if key != folder_key}, indent=2)
        )
    return rows


def folders_to_look_at_again(platform: Platform, *, now: datetime | None = None) -> list[str]:
    """Keys of live folders with files to open again although nothing moved, sorted: `scan_folder` brings them up to date.

    Rejections that may pass (a decoder out of time or memory, a file that could not be read or was half written) once their pause is
    over; it grows from 5 min to a day. Photos that other code measured, or that were rejected by other code or under other limits.
    """
    import polars as pl

    from vibe_assets.photos.scan import to_measure_again

    found = platform.lake.scan(RAW_PHOTOS).filter(to_measure_again(platform.settings.library, now or datetime.now(UTC)))
    live = platform.lake.live_folders()
    return found.filter(pl.col("folder_key").is_in(live)).select("folder_key").unique().collect()["folder_key"].sort().to_list()


def accept_missing(platform: Platform) -> list[str]:
    """Keys of the folders from which photos vanished for good: the graph is to scan them again, and takes what it finds for all there is.

    That holds for the files as they lie there now: a disk that is unmounted afterwards is refused as before.
    """
    from vibe_assets.photos.scan import lacks_photos

    look = look_at_folders(platform, accept_missing=True)
    rows = {key: platform.lake.read(RAW_PHOTOS, folder_key=key) for key in look.listings}
    keys = [key for key in rows if lacks_photos(platform.settings.root, key, platform.folder_path(key), rows[key])]
    write_text(_accepted_file(platform), json.dumps(_accepted(platform) | {key: look.listings[key] for key in keys}, indent=2))
    for key in keys:
        leave_note(platform, RAW_PHOTOS.name, key, what=WANTED)
    return keys


def _accepted_file(platform: Platform) -> Path:
    return platform.settings.home / "accepted_missing.json"


def _accepted(platform: Platform) -> dict[str, str]:
    """folder_key -> listing of which people said that what it lacks is gone for good. A damaged file accepts nothing."""
    try:
        known = json.loads(_accepted_file(platform).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _listing(platform: Platform, folder_key: str) -> str:
    """Hash of the folder's files at the last look."""
    import polars as pl

    rows = platform.lake.scan(FOLDER_SET).filter(pl.col("folder_key") == folder_key).select("listing").collect()
    return str(rows["listing"][0]) if rows.height else ""


def accepted_photos(platform: Platform, folder_key: str | None = None, *, image_ids: Iterable[str] | None = None) -> pl.DataFrame:
    """RAW_PHOTOS rows without a reason, one per image_id, of one folder or of the live library; only those of `image_ids`, if given."""
    import polars as pl

    lake = platform.lake
    folders = lake.live_folders() if folder_key is None else [folder_key]
    rows = lake.scan(RAW_PHOTOS).filter(pl.col("folder_key").is_in(folders) & pl.col("reason").is_null())
    if image_ids is not None:
        rows = rows.filter(pl.col("image_id").is_in(list(image_ids)))
    return rows.sort("image_id", "rel_path").unique("image_id", keep="first", maintain_order=True).collect()


def group_library(platform: Platform) -> pl.DataFrame:
    """Near-duplicates, bursts and the split of the whole library; photos that are gone keep their row, to return to their side."""
    import polars as pl

    from vibe_assets.photos.groups import group_photos

    previous = platform.lake.read(PHOTO_GROUPS)
    rows = group_photos(accepted_photos(platform), previous_rows=previous, settings=platform.settings.split)
    gone = previous.join(rows, on="image_id", how="anti").with_columns(link=pl.lit("gone"))
    platform.lake.replace(PHOTO_GROUPS, pl.concat([rows, gone]), commit=platform.commit)
    return rows
