"""Pairs of near vectors: all that reach the threshold, and no others, however the vectors lie."""

from __future__ import annotations

import numpy as np
import pytest

from vibe_assets.photos import vectors
from vibe_assets.photos.vectors import near_vector_pairs


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def library(rng: np.random.Generator, dim: int, spectrum: float) -> np.ndarray:
    """600 rows of which a third nearly repeat another, from all but equal to just below the threshold."""
    x = rng.normal(size=(600, dim)) * np.arange(1, dim + 1) ** -spectrum
    steps = np.geomspace(1e-7, 0.6, 200)[:, None]
    x[400:] = x[:200] + steps * rng.normal(size=(200, dim)) * np.linalg.norm(x[:200], axis=1, keepdims=True) / np.sqrt(dim)
    return unit(x[rng.permutation(600)])


@pytest.mark.parametrize("dim", [8, 64, 65, 400])
@pytest.mark.parametrize("spectrum", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("cosine", [0.9, 0.98, 0.9999])
def test_the_pairs_are_those_of_all_cosines_in_float64(dim: int, spectrum: float, cosine: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "ROWS", 97)
    monkeypatch.setattr(vectors, "PAIRS", 50)
    x = library(np.random.default_rng(dim), dim, spectrum)
    full = np.einsum("nd,md->nm", x, x, dtype=np.float64)
    wanted = np.argwhere(np.triu(full >= cosine, k=1))
    pairs, cosines = near_vector_pairs(x, cosine)
    sure = np.abs(full[wanted[:, 0], wanted[:, 1]] - cosine) > 1e-12
    assert {tuple(pair) for pair in wanted[sure].tolist()} <= {tuple(pair) for pair in pairs.tolist()}
    assert len(pairs) <= len(wanted) + int((~sure).sum())
    np.testing.assert_allclose(cosines, full[pairs[:, 0], pairs[:, 1]], atol=1e-12)


def test_few_directions_are_enough_to_tell_most_pairs_apart() -> None:
    x = library(np.random.default_rng(1), 400, 0.5)
    ends = vectors._ends(x)
    assert ends.shape == (600, vectors.DIRECTIONS + 1)
    bound, full = ends @ ends.T, x @ x.T
    assert (bound >= full - vectors.SLACK).all()
    assert (bound >= 0.98).sum() < 4 * (full >= 0.98).sum() + 600


def test_no_pairs_without_vectors_and_no_answer_on_nan() -> None:
    assert near_vector_pairs(np.empty((0, 8), np.float32), 0.9)[0].shape == (0, 2)
    with pytest.raises(ValueError, match="finite"):
        near_vector_pairs(np.full((2, 8), np.nan, np.float32), 0.9)
