"""Scores of several models over the same series go in; top-k, rank, MRR, pairwise accuracy with intervals and paired tests come out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vibe_assets.evaluate.intervals import cluster_bootstrap, mcnemar_exact, ratio, wilson
from vibe_assets.heads.series_data import SeriesSet
from vibe_assets.heads.series_scores import margins_of, pair_wins, per_series, random_baselines
from vibe_assets.records import Estimate

Floats = NDArray[np.float64]
FIGURES = ("top1", "top2", "top3", "rank", "mrr", "pairs")
LOWER_IS_BETTER = ("rank",)
PERMUTATIONS = 2000


@dataclass(frozen=True)
class ModelScores:
    """What one model says of the series: scores (b, n), -inf where masked, and margins (b, n, n)."""

    name: str
    scores: Floats
    margins: Floats
    learned: bool = True

    @classmethod
    def by_rule(cls, name: str, scores: Floats) -> ModelScores:
        return cls(name, scores, margins_of(scores), learned=False)


@dataclass(frozen=True)
class SeriesScore:
    """One model's figures. `points` is top-1 above random in percentage points; `by_length`: photos in the series -> top-1."""

    name: str
    learned: bool
    figures: Mapping[str, Estimate]  # of FIGURES; baseline is the random scorer's
    points: Estimate
    by_length: Mapping[str, Estimate]
    p_random: float  # permutation test: chance that shuffled scores reach this top-1


@dataclass(frozen=True)
class Paired:
    """Top-1 of `second` against `first` on the same series."""

    first: str
    second: str
    delta: Estimate
    only_first: int
    only_second: int
    p_two_sided: float
    p_second_worse: float


def counted(data: SeriesSet) -> SeriesSet:
    """The series that count for top-1: those whose winner is one photo. Ties of winners are kept out, and reported as such."""
    return data.only(data.sole_winner)


def evaluate_series(model: ModelScores, data: SeriesSet, *, seed: int = 0) -> SeriesScore:
    """Figures of one model over series with a sole winner, intervals by cluster bootstrap over blocks. Raises ValueError for none."""
    if not len(data):
        raise ValueError("expected at least one series with a winner, got 0")
    terms, chance = per_series(model.scores, data), random_baselines(data)
    figures = {name: _mean(terms[name], data, float(chance[name].mean()), seed) for name in FIGURES if name != "pairs"}
    won, fought = pair_wins(model.margins, data)
    if fought.sum():
        figures["pairs"] = cluster_bootstrap(
            np.stack([won, fought], axis=1), data.blocks, statistic=lambda sums: ratio(sums[..., 0], sums[..., 1]), seed=seed, baseline=0.5
        )
        figures["pairs"] = _with_n(figures["pairs"], int(fought.sum()))
    points = cluster_bootstrap(100 * (terms["top1"] - chance["top1"]), data.blocks, seed=seed, baseline=0.0)
    return SeriesScore(
        model.name, model.learned, figures, points, by_length(terms["top1"], chance["top1"], data, seed=seed),
        permutation_test(model.scores, data, seed=seed),
    )  # fmt: skip


def by_length(top1: Floats, chance: Floats, data: SeriesSet, *, seed: int = 0) -> dict[str, Estimate]:
    """Top-1 by photos in the series; five and more are one row."""
    labels = np.array([str(size) if size < 5 else "5 and more" for size in data.sizes])
    found = {}
    for label in sorted(set(labels.tolist())):
        here = labels == label
        found[label] = _mean(top1[here], data.only(here), float(chance[here].mean()), seed)
    return found


def _mean(terms: Floats, data: SeriesSet, baseline: float, seed: int) -> Estimate:
    """Mean with a cluster-bootstrap interval; a sample that is all hits or none has no spread to resample: Wilson's for its blocks."""
    found = cluster_bootstrap(terms, data.blocks, seed=seed, baseline=baseline)
    if found.low == found.high and found.value in (0.0, 1.0):
        blocks = len(np.unique(data.blocks))
        return Estimate(found.value, *wilson(found.value * blocks, blocks), found.n, baseline)
    return found


def permutation_test(scores: Floats, data: SeriesSet, *, draws: int = PERMUTATIONS, seed: int = 0) -> float:
    """p-value of the top-1 against scores that are dealt to the photos of each series at random; (1 + as good) / (1 + draws).

    Dealing out scores makes every photo of a series the best with chance 1/n, so a draw of hits is a draw of Bernoulli(1/n) by block.
    """
    hits = per_series(scores, data)["top1"]
    rng = np.random.default_rng(seed)
    drawn = (rng.random((draws, len(data))) < 1 / data.sizes).sum(axis=1)
    return float((1 + (drawn >= hits.sum() - 1e-9).sum()) / (1 + draws))


def compare_models(first: ModelScores, second: ModelScores, data: SeriesSet, *, seed: int = 0) -> Paired:
    """Exact McNemar test over blocks (a block is won or lost as a whole, by its net difference), and the interval of the difference."""
    difference = per_series(second.scores, data)["top1"] - per_series(first.scores, data)["top1"]
    net = np.bincount(np.unique(data.blocks, return_inverse=True)[1], difference)
    only_first, only_second = int((net < 0).sum()), int((net > 0).sum())
    test = mcnemar_exact(only_first, only_second)
    delta = cluster_bootstrap(difference, data.blocks, seed=seed, baseline=0.0)
    return Paired(first.name, second.name, delta, only_first, only_second, test.p_two_sided, test.p_second_worse)


def best_rule(scores: Sequence[SeriesScore]) -> SeriesScore | None:
    """The rule with the highest top-1."""
    rules = [score for score in scores if not score.learned]
    return max(rules, key=lambda score: score.figures["top1"].value) if rules else None


def _with_n(estimate: Estimate, n: int) -> Estimate:
    return Estimate(estimate.value, estimate.low, estimate.high, n, estimate.baseline)


def scores_json(scores: Sequence[SeriesScore]) -> list[dict[str, Any]]:
    """Figures as plain values, for a file beside the page."""
    return [
        {
            "model": score.name,
            "learned": score.learned,
            "p_random": score.p_random,
            **{name: vars(estimate) for name, estimate in (*score.figures.items(), ("points_over_random", score.points))},
        }
        for score in scores
    ]
