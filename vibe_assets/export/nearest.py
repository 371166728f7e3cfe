"""Blocks of unit vectors and one query vector go in; the nearest photos come out, exactly, one per group of near-duplicates."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLOCK_ROWS = 65_536  # cosines that are computed at a time


@dataclass(frozen=True, order=True)
class Hit:
    """A photo and its cosine with the query, -1..1."""

    cosine: float
    image_id: str


def nearest(
    blocks: Iterable[tuple[Sequence[str], NDArray[np.float32]]],
    query: NDArray[np.float32],
    top: int,
    *,
    groups: Mapping[str, str] | None = None,
    without: Collection[str] = (),
) -> list[Hit]:
    """The `top` photos of the highest cosine, best first; ties by image_id, so that a search repeats.

    `blocks` give ids and unit rows (n, d); `query` is (d,). With `groups` (image_id -> group) only the best photo of each group counts;
    `without` names photos, or groups where there are groups, that are not wanted. Memory: the best of each group met so far, at most
    `top` of them, and one block.
    """
    best: dict[str, Hit] = {}  # group -> its best photo; never more than the `top` best groups
    left_out = frozenset(without)
    for ids, vectors in blocks:
        for start in range(0, len(ids), BLOCK_ROWS):
            cosines = vectors[start : start + BLOCK_ROWS] @ query  # (rows,)
            for at in _candidates(cosines, ids[start : start + BLOCK_ROWS], top, groups, left_out):
                hit = Hit(float(cosines[at]), ids[start + at])
                group = groups.get(hit.image_id, hit.image_id) if groups is not None else hit.image_id
                if group not in best or _better(hit, best[group]):
                    best[group] = hit
            best = dict(heapq.nlargest(top, best.items(), key=lambda pair: _rank(pair[1])))
    return sorted(best.values(), key=_rank, reverse=True)


def _candidates(
    cosines: NDArray[np.float32], ids: Sequence[str], top: int, groups: Mapping[str, str] | None, without: frozenset[str]
) -> Iterable[int]:
    """Rows in falling order of cosine, until `top` different groups are met and the cosine has fallen below theirs."""
    met: set[str] = set()
    last = -np.inf
    for at in np.argsort(-cosines, kind="stable"):
        group = groups.get(ids[at], ids[at]) if groups is not None else ids[at]
        if group in without or ids[at] in without or not np.isfinite(cosines[at]):
            continue
        if len(met) == top and cosines[at] < last:
            return
        if group not in met and len(met) < top:
            met.add(group)
            last = float(cosines[at])
        yield int(at)


def _rank(hit: Hit) -> tuple[float, tuple[int, ...]]:
    """Higher cosine first, then the smaller id."""
    return hit.cosine, tuple(-ord(letter) for letter in hit.image_id)


def _better(one: Hit, other: Hit) -> bool:
    return _rank(one) > _rank(other)
