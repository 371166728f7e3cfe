"""Scores and winners of series go in; what each series contributes to top-k, mean rank, MRR and pairwise accuracy comes out (numpy only).

Equal scores are settled by a fair coin, in expectation: a scorer that says the same of every photo gets exactly the random baseline.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vibe_assets.heads.series_data import SeriesSet

Floats = NDArray[np.float64]
TOP = (1, 2, 3)


def per_series(scores: Floats, data: SeriesSet) -> dict[str, Floats]:
    """top1, top2, top3, rank, mrr: (b,) each, for scores (b, n); nan for a series without a known winner.

    Where winners tie, each stands for the truth with its share of `target`.
    """
    known = data.target.sum(axis=1) > 0
    better, equal = _standing(scores, data.mask)
    figures = {f"top{k}": np.clip(k - better, 0, equal) / equal for k in TOP}
    figures["rank"] = better + (equal + 1) / 2
    figures["mrr"] = (_harmonic(better + equal) - _harmonic(better)) / equal
    return {name: np.where(known, (value * data.target).sum(axis=1, dtype=np.float64), np.nan) for name, value in figures.items()}


def random_baselines(data: SeriesSet) -> dict[str, Floats]:
    """The same figures (b,) for a scorer that draws lots: top-1 is 1/n in every series, so its mean is the mean of 1/n."""
    return per_series(np.zeros(data.mask.shape), data)


def pair_wins(margins: Floats, data: SeriesSet) -> tuple[Floats, Floats]:
    """(won, fought), each (b,): pairs that people decided, and those the margins (b, n, n) order alike; a zero margin wins half."""
    decided = (data.votes > data.votes.transpose(0, 2, 1)).astype(np.float64)  # i preferred to j
    won = (margins > 0) + 0.5 * (margins == 0)
    return (won * decided).sum(axis=(1, 2)), decided.sum(axis=(1, 2))


def margins_of(scores: Floats) -> Floats:
    """(b, n, n) differences of scores (b, n); 0 where either is masked (-inf)."""
    finite = np.isfinite(scores)
    safe = np.where(finite, scores, 0.0)
    return np.where(finite[:, :, None] & finite[:, None, :], safe[:, :, None] - safe[:, None, :], 0.0)


def _standing(scores: Floats, mask: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """(better, equal), each (b, n): photos of the series that score higher, and as high (itself included)."""
    valid = mask[:, None, :]
    better = ((scores[:, None, :] > scores[:, :, None]) & valid).sum(axis=2)
    equal = ((scores[:, None, :] == scores[:, :, None]) & valid).sum(axis=2)
    return better.astype(np.float64), np.maximum(equal, 1).astype(np.float64)


def _harmonic(n: Floats) -> Floats:
    """1 + 1/2 + ... + 1/n, elementwise."""
    table = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, int(n.max(initial=0)) + 1))])
    return table[n.astype(np.intp)]
