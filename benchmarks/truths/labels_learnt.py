"""Labels that have nothing to do with the photos, beside labels that do, through the training of an attribute head."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from truths.result import Result
from vibe_assets.heads.train import TrainingSet, train_head
from vibe_assets.settings import StudentSettings

TITLE = "Labels that learnt nothing are left open"
CLAIM = "of labels unrelated to the photos at most 5 % are put in force, of labels that the photos show at least 90 %"
PHOTOS, DIM, RATES = 400, 12, (0.05, 0.15, 0.4)


def simulate(libraries: int, seed: int) -> Iterator[Result]:
    """For every rate of the label: one that is drawn at random and one that follows the vectors, in the same library."""
    labels = tuple(f"object.{kind}{at}" for kind in ("noise", "shown") for at in range(len(RATES)))
    noise, shown = np.zeros(len(RATES)), np.zeros(len(RATES))
    learnt, trained = np.zeros(len(RATES)), np.zeros(len(RATES))
    for library in range(libraries):
        rng = np.random.default_rng((seed, library))
        x = rng.normal(size=(PHOTOS, DIM)).astype(np.float32)
        score = x[:, : len(RATES)] + 0.25 * rng.normal(size=(PHOTOS, len(RATES)))
        targets = np.concatenate([rng.random((PHOTOS, len(RATES))) < RATES, score > np.quantile(score, 1 - np.array(RATES))], axis=1)
        splits, ids = np.where(rng.random(PHOTOS) < 0.6, "train", "val"), np.arange(PHOTOS).astype(str)
        data = TrainingSet(x, targets.astype(np.int8), np.ones(targets.shape, bool), splits, ids, ids)
        head = train_head("object", data, labels=labels, settings=StudentSettings(min_positives=1), provenance={"encoder": "simulated"})
        for at in range(len(RATES)):
            learnt[at] += f"object.noise{at}" in head.labels
            trained[at] += f"object.shown{at}" in head.labels
            noise[at] += f"object.noise{at}" in head.labels and f"object.noise{at}" not in head.card.open
            shown[at] += f"object.shown{at}" in head.labels and f"object.shown{at}" not in head.card.open
    for at, rate in enumerate(RATES):
        yield Result(f"unrelated, on {rate:.0%} of the photos", noise[at] / learnt[at], 0.0, 0.05, int(learnt[at]), before=1.0)
        yield Result(f"shown, on {rate:.0%} of the photos", shown[at] / trained[at], 0.9, 1.0, int(trained[at]), before=1.0)
