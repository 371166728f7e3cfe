"""The audit sample: exact chances, groups drawn once, the same photos for the same seed, unbiased estimates."""

from __future__ import annotations

import json
import random
from collections import Counter

import numpy as np
import polars as pl
import pytest

from vibe_assets.labels.sample import draw_record, draw_sample, write_sample
from vibe_assets.questions import load
from vibe_assets.records import AUDIT_SAMPLE, AUTO_GROUND_TRUTH, PHOTO_GROUPS
from vibe_assets.settings import AuditSettings

STRATEGIES = ("random", "stratified", "disagreement", "uncertainty", "doubt")
SHARES = {"scene.food": 0.6, "scene.people": 0.25, "scene.document": 0.1, None: 0.05}


def library(groups=60, seed=0):
    """Truth, groups, paths and predictions of a small library: bursts of up to 4, a quarter of the groups in the test split."""
    rng = random.Random(seed)
    truth, placed, paths, predicted = [], [], [], []
    for number in range(groups):
        size = rng.choice([1, 1, 1, 2, 4])
        scene = rng.choices(list(SHARES), list(SHARES.values()))[0]
        split = rng.choices(["test", "train", "val", "aside"], [25, 50, 15, 10])[0]
        for shot in range(size):
            image_id = f"{number:03d}-{shot}"
            own = scene if rng.random() < 0.9 else "scene.other"
            student = own if rng.random() < 0.8 else "scene.product"
            truth.append(
                {
                    **dict.fromkeys(AUTO_GROUND_TRUTH.columns),
                    "image_id": image_id,
                    "scene": own,
                    "objects": ["object.food"],
                    "has_text": True,
                }
            )
            placed.append({"image_id": image_id, "group_id": f"{number:03d}-0", "split": split, "link": "burst", "group_size": size})
            paths.append({"image_id": image_id, "rel_path": f"p/{image_id}.jpg"})
            predicted.append({"image_id": image_id, "scene": student, "scene_confidence": 1 - rng.random() ** 2})
    return (
        pl.DataFrame(truth, schema=AUTO_GROUND_TRUTH.polars_schema()),
        pl.DataFrame(placed, schema=PHOTO_GROUPS.polars_schema()),
        pl.DataFrame(paths), pl.DataFrame(predicted, schema={"image_id": pl.String, "scene": pl.String, "scene_confidence": pl.Float64}),
    )  # fmt: skip


def drawn(tables, *, predictions=True, **settings):
    truth, groups, paths, predicted = tables
    return draw_sample(truth, groups, paths=paths, settings=AuditSettings(**settings), predictions=predicted if predictions else None)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_estimates_weighted_by_the_inclusion_probability_are_unbiased(strategy):
    tables = library()
    scenes = dict(tables[0].select("image_id", "scene").iter_rows())
    estimates = {scene: [] for scene in scenes.values()}
    for seed in range(300):
        weight = Counter()
        for scene, chance in (
            drawn(tables, sample_size=20, seed=seed, strategy=strategy).select("scene", "inclusion_probability").iter_rows()
        ):
            weight[scene] += 1 / chance
        for scene, values in estimates.items():
            values.append(weight[scene] / len(scenes))
    for scene, values in estimates.items():
        share = Counter(scenes.values())[scene] / len(scenes)
        error = np.std(values) / np.sqrt(len(values))
        assert abs(np.mean(values) - share) < 4 * error, (scene, np.mean(values), share)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_stated_chance_is_how_often_a_photo_is_drawn(strategy):
    tables, tries = library(groups=25), 400
    counts, stated = Counter(), {}
    for seed in range(tries):
        for row in drawn(tables, sample_size=10, seed=seed, strategy=strategy).iter_rows(named=True):
            counts[row["image_id"]] += 1
            stated[row["image_id"]] = row["inclusion_probability"]
    assert set(stated) == set(tables[0]["image_id"])
    for image_id, chance in stated.items():
        assert abs(counts[image_id] / tries - chance) < 5 * np.sqrt(chance * (1 - chance) / tries) + 1e-9


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 17, 40, 59, 60, 1000])
def test_size_groups_are_drawn_each_once_with_chances_that_add_up(strategy, size):
    tables = library()
    sample = drawn(tables, sample_size=size, strategy=strategy)
    assert len(sample) == min(size, 60) == sample["group_id"].n_unique()
    assert sample.schema == pl.Schema(AUDIT_SAMPLE.polars_schema())
    assert sample["inclusion_probability"].is_between(0, 1).all()
    if size >= 60:
        sizes = dict(tables[1].select("image_id", "group_size").iter_rows())
        assert all(p == 1 / sizes[i] for i, p in sample.select("image_id", "inclusion_probability").iter_rows())


def test_the_test_split_gives_its_share_as_far_as_it_holds_enough():
    tables = library(groups=200)
    split = dict(tables[1].select("group_id", "split").iter_rows())
    in_test = sum(value == "test" for value in split.values())

    def from_test(size):
        return sum(split[group] == "test" for group in drawn(tables, sample_size=size, test_share=0.5)["group_id"])

    assert from_test(40) == 20
    assert from_test(180) == in_test < 90
    assert from_test(200) == in_test
    aside = drawn(tables, sample_size=200).filter(pl.col("group_id").is_in([g for g, s in split.items() if s == "aside"]))
    assert set(aside["stratum"].str.split("/").list.first()) == {"rest"}


def test_rare_scenes_are_drawn_at_a_higher_rate_when_stratified():
    tables = library(groups=300)
    sample = drawn(tables, sample_size=60, strategy="stratified")
    chance = dict(sample.group_by("stratum").agg(pl.len()).iter_rows())
    assert chance["rest/scene.document"] >= 4
    assert all(count >= 1 for count in chance.values())
    assert {"test/scene.food", "rest/unknown"} <= chance.keys()


def test_groups_where_teacher_and_student_differ_are_drawn_at_a_higher_rate():
    tables = library(groups=300)
    sample = drawn(tables, sample_size=60, strategy="disagreement").filter(pl.col("image_id").is_in(
        tables[1].filter(pl.col("group_size") == 1)["image_id"].implode()))  # fmt: skip
    rate = dict(sample.group_by("stratum").agg(pl.col("inclusion_probability").first()).iter_rows())
    assert rate["rest/differ"] > 2 * rate["rest/agree"]
    early = drawn(tables, predictions=False, sample_size=60, strategy="disagreement")
    assert set(early["stratum"]) == {"test/unjudged", "rest/unjudged"}


def test_doubt_draws_more_where_checks_found_errors_and_evenly_where_they_found_none():
    tables = library(300, seed=2)
    truth, groups, paths, predicted = tables
    scene, settings = dict(truth.select("image_id", "scene").iter_rows()), AuditSettings(sample_size=60, strategy="doubt")
    doubted = {one for one, said, sure in predicted.iter_rows() if (sure if said == scene[one] else 1 - sure) < 0.5}

    def share(checked):
        record = draw_record(truth, groups, paths=paths, settings=settings, predictions=predicted, checked=checked)
        mean = record.group_by(pl.col("image_id").is_in(list(doubted)).alias("doubted")).agg(pl.col("inclusion_probability").mean())
        chance = dict(mean.iter_rows())
        return chance[True] / chance[False]

    even = share({})
    assert even == pytest.approx(1, abs=0.15)
    told = {one: (float(one in doubted and at % 2), 1.0) for at, one in enumerate(scene)}
    assert share(told) > 1.25 * even
    random_errors = {one: (float(at % 5 == 0), 1.0) for at, one in enumerate(sorted(scene))}
    assert share(random_errors) == pytest.approx(even, abs=0.2)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_sample_depends_on_seed_and_photos_not_on_row_order(strategy):
    tables = library()
    shuffled = tuple(table.sample(fraction=1, shuffle=True, seed=5) for table in tables)
    first = drawn(tables, sample_size=20, strategy=strategy)
    assert first.equals(drawn(shuffled, sample_size=20, strategy=strategy))
    assert not first.equals(drawn(tables, sample_size=20, strategy=strategy, seed=43))


def test_a_few_new_photos_leave_most_of_the_sample_as_it_was():
    truth, groups, paths, predicted = library(groups=200)
    kept = ~pl.col("image_id").str.starts_with("19")  # ten of the 200 groups arrive later
    before = drawn((truth.filter(kept), groups.filter(kept), paths.filter(kept), predicted), sample_size=60)
    after = drawn((truth, groups, paths, predicted), sample_size=60)
    assert len(set(before["image_id"]) & set(after["image_id"])) >= 50


def test_only_photos_with_truth_and_a_path_are_drawn_and_copies_show_one_path():
    truth, groups, paths, _ = library(groups=10)
    gone = paths["image_id"][0]
    paths = pl.concat([paths.filter(pl.col("image_id") != gone), pl.DataFrame({"image_id": ["001-0"], "rel_path": ["a/copy.jpg"]})])
    sample = draw_sample(truth, groups, paths=paths, settings=AuditSettings())
    assert gone not in sample["image_id"].to_list()
    assert dict(sample.select("image_id", "rel_path").iter_rows()).get("001-0", "a/copy.jpg") == "a/copy.jpg"


def test_an_empty_library_gives_an_empty_sample():
    truth, groups, paths, _ = library(groups=3)
    assert draw_sample(truth.clear(), groups.clear(), paths=paths.clear(), settings=AuditSettings()).is_empty()
    alone = draw_sample(truth, groups.clear(), paths=paths, settings=AuditSettings())
    assert set(alone["inclusion_probability"]) == {1.0}


def test_the_file_for_people_is_a_pretty_list_with_every_question_spelt_out(tmp_path):
    sample = drawn(library(), sample_size=5)
    path = write_sample(sample, tmp_path / "audit" / "sample.json", load())
    text = path.read_text(encoding="utf-8")
    photos = json.loads(text)
    assert text.startswith('[\n  {\n    "image_id"')
    assert [photo["image_id"] for photo in photos] == sample["image_id"].to_list()
    first = photos[0]
    assert list(first) == ["image_id", "rel_path", "scene", "attributes", "objects", "inclusion_probability", "stratum"]
    assert first["attributes"]["attr.has_text"] is True
    assert first["attributes"]["attr.has_person"] is None
    assert len(first["attributes"]) == 5
