"""Figures of series against hand-worked cases and scipy: ranks, ties, baselines, intervals, paired tests."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest, rankdata

from vibe_assets.evaluate.series import ModelScores, compare_models, counted, evaluate_series, permutation_test
from vibe_assets.heads.series_data import SeriesSet
from vibe_assets.heads.series_scores import margins_of, pair_wins, per_series, random_baselines


def a_set(winners: list[list[float]], *, blocks: list[str] | None = None) -> SeriesSet:
    """Series with the given shares of winning; votes: winners beat the rest once."""
    n = max(map(len, winners))
    mask = np.array([[at < len(row) for at in range(n)] for row in winners])
    target = np.array([row + [0.0] * (n - len(row)) for row in winners], dtype=np.float32)
    votes = np.where((target[:, :, None] > 0) & (target[:, None, :] == 0) & mask[:, None, :] & mask[:, :, None], 1, 0).astype(np.float32)
    ids = tuple(str(at) for at in range(len(winners)))
    return SeriesSet(
        ids, tuple(tuple(f"{i}-{k}" for k in range(len(row))) for i, row in zip(ids, winners, strict=True)),
        np.zeros((*mask.shape, 1), np.float32), mask, target, votes, np.array(["test"] * len(ids)), np.array(blocks or ids),
    )  # fmt: skip


def scores_of(rows: list[list[float]], data: SeriesSet) -> np.ndarray:
    return np.array([row + [-np.inf] * (data.mask.shape[1] - len(row)) for row in rows])


def test_hand_worked_ranks():
    data = a_set([[0, 1, 0], [1, 0], [0, 0, 0, 1]])
    found = per_series(scores_of([[3, 2, 1], [5, 4], [4, 3, 2, 1]], data), data)
    assert found["top1"].tolist() == [0, 1, 0]
    assert found["top2"].tolist() == [1, 1, 0]
    assert found["top3"].tolist() == [1, 1, 0]
    assert found["rank"].tolist() == [2, 1, 4]
    assert found["mrr"].tolist() == pytest.approx([0.5, 1, 0.25])


def test_equal_scores_are_a_fair_coin_and_a_constant_scorer_is_the_random_baseline():
    data = a_set([[0, 1, 0], [1, 0], [0, 0, 0, 1]])
    chance = random_baselines(data)
    assert chance["top1"].tolist() == pytest.approx([1 / 3, 1 / 2, 1 / 4])
    assert chance["rank"].tolist() == [2, 1.5, 2.5]
    assert chance["mrr"].tolist() == pytest.approx([(1 + 1 / 2 + 1 / 3) / 3, 0.75, (1 + 1 / 2 + 1 / 3 + 1 / 4) / 4])
    tied = per_series(scores_of([[7, 7, 1], [0, 0], [1, 1, 1, 0]], data), data)
    assert tied["top1"].tolist() == [0.5, 0.5, 0]


def test_the_random_baseline_is_the_mean_of_one_over_n():
    data = a_set([[1, 0], [1, 0], [1, 0, 0, 0, 0, 0]])
    judged = evaluate_series(ModelScores.by_rule("r", np.where(data.mask, 0.0, -np.inf)), data)
    assert judged.figures["top1"].baseline == pytest.approx((0.5 + 0.5 + 1 / 6) / 3)
    assert judged.figures["top1"].value == pytest.approx(judged.figures["top1"].baseline)
    assert judged.points.value == pytest.approx(0)


def test_a_shared_win_is_credited_in_parts_and_kept_out_of_the_count():
    data = a_set([[0.5, 0.5, 0], [1, 0, 0]])
    found = per_series(scores_of([[3, 2, 1], [3, 2, 1]], data), data)
    assert found["top1"].tolist() == [0.5, 1]
    assert found["mrr"].tolist() == pytest.approx([0.75, 1])
    assert counted(data).ids == ("1",)


def test_ranks_agree_with_scipy_on_random_scores():
    rng = np.random.default_rng(3)
    data = a_set([np.eye(n)[rng.integers(n)].tolist() for n in rng.integers(2, 8, 40)])
    scores = np.where(data.mask, rng.integers(0, 5, data.mask.shape), -np.inf)
    found = per_series(scores, data)["rank"]
    for row, members in enumerate(data.members):
        ranks = rankdata(-scores[row, : len(members)], method="average")
        assert found[row] == pytest.approx(ranks[data.target[row].argmax()])


def test_pairs_count_what_people_decided_and_zero_margins_half():
    data = a_set([[1, 0, 0]])
    won, fought = pair_wins(margins_of(scores_of([[2, 2, 1]], data)), data)
    assert (won.tolist(), fought.tolist()) == ([1.5], [2.0])


def test_a_perfect_model_has_an_interval_that_is_not_zero_wide_and_beats_shuffled_scores():
    data = a_set([[1.0, 0, 0]] * 20)
    judged = evaluate_series(ModelScores.by_rule("r", scores_of([[3, 2, 1]] * 20, data)), data)
    assert (judged.figures["top1"].value, judged.figures["top1"].high) == (1.0, 1.0)
    assert 0.7 < judged.figures["top1"].low < 1
    assert judged.p_random < 0.001
    assert judged.figures["pairs"].n == 40
    assert permutation_test(scores_of([[1, 3, 2]] * 20, data), data) == 1.0


def test_the_permutation_test_is_the_binomial_test_where_all_series_have_one_length():
    data = a_set([[1.0, 0, 0]] * 30)
    scores = scores_of([[3, 2, 1]] * 15 + [[1, 2, 3]] * 15, data)
    exact = binomtest(15, 30, 1 / 3, alternative="greater").pvalue
    assert permutation_test(scores, data, draws=20_000) == pytest.approx(exact, abs=0.01)


def test_models_are_compared_on_blocks_that_are_won_or_lost_together():
    right, wrong = [3.0, 2, 1], [1.0, 2, 3]
    data = a_set([[1.0, 0, 0]] * 8, blocks=["a", "a", "b", "c", "d", "e", "f", "g"])
    first = ModelScores.by_rule("first", scores_of([wrong, wrong, wrong, wrong, wrong, right, right, right], data))
    second = ModelScores.by_rule("second", scores_of([right, right, right, right, right, right, right, wrong], data))
    found = compare_models(first, second, data)
    assert (found.only_second, found.only_first) == (4, 1)  # the two series of block a count once
    assert found.delta.value == pytest.approx(0.5)
    assert found.p_two_sided == pytest.approx(binomtest(1, 5).pvalue)


def test_nothing_to_judge_is_said():
    empty = a_set([[1.0, 0]]).only(np.zeros(1, bool))
    with pytest.raises(ValueError, match="got 0"):
        evaluate_series(ModelScores.by_rule("r", np.zeros((0, 2))), empty)
