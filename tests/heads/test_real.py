from __future__ import annotations

from dataclasses import replace

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
        paths, sources = stored["path"], stored["source"]
        groups = np.where(stored["group"] == "", paths, stored["group"])
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    names, of = np.unique(groups, return_inverse=True)
    draw = np.random.default_rng(42).random(len(names))[of]
    splits = np.where(draw < 0.6, "train", np.where(draw < 0.75, "val", "test"))
    return TrainingSet(x, targets, np.ones(len(x), bool), splits, groups, paths, sources), tuple(scenes.tolist())


@pytest.mark.slow
def test_a_scene_head_on_real_features_is_not_below_logistic_regression(features):
    from sklearn.linear_model import LogisticRegression

    data, scenes = features
    data = replace(data, sources=None)
    head = train_head("scene", data, labels=(*scenes, "scene.other"), settings=StudentSettings(), provenance={"encoder": "mobilenet_v2"})
    train, test = data.rows("train"), data.rows("test")
    theirs = LogisticRegression(max_iter=1000).fit(data.x[train], data.targets[train]).score(data.x[test], data.targets[test])
    ours = head.card.metrics["test"]["accuracy"]
    assert ours >= theirs, f"test accuracy {ours:.4f}, scikit-learn LogisticRegression {theirs:.4f}, n {len(test)}"
    assert head.card.metrics["test"]["ece"] < 0.02


@pytest.mark.slow
def test_a_source_never_seen_is_left_open_or_the_card_says_that_it_does_not_carry_over(features):
    """Each source held out in turn: the log loss of what others taught is not above a plain multinomial regression's at its best epoch."""
    data, scenes = features
    few = np.concatenate([np.flatnonzero(data.sources == source)[:120] for source in np.unique(data.sources)])
    data = TrainingSet(*(getattr(data, name)[few] for name in ("x", "targets", "mask", "splits", "groups", "image_ids", "sources")))
    ours, theirs, n = 0.0, 0.0, 0
    for source in np.unique(data.sources):
        new = data.sources == source
        known = replace(data, splits=np.where(new, "aside", np.where(data.splits == "val", "val", "train")))
        head = train_head("scene", known, labels=scenes, settings=StudentSettings(), provenance={"encoder": "mobilenet_v2"})
        p, truth = head.probabilities(data.x[new]), data.targets[new]
        taught, sure = np.isin(truth, data.targets[~new]), p.max(axis=1) >= head.thresholds()[0]
        right = (p.argmax(axis=1) == truth)[sure & taught].mean() if (sure & taught).any() else 1.0
        assert right >= 0.9 or not head.card.carry_over["carries_over"], (source, right, head.card.carry_over)
        if taught.any():
            ours -= np.log(p[np.flatnonzero(taught), truth[taught]]).sum()
            theirs -= np.log(plain_epochs(known, len(scenes))(data.x[new])[np.flatnonzero(taught), truth[taught]]).sum()
            n += int(taught.sum())
    assert ours / n <= theirs / n, f"log loss {ours / n:.3f}, plain regression {theirs / n:.3f}, n {n}"


def plain_epochs(data, classes, epochs=50):
    """Multinomial regression on standardised vectors by Adam, the epoch with the lowest loss on val."""
    import torch

    torch.manual_seed(0)
    mean, std = data.x[data.rows("train")].mean(axis=0), data.x[data.rows("train")].std(axis=0) + 1e-6
    (x, t), (x_val, t_val) = (
        (torch.from_numpy((data.x[rows] - mean) / std), torch.from_numpy(data.targets[rows]))
        for rows in (data.rows("train"), data.rows("val"))
    )
    layer, best, kept = torch.nn.Linear(data.x.shape[1], classes), float("inf"), {}
    adam = torch.optim.Adam(layer.parameters(), lr=1e-3)
    for _ in range(epochs):
        for batch in torch.randperm(len(x)).split(128):
            adam.zero_grad()
            torch.nn.functional.cross_entropy(layer(x[batch]), t[batch]).backward()
            adam.step()
        with torch.no_grad():
            loss = float(torch.nn.functional.cross_entropy(layer(x_val), t_val))
        if loss < best:
            best, kept = loss, {name: value.clone() for name, value in layer.state_dict().items()}
    layer.load_state_dict(kept)
    return lambda photos: layer(torch.from_numpy((photos - mean) / std)).softmax(dim=1).detach().numpy()
