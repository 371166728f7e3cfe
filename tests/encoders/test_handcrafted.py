"""The descriptor without weights: deterministic, unit length on any picture, and telling kinds of real photos apart."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.encoders.models import picture, reference
from vibe_assets.encoders.base import EncoderError, load_encoder
from vibe_assets.encoders.engine import embed_photos
from vibe_assets.settings import EncoderSettings

ENCODER = load_encoder(EncoderSettings())


@pytest.mark.parametrize(
    "image",
    [Image.new("RGB", (1, 1)), Image.new("RGB", (5000, 1), "white"), Image.new("RGB", (300, 300)), picture(0), picture(1, (13, 900))],
    ids=["one pixel", "line", "black", "noise", "strip"],
)
def test_any_picture_has_a_finite_unit_vector(image: Image.Image) -> None:
    vector = ENCODER.encode([ENCODER.preprocess(image)])
    assert vector.shape == (1, ENCODER.dim)
    assert vector.dtype == np.float32
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)


def test_the_same_photo_gives_the_same_vector_and_size_matters_little() -> None:
    large, small = picture(3, (1200, 900)), picture(3, (400, 300))
    first = ENCODER.preprocess(large)
    np.testing.assert_array_equal(first, ENCODER.preprocess(large.copy()))
    assert first @ ENCODER.preprocess(small) > first @ ENCODER.preprocess(picture(4, (400, 300)))
    assert first @ ENCODER.preprocess(small) > 0.95


def test_the_fingerprint_moves_with_the_decode_mode_only() -> None:
    def fingerprint(**options: object) -> str:
        return load_encoder(EncoderSettings(**options)).fingerprint

    assert fingerprint() == fingerprint(batch_size=1, precision="bf16", decode_workers=7)
    assert fingerprint() != fingerprint(decode_mode="full")


def test_it_has_no_text_tower() -> None:
    assert not ENCODER.reads_text
    with pytest.raises(EncoderError, match="no text tower"):
        ENCODER.encode_text(["a dog"])


def test_nearest_neighbours_of_real_photos_are_mostly_of_their_scene(real_data: Path, tmp_path: Path) -> None:
    """A fifth of the photos, no training: far above what the most frequent scene would give."""
    lines = (real_data / "labels.jsonl").read_text().splitlines()
    scenes = {record["path"]: record["scene"] for record in map(json.loads, lines)}  # the last line for a path is the photo's
    paths = sorted(scenes)[::5]
    photos = [reference(real_data / path) for path in paths]
    rows = embed_photos(photos, ENCODER, settings=EncoderSettings(), cache_dir=tmp_path, progress=False)
    assert rows["reason"].null_count() == len(paths)
    vectors = np.array(rows["embedding"].to_list())
    truth = np.array([scenes[path] for path in paths])
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -1)
    hits = (truth[cosines.argmax(1)] == truth).mean()
    majority = np.unique(truth, return_counts=True)[1].max() / len(truth)
    assert hits > majority + 0.25
