"""Two heads' scores on the same photos become the difference of their weighted means, by group, and whether a new head loses too much."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from vibe_assets.evaluate.combined import Models, moved
from vibe_assets.evaluate.intervals import LEVEL
from vibe_assets.records import Estimate

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]


FEWEST = 20  # groups on which two versions differ, below which models tell nothing of how much: their slope would fit these few
WORST_LEVEL = 0.98  # of the interval whose lower end may not be below the loss allowed: a head comes every week, so 1 in 100 is let by


def weighted_difference(
    differences: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    level: float = LEVEL,
    models: Models | None = None,
) -> Estimate:
    """Weighted mean of paired differences (n,), with a t interval on its linearised variance over groups; baseline 0.

    Two pseudo-groups of mean weight, one that gains and one that loses, steady the interval where few photos differ (Bonett and Price
    2012, the adjusted Wald interval of paired shares): nobody is sure after 20 photos without a difference. Degrees of freedom are those
    of the groups by weight (Kish). `models`: what these say of the difference on many more photos
    (`moved`), where at least FEWEST groups are won or lost. Raises ValueError for no photos.
    """
    from scipy.special import stdtrit

    difference = np.asarray(differences, dtype=np.float64)
    n = len(difference)
    if n == 0:
        raise ValueError("expected at least one photo, got 0")
    weight = np.ones(n) if weights is None else np.asarray(weights, dtype=np.float64)
    codes = np.arange(n) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    mass = np.bincount(codes, weight)  # (groups,)
    gained = np.bincount(codes, weight * difference)
    value = float(gained.sum() / mass.sum())
    step = float(np.abs(difference).max()) or 1.0
    gained, mass = np.append(gained, [step * mass.mean(), -step * mass.mean()]), np.append(mass, [mass.mean()] * 2)
    centre, share = float(gained.sum() / mass.sum()), mass / mass.sum()
    residual = gained / mass.sum() - centre * share
    error = math.sqrt(len(mass) / (len(mass) - 1) * np.square(residual).sum())
    half = float(error * stdtrit(max(1.0, 1 / np.square(share).sum() - 1), 0.5 + level / 2))
    worth = None
    if models is not None and np.count_nonzero(gained[:-2]) >= FEWEST:
        found = moved((difference - value) / weight.sum(), weight, codes, models)
        if found is not None:
            value, centre, half, worth = value - found.shift, centre - found.shift, half / math.sqrt(found.gain), round(n * found.gain)
    return Estimate(value, max(-1.0, min(value, centre - half)), min(1.0, max(value, centre + half)), n, 0.0, worth)


def loses_too_much(delta: Estimate, worst: float, max_loss: float) -> bool:
    """Whether a new head is worse, or not shown to lose at most `max_loss`; being ahead is enough.

    `delta`: its score minus the other's, `worst` the lower end at WORST_LEVEL. A non-inferiority test (Piaggio et al. 2012, CONSORT):
    absence of proof that a head is worse is no proof that it is as good, and many small losses would add up.
    """
    return delta.value < 0 and (worst < -max_loss or delta.high < 0)


def best_of(scores: Sequence[Floats], *, weights: ArrayLike | None = None, groups: ArrayLike | None = None) -> int:
    """Which of several heads' scores (each (n,)), oldest first, is the record: a later head takes it when it is clearly better.

    Clearly: at 0.05 over the number of heads (Bonferroni), for the highest of many equal scores is high by luck.
    """
    best = 0
    for at in range(1, len(scores)):
        delta = weighted_difference(scores[at] - scores[best], weights=weights, groups=groups, level=1 - 0.05 / len(scores))
        best = at if delta.low > 0 else best
    return best
