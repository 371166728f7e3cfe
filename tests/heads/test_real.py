from __future__ import annotations

import numpy as np
import pytest

from vibe_assets.heads.train import TrainingSet, train_head
from vibe_assets.settings import StudentSettings


@pytest.fixture(scope="module")
def features(real_data):
    file = real_data / "mobilenet_v2_features.npz"
    if not file.exists():
        pytest.skip(f"no features at {file}")
    with np.load(file) as stored:
        x = stored["X"].astype(np.float32)
        scenes, targets = np.unique(stored["scene"], return_inverse=True)
        paths = stored["path"]
        groups = np.where(stored["group"] == "", paths, stored["group"])
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    names, of = np.unique(groups, return_inverse=True)
    draw = np.random.default_rng(42).random(len(names))[of]
    splits = np.where(draw < 0.6, "train", np.where(draw < 0.75, "val", "test"))
    return TrainingSet(x, targets, np.ones(len(x), bool), splits, groups, paths), tuple(scenes.tolist())


@pytest.mark.slow
def test_a_scene_head_on_real_features_is_not_below_logistic_regression(features):
    from sklearn.linear_model import LogisticRegression

    data, scenes = features
    head = train_head("scene", data, labels=(*scenes, "scene.other"), settings=StudentSettings(), provenance={"encoder": "mobilenet_v2"})
    train, test = data.rows("train"), data.rows("test")
    theirs = LogisticRegression(max_iter=1000).fit(data.x[train], data.targets[train]).score(data.x[test], data.targets[test])
    ours = head.card.metrics["test"]["accuracy"]
    assert ours >= theirs, f"test accuracy {ours:.4f}, scikit-learn LogisticRegression {theirs:.4f}, n {len(test)}"
    assert head.card.metrics["test"]["ece"] < 0.02
