"""Unit vectors go in; the pairs whose cosine reaches a threshold come out, all of them.

Every pair is looked at in the few directions in which the vectors differ most; only those that could still reach the threshold, by what
the other directions can add at most, are computed in full.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

DIRECTIONS = 64  # of which pairs are compared first: a twelfth of the work at 768 numbers
SAMPLED = 8_192  # rows that decide the directions; any choice is right, a good one is fast
ROWS = 4_096  # rows compared at once: the block of cosines takes 64 MB
PAIRS = 16_384  # pairs computed in full at once
SLACK = 1e-5  # what float32 rounding may take from the bound: sums of some 64 products of unit rows, with a factor of 10 to spare


def near_vector_pairs(x: NDArray[np.float32], cosine: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """(m, 2) row pairs, lower first and sorted, whose cosine (m,) is at least `cosine`; x (n, d) float32 unit rows.

    Rows are turned by an orthogonal matrix, which changes no cosine: with the first coordinates a, b and lengths r, s of the rest,
    cosine <= a.b + r s (Cauchy and Schwarz), one product of (n, 65) with its transpose. Cosines are those of the rows in float64.
    Raises ValueError on rows that are not finite.
    """
    if not np.isfinite(x).all():
        raise ValueError("expected finite vectors, got NaN or infinity")
    found = [np.empty((0, 2), np.int64)]
    cosines = [np.empty(0)]
    ends = _ends(x)  # (n, k + 1)
    for start in range(0, len(x), ROWS):
        for other in range(start, len(x), ROWS):
            most = ends[start : start + ROWS] @ ends[other : other + ROWS].T
            first, second = np.nonzero(most >= np.float32(cosine - SLACK))
            pairs = np.stack([first + start, second + other], axis=1)
            pairs = pairs[pairs[:, 0] < pairs[:, 1]]
            for at in range(0, len(pairs), PAIRS):
                part = pairs[at : at + PAIRS]
                exact = np.einsum("nd,nd->n", x[part[:, 0]], x[part[:, 1]], dtype=np.float64)
                found.append(part[exact >= cosine])
                cosines.append(exact[exact >= cosine])
    pairs, values = np.concatenate(found), np.concatenate(cosines)
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    return pairs[order], values[order]


def _ends(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, k + 1): the coordinates along the directions of largest second moment, and the length of the rest."""
    if x.shape[1] <= DIRECTIONS:
        return np.concatenate([x, np.zeros((len(x), 1), np.float32)], axis=1)
    sample = x[:: max(1, len(x) // SAMPLED)]
    _, directions = np.linalg.eigh((sample.T @ sample).astype(np.float64))
    along = x @ directions[:, -DIRECTIONS:].astype(np.float32)
    lengths = np.einsum("nd,nd->n", x, x, dtype=np.float64)
    rest = np.sqrt(np.maximum(lengths - np.einsum("nd,nd->n", along, along, dtype=np.float64), 0.0) + SLACK / 4)
    return np.concatenate([along, rest[:, None].astype(np.float32)], axis=1)
