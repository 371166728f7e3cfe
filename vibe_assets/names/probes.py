"""Vectors of faces with their names go in; one track per method, per permuted-label control and per ablation comes out.

Everything is trained on train, chosen on val, judged once on test. A control repeats the training on names that were dealt out anew among
the groups of each split: what it reaches is what the procedure finds where there is nothing to find.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from vibe_assets.names.dataset import NameData
from vibe_assets.names.metrics import TOP
from vibe_assets.names.results import Track

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vibe_assets.heads.minibatch import Fitted, Recipe
    from vibe_assets.settings import NameSettings

BETA = 0.999
RATES = ((3e-3, 0.1), (1e-3, 0.1), (1e-2, 0.1))  # learning rate and weight decay, tried on val
METHODS = ("linear", "cosine", "focal", "arcface", "class_balanced", "logit_adjusted")
ABLATED = (1, 3)  # names taken out, those with the highest recall on val first


def recipes(method: str, epochs: int, base: Recipe | None = None) -> list[Recipe]:
    """What is tried for a method. Variants of the linear probe take its learning rate and vary only what is their own."""
    from vibe_assets.heads.margins import SCALES, Method
    from vibe_assets.heads.minibatch import Recipe

    own: Mapping[str, list[Any]] = {
        "linear": [Method("linear")],
        "cosine": [Method("cosine", "cosine", learn_scale=True)],
        "focal": [Method("focal", gamma=gamma) for gamma in (1.0, 2.0)],
        "arcface": [Method("arcface", "cosine", scale=scale, margin=margin) for scale in SCALES.values() for margin in (0.05, 0.2)],
        "class_balanced": [Method("class_balanced", beta=BETA)],
        "logit_adjusted": [Method("logit_adjusted", tau=tau) for tau in (0.5, 1.0)],
    }  # fmt: skip
    if method not in own:
        raise ValueError(f"method: expected one of {', '.join(METHODS)}, got {method!r}")
    if base is not None and own[method][0].kind == "linear":
        return [replace(base, method=one) for one in own[method]]
    rates = RATES if len(own[method]) == 1 else ((3e-3, 0.1),)
    return [Recipe(one, lr=lr, weight_decay=decay, epochs=epochs) for one in own[method] for lr, decay in rates]


def run_probes(
    data: NameData, settings: NameSettings, *, methods: Sequence[str] = METHODS, ablated: Sequence[int] = ABLATED,
    provenance: Mapping[str, Any] | None = None, progress: bool = False,
) -> Iterator[Track]:  # fmt: skip
    """Tracks one after the other: the methods, `control_runs` controls, the ablations. The linear probe always runs, and first."""
    base: Recipe | None = None
    val_recall: NDArray[np.float64] = np.zeros(len(data.names))
    shared = {"encoder": "", "code_version": "1", **(provenance or {}), "seed": settings.seed}
    for method in dict.fromkeys(("linear", *methods)):
        track, fitted = _trained(method, data, recipes(method, settings.max_epochs, base), settings, shared, progress=progress)
        if method == "linear":
            base, val_recall = fitted.recipe, _val_recall(fitted, data)
        yield track
    assert base is not None
    for run in range(settings.control_runs):
        dealt = data.relabelled(permuted(data, seed=settings.seed + 1 + run))
        yield _trained(f"permuted_{run + 1}", dealt, [base], settings, {**shared, "kind": "control"}, progress=progress)[0]
    for count in ablated:
        if len(data.names) - count < 2:
            continue
        removed = np.argsort(-val_recall, kind="stable")[:count].tolist()
        facts = {**shared, "kind": "ablation", "removed": [data.names[at] for at in removed]}
        yield _trained(f"without_{count}", data.without(set(removed)), [base], settings, facts, progress=progress)[0]


def permuted(data: NameData, *, seed: int) -> NDArray[np.int64]:
    """Names dealt out anew among groups of equal size within each split, val and test included; counts and groups stay as they are.

    Names of the test split are permuted as well: only then are they independent of the faces whatever the probe does, so that its accuracy
    scatters around `chance_accuracy`. Judged on the true names, a permuted probe still meets the structure that names share, and its
    accuracy scatters more than any interval says.
    """
    rng = np.random.default_rng(seed)
    y = data.y.copy()
    for split in np.unique(data.splits):
        rows = data.rows(str(split))
        rows = rows[np.argsort(data.groups[rows], kind="stable")]
        starts = np.flatnonzero(np.r_[True, np.diff(data.groups[rows]) != 0])
        sizes = np.diff(np.r_[starts, len(rows)])
        for size in np.unique(sizes):
            blocks = rows[starts[sizes == size][:, None] + np.arange(size)]  # (groups, size)
            y[blocks] = data.y[blocks][rng.permutation(len(blocks))]
    return y


def _trained(
    name: str, data: NameData, tried: list[Recipe], settings: NameSettings, facts: Mapping[str, Any], *, progress: bool
) -> tuple[Track, Fitted]:
    """Choose among the recipes on val, judge the chosen one on test."""
    from vibe_assets.heads.minibatch import choose, true_ranks

    started = time.perf_counter()
    train, val, test = (data.rows(split) for split in ("train", "val", "test"))
    fitted, log = choose(
        data.x[train], data.y[train], data.x[val], data.y[val], classes=len(data.names), recipes=tried, seed=settings.seed,
        progress=progress,
    )  # fmt: skip
    x, y = data.x[test], data.y[test]
    answers = fitted.score(x).argmax(axis=1).astype(np.int64)
    counts = np.bincount(data.y[train], minlength=len(data.names))
    recipe = fitted.recipe
    config = {
        "kind": "probe", **facts, "method": recipe.method.name, "num_classes": len(data.names), "train_samples": len(train),
        "val_samples": len(val), "test_samples": len(test), "lr": recipe.lr, "weight_decay": recipe.weight_decay,
        "epochs": fitted.best_epoch,
        "margin": recipe.method.margin, "gamma": recipe.method.gamma, "beta": recipe.method.beta, "tau": recipe.method.tau,
        "majority": int(counts.argmax()), "most_frequent": np.argsort(-counts, kind="stable")[:TOP].tolist(), "tried_on_val": log,
        "seconds": round(time.perf_counter() - started, 3), "peak_memory_mb": peak_memory_mb(),
    }  # fmt: skip
    ranks = true_ranks(fitted.head, x, y)
    return Track(name, data.names, answers, y, config, data.groups[test], ranks, fitted.history), fitted


def _val_recall(fitted: Fitted, data: NameData) -> NDArray[np.float64]:
    rows = data.rows("val")
    hit = fitted.score(data.x[rows]).argmax(axis=1) == data.y[rows]
    support = np.bincount(data.y[rows], minlength=len(data.names))
    return np.bincount(data.y[rows], weights=hit, minlength=len(data.names)) / np.maximum(support, 1)


def peak_memory_mb() -> int:
    """Most memory that this process held so far, in MB (10^6 bytes)."""
    import resource
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1e6 if sys.platform == "darwin" else 1e3))
