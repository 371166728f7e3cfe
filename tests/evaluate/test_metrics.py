"""Figures agree with scikit-learn, also weighted and with ties, and with cases worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, brier_score_loss, f1_score, precision_recall_fscore_support

from vibe_assets.evaluate import metrics

ROWS = st.lists(st.tuples(st.booleans(), st.sampled_from([0.0, 0.2, 0.5, 0.5, 0.7, 1.0]), st.floats(0.5, 8)), min_size=2, max_size=40)


@given(ROWS)
def test_average_precision_agrees_with_scikit_learn(rows: list[tuple[bool, float, float]]) -> None:
    truth, scores, weights = (np.array(column) for column in zip(*rows, strict=True))
    assume(truth.any())
    expected = average_precision_score(truth, scores, sample_weight=weights)
    assert metrics.average_precision(truth, scores, weights) == pytest.approx(expected)


def test_average_precision_of_many_weightings_is_one_call() -> None:
    rng = np.random.default_rng(0)
    truth, scores, weights = rng.random(30) < 0.4, rng.random(30), rng.integers(0, 3, (50, 30)).astype(float)
    together = metrics.average_precision(truth, scores, weights)
    alone = [average_precision_score(truth, scores, sample_weight=row) for row in weights]
    assert together == pytest.approx(np.array(alone))


@given(st.integers(0, 10_000))
@settings(max_examples=25)
def test_label_scores_agree_with_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = ["a", "b", "c"]
    truth, said, weights = rng.integers(0, 3, 40), rng.integers(0, 3, 40), rng.uniform(1, 9, 40)
    scores, macro = metrics.label_scores(
        "scene", labels, np.eye(3, dtype=bool)[truth], np.eye(3, dtype=bool)[said], weights=weights, resamples=20
    )  # fmt: skip
    precision, recall, f1, _ = precision_recall_fscore_support(truth, said, sample_weight=weights, zero_division=0, labels=[0, 1, 2])
    for k, score in enumerate(scores):
        assert score.precision is not None
        assert score.recall is not None
        assert score.f1 is not None
        assert (score.precision.value, score.recall.value, score.f1.value) == pytest.approx((precision[k], recall[k], f1[k]))
        assert score.f1.low <= score.f1.value + 1e-12
        assert score.support == (truth == k).sum()
    assert macro is not None
    assert macro.value == pytest.approx(f1_score(truth, said, sample_weight=weights, average="macro"))


def test_labels_without_support_leave_macro_f1_and_undefined_figures_are_none() -> None:
    truth = np.array([[True, False, False], [True, False, False]])
    said = np.array([[True, True, False], [True, False, False]])
    (a, b, c), macro = metrics.label_scores("object", ["a", "b", "c"], truth, said, resamples=50)
    assert macro is not None
    assert macro.value == 1.0
    assert b.recall is None
    assert b.precision is not None
    assert b.precision.value == 0.0
    assert (c.precision, c.recall, c.f1) == (None, None, None)
    assert a.f1 is not None
    assert a.f1.low < 1.0, "two photos cannot show a perfect label for certain"


def test_unknown_truth_leaves_a_labels_denominators() -> None:
    truth, said = np.array([[True], [True], [True]]), np.array([[True], [False], [False]])
    (score,), _ = metrics.label_scores("attribute", ["a"], truth, said, known=np.array([[True], [True], [False]]), resamples=20)
    assert score.support == 2
    assert score.recall is not None
    assert score.recall.value == 0.5


def test_sweep_reads_as_worked_by_hand() -> None:
    truth, scores = np.array([True, True, False, True]), np.array([0.9, 0.6, 0.6, 0.3])
    curve = metrics.curve("attr.x", truth, scores, resamples=50)
    assert curve is not None
    assert len(curve.sweep) == 101
    at = {point.threshold: point for point in curve.sweep}
    assert (at[0.3].precision, at[0.3].recall) == (0.75, 1.0), "a score equal to the threshold is predicted"
    assert (at[0.6].precision, at[0.6].recall) == pytest.approx((2 / 3, 2 / 3))
    assert at[1.0].precision is None
    assert curve.at_precision is not None
    assert curve.at_precision.threshold == 0.61, "the lowest threshold that reaches precision 0.9"
    assert curve.best_f1.f1 == pytest.approx(6 / 7)


def test_target_precision_out_of_reach_is_said() -> None:
    curve = metrics.curve("attr.x", np.array([True, False]), np.array([0.2, 0.9]), resamples=20)
    assert curve is not None
    assert curve.at_precision is None
    assert metrics.curve("attr.x", np.array([False, False]), np.array([0.2, 0.9])) is None


@given(ROWS)
@settings(max_examples=30)
def test_brier_agrees_with_scikit_learn(rows: list[tuple[bool, float, float]]) -> None:
    truth, scores, weights = (np.array(column) for column in zip(*rows, strict=True))
    expected = brier_score_loss(truth, scores, sample_weight=weights, pos_label=True)
    assert metrics.brier(scores, truth, weights=weights, resamples=20).value == pytest.approx(expected)


def test_calibration_error_reads_as_worked_by_hand() -> None:
    confidence, right = np.repeat([0.95, 0.55], [60, 40]), np.append(np.tile([1.0, 0.0], 30), np.ones(40))
    curve = metrics.reliability(confidence, right, bins=10)
    assert curve.share == (0.4, 0.6)
    estimate = metrics.calibration_error(confidence, right, bins=10)
    assert estimate is not None
    assert estimate.value == pytest.approx(0.6 * abs(0.95 - 0.5) + 0.4 * abs(0.55 - 1.0))
    assert estimate.value == curve.error


def test_a_calibrated_source_has_no_error_on_average_and_an_overconfident_one_its_own() -> None:
    rng = np.random.default_rng(1)
    calm, boasting = [], []
    for _ in range(60):
        confidence = rng.uniform(0.2, 1, 100)
        right = rng.random(100) < confidence
        calm.append(metrics.calibration_error(confidence, right))
        boasting.append(metrics.calibration_error(np.sqrt(confidence), right))
    shares = np.linspace(0.2, 1, 999)
    truth = float(np.mean(np.sqrt(shares) - shares))
    assert np.mean([one.value for one in calm if one]) < 0.03, "plain bins would say 0.1"
    assert np.mean([one.low == 0 for one in calm if one]) >= 0.9
    assert np.mean([one.low <= truth <= one.high for one in boasting if one]) >= 0.9
    many = rng.uniform(0.2, 1, 5000)
    found = metrics.calibration_error(np.sqrt(many), rng.random(5000) < many)
    assert found is not None
    assert found.value == pytest.approx(truth, abs=0.03)


def test_calibration_counts_a_burst_once_and_keeps_the_bins_of_labels_apart() -> None:
    confidence, right = np.full(60, 0.9), np.tile([1.0, 1.0, 0.0], 20)
    alone = metrics.calibration_error(confidence, right)
    bursts = metrics.calibration_error(confidence, np.sort(right), groups=np.arange(60) // 10)
    assert alone is not None
    assert bursts is not None
    assert bursts.low < alone.low
    parts = metrics.calibration_error(np.full(40, 0.5), np.repeat([0.0, 1.0], 20), parts=np.repeat(["a", "b"], 20))
    whole = metrics.calibration_error(np.full(40, 0.5), np.repeat([0.0, 1.0], 20))
    assert parts is not None
    assert whole is not None
    assert (parts.value, whole.value) == (pytest.approx(0.5), pytest.approx(0.0))


def test_confidence_outside_0_to_1_is_refused() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        metrics.reliability([1.2], [1])


def test_confusion_keeps_order_abstentions_and_unforeseen_labels() -> None:
    table = metrics.confusion(["b", "a", "a", "z"], ["b", None, "b", "a"], ["a", "b"], weights=[1, 1, 1, 1])
    assert table.rows == ("a", "b", "z")
    assert table.columns == ("a", "b", metrics.ABSTAINED)
    assert table.photos == ((0, 1, 1), (0, 1, 0), (1, 0, 0))
    assert sum(map(sum, table.shares)) == pytest.approx(1.0)


def test_top_k_counts_any_of_the_first_k() -> None:
    said, true = [["a", "b", "c", "d"], [], ["x"]], [{"c", "d"}, {"a"}, {"x"}]
    assert metrics.top_k_hits(said, true, 1).tolist() == [False, False, True]
    assert metrics.top_k_hits(said, true, 3).tolist() == [True, False, True]
    assert metrics.most_common(true, [1, 5, 1], 2) == ["a", "c"]
