"""When, where and with what a photo was taken, and what junk is read as."""

from __future__ import annotations

import io
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from vibe_assets.photos.decode import open_photo
from vibe_assets.photos.exif import Exif, read_exif

DATE, OFFSET, FRACTION = 0x9003, 0x9011, 0x9291


def exif_of(base: dict[int, Any] | None = None, details: dict[int, Any] | None = None, place: dict[int, Any] | None = None) -> Exif:
    """What is read back from a JPEG that was written with these entries."""
    tags = Image.Exif()
    tags.update(base or {})
    tags.get_ifd(0x8769).update(details or {})
    tags.get_ifd(0x8825).update(place or {})
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, "JPEG", exif=tags)
    return read_exif(Image.open(buffer))


def position(latitude: Any, north: Any, longitude: Any, east: Any) -> tuple[float | None, float | None]:
    found = exif_of(place={1: north, 2: latitude, 3: longitude and east, 4: longitude})
    return found.latitude, found.longitude


def test_known_cameras_are_read(real_data: Path) -> None:
    folder = real_data / "exif" / "exif_samples" / "jpg"
    nikon = open_photo(folder / "gps" / "DSCN0010.jpg").exif
    assert nikon.taken_at == datetime(2008, 10, 22, 16, 28, 39)
    assert nikon.latitude == pytest.approx(43.46745, abs=1e-4)
    assert nikon.longitude == pytest.approx(11.88513, abs=1e-4)
    assert nikon.camera == "NIKON COOLPIX P6000"
    assert open_photo(folder / "Canon_40D.jpg").exif.taken_at == datetime(2008, 5, 30, 15, 56, 1)
    assert open_photo(folder / "Canon_40D.jpg").exif.camera == "Canon EOS 40D"
    assert open_photo(folder / "Nikon_D70.jpg").exif.camera == "NIKON D70"


def test_every_gps_sample_has_its_place_and_most_samples_their_time(real_data: Path) -> None:
    folder = real_data / "exif" / "exif_samples"
    assert all(open_photo(path, draft_px=64).exif.latitude is not None for path in (folder / "jpg" / "gps").iterdir())
    taken = [open_photo(path, draft_px=64).exif.taken_at for path in folder.rglob("*") if path.is_file()]
    assert sum(moment is not None for moment in taken) >= 0.6 * len(taken)


def test_the_original_time_wins_and_brings_its_offset_and_fraction() -> None:
    found = exif_of(
        {0x0132: "2020:01:01 00:00:00"}, {DATE: "2019:07:03 10:11:12", 0x9004: "2019:07:04 00:00:00", OFFSET: "-03:30", FRACTION: "25"}
    )
    assert found.taken_at == datetime(2019, 7, 3, 10, 11, 12, 250_000)
    assert found.offset_min == -210


def test_later_times_stand_in_for_a_missing_one() -> None:
    assert exif_of({0x0132: "2020:01:01 00:00:00"}).taken_at == datetime(2020, 1, 1)
    assert exif_of({0x0132: "2020:01:01 00:00:00"}, {DATE: "0000:00:00 00:00:00", 0x9004: "2019:07:04 00:00:01"}).taken_at == datetime(
        2019, 7, 4, 0, 0, 1
    )
    assert exif_of({0x0132: "2020:01:01 00:00:00"}, {OFFSET: "+02:00", 0x9010: "+05:45"}).offset_min == 345


@pytest.mark.parametrize(
    "text", ["0000:00:00 00:00:00", "    :  :     :  :  ", "", "\0" * 19, "2019:13:40 99:99:99", "yesterday", "2019:07:03"]
)
def test_times_that_are_none_are_unknown(text: str) -> None:
    assert exif_of(details={DATE: text}).taken_at is None


@pytest.mark.parametrize(
    ("text", "minutes"), [("+09:00", 540), ("Z", 0), ("-00:30", -30), ("+99:00", None), ("   :  ", None), ("CEST", None)]
)
def test_offsets(text: str, minutes: int | None) -> None:
    assert exif_of(details={DATE: "2019:07:03 10:11:12", OFFSET: text}).offset_min == minutes


def test_positions_take_their_sign_from_the_hemisphere() -> None:
    here = (40.0, 30.0, 36.0)
    assert position(here, "N", here, "E") == pytest.approx((40.51, 40.51))
    assert position(here, "S", here, "W") == pytest.approx((-40.51, -40.51))


@pytest.mark.parametrize(
    ("latitude", "north"),
    [((91.0, 0.0, 0.0), "N"), ((IFDRational(1, 0), 0.0, 0.0), "N"), ((10.0, 0.0, 0.0), "X"), ((10.0, 0.0, 0.0), "")],
)
def test_impossible_positions_are_unknown(latitude: Any, north: str) -> None:
    assert position(latitude, north, (10.0, 0.0, 0.0), "E") == (None, None)


@pytest.mark.parametrize(
    ("latitude", "degrees"),
    [
        ((48.0, 53.0, IFDRational(0, 0)), 48 + 53 / 60), ((IFDRational(488833, 10000), IFDRational(0, 0), IFDRational(0, 0)), 48.8833),
        ((48.0, IFDRational(0, 0), 36.0), None), ((48.0, 53.0, IFDRational(1, 0)), None),
        ((IFDRational(0, 0), IFDRational(0, 0), IFDRational(0, 0)), None),
    ],
)  # fmt: skip
def test_seconds_of_nothing_by_nothing_are_no_seconds(latitude: Any, degrees: float | None) -> None:
    found = position(latitude, "N", (10.0, 0.0, 0.0), "E")
    assert found == ((None, None) if degrees is None else pytest.approx((degrees, 10.0)))


def test_a_camera_without_a_fix_is_not_off_africa() -> None:
    assert position((0.0, 0.0, 0.0), "N", (0.0, 0.0, 0.0), "E") == (None, None)


@pytest.mark.parametrize(
    ("maker", "model", "camera"),
    [
        ("NIKON CORPORATION", "NIKON D70", "NIKON D70"), ("Canon", "Canon EOS 40D", "Canon EOS 40D"), 
        ("Apple", "iPhone 15", "Apple iPhone 15"), ("EASTMAN KODAK COMPANY", "KODAK DC240", "KODAK DC240"),
        ("OLYMPUS  OPTICAL CO.,LTD\0\0", " C960Z ", "OLYMPUS OPTICAL CO.,LTD C960Z"), ("", "D70", "D70"), ("Canon", "", "Canon"),
        ("", "", None),
        ("\n\x07", "\0", None),
    ],
)  # fmt: skip
def test_the_maker_is_named_once(maker: str, model: str, camera: str | None) -> None:
    assert exif_of({0x010F: maker, 0x0110: model}).camera == camera


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_impossible_orientations_are_upright(value: int) -> None:
    assert exif_of({0x0112: value}).orientation == 1


@settings(max_examples=150)
@given(st.binary(max_size=120), st.sampled_from([b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08", b""]))
def test_no_junk_raises(junk: bytes, head: bytes) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, "JPEG", exif=b"Exif\0\0" + head + junk)
    photo = open_photo(io.BytesIO(buffer.getvalue()))
    assert 1 <= photo.exif.orientation <= 8
