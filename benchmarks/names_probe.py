"""How long does one epoch of a name probe take at the size of the whole study: 434,528 vectors of 768 numbers, 500 names?

Vectors are made up (unit rows with a weak shift per name); time does not depend on what they hold. scikit-learn's SGDClassifier has the
same task, one pass of logistic regression, on a tenth of the rows; its time is scaled to all of them.

    python benchmarks/names_probe.py --runs 3
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
import torch

from vibe_assets.heads.minibatch import BLOCK, MOST_ROWS, Recipe, train_classes
from vibe_assets.names.probes import METHODS, recipes

RESULT = Path(__file__).parent / "results" / "names_probe.json"
SEED = 42
FACES, DIM, NAMES, VAL = 434_528, 768, 500, 0.1


def made_up(faces: int, names: int) -> tuple[np.ndarray, np.ndarray]:
    """Unit rows (faces, DIM) float32 that lean on their name a little, and names as unequal as first names are."""
    rng = np.random.default_rng(SEED)
    share = 1 / np.arange(1, names + 1) ** 0.6
    y = rng.choice(names, size=faces, p=share / share.sum())
    leaning = rng.standard_normal((names, DIM), dtype=np.float32) * 0.1
    x = np.empty((faces, DIM), np.float32)
    for start in range(0, faces, BLOCK):
        rows = slice(start, min(faces, start + BLOCK))
        block = rng.standard_normal((rows.stop - rows.start, DIM), dtype=np.float32) + leaning[y[rows]]
        x[rows] = block / np.linalg.norm(block, axis=1, keepdims=True)
    return x, y.astype(np.int64)


def ours(method: str, x: np.ndarray, y: np.ndarray, held: int, names: int) -> float:
    """Seconds of one epoch on all rows but `held`, the ranks of the held-out rows included."""
    recipe = Recipe(recipes(method, 1)[0].method, lr=3e-3, epochs=1)
    started = time.perf_counter()
    train_classes(x[held:], y[held:], x[:held], y[:held], classes=names, recipe=recipe, seed=SEED)
    return time.perf_counter() - started


def peer(x: np.ndarray, y: np.ndarray) -> float:
    """Seconds of one pass of scikit-learn's SGD over the rows, one against the rest, all cores."""
    from sklearn.linear_model import SGDClassifier

    model = SGDClassifier(loss="log_loss", max_iter=1, tol=None, random_state=SEED, n_jobs=os.cpu_count())
    started = time.perf_counter()
    model.fit(x, y)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=int, default=FACES)
    parser.add_argument("--names", type=int, default=NAMES)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--peer", action="store_true", help="also time scikit-learn on a tenth of the rows (minutes)")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    x, y = made_up(options.faces, options.names)
    held = int(VAL * len(x))
    taken: dict[str, list[float]] = {}
    for turn in range(options.runs):
        for method in METHODS:
            taken.setdefault(method, []).append(ours(method, x, y, held, options.names))
            print(f"{turn + 1}/{options.runs} {method}: {taken[method][-1]:.1f} s", flush=True)
    if options.peer:
        tenth = slice(held, held + (len(x) - held) // 10)
        taken["scikit-learn SGD, scaled from a tenth"] = [10 * peer(x[tenth], y[tenth])]
        print(f"scikit-learn: {taken['scikit-learn SGD, scaled from a tenth'][0]:.0f} s for all rows", flush=True)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report(options, held, taken), indent=1) + "\n", encoding="utf-8")
    print(options.out)


def report(options: argparse.Namespace, held: int, taken: dict[str, list[float]]) -> dict[str, Any]:
    rows = [
        {"variant": name, "value": round(statistics.median(seconds), 2), "unit": "s per epoch", "min": round(min(seconds), 2),
         "max": round(max(seconds), 2), "runs": len(seconds)}
        for name, seconds in taken.items()
    ]  # fmt: skip
    rows.append(
        {
            "variant": "peak memory of the process",
            "value": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2),
            "unit": "GB",
            "runs": 1,
        }
    )
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=Path(__file__).parent, check=False
    ).stdout.strip()
    linear = statistics.median(taken["linear"])
    theirs = taken.get("scikit-learn SGD, scaled from a tenth")
    versions = {"torch": torch.__version__, "scikit-learn": sklearn.__version__, "numpy": np.__version__}
    arguments = f"--faces {options.faces} --names {options.names} --runs {options.runs}" + (" --peer" if options.peer else "")
    return {
        "name": "names_probe",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit,
        "hardware": {"cpu": _cpu(), "cores": os.cpu_count(), "load_at_end": [round(value, 2) for value in os.getloadavg()]},
        "versions": {"python": platform.python_version(), **versions},
        "command": f"python benchmarks/names_probe.py {arguments}",
        "seed": SEED,
        "work": {
            "faces": options.faces, "train": options.faces - held, "val": held, "dim": DIM, "names": options.names, "batch": MOST_ROWS,
            "data": "made up",
        },
        "rows": rows,
        "ratios": {"vs_sklearn_sgd": round(theirs[0] / linear, 1)} if theirs else {},
    }  # fmt: skip


def _cpu() -> str:
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor())


if __name__ == "__main__":
    main()
