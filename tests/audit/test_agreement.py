"""Kappa and alpha agree with scikit-learn and with the published examples, and say so when there is too little to go by."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import fleiss_kappa

from tests.audit.examples import SCENES, answers, team
from vibe_assets.audit.agreement import MIN_PHOTOS, cohen_kappa, krippendorff_alpha
from vibe_assets.evaluate.intervals import wilson

QUICK = {"resamples": 50}
# Krippendorff (2011), Computing Krippendorff's Alpha-Reliability: section A (binary), B (nominal), C (four observers, missing values)
MEG, OWEN = "0100000010", "1110010000"
BEN, GERRY = "aabbdcccedda", "babbbcccedddd"[:12]
FOUR = ("12332141 2...", "12332241 25.3", ".33323422 51.", "12332441 251.")


def spelt(text):
    return [None if letter == "." else letter for letter in text.replace(" ", "")]


def test_alpha_is_krippendorffs_for_four_observers_with_missing_values():
    found = krippendorff_alpha(answers([spelt(row) for row in FOUR]), "scene", **QUICK)
    assert found.n == 11, "one of the twelve units has a single observer"
    assert found.estimate.value == pytest.approx(0.743, abs=5e-4)


def test_alpha_is_krippendorffs_for_two_observers():
    binary = krippendorff_alpha(answers([spelt(MEG), spelt(OWEN)]), "scene", **QUICK)
    assert binary.estimate.value == pytest.approx(0.095, abs=5e-4)
    nominal = krippendorff_alpha(answers([spelt(BEN), spelt(GERRY)]), "scene", **QUICK)
    assert nominal.estimate.value == pytest.approx(0.692, abs=5e-4)
    assert nominal.observed == pytest.approx(9 / 12)


PAIRS = st.lists(st.tuples(st.sampled_from(SCENES), st.sampled_from(SCENES)), min_size=MIN_PHOTOS, max_size=40)


@settings(deadline=None, max_examples=40)
@given(PAIRS)
def test_kappa_agrees_with_scikit_learn(pairs):
    first, second = zip(*pairs, strict=True)
    found = cohen_kappa(answers([first, second]), ("p0", "p1"), "scene", resamples=10)
    if found.estimate is None:
        assert "another answer than the most frequent" in found.reason or "chance alone" in found.reason
    else:
        assert found.estimate.value == pytest.approx(cohen_kappa_score(first, second))
        assert -1 <= found.estimate.low <= found.estimate.high <= 1


@settings(deadline=None, max_examples=25)
@given(st.lists(st.lists(st.sampled_from("abc"), min_size=3, max_size=3), min_size=MIN_PHOTOS, max_size=30))
def test_alpha_of_complete_answers_is_fleiss_kappa_up_to_its_small_sample_term(units):
    """alpha = 1 - (1 - kappa)(N m - 1) / (N m): Fleiss draws answers with replacement, Krippendorff without."""
    counts = np.array([[unit.count(c) for c in "abc"] for unit in units])
    counts = counts[:, counts.any(axis=0)]
    found = krippendorff_alpha(answers(list(zip(*units, strict=True))), "scene", resamples=10)
    if found.estimate is None:
        assert "most frequent" in found.reason or counts.shape[1] == 1
        return
    size = counts.sum()
    assert found.estimate.value == pytest.approx(1 - (1 - fleiss_kappa(counts)) * (size - 1) / size)


def test_resampled_groups_give_the_interval_that_a_loop_gives():
    verdicts, _, groups = team(60)
    said = verdicts.filter(pl.col("act") != "skipped")
    pair = ("ana", "ben")
    found = cohen_kappa(said, pair, "scene", groups=groups, resamples=400, seed=3)
    wide = said.pivot("annotator", index="image_id", values="scene").drop_nulls(list(pair)).sort("image_id")
    members = {}
    for image_id, a, b in wide.select("image_id", *pair).iter_rows():
        members.setdefault(groups[image_id], []).append((a, b))
    rng, draws = np.random.default_rng(0), []
    for _ in range(400):
        drawn = [members[key] for key in rng.choice(list(members), len(members))]
        draws.append(cohen_kappa_score(*zip(*[row for rows in drawn for row in rows], strict=True)))
    assert found.n == wide.height
    assert (found.estimate.low, found.estimate.high) == pytest.approx(tuple(np.quantile(draws, [0.025, 0.975])), abs=0.06)


def test_the_interval_covers_the_true_alpha():
    """Two people who are each right 8 times of 10 and guess otherwise among four: kappa = alpha = 0.64 in the long run."""
    covered = []
    for seed in range(120):
        rng = np.random.default_rng(seed)
        truth = rng.integers(4, size=150)
        said = [np.where(rng.random(150) < 0.8, truth, rng.integers(4, size=150)).astype(str) for _ in range(2)]
        estimate = krippendorff_alpha(answers([list(map(str, row)) for row in said]), "scene", resamples=300, seed=seed).estimate
        covered.append(estimate.low <= 0.64 <= estimate.high)
    assert 0.88 < np.mean(covered) <= 1


def test_attributes_are_judged_among_those_who_know():
    rows = [[True, False, None] * 8, [True, None, False] * 8]
    found = cohen_kappa(answers(rows, "has_text"), ("p0", "p1"), "has_text", **QUICK)
    assert (found.n, found.estimate) == (8, None)
    assert "8 photos" in found.reason
    assert "at least 10" in found.reason


def test_nothing_in_common_is_said_and_not_computed():
    alone = answers([["scene.food"] * 20])
    found = krippendorff_alpha(alone, "scene")
    assert (found.n, found.observed, found.estimate) == (0, None, None)
    assert found.reason == "no photo answered by two people"
    assert krippendorff_alpha(alone.clear(), "scene").estimate is None


def test_answers_that_never_vary_have_no_kappa():
    found = cohen_kappa(answers([["scene.food"] * 20] * 2), ("p0", "p1"), "scene")
    assert (found.observed, found.estimate) == (1.0, None)
    assert "chance alone would agree as well" in found.reason


def test_a_rare_answer_is_not_enough_to_tell_agreement_from_chance():
    said = ["scene.food"] * 40
    found = cohen_kappa(answers([[*said, "scene.people", "scene.other"], [*said, "scene.people", "scene.food"]]), ("p0", "p1"), "scene")
    assert found.estimate is None
    assert found.reason == "2 photos got another answer than the most frequent one, at least 5 are needed"


def test_perfect_agreement_is_not_certain():
    said = list(SCENES) * 5
    kappa = cohen_kappa(answers([said, said]), ("p0", "p1"), "scene", **QUICK).estimate
    assert (kappa.value, kappa.high) == (1.0, 1.0)
    assert kappa.low == pytest.approx(1 - (1 - wilson(20, 20).low) / 0.75)
    alpha = krippendorff_alpha(answers([said, said]), "scene", **QUICK).estimate
    assert 0.7 < alpha.low < 0.9


def test_blind_photos_are_counted():
    verdicts = answers([list(SCENES) * 5] * 2).with_columns(blind=pl.col("image_id") < "005")
    assert krippendorff_alpha(verdicts, "scene", **QUICK).blind == 5
