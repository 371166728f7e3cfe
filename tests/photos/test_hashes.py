"""The pairs found are exactly those within the radius, whichever way they are searched."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vibe_assets.photos import hashes as module
from vibe_assets.photos.hashes import near_pairs


def clustered(count: int, seed: int = 0) -> np.ndarray:
    """(count,) uint64: random centres, each with copies that differ in up to 8 bits."""
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 2**64, max(1, count // 5), dtype=np.uint64)[rng.integers(0, max(1, count // 5), count)]
    for _ in range(8):
        flips = np.uint64(1) << rng.integers(0, 64, count, dtype=np.uint64)
        values = np.where(rng.random(count) < 0.5, values ^ flips, values)
    return values


def by_definition(values: np.ndarray, radius: int, new: np.ndarray) -> list[tuple[int, int]]:
    return [
        (i, j)
        for i in range(len(values))
        for j in range(i + 1, len(values))
        if (int(values[i]) ^ int(values[j])).bit_count() <= radius and (new[i] or new[j])
    ]


@settings(max_examples=40)
@given(st.integers(0, 60), st.integers(0, 20), st.integers(0, 2**16), st.floats(0, 1), st.booleans())
def test_pairs_are_those_of_the_definition(count: int, radius: int, seed: int, share: float, by_bands: bool) -> None:
    values = clustered(count, seed) if count else np.empty(0, dtype=np.uint64)
    new = np.random.default_rng(seed).random(count) < share
    with pytest.MonkeyPatch.context() as patch:
        if by_bands:
            patch.setattr(module, "BRUTE_PAIRS", -1)
        assert [tuple(pair) for pair in near_pairs(values, radius, new=new).tolist()] == by_definition(values, radius, new)


def test_a_hundred_thousand_hashes_take_seconds() -> None:
    values = clustered(100_000)
    started = time.monotonic()
    pairs = near_pairs(values, 6, new=np.ones(len(values), dtype=bool))
    assert time.monotonic() - started < 20
    assert len(pairs) > 10_000
