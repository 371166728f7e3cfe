"""Answers and truth go in; whether names that are spelled alike are confused more than chance would have it comes out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vibe_assets.evaluate.intervals import wilson
from vibe_assets.records import Estimate

if TYPE_CHECKING:
    from numpy.typing import NDArray

EDGES = (0.0, 0.2, 0.4, 0.6, 1.0001)
FEWEST = 5
WORDS = ("not alike", "a little alike", "alike", "nearly the same")


@dataclass(frozen=True)
class Likeness:
    """Wrong answers between names of one degree of likeness; the estimate's baseline is what dealing the answers out gives."""

    words: str
    pairs: int
    share: Estimate


@dataclass(frozen=True)
class Confused:
    """Two names, how often the first was taken for the second, and how often chance would have it."""

    truth: str
    answer: str
    faces: int
    expected: float


def letter_pairs(names: Sequence[str]) -> NDArray[np.float64]:
    """Likeness (k, k) in 0..1: the Dice coefficient of the names' letter pairs, word borders included."""
    pairs = [{text[at : at + 2] for at in range(len(text) - 1)} for text in (f"^{name}$" for name in names)]
    known = {pair: at for at, pair in enumerate(sorted(set().union(*pairs)))}
    table = np.zeros((len(names), len(known)))
    for row, own in enumerate(pairs):
        table[row, [known[pair] for pair in own]] = 1
    size = table.sum(axis=1)
    return 2 * (table @ table.T) / (size[:, None] + size[None, :])


def confusion(predictions: NDArray[np.int64], truth: NDArray[np.int64], classes: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Counts (k, k) of truth by answer, and what chance would have them be: both with an empty diagonal and the same total.

    Answers that are none of the names are left out.
    """
    predictions, truth = predictions[predictions < classes], truth[predictions < classes]
    counts = np.bincount(truth * classes + predictions, minlength=classes * classes).reshape(classes, classes)
    expected = np.outer(counts.sum(axis=1), counts.sum(axis=0)).astype(np.float64)
    counts = counts.copy()
    np.fill_diagonal(counts, 0)
    np.fill_diagonal(expected, 0)
    total = expected.sum()
    return counts, expected * (counts.sum() / total if total else 0)


def by_likeness(names: Sequence[str], predictions: NDArray[np.int64], truth: NDArray[np.int64]) -> list[Likeness]:
    """Share of the wrong answers by how alike truth and answer are spelled, against chance; degrees without a pair are left out."""
    counts, expected = confusion(predictions, truth, len(names))
    alike = letter_pairs(names)
    np.fill_diagonal(alike, -1)
    wrong = int(counts.sum())
    rows = []
    for words, low, high in zip(WORDS, EDGES, EDGES[1:], strict=False):
        inside = (alike >= low) & (alike < high)
        if wrong and inside.any():
            faces = int(counts[inside].sum())
            rows.append(
                Likeness(
                    words,
                    int(inside.sum() // 2),
                    Estimate(faces / wrong, *wilson(faces, wrong), wrong, float(expected[inside].sum() / wrong)),
                )
            )
    return rows


def most_confused(names: Sequence[str], predictions: NDArray[np.int64], truth: NDArray[np.int64], most: int = 8) -> list[Confused]:
    """Pairs that stand out most from chance, by Pearson residual; pairs below FEWEST faces are left out as accidents."""
    counts, expected = confusion(predictions, truth, len(names))
    residual = np.divide(counts - expected, np.sqrt(expected), out=np.full(expected.shape, -np.inf), where=expected > 0)
    residual[counts < FEWEST] = -np.inf
    found = [divmod(int(at), len(names)) for at in np.argsort(-residual, axis=None, kind="stable")[:most]]
    return [
        Confused(names[row], names[column], int(counts[row, column]), float(expected[row, column]))
        for row, column in found
        if counts[row, column] >= FEWEST and counts[row, column] > expected[row, column]
    ]
