"""Predictions beside truth become figures: confusion, precision / recall / F1, average precision, threshold sweeps, top-k, calibration.

Arrays run over photos, (n,); `weights` are 1 / inclusion probability. Nothing here knows of tables or files.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vibe_assets.evaluate.intervals import (
    LEVEL,
    RESAMPLES,
    ratio,
    resampled_totals,
    score_estimate,
    unseen_share,
    weighted_share,
)
from vibe_assets.records import Estimate

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]

THRESHOLDS = np.arange(101) / 100
TARGET_PRECISION = 0.9
CALIBRATION_BINS = 15  # equal width, as in Guo et al. 2017
ABSTAINED = "abstained"


@dataclass(frozen=True)
class LabelScore:
    """One label's figures. None where undefined: no photo predicted (precision), none true (recall), neither (F1)."""

    kind: str  # scene | attribute | object
    label: str
    support: int  # photos that truly have the label
    predicted: int  # photos predicted to have it
    precision: Estimate | None
    recall: Estimate | None
    f1: Estimate | None


@dataclass(frozen=True)
class Confusion:
    """Photos (and their weighted share) by true and predicted label; abstentions have a column of their own."""

    rows: tuple[str, ...]  # truth
    columns: tuple[str, ...]  # prediction
    photos: tuple[tuple[int, ...], ...]  # (rows, columns)
    shares: tuple[tuple[float, ...], ...]  # of all photos, weighted; sums to 1


@dataclass(frozen=True)
class Reliability:
    """Confidence against how often it was right, in equal-width bins; empty bins are left out."""

    confidence: tuple[float, ...]  # weighted mean in the bin
    accuracy: tuple[float, ...]
    share: tuple[float, ...]  # of all photos, sums to 1
    error: float  # expected calibration error without its upward bias (`calibration_error`), 0..1
    n: int


@dataclass(frozen=True)
class Threshold:
    """One point of a sweep: predict the label at this confidence or above."""

    threshold: float
    precision: float | None  # None where nothing is predicted
    recall: float
    f1: float


@dataclass(frozen=True)
class Curve:
    """A label's scores over all thresholds."""

    label: str
    average_precision: Estimate
    brier: Estimate
    sweep: tuple[Threshold, ...]  # 101, thresholds 0.00 .. 1.00
    best_f1: Threshold
    at_precision: Threshold | None  # lowest threshold that reaches the target precision; None where none does
    reliability: Reliability


def confusion(truth: Sequence[str], predicted: Sequence[str | None], labels: Sequence[str], weights: ArrayLike | None = None) -> Confusion:
    """Count truth against prediction. `labels` gives the order; labels that turn up besides them follow, sorted."""
    from sklearn.metrics import confusion_matrix

    shown = [ABSTAINED if label is None else label for label in predicted]
    order = [*labels, *sorted({*truth, *shown} - {*labels, ABSTAINED}), ABSTAINED]
    photos = confusion_matrix(truth, shown, labels=order)
    weighted = confusion_matrix(truth, shown, labels=order, sample_weight=weights).astype(np.float64)
    shares = weighted / weighted.sum()
    rows = [at for at in range(len(order)) if order[at] in labels or photos[at].any()]
    columns = [at for at in range(len(order)) if order[at] in labels or photos[:, at].any()]
    return Confusion(
        tuple(order[at] for at in rows),
        tuple(order[at] for at in columns),
        tuple(tuple(int(photos[row, column]) for column in columns) for row in rows),
        tuple(tuple(float(shares[row, column]) for column in columns) for row in rows),
    )


def label_scores(
    kind: str,
    labels: Sequence[str],
    truth: Bools,
    predicted: Bools,
    *,
    known: Bools | None = None,
    groups: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    finite: bool = False,
) -> tuple[list[LabelScore], Estimate | None]:
    """Precision, recall and F1 of every label, and macro-F1: the mean F1 of the labels with support.

    `truth` and `predicted` are (n, labels); `known` (n, labels) is false where the truth of a label is unknown, and leaves its
    denominators. Baselines: precision of predicting at random (the label's share), F1 of always predicting it.
    """
    n = len(truth)
    if not labels:
        return [], None
    known = np.ones_like(truth) if known is None else known
    truth, predicted = truth & known, predicted & known
    weight = np.ones(n) if weights is None else np.asarray(weights, dtype=np.float64)
    group = np.arange(n) if groups is None else np.asarray(groups)
    terms = {("true", k): truth[:, k] for k in range(len(labels))}
    terms |= {("predicted", k): predicted[:, k] for k in range(len(labels))}
    terms |= {("hit", k): truth[:, k] & predicted[:, k] for k in range(len(labels))}
    totals = resampled_totals(
        {str(name): term for name, term in terms.items()}, groups=group, weights=weight, resamples=resamples, seed=seed, finite=finite
    )
    scores, f1_draws, baselines = [], [], []
    for k, label in enumerate(labels):
        prior = _share(truth[:, k], known[:, k], weight)
        true_sum, predicted_sum, hit_sum = (totals[str((name, k))] for name in ("true", "predicted", "hit"))
        draws = ratio(2 * hit_sum, true_sum + predicted_sum)
        touched = truth[:, k] | predicted[:, k]
        baseline = 2 * prior / (1 + prior)
        f1 = score_estimate(
            draws,
            n=int(known[:, k].sum()),
            groups=len(np.unique(group[touched])),
            baseline=baseline,
            unseen=unseen_part(weight, touched, finite),
        )
        hits = truth[:, k] & predicted[:, k]
        scores.append(
            LabelScore(
                kind, label, int(truth[:, k].sum()), int(predicted[:, k].sum()),
                _share_estimate(hits, predicted[:, k], weight, group, prior, finite),
                _share_estimate(hits, truth[:, k], weight, group, None, finite), f1,
            )
        )  # fmt: skip
        if truth[:, k].any():
            f1_draws.append(np.where(true_sum > 0, draws, np.nan))  # a draw without the label cannot judge it
            baselines.append(baseline)
    unseen = unseen_part(weight, np.ones(n, dtype=bool), finite)
    return scores, _macro(f1_draws, n=n, groups=len(np.unique(group)), baselines=baselines, unseen=unseen)


def _macro(draws: list[Floats], *, n: int, groups: int, baselines: list[float], unseen: float) -> Estimate | None:
    if not draws:
        return None
    table = np.stack(draws)
    mean = ratio(np.nansum(table, axis=0), np.isfinite(table).sum(axis=0))
    return score_estimate(mean, n=n, groups=groups, baseline=float(np.mean(baselines)), unseen=unseen)


def unseen_part(weight: Floats, among: Bools, finite: bool) -> float:
    """The share that was not seen of what these photos stand for; 1 of a population without end."""
    part = weight[among]
    return float((part * unseen_share(part)).sum() / part.sum()) if finite and len(part) else 1.0


def _share(hits: Bools, among: Bools, weight: Floats) -> float:
    total = float(weight[among].sum())
    return float(weight[hits & among].sum()) / total if total else 0.0


def _share_estimate(
    hits: Bools, among: Bools, weight: Floats, group: NDArray[np.generic], baseline: float | None, finite: bool
) -> Estimate | None:
    if not among.any():
        return None
    return weighted_share(hits[among], weights=weight[among], groups=group[among], baseline=baseline, finite=finite)


def average_precision(truth: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> Floats:
    """Area under the precision-recall steps, ties taken together (scikit-learn's definition).

    `weights` (n,) or (r, n) gives one value or r values at once: resamples need no loop and a single sort. nan without a positive.
    """
    true, score = np.asarray(truth, dtype=bool), np.asarray(scores, dtype=np.float64)
    weight = np.ones(len(true)) if weights is None else np.asarray(weights, dtype=np.float64)
    order = np.argsort(-score, kind="stable")
    last_of_tie = np.append(np.flatnonzero(np.diff(score[order])), len(order) - 1)
    sorted_weight = weight[..., order]
    hit = np.cumsum(sorted_weight * true[order], axis=-1)[..., last_of_tie]
    predicted = np.cumsum(sorted_weight, axis=-1)[..., last_of_tie]
    gained = np.diff(hit, axis=-1, prepend=0)
    precision = np.divide(hit, predicted, out=np.zeros_like(hit), where=predicted > 0)
    return ratio((precision * gained).sum(axis=-1), hit[..., -1])


def sweep(truth: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> tuple[Threshold, ...]:
    """Precision, recall and F1 at 101 thresholds, 0.00 to 1.00; a photo is predicted at or above the threshold. Needs a positive photo."""
    true, score = np.asarray(truth, dtype=bool), np.asarray(scores, dtype=np.float64)
    weight = np.ones(len(true)) if weights is None else np.asarray(weights, dtype=np.float64)
    chosen = score[None, :] >= THRESHOLDS[:, None]  # (101, n)
    hit, predicted, positive = chosen @ (weight * true), chosen @ weight, float((weight * true).sum())
    parts = (ratio(hit, predicted), ratio(hit, positive), ratio(2 * hit, predicted + positive))
    precision, recall, f1 = (part.clip(max=1.0) for part in parts)  # sums in another order may exceed 1 by a rounding
    return tuple(
        Threshold(float(threshold), float(precision[k]) if predicted[k] > 0 else None, float(recall[k]), float(f1[k]))
        for k, threshold in enumerate(THRESHOLDS)
    )


def curve(
    label: str,
    truth: Bools,
    scores: Floats,
    *,
    groups: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    target_precision: float = TARGET_PRECISION,
    resamples: int = RESAMPLES,
    seed: int = 0,
    finite: bool = False,
) -> Curve | None:
    """A label's sweep, average precision and calibration; None where no photo, or no positive photo, has a score.

    The interval of average precision comes from leaving groups out, one after the other (jackknife; Miller 1974), or one of `resamples`
    parts of them: draws with replacement rank photos against their own copies, which moves it too little.
    Thresholds read off here fit this sample: choose on validation photos, report on test photos.
    """
    if not truth.any():
        return None
    n = len(truth)
    weight = np.ones(n) if weights is None else np.asarray(weights, dtype=np.float64)
    names, codes = np.unique(np.arange(n) if groups is None else np.asarray(groups), return_inverse=True)
    value = average_precision(truth, scores, weight)[None]
    root = np.sqrt(unseen_share(weight)) if finite else np.ones(n)  # as in `resampled_totals`
    left_out = np.concatenate([
        average_precision(truth, scores, (1 - gone[:, codes] * root) * weight) for gone in _left_out(len(names), n, resamples, seed)
    ])  # fmt: skip
    moved = (left_out - np.nanmean(left_out)) * math.sqrt(max(len(left_out) - 1, 1)) if np.isfinite(left_out).any() else left_out
    prior = float((weight * truth).sum() / weight.sum())
    precision = score_estimate(
        np.concatenate([value, value + moved]),
        n=n,
        groups=len(np.unique(codes[truth])),
        baseline=prior,
        unseen=unseen_part(weight, np.ones(n, dtype=bool), finite),
        like_a_share=True,
    )
    if precision is None:
        raise AssertionError("average precision of a label with positives is defined")
    points = sweep(truth, scores, weight)
    reached = [point for point in points if point.precision is not None and point.precision >= target_precision]
    return Curve(
        label,
        precision,
        brier(scores, truth, groups=groups, weights=weight, baseline=prior * (1 - prior), resamples=resamples, seed=seed, finite=finite),
        points,
        max(points, key=lambda point: point.f1),
        reached[0] if reached else None,
        reliability(scores, truth, weight, groups=groups),
    )


def _left_out(groups: int, photos: int, parts: int, seed: int) -> Iterator[Floats]:
    """Blocks of (r, groups): 1 for the groups of one part, 0 elsewhere. Sized by photos: average precision holds (r, n) tables."""
    rows, count = max(1, 1_000_000 // photos), min(groups, parts)
    part = np.random.default_rng(seed).permutation(groups) % count
    for at in range(0, count, rows):
        yield (part == np.arange(at, min(at + rows, count))[:, None]).astype(np.float64)


def brier(
    confidence: ArrayLike, correct: ArrayLike, *, groups: ArrayLike | None = None, weights: ArrayLike | None = None,
    baseline: float | None = None, resamples: int = RESAMPLES, seed: int = 0, finite: bool = False,
) -> Estimate:  # fmt: skip
    """Mean squared distance between confidence and outcome (Brier 1950), 0 best. Raises ValueError for no photos."""
    squares = np.square(np.asarray(confidence, dtype=np.float64) - np.asarray(correct, dtype=np.float64))
    totals = resampled_totals(
        {"square": squares, "one": np.ones_like(squares)}, groups=groups, weights=weights, resamples=resamples, seed=seed, finite=finite
    )
    weight = np.ones(len(squares)) if weights is None else np.asarray(weights, dtype=np.float64)
    estimate = score_estimate(
        ratio(totals["square"], totals["one"]),
        n=len(squares),
        groups=len(squares if groups is None else np.unique(np.asarray(groups))),
        baseline=baseline,
        unseen=unseen_part(weight, np.ones(len(squares), dtype=bool), finite),
    )
    if estimate is None:
        raise ValueError("expected at least one photo, got 0")
    return estimate


def reliability(
    confidence: ArrayLike, correct: ArrayLike, weights: ArrayLike | None = None, *, groups: ArrayLike | None = None,
    bins: int = CALIBRATION_BINS,
) -> Reliability:  # fmt: skip
    """Bin photos by confidence: how often each bin was right."""
    sure, right = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    weight = np.ones(len(sure)) if weights is None else np.asarray(weights, dtype=np.float64)
    code = _bins(sure, bins)
    mass = np.bincount(code, weight, bins)
    filled = mass > 0
    mean_sure = np.bincount(code, weight * sure, bins)[filled] / mass[filled]
    mean_right = np.bincount(code, weight * right, bins)[filled] / mass[filled]
    share = mass[filled] / mass.sum() if len(sure) else mass[filled]
    error = calibration_error(sure, right, groups=groups, weights=weight, bins=bins)
    return Reliability(
        tuple(mean_sure.tolist()), tuple(mean_right.tolist()), tuple(share.tolist()), error.value if error else 0.0, len(sure)
    )


def calibration_error(
    confidence: ArrayLike, correct: ArrayLike, *, groups: ArrayLike | None = None, weights: ArrayLike | None = None,
    parts: ArrayLike | None = None, bins: int = CALIBRATION_BINS,
) -> Estimate | None:  # fmt: skip
    """Expected calibration error over equal-width bins, without its upward bias, with an interval over groups; None for no photos.

    The mean of |accuracy - confidence| is above zero for a calibrated source too, by the noise of every bin (Kumar, Liang and Ma 2019).
    Here the sign of a bin's gap comes from the other half of the groups (cross-fitting, over HALVES fixed halvings), so that noise
    cancels: the mean is 0 where confidences are true, and rather too small than too large elsewhere. The interval reaches from its
    lower end to the upper end of the plain error, and so covers the error of these bins. `parts` (n,): rows of different labels, each
    with bins of its own.
    """
    from scipy.special import stdtrit

    sure, right = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    n = len(sure)
    if n == 0:
        return None
    weight = np.ones(n) if weights is None else np.asarray(weights, dtype=np.float64)
    codes = np.arange(n) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    part = np.zeros(n, dtype=np.intp) if parts is None else np.unique(np.asarray(parts), return_inverse=True)[1]
    bin_of = part * bins + _bins(sure, bins)
    count, cells = int(codes.max()) + 1, int(bin_of.max()) + 1
    pairs, pair_of = np.unique(codes * cells + bin_of, return_inverse=True)  # groups in bins
    gap: Floats = np.asarray(np.bincount(pair_of, weight * (sure - right)), dtype=np.float64)
    group, cell = pairs // cells, pairs % cells
    total, mass = np.bincount(cell, gap, cells), np.bincount(codes, weight, count)

    plain = np.sign(total)
    signed = np.bincount(group, plain[cell] * gap, count)
    biased, others = float(signed.sum() / mass.sum()), _cross_fitted(gap, group, cell, cells) / float(mass.sum())
    half = 1.0
    if count > 1:
        error = np.sqrt(count / (count - 1) * np.square(signed - biased * mass).sum()) / mass.sum()
        half = float(error * stdtrit(count - 1, 0.5 + LEVEL / 2))
    value = max(0.0, others)
    return Estimate(value, max(0.0, min(value, others - CROSSED * half)), min(1.0, max(value, biased + half)), n)


HALVES = 20
CROSSED = math.sqrt(1 + 2 / math.pi)  # variance of |S| + |T| over that of S + T, for the two halves' normal sums around 0: at its largest


def _cross_fitted(gap: Floats, group: NDArray[np.intp], cell: NDArray[np.intp], cells: int) -> float:
    """Sum over the bins of each half's gap with the sign that the other half gives it, mean over halvings of the groups."""
    rng, sums = np.random.default_rng(0), []
    total, count = np.bincount(cell, gap, cells), int(group.max()) + 1
    for _ in range(HALVES):
        here = (rng.permutation(count) % 2 == 0)[group]
        one = np.bincount(cell[here], gap[here], cells)
        other = total - one
        one, other = (np.where(np.abs(part) < 1e-12, 0.0, part) for part in (one, other))  # a rounding has no sign
        sums.append(float((one * np.sign(other) + other * np.sign(one)).sum()))
    return float(np.mean(sums))


def _bins(confidence: Floats, bins: int) -> NDArray[np.intp]:
    if len(confidence) and not ((confidence >= 0) & (confidence <= 1)).all():
        raise ValueError(f"expected confidences between 0 and 1, got {confidence.min()} to {confidence.max()}")
    return np.minimum((confidence * bins).astype(np.intp), bins - 1)


def top_k_hits(predicted: Sequence[Sequence[str]], truth: Sequence[Collection[str]], k: int) -> Bools:
    """(n,) whether any of the first k predicted labels is true; a photo without predictions is a miss."""
    return np.array([any(label in true for label in guess[:k]) for guess, true in zip(predicted, truth, strict=True)], dtype=bool)


def most_common(truth: Sequence[Collection[str]], weights: ArrayLike, k: int) -> list[str]:
    """The k labels that most photos have, by weight: the constant answer that a top-k score must beat."""
    mass: dict[str, float] = {}
    for labels, weight in zip(truth, np.asarray(weights, dtype=np.float64), strict=True):
        for label in labels:
            mass[label] = mass.get(label, 0.0) + float(weight)
    return sorted(mass, key=lambda label: (-mass[label], label))[:k]


def prior_shares(labels: Sequence[str], weights: ArrayLike) -> Mapping[str, float]:
    """Weighted share of every label."""
    weight = np.asarray(weights, dtype=np.float64)
    mass: dict[str, float] = {}
    for label, w in zip(labels, weight, strict=True):
        mass[label] = mass.get(label, 0.0) + float(w) / float(weight.sum())
    return mass
