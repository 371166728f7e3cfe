"""Held-out logits and truth go in; temperature, Platt pairs, thresholds and calibration errors come out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vibe_assets.heads.models import sigmoid, softmax

MIN_ROWS = 10  # held-out photos below which the scene temperature stays 1
MIN_EACH = 5  # held-out positives, and negatives, below which a label keeps its probabilities and the default threshold
FEW = 30  # held-out photos below which no test excludes chance: being ahead of the constant answer is enough there
CHANCE = 0.01  # p-value below which a label's ranking is taken for more than luck
Z = 1.6449  # normal quantile of a one-sided 95 %
MIN_KEPT = 5  # kept photos below which an accuracy does not justify a scene threshold
GRID = np.linspace(0.0, 1.0, 101).round(2)
DEFAULT_THRESHOLD = 0.5


class Judged(NamedTuple):
    """Calibrated probabilities of photos (n, c), what is true of them, and where that is known."""

    p: NDArray[np.float64]
    targets: NDArray[np.integer]
    mask: NDArray[np.bool_]


Marked = tuple[NDArray[np.floating], NDArray[np.bool_]]  # probabilities of one label (n,), and which photos show it


@dataclass(frozen=True)
class Threshold:
    """`rule` says why: precision (target reached), f1 (target out of reach), default (too few held-out positives or negatives),
    capped (the target would leave too many photos open).
    """

    value: float
    rule: str


def calibrate(
    qtype: str,
    names: Sequence[str],
    logits: NDArray[np.float32],
    targets: NDArray[np.integer],
    mask: NDArray[np.bool_],
    weights: NDArray[np.float64] | None = None,
) -> dict[str, Any]:
    """The `calibration` of a card from held-out logits (n, c); `weights` (n,), `mask` without labels that their training did not see."""
    if qtype == "one_of":
        return {"temperature": fit_temperature(logits[mask], targets[mask], None if weights is None else weights[mask])}
    pairs = {}
    for at, name in enumerate(names):
        known = mask[:, at]
        pairs[name] = list(fit_platt(logits[known, at], targets[known, at] == 1, None if weights is None else weights[known]))
    return {"platt": pairs}


def choose_thresholds(
    qtype: str,
    names: Sequence[str],
    p: NDArray[np.float64],
    targets: NDArray[np.integer],
    mask: NDArray[np.bool_],
    target: float,
    max_open: float = 1.0,
    familiar: Judged | None = None,
    folders: NDArray[Any] | None = None,
    kind: str = "scene",
) -> dict[str, dict[str, Any]]:
    """The `thresholds` of a card from held-out calibrated probabilities (n, c); that of one_of stands under `kind`.

    `familiar` (m, c): those of photos from folders that trained, where the others are of held-out ones, their `folders` (n,); `max_open`
    is a share of the familiar. A label whose target precision is out of reach for the held-out folders is chosen on all of them.
    """
    near_p = None if familiar is None else familiar.p
    if qtype == "one_of":
        chosen = pick_confidence(
            p[mask].max(axis=1, initial=0.0), (p.argmax(axis=1) == targets)[mask], target_precision=target, max_open=max_open,
            familiar=None if near_p is None else near_p.max(axis=1, initial=0.0), folders=None if folders is None else folders[mask],
        )  # fmt: skip
        return {kind: {"upper": chosen.value, "rule": chosen.rule}}
    thresholds: dict[str, dict[str, Any]] = {}
    for at, name in enumerate(names):
        known, positive = p[mask[:, at], at], targets[mask[:, at], at] == 1
        every = None
        if familiar is not None:
            near = familiar.mask[:, at]
            every = np.append(known, familiar.p[near, at]), np.append(positive, familiar.targets[near, at] == 1)
        if qtype == "yes_no":
            near_one = None if near_p is None else near_p[:, at]
            thresholds[name] = pick_band(known, positive, target_precision=target, max_open=max_open, familiar=near_one, every=every)
        else:
            one = pick_threshold(known, positive, target_precision=target, every=every)
            thresholds[name] = {"upper": one.value, "rule": one.rule}
    return thresholds


def why_open(p: NDArray[np.floating], positive: NDArray[np.bool_], *, upper: float, lower: float) -> str:
    """Why a label is left open, "" where it is put in force: it beats the answer that is the same for every photo.

    On held-out photos (n,): its answers (true from `upper` on, false up to `lower`) are right where the more frequent answer is wrong more
    often than the other way round, and it ranks photos with the label first (Mann-Whitney test), unless there are FEW photos.
    """
    from scipy.stats import mannwhitneyu

    n, positives = len(positive), int(positive.sum())
    if not 0 < positives < n:
        return f"{positives} of {n} held-out photos show it, so nothing tells whether it learnt anything"
    constant = 2 * positives >= n
    said, answered = p >= upper, (p >= upper) | (p <= lower)
    better, worse = (
        (answered & (said == positive) & (positive != constant)).sum(),
        (answered & (said != positive) & (positive == constant)).sum(),
    )
    if better <= worse:
        return (
            f"no better than always {str(constant).lower()}: right where that is wrong on {better}, wrong where that is right on {worse} "
            f"of {n} held-out photos"
        )
    if n >= FEW and (chance := float(mannwhitneyu(p[positive], p[~positive], alternative="greater").pvalue)) > CHANCE:
        return f"ranks {n} held-out photos no better than chance (p = {chance:.2g})"
    return ""


def fit_temperature(logits: NDArray[np.floating], targets: NDArray[np.integer], weights: NDArray[np.float64] | None = None) -> float:
    """T that minimises the mean cross-entropy of softmax(logits / T); logits (n, c), targets and weights (n,). Guo et al. 2017.

    1.0 with fewer than MIN_ROWS rows; bounded to 0.05..20; a weak prior on log T (one photo's worth) keeps perfect rows finite.
    """
    from scipy.optimize import minimize_scalar

    if len(targets) < MIN_ROWS:
        return 1.0
    scores, rows = logits.astype(np.float64), np.arange(len(targets))
    weight = np.ones(len(targets)) if weights is None else weights

    def cost(log_t: float) -> float:
        p = softmax(scores / np.exp(log_t))[rows, targets]
        return float(-(weight * np.log(np.maximum(p, 1e-300))).sum() + 0.5 * log_t**2)

    return float(np.exp(minimize_scalar(cost, bounds=(np.log(0.05), np.log(20.0)), method="bounded").x))


def fit_platt(logits: NDArray[np.floating], positive: NDArray[np.bool_], weights: NDArray[np.float64] | None = None) -> tuple[float, float]:
    """(a, b) of probability = sigmoid(a * logit + b) for one label, a > 0; logits, positive and weights (n,).

    A prior holds log a and b near the identity (standard deviations 0.5 and 1), so that few photos move them little; with fewer than
    MIN_EACH positives or negatives it is the identity itself.
    """
    from scipy.optimize import minimize

    if not _enough(positive):
        return 1.0, 0.0
    scores, sign = logits.astype(np.float64), np.where(positive, 1.0, -1.0)
    weight = np.ones(len(positive)) if weights is None else weights

    def cost(at: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        a = np.exp(at[0])
        margin = sign * (a * scores + at[1])
        slope = -weight * sign * sigmoid(-margin)  # d loss / d (a * logit + b)
        value = (weight * np.logaddexp(0.0, -margin)).sum() + 2.0 * at[0] ** 2 + 0.5 * at[1] ** 2
        return float(value), np.array([(slope * scores).sum() * a + 4.0 * at[0], slope.sum() + at[1]])

    found = minimize(cost, np.zeros(2), jac=True, method="L-BFGS-B", bounds=[(-3.0, 3.0), (-20.0, 20.0)]).x
    return float(np.exp(found[0])), float(found[1])


def pick_threshold(
    p: NDArray[np.floating], positive: NDArray[np.bool_], *, target_precision: float, every: Marked | None = None
) -> Threshold:
    """Threshold of one label on probabilities (n,): a photo is positive from the threshold on.

    The lowest of 101 whose precision reaches the target; where none does, the one with the best F1 (the lowest of equals) among those that
    are right more often than the same answer for every photo, or among all where none is; on the photos of `every`, where given.
    """
    if not _enough(positive):
        return Threshold(DEFAULT_THRESHOLD, "default")
    hits, called = _from_threshold_on(p[positive]), _from_threshold_on(p)  # (101,) each
    precision = hits / np.maximum(called, 1)
    if (reached := np.flatnonzero((precision >= target_precision) & (hits > 0))).size:
        return Threshold(float(GRID[reached[0]]), "precision")
    if every is not None:
        p, positive = every
        hits, called = _from_threshold_on(p[positive]), _from_threshold_on(p)
    f1, right = 2 * hits / (called + positive.sum()), 2 * hits - called + (~positive).sum()
    useful = right > max(positive.sum(), (~positive).sum())
    return Threshold(float(GRID[np.where(useful | ~useful.any(), f1, -1.0).argmax()]), "f1")


def pick_band(
    p: NDArray[np.floating], positive: NDArray[np.bool_], *, target_precision: float, max_open: float = 1.0,
    familiar: NDArray[np.floating] | None = None, every: Marked | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Upper and lower threshold of an attribute: true from `upper` on, false up to `lower`, open in between.

    `lower` is the mirror image of `upper`: the same rule on 1 - p for the negatives, never above `upper`. Where more than `max_open`
    of the photos (of `familiar`, where given) would stay open, both are the threshold with the best F1 and nothing does.
    """
    upper = pick_threshold(p, positive, target_precision=target_precision, every=every)
    opposite = None if every is None else (1.0 - every[0], ~every[1])
    mirrored = pick_threshold(1.0 - p, ~positive, target_precision=target_precision, every=opposite)
    lower = round(min(1.0 - mirrored.value, upper.value), 2)
    counted = p if familiar is None or not len(familiar) else familiar
    if len(counted) and float(np.mean((counted > lower) & (counted < upper.value))) > max_open:
        best = pick_threshold(p, positive, target_precision=np.inf, every=every).value
        return {"upper": best, "lower": best, "rule": "capped", "lower_rule": "capped"}
    return {
        "upper": upper.value,
        "lower": lower,
        "rule": upper.rule,
        "lower_rule": mirrored.rule,
    }


def pick_confidence(
    confidence: NDArray[np.floating], correct: NDArray[np.bool_], *, target_precision: float, max_open: float = 1.0,
    familiar: NDArray[np.floating] | None = None, folders: NDArray[Any] | None = None,
) -> Threshold:  # fmt: skip
    """Confidence below which a scene is left open: the lowest of 101 at which the kept photos are right often enough.

    0.0 (nothing left open, rule "unreached") when none reaches the target with MIN_KEPT photos kept. Where the target would leave
    more than `max_open` of the photos open, the highest threshold that does not. With `familiar` (m,) it is a share of these, and a target
    that none reaches costs as much of them: the confidence of what is unfamiliar is worth little there. With `folders` (n,) of the photos
    the lower end of the share that is right must reach the target, for a folder not among them.
    """
    kept, right = _from_threshold_on(confidence), _from_threshold_on(confidence[correct])
    enough = right >= target_precision * kept if folders is None else _lower_ends(confidence, correct, folders) >= target_precision
    reached = np.flatnonzero(enough & (kept >= MIN_KEPT))
    counted = confidence if familiar is None or not len(familiar) else familiar
    bearable = np.flatnonzero(len(counted) - _from_threshold_on(counted) <= max_open * len(counted))
    if not reached.size:
        return Threshold(0.0 if familiar is None else float(GRID[bearable[-1]]), "unreached")
    if bearable[-1] < reached[0]:
        return Threshold(float(GRID[bearable[-1]]), "capped")
    return Threshold(float(GRID[reached[0]]), "precision")


def _lower_ends(confidence: NDArray[np.floating], correct: NDArray[np.bool_], folders: NDArray[Any]) -> NDArray[np.float64]:
    """Lower ends (101,) of the share that is right among the photos kept at each threshold, one-sided 95 %: the lower one of two.

    Of a ratio estimate whose clusters are the folders (Cochran 1977, 6.4, with Student's t), and Wilson's over photos, for shares near one.
    """
    from scipy.stats import t

    codes = np.unique(folders, return_inverse=True)[1]
    ends = np.zeros(len(GRID))
    for at, threshold in enumerate(GRID):
        keep = confidence >= threshold
        kept = np.bincount(codes[keep], minlength=1).astype(float)
        right = np.bincount(codes[keep], correct[keep], minlength=len(kept))
        n, k = kept.sum(), int((kept > 0).sum())
        if k < 2:
            continue
        share = right.sum() / n
        error = np.sqrt(k / (k - 1) * np.square(right - share * kept).sum()) / n
        wilson = (share + Z * Z / (2 * n) - Z * np.sqrt(share * (1 - share) / n + (Z / (2 * n)) ** 2)) / (1 + Z * Z / n)
        ends[at] = min(share - t.ppf(0.95, k - 1) * error, wilson)
    return ends


def calibration_error(confidence: NDArray[np.floating], correct: NDArray[np.bool_], *, bins: int = 15) -> float | None:
    """Expected calibration error: mean |accuracy - confidence| over equal-width bins, weighted by their photos. None without photos."""
    if not len(confidence):
        return None
    index = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = np.abs(np.bincount(index, weights=correct.astype(float) - confidence, minlength=bins))
    return float(gaps.sum() / len(confidence))


def _from_threshold_on(p: NDArray[np.floating]) -> NDArray[np.int64]:
    """How many of p (n,) are at or above each of the 101 thresholds."""
    return len(p) - np.searchsorted(np.sort(p), GRID, side="left")


def _enough(positive: NDArray[np.bool_]) -> bool:
    return min(int(positive.sum()), int((~positive).sum())) >= MIN_EACH
