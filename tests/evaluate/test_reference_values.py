"""Intervals, tests and scores agree with statsmodels, scipy and scikit-learn, and have the properties that their definitions promise."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import confusion_matrix, f1_score, recall_score
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

from vibe_assets.evaluate import metrics
from vibe_assets.evaluate.intervals import cluster_bootstrap, effective_sample, mcnemar_exact, paired_randomisation, weighted_share, wilson

COUNTS = st.integers(1, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
QUICK = settings(deadline=None, max_examples=50)


@QUICK
@given(COUNTS, st.sampled_from([0.8, 0.9, 0.95, 0.99]))
def test_wilson_is_that_of_statsmodels(counts: tuple[int, int], level: float) -> None:
    hits, n = counts
    assert wilson(hits, n, level) == pytest.approx(proportion_confint(hits, n, 1 - level, method="wilson"), abs=1e-12)


@QUICK
@given(COUNTS)
def test_wilson_is_symmetric_and_rises_with_the_hits(counts: tuple[int, int]) -> None:
    hits, n = counts
    low, high = wilson(hits, n)
    assert wilson(n - hits, n) == pytest.approx((1 - high, 1 - low))
    assert low <= hits / n <= high
    if hits < n:
        more = wilson(hits + 1, n)
        assert more.low > low
        assert more.high > high
    many = wilson(4 * hits, 4 * n)
    assert many.high - many.low < high - low


@QUICK
@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_that_of_statsmodels(b: int, c: int) -> None:
    ours = mcnemar_exact(b, c)
    if b + c:
        assert ours.p_two_sided == pytest.approx(min(1.0, mcnemar([[0, b], [c, 0]], exact=True).pvalue))
    other = mcnemar_exact(c, b)
    assert ours.p_two_sided == pytest.approx(other.p_two_sided)
    assert ours.p_second_worse + other.p_second_worse == pytest.approx(1 + (stats.binom.pmf(b, b + c, 0.5) if b + c else 1))


def clustered(seed: int, groups: int = 25) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hits, weights and groups of photos that share their fate."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(groups), rng.integers(1, 6, groups))
    return (rng.random(len(group)) < rng.beta(2, 1, groups)[group]).astype(float), rng.uniform(1, 6, len(group)), group


@QUICK
@given(st.integers(0, 10_000))
def test_the_variance_of_a_weighted_share_is_the_cluster_robust_one_of_statsmodels(seed: int) -> None:
    hit, weight, group = clustered(seed)
    share, size = effective_sample(hit, weights=weight, groups=group)
    fitted = sm.WLS(hit, np.ones(len(hit)), weights=weight).fit(cov_type="cluster", cov_kwds={"groups": group})
    assert share == pytest.approx(fitted.params[0])
    n, groups = len(hit), len(set(group.tolist()))
    few_groups = (stats.t.ppf(0.975, n - 1) / stats.t.ppf(0.975, groups - 1)) ** 2
    variance = share * (1 - share) / (n - 1) * n / size * few_groups
    assume(variance > share * (1 - share) / (n - 1) * 1.000001 and size > 1)  # otherwise the design effect is held at one photo's worth
    assert variance == pytest.approx(fitted.bse[0] ** 2)


@QUICK
@given(st.integers(0, 10_000))
def test_the_order_of_photos_and_the_names_of_groups_do_not_matter(seed: int) -> None:
    hit, weight, group = clustered(seed)
    order = np.random.default_rng(seed).permutation(len(hit))
    estimate = weighted_share(hit, weights=weight, groups=group)
    moved = weighted_share(hit[order], weights=weight[order], groups=[f"g{name}" for name in group[order]])
    assert (moved.value, moved.low, moved.high) == pytest.approx((estimate.value, estimate.low, estimate.high))


def test_the_cluster_bootstrap_of_a_weighted_share_is_scipys_over_group_totals() -> None:
    hit, weight, group = clustered(1, groups=40)
    ours = cluster_bootstrap(hit, group, weight, resamples=4000)
    totals = np.bincount(group, weight * hit), np.bincount(group, weight)
    options = {"paired": True, "method": "percentile", "n_resamples": 4000, "rng": np.random.default_rng(2)}
    theirs = stats.bootstrap(totals, lambda a, b, axis: a.sum(axis) / b.sum(axis), **options).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.01)


def test_the_randomisation_test_is_scipys_paired_permutation_test() -> None:
    rng = np.random.default_rng(3)
    differences = rng.normal(-0.4, 1, 12)
    theirs = stats.permutation_test(
        (differences, np.zeros(12)),
        lambda a, b, axis: (a - b).sum(axis),
        permutation_type="samples",
        alternative="less",
        n_resamples=np.inf,
    ).pvalue
    assert paired_randomisation(differences, resamples=20_000) == pytest.approx(theirs, abs=0.01)


@QUICK
@given(st.integers(0, 10_000))
def test_scene_scores_with_abstentions_and_absent_classes_agree_with_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels, n = ["a", "b", "c", "d"], 40
    truth = rng.choice(3, n)  # d is nobody's truth
    said = np.where(rng.random(n) < 0.6, truth, rng.choice(5, n))  # 4: left open
    weight = rng.uniform(0.5, 5, n)
    table = np.eye(5, dtype=bool)[:, :4]
    scores, macro = metrics.label_scores("scene", labels, table[truth], table[said], weights=weight, resamples=10)
    present = sorted(set(truth.tolist()))
    expected = f1_score(truth, said, labels=present, average="macro", sample_weight=weight, zero_division=0)
    assert macro is not None
    assert macro.value == pytest.approx(expected)
    for k in present:
        assert scores[k].recall is not None
        assert scores[k].recall.value == pytest.approx(recall_score(truth == k, said == k, sample_weight=weight))  # type: ignore[union-attr]
    names = np.array([*labels, metrics.ABSTAINED])
    found = metrics.confusion(names[truth].tolist(), [None if k == 4 else labels[k] for k in said], labels, weight)
    whole = confusion_matrix(truth, said, labels=range(5), sample_weight=weight, normalize="all")
    assert np.array(found.shares) == pytest.approx(whole[:4, : len(found.columns)])


@QUICK
@given(st.lists(st.tuples(st.floats(0, 1), st.booleans(), st.floats(0.5, 5)), min_size=1, max_size=60), st.sampled_from([5, 10, 15]))
def test_the_calibration_error_is_at_most_that_of_a_loop_over_the_bins(rows: list[tuple[float, bool, float]], bins: int) -> None:
    sure, right, weight = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    error = 0.0
    for k in range(bins):
        inside = np.clip(np.floor(sure * bins), 0, bins - 1) == k
        if inside.any():
            gap = np.average(right[inside], weights=weight[inside]) - np.average(sure[inside], weights=weight[inside])
            error += weight[inside].sum() / weight.sum() * abs(gap)
    found = metrics.calibration_error(sure, right, weights=weight, bins=bins)
    assert found is not None
    assert found.low <= found.value <= error + 1e-9 <= found.high + 2e-9


@QUICK
@given(st.integers(0, 10_000))
def test_top_k_rises_with_k_and_reaches_the_share_that_is_named_at_all(seed: int) -> None:
    rng = np.random.default_rng(seed)
    said = [list(rng.permutation(6)[: rng.integers(0, 6)].astype(str)) for _ in range(20)]
    true = [set(rng.permutation(6)[: rng.integers(1, 4)].astype(str)) for _ in range(20)]
    hits = [metrics.top_k_hits(said, true, k).mean() for k in range(1, 7)]
    assert hits == sorted(hits)
    assert hits[-1] == np.mean([bool(set(a) & b) for a, b in zip(said, true, strict=True)])
