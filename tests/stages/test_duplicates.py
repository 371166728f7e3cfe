"""Near-duplicates by vector: what the groups miss is listed, what crosses splits first."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.export.library import FOLDER, NAMES, build
from vibe_assets.records import IMAGE_EMBEDDINGS, PHOTO_GROUPS
from vibe_assets.stages.duplicates import find_duplicates
from vibe_assets.stages.embeddings import embed_folder
from vibe_assets.stages.platform import Platform, StageError


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    """Photos 0 and 1 (one group), 2 and 5, 3 and 4 have nearly the same vector; 3 and 4 lie in different splits."""
    platform = build(tmp_path, NAMES[:6])
    embed_folder(platform, FOLDER)
    rows = platform.lake.read(IMAGE_EMBEDDINGS).sort("image_id")
    x = np.eye(8, dtype=np.float32)[[0, 0, 1, 2, 2, 1]] + np.float32(1e-3) * np.eye(8, dtype=np.float32)[[3, 4, 5, 3, 4, 5]]
    x[2, 6] = 0.05
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    platform.lake.replace(
        IMAGE_EMBEDDINGS, rows.with_columns(embedding=pl.Series(x.tolist(), dtype=pl.List(pl.Float32))), folder_key=FOLDER
    )
    ids = rows["image_id"].to_list()
    groups = {"image_id": ids, "group_id": [ids[0], ids[0], *ids[2:]], "split": ["train"] * 4 + ["test", "train"]}
    table = pl.DataFrame(groups).with_columns(group_size=1, link=pl.lit("single"))
    platform.lake.replace(PHOTO_GROUPS, table.cast(PHOTO_GROUPS.polars_schema()))
    return platform


def test_pairs_that_the_groups_miss_are_listed_those_across_splits_first(platform: Platform) -> None:
    found = find_duplicates(platform, cosine=0.98)
    assert found.compared == 6
    assert found.grouped == 1, "the two photos of one group"
    assert [pair.splits for pair in found.pairs] == [("train", "test"), ("train", "train")]
    assert [pair.crosses for pair in found.pairs] == [True, False]
    assert all(pair.photo.startswith("album/") and pair.other.startswith("album/") for pair in found.pairs)
    assert [pair.splits for pair in find_duplicates(platform, cosine=0.9999).pairs] == [("train", "test")]


def test_a_library_without_vectors_is_told_what_to_do(tmp_path: Path) -> None:
    platform = build(tmp_path, NAMES[:2])
    platform.lake.replace(IMAGE_EMBEDDINGS, platform.lake.read(IMAGE_EMBEDDINGS).head(0), folder_key=FOLDER)
    with pytest.raises(StageError, match="`vibe run image_embeddings`"):
        find_duplicates(platform, cosine=0.98)
