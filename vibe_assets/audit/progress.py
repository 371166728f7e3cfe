"""Marks of right and wrong so far become how precisely a share is known, and how many more photos bring it to a wanted precision."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from vibe_assets.evaluate.intervals import LEVEL, effective_sample, score_interval, wilson

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

TARGET_HALF_WIDTH = 0.03  # three points either side: enough to tell a teacher of 90 % from one of 84 %


@dataclass(frozen=True)
class Progress:
    """How precisely a share is known from `n` photos, and what a half-width of `target` still costs.

    `more` holds if the share stays as it is; `more_at_most` if it is the least convenient one inside its interval.
    """

    n: int  # photos seen
    effective_n: float  # independent, equally weighted photos they are worth
    share: float | None  # None before the first photo
    low: float
    high: float
    target: float  # wanted half-width, 0..0.5
    more: int  # further photos of the same kind as those so far; 0: reached
    more_at_most: int
    left: int | None = None  # photos of the sample nobody has looked at; None: not known
    population: float | None = None  # photos of the library; None: without end
    supply: int | None = None  # photos that a larger sample could bring, one of each burst; None: not known

    @property
    def half_width(self) -> float:
        """Half the width of the 95 % interval, 0..0.5."""
        return (self.high - self.low) / 2

    @property
    def there(self) -> int | None:
        """Photos that are left to check, in the sample and in the largest that could be drawn; None: not known."""
        return None if self.supply is None or self.left is None else self.left + self.supply

    @property
    def reached(self) -> bool:
        return self.more == 0

    def sentence(self, what: str = "scene accuracy") -> str:
        """What the next photos bring, for people who are at it. The share itself is left out: it would lean on the next answer."""
        goal = f"±{_points(self.target)} points"
        if self.share is None:
            return f"No photo yet; {self.more:,} photos bring {what} to {goal}, fewer where it is far from 50\u202f%."
        if self.population is not None and self.n >= self.population:
            return f"All {self.n:,} photos are checked: {what} is known."
        if (there := self.there) is not None and self.more > there:
            if not there:
                return f"All photos that a sample can hold, one of each burst, are checked: ±{100 * self.half_width:.1f} points."
            draw = ": draw a larger sample" if self.supply else ""
            return f"The {there:,} left, one of each burst, bring {what} to about ±{100 * self.after(there):.1f} points{draw}."
        if self.reached:
            return f"{_capital(what)} is known to {goal}."
        more = f"{self.more:,}" if self.more_at_most <= 3 * self.more else f"{self.more:,} to {self.more_at_most:,}"
        photos, verb = ("photo", "brings") if more == "1" else ("photos", "bring")
        told = f"{more} more {photos} {verb} {what} to {goal}"
        if self.left is None or self.more <= self.left:
            return f"{told}."
        rest = (
            f"The {self.left:,} left in the sample bring {what} to about ±{100 * self.after(self.left):.1f} points; " if self.left else ""
        )
        return f"{rest}{told}: draw a larger sample."

    def after(self, photos: int) -> float:
        """Half-width to expect after that many further photos, if the share stays as it is."""
        worth = self.effective_n / self.n if self.n else 1.0
        share = 0.5 if self.share is None else self.share
        size = _finite(self.effective_n + photos * worth, self.n + photos, self.population)
        return 0.0 if math.isinf(size) else half_width(share, size)


def photos_to_go(
    hits: float, n: float, target_half_width: float = TARGET_HALF_WIDTH, *, left: int | None = None, level: float = LEVEL,
    population: float | None = None,
) -> Progress:  # fmt: skip
    """How many more photos bring the Wilson interval of `hits` of `n` photos to `target_half_width` (0.03: three points either side).

    For photos that count alike; `sample_progress` minds weights and groups. `population`: photos of the library, of which a part that is
    seen adds no variance (finite population correction). Raises ValueError for an impossible count or target.
    """
    wilson(hits, n, level)  # an impossible count is refused
    share = hits / n if n else None
    return _progress(share, math.ceil(n), float(n), target_half_width, left, level, population)


def sample_progress(
    right: ArrayLike,
    target_half_width: float = TARGET_HALF_WIDTH,
    *,
    weights: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    left: int | None = None,
    level: float = LEVEL,
    population: float | None = None,
    supply: int | None = None,
) -> Progress:
    """The same for a drawn sample: `right` (n,) 0 or 1, `weights` (n,) 1 / inclusion probability, `groups` (n,) near-duplicates.

    Photos to come are taken to be worth as much as those so far: n_eff / n each (Kish's design effect).
    """
    import numpy as np

    mark = np.asarray(right, dtype=np.float64)
    if len(mark) == 0:
        return photos_to_go(0, 0, target_half_width, left=left, level=level, population=population)
    share, size = effective_sample(mark, weights=weights, groups=groups, level=level)
    return replace(_progress(share, len(mark), size, target_half_width, left, level, population), supply=supply)


def half_width(share: float, n: float, level: float = LEVEL) -> float:
    """Half the width of the Wilson interval of a share of `n` photos (not rounded to whole hits); 0.5 for none."""
    z2 = _z2(level)
    return math.sqrt(z2 * (share * (1 - share) * n + z2 / 4)) / (n + z2)


def photos_needed(share: float, target_half_width: float, level: float = LEVEL) -> float:
    """The n at which `half_width` falls to the target: the larger root of a quadratic in n, 0 where any n will do.

    From t = z sqrt(p q n + z^2 / 4) / (n + z^2), the half-width of Wilson's interval (1927), which only falls as n grows.
    """
    z2, t2 = _z2(level), target_half_width**2
    linear = 2 * t2 * z2 - z2 * share * (1 - share)
    constant = t2 * z2**2 - z2**2 / 4
    return max(0.0, (-linear + math.sqrt(linear**2 - 4 * t2 * constant)) / (2 * t2))


def _progress(
    share: float | None, n: int, effective: float, target: float, left: int | None, level: float, population: float | None
) -> Progress:
    if not 0 < target < 0.5:
        raise ValueError(f"expected a target half-width above 0 and below 0.5, got {target}")
    low, high = (0.0, 1.0) if share is None else score_interval(share, _finite(effective, n, population), level)
    worst = min(max(0.5, low), high)  # the share in the interval that needs most photos
    cost = n / effective if effective else 1.0

    def missing(p: float) -> int:
        wanted = photos_needed(p, target, level)
        photos = max(0.0, wanted - effective) * cost
        if population is not None:  # n / cost / (1 - n / population) = wanted, solved for n
            photos = max(0.0, min(wanted / (1 / cost + wanted / population), population) - n)
        return math.ceil(round(photos, 6))  # 12.0000000001 photos are 12

    more = missing(worst if share is None else share)
    return Progress(n, effective, share, low, high, target, more, max(more, missing(worst)) if more else 0, left, population)


def _finite(size: float, n: int, population: float | None) -> float:
    """What n photos worth `size` are worth where the library holds no more than `population` (finite population correction)."""
    if population is None:
        return size
    unseen = 1 - n / population
    return size / unseen if unseen > 1e-9 else math.inf


def _z2(level: float) -> float:
    from scipy.stats import norm

    return float(norm.ppf(0.5 + level / 2)) ** 2


def _points(half: float) -> str:
    return f"{100 * half:g}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
