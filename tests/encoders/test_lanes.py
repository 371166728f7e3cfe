"""Forward passes side by side: order, errors, how far ahead batches are taken, and vectors that do not depend on the number of lanes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.encoders.models import picture
from vibe_assets.encoders.base import load_encoder
from vibe_assets.encoders.lanes import PART, side_by_side
from vibe_assets.settings import EncoderSettings


def batches(*sizes: int) -> list[list[np.ndarray]]:
    numbers = iter(range(sum(sizes)))
    return [[np.array([next(numbers)], np.float32) for _ in range(size)] for size in sizes]


def stack(batch: Sequence[np.ndarray]) -> np.ndarray:
    return np.stack(batch) if len(batch) else np.empty((0, 1), np.float32)


@pytest.mark.parametrize("lanes", [1, 2, 5])
def test_vectors_come_in_the_order_of_the_photos_however_long_each_part_takes(lanes: int) -> None:
    def late(batch: Sequence[np.ndarray]) -> np.ndarray:
        time.sleep(0.01 if len(batch) and int(batch[0][0]) % 3 == 0 else 0)
        return stack(batch)

    sizes = (9, 1, 0, PART, 0, 2 * PART + 1)
    got = list(side_by_side(late, batches(*sizes), lanes=lanes))
    assert [len(rows) for rows in got] == list(sizes)
    assert np.concatenate(got)[:, 0].tolist() == list(range(sum(sizes)))
    assert list(side_by_side(late, [], lanes=lanes)) == []


def test_a_pass_takes_one_core_and_at_most_a_part_and_the_callers_threads_stay() -> None:
    seen: list[tuple[int, int]] = []
    had = torch.get_num_threads()

    def watched(batch: Sequence[np.ndarray]) -> np.ndarray:
        seen.append((torch.get_num_threads(), len(batch)))
        return stack(batch)

    list(side_by_side(watched, batches(10, 3), lanes=2))
    assert sorted(seen) == sorted([(1, PART), (1, PART), (1, 10 - 2 * PART), (1, 3)])
    assert torch.get_num_threads() == had


def test_lanes_work_at_the_same_time_also_on_batches_of_one_photo() -> None:
    together = threading.Barrier(3, timeout=10)

    def meet(batch: Sequence[np.ndarray]) -> np.ndarray:
        together.wait()
        return stack(batch)

    assert len(list(side_by_side(meet, batches(1, 1, 1, 1, 1, 1), lanes=3))) == 6


def test_no_more_batches_are_taken_than_keep_the_lanes_busy() -> None:
    taken = 0

    def source() -> Iterator[list[np.ndarray]]:
        nonlocal taken
        for batch in batches(*[2 * PART] * 50):
            taken += 1
            yield batch

    for given, _ in enumerate(side_by_side(stack, source(), lanes=4), 1):
        assert taken - given <= 3  # two parts each: two batches feed four lanes while the oldest is awaited


def test_an_error_of_the_model_reaches_the_caller_and_ends_the_threads() -> None:
    def broken(batch: Sequence[np.ndarray]) -> np.ndarray:
        if int(batch[0][0]) == 8:
            raise MemoryError("no room for photo 8")
        return stack(batch)

    stream = side_by_side(broken, batches(8, 8, 8), lanes=2)
    assert len(next(stream)) == 8
    with pytest.raises(MemoryError, match="photo 8"):
        next(stream)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("lane")]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_photos_vector_does_not_depend_on_the_number_of_lanes(siglip: Path, precision: str) -> None:
    encoder = load_encoder(EncoderSettings(name=f"siglip:{siglip}", device="cpu", precision=precision))
    pixels = [encoder.preprocess(picture(seed, (80, 60))) for seed in range(11)]
    one, three = (np.concatenate(list(side_by_side(encoder.encode, [pixels[:9], pixels[9:]], lanes=lanes))) for lanes in (1, 3))
    assert np.array_equal(one, three)
    np.testing.assert_allclose(np.concatenate(list(encoder.stream([pixels]))), encoder.encode(pixels), atol=2e-2)
