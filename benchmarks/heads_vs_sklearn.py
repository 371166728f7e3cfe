"""Photo vectors with scenes go in; time and test accuracy of a scene head beside scikit-learn's LogisticRegression come out.

    python benchmarks/heads_vs_sklearn.py --features FEATURES.npz   (X (n, d), scene, group, path; without it: made-up clouds)

Variants run in turns (A B C A B C ...). `vibe` is the whole of train_head: nine L2 strengths, choice, calibration, thresholds, figures.
`sklearn path` fits the same strengths on the same standardised vectors, warm-started, and takes the one with the best validation loss.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from vibe_assets.heads import fit
from vibe_assets.heads.losses import softmax_loss
from vibe_assets.heads.train import TrainingSet, train_head
from vibe_assets.settings import StudentSettings

SEED = 42
RESULT = Path(__file__).parent / "results" / "heads_vs_sklearn.json"


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
        for strength in fit.STRENGTHS:
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
        """Seconds until the validation loss of scikit-learn's path is reached, and the loss reached then."""
        started = time.perf_counter()
        loss, reached = softmax_loss(), []
        train, val = (self._rows(at) for at in (self.train, self.val))

        def watched(logits: torch.Tensor, targets: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            value = loss(logits, targets, mask)
            if targets is val.targets and float(value) <= self.peer_loss:
                reached.append((time.perf_counter() - started, float(value)))
            return value

        with fit.deterministic(seed=SEED, threads=1):
            fit.fit_path(fit.linear(self.data.x.shape[1], len(self.scenes)), train, val, watched, max_iterations=300)
        return reached[0] if reached else (float("nan"), float("nan"))

    def _standardised(self, at: np.ndarray) -> np.ndarray:
        mean, std = self.data.x[self.train].mean(axis=0), self.data.x[self.train].std(axis=0)
        return (self.data.x[at] - mean) / np.where(std < 1e-6, 1, std)

    def _rows(self, at: np.ndarray) -> fit.Rows:
        return fit.Rows(torch.from_numpy(self._standardised(at)), torch.from_numpy(self.y[at]), torch.ones(len(at), dtype=torch.bool))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=Path)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    data, scenes = load(options.features)
    race = Race(data, scenes)
    variants: dict[str, Callable[[], tuple[float, float]]] = {
        "vibe": race.vibe, "sklearn default": race.sklearn_default, "sklearn standardised": race.sklearn_standardised,
        "sklearn path": race.sklearn_path,
        "vibe to sklearn's validation loss": race.vibe_to_peer_loss,
    }  # fmt: skip
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in variants}
    for turn in range(options.runs):
        for name, variant in variants.items():
            taken[name].append(variant())
            print(f"{turn + 1}/{options.runs} {name}: {taken[name][-1][0]:.2f} s, {taken[name][-1][1]:.4f}", flush=True)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report(options, race, taken), indent=1) + "\n", encoding="utf-8")
    print(options.out)


def report(options: argparse.Namespace, race: Race, taken: dict[str, list[tuple[float, float]]]) -> dict[str, Any]:
    rows = []
    for name, results in taken.items():
        seconds, figures = [one[0] for one in results], [one[1] for one in results]
        rows.append(
            {
                "variant": name,
                "value": statistics.median(seconds),
                "unit": "s",
                "min": min(seconds),
                "max": max(seconds),
                "runs": len(seconds),
            }
        )
        unit = "validation loss" if name.startswith("vibe to") else "test accuracy"
        rows.append({"variant": name, "value": figures[-1], "unit": unit, "min": min(figures), "max": max(figures), "runs": len(figures)})

    def ratio(peer: str, own: str) -> float:
        return round(statistics.median(p[0] / v[0] for p, v in zip(taken[peer], taken[own], strict=True)), 2)

    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=Path(__file__).parent, check=False
    ).stdout.strip()
    features = f"--features {options.features.name}" if options.features else ""
    versions = {"torch": torch.__version__, "scikit-learn": sklearn.__version__, "numpy": np.__version__}
    return {
        "name": "heads_vs_sklearn",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit,
        "hardware": {"cpu": _cpu(), "cores": os.cpu_count(), "load_at_end": [round(value, 2) for value in os.getloadavg()]},
        "versions": {"python": platform.python_version(), **versions},
        "command": f"python benchmarks/heads_vs_sklearn.py {features} --runs {options.runs}",
        "seed": SEED,
        "work": {
            "vectors": list(race.data.x.shape), "scenes": len(race.scenes),
            "train": len(race.train), "val": len(race.val), "test": len(race.test),
            "data": options.features.name if options.features else "made up",
        },
        "rows": rows,
        "ratios": {
            "vs_sklearn_default": ratio("sklearn default", "vibe"),
            "vs_sklearn_standardised": ratio("sklearn standardised", "vibe"),
            "vs_sklearn_path": ratio("sklearn path", "vibe"),
            "vs_sklearn_path_to_same_validation_loss": ratio("sklearn path", "vibe to sklearn's validation loss"),
        },
    }  # fmt: skip


def _cpu() -> str:
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor())


if __name__ == "__main__":
    main()
