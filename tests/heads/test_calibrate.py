from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from vibe_assets.heads.calibrate import (
    GRID,
    calibration_error,
    fit_platt,
    fit_temperature,
    pick_band,
    pick_confidence,
    pick_threshold,
    why_open,
)  # fmt: skip
from vibe_assets.heads.models import sigmoid, softmax
from vibe_assets.heads.scores import risk_coverage

RNG = np.random.default_rng(0)
SCORED = st.integers(12, 60).flatmap(lambda n: st.tuples(arrays(float, n, elements=st.floats(0, 1)), arrays(bool, n)))


def test_temperature_recovers_the_factor_that_made_logits_overconfident():
    true = RNG.normal(size=(4000, 4)) * 2
    drawn = (softmax(true).cumsum(axis=1) > RNG.random((4000, 1))).argmax(axis=1)
    assert fit_temperature(true * 3, drawn) == pytest.approx(3, rel=0.1)


def test_temperature_stays_one_with_too_few_photos_and_finite_on_perfect_ones():
    assert fit_temperature(np.eye(3), np.arange(3)) == 1.0
    assert 0.05 <= fit_temperature(np.eye(3)[[0, 1, 2] * 10] * 50, np.array([0, 1, 2] * 10)) <= 20


def test_platt_recovers_slope_and_offset():
    logit = RNG.normal(size=8000) * 2
    a, b = fit_platt((logit - 1.5) / 0.5, RNG.random(8000) < sigmoid(logit))
    assert (a, b) == (pytest.approx(0.5, rel=0.1), pytest.approx(1.5, abs=0.15))


def test_platt_is_the_identity_with_too_few_positives_or_negatives():
    scores = RNG.normal(size=100)
    assert fit_platt(scores, np.arange(100) < 4) == (1.0, 0.0)
    assert fit_platt(scores, np.arange(100) >= 4) == (1.0, 0.0)


def test_platt_keeps_the_ranking_even_where_logits_are_the_wrong_way_round():
    positive = np.arange(100) < 50
    assert fit_platt(np.where(positive, -2.0, 2.0), positive)[0] > 0


def test_threshold_is_the_lowest_that_reaches_the_target_precision():
    p = np.array([0.1] * 10 + [0.3] * 10 + [0.8] * 10)
    positive = np.array([False] * 10 + [True] * 5 + [False] * 5 + [True] * 10)
    chosen = pick_threshold(p, positive, target_precision=0.9)
    assert (chosen.value, chosen.rule) == (0.31, "precision")
    assert pick_threshold(p, positive, target_precision=0.7).value == 0.11


def test_threshold_falls_back_to_the_best_f1_and_to_a_half():
    p = np.array([0.2] * 10 + [0.6] * 10)
    positive = np.array([False] * 10 + [True, False] * 5)
    assert pick_threshold(p, positive, target_precision=0.9) == pick_threshold(p, positive, target_precision=0.99)
    assert (pick_threshold(p, positive, target_precision=0.9).value, pick_threshold(p, positive, target_precision=0.9).rule) == (0.21, "f1")
    assert pick_threshold(p, np.arange(20) < 3, target_precision=0.9).value == 0.5


@given(SCORED, st.floats(0.5, 0.99))
def test_a_precision_threshold_keeps_its_promise_and_no_lower_one_does(scored, target):
    p, positive = scored
    chosen = pick_threshold(p, positive, target_precision=target)
    reached = [t for t in GRID if (p >= t).any() and positive[p >= t].any() and positive[p >= t].mean() >= target]
    if chosen.rule == "precision":
        assert chosen.value == min(reached)
    elif chosen.rule == "f1":
        assert not reached


@given(SCORED, st.floats(0.5, 0.99))
def test_the_band_of_an_attribute_is_ordered_and_mirrors_itself(scored, target):
    p, positive = scored
    band = pick_band(p, positive, target_precision=target)
    assert 0 <= band["lower"] <= band["upper"] <= 1
    if band["lower_rule"] == "precision" and band["lower"] < band["upper"] and (p <= band["lower"]).any():
        assert (~positive[p <= band["lower"] - 1e-9]).mean() >= target or not (p <= band["lower"] - 1e-9).any()


def test_a_label_that_says_true_nearly_always_is_left_open():
    positive = np.arange(400) % 20 == 0
    p = np.where(np.arange(400) % 50 == 1, 0.01, 0.06)
    assert "no better than always false" in why_open(p, positive, upper=0.05, lower=0.04)
    assert why_open(np.where(positive, 0.9, 0.1), positive, upper=0.5, lower=0.5) == ""
    assert "0 of 400" in why_open(p, np.zeros(400, bool), upper=0.5, lower=0.5)
    lucky = np.where(np.arange(400) == 0, 0.9, np.random.default_rng(0).uniform(0, 0.1, 400))
    assert "no better than chance" in why_open(lucky, positive, upper=0.5, lower=0.2)


def test_the_share_left_open_is_counted_on_familiar_photos_where_there_are_some():
    unfamiliar, wrong = np.linspace(0, 1, 50), np.zeros(50, bool)
    chosen = pick_confidence(unfamiliar, wrong, target_precision=0.9, max_open=0.25, familiar=np.linspace(0.6, 1, 101))
    assert (chosen.value, chosen.rule) == (0.7, "unreached")


def test_a_target_for_new_folders_must_be_reached_at_the_lower_end_over_folders():
    rng = np.random.default_rng(0)
    folders, confidence = np.arange(800) % 8, rng.uniform(0.5, 1, 800)
    alike = rng.random(800) < 0.95
    one_is_wrong = folders != 3
    options = {"target_precision": 0.85, "max_open": 0.25, "familiar": np.linspace(0.5, 1, 101)}
    assert pick_confidence(confidence, alike, folders=folders, **options).rule == "precision"
    assert pick_confidence(confidence, one_is_wrong, **options).rule == "precision", "seven of eight, taken as 700 photos of 800"
    assert pick_confidence(confidence, one_is_wrong, folders=folders, **options).rule != "precision"


def test_the_scene_threshold_leaves_open_what_is_too_often_wrong():
    confidence = np.repeat([0.4, 0.9], 20)
    correct = np.array([True, False] * 10 + [True] * 20)
    assert pick_confidence(confidence, correct, target_precision=0.9).value == 0.41
    assert pick_confidence(confidence, correct, target_precision=0.7).value == 0.0
    never = pick_confidence(confidence, np.zeros(40, bool), target_precision=0.9)
    assert (never.value, never.rule) == (0.0, "unreached")


def test_calibration_error_is_zero_for_honest_and_large_for_boasting_confidence():
    assert calibration_error(np.full(10, 0.8), np.arange(10) < 8) == pytest.approx(0)
    assert calibration_error(np.full(10, 1.0), np.arange(10) < 5) == pytest.approx(0.5)
    assert calibration_error(np.zeros(0), np.zeros(0, bool)) is None


@given(arrays(float, st.tuples(st.integers(1, 5), st.integers(1, 5)), elements=st.floats(-1e4, 1e4)))
def test_probabilities_stay_finite_and_sum_to_one(scores):
    np.testing.assert_allclose(softmax(scores).sum(axis=1), 1)
    assert ((sigmoid(scores) >= 0) & (sigmoid(scores) <= 1)).all()


def test_coverage_falls_and_only_known_answers_count():
    confidence, correct = np.array([0.3, 0.5, 0.7, 0.9]), np.array([False, True, False, True])
    curve = risk_coverage(confidence, correct)
    assert curve[0] == [1.0, 0.5]
    assert curve[-1] == [0.25, 1.0], "from 0.9 on one photo is answered, above it none"
    assert [0.75, 0.6667] in curve
    assert risk_coverage(confidence[:0], correct[:0]) == []


def test_the_best_f1_counts_only_where_it_beats_the_same_answer_for_every_photo():
    """A threshold that calls half of the photos finds most of a rare label, and is wrong far more often than `no` for all."""
    positive = np.arange(200) % 10 == 0
    p = np.where(positive, np.where(np.arange(200) % 20 == 0, 0.9, 0.4), 0.1)
    p[1:120:2] = 0.4  # sixty photos without the label look like half of those with it
    p[3:9:2] = 0.9
    chosen = pick_threshold(p, positive, target_precision=0.9)
    assert (chosen.rule, chosen.value) == ("f1", 0.41)
    assert why_open(p, positive, upper=chosen.value, lower=chosen.value - 0.01) == ""


def test_a_label_out_of_reach_for_held_out_folders_is_chosen_with_the_familiar_ones():
    rng, positive = np.random.default_rng(0), np.arange(100) % 5 == 0
    new, near = rng.random(100), np.where(positive, 0.8, 0.2)
    alone = pick_threshold(new, positive, target_precision=0.9)
    both = pick_threshold(new, positive, target_precision=0.9, every=(np.append(new, near), np.append(positive, positive)))
    assert (alone.rule, both.rule) == ("f1", "f1")
    assert 0.2 < both.value <= 0.8
    reached = pick_threshold(near, positive, target_precision=0.9, every=(np.append(new, near), np.append(positive, positive)))
    assert reached == pick_threshold(near, positive, target_precision=0.9)
