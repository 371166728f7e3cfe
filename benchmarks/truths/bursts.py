"""Coverage of the audit's intervals where photos come in bursts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from truths.library import Library, make, shared
from truths.result import Result
from vibe_assets.evaluate import metrics
from vibe_assets.evaluate.intervals import weighted_share
from vibe_assets.evaluate.paired import weighted_difference
from vibe_assets.records import Estimate

TITLE = "Audited figures where photos come in bursts"
CLAIM = "95 % intervals hold the library's own figure in 93 to 97 % of libraries; up to all where they are known to be cautious"
PHOTOS = 4000
ACCURACY, PRIOR = 0.9, 0.3  # the teacher's, and the share of photos with the label that precision, recall and the like are of
CAUTIOUS = 1.0  # coverage above 97 %: few photos of the label, or large bursts, of which one photo stands for many that are alike


def simulate(libraries: int, seed: int) -> Iterator[Result]:
    """Every figure at every number of photos and share of bursts."""
    for in_bursts in (0.0, 0.2, 0.42, 0.8):
        for size in (50, 200, 800):
            rng = np.random.default_rng([seed, size, round(100 * in_bursts)])
            library = make(PHOTOS, in_bursts, rng)
            held: dict[str, list[bool]] = {}
            before = []
            for number in range(libraries):
                right, positive, sure, other = outcomes(library, rng)
                figures = audited(library, size, number, right, positive, sure, other)
                whole = of_all(right, positive, sure, other)
                for name, estimate in figures.items():
                    held.setdefault(name, []).append(estimate.low - 1e-12 <= whole[name] <= estimate.high + 1e-12)
                even = evenly(library, size, right, rng)
                before.append(even.low <= right.mean() <= even.high)
            for name, marks in held.items():
                setting = f"{name}, {size} photos, {in_bursts:.0%} in bursts"
                was = float(np.mean(before)) if name == "accuracy" else None
                yield Result(setting, float(np.mean(marks)), 0.93, CAUTIOUS, len(marks), was)


def outcomes(
    library: Library, rng: np.random.Generator
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.float64], NDArray[np.bool_]]:
    """Who is right, who has the label, how sure the teacher is of it, and who a second teacher is right on."""
    right, positive = shared(library, ACCURACY, rng), shared(library, PRIOR, rng)
    said = positive == right  # of a label with two values, wrong is the other one
    sure = np.clip(np.where(said, 0.75, 0.25) + rng.normal(0, 0.2, library.group.max() + 1)[library.group], 0.0, 1.0)
    other = np.where(shared(library, 0.15, rng), ~right, right)
    return right, positive, sure, other


def audited(
    library: Library, size: int, seed: int, right: NDArray[np.bool_], positive: NDArray[np.bool_], sure: NDArray[np.float64],
    other: NDArray[np.bool_],
) -> dict[str, Estimate]:  # fmt: skip
    """What the product says after people checked a sample of it."""
    record = library.draw(size, seed)
    at = np.flatnonzero(record["drawn"].to_numpy())
    weights, groups = 1 / record["inclusion_probability"].to_numpy()[at], library.group[at]
    shared_: dict[str, Any] = {"weights": weights, "groups": groups}
    finite: dict[str, Any] = {**shared_, "finite": True}  # as the teacher's report has it
    said = (positive == right)[at]
    found = {
        "accuracy": weighted_share(right[at], **finite),
        "share of a label": weighted_share(positive[at], **finite),
        "Brier": metrics.brier(sure[at], positive[at], **finite, resamples=200),
        "difference": weighted_difference(other[at].astype(float) - right[at], **shared_),
    }
    if (error := metrics.calibration_error(sure[at], positive[at], **shared_)) is not None:
        found["calibration error"] = error
    scores, _ = metrics.label_scores("attribute", ["x"], positive[at][:, None], said[:, None], **finite, resamples=200)
    drawn = metrics.curve("x", positive[at], sure[at], **finite, resamples=200)
    named = {"precision": scores[0].precision, "recall": scores[0].recall, "F1": scores[0].f1}
    named["average precision"] = None if drawn is None else drawn.average_precision
    return found | {name: estimate for name, estimate in named.items() if estimate is not None}


def of_all(right: NDArray[np.bool_], positive: NDArray[np.bool_], sure: NDArray[np.float64], other: NDArray[np.bool_]) -> dict[str, float]:
    """The same figures of the whole library."""
    said, bins = positive == right, metrics.reliability(sure, positive)
    off = np.abs(np.subtract(bins.confidence, bins.accuracy)) @ np.array(bins.share)
    hits, predicted, true = float((said & positive).sum()), float(said.sum()), float(positive.sum())
    return {
        "accuracy": float(right.mean()), "share of a label": float(positive.mean()),
        "Brier": float(np.square(sure - positive).mean()), "difference": float(other.mean() - right.mean()),
        "precision": hits / predicted, "recall": hits / true, "F1": 2 * hits / (predicted + true),
        "average precision": float(metrics.average_precision(positive, sure)), "calibration error": float(off),
    }  # fmt: skip


def evenly(library: Library, size: int, right: NDArray[np.bool_], rng: np.random.Generator) -> Estimate:
    """What was there before: every group as likely as any other, one photo for it, half of the places for the test split."""
    first = np.unique(library.group, return_index=True)[1]
    sizes = np.bincount(library.group)
    test = library.groups["split"].to_numpy()[first] == "test"
    half = max(min(size // 2, int(test.sum())), size - int((~test).sum()))
    drawn, chance = [], []
    for side, places in ((test, half), (~test, size - half)):
        groups = np.flatnonzero(side)
        taken = rng.choice(groups, min(places, len(groups)), replace=False)
        drawn += taken.tolist()
        chance += [min(places, len(groups)) / len(groups)] * len(taken)
    at = first[drawn] + rng.integers(0, sizes[drawn])
    return weighted_share(right[at], weights=sizes[drawn] / np.array(chance), groups=np.array(drawn))
