"""Measures mean what their units say, and the hash sees likeness, not bytes."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter

from tests.photos.library import picture
from vibe_assets.photos.decode import open_photo
from vibe_assets.photos.hashes import informative
from vibe_assets.photos.quality import measure, perceptual_hash


def bits_between(one: Image.Image, other: Image.Image) -> int:
    return (int(perceptual_hash(one), 16) ^ int(perceptual_hash(other), 16)).bit_count()


def test_black_white_and_half_are_measured_as_such() -> None:
    assert measure(Image.new("RGB", (64, 64), "black")).exposure == 0
    assert measure(Image.new("RGB", (64, 64), "white")).exposure == 1
    halves = Image.new("RGB", (64, 64), "black")
    halves.paste("white", (0, 0, 32, 64))
    assert (measure(halves).exposure, measure(halves).contrast) == (0.5, 0.5)
    assert measure(halves).colourfulness == 0


def test_a_checkerboard_has_the_laplacian_variance_of_the_formula() -> None:
    board = np.indices((64, 64)).sum(axis=0) % 2 * 255
    image = Image.fromarray(board.astype(np.uint8)).convert("RGB")
    assert measure(image).sharpness == pytest.approx((4 * 255) ** 2)


def test_colourfulness_grows_with_saturation() -> None:
    scores = [measure(ImageEnhance.Color(picture(1)).enhance(factor)).colourfulness for factor in (0, 0.5, 1, 2)]
    assert scores == sorted(scores)
    assert scores[0] < 1


def test_size_beyond_512_px_does_not_change_the_measures_much() -> None:
    large = measure(picture(1, (2048, 1536)))
    small = measure(picture(1, (512, 384)))
    assert large.exposure == pytest.approx(small.exposure, abs=0.01)
    assert large.contrast == pytest.approx(small.contrast, abs=0.01)
    assert large.colourfulness == pytest.approx(small.colourfulness, rel=0.02)


@pytest.mark.parametrize("size", [(1, 1), (2, 5), (3000, 1)])
def test_tiny_and_narrow_pictures_are_measured(size: tuple[int, int]) -> None:
    assert measure(Image.new("RGB", size, "red")).sharpness == 0
    assert len(perceptual_hash(Image.new("RGB", size, "red"))) == 16


def test_sharp_photos_score_above_blurred_ones_of_the_same_scene(real_data: Path) -> None:
    for folder in ("106_NIKON-D3400-35MM", "176_HONOR-7X"):
        scores = {
            path.stem.rsplit("_", 1)[-1]: measure(open_photo(path, draft_px=512).image).sharpness
            for path in (real_data / "series" / folder).iterdir()
        }
        assert scores["S"] > scores["F"]
        assert scores["S"] > scores["M"]


def test_the_hash_survives_compression_scaling_and_light() -> None:
    image = picture(5, (400, 300))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=30)
    for copy in (
        Image.open(buffer),
        image.resize((100, 75)),
        ImageEnhance.Brightness(image).enhance(0.8),
        image.filter(ImageFilter.GaussianBlur(2)),
    ):
        assert bits_between(image, copy.convert("RGB")) <= 6
    assert bits_between(image, picture(6, (400, 300))) > 16


def test_flat_and_striped_pictures_have_hashes_that_say_little() -> None:
    stripes = Image.fromarray(np.tile(np.arange(0, 256, 4, dtype=np.uint8), (64, 1))).convert("RGB")
    flat = [Image.new("RGB", (64, 64), colour) for colour in ("black", "white", "navy")]
    assert not any(informative(int(perceptual_hash(image), 16)) for image in [*flat, stripes])
    assert all(informative(int(perceptual_hash(picture(seed)), 16)) for seed in range(50))
