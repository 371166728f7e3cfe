"""Checks and models together: true and narrower where the models know something, as before where they do not."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from tests.evaluate.rows import PACKAGED, labels, library
from vibe_assets.evaluate.combined import Models, combined_share
from vibe_assets.evaluate.compare import compare_paired, estimate_shares
from vibe_assets.evaluate.intervals import weighted_share
from vibe_assets.evaluate.labels import evaluate_labels
from vibe_assets.evaluate.paired import weighted_difference
from vibe_assets.evaluate.said import Said
from vibe_assets.records import Estimate

PHOTOS, CHECKS = 2000, 150


def drawn(kind: str, seed: int) -> tuple[Estimate, Estimate, float]:
    """Accuracy by both, by the checks alone, and of the library, with a student of a kind."""
    rng = np.random.default_rng(seed)
    right = rng.random(PHOTOS) < 0.8
    sure = {"knows": np.where(right, 0.9, 0.4), "nothing": np.full(PHOTOS, 0.7), "lies": np.where(right, 0.3, 0.95)}[kind]
    sure = np.clip(sure + rng.normal(0, 0.15, PHOTOS), 0, 1)
    at = rng.choice(PHOTOS, CHECKS, replace=False)
    weights = np.full(CHECKS, PHOTOS / CHECKS)
    both = combined_share(right[at], Models(sure[at, None], sure.mean(keepdims=True), PHOTOS), weights=weights, finite=True)
    return both, weighted_share(right[at], weights=weights, finite=True), float(right.mean())


@pytest.mark.parametrize(("kind", "narrower"), [("knows", 0.8), ("nothing", 1.001), ("lies", 0.8)])
def test_intervals_hold_and_are_narrower_where_the_student_knows_right_from_wrong(kind: str, narrower: float) -> None:
    found = [drawn(kind, seed) for seed in range(80)]
    assert np.mean([both.low <= true <= both.high for both, _, true in found]) >= 0.9
    assert np.mean([(both.high - both.low) / (alone.high - alone.low) for both, alone, _ in found]) <= narrower
    worth = [both.worth or both.n for both, _, _ in found]
    assert (np.median(worth) > 1.4 * CHECKS) == (kind != "nothing")


def test_models_that_are_always_right_give_the_share_of_the_library() -> None:
    rng = np.random.default_rng(2)
    true = rng.random(PHOTOS) < 0.3
    at = rng.choice(PHOTOS, 200, replace=False)
    both = combined_share(true[at], Models(true[at, None].astype(float), true.mean(keepdims=True), PHOTOS))
    assert both.value == pytest.approx(true.mean(), abs=1e-3)
    assert both.high - both.low > 0.01, "nobody is sure after 200 checks without an error"


def test_where_too_few_photos_could_tell_the_checks_speak_alone() -> None:
    hits, said = np.arange(60) % 30 != 0, np.linspace(0, 1, 60)
    models = Models(said[:, None], np.array([0.5]), 600)
    assert combined_share(hits, models) == weighted_share(hits)
    assert combined_share(hits[:20], Models(np.ones((20, 1)), np.ones(1), 600)) == weighted_share(hits[:20])
    whole = combined_share(np.arange(60) % 2, models, weights=np.ones(60), finite=True)
    assert (whole.low, whole.high) == (0.5, 0.5), "a library that was checked as a whole"


def test_what_sources_say_of_a_label_is_read_with_its_confidence_and_filled_with_the_mean() -> None:
    teacher = labels([{"image_id": one, "scene": scene} for one, scene in zip("abcd", [*["scene.food"] * 3, "scene.other"], strict=True)])
    rows = [
        {"image_id": "a", "scene": "scene.food", "scene_confidence": 0.8, "has_text": True, "has_text_confidence": 0.6},
        {"image_id": "b", "scene": "scene.other", "scene_confidence": 0.7, "has_text": None, "has_text_confidence": 0.4},
        {"image_id": "c", "scene": None, "scene_confidence": 0.2, "objects": ["object.drink"]},
    ]
    student = labels(rows, scene_confidence=pl.Float64, has_text_confidence=pl.Float64)
    said = Said("abcd", [teacher, student], questions=PACKAGED)
    assert said.knows("ab")
    assert not said.knows("ax")
    agreement = said.agreement(list("abd"), "scene")
    assert agreement.said[:, 0].tolist() == pytest.approx([0.8, 0.3, 0.55])  # the third was not answered: the mean of the two
    assert (agreement.everywhere[0], agreement.photos) == (pytest.approx(0.55), 4)
    assert said.shares(["a"], "scene.food").said.tolist() == [[1.0, 0.8]]
    assert said.shares(["a", "b"], "attr.has_text").said[:, 1].tolist() == pytest.approx([0.6, 0.4])
    assert said.shares(["c"], "object.drink").said[:, 1].tolist() == [1.0]
    precision = said.of_label(["a", "d"], "scene.food", "precision")
    assert precision is not None
    assert precision.said.tolist() == [[1.0, 0.8], [0.0, 0.0]]
    assert said.of_label(["a"], "scene.document", "precision") is None


def test_an_evaluation_counts_in_what_is_said_of_every_photo() -> None:
    truth, teacher, _ = library(900, accuracy=0.8)
    wrong = pl.int_range(pl.len()) % 25 == 0
    student = truth.with_columns(scene=pl.when(wrong).then(pl.lit("scene.other")).otherwise("scene"), scene_confidence=pl.lit(0.9))
    checked = truth.with_columns(inclusion_probability=0.25).gather_every(4)
    said = Said(truth["image_id"].to_list(), [teacher, student], questions=PACKAGED)
    both = evaluate_labels(teacher, checked, resamples=50, finite=True, said=said, questions=PACKAGED)
    alone = evaluate_labels(teacher, checked, resamples=50, finite=True, questions=PACKAGED)
    whole = evaluate_labels(teacher, truth.drop("inclusion_probability"), resamples=50, questions=PACKAGED)
    for found, other, true in zip(both.labels, alone.labels, whole.labels, strict=True):
        if found.kind == "scene" and found.precision is not None and found.precision.worth is not None:
            assert other.precision is not None
            assert true.precision is not None
            assert found.precision.high - found.precision.low < other.precision.high - other.precision.low
            assert found.precision.low <= true.precision.value <= found.precision.high
    accuracy = both.headline["scene_accuracy"]
    assert accuracy.worth is not None
    assert accuracy.worth > 1.5 * accuracy.n
    assert accuracy.low <= whole.headline["scene_accuracy"].value <= accuracy.high
    shares = estimate_shares(checked, finite=True, said=said, questions=PACKAGED)
    assert shares["scene.people"].worth is not None
    few = Said(truth["image_id"].to_list()[:5], [teacher, student], questions=PACKAGED)
    assert evaluate_labels(teacher, checked, resamples=50, finite=True, said=few, questions=PACKAGED).to_json() == alone.to_json()


def test_two_versions_are_compared_on_what_they_differ_by_on_all_photos_too() -> None:
    rng = np.random.default_rng(3)
    truth, old, _ = library(1200, seed=4)
    truth = truth.with_columns(pl.col("scene").fill_null("scene.other"))
    new = old.with_columns(scene=pl.when(pl.Series(rng.random(1200) < 0.5)).then(truth["scene"]).otherwise("scene"))
    teacher = truth.with_columns(scene=pl.when(pl.Series(rng.random(1200) < 0.02)).then(pl.lit("scene.food")).otherwise("scene"))
    checked = truth.with_columns(inclusion_probability=0.25).gather_every(4)
    both = compare_paired(old, new, checked, others=teacher, questions=PACKAGED).delta
    alone = compare_paired(old, new, checked, questions=PACKAGED).delta
    assert both is not None
    assert alone is not None
    assert both.high - both.low < 0.8 * (alone.high - alone.low)
    assert both.worth is not None
    apart = rng.random((100, 1))
    same = weighted_difference(np.arange(100) % 3 - 1.0, models=Models(apart, apart.mean(axis=0), 1000))
    assert same.high - same.low <= 1.01 * np.diff([*_ends(weighted_difference(np.arange(100) % 3 - 1.0))])[0]


def _ends(estimate: Estimate) -> tuple[float, float]:
    return estimate.low, estimate.high
