"""Several draws together: the chance of a photo to be checked, whatever was drawn before, and estimates that stay unbiased."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from tests.labels.test_sample import library
from vibe_assets.labels.draws import audited_chances, counted_draws, record_of_older, strategy_of
from vibe_assets.labels.sample import draw_record, sample_rows, target_chances
from vibe_assets.settings import AuditSettings


@pytest.fixture(scope="module")
def tables():
    return library(groups=80)


def record(tables, number, *, photos=None, seed=0, **settings):
    truth, groups, paths, predicted = tables
    there = paths if photos is None else paths[:photos]
    drawn = draw_record(truth, groups, paths=there, settings=AuditSettings(seed=seed, **settings), predictions=predicted)
    return drawn.with_columns(draw=pl.lit(number), seed=pl.lit(seed))


def sampled(draws):
    return sorted(set(draws.filter(pl.col("drawn"))["image_id"]))


def test_groups_are_drawn_in_proportion_to_their_photos(tables):
    one = record(tables, 1, sample_size=12, strategy="random", test_share=0.5)
    for _, side in one.group_by("stratum"):
        groups = side.unique("group_id")
        chance = (groups["inclusion_probability"] * groups["group_size"]).to_numpy()
        assert chance.sum() == pytest.approx(side["drawn"].sum())
        free = groups.filter(pl.Series(chance < 0.9))
        assert free["inclusion_probability"].max() < 1.2 * free["inclusion_probability"].min(), "photos weigh nearly alike"
    assert target_chances(np.array([6, 2, 1, 1]), 2).tolist() == pytest.approx([1, 0.5, 0.25, 0.25]), "a large burst is drawn for certain"


def step(strategy, **more):
    return {"strategy": strategy, "sample_size": 20, **more}


PLANS = {
    "random, stratified": [step("random"), step("stratified")],
    "disagreement, then the library grew": [step("disagreement", photos=90), step("random")],
    "another seed": [step("uncertainty"), step("uncertainty", other=1000)],
}


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_totals_over_two_draws_are_unbiased(tables, plan):
    differ = {  # what the disagreement strategy draws more often
        image_id
        for image_id, scene, said in tables[0].select("image_id", "scene").join(tables[3], on="image_id")[:, :3].iter_rows()
        if scene != said
    }
    photos, odd, kept = [], [], []
    for seed in range(120):
        draws = pl.concat(
            [
                record(tables, at, seed=seed + one.get("other", 0), **{name: value for name, value in one.items() if name != "other"})
                for at, one in enumerate(plan)
            ]
        )
        chances = audited_chances(draws, sampled(draws))
        photos.append(sum(1 / chance for chance in chances.values()))
        odd.append(sum(1 / chance for image_id, chance in chances.items() if image_id in differ))
        last = dict(draws.filter(pl.col("drawn")).select("image_id", "inclusion_probability").iter_rows())
        kept.append(sum(1 / chance for chance in last.values()))

    def z(values, true):
        return (np.mean(values) - true) / (np.std(values) / np.sqrt(len(values)))

    assert abs(z(photos, len(tables[0]))) < 4
    assert abs(z(odd, len(differ))) < 4
    assert z(kept, len(tables[0])) > 5, "with each draw's own chance the photos are counted twice"


def test_a_draw_that_nobody_looked_at_does_not_count(tables):
    draws = pl.concat([record(tables, 1, sample_size=20, strategy="random"), record(tables, 2, sample_size=30, strategy="disagreement")])
    first = sampled(draws.filter(pl.col("draw") == 1))
    assert counted_draws(draws, first) == {1: 1.0}
    own = dict(draws.filter(pl.col("draw") == 1).select("image_id", "inclusion_probability").iter_rows())
    assert audited_chances(draws, first) == {image_id: own[image_id] for image_id in first}


def test_a_larger_sample_of_the_same_kind_takes_the_place_of_the_smaller_one(tables):
    draws = pl.concat([record(tables, 1, sample_size=20, strategy="random"), record(tables, 2, sample_size=40, strategy="random")])
    assert set(sampled(draws.filter(pl.col("draw") == 1))) <= set(sampled(draws.filter(pl.col("draw") == 2)))
    assert counted_draws(draws, sampled(draws)) == {2: 1.0}


def test_half_of_a_sample_has_half_the_chance(tables):
    draws = record(tables, 1, sample_size=20, strategy="random")
    half = sampled(draws)[:10]
    own = dict(draws.select("image_id", "inclusion_probability").iter_rows())
    assert audited_chances(draws, half) == pytest.approx({image_id: own[image_id] / 2 for image_id in half})
    assert audited_chances(draws, []) == {}


def test_a_sample_from_before_records_is_taken_over_with_its_rates(tables):
    truth, _, paths, _ = tables
    now = record(tables, 1, sample_size=30, strategy="stratified").drop("draw", "seed")
    old = record_of_older(sample_rows(now, truth, paths), now)
    assert set(old.filter(pl.col("drawn"))["image_id"]) == set(now.filter(pl.col("drawn"))["image_id"])
    assert old.height == truth.height
    assert old["inclusion_probability"].is_between(0, 1, closed="right").all()
    assert strategy_of(["test/scene.food", "rest/mixed"]) == "stratified"
    assert [strategy_of([one]) for one in ("rest/all", "rest/differ", "test/50_to_70")] == ["random", "disagreement", "uncertainty"]
