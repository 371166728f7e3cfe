"""Vectors on disk: damage is set aside, small shards are merged, writers and readers do not disturb each other."""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path

import numpy as np
import pytest

from vibe_assets.encoders import cache as cache_module
from vibe_assets.encoders.base import EncoderError
from vibe_assets.encoders.cache import EmbeddingCache

DIM = 8


def rows(ids: list[str]) -> np.ndarray:
    return np.stack([np.random.default_rng(int(image_id)).normal(size=DIM) for image_id in ids]).astype(np.float32)


def stored(cache: EmbeddingCache, ids: list[str]) -> tuple[np.ndarray, np.ndarray]:
    into = np.zeros((len(ids), DIM), np.float32)
    return cache.load(ids, into), into


def test_vectors_come_back_bit_for_bit_in_the_order_asked(tmp_path: Path) -> None:
    cache = EmbeddingCache.of(tmp_path, "f", DIM)
    cache.add(["1", "2"], rows(["1", "2"]))
    cache.add(["3"], rows(["3"]))
    filled, vectors = stored(cache, ["3", "9", "1"])
    assert filled.tolist() == [True, False, True]
    np.testing.assert_array_equal(vectors[[0, 2]], rows(["3", "1"]))
    assert stored(EmbeddingCache.of(tmp_path, "other", DIM), ["1"])[0].tolist() == [False]


@pytest.mark.parametrize("damage", ["flipped", "cut", "emptied", "foreign"])
def test_a_damaged_shard_is_set_aside_with_a_warning(damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = EmbeddingCache.of(tmp_path, "f", DIM)
    cache.add(["1"], rows(["1"]))
    (shard,) = cache.folder.glob("*.parquet")
    cache.add(["2"], rows(["2"]))
    data = bytearray(shard.read_bytes())
    if damage == "flipped":
        place = bytes(data).index(rows(["1"]).tobytes())
        data[place + 5] ^= 0x10
    damaged = {"flipped": bytes(data), "cut": bytes(data[:-20]), "emptied": b"", "foreign": None}[damage]
    if damaged is None:
        EmbeddingCache.of(tmp_path, "narrow", 3).add(["1"], np.ones((1, 3), np.float32))
        damaged = next((tmp_path / "embeddings" / "narrow").glob("*.parquet")).read_bytes()
    shard.write_bytes(damaged)
    with caplog.at_level(logging.WARNING):
        filled, vectors = stored(cache, ["1", "2"])
    assert filled.tolist() == [False, True]
    np.testing.assert_array_equal(vectors[1], rows(["2"])[0])
    assert "damaged" in caplog.text
    assert not shard.exists()
    assert shard.with_name(shard.name + ".damaged").exists()
    cache.add(["1"], rows(["1"]))
    assert stored(cache, ["1", "2"])[0].all()


def test_many_small_shards_are_merged_without_losing_or_doubling_a_row(tmp_path: Path) -> None:
    cache = EmbeddingCache.of(tmp_path, "f", DIM)
    ids = [str(i) for i in range(cache_module.MANY_SHARDS + 6)]
    for image_id in ids:
        cache.add([image_id], rows([image_id]))
    cache.add(["0"], rows(["0"]))  # two processes may have met the same photo
    assert cache.compact() == len(ids) + 1
    (shard,) = cache.folder.glob("*.parquet")
    assert cache._rows(shard) == len(ids)
    filled, vectors = stored(cache, ids)
    assert filled.all()
    np.testing.assert_array_equal(vectors, rows(ids))
    assert cache.compact() == 0


def test_left_overs_of_killed_writers_are_no_shards_and_go_after_a_day(tmp_path: Path) -> None:
    cache = EmbeddingCache.of(tmp_path, "f", DIM)
    for i in range(cache_module.MANY_SHARDS + 1):
        cache.add([str(i)], rows([str(i)]))
    old, new = cache.folder / ".old.parquet.1.tmp", cache.folder / ".new.parquet.2.tmp"
    for path in (old, new):
        path.write_bytes(b"half a shard")
    os.utime(old, (0, 0))
    assert stored(cache, ["0"])[0].all()
    cache.compact()
    assert (old.exists(), new.exists()) == (False, True)


def test_reading_survives_a_merge_at_the_same_time(tmp_path: Path) -> None:
    cache = EmbeddingCache.of(tmp_path, "f", DIM)
    ids = [str(i) for i in range(40)]
    stop = threading.Event()

    def churn() -> None:
        while not stop.is_set():
            cache.compact()
            for image_id in ids[: cache_module.MANY_SHARDS]:
                cache.add([image_id], rows([image_id]))

    cache.add(ids, rows(ids))
    original, cache_module.MANY_SHARDS = cache_module.MANY_SHARDS, 4
    worker = threading.Thread(target=churn)
    worker.start()
    try:
        for _ in range(20):
            filled, vectors = stored(cache, ids)
            assert filled.all()
            np.testing.assert_array_equal(vectors, rows(ids))
    finally:
        stop.set()
        worker.join()
        cache_module.MANY_SHARDS = original


def test_a_cache_that_cannot_be_written_says_where(tmp_path: Path) -> None:
    (tmp_path / "embeddings").write_text("a file where a folder should be")
    with pytest.raises(EncoderError, match=r"embedding cache .* cannot be written"):
        EmbeddingCache.of(tmp_path, "f", DIM).add(["1"], rows(["1"]))


def test_vectors_of_another_length_are_a_programming_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected vectors of shape \(1, 8\), got \(1, 3\)"):
        EmbeddingCache.of(tmp_path, "f", DIM).add(["1"], np.ones((1, 3), np.float32))
