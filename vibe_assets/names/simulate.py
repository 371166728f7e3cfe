"""Features without any name in them go in; the same features with a weak, known name signal come out, and how well it can be read at best.

What a method finds in such data can be held against what is there: a study that misses a planted signal, or finds one where none was
planted, is not to be believed on real faces.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vibe_assets.names.dataset import NameData

if TYPE_CHECKING:
    from numpy.typing import NDArray

RIDGE = 1e-3  # of the mean variance, added to every direction: whitening must not blow up what does not vary


@dataclass(frozen=True, eq=False)
class Planted:
    """A data set with a known signal. `best` (n,): what the rule that knows signal and noise would answer; exact for Gaussian features."""

    data: NameData
    best: NDArray[np.int64]
    directions: NDArray[np.float64]  # (names, d), where each name was shifted to, in whitened space

    def ceiling(self, split: str = "test") -> float:
        """Accuracy of the best rule on a split."""
        rows = self.data.rows(split)
        return float((self.best[rows] == self.data.y[rows]).mean())


def gaussian_features(n: int, dim: int, *, seed: int = 0) -> NDArray[np.float32]:
    """Correlated Gaussian rows (n, dim): a stand-in where no real features are at hand."""
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((n, dim)) @ (rng.standard_normal((dim, dim)) / dim**0.5) + 0.5).astype(np.float32)


def plant(
    features: NDArray[np.floating],
    *,
    names: int,
    strength: float,
    imbalance: float = 1.0,
    val: float = 0.15,
    test: float = 0.25,
    seed: int = 0,
) -> Planted:
    """Give every row (n, d) a name at random, then shift it by `strength` standard deviations along a direction of its name.

    Directions are random and drawn in whitened space, so that the signal is no stronger where the features vary more. The most
    frequent name is `imbalance` times as frequent as the rarest. Strength 0 plants nothing.
    """
    rng = np.random.default_rng(seed)
    n, dim = features.shape
    share = np.geomspace(imbalance, 1.0, names)
    prior = share / share.sum()
    y: NDArray[np.int64] = np.asarray(rng.choice(names, size=n, p=prior), dtype=np.int64)
    centred = np.asarray(features, dtype=np.float64) - features.mean(axis=0, dtype=np.float64)
    covariance = centred.T @ centred / n
    covariance[np.diag_indices(dim)] += RIDGE * np.trace(covariance) / dim
    factor = np.linalg.cholesky(covariance)
    directions = rng.standard_normal((names, dim))
    directions *= strength / np.linalg.norm(
        directions, axis=1, keepdims=True
    )  # whitened: the distance between two names is about 1.4 strength
    shifted = centred + directions[y] @ factor.T
    white = np.linalg.solve(factor, shifted.T).T  # (n, d)
    best = np.argmax(white @ directions.T - 0.5 * np.square(directions).sum(axis=1) + np.log(prior), axis=1).astype(np.int64)
    x = (shifted + features.mean(axis=0, dtype=np.float64)).astype(np.float32)
    draw = rng.random(n)
    splits = np.where(draw < test, "test", np.where(draw < test + val, "val", "train"))
    labels = tuple(f"name {at:02d}" for at in range(names))
    return Planted(NameData(x, y, splits, np.arange(n), labels), best, directions)
