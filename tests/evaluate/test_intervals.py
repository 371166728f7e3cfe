"""Intervals cover what they promise, agree with scipy, and treat groups as what was really drawn."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from vibe_assets.evaluate import intervals
from vibe_assets.evaluate.intervals import (
    cluster_bootstrap,
    mcnemar_exact,
    paired_randomisation,
    resample_counts,
    resampled_totals,
    weighted_share,
    wilson,
)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.sampled_from([0.8, 0.95, 0.99]))
def test_wilson_agrees_with_scipy(counts: tuple[int, int], level: float) -> None:
    hits, n = counts
    expected = stats.binomtest(hits, n).proportion_ci(level, method="wilson")
    assert wilson(hits, n, level) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_of_nothing_says_nothing() -> None:
    assert wilson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(("hits", "n"), [(-1, 3), (4, 3)])
def test_wilson_refuses_impossible_counts(hits: int, n: int) -> None:
    with pytest.raises(ValueError, match="expected 0 <= hits <= n"):
        wilson(hits, n)


@pytest.mark.parametrize("share", [0.5, 0.8, 0.95])
def test_wilson_covers_near_95_percent(share: float) -> None:
    # exact: sum the chance of every count whose interval holds the true share; averaged over n to smooth the lattice
    coverage = [
        sum(stats.binom.pmf(k, n, share) for k in range(n + 1) if wilson(k, n).low <= share <= wilson(k, n).high) for n in range(60, 70)
    ]
    assert 0.93 < np.mean(coverage) < 0.97


@given(st.lists(st.booleans(), min_size=1, max_size=60))
@settings(max_examples=50)
def test_share_of_single_photos_with_equal_weights_is_wilson(hits: list[bool]) -> None:
    estimate = weighted_share(hits, weights=np.full(len(hits), 3.0))
    assert (estimate.low, estimate.high) == pytest.approx(tuple(wilson(sum(hits), len(hits))), abs=1e-9)
    assert estimate.value == pytest.approx(np.mean(hits))


@given(
    st.lists(st.tuples(st.booleans(), st.floats(0.1, 20), st.integers(0, 8)), min_size=1, max_size=60),
    st.floats(0.01, 100),
)
@settings(max_examples=100)
def test_share_lies_in_its_interval_and_ignores_the_scale_of_weights(rows: list[tuple[bool, float, int]], scale: float) -> None:
    hits, weights, groups = (np.array(column) for column in zip(*rows, strict=True))
    estimate = weighted_share(hits, weights=weights, groups=groups)
    assert 0 <= estimate.low <= estimate.value + 1e-12
    assert estimate.value - 1e-12 <= estimate.high <= 1
    scaled = weighted_share(hits, weights=weights * scale, groups=groups)
    assert (scaled.value, scaled.low, scaled.high) == pytest.approx((estimate.value, estimate.low, estimate.high), abs=1e-9)


def test_copies_of_a_photo_add_no_evidence() -> None:
    hits = np.array([1, 0, 1, 1, 0, 1, 1, 1] * 5)
    once = weighted_share(hits)
    copied = weighted_share(np.repeat(hits, 6), groups=np.repeat(np.arange(len(hits)), 6))
    assert copied.high - copied.low == pytest.approx(once.high - once.low, rel=0.05)
    assert weighted_share(np.repeat(hits, 6)).high - weighted_share(np.repeat(hits, 6)).low < 0.6 * (once.high - once.low)


def test_a_sample_without_an_error_has_no_zero_width_interval() -> None:
    assert weighted_share([1] * 10).low == pytest.approx(wilson(10, 10).low)
    assert weighted_share([1] * 10, groups=[0] * 5 + [1] * 5).low < wilson(10, 10).low
    assert weighted_share([1] * 10, groups=[0] * 10).low < 0.25  # one group is one look


def test_weighted_share_is_unbiased_under_unequal_sampling() -> None:
    # the rare stratum is right half as often and is sampled ten times as densely
    rng = np.random.default_rng(1)
    stratum = np.arange(5000) < 4000
    right = np.where(stratum, rng.random(5000) < 0.9, rng.random(5000) < 0.4)
    chance = np.where(stratum, 0.02, 0.2)
    weighted, plain = [], []
    for _ in range(400):
        drawn = rng.random(5000) < chance
        weighted.append(weighted_share(right[drawn], weights=1 / chance[drawn]))
        plain.append(right[drawn].mean())
    truth = right.mean()
    assert np.mean([estimate.value for estimate in weighted]) == pytest.approx(truth, abs=0.01)
    assert abs(np.mean(plain) - truth) > 0.2
    covered = np.mean([estimate.low <= truth <= estimate.high for estimate in weighted])
    assert 0.92 < covered <= 1.0


def clustered(rng: np.random.Generator, groups: int) -> tuple[np.ndarray, np.ndarray]:
    """Right or wrong in groups of 1 to 6 that mostly share their fate; each group's chance averages 0.7."""
    sizes = rng.integers(1, 7, groups)
    group = np.repeat(np.arange(groups), sizes)
    return (rng.random(len(group)) < rng.beta(1.4, 0.6, groups)[group]).astype(float), group


def test_intervals_over_groups_cover_near_95_percent_where_naive_ones_do_not() -> None:
    rng = np.random.default_rng(2)
    covered = {"share": 0, "bootstrap": 0, "naive": 0}
    runs = 400
    for run in range(runs):
        hits, group = clustered(rng, 60)
        found = {
            "share": weighted_share(hits, groups=group),
            "bootstrap": cluster_bootstrap(hits, group, resamples=400, seed=run),
            "naive": weighted_share(hits),
        }
        for name, estimate in found.items():
            covered[name] += estimate.low <= 0.7 <= estimate.high
    assert 0.92 < covered["share"] / runs < 0.985
    assert 0.91 < covered["bootstrap"] / runs < 0.98
    assert covered["naive"] / runs < 0.9


def test_bootstrap_agrees_with_scipy() -> None:
    rng = np.random.default_rng(3)
    values = rng.gamma(2.0, size=80)
    ours = cluster_bootstrap(values, resamples=4000, seed=1)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=4000, method="percentile", random_state=rng).confidence_interval
    assert ours.value == pytest.approx(values.mean())
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.03)


def test_bootstrap_of_a_ratio_equals_a_loop_over_the_same_draws() -> None:
    rng = np.random.default_rng(4)
    table, group, weight = rng.random((30, 2)), rng.integers(0, 9, 30), rng.uniform(1, 5, 30)
    ours = cluster_bootstrap(table, group, weight, lambda sums: sums[..., 0] / sums[..., 1], resamples=50, seed=5)
    codes = np.unique(group, return_inverse=True)[1]
    draws = []
    for counts in np.concatenate(list(resample_counts(len(set(group)), resamples=50, seed=5))):
        photos = np.repeat(np.arange(30), counts[codes].astype(int))
        draws.append((weight[photos] * table[photos, 0]).sum() / (weight[photos] * table[photos, 1]).sum())
    assert (ours.low, ours.high) == pytest.approx(tuple(np.quantile(draws, [0.025, 0.975])))


def test_resamples_repeat_for_a_seed_whatever_the_block_size(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = np.concatenate(list(resample_counts(7, resamples=40, seed=6)))
    monkeypatch.setattr(intervals, "BLOCK_CELLS", 21)
    assert len(list(resample_counts(7, resamples=40, seed=6))) == 14
    assert np.array_equal(np.concatenate(list(resample_counts(7, resamples=40, seed=6))), whole)
    assert (whole.sum(axis=1) == 7).all()


def test_totals_hold_the_sample_in_row_0() -> None:
    totals = resampled_totals({"hit": [1, 0, 1], "one": [1, 1, 1]}, weights=[1, 2, 3], resamples=10)
    assert totals["hit"][0] == 4
    assert totals["one"][0] == 6
    assert totals["hit"].shape == (11,)


@pytest.mark.parametrize("weights", [[1, -1], [1, 0], [1, float("nan")], [1]])
def test_wrong_weights_are_refused(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="expected"):
        weighted_share([1, 0], weights=weights)


@given(st.integers(0, 40), st.integers(0, 40))
def test_mcnemar_agrees_with_the_binomial_sum(b: int, c: int) -> None:
    result = mcnemar_exact(b, c)
    n = b + c
    assert result.p_second_worse == pytest.approx(min(1.0, sum(stats.binom.pmf(k, n, 0.5) for k in range(b, n + 1))))
    assert result.p_two_sided == pytest.approx(min(1.0, 2 * stats.binom.cdf(min(b, c), n, 0.5)))


def test_randomisation_agrees_with_all_sign_patterns() -> None:
    differences = np.array([-3.0, -1.0, 2.0, -0.5, -2.5, 1.0, -1.5])
    sums = [np.dot(signs, differences) for signs in itertools.product([-1, 1], repeat=7)]
    exact = np.mean(np.array(sums) <= differences.sum() + 1e-12)
    assert paired_randomisation(differences, resamples=20_000) == pytest.approx(exact, abs=0.01)


def test_randomisation_keeps_its_level_for_groups() -> None:
    rng = np.random.default_rng(7)
    group = np.repeat(np.arange(30), 4)
    rejected = [paired_randomisation(np.repeat(rng.normal(size=30), 4), group, resamples=300, seed=run) < 0.05 for run in range(400)]
    assert np.mean(rejected) < 0.08
    assert paired_randomisation([0.0, 0.0]) == 1.0


def test_a_library_checked_as_a_whole_has_no_interval_and_half_of_one_a_narrower_one() -> None:
    right = np.array([1, 1, 1, 0] * 15)
    whole = weighted_share(right, weights=np.ones(60), finite=True)
    assert (whole.value, whole.low, whole.high) == (0.75, 0.75, 0.75)
    half, endless = (weighted_share(right, weights=np.full(60, 2.0), finite=finite) for finite in (True, False))
    assert half.high - half.low == pytest.approx((endless.high - endless.low) * np.sqrt(0.5), rel=0.02)
    assert weighted_share([1] * 30, weights=[1.0] * 30, finite=True).low == 1.0
    moved = resampled_totals({"hit": right}, weights=np.ones(60), resamples=20, finite=True)["hit"]
    assert np.allclose(moved, 45)


def test_the_interval_of_a_score_is_wider_than_percentiles_and_never_without_width() -> None:
    draws = np.concatenate([[0.9], np.random.default_rng(0).normal(0.9, 0.03, 2000)])
    found, percentiles = intervals.score_estimate(draws, n=50, groups=12), intervals.percentile_estimate(draws, n=50)
    assert found is not None
    assert percentiles is not None
    assert found.low < percentiles.low
    assert found.high <= 1.0
    perfect = intervals.score_estimate(np.ones(11), n=50, groups=12)
    assert perfect is not None
    assert (perfect.low, perfect.high) == pytest.approx(wilson(12, 12))


@pytest.mark.parametrize("n", [1, 40])
def test_equal_marks_are_no_certainty(n: int) -> None:
    """Photos on which people are divided count one half each: nothing varies, and yet little is known."""
    found = weighted_share([0.5] * n, weights=[20.0] * n, finite=True)
    assert found.value == pytest.approx(0.5)
    assert found.high - found.low > 0.25
    assert weighted_share([0.5] * n, weights=[1.0] * n, finite=True).high == pytest.approx(0.5), "all were seen"
