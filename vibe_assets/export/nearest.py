"""An index of unit vectors and one query vector go in; the nearest photos come out, exactly, one per group of near-duplicates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vibe_assets.export.vector_index import VectorIndex


@dataclass(frozen=True, order=True)
class Hit:
    """A photo and its cosine with the query, -1..1."""

    cosine: float
    image_id: str


def nearest(
    index: VectorIndex, query: NDArray[np.float32], top: int, *, groups: NDArray[np.integer] | None = None,
    without: NDArray[np.bool_] | None = None,
) -> list[Hit]:  # fmt: skip
    """The `top` photos of the highest cosine, best first; ties by image_id, so that a search repeats.

    `query` is (d,). With `groups` (n,), a number for each row of the index, only the best photo of each group counts; `without` (n,)
    marks rows that are not wanted. Cosines are those of the float32 vectors in float64. Memory: a few numbers a row.
    """
    if not index.count or top < 1:
        return []
    cosines, bounds = index.estimates(query)
    refused = ~np.isfinite(cosines) if without is None else ~np.isfinite(cosines) | without
    cosines[refused] = -np.inf
    at_least = cosines - bounds
    threshold = _threshold(at_least, groups, top)
    at_least = np.add(cosines, bounds, out=at_least)  # at most, from here on
    rows = np.flatnonzero((at_least >= threshold) & np.isfinite(cosines))
    exact = index.exact(rows, query)
    hits: list[Hit] = []
    met: set[int] = set()
    for place in np.lexsort((index.ids[rows], -exact)):
        group = int(rows[place] if groups is None else groups[rows[place]])
        if group not in met:
            met.add(group)
            hits.append(Hit(float(exact[place]), index.ids[rows[place]].decode()))
        if len(hits) == top:
            break
    return hits


def _threshold(at_least: NDArray[np.float32], groups: NDArray[np.integer] | None, top: int) -> float:
    """A cosine that photos of `top` different groups are known to reach; -inf where there are fewer groups."""
    asked = top
    while asked < len(at_least):
        best = np.argpartition(-at_least, asked - 1)[:asked]
        best = best[np.argsort(-at_least[best], kind="stable")]
        names, first = np.unique(best if groups is None else groups[best], return_index=True)
        if len(names) >= top:
            return float(at_least[best[np.sort(first)[top - 1]]])
        asked *= 4
    return -np.inf
