"""Photo vectors with scenes go in; time and test accuracy of a scene head beside scikit-learn's LogisticRegression come out.

    python benchmarks/heads_vs_sklearn.py --features FEATURES.npz   (X (n, d), scene, group, path; without it: made-up clouds)

Variants run in turns (A B C A B C ...). `vibe` is the whole of train_head: nine L2 strengths, choice, calibration, thresholds, figures.
`sklearn path` fits the same strengths on the same standardised vectors, warm-started, and takes the one with the best validation loss.
"""

from __future__ import annotations

import contextlib
import copy
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from measure import Bench, Variant, parser
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from vibe_assets.heads import fit, train
from vibe_assets.heads.train import TrainingSet, train_head
from vibe_assets.settings import StudentSettings

SEED = 42
TO_LOSS = "vibe to sklearn's validation loss"


def load(features: Path | None) -> tuple[TrainingSet, tuple[str, ...]]:
    """Unit vectors with a split by group: 60 % train, 15 % val, 25 % test."""
    rng = np.random.default_rng(SEED)
    if features is None:
        targets, paths = rng.integers(0, 8, 11_551), np.array([f"p{at:05}" for at in range(11_551)])
        x = (rng.normal(size=(8, 1280))[targets] + 6 * rng.normal(size=(11_551, 1280))).astype(np.float32)
        scenes, groups = np.array([f"scene.{at}" for at in range(8)]), paths
    else:
        with np.load(features) as stored:
            x, paths = stored["X"].astype(np.float32), stored["path"]
            scenes, targets = np.unique(stored["scene"], return_inverse=True)
            groups = np.where(stored["group"] == "", paths, stored["group"])
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    names, of = np.unique(groups, return_inverse=True)
    draw = np.random.default_rng(SEED).random(len(names))[of]
    splits = np.where(draw < 0.6, "train", np.where(draw < 0.75, "val", "test"))
    return TrainingSet(x, targets.astype(np.int64), np.ones(len(x), bool), splits, groups, paths), tuple(scenes.tolist())


class Race:
    """The variants over one data set; each returns seconds and test accuracy."""

    def __init__(self, data: TrainingSet, scenes: tuple[str, ...]) -> None:
        self.data, self.scenes = data, scenes
        self.train, self.val, self.test = (data.rows(split) for split in ("train", "val", "test"))
        self.y = data.targets
        self.threads = 1
        self.peer_loss = np.inf  # best validation loss that scikit-learn's path reached

    def vibe(self) -> tuple[float, float]:
        started = time.perf_counter()
        head = train_head("scene", self.data, labels=self.scenes, settings=StudentSettings(seed=SEED), provenance={"encoder": "benchmark"})
        return time.perf_counter() - started, head.card.metrics["test"]["accuracy"]

    def sklearn_default(self) -> tuple[float, float]:
        started = time.perf_counter()
        model = LogisticRegression(max_iter=1000).fit(self.data.x[self.train], self.y[self.train])
        return time.perf_counter() - started, float(model.score(self.data.x[self.test], self.y[self.test]))

    def sklearn_standardised(self) -> tuple[float, float]:
        started = time.perf_counter()
        model = LogisticRegression(max_iter=1000).fit(self._standardised(self.train), self.y[self.train])
        return time.perf_counter() - started, float(model.score(self._standardised(self.test), self.y[self.test]))

    def sklearn_path(self) -> tuple[float, float]:
        """Seconds up to and including the best strength; what comes after it, and the test figure, are not counted."""
        started = time.perf_counter()
        train, val = self._standardised(self.train), self._standardised(self.val)
        model = LogisticRegression(max_iter=1000, warm_start=True)
        best, wait, seconds, chosen = np.inf, 0, 0.0, copy.deepcopy(model)
        for strength in fit.strengths_of(len(self.train)):
            model.set_params(C=1 / (strength * len(self.train))).fit(train, self.y[self.train])
            loss = log_loss(self.y[self.val], model.predict_proba(val), labels=model.classes_)
            wait = 0 if loss < best else wait + 1
            if loss < best:
                best, seconds, chosen = loss, time.perf_counter() - started, copy.deepcopy(model)
            if wait >= fit.STRENGTH_PATIENCE:
                break
        self.peer_loss = best
        return seconds, float(chosen.score(self._standardised(self.test), self.y[self.test]))

    def vibe_to_peer_loss(self) -> tuple[float, float]:
        """Seconds until the validation loss of scikit-learn is reached, moments of the vectors included, and the loss reached then."""
        started, plain = time.perf_counter(), fit._held_out_loss
        reached = (float("nan"), float("nan"))

        def watched(model: Any, rows: Any, loss: Any, otherwise: float) -> float:
            nonlocal reached
            value = plain(model, rows, loss, otherwise)
            if len(rows) == len(self.val) and value <= self.peer_loss:
                reached = (time.perf_counter() - started, value)
                raise _Reached
            return value

        with mock.patch.object(fit, "_held_out_loss", watched), fit.deterministic(seed=SEED, threads=1), contextlib.suppress(_Reached):
            loss, _ = train._loss("scene", self.data, self.train)
            rows = train._standardised(self.data, self.train, self.threads)
            held = train._picked(self.data, self.val, rows)
            model = fit.linear(self.data.x.shape[1], len(self.scenes))
            train._along_path(model, rows, held, loss, settings=StudentSettings(seed=SEED), progress=False)
        return reached

    def _standardised(self, at: np.ndarray) -> np.ndarray:
        mean, std = self.data.x[self.train].mean(axis=0), self.data.x[self.train].std(axis=0)
        return (self.data.x[at] - mean) / np.where(std < 1e-6, 1, std)


class _Reached(Exception):
    """The loss was reached: what would follow is not timed."""


def main() -> None:
    wanted = parser(__doc__, runs=3)
    wanted.add_argument("--features", type=Path)
    options = wanted.parse_args()
    data, scenes = load(options.features)
    race = Race(data, scenes)
    bench = Bench("heads_vs_sklearn", options, seed=SEED, packages=("torch", "scikit-learn", "numpy"))
    bench.work = {
        "vectors": list(data.x.shape), "scenes": len(scenes), "train": len(race.train), "val": len(race.val), "test": len(race.test),
        "data": options.features.name if options.features else "made up",
    }  # fmt: skip
    accurate = {
        "vibe": race.vibe, "sklearn default": race.sklearn_default, "sklearn standardised": race.sklearn_standardised,
        "sklearn path": race.sklearn_path,
    }  # fmt: skip
    variants: dict[str, Variant] = {name: _named(run, "test accuracy") for name, run in accurate.items()}
    bench.turns(variants | {TO_LOSS: _named(race.vibe_to_peer_loss, "validation loss")})
    for peer in ("sklearn default", "sklearn standardised", "sklearn path"):
        bench.ratio(f"vs_{peer.replace(' ', '_')}", peer, "vibe")
    bench.ratio("vs_sklearn_path_to_same_validation_loss", "sklearn path", TO_LOSS)
    bench.write()


def _named(run: Callable[[], tuple[float, float]], unit: str) -> Variant:
    def figures() -> dict[str, float]:
        took, figure = run()
        return {"s": took, unit: figure}

    return figures


if __name__ == "__main__":
    main()
