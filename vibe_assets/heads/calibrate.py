"""Held-out logits and truth go in; temperature, Platt pairs, thresholds and calibration errors come out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vibe_assets.heads.models import sigmoid, softmax

MIN_ROWS = 10  # held-out photos below which the scene temperature stays 1
MIN_EACH = 5  # held-out positives, and negatives, below which a label keeps its probabilities and the default threshold
MIN_KEPT = 5  # kept photos below which an accuracy does not justify a scene threshold
GRID = np.linspace(0.0, 1.0, 101).round(2)
DEFAULT_THRESHOLD = 0.5


@dataclass(frozen=True)
class Threshold:
    """`rule` says why: precision (target reached), f1 (target out of reach), default (too few held-out positives or negatives),
    capped (the target would leave too many photos open).
    """

    value: float
    rule: str


def calibrate(
    kind: str,
    names: Sequence[str],
    logits: NDArray[np.float32],
    targets: NDArray[np.integer],
    mask: NDArray[np.bool_],
    seen: NDArray[np.bool_],
) -> dict[str, Any]:
    """The `calibration` of a card from held-out logits (n, c); `seen` (c,) marks the scenes that training saw."""
    if kind == "scene":
        usable = mask & seen[np.maximum(targets, 0)]
        return {"temperature": fit_temperature(logits[usable], targets[usable])}
    pairs = {}
    for at, name in enumerate(names):
        known = mask[:, at]
        pairs[name] = list(fit_platt(logits[known, at], targets[known, at] == 1))
    return {"platt": pairs}


def choose_thresholds(
    kind: str,
    names: Sequence[str],
    p: NDArray[np.float64],
    targets: NDArray[np.integer],
    mask: NDArray[np.bool_],
    target: float,
    max_open: float = 1.0,
) -> dict[str, dict[str, Any]]:
    """The `thresholds` of a card from held-out calibrated probabilities (n, c)."""
    if kind == "scene":
        chosen = pick_confidence(p.max(axis=1, initial=0.0), p.argmax(axis=1) == targets, target_precision=target, max_open=max_open)
        return {"scene": {"upper": chosen.value, "rule": chosen.rule}}
    thresholds: dict[str, dict[str, Any]] = {}
    for at, name in enumerate(names):
        known, positive = p[mask[:, at], at], targets[mask[:, at], at] == 1
        if kind == "attribute":
            thresholds[name] = pick_band(known, positive, target_precision=target, max_open=max_open)
        else:
            one = pick_threshold(known, positive, target_precision=target)
            thresholds[name] = {"upper": one.value, "rule": one.rule}
    return thresholds


def fit_temperature(logits: NDArray[np.floating], targets: NDArray[np.integer]) -> float:
    """T that minimises the mean cross-entropy of softmax(logits / T); logits (n, c), targets (n,). Guo et al. 2017.

    1.0 with fewer than MIN_ROWS rows; bounded to 0.05..20; a weak prior on log T (one photo's worth) keeps perfect rows finite.
    """
    from scipy.optimize import minimize_scalar

    if len(targets) < MIN_ROWS:
        return 1.0
    scores, rows = logits.astype(np.float64), np.arange(len(targets))

    def cost(log_t: float) -> float:
        p = softmax(scores / np.exp(log_t))[rows, targets]
        return float(-np.log(np.maximum(p, 1e-300)).sum() + 0.5 * log_t**2)

    return float(np.exp(minimize_scalar(cost, bounds=(np.log(0.05), np.log(20.0)), method="bounded").x))


def fit_platt(logits: NDArray[np.floating], positive: NDArray[np.bool_]) -> tuple[float, float]:
    """(a, b) of probability = sigmoid(a * logit + b) for one label, a > 0; logits and positive (n,).

    A prior holds log a and b near the identity (standard deviations 0.5 and 1), so that few photos move them little; with fewer than
    MIN_EACH positives or negatives it is the identity itself.
    """
    from scipy.optimize import minimize

    if not _enough(positive):
        return 1.0, 0.0
    scores, sign = logits.astype(np.float64), np.where(positive, 1.0, -1.0)

    def cost(at: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        a = np.exp(at[0])
        margin = sign * (a * scores + at[1])
        slope = -sign * sigmoid(-margin)  # d loss / d (a * logit + b)
        value = np.logaddexp(0.0, -margin).sum() + 2.0 * at[0] ** 2 + 0.5 * at[1] ** 2
        return float(value), np.array([(slope * scores).sum() * a + 4.0 * at[0], slope.sum() + at[1]])

    found = minimize(cost, np.zeros(2), jac=True, method="L-BFGS-B", bounds=[(-3.0, 3.0), (-20.0, 20.0)]).x
    return float(np.exp(found[0])), float(found[1])


def pick_threshold(p: NDArray[np.floating], positive: NDArray[np.bool_], *, target_precision: float) -> Threshold:
    """Threshold of one label on probabilities (n,): a photo is positive from the threshold on.

    The lowest of 101 whose precision reaches the target; where none does, the one with the best F1 (the lowest of equals).
    """
    if not _enough(positive):
        return Threshold(DEFAULT_THRESHOLD, "default")
    hits, called = _from_threshold_on(p[positive]), _from_threshold_on(p)  # (101,) each
    precision = hits / np.maximum(called, 1)
    if (reached := np.flatnonzero((precision >= target_precision) & (hits > 0))).size:
        return Threshold(float(GRID[reached[0]]), "precision")
    f1 = 2 * hits / (called + positive.sum())
    return Threshold(float(GRID[f1.argmax()]), "f1")


def pick_band(p: NDArray[np.floating], positive: NDArray[np.bool_], *, target_precision: float, max_open: float = 1.0) -> dict[str, Any]:
    """Upper and lower threshold of an attribute: true from `upper` on, false up to `lower`, open in between.

    `lower` is the mirror image of `upper`: the same rule on 1 - p for the negatives, never above `upper`. Where more than `max_open`
    of the photos would stay open, both are the threshold with the best F1 and nothing does.
    """
    upper = pick_threshold(p, positive, target_precision=target_precision)
    mirrored = pick_threshold(1.0 - p, ~positive, target_precision=target_precision)
    lower = round(min(1.0 - mirrored.value, upper.value), 2)
    if len(p) and float(np.mean((p > lower) & (p < upper.value))) > max_open:
        best = pick_threshold(p, positive, target_precision=np.inf).value
        return {"upper": best, "lower": best, "rule": "capped", "lower_rule": "capped"}
    return {
        "upper": upper.value,
        "lower": lower,
        "rule": upper.rule,
        "lower_rule": mirrored.rule,
    }


def pick_confidence(
    confidence: NDArray[np.floating], correct: NDArray[np.bool_], *, target_precision: float, max_open: float = 1.0
) -> Threshold:
    """Confidence below which a scene is left open: the lowest of 101 at which the kept photos are right often enough.

    0.0 (nothing left open, rule "unreached") when none reaches the target with MIN_KEPT photos kept. Where the target would leave
    more than `max_open` of the photos open, the highest threshold that does not.
    """
    kept, right = _from_threshold_on(confidence), _from_threshold_on(confidence[correct])
    reached = np.flatnonzero((right >= target_precision * kept) & (kept >= MIN_KEPT))
    if not reached.size:
        return Threshold(0.0, "unreached")
    bearable = np.flatnonzero(len(confidence) - kept <= max_open * len(confidence))
    if bearable[-1] < reached[0]:
        return Threshold(float(GRID[bearable[-1]]), "capped")
    return Threshold(float(GRID[reached[0]]), "precision")


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
