"""Ratings, said and true, become how far they lie apart: a neighbour of the right point is less wrong than one at the other end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from vibe_assets.evaluate.intervals import LEVEL, RESAMPLES, percentile_estimate, ratio, resampled_totals, score_estimate, wilson
from vibe_assets.evaluate.metrics import unseen_part
from vibe_assets.questions import Rating
from vibe_assets.records import Estimate

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

MIN_PHOTOS = 10  # below it an interval of kappa spans nearly everything


@dataclass(frozen=True)
class Ordinal:
    """How far ratings are from true ones, of the photos that were answered."""

    distance: Estimate  # mean absolute difference in points, 0 best; baseline: the best constant answer
    kappa: Estimate | None  # quadratic weighted kappa, 1 best; baseline 0: chance. None for few photos, or no two different ratings

    def figures(self) -> tuple[tuple[str, str, Estimate], ...]:
        """(name in tables of metrics, title, figure)."""
        found = [("distance", "mean difference in points", self.distance)]
        return (*found, *([("weighted_kappa", "quadratic weighted kappa", self.kappa)] if self.kappa else []))

    def words(self) -> tuple[tuple[str, str, str, str, int], ...]:
        """(title, value, interval, baseline, photos) of each figure, for people."""
        return tuple(
            (title, f"{e.value:.2f}", f"{e.low:.2f} – {e.high:.2f}", f"{e.baseline:.2f}" if e.baseline is not None else "", e.n)
            for _, title, e in self.figures()
        )


def ordinal(
    question: Rating, truth: Sequence[str | None], said: Sequence[str | None], *, groups: ArrayLike, weights: ArrayLike,
    resamples: int = RESAMPLES, seed: int = 0, finite: bool = False,
) -> Ordinal | None:  # fmt: skip
    """Keys of a rating, photo by photo -> its figures on the photos where both have a point of the scale; None without one."""
    points = dict(zip(question.keys, question.scale, strict=True))
    both = np.array([a in points and b in points for a, b in zip(truth, said, strict=True)], dtype=bool)
    if not both.any():
        return None
    x, y = (np.array([points.get(key or "", 0) for key in keys], dtype=np.float64)[both] for keys in (truth, said))
    group, weight = np.asarray(groups)[both], np.asarray(weights, dtype=np.float64)[both]
    span, clusters = question.scale[-1] - question.scale[0], len(np.unique(group))
    apart = np.abs(x - y)
    terms = {"one": np.ones_like(x), "apart": apart, "square": np.square(apart), "x": x, "y": y, "squares": np.square(x) + np.square(y)}
    totals = resampled_totals(terms, groups=group, weights=weight, resamples=resamples, seed=seed, finite=finite)
    unseen = unseen_part(weight, np.ones(len(x), dtype=bool), finite)
    constant = min(float((weight * np.abs(x - step)).sum() / weight.sum()) for step in question.scale)
    score = score_estimate(ratio(totals["apart"], totals["one"]) / span, n=len(x), groups=clusters, unseen=unseen)
    if score is None:
        return None
    distance = Estimate(score.value * span, score.low * span, score.high * span, score.n, constant)
    x_mean, y_mean = ratio(totals["x"], totals["one"]), ratio(totals["y"], totals["one"])
    by_chance = ratio(totals["squares"], totals["one"]) - 2 * x_mean * y_mean  # mean square if the ratings were dealt out anew
    draws = 1 - ratio(ratio(totals["square"], totals["one"]), np.where(by_chance > 1e-9, by_chance, np.nan))
    return Ordinal(distance, _kappa(draws, len(x), clusters, unseen))


def _kappa(draws: Floats, n: int, groups: int, unseen: float) -> Estimate | None:
    """Quadratic weighted kappa (Cohen 1968): 1 - mean squared difference / the same by chance, with percentiles of resampled groups.

    They are too narrow for few groups, so they are widened as for a mean (t adjustment). Without a difference there is nothing to resample:
    then the lower end is that of a share of as many groups, an unseen difference being as far as chance.
    """
    from scipy.stats import norm, t

    found = percentile_estimate(draws, n=n, baseline=0.0)
    if found is None or n < MIN_PHOTOS or groups < 2:
        return None
    if found.value == 1.0:
        return Estimate(1.0, 1.0 if unseen <= 0 else wilson(groups / unseen, groups / unseen).low, 1.0, n, 0.0)
    wider = float(np.sqrt(groups / (groups - 1)) * t.ppf(0.5 + LEVEL / 2, groups - 1) / norm.ppf(0.5 + LEVEL / 2))
    low, high = (found.value + wider * (end - found.value) for end in (found.low, found.high))
    return Estimate(found.value, max(-1.0, low), min(1.0, high), n, 0.0)
