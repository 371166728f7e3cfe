"""The lake's photos and vectors, imports and what people chose -> series, quality and settled preferences, each in its table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vibe_assets.records import IMAGE_EMBEDDINGS, PHOTO_GROUPS
from vibe_assets.records.series import IMAGE_QUALITY, PHOTO_SERIES, SERIES_MEMBERS, SERIES_PREFERENCES
from vibe_assets.stages.library import accepted_photos
from vibe_assets.stages.platform import Platform, StageError
from vibe_assets.triage.choices import ChoiceLog
from vibe_assets.triage.imports import Import, imports
from vibe_assets.triage.splits import blocks_of, draw_splits

if TYPE_CHECKING:
    import polars as pl

    from vibe_assets.triage.series import Take

LIBRARY, REVIEW = "library", "review"
MEASURE = "1"  # version of the quality measures


def choice_log(platform: Platform) -> ChoiceLog:
    """Where the review page keeps what people chose."""
    return ChoiceLog(platform.settings.choices_dir)


# -- series ------------------------------------------------------------------------------------------------------------
def build_series(platform: Platform) -> pl.DataFrame:
    """PHOTO_SERIES of the live library and of every import; ids and splits of known series stay, also of one that was gone for a while."""
    ever = _ever(platform)
    photos = accepted_photos(platform)
    settings = platform.settings.triage
    found = {name: (LIBRARY, members) for name, members in _library_series(platform, photos, ever).items()}
    places = {row["image_id"]: row for row in photos.select("image_id", "rel_path", "path_bytes", "folder_key", "taken_at").to_dicts()}
    for one in imports(platform):
        found |= {name: (one.name, members) for name, members in one.series().items()}
        for photo in one.photos.values():
            if photo is not None:
                places.setdefault(photo.image_id, {"rel_path": photo.rel_path, "path_bytes": photo.path_bytes})
    groups = dict(platform.lake.read(PHOTO_GROUPS).select("image_id", "group_id").iter_rows())
    past = members_ever(ever)
    everyone = {name: (*members, *past.get(name, ())) for name, (_, members) in found.items()}
    blocks = blocks_of(past | everyone, groups)  # a new series must not share photos with one that may come back to another side
    splits = draw_splits(blocks, previous=dict(ever.select("series_id", "split").iter_rows()), settings=settings)
    table = build_rows(found, places, blocks, splits)
    _remember(platform, table, ever)  # first: a split that was drawn is drawn, whatever happens next
    platform.lake.replace(PHOTO_SERIES, table, commit=platform.commit)
    return table


def series_in_place(platform: Platform) -> pl.DataFrame:
    """PHOTO_SERIES rows, without photos of the library that are gone since, and without series that are left with one photo."""
    import polars as pl

    there = accepted_photos(platform)["image_id"].to_list()
    rows = platform.lake.read(PHOTO_SERIES).filter((pl.col("source") != LIBRARY) | pl.col("image_id").is_in(there))
    return rows.filter(pl.len().over("series_id") > 1)


def members_ever(rows: pl.DataFrame) -> dict[str, tuple[str, ...]]:
    """series_id -> image_ids of SERIES_MEMBERS rows."""
    import polars as pl

    grouped = rows.group_by("series_id", maintain_order=True).agg(pl.col("image_id"))
    return {name: tuple(photos) for name, photos in grouped.iter_rows()}


def _ever(platform: Platform) -> pl.DataFrame:
    """SERIES_MEMBERS; before the first of them, what PHOTO_SERIES holds."""
    columns = list(SERIES_MEMBERS.columns)
    known = platform.lake.read(SERIES_MEMBERS)
    return known if known.height else platform.lake.read(PHOTO_SERIES).select(columns)


def _remember(platform: Platform, table: pl.DataFrame, ever: pl.DataFrame) -> None:
    import polars as pl

    rows = pl.concat([table.select(ever.columns), ever]).unique(["series_id", "image_id"], keep="first").sort("series_id", "image_id")
    if not rows.equals(ever):
        platform.lake.replace(SERIES_MEMBERS, rows, commit=platform.commit)


def build_rows(
    series: Mapping[str, tuple[str, tuple[str, ...]]],
    places: Mapping[str, Mapping[str, Any]],
    blocks: Mapping[str, str],
    splits: Mapping[str, str],
) -> pl.DataFrame:
    """PHOTO_SERIES rows of series_id -> (source, members); `places`: image_id -> path and time."""
    import polars as pl

    rows = [
        {
            "series_id": name, "image_id": image_id, "position": position, "series_size": len(members), "source": source,
            "block": blocks[name], "split": splits[name],
            **{column: places[image_id].get(column) for column in ("rel_path", "path_bytes", "folder_key", "taken_at")},
        }
        for name, (source, members) in series.items()
        for position, image_id in enumerate(members)
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=PHOTO_SERIES.polars_schema(), orient="row").sort("series_id", "position")


def _library_series(platform: Platform, photos: pl.DataFrame, ever: pl.DataFrame) -> dict[str, tuple[str, ...]]:
    from vibe_assets.triage.series import find_series

    vectors = _lake_vectors(platform)
    known = dict(ever.filter(source=LIBRARY).select("image_id", "series_id").iter_rows())
    return find_series(takes_of(photos, vectors), previous=known, settings=platform.settings.triage)


def takes_of(photos: pl.DataFrame, vectors: Mapping[str, NDArray[np.float32]]) -> list[Take]:
    """RAW_PHOTOS rows as the grouping wants them."""
    from vibe_assets.triage.series import Take

    columns = ("image_id", "folder_key", "rel_path", "taken_at", "camera", "phash")
    return [
        Take(image_id, folder, path, taken_at, camera, int(phash, 16) if phash else None, vectors.get(image_id))
        for image_id, folder, path, taken_at, camera, phash in photos.select(columns).iter_rows()
    ]


def _lake_vectors(platform: Platform) -> dict[str, NDArray[np.float32]]:
    """image_id -> unit vector of the newest encoder among the live library's embeddings; empty before the first."""
    import polars as pl

    rows = platform.lake.read_live(IMAGE_EMBEDDINGS, columns=["image_id", "encoder", "embedding"]).filter(pl.col("embedding").is_not_null())
    if rows["encoder"].n_unique() > 1:
        raise StageError("image_embeddings holds vectors of several encoders: `vibe run image_embeddings`, then `vibe triage series`")
    return as_vectors(rows)


def as_vectors(rows: pl.DataFrame) -> dict[str, NDArray[np.float32]]:
    from vibe_assets.heads.dataset import vectors

    rows = rows.unique("image_id", keep="first", maintain_order=True)
    return dict(zip(rows["image_id"], vectors(rows["embedding"]), strict=True)) if rows.height else {}


# -- quality -----------------------------------------------------------------------------------------------------------
def measure_quality(platform: Platform) -> pl.DataFrame:
    """IMAGE_QUALITY of every photo in a series; what was measured before is not measured again."""
    import polars as pl

    known = platform.lake.read(IMAGE_QUALITY).filter((pl.col("measure") == MEASURE) & pl.col("reason").is_null())
    photos = platform.lake.read(PHOTO_SERIES).unique("image_id", keep="first", maintain_order=True)
    fresh = photos.join(known, on="image_id", how="anti")
    measured = quality_rows(platform, fresh)
    table = pl.concat([known.join(photos, on="image_id", how="semi"), measured]).sort("image_id")
    platform.lake.replace(IMAGE_QUALITY, table, commit=platform.commit)
    return table


def quality_rows(platform: Platform, photos: pl.DataFrame) -> pl.DataFrame:
    """IMAGE_QUALITY rows of photos (image_id, path_bytes, rel_path); one that cannot be read has a reason."""
    import polars as pl

    from vibe_assets.photos.decode import PhotoRejected, open_accepted
    from vibe_assets.photos.quality import MEASURE_PX, measure_take

    rows: list[dict[str, Any]] = []
    for ref in platform.photo_refs(photos):
        row: dict[str, Any] = {**dict.fromkeys(IMAGE_QUALITY.columns), "image_id": ref.image_id, "measure": MEASURE}
        try:
            photo = open_accepted(ref.path, platform.settings.library, draft_px=MEASURE_PX)
            row |= vars(measure_take(photo.image))
        except PhotoRejected as rejected:
            row |= {"reason": rejected.reason, "detail": rejected.detail}
        rows.append(row)
    return pl.DataFrame(rows, schema=IMAGE_QUALITY.polars_schema(), orient="row")


# -- preferences -------------------------------------------------------------------------------------------------------
def settle_preferences(platform: Platform) -> pl.DataFrame:
    """SERIES_PREFERENCES: every imported comparison, those that do not count with a reason, and what people chose on the page."""
    import polars as pl

    rows = [row for one in imports(platform) for row in _imported_rows(one)]
    for (series_id, _), choice in sorted(choice_log(platform).standing().items()):
        rows += [
            {"series_id": series_id, "image_a": p.a, "image_b": p.b, "file_a": "", "file_b": "", "votes_a": p.votes_a, "votes_b": p.votes_b,
             "agreement": max(p.votes_a, p.votes_b), "reviewers": 1, "source": REVIEW, "reason": None, "detail": None}
            for p in choice.preferences()
        ]  # fmt: skip
    table = pl.DataFrame(rows, schema=SERIES_PREFERENCES.polars_schema(), orient="row", infer_schema_length=None)
    platform.lake.replace(SERIES_PREFERENCES, table, commit=platform.commit)
    return table


def _imported_rows(one: Import) -> list[dict[str, Any]]:
    rows = []
    for comparison in one.comparisons:
        photos = [one.photos.get(file) for file in (comparison.file_a, comparison.file_b)]
        reason, detail = comparison.reason, comparison.detail
        if reason is None and None in photos:
            lost = [file for file, photo in zip((comparison.file_a, comparison.file_b), photos, strict=True) if photo is None]
            twice = any(file in one.photos for file in lost)
            reason = "photo_ambiguous" if twice else "photo_not_found"
            detail = f"{', '.join(lost)}: {'several photos have this name' if twice else 'no such photo'}"
        a, b = (photo.image_id if photo is not None else None for photo in photos)
        rows.append(
            {"series_id": one.series_id(comparison.series), "image_a": a, "image_b": b, "file_a": comparison.file_a,
             "file_b": comparison.file_b, "votes_a": float(comparison.votes_a), "votes_b": float(comparison.votes_b),
             "agreement": comparison.agreement, "reviewers": comparison.reviewers, "source": one.name, "reason": reason, "detail": detail}
        )  # fmt: skip
    return rows
