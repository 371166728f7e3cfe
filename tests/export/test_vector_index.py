"""The index answers as a search through every row in float64 does, whatever the vectors are, and appears whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from vibe_assets.export.nearest import Hit, nearest
from vibe_assets.export.vector_index import VectorIndex

Vectors = NDArray[np.float32]


def unit(rows: NDArray[np.floating]) -> Vectors:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def write(folder: Path, vectors: Vectors, ids: list[str] | None = None, *, blocks: int = 1) -> VectorIndex:
    ids = ids or [f"{at:05d}" for at in range(len(vectors))]
    step = -(-len(vectors) // blocks) or 1
    parts = [(ids[at : at + step], vectors[at : at + step]) for at in range(0, len(vectors), step)]
    return VectorIndex.write(folder / "index", parts)


def by_definition(vectors: Vectors, query: Vectors, top: int, groups: NDArray[np.integer] | None = None) -> list[Hit]:
    cosines = (vectors.astype(np.float64) * query.astype(np.float64)).sum(axis=1)
    found: dict[int, Hit] = {}
    for at in np.argsort(-cosines, kind="stable"):
        found.setdefault(int(at if groups is None else groups[at]), Hit(float(cosines[at]), f"{at:05d}"))
    return list(found.values())[:top]


def spread(rng: np.random.Generator) -> Vectors:
    return unit(rng.normal(size=(2000, 48)))


def near_ties(rng: np.random.Generator) -> Vectors:
    """All rows within a few roundings of each other, far closer than 8-bit integers can tell."""
    return unit(rng.normal(size=48) + 1e-6 * rng.normal(size=(2000, 48)))


def spiky(rng: np.random.Generator) -> Vectors:
    """One number rules each row: the scale is coarse, and every other number rounds to zero."""
    rows = 0.003 * rng.normal(size=(2000, 48))
    rows[np.arange(2000), rng.integers(0, 48, 2000)] = 1.0
    return unit(rows)


@pytest.mark.parametrize("make", [spread, near_ties, spiky])
@pytest.mark.parametrize("grouped", [False, True])
def test_the_nearest_are_those_of_a_full_sort_in_float64(
    make: Callable[[np.random.Generator], Vectors], grouped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vibe_assets.export.vector_index.ROWS", 301)
    monkeypatch.setattr("vibe_assets.export.vector_index.EXACT_ROWS", 77)
    rng = np.random.default_rng(1)
    vectors = make(rng)
    index = write(tmp_path, vectors, blocks=7)
    groups = np.arange(2000, dtype=np.int32) // 7 if grouped else None
    for query in (vectors[3], unit(rng.normal(size=48)), unit(vectors[5] + 1e-4 * rng.normal(size=48)), 3 * vectors[8]):
        assert nearest(index, query, 24, groups=groups) == by_definition(vectors, query, 24, groups)


@pytest.mark.parametrize("make", [spread, near_ties, spiky])
def test_no_cosine_lies_outside_its_bound(make: Callable[[np.random.Generator], Vectors], tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    vectors = make(rng)
    index = write(tmp_path, vectors)
    for query in (vectors[0], unit(rng.normal(size=48)), 5 * unit(rng.normal(size=48))):
        cosines, bounds = index.estimates(query)
        off = np.abs(cosines.astype(np.float64) - index.exact(np.arange(len(vectors)), query))
        assert (off <= bounds).all()
        assert off.max() > 0, "the integers say something else than the floats: the bound is put to the test"


def test_ties_go_to_the_smaller_id_and_few_photos_are_enough(tmp_path: Path) -> None:
    vectors = unit(np.ones((3, 4)))
    assert [hit.image_id for hit in nearest(write(tmp_path / "a", vectors, ["b", "c", "a"]), vectors[0], 2)] == ["a", "b"]
    assert nearest(write(tmp_path / "b", vectors[:0]), vectors[0], 5) == []
    assert nearest(write(tmp_path / "c", np.full((1, 4), np.nan, np.float32)), vectors[0], 5) == []


def test_rows_that_are_not_wanted_are_passed_over(tmp_path: Path) -> None:
    vectors = spread(np.random.default_rng(3))
    index = write(tmp_path, vectors)
    without = np.zeros(len(vectors), bool)
    without[[5, 9]] = True
    found = nearest(index, vectors[5], 40, without=without)
    wanted = [hit for hit in by_definition(vectors, vectors[5], 42) if hit.image_id not in ("00005", "00009")]
    assert found == wanted[:40]


def test_what_a_killed_writer_left_is_removed_after_a_day(tmp_path: Path) -> None:
    left, fresh = tmp_path / ".old.1.tmp", tmp_path / ".new.2.tmp"
    for folder in (left, fresh):
        folder.mkdir()
    os.utime(left, (0, 0))
    write(tmp_path, unit(np.ones((2, 4))))
    assert sorted(one.name for one in tmp_path.iterdir()) == [".new.2.tmp", "index"]


def test_an_index_that_was_not_written_to_its_end_is_none(tmp_path: Path) -> None:
    def broken() -> object:
        yield ["a"], unit(np.ones((1, 4)))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        VectorIndex.write(tmp_path / "index", broken())  # type: ignore[arg-type]
    assert VectorIndex.open(tmp_path / "index") is None
    assert list(tmp_path.iterdir()) == []
    index = write(tmp_path, unit(np.ones((2, 4))))
    assert VectorIndex.open(index.folder) == index
