"""Small made-up training sets for the tests of this room: Gaussian clouds of unit vectors."""

from __future__ import annotations

from typing import Any

import numpy as np

from vibe_assets.heads.models import EARLIER, HeadCard, TrainedHead
from vibe_assets.heads.train import TrainingSet
from vibe_assets.settings import StudentSettings

SCENES = ("scene.a", "scene.b", "scene.c", "scene.d")
SETTINGS = StudentSettings(min_positives=4)
PROVENANCE = {
    "encoder": "enc-1",
    "teacher": "t",
    "mapping": "m",
    "data_versions": {"auto_ground_truth": 3},
    "created_at": "2026-01-01T00:00:00Z",
}


def unit(x: Any) -> Any:
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def scene_set(n: int = 240, *, dim: int = 12, classes: int = 3, noise: float = 1.0, seed: int = 0, val: float = 0.25) -> TrainingSet:
    """Clouds around `classes` centres; groups of two photos share a split."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, n)
    x = unit(np.random.default_rng(7).normal(size=(classes, dim))[y] * 2 + noise * rng.normal(size=(n, dim)))
    groups = np.array([f"g{at // 2:04}" for at in range(n)])
    draw = rng.random(n // 2 + 1)[np.arange(n) // 2]
    splits = np.where(draw < val, "val", np.where(draw < val + 0.2, "test", "train"))
    return TrainingSet(x, y, np.ones(n, bool), splits, groups, np.array([f"p{at:05}" for at in range(n)]))


def folder_set(n: int = 480, *, folders: int = 6, shift: float = 3.0, noise: float = 0.5, dim: int = 24, seed: int = 0) -> TrainingSet:
    """Three clouds, moved a little elsewhere in every folder: a folder that trained is easy, one that did not is not."""
    rng = np.random.default_rng(seed)
    y, folder = rng.integers(0, 3, n), np.arange(n) % folders
    moved = rng.normal(size=(folders, 3, dim)) * shift
    x = unit(np.random.default_rng(7).normal(size=(3, dim))[y] * 2 + moved[folder, y] + noise * rng.normal(size=(n, dim)))
    draw = rng.random(n)
    splits = np.where(draw < 0.2, "val", np.where(draw < 0.4, "test", "train"))
    ids = np.array([f"p{at:05}" for at in range(n)])
    return TrainingSet(x, y, np.ones(n, bool), splits, ids, ids, np.array([f"folder {at}" for at in folder]))


def label_set(n: int = 300, *, labels: int = 3, dim: int = 12, noise: float = 0.7, seed: int = 0, rate: float = 0.4) -> TrainingSet:
    """Labels that each follow one direction of the vectors, with noise."""
    rng = np.random.default_rng(seed)
    x = unit(rng.normal(size=(n, dim)))
    score = x[:, :labels] * np.sqrt(dim) + noise * rng.normal(size=(n, labels))
    y = (score > np.quantile(score, 1 - rate, axis=0)).astype(np.int64)
    splits = np.where(rng.random(n) < 0.3, "val", "train")
    ids = np.array([f"p{at:05}" for at in range(n)])
    return TrainingSet(x, y, np.ones(y.shape, bool), splits, ids, ids)


def plain_head(
    kind: str, labels: tuple[str, ...], weight: Any, bias: Any = None, *, encoder: str = "enc-1", thresholds: Any = None,
    qtype: str = "",
) -> TrainedHead:  # fmt: skip
    """A head with given weights, no standardisation, no calibration."""
    weight, one_of = np.asarray(weight, np.float32), (qtype or EARLIER[kind]) == "one_of"
    calibration: dict[str, Any] = {"temperature": 1.0} if one_of else {"platt": {label: [1.0, 0.0] for label in labels}}
    default = {kind: {"upper": 0.5}} if one_of else {label: {"upper": 0.6, "lower": 0.4} for label in labels}
    card = HeadCard(kind, labels, weight.shape[1], encoder, calibration=calibration, thresholds=thresholds or default, qtype=qtype)
    bias = np.zeros(len(labels), np.float32) if bias is None else np.asarray(bias, np.float32)
    return TrainedHead(weight, bias, np.zeros(weight.shape[1], np.float32), np.ones(weight.shape[1], np.float32), card)
