"""A model that says each of eight names alike, and for a third of the faces nothing that can be used."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from truths.result import Result
from vibe_assets.names.metrics import judge

TITLE = "Unusable answers are no further name"
CLAIM = "the prediction CV of a model that spreads its usable answers evenly is as small as their number allows; their share is given apart"
FACES, NAMES, SHARE = 400, 8, 1 / 3


def simulate(libraries: int, seed: int) -> Iterator[Result]:
    """The CV of even counts is the root of names over answers, about 0.17 here; with a ninth name it was several times that."""
    names, now, before, shares = [f"name {at}" for at in range(NAMES)], [], [], []
    for library in range(libraries):
        rng = np.random.default_rng((seed, library))
        truth, said = rng.integers(NAMES, size=FACES), rng.integers(NAMES, size=FACES)
        said[rng.random(FACES) < SHARE] = NAMES
        found = judge(said, truth, names, resamples=2).headline
        now.append(found["prediction_cv"].value)
        shares.append(found["unusable"].value)
        before.append(judge(said, truth, [*names, "(another answer)"], resamples=2).headline["prediction_cv"].value)
    error = float(np.std(now) / np.sqrt(libraries))
    yield Result(
        "prediction CV", float(np.mean(now)), 0.0, float(np.sqrt(NAMES / (FACES * (1 - SHARE)))), libraries, float(np.mean(before)), error
    )
    error = float(np.std(shares) / np.sqrt(libraries))
    yield Result("share of unusable answers", float(np.mean(shares)), SHARE, SHARE, libraries, None, error)
