"""A few checked photos and what models say of every photo become one figure: prediction-powered inference.

What models say of a photo (the teacher's label, the student's confidence) is wrong now and then, but known of the whole library. A figure
by the checked photos alone is moved by how much the models' mean over them differs from their mean over the library, times a slope that
the checked photos choose: PPI++ (Angelopoulos, Duchi and Zrnic 2023, arXiv 2311.01453), which is the regression estimator of survey
statistics (Särndal, Swensson and Wretman 1992) over groups and with weights. Models that know nothing get a slope near zero, models that
lie a negative one: the figure stays true, and is at worst about as wide as without them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vibe_assets.evaluate.intervals import LEVEL, score_interval, unseen_share, weighted_share
from vibe_assets.records import Estimate

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

FEWEST = 10  # groups that must move a figure for every slope that is fitted: with fewer the checks speak alone
RIDGE = 1e-3  # of the models' variance: two that say the same share their slope


@dataclass(frozen=True)
class Models:
    """What models say of the checked photos, `said` (n, k), and on the mean of all photos that the figure is of, `everywhere` (k,).

    `photos`: how many these are.
    """

    said: Floats
    everywhere: Floats
    photos: int


def combined_share(
    hits: ArrayLike,
    models: Models,
    *,
    among: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    baseline: float | None = None,
    finite: bool = False,
) -> Estimate:
    """The share of `hits` (n,) among the checked photos that `among` (n,) marks, as of the whole library. Raises ValueError for none.

    `weights` (n,) are 1 / inclusion probability and `groups` (n,) any labels, as in `weighted_share`, whose estimate it is, with `worth`
    None, where the models add nothing. `finite`: the figure is about the very photos of `models`; else their mean is itself a sample's.
    """
    hit = np.asarray(hits, dtype=np.float64)
    counted = np.ones(len(hit), dtype=bool) if among is None else np.asarray(among, dtype=bool)
    weight = np.ones(len(hit)) if weights is None else np.asarray(weights, dtype=np.float64)
    codes = np.arange(len(hit)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    alone = weighted_share(hit[counted], weights=weight[counted], groups=codes[counted], baseline=baseline, finite=finite)
    share = alone.value
    term = np.where(counted, hit - share, 0.0) / float((weight * counted).sum())  # the figure, linearised: sum(weight * term) is 0
    found = moved(term, weight, codes, models, finite=finite)
    value = share if found is None else share - found.shift
    if found is None or not 0 < value < 1:
        return alone
    low, high = score_interval(value, _size_of(alone) * found.gain)
    return Estimate(value, low, high, alone.n, baseline, worth=round(alone.n * found.gain))


def _size_of(alone: Estimate) -> float:
    """How many photos a Wilson interval is of: solved from its width."""
    from scipy.stats import norm

    z2 = float(norm.ppf(0.5 + LEVEL / 2)) ** 2
    half = (alone.high - alone.low) / 2
    if half <= 0:
        return math.inf
    spread = alone.value * (1 - alone.value)
    # half**2 * (1 + z2 / n)**2 == z2 * (spread / n + z2 / (4 * n * n)), a quadratic in x = z2 / n
    a, b, c = half**2 - 0.25, 2 * half**2 - spread, half**2
    if abs(a) < 1e-12:
        return z2 * -b / c
    x = (-b - math.sqrt(max(b * b - 4 * a * c, 0.0))) / (2 * a)
    return z2 / x


@dataclass(frozen=True)
class Moved:
    """How far models move a figure (to be subtracted), and how many times as many checks that is worth: above 1."""

    shift: float
    gain: float


def moved(term: Floats, weight: Floats, codes: NDArray[np.intp], models: Models, *, finite: bool = False) -> Moved | None:
    """What the models do to a figure whose linearised terms are `term` (n,), sum(weight * term) = 0, `codes` (n,) the groups 0..g-1.

    None where they do not narrow it, or too few groups move it to tell. The slopes are least squares over groups; residuals are divided by
    1 - leverage, as each group had a part in its own (HC3, MacKinnon and White 1985). Two groups that the models got wrong, one each way,
    are added: nobody is sure after 20 photos without an error.
    """
    count = int(codes.max()) + 1
    apart = models.said - models.everywhere  # (n, k)
    spread = apart.std(axis=0)
    kept = spread > 1e-9
    if not kept.any():
        return None
    apart, spread = apart[:, kept], spread[kept]
    share_of = weight / weight.sum()
    mean = share_of @ apart  # (k,) how far the checked photos' models are from the library's
    moving = weight * np.sqrt(unseen_share(weight)) if finite else weight
    y = np.bincount(codes, moving * term, count)  # (groups,)
    part = share_of * (moving / weight)
    x = np.stack([np.bincount(codes, part * column, count) for column in (apart - mean).T], axis=1)  # (groups, k)
    if (np.abs(y) > 1e-15).sum() < FEWEST * x.shape[1]:
        return None
    scale = np.sqrt(np.square(x).sum(axis=0))
    if not (scale > 0).all():
        return None
    unit = x / scale
    normal = unit.T @ unit + RIDGE * np.eye(unit.shape[1])
    inverse = np.linalg.inv(normal)
    slope = inverse @ (unit.T @ y)
    leverage = np.einsum("gk,kl,gl->g", unit, inverse, unit).clip(max=0.9)
    before = float(np.square(y).sum()) * count / (count - 1)
    after = float(np.square((y - unit @ slope) / (1 - leverage)).sum()) * count / (count - 1)
    slopes = slope / scale
    told = models.said[:, kept] @ slopes
    step = float(min(np.ptp(told), np.abs(told).max())) / (count + 2)
    after += 2 * step**2
    if not finite:  # the library is a sample of photos to come
        after += float(np.var(told)) / models.photos
    return Moved(float(slopes @ mean), before / after) if after < before else None
