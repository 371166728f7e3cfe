"""Verdict rows beside the teacher's labels become what pre-filled labels do to people, and how long a photo takes them.

Photos count alike: the figures are about the page, and which photos come pre-filled does not depend on the sample's strata.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vibe_assets.audit.agreement import MIN_PHOTOS
from vibe_assets.evaluate.intervals import LEVEL, weighted_share
from vibe_assets.records import Estimate

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class Anchoring:
    """How often people give the teacher's answer: when they label blind, and when it was filled in already.

    The difference is the pull of the pre-filled answer. Either it, or `reason` says why there is none.
    """

    question: str
    blind: Estimate | None  # None: no photo
    prefilled: Estimate | None
    difference: Estimate | None  # pre-filled minus blind, -1..1; baseline 0: no pull
    reason: str | None = None


@dataclass(frozen=True)
class Pace:
    """Seconds per photo, from the photo being visible to the key that ended it, as medians; and the share of photos skipped."""

    blind: Estimate | None  # None: fewer than MIN_PHOTOS were timed
    prefilled: Estimate | None
    skipped: Estimate | None  # of the photos that were looked at


def anchoring(
    labelled: pl.DataFrame, teacher: pl.DataFrame, question: str, *, groups: Mapping[str, str] | None = None, level: float = LEVEL
) -> Anchoring:
    """Compare agreement with the teacher (image_id and the columns of the questions) between blind and pre-filled verdicts.

    The interval of the difference is Newcombe's (1998, method 10), from the two intervals, each on its effective sample size by
    group. It takes the two for independent; where the same group is in both, it is too wide rather than too narrow.
    """
    import polars as pl

    said = teacher.select("image_id", teacher_says=question).unique("image_id", keep="first")
    both = labelled.join(said, on="image_id").filter(pl.col(question).is_not_null() & pl.col("teacher_says").is_not_null())
    both = both.select("image_id", "blind", same=pl.col(question) == pl.col("teacher_says"))
    blind = _share(both.filter("blind"), "same", groups, level)
    prefilled = _share(both.filter(~pl.col("blind")), "same", groups, level)
    few = [
        f"{0 if share is None else share.n} {name}" for name, share in (("blind", blind), ("pre-filled", prefilled))
        if share is None or share.n < MIN_PHOTOS
    ]  # fmt: skip
    if few or blind is None or prefilled is None:
        return Anchoring(question, blind, prefilled, None, f"only {' and '.join(few)} verdicts, at least {MIN_PHOTOS} of each are needed")
    return Anchoring(question, blind, prefilled, _difference(prefilled, blind))


def pace(looked: pl.DataFrame, *, groups: Mapping[str, str] | None = None, level: float = LEVEL) -> Pace:
    """Median time of blind and of pre-filled verdicts, skips and what was never timed (0 ms) left out; share skipped."""
    import polars as pl

    timed = looked.filter((pl.col("act") != "skipped") & (pl.col("spent_ms") > 0))
    return Pace(
        blind=median_seconds(timed.filter("blind")["spent_ms"].to_numpy(), level),
        prefilled=median_seconds(timed.filter(~pl.col("blind"))["spent_ms"].to_numpy(), level),
        skipped=_share(looked.select("image_id", skipped=pl.col("act") == "skipped"), "skipped", groups, level),
    )


def median_seconds(spent_ms: np.ndarray, level: float = LEVEL) -> Estimate | None:
    """Median with the interval of its order statistics (the binomial quantile test): no assumption about the shape of the times."""
    from scipy.stats import quantile_test

    if len(spent_ms) < MIN_PHOTOS:
        return None
    seconds = np.asarray(spent_ms, dtype=np.float64) / 1000
    low, high = quantile_test(seconds, p=0.5).confidence_interval(level)
    return Estimate(float(np.median(seconds)), float(low), float(high), len(seconds))


def _share(rows: pl.DataFrame, column: str, groups: Mapping[str, str] | None, level: float) -> Estimate | None:
    if rows.is_empty():
        return None
    named = [(groups or {}).get(image_id, image_id) for image_id in rows["image_id"]]
    return weighted_share(rows[column].to_numpy(), groups=named, level=level)


def _difference(a: Estimate, b: Estimate) -> Estimate:
    """a - b with the square-and-add interval of two shares' Wilson intervals (Newcombe 1998)."""
    value = a.value - b.value
    low = value - float(np.hypot(a.value - a.low, b.high - b.value))
    high = value + float(np.hypot(a.high - a.value, b.value - b.low))
    return Estimate(value, low, high, a.n + b.n, 0.0)
