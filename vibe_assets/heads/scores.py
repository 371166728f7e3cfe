"""Probabilities and truth of one split go in; the figures of a head's card come out, each beside its n and baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vibe_assets.heads.calibrate import calibration_error


def score_split(
    qtype: str, names: Sequence[str], p: NDArray[np.float64], targets: NDArray[np.integer], mask: NDArray[np.bool_], *,
    thresholds: Mapping[str, Mapping[str, Any]], uncalibrated: NDArray[np.float64], majority: int | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Figures over the known truth; None where a figure is not defined (no photo, no positive).

    `p` and `uncalibrated` (n, c) are probabilities after and before calibration; `majority` is the most frequent label of training.
    """
    if qtype == "one_of":
        return _one_of(p[mask], targets[mask], float(next(iter(thresholds.values()))["upper"]), uncalibrated[mask], majority)
    labels = {}
    for at, name in enumerate(names):
        known = mask[:, at]
        labels[name] = _binary(p[known, at], targets[known, at] == 1, float(thresholds[name]["upper"]), uncalibrated[known, at])
    summary = {f"macro_{figure}": _mean([row[figure] for row in labels.values()]) for figure in ("f1", "average_precision")}
    errors = {figure: _mean([row[figure] for row in labels.values()]) for figure in ("ece_before", "ece")}
    return {"n": int(mask.any(axis=1).sum()), **summary, **errors, "labels": labels}


def _one_of(
    p: NDArray[np.float64], targets: NDArray[np.integer], threshold: float, uncalibrated: NDArray[np.float64], majority: int | None
) -> dict[str, Any]:
    from sklearn.metrics import f1_score

    called = p.argmax(axis=1)
    correct, confidence = called == targets, p.max(axis=1, initial=0.0)
    kept = confidence >= threshold
    present = np.unique(targets)
    return {
        "n": len(targets),
        "accuracy": _mean(correct),
        "baseline": _mean(targets == majority),
        "macro_f1": round(float(f1_score(targets, called, labels=present, average="macro", zero_division=0)), 6) if len(targets) else None,
        "log_loss": _mean(-np.log(np.maximum(p[np.arange(len(targets)), targets], 1e-15))),
        "risk_coverage": risk_coverage(confidence, correct),
        "kept": _mean(kept),
        "accuracy_kept": _mean(correct[kept]),
        "ece_before": _rounded(calibration_error(uncalibrated.max(axis=1, initial=0.0), correct)),
        "ece": _rounded(calibration_error(confidence, correct)),
    }


def risk_coverage(confidence: NDArray[np.float64], correct: NDArray[np.bool_]) -> list[list[float]]:
    """[share answered, share right of these] at 51 confidences from 0 on, as far as any photo is answered (El-Yaniv and Wiener 2010)."""
    kept = [confidence >= at for at in np.linspace(0.0, 1.0, 51)]
    return [[round(float(mark.mean()), 4), round(float(correct[mark].mean()), 4)] for mark in kept if mark.any()]


def _binary(p: NDArray[np.float64], positive: NDArray[np.bool_], threshold: float, uncalibrated: NDArray[np.float64]) -> dict[str, Any]:
    from sklearn.metrics import average_precision_score

    called = p >= threshold
    hits, positives = int((called & positive).sum()), int(positive.sum())
    return {
        "n": len(p),
        "positives": positives,
        "precision": round(hits / int(called.sum()), 6) if called.any() else None,
        "recall": round(hits / positives, 6) if positives else None,
        "f1": round(2 * hits / (int(called.sum()) + positives), 6) if positives else None,
        "average_precision": round(float(average_precision_score(positive, p)), 6) if positives else None,
        "baseline": _mean(positive),  # average precision of a coin
        "ece_before": _rounded(calibration_error(uncalibrated, positive)),
        "ece": _rounded(calibration_error(p, positive)),
    }


def _mean(values: Sequence[Any] | NDArray[Any]) -> float | None:
    known = [float(value) for value in values if value is not None]
    return round(float(np.mean(known)), 6) if known else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
