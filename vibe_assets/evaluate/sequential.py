"""Lower bounds of a weighted share that hold however often they are asked while a sample is being judged: a test by betting.

A fixed-sample interval that is looked at after every pause lies above the truth far more often than 1 in 20 (Armitage, McPherson and
Rowe 1969). Here the evidence that the share is above `threshold` is the capital of a gambler who bets on it, photo by photo, at odds that
are fair when the share is the threshold; it ever reaches 20 in at most 1 of 20 such libraries (Ville 1939; Waudby-Smith and Ramdas 2024,
"Estimating means of bounded random variables by betting"). The capital is spread over fixed stakes, so that the order of the photos
does not matter: what was judged decides, not when.

Where models say of every photo how likely it is to be right, half of the capital bets on the photos as they are, and half on how far each
is from what the models say: the mean of that is the same, its spread smaller (prediction-powered inference, see `combined_share`).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from vibe_assets.evaluate.combined import Models

    Floats = NDArray[np.float64]

ALPHA = 0.05  # of the libraries whose share is the threshold, at most this many are ever taken to be above it
STAKES = (np.arange(40) + 0.5) / 40  # shares of the largest bet that cannot lose everything


def evidence(
    hits: ArrayLike,
    threshold: float,
    *,
    weights: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    largest: float = 0.0,
    more: float = 1.0,
    models: Models | None = None,
) -> float:
    """Log of the capital against "the share is at most `threshold`" (0 < threshold <= 1); above log(1 / ALPHA) it is refused.

    `hits` (n,) are 0..1, `weights` (n,) 1 / inclusion probability, `groups` (n,) are won and lost as one. `largest`: the greatest weight
    of a group that may still come; it sets the stakes and must not depend on the hits. `more`: the same photos this many times over.
    `models`: one column, the chance of each photo to be a hit (0..1), whether true or not.
    """
    hit = np.asarray(hits, dtype=np.float64)
    if not len(hit):
        return 0.0
    weight = np.ones(len(hit)) if weights is None else np.asarray(weights, dtype=np.float64)
    codes = np.arange(len(hit)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    all_ = np.bincount(codes, weight)
    bets = [(hit, 1.0)]  # what is bet on, and the most that can be lost of it
    if models is not None:
        apart = models.said[:, 0] - models.everywhere[0]  # mean 0 over the library
        bets.append((hit - apart, 1 + float(1 - models.everywhere[0]) / threshold))
    capital = []
    for outcome, most in bets:
        won = np.bincount(codes, weight * outcome)
        gain = (won / threshold - all_) / (max(largest, float(all_.max())) * most)  # (groups,) -1 or more; mean 0 at the threshold
        capital.append(more * np.log1p(STAKES[:, None] * gain).sum(axis=1))  # (stakes,)
    return float(np.logaddexp.reduce(np.concatenate(capital)) - math.log(len(bets) * len(STAKES)))


def lower_bound(
    hits: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    largest: float = 0.0,
    alpha: float = ALPHA,
    models: Models | None = None,
) -> float:
    """The largest share that the hits refuse: with probability 1 - alpha the true share stays above it at every look."""
    low, high = 0.0, 1.0
    for _ in range(30):
        middle = (low + high) / 2
        refused = evidence(hits, middle, weights=weights, groups=groups, largest=largest, models=models) >= math.log(1 / alpha)
        low, high = (middle, high) if refused else (low, middle)
    return low


def checks_until(
    hits: ArrayLike,
    threshold: float,
    *,
    weights: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    largest: float = 0.0,
    models: Models | None = None,
) -> int | None:
    """How many more photos raise the lower bound to `threshold` if they turn out like those so far; None: no number of them does."""
    n, wanted = len(np.asarray(hits)), math.log(1 / ALPHA)

    def enough(times: float) -> bool:
        return evidence(hits, threshold, weights=weights, groups=groups, largest=largest, more=times, models=models) >= wanted

    if n == 0 or not enough(1e6):
        return None
    low, high = 0.0, 1.0
    while not enough(high):
        low, high = high, 2 * high
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return max(0, math.ceil(n * high - 1e-6) - n)
