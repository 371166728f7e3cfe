"""FACE_CHIPS rows of all shards go in; NAME_SPLITS rows come out: groups of one person or near-duplicates, each on one side."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from vibe_assets.photos.hashes import informative, near_pairs
from vibe_assets.records.first_names import NAME_SPLITS

if TYPE_CHECKING:
    import polars as pl

    from vibe_assets.settings import NameSettings

TWO_NAMES = "two_names"


def split_faces(chips: pl.DataFrame, settings: NameSettings) -> pl.DataFrame:
    """Draw train, val and test by group; a face's group is what its person, its photo or its perceptual hash links it to.

    The side follows from a hash of the group and the seed, so new faces move no others (unless they join two groups). The same
    chip under two names says nothing about either: its rows keep a reason and take no part.
    """
    import polars as pl

    rows = chips.filter(pl.col("reason").is_null()).select("image_id", "source_id", "name", "shard", "identity", "phash")
    rows = rows.unique(["image_id", "name"], keep="first").sort("image_id", "name")
    groups = _groups(rows, settings.near_duplicate_bits)
    first = rows.select("image_id").with_columns(group=pl.Series(groups)).group_by("group").agg(pl.col("image_id").min(), pl.len())
    names = rows.group_by("image_id").agg(several=pl.col("name").n_unique() > 1)
    grouped = (
        rows.with_columns(group=pl.Series(groups))
        .join(first.rename({"image_id": "group_id", "len": "group_size"}), on="group")
        .join(names, on="image_id")
    )
    sides = {group: _side(group, settings) for group in grouped["group_id"].unique()}
    return (
        grouped.with_columns(
            split=pl.col("group_id").replace_strict(sides, return_dtype=pl.String),
            reason=pl.when("several").then(pl.lit(TWO_NAMES)),
            detail=pl.when("several").then(pl.lit("the same picture is listed under several names")),
        )
        .select(list(NAME_SPLITS.columns))
        .cast(NAME_SPLITS.polars_schema())
        .sort("image_id", "name")
    )  # fmt: skip


def _groups(rows: pl.DataFrame, bits: int) -> np.ndarray:
    """Group numbers (n,): connected by equal person, equal photo, or hashes at most `bits` apart."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    count = rows.height
    if not count:
        return np.zeros(0, dtype=np.int64)
    links = [_linked(rows[column].to_list()) for column in ("image_id", "source_id", "identity")]
    hashes = np.array([int(value, 16) for value in rows["phash"]], dtype=np.uint64)
    telling = np.flatnonzero([informative(int(value)) for value in hashes])  # flat pictures all look alike
    if len(telling):
        unique, at = np.unique(hashes[telling], return_inverse=True)
        links.append(_linked([int(code) for code in at], telling))
        representative = np.full(len(unique), -1)
        representative[at[::-1]] = telling[::-1]
        pairs = near_pairs(unique, bits, new=np.ones(len(unique), bool)) if bits else np.empty((0, 2), np.int64)
        links.append(representative[pairs])
    ends = np.concatenate(links)
    graph = coo_matrix((np.ones(len(ends), np.int8), (ends[:, 0], ends[:, 1])), shape=(count, count))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)


def _linked(values: list[object], at: np.ndarray | None = None) -> np.ndarray:
    """Links (m, 2) from the first row of every value to its others; None links nothing."""
    first: dict[object, int] = {}
    places = range(len(values)) if at is None else at.tolist()
    pairs = [(first.setdefault(value, row), row) for row, value in zip(places, values, strict=True) if value is not None]
    found = [pair for pair in pairs if pair[0] != pair[1]]
    return np.array(found, dtype=np.int64).reshape(-1, 2)


def _side(group: str, settings: NameSettings) -> str:
    draw = int(hashlib.sha256(f"{settings.seed}:{group}".encode()).hexdigest()[:13], 16) / 16**13
    return "test" if draw < settings.test else "val" if draw < settings.test + settings.val else "train"
