from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from tests.names.faces import GOOD, picture, write_index
from vibe_assets.names.chips import Face, cut, cut_chips, load_detector, square
from vibe_assets.names.index import NameIndexError, index_shard
from vibe_assets.photos.decode import PhotoRejected
from vibe_assets.sections import LibrarySettings, NameSettings

SETTINGS = NameSettings(shards=1, chip_px=48)


def chips(root: Path, out: Path, settings: NameSettings = SETTINGS) -> pl.DataFrame:
    return cut_chips(index_shard(root, "shard-00", settings), out, settings, limits=LibrarySettings(), progress=False)


def test_the_square_is_the_longer_side_with_its_margin_around_the_middle() -> None:
    assert square((100, 50, 140, 130), 0.5) == (60, 30, 120)


def test_what_lies_outside_the_photo_is_mirrored_without_repeating_the_edge() -> None:
    ramp = np.repeat(np.arange(10, dtype=np.uint8)[None, :, None] * 20, 10, axis=0).repeat(3, axis=2)
    chip = np.asarray(cut(Image.fromarray(ramp), (0, 4, 4, 8), 0.5))  # columns -1..4
    assert chip.shape == (6, 6, 3)
    assert (chip[0, :, 0] // 20).tolist() == [1, 0, 1, 2, 3, 4]
    padded = np.pad(ramp, ((20, 20), (20, 20), (0, 0)), mode="reflect")
    wide = np.asarray(cut(Image.fromarray(ramp), (-10, -10, 20, 20), 0.0))
    assert (wide == padded[10:40, 10:40]).all()


def test_a_box_beside_the_photo_is_refused() -> None:
    with pytest.raises(PhotoRejected, match="outside"):
        cut(Image.new("RGB", (40, 40)), (100, 100, 120, 120), 0.5)


def test_boxes_are_in_pixels_of_the_upright_photo(tmp_path: Path) -> None:
    upright = Image.new("RGB", (64, 100), "white")
    upright.paste("red", (8, 60, 40, 92))
    exif = Image.Exif()
    exif[0x0112] = 6
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    write_index(tmp_path, "anna", {"turned.jpg": {"score": 0.99, "bbox_xyxy": [8, 60, 40, 92], "src_hw": [100, 64]}})
    rows = chips(tmp_path, tmp_path / "out", NameSettings(shards=1, chip_px=48, margin=0.0))
    pixels = np.asarray(Image.open(rows["path"][0]))
    assert pixels.shape == (48, 48, 3)
    assert (pixels[4:-4, 4:-4, 0] > 240).all()
    assert (pixels[4:-4, 4:-4, 1] < 20).all()


def test_a_chip_is_cut_once_and_its_row_is_the_same_the_second_time(tmp_path: Path) -> None:
    picture(tmp_path / "0.jpg", 0)
    write_index(tmp_path, "anna", {"0.jpg": GOOD})
    first = chips(tmp_path, tmp_path / "out")
    made = Path(first["path"][0])
    before = made.stat().st_mtime_ns
    assert chips(tmp_path, tmp_path / "out").equals(first)
    assert made.stat().st_mtime_ns == before
    assert chips(tmp_path, tmp_path / "out", NameSettings(shards=1, chip_px=32))["path"][0] != first["path"][0]


def test_photos_that_cannot_be_read_are_rows_with_a_reason(tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    (tmp_path / "empty.jpg").write_bytes(b"")
    picture(tmp_path / "far.jpg", 2)
    far = {"score": 0.99, "bbox_xyxy": [900, 900, 980, 980], "src_hw": [1000, 1000]}
    write_index(tmp_path, "anna", {"broken.jpg": GOOD, "empty.jpg": GOOD, "far.jpg": far})
    assert chips(tmp_path, tmp_path / "out")["reason"].to_list() == ["unreadable", "empty", "outside"]


class TwoFacesInWidePhotos:
    """A detector for the test: one face in square photos, two in wide ones, none in tall ones."""

    def detect(self, image: Image.Image) -> list[Face]:
        count = 1 if image.width == image.height else 2 if image.width > image.height else 0
        return [Face((4, 4, 44, 44), 0.95)] * count


def test_a_detector_can_be_plugged_in_for_photos_without_boxes(tmp_path: Path) -> None:
    for at, size in enumerate(((64, 64), (96, 64), (64, 96))):
        picture(tmp_path / "faces" / "anna" / f"{at}.jpg", at, size=size)
    name = f"{__name__}:{TwoFacesInWidePhotos.__name__}"
    rows = chips(tmp_path / "faces", tmp_path / "out", NameSettings(shards=1, chip_px=48, detector=name))
    assert rows["reason"].to_list() == [None, "multi_face", "no_face"]
    strict = NameSettings(shards=1, chip_px=48, detector=name, min_score=0.96)
    assert chips(tmp_path / "faces", tmp_path / "out", strict)["reason"][0] == "low_score", "a chip of laxer filters is no answer"
    with pytest.raises(NameIndexError, match=r"names\.detector"):
        load_detector("nothing.like:this")
