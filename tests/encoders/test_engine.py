"""The pipeline: order, duplicates, failures as rows, orientation, resumption after a kill."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from tests.encoders.models import picture, reference, write_photos
from vibe_assets.encoders.base import Encoder, EncoderError, load_encoder
from vibe_assets.encoders.engine import embed_photos, embed_prompts, prepare
from vibe_assets.encoders.handcrafted import HandcraftedEncoder
from vibe_assets.records import IMAGE_EMBEDDINGS, PROMPT_EMBEDDINGS, PhotoRef
from vibe_assets.settings import EncoderSettings, LibrarySettings

SETTINGS = EncoderSettings(batch_size=4, decode_workers=2)


class Counting(HandcraftedEncoder):
    """The real encoder, counting the photos that reach the model and the most that came at once."""

    def __init__(self, **options: str) -> None:
        super().__init__(**options)
        self.encoded, self.largest = 0, 0

    def encode(self, batch: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
        self.encoded += len(batch)
        self.largest = max(self.largest, len(batch))
        return super().encode(batch)


def embed(photos: Sequence[PhotoRef], cache: Path, encoder: Encoder | None = None, **options: object) -> pl.DataFrame:
    return embed_photos(photos, encoder or Counting(), settings=SETTINGS, cache_dir=cache, progress=False, **options)


def matrix(rows: pl.DataFrame) -> np.ndarray:
    return np.array(rows["embedding"].to_list(), dtype=np.float32)


def test_rows_have_the_tables_schema_and_the_order_of_the_photos(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", 11)
    photos = photos[::-1]
    encoder = Counting()
    rows = embed(photos, tmp_path / "cache", encoder)
    schema = {name: dtype for name, dtype in IMAGE_EMBEDDINGS.polars_schema().items() if name != "folder_key"}
    assert dict(rows.schema) == schema
    assert rows["image_id"].to_list() == [photo.image_id for photo in photos]
    assert rows["encoder"].unique().to_list() == [encoder.fingerprint]
    assert rows["reason"].null_count() == len(photos)
    assert encoder.largest == SETTINGS.batch_size
    for photo, vector in zip(photos, matrix(rows), strict=True):
        expected = encoder.preprocess(Image.open(photo.path.decode()).convert("RGB"))
        np.testing.assert_allclose(vector, expected, atol=1e-5)


def test_no_photos_give_no_rows(tmp_path: Path) -> None:
    assert embed([], tmp_path).height == 0


def test_the_same_photo_twice_is_encoded_once_and_keeps_both_rows(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", 3)
    copy = dataclasses.replace(photos[0], rel_path="elsewhere.jpg")
    encoder = Counting()
    rows = embed([*photos, copy], tmp_path / "cache", encoder)
    assert encoder.encoded == 3
    assert rows.height == 4
    assert rows["embedding"][0].to_list() == rows["embedding"][3].to_list()


def test_a_copy_stands_in_for_a_photo_that_cannot_be_read(tmp_path: Path) -> None:
    photo = write_photos(tmp_path / "photos", 1)[0]
    gone = dataclasses.replace(photo, path=str(tmp_path / "gone.jpg").encode())
    assert embed([gone, photo], tmp_path / "cache")["reason"].to_list() == [None, None]


def test_a_second_run_computes_nothing_and_gives_the_same_vectors(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", 9)
    first = embed(photos, tmp_path / "cache", flush_photos=2)
    again = Counting()
    assert embed(photos, tmp_path / "cache", again).equals(first)
    assert again.encoded == 0


def test_another_decode_mode_shares_no_vectors(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", 2)
    embed(photos, tmp_path / "cache")
    full = Counting(decode_mode="full")
    embed(photos, tmp_path / "cache", full)
    assert full.encoded == 2


def test_bad_photos_are_rows_with_a_reason_and_are_tried_again(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", 3)
    whole = Path(photos[1].path.decode()).read_bytes()
    torn = tmp_path / "photos" / "torn.jpg"
    torn.write_bytes(whole[: len(whole) // 2])
    text = tmp_path / "photos" / "text.jpg"
    text.write_text("not a photo")
    gone = PhotoRef("0" * 32, str(tmp_path / "gone.jpg").encode(), "gone.jpg")
    listed = [photos[0], reference(torn), reference(text), gone, photos[2]]
    rows = embed(listed, tmp_path / "cache")
    assert rows["reason"].to_list() == [None, "truncated", "unsupported_format", "io_error", None]
    assert rows["embedding"].is_null().to_list() == [False, True, True, True, False]
    assert rows.filter(pl.col("reason").is_not_null())["detail"].null_count() == 0

    torn.write_bytes(whole)
    rows = embed([photos[0], reference(torn)], tmp_path / "cache", again := Counting())
    assert rows["reason"].to_list() == [None, None]
    assert again.encoded == 1


def test_bytes_that_changed_since_the_scan_are_not_cached_under_the_old_name(tmp_path: Path) -> None:
    photo = write_photos(tmp_path / "photos", 1)[0]
    before = embed([photo], tmp_path / "elsewhere")
    original = Path(photo.path.decode()).read_bytes()
    picture(99).save(photo.path.decode())
    assert embed([photo], tmp_path / "cache")["reason"].to_list() == ["changed_since_scan"]
    Path(photo.path.decode()).write_bytes(original)
    assert embed([photo], tmp_path / "cache").equals(before)


def test_limits_of_the_library_apply(tmp_path: Path) -> None:
    photo = write_photos(tmp_path / "photos", 1)[0]
    rows = embed([photo], tmp_path / "cache", limits=LibrarySettings(max_pixels=1000))
    assert rows["reason"].to_list() == ["too_many_pixels"]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_are_turned_upright_before_they_are_embedded(orientation: int, tmp_path: Path) -> None:
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Image.Transpose that stores an upright picture under this orientation
    upright = picture(7, (160, 120))
    stored = upright.transpose(Image.Transpose(undo[orientation])) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "turned.png", exif=exif)
    vector = matrix(embed([reference(tmp_path / "turned.png")], tmp_path / "cache"))[0]
    np.testing.assert_allclose(vector, Counting().preprocess(upright), atol=1e-6)


def test_a_panorama_is_not_drafted_below_the_models_input(siglip: Path, tmp_path: Path) -> None:
    picture(1, (4000, 250)).save(tmp_path / "wide.jpg", quality=95)
    photo = reference(tmp_path / "wide.jpg")
    pixels = []
    for mode in ("draft", "full"):
        encoder = load_encoder(EncoderSettings(name=f"siglip:{siglip}", decode_mode=mode, precision="fp32", device="cpu"))
        array = prepare([photo], encoder, LibrarySettings())
        assert isinstance(array, np.ndarray)
        pixels.append(array.astype(float))
    assert np.abs(pixels[0] - pixels[1]).mean() < 2  # grey levels


def test_vectors_that_are_not_finite_are_refused_and_not_cached(tmp_path: Path) -> None:
    class Broken(Counting):
        def encode(self, batch: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
            vectors = super().encode(batch).copy()
            vectors[0, 3], vectors[1, :] = np.nan, 0
            return vectors

    photos = write_photos(tmp_path / "photos", 4)
    rows = embed(photos, tmp_path / "cache", Broken())
    assert rows["reason"].to_list() == ["non_finite", "non_finite", None, None]
    assert embed(photos, tmp_path / "cache", healthy := Counting())["reason"].null_count() == 4
    assert healthy.encoded == 2


def test_what_was_encoded_before_the_model_failed_is_kept(tmp_path: Path) -> None:
    class Failing(Counting):
        def encode(self, batch: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
            if self.encoded >= 4:
                raise EncoderError("the device has no memory")
            return super().encode(batch)

    photos = write_photos(tmp_path / "photos", 10)
    with pytest.raises(EncoderError, match="no memory"):
        embed(photos, tmp_path / "cache", Failing())
    embed(photos, tmp_path / "cache", healthy := Counting())
    assert healthy.encoded == 6


def test_decoding_never_runs_more_than_two_batches_ahead(tmp_path: Path) -> None:
    class Watching(Counting):
        decoded = 0
        most_ahead = 0

        def preprocess(self, image: Image.Image) -> np.ndarray:
            self.decoded += 1
            return super().preprocess(image)

        def encode(self, batch: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
            time.sleep(0.05)
            self.most_ahead = max(self.most_ahead, self.decoded - self.encoded)
            return super().encode(batch)

    encoder = Watching()
    embed(write_photos(tmp_path / "photos", 48), tmp_path / "cache", encoder)
    # the batch at hand, the window of two batches and a photo for each thread
    assert SETTINGS.batch_size < encoder.most_ahead <= 3 * SETTINGS.batch_size + 2 * SETTINGS.decode_workers


KILLED = """
import os, sys, time
from pathlib import Path
from tests.encoders.models import reference
from tests.encoders.test_engine import SETTINGS, Counting
from vibe_assets.encoders.engine import embed_photos

class Slow(Counting):
    def encode(self, batch):
        vectors = super().encode(batch)
        time.sleep(0.1)
        return vectors

photos = [reference(path) for path in sorted(Path(sys.argv[1]).iterdir())]
embed_photos(photos, Slow(), settings=SETTINGS, cache_dir=Path(sys.argv[2]), progress=False, flush_photos=8)
"""


def test_after_a_kill_only_what_is_missing_is_computed(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", 60)
    cache = tmp_path / "cache"
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path / "photos"), str(cache)], cwd=Path(__file__).parents[2])
    try:
        deadline = time.monotonic() + 60
        while len(list(cache.rglob("[!.]*.parquet"))) < 3:
            assert process.poll() is None, "the run ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    saved = sum(pl.read_parquet(shard).height for shard in cache.rglob("[!.]*.parquet"))
    assert 24 <= saved < 60
    rows = embed(photos, cache, after := Counting())
    assert after.encoded == 60 - saved
    assert rows["reason"].null_count() == 60
    np.testing.assert_array_equal(matrix(rows), matrix(embed(photos, tmp_path / "fresh")))


def test_prompts_become_one_row_each_with_the_models_temperature(siglip: Path) -> None:
    encoder = load_encoder(EncoderSettings(name=f"siglip:{siglip}", precision="fp32", device="cpu"))
    prompts = {"scene.animals": ["a photo of a dog", "a photo of a cat"], "scene.document": ["a document"], "scene.other": []}
    rows = embed_prompts(encoder, prompts)
    assert dict(rows.schema) == PROMPT_EMBEDDINGS.polars_schema()
    assert rows["label"].to_list() == ["scene.animals", "scene.animals", "scene.document"]
    assert rows["logit_bias"].unique().to_list() == pytest.approx([-7.7])
    np.testing.assert_allclose(matrix(rows), encoder.encode_text(rows["prompt"].to_list()), atol=1e-6)


def test_an_encoder_without_a_text_tower_gives_no_prompt_rows() -> None:
    rows = embed_prompts(HandcraftedEncoder(), {"scene.animals": ["a dog"]})
    assert rows.height == 0
    assert dict(rows.schema) == PROMPT_EMBEDDINGS.polars_schema()
