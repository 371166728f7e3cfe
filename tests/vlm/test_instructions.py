"""Instruction data holds what people tagged, checked record by record, and nothing that judges."""

from __future__ import annotations

import json

import polars as pl
import pytest

from tests.vlm.conftest import Study, true_tags
from vibe_assets.records.tags import INSTRUCTION_DATASET, TAGGED_PHOTOS
from vibe_assets.vlm.failures import VlmError
from vibe_assets.vlm.instructions import Dataset, DatasetKnobs, benchmark_groups, build_dataset


@pytest.fixture
def tagged(study: Study) -> Study:
    study.batch("b1", range(20))
    study.batch("b2", range(20, 30), days=1)
    return study


def build(study: Study, **knobs: object) -> Dataset:
    return build_dataset(study.platform, DatasetKnobs(**knobs))  # type: ignore[arg-type]


def test_a_record_asks_with_the_picture_and_answers_with_the_tags(tagged: Study) -> None:
    made = build(tagged)
    lines = [json.loads(line) for line in made.train.read_text().splitlines()]
    user, assistant = lines[0]["messages"]
    picture, text = user["content"]
    assert picture["type"] == "image"
    assert picture["image"].endswith(".jpg")
    assert text["text"].startswith("List tags")
    assert json.loads(assistant["content"][0]["text"]) == {"tags": lines[0]["ground_truth_tags"]}
    assert len(lines) + len(made.val.read_text().splitlines()) == made.accepted.height


def test_splits_are_the_platform_s_and_test_photos_never_enter(tagged: Study) -> None:
    made = build(tagged)
    photos = tagged.platform.lake.read(TAGGED_PHOTOS)
    splits = dict(photos.select("image_id", "split").iter_rows())
    assert all(splits[image] == split for image, split in made.accepted.select("image_id", "split").iter_rows())
    assert set(made.accepted["split"]) == {"train", "val"}
    assert not set(made.accepted["image_id"]) & benchmark_groups(tagged.platform)
    assert not set(made.accepted["group_id"]) & benchmark_groups(tagged.platform)
    assert 0.1 <= made.statistics["val_share"] <= 0.35


def test_a_batch_kept_for_the_benchmark_stays_out_as_a_whole(tagged: Study) -> None:
    made = build(tagged, benchmark_batches=("b2",))
    assert set(made.accepted["batch"]) == {"b1"}
    assert made.rows.filter(pl.col("batch") == "b2")["reason"].unique().to_list() == ["benchmark"]
    with pytest.raises(VlmError, match="no batch 'b7'; there are b1, b2"):
        build(tagged, benchmark_batches=("b7",))


def test_photos_that_do_not_qualify_are_left_out_with_a_reason(tagged: Study) -> None:
    whole = build(tagged)
    gone, changed = whole.accepted.head(2).iter_rows(named=True)
    from pathlib import Path

    Path(gone["path_bytes"].decode()).unlink()
    Path(changed["path_bytes"].decode()).write_bytes(b"another picture")
    again = build(tagged, rebuild=True)
    reasons = dict(again.rows.select("image_id", "reason").iter_rows())
    assert reasons[gone["image_id"]] == reasons[changed["image_id"]] == "unreachable"
    with pytest.raises(VlmError, match="few_tags"):
        build(tagged, min_tags=7, rebuild=True)


def test_more_photos_are_added_and_what_is_in_stays_in(tagged: Study) -> None:
    first = build(tagged, max_samples=8)
    assert first.accepted.height == 8
    same = build(tagged, max_samples=8)
    assert set(same.accepted["image_id"]) == set(first.accepted["image_id"])
    assert same.added == 0
    more = build(tagged, max_samples=12)
    assert set(first.accepted["image_id"]) < set(more.accepted["image_id"])
    assert more.added == 4
    other = build(tagged, max_samples=8, rebuild=True, seed=1)
    assert set(other.accepted["image_id"]) != set(first.accepted["image_id"])


def test_nothing_is_padded_or_made_up(tagged: Study) -> None:
    made = build(tagged, max_samples=1000)
    assert made.accepted["image_id"].is_unique().all()
    true = {tuple(true_tags(at)) for at in range(30)}
    assert {tuple(tags) for tags in made.accepted["ground_truth_tags"]} <= true
    assert made.statistics["left_out"].keys() == {"benchmark"}


def test_without_photos_it_says_what_brings_some(study: Study) -> None:
    with pytest.raises(VlmError, match="tags ingest"):
        build(study)
    assert study.platform.lake.read(INSTRUCTION_DATASET).is_empty()
