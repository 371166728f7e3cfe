"""Another engine's seam: what crosses a process, and rows that do not depend on who computes them."""

from __future__ import annotations

import dataclasses
import multiprocessing
import pickle
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests.encoders.models import write_photos
from vibe_assets.encoders.base import EncoderError, load_encoder
from vibe_assets.encoders.engine import Chunk, Compute, Failure, Outcome, PhotoEncoder, embed_photos
from vibe_assets.records import PhotoRef
from vibe_assets.settings import EncoderSettings, LibrarySettings


def library(folder: Path) -> list[PhotoRef]:
    """Ten photos; the third is damaged, and of the first there is a copy."""
    photos = write_photos(folder, 10)
    Path(photos[2].path.decode()).write_bytes(b"junk")
    return [*photos, dataclasses.replace(photos[0], rel_path="copy.jpg")]


def assert_same_rows(compute: Compute, settings: EncoderSettings, folder: Path) -> None:
    encoder, photos = load_encoder(settings), library(folder / "photos")
    here = embed_photos(photos, encoder, settings=settings, cache_dir=folder / "here", progress=False)
    there = embed_photos(photos, encoder, settings=settings, cache_dir=folder / "there", progress=False, compute=compute)
    assert there.drop("embedding").equals(here.drop("embedding"))
    assert here["reason"].drop_nulls().to_list() == ["changed_since_scan"]
    vectors = [np.array(rows["embedding"].drop_nulls().to_list()) for rows in (here, there)]
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)


def test_rows_computed_in_other_processes_equal_those_of_this_one(tmp_path: Path) -> None:
    settings = EncoderSettings(batch_size=4)
    work = PhotoEncoder(settings, fingerprint=load_encoder(settings).fingerprint)
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert_same_rows(lambda chunks: pool.map(work, chunks), settings, tmp_path)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_models_rows_are_the_same_chunk_by_chunk_after_pickling(precision: str, siglip: Path, tmp_path: Path) -> None:
    settings = EncoderSettings(name=f"siglip:{siglip}", batch_size=4, device="cpu", precision=precision)
    work = pickle.loads(pickle.dumps(PhotoEncoder(settings, fingerprint=load_encoder(settings).fingerprint)))
    assert_same_rows(lambda chunks: map(work, chunks), settings, tmp_path)


def test_chunks_hold_a_batch_each_and_are_pulled_as_they_are_computed(tmp_path: Path) -> None:
    settings, photos = EncoderSettings(batch_size=4, decode_workers=1), library(tmp_path / "photos")
    here, seen = PhotoEncoder(settings), []

    def compute(chunks: Iterable[Chunk]) -> Iterator[list[Outcome]]:
        for chunk in chunks:
            seen.append([len(copies) for copies in chunk])
            yield here(chunk)

    rows = embed_photos(photos, load_encoder(settings), settings=settings, cache_dir=tmp_path / "cache", progress=False, compute=compute)
    assert seen == [[2, 1, 1, 1], [1, 1, 1, 1], [1, 1]]
    assert rows["reason"].null_count() == 10
    again = embed_photos(photos, load_encoder(settings), settings=settings, cache_dir=tmp_path / "cache", progress=False, compute=compute)
    assert again.equals(rows)
    assert seen[3:] == [[1]], "what failed is tried again, and nothing else"


def test_only_settings_cross_to_another_process(siglip: Path) -> None:
    settings = EncoderSettings(name=f"siglip:{siglip}", device="cpu", precision="fp32")
    here = PhotoEncoder(settings, LibrarySettings(max_pixels=9), encoder=load_encoder(settings))
    packed = pickle.dumps(here)
    there = pickle.loads(packed)
    assert len(packed) < 10_000
    assert (there.settings, there.limits) == (here.settings, here.limits)
    assert there.encoder.fingerprint == here.encoder.fingerprint


def test_a_process_where_the_settings_mean_another_encoder_refuses(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", 1)
    with pytest.raises(EncoderError, match="in this process and 0123456789abcdef"):
        PhotoEncoder(EncoderSettings(), fingerprint="0123456789abcdef")([photos])


def test_an_engine_that_loses_photos_is_found_out(tmp_path: Path) -> None:
    settings, photos = EncoderSettings(batch_size=2), write_photos(tmp_path / "photos", 4)
    encoder = load_encoder(settings)
    for compute in (lambda chunks: [[Failure("lost", "")] for _ in chunks], lambda chunks: []):
        with pytest.raises(ValueError, match="shorter"):
            embed_photos(photos, encoder, settings=settings, cache_dir=tmp_path / "cache", progress=False, compute=compute)
