"""Libraries whose folders look different: heads meet photos of a folder that did not train."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from truths.result import Result
from vibe_assets.heads.train import TrainingSet, train_head
from vibe_assets.settings import StudentSettings

TITLE = "Students on photos of a folder never seen"
CLAIM = (
    "where the card says that a head carries over, at least 90 % (the target) of its answers on a new folder are right; "
    "its log loss there is at most 0.02 above the one of a head that saw no folder held out, and far below it where folders differ"
)
PHOTOS, FOLDERS, DIM, TARGET = 480, 8, 24, 0.9
SHIFTS = (2.0, 3.0, 4.0)  # how far the clouds of a folder lie from those of the library; the clouds themselves are 2 long an axis


def simulate(libraries: int, seed: int) -> Iterator[Result]:
    """One folder is never shown; heads with and without the knowledge of folders answer it."""
    promised: list[tuple[float, float]] = []
    for shift in SHIFTS:
        gains, answered, right, before_answered, before_right = [], 0.0, 0.0, 0.0, 0.0
        for library in range(libraries):
            data, new = _library(np.random.default_rng((seed, library, int(10 * shift))), shift)
            found = _on_new(data, new)
            plain = _on_new(replace(data, sources=None), new)
            gains.append(found["log_loss"] - plain["log_loss"])
            answered, right = answered + found["answered"], right + found["right"]
            before_answered, before_right = before_answered + plain["answered"], before_right + plain["right"]
            if found["promised"] and found["answered"]:
                promised.append((found["right"] / found["answered"], plain["right"] / max(plain["answered"], 1)))
        error = float(np.std(gains) / np.sqrt(len(gains)))
        yield Result(
            f"shift {shift}: log loss on the new folder, above the plain head's", float(np.mean(gains)), -10.0, 0.02, libraries, 0.0, error
        )
        share, before = right / max(answered, 1), before_right / max(before_answered, 1)
        yield Result(f"shift {shift}: right among the answered", share, before, 1.0, libraries, before, 0.01)
    if promised:
        kept, plain_kept = (np.array(side) for side in zip(*promised, strict=True))
        error = float(kept.std() / np.sqrt(len(kept)))
        yield Result(
            "right among the answered where the card says it carries over",
            float(kept.mean()),
            TARGET,
            1.0,
            len(kept),
            float(plain_kept.mean()),
            error,
        )


def _library(rng: np.random.Generator, shift: float) -> tuple[TrainingSet, np.ndarray]:
    """Three clouds, moved in every folder; the photos of folder 0 are set aside, and returned."""
    targets, folder = rng.integers(0, 3, PHOTOS), np.arange(PHOTOS) % FOLDERS
    centres, moved = 2 * rng.normal(size=(3, DIM)), shift * rng.normal(size=(FOLDERS, 3, DIM))
    x = centres[targets] + moved[folder, targets] + rng.normal(size=(PHOTOS, DIM))
    x = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
    splits, ids = np.where(folder == 0, "aside", np.where(rng.random(PHOTOS) < 0.25, "val", "train")), np.arange(PHOTOS).astype(str)
    return TrainingSet(x, targets, np.ones(PHOTOS, bool), splits, ids, ids, folder.astype(str)), np.flatnonzero(folder == 0)


def _on_new(data: TrainingSet, new: np.ndarray) -> dict[str, float]:
    labels = ("scene.a", "scene.b", "scene.c")
    head = train_head("scene", data, labels=labels, settings=StudentSettings(), provenance={"encoder": "simulated"})
    p, truth = head.probabilities(data.x[new]), data.targets[new]
    sure = p.max(axis=1) >= head.thresholds()[0]
    return {
        "log_loss": float(-np.log(np.maximum(p[np.arange(len(new)), truth], 1e-15)).mean()),
        "answered": int(sure.sum()),
        "right": int((sure & (p.argmax(axis=1) == truth)).sum()),
        "promised": bool(head.card.carry_over.get("carries_over")),
    }
