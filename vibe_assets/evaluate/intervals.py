"""Right-or-wrong marks and per-photo terms become 95 % intervals: Wilson, cluster-robust shares, cluster bootstrap, paired tests.

Photos of one group (near-duplicates, bursts) are right or wrong together, so every interval here is made over groups.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from vibe_assets.records import Estimate

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

RESAMPLES = 2000
LEVEL = 0.95
BLOCK_CELLS = 4_000_000  # resamples are drawn in blocks of about 32 MB


class Interval(NamedTuple):
    low: float
    high: float


class McNemar(NamedTuple):
    """Exact McNemar test of `b` photos that only the first got right against `c` that only the second got right."""

    p_two_sided: float
    p_second_worse: float  # one-sided: the second is worse than the first


def wilson(hits: float, n: float, level: float = LEVEL) -> Interval:
    """Wilson score interval of a share (Wilson 1927). `n` may be an effective sample size; n = 0 says nothing: (0, 1)."""
    if not 0 <= hits <= n:
        raise ValueError(f"expected 0 <= hits <= n, got hits={hits}, n={n}")
    if n == 0:
        return Interval(0.0, 1.0)
    from scipy.stats import norm

    z2 = float(norm.ppf(0.5 + level / 2)) ** 2
    share = hits / n
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = np.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    # the formula's ends at 0 and n hits are exactly 0 and 1; rounding must not leave them a hair inside
    return Interval(0.0 if hits == 0 else max(0.0, float(centre - half)), 1.0 if hits == n else min(1.0, float(centre + half)))


def weighted_share(
    hits: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    baseline: float | None = None,
    level: float = LEVEL,
    finite: bool = False,
) -> Estimate:
    """Hajek estimate of a share, sum(w * hit) / sum(w), with a Wilson interval on the effective sample size.

    `hits` (n,) are 0 or 1, `weights` (n,) are 1 / inclusion probability, `groups` (n,) any labels. The effective size is
    n / design effect, the cluster-robust (linearised) variance over that of a simple random sample, with the t adjustment of
    Korn and Graubard (1998) for few groups. One photo per group and equal weights give exactly `wilson`. `finite`: the figure is about
    the library that the photos were drawn from, so that a photo of weight 1 stands for nobody else and adds no variance (finite
    population correction): of a library checked as a whole the interval has no width. Raises ValueError for no photos.
    """
    share, size = effective_sample(hits, weights=weights, groups=groups, level=level, finite=finite)
    low, high = score_interval(share, size, level)
    return Estimate(share, low, high, len(np.asarray(hits)), baseline)


def score_interval(score: float, size: float, level: float = LEVEL) -> Interval:
    """Wilson's interval of a score between 0 and 1 that is known as well as a share of `size` photos is; none left to see: zero wide."""
    return Interval(score, score) if np.isinf(size) else wilson(score * size, size, level)


def effective_sample(
    hits: ArrayLike, *, weights: ArrayLike | None = None, groups: ArrayLike | None = None, level: float = LEVEL, finite: bool = False
) -> tuple[float, float]:
    """The weighted share of `hits` (n,) and how many independent, equally weighted photos the sample is worth (`weighted_share`).

    Infinitely many where `finite` and every photo was seen.
    """
    hit = np.asarray(hits, dtype=np.float64)
    n = len(hit)
    if n == 0:
        raise ValueError("expected at least one photo, got 0")
    weight, codes, group_count = _weights(weights, n), *_codes(groups, n)
    total = weight.sum()
    share = float(np.clip((weight * hit).sum() / total, 0.0, 1.0))
    size = _effective_size(hit, share, weight / total, codes, group_count, level)
    if not finite:
        return share, size
    unseen = unseen_share(weight)
    residual = hit - share if np.ptp(hit) > 0 else np.zeros(n)  # equal marks: what rounding leaves is no variance
    squares = np.square(np.bincount(codes, weight * residual, group_count)), np.square(np.bincount(codes, weight, group_count))
    left = (
        np.square(np.bincount(codes, np.sqrt(unseen) * weight * residual, group_count)),
        np.square(np.bincount(codes, np.sqrt(unseen) * weight, group_count)),
    )
    which = int(not squares[0].any())  # no variance to be seen: the weights alone
    open_part = float(left[which].sum() / squares[which].sum())
    return share, size / open_part if open_part > 0 else float("inf")


def unseen_share(weights: Floats) -> Floats:
    """(n,) of what each photo stands for, the share that was not seen: 1 - inclusion probability, its finite population correction."""
    return np.clip(1 - 1 / weights, 0.0, 1.0)


def _effective_size(hit: Floats, share: float, weight: Floats, codes: NDArray[np.intp], groups: int, level: float) -> float:
    """How many independent photos the sample is worth; `weight` sums to 1."""
    from scipy.stats import t

    n = len(hit)
    if groups < 2:
        return 1.0
    group_weight = np.bincount(codes, weight, groups)
    if share in (0.0, 1.0):  # no variance to be seen: the spread of the weights decides (Kish)
        return float(1 / np.square(group_weight).sum())
    residual = np.bincount(codes, weight * (hit - share), groups)
    variance = groups / (groups - 1) * np.square(residual).sum()
    design_effect = max(1.0, float(variance / (share * (1 - share) / (n - 1))))
    tail = 0.5 + level / 2
    return float(max(1.0, n / design_effect * (t.ppf(tail, n - 1) / t.ppf(tail, groups - 1)) ** 2))


@dataclass(frozen=True)
class Totals:
    """Weighted sums of per-photo terms: row 0 is the sample itself, every further row one resample of its groups."""

    columns: Mapping[str, int]
    sums: Floats  # (1 + resamples, terms)

    def __getitem__(self, name: str) -> Floats:
        return self.sums[:, self.columns[name]]


def resampled_totals(
    terms: Mapping[str, ArrayLike],
    *,
    groups: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    finite: bool = False,
) -> Totals:
    """Sum the terms (each (n,)) over photos, for the sample and for `resamples` draws of whole groups with replacement.

    Scores that are ratios of sums (shares, precision, F1, calibration error) follow for all draws at once, without a loop. `finite`:
    a photo moves by the root of its unseen share only (rescaling bootstrap, Rao and Wu 1988); see `weighted_share`.
    """
    names = list(terms)
    columns = [np.asarray(terms[name], dtype=np.float64) for name in names]
    n = len(columns[0]) if columns else 0
    weight, codes, group_count = _weights(weights, n), *_codes(groups, n)
    per_group = np.stack([np.bincount(codes, weight * column, group_count) for column in columns], axis=1) if columns else np.zeros((0, 0))
    whole, moving = per_group.sum(axis=0, keepdims=True), per_group
    if finite and n:
        root = np.sqrt(unseen_share(weight))
        moving = np.stack([np.bincount(codes, root * weight * column, group_count) for column in columns], axis=1)
    still = whole - moving.sum(axis=0, keepdims=True)
    drawn = [still + counts @ moving for counts in resample_counts(group_count, resamples=resamples, seed=seed)] if n else []
    sums = np.concatenate([whole, *drawn])  # (1 + resamples, terms)
    return Totals({name: at for at, name in enumerate(names)}, sums)


def resample_counts(groups: int, *, resamples: int = RESAMPLES, seed: int = 0) -> Iterator[Floats]:
    """Blocks of (r, groups): how often each group was drawn in each resample; every row sums to `groups`."""
    rng = np.random.default_rng(seed)
    block = max(1, BLOCK_CELLS // max(groups, 1))
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        drawn = rng.integers(groups, size=(rows, groups)) + groups * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * groups).reshape(rows, groups).astype(np.float64)


def cluster_bootstrap(
    values: ArrayLike,
    groups: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    statistic: Callable[[Floats], Floats] | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
    baseline: float | None = None,
) -> Estimate:
    """Percentile interval of a statistic of weighted sums, over resamples of whole groups (Efron and Tibshirani 1993).

    `values` is (n,) or (n, k). `statistic` maps weighted sums (..., k) to (...); without it: the weighted mean of (n,) values.
    Resamples where the statistic is undefined (nan) are left out.
    """
    table = np.asarray(values, dtype=np.float64)
    if len(table) == 0:
        raise ValueError("expected at least one photo, got 0")
    if statistic is None:
        if table.ndim != 1:
            raise ValueError(f"expected values (n,) for the weighted mean, got shape {table.shape}")
        table, statistic = np.stack([table, np.ones_like(table)], axis=1), _ratio_of_two
    table = table.reshape(len(table), -1)
    terms = {str(k): table[:, k] for k in range(table.shape[1])}
    totals = resampled_totals(terms, groups=groups, weights=weights, resamples=resamples, seed=seed)
    estimate = percentile_estimate(np.asarray(statistic(totals.sums), dtype=np.float64), n=len(table), level=level, baseline=baseline)
    if estimate is None:
        raise ValueError(f"the statistic is undefined on the sample of {len(table)} photos")
    return estimate


def percentile_estimate(
    draws: Floats, *, n: int, level: float = LEVEL, baseline: float | None = None, share_of: float | None = None
) -> Estimate | None:
    """Estimate from a statistic's (1 + resamples,) values, row 0 the sample's own; None where that is undefined.

    `share_of`: for scores between 0 and 1, the number of groups that could have changed it. A perfect (or hopeless) sample has no
    spread to resample, so its interval is Wilson's for that many groups, never zero wide.
    """
    value = float(draws[0])
    if not np.isfinite(value):
        return None
    defined = draws[1:][np.isfinite(draws[1:])]
    low, high = np.quantile(defined, [0.5 - level / 2, 0.5 + level / 2]) if len(defined) else (value, value)
    if share_of is not None and value in (0.0, 1.0) and low == high:
        low, high = wilson(value * share_of, share_of, level)
    return Estimate(value, float(low), float(high), n, baseline)


def score_estimate(
    draws: Floats,
    *,
    n: int,
    groups: float,
    level: float = LEVEL,
    baseline: float | None = None,
    unseen: float = 1.0,
    like_a_share: bool = False,
) -> Estimate | None:
    """The same for a score between 0 and 1: Wilson's interval for as many photos as the resamples' spread is worth.

    `groups`: the groups that could have changed the score; with few of them the spread itself is uncertain (t adjustment, Korn and
    Graubard 1998). Percentiles of resamples are too narrow there. A perfect (or hopeless) sample has no spread: then the score is
    known as well as a share of that many photos. `unseen`: the share of the library that was not seen, where that is finite.
    `like_a_share`: it is never taken to be known better than a share of that many.
    """
    from scipy.stats import norm, t

    value = float(draws[0])
    if not np.isfinite(value):
        return None
    value = min(max(value, 0.0), 1.0)  # sums in another order may leave it by a rounding
    defined = draws[1:][np.isfinite(draws[1:])]
    variance = float(np.var(defined)) if len(defined) else 0.0
    if unseen <= 0:
        size = float("inf")
    elif value in (0.0, 1.0) or variance < 1e-18 or groups < 2:
        size = groups / unseen
    else:
        tail = 0.5 + level / 2
        worth = value * (1 - value) / variance
        if like_a_share:
            worth = min(worth, groups / unseen)
        size = worth * (1 - 1 / groups) * float(norm.ppf(tail) / t.ppf(tail, groups - 1)) ** 2
    return Estimate(value, *score_interval(value, size, level), n, baseline)


def mcnemar_exact(b: int, c: int) -> McNemar:
    """Exact McNemar test: of b + c discordant photos, b were right only under the first and c only under the second."""
    from scipy.stats import binomtest

    if b + c == 0:
        return McNemar(1.0, 1.0)
    return McNemar(float(binomtest(b, b + c).pvalue), float(binomtest(b, b + c, alternative="greater").pvalue))


def paired_randomisation(differences: ArrayLike, groups: ArrayLike | None = None, *, resamples: int = 10_000, seed: int = 0) -> float:
    """One-sided p-value that differences (n,) lie below zero: signs of whole groups are flipped at random (Fisher's randomisation test).

    Differences carry their weights already. No assumption on their shape; (1 + extreme) / (1 + draws) keeps the level exact.
    """
    difference = np.asarray(differences, dtype=np.float64)
    codes, group_count = _codes(groups, len(difference))
    per_group = np.bincount(codes, difference, group_count) if len(difference) else np.zeros(0)
    per_group = per_group[per_group != 0]
    if len(per_group) == 0:
        return 1.0
    rng = np.random.default_rng(seed)
    observed = per_group.sum()
    tolerance = 1e-12 * np.abs(per_group).sum()  # equal sums added in another order are ties
    extreme = 0
    block = max(1, BLOCK_CELLS // len(per_group))
    for start in range(0, resamples, block):
        signs = rng.integers(2, size=(min(block, resamples - start), len(per_group)), dtype=np.int8) * 2.0 - 1.0
        extreme += int((signs @ per_group <= observed + tolerance).sum())
    return (1 + extreme) / (1 + resamples)


def _ratio_of_two(sums: Floats) -> Floats:
    return ratio(sums[..., 0], sums[..., 1])


def ratio(numerator: Any, denominator: Any) -> Floats:
    """Division that answers nan where there is nothing to divide by."""
    numerator, denominator = np.broadcast_arrays(np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64))
    return np.divide(numerator, denominator, out=np.full(numerator.shape, np.nan), where=denominator != 0)


def _weights(weights: ArrayLike | None, n: int) -> Floats:
    weight = np.ones(n) if weights is None else np.asarray(weights, dtype=np.float64)
    if len(weight) != n:
        raise ValueError(f"expected {n} weights, got {len(weight)}")
    if n and not (np.isfinite(weight).all() and (weight > 0).all()):
        raise ValueError(f"expected positive finite weights, got {weight.min()} to {weight.max()}")
    return weight


def _codes(groups: ArrayLike | None, n: int) -> tuple[NDArray[np.intp], int]:
    """Groups as 0..g-1, and g; every photo is its own group where none are given."""
    if groups is None:
        return np.arange(n), n
    names, codes = np.unique(np.asarray(groups), return_inverse=True)
    if len(codes) != n:
        raise ValueError(f"expected {n} groups, got {len(codes)}")
    return codes, len(names)
