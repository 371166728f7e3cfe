"""64-bit perceptual hashes go in; the pairs that lie within a Hamming radius come out."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

BRUTE_PAIRS = 200_000_000  # below this many comparisons, comparing all (about 1 ns each) beats sorting by bands
BRUTE_ROWS = 64  # rows compared at once: the block stays within a few megabytes up to 100,000 hashes
MAX_BANDS = 12  # narrower bands hold so few bits that nearly everything is a candidate
SET_BITS = range(16, 49)  # a DCT hash thresholded at its median sets about 32 of 64 bits; far fewer mean a flat or striped picture


def informative(value: int) -> bool:
    """Whether a 64-bit hash says much: where most coefficients tie, as in all flat pictures, few or nearly all bits are set."""
    return value.bit_count() in SET_BITS


def near_pairs(hashes: np.ndarray, radius: int, *, new: np.ndarray) -> np.ndarray:
    """(m, 2) index pairs, lower first, at Hamming distance 0..radius with at least one end `new` ((n,) bool); sorted, no repeats.

    Few new ones are compared with all. Many are found by bands: hashes within r bits agree in at least one of r + 1 bands
    (Norouzi et al., Fast search in Hamming space with multi-index hashing, 2012).
    """
    count = len(hashes)
    if radius >= MAX_BANDS or int(new.sum()) * count <= BRUTE_PAIRS:
        pairs = _compared(hashes, radius, np.flatnonzero(new))
    else:
        pairs = _by_bands(hashes, radius)
        pairs = pairs[new[pairs].any(axis=1)]
    return np.unique(np.sort(pairs, axis=1), axis=0)


def _compared(hashes: np.ndarray, radius: int, rows: np.ndarray) -> np.ndarray:
    found = [np.empty((0, 2), dtype=np.int64)]
    for start in range(0, len(rows), BRUTE_ROWS):
        block = rows[start : start + BRUTE_ROWS]
        near = np.bitwise_count(hashes[block, None] ^ hashes[None, :]) <= radius  # (rows, n)
        first, second = np.nonzero(near)
        pairs = np.stack([block[first], second], axis=1)
        found.append(pairs[pairs[:, 0] != pairs[:, 1]])
    return np.concatenate(found)


def _by_bands(hashes: np.ndarray, radius: int) -> np.ndarray:
    found = [np.empty((0, 2), dtype=np.int64)]
    edges = np.linspace(0, 64, radius + 2).astype(int)
    for low, high in pairwise(edges):
        band = (hashes >> np.uint64(low)) & np.uint64((1 << int(high - low)) - 1)
        order = np.argsort(band, kind="stable")
        sorted_band, sorted_hashes = band[order], hashes[order]
        left, step = np.arange(len(order)), 1
        while left.size:  # partners `step` places further in the same run of equal bands
            left = left[left + step < len(order)]
            left = left[sorted_band[left] == sorted_band[left + step]]
            hits = left[np.bitwise_count(sorted_hashes[left] ^ sorted_hashes[left + step]) <= radius]
            found.append(np.stack([order[hits], order[hits + step]], axis=1))
            step += 1
    return np.concatenate(found)
