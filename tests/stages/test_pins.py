"""Files of replaced versions go by themselves; what heads were trained on, and what a reader may still read, stays."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from deltalake.exceptions import DeltaError

from tests.faults import writers
from vibe_assets.lake import Lake
from vibe_assets.records import ANNOTATIONS
from vibe_assets.stages.pins import pinned_versions
from vibe_assets.stages.platform import Platform
from vibe_assets.stages.students import train_student

COMMITS = 60
PINNED = 10


def written(lake: Lake) -> int:
    """Commit the folder COMMITS times; how many data files are left."""
    for number in range(COMMITS):
        lake.replace(ANNOTATIONS, writers.rows(number), folder_key=writers.KEY)
    return len(list(Path(str(lake.path(ANNOTATIONS))).rglob("*.parquet")))


def test_files_of_replaced_versions_go_and_pinned_ones_stay(tmp_path: Path) -> None:
    lake = Lake(tmp_path, keep_h=0, pinned=lambda: {ANNOTATIONS.name: {PINNED}})
    assert written(lake) <= 22, "at most those since the last tidying, and the pinned one"
    assert lake.version(ANNOTATIONS) == COMMITS, "a table that did not change has no new version"
    assert lake.read(ANNOTATIONS)["latency_s"].unique().to_list() == [COMMITS - 1]
    assert lake.read(ANNOTATIONS, version=PINNED)["latency_s"].unique().to_list() == [PINNED - 1]
    with pytest.raises((DeltaError, OSError, RuntimeError, pl.exceptions.PolarsError)):
        lake.read(ANNOTATIONS, version=PINNED + 1)
    assert lake.torn() == []


def test_a_version_that_was_replaced_a_moment_ago_is_still_read(tmp_path: Path) -> None:
    lake = Lake(tmp_path, pinned=dict)
    lake.replace(ANNOTATIONS, writers.rows(99), folder_key=writers.KEY)
    reader = lake.scan(ANNOTATIONS)
    assert written(lake) == COMMITS + 1
    assert reader.collect()["latency_s"].unique().to_list() == [99]


def test_a_lake_that_was_opened_without_its_heads_deletes_nothing(tmp_path: Path) -> None:
    assert written(Lake(tmp_path, keep_h=0)) == COMMITS


def test_every_head_pins_what_it_was_trained_on(settled: Platform) -> None:
    pins = pinned_versions(settled.settings)
    cards = list(settled.settings.heads_dir.glob("*/card.json"))
    assert len(cards) == 3
    assert {"auto_ground_truth", "image_embeddings", "photo_groups"} <= pins.keys()
    assert train_student(settled, "scene").head.card.data_versions["image_embeddings"] in pins["image_embeddings"]
    cards[0].write_text("torn")
    (settled.settings.triage_dir / "heads").mkdir(parents=True)
    (settled.settings.triage_dir / "heads" / "x.safetensors").write_bytes(b"torn")
    assert pinned_versions(settled.settings)["image_embeddings"] == pins["image_embeddings"]
    assert settled.lake.pinned is not None
    assert settled.lake.pinned() == pinned_versions(settled.settings)
    assert settled.lake.keep_h == 24 * settled.settings.library.keep_days
