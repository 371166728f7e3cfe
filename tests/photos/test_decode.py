"""What decoding accepts, how it turns every kind of picture into upright RGB, and what it refuses before it costs memory."""

from __future__ import annotations

import io
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from pillow_heif import from_pillow

from tests.photos.library import bomb_png, picture, save
from vibe_assets.photos.decode import Decoded, PhotoRejected, open_photo, thumbnail_markdown


def stored(image: Image.Image, format: str, **options: object) -> io.BytesIO:
    buffer = io.BytesIO()
    if format == "HEIF":  # what decodes it for the product cannot write it
        from_pillow(image).save(buffer, **options)
    else:
        image.save(buffer, format, **options)
    return io.BytesIO(buffer.getvalue())


def decoded(image: Image.Image, format: str, **options: object) -> Decoded:
    return open_photo(stored(image, format, **options))


def grey(values: list[list[float]], dtype: str) -> Image.Image:
    return Image.fromarray(np.array(values, dtype=dtype))


def levels(photo: Decoded) -> list[list[int]]:
    return np.asarray(photo.image)[..., 0].tolist()


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF", "HEIF"])
def test_every_listed_format_is_decoded_to_nearly_the_same_picture(format: str) -> None:
    photo = decoded(picture(1), format)
    assert (photo.format, photo.image.mode, photo.image.size, photo.frames) == (format, "RGB", (96, 64), 1)
    assert np.abs(np.asarray(photo.image, dtype=float) - np.asarray(picture(1), dtype=float)).mean() < 12


@pytest.mark.parametrize("format", ["EPS", "PPM", "TGA", "ICO", "PCX", "JPEG2000"])
def test_other_formats_are_refused_although_the_library_could_read_them(format: str) -> None:
    with pytest.raises(PhotoRejected, match="unsupported_format"):
        decoded(picture(1), format)


def test_paths_may_be_text_bytes_or_paths(tmp_path: Path) -> None:
    path = save(tmp_path / "p.png")
    pictures = [open_photo(source).image.tobytes() for source in (path, str(path), os.fsencode(path), path.open("rb"))]
    assert len(set(pictures)) == 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("draft_px", [None, 32])
def test_pictures_come_upright(orientation: int, draft_px: int | None) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = stored(picture(3, (160, 96)), "JPEG", exif=exif, quality=95)
    photo = open_photo(io.BytesIO(file.getvalue()), draft_px=draft_px)
    upright = ImageOps.exif_transpose(Image.open(file)).resize(photo.image.size)
    assert photo.orientation == orientation
    assert (photo.width, photo.height) == ((160, 96) if orientation < 5 else (96, 160))
    assert np.abs(np.asarray(photo.image, dtype=float) - np.asarray(upright, dtype=float)).mean() < 8


def test_all_eight_orientations_of_a_photo_show_the_same(real_data: Path) -> None:
    for kind in ("Landscape", "Portrait"):
        folder = real_data / "exif" / "exif_orientation"
        photos = [open_photo(folder / f"{kind}_{orientation}.jpg", draft_px=256) for orientation in range(1, 9)]
        assert [photo.orientation for photo in photos] == list(range(1, 9))
        assert len({photo.image.size for photo in photos}) == 1
        first, *others = [np.asarray(photo.image.resize((64, 64)), dtype=float) for photo in photos]
        assert max(np.abs(first - other).mean() for other in others) < 8


def test_sixteen_bit_greys_are_rescaled_not_clipped() -> None:
    assert levels(decoded(grey([[0, 32896, 65535]], "uint16"), "PNG")) == [[0, 128, 255]]
    assert levels(decoded(grey([[0, 32896, 65535]], "uint16"), "TIFF")) == [[0, 128, 255]]
    assert levels(decoded(grey([[0, 32896, 65535]], ">u2"), "TIFF")) == [[0, 128, 255]]


def test_other_greys_keep_the_range_that_their_values_suggest() -> None:
    assert levels(decoded(grey([[0, 0.5, 1]], "float32"), "TIFF")) == [[0, 128, 255]]
    assert levels(decoded(grey([[0, 100, 255]], "float32"), "TIFF")) == [[0, 100, 255]]
    assert levels(decoded(grey([[-10, 0, 10]], "float32"), "TIFF")) == [[0, 128, 255]]
    assert levels(decoded(grey([[0, np.nan, 1]], "float32"), "TIFF")) == [[0, 0, 255]]
    assert levels(decoded(grey([[0, 257, 65535]], "int32"), "TIFF")) == [[0, 1, 255]]
    assert levels(decoded(grey([[7, 7]], "int32"), "TIFF")) == [[7, 7]]
    assert levels(decoded(grey([[-7, -7]], "int32"), "TIFF")) == [[0, 0]]
    assert levels(decoded(grey([[-3e38, 3e38]], "float32"), "TIFF")) == [[0, 255]]


def test_transparency_is_laid_over_white() -> None:
    clear = Image.new("RGBA", (4, 4), (200, 0, 0, 0))
    half = Image.new("RGBA", (4, 4), (0, 0, 0, 128))
    assert decoded(clear, "PNG").image.getpixel((0, 0)) == (255, 255, 255)
    assert decoded(half, "PNG").image.getpixel((0, 0)) == (127, 127, 127)
    assert decoded(half.convert("LA"), "PNG").image.getpixel((0, 0)) == (127, 127, 127)
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    assert decoded(palette, "PNG", transparency=1).image.getpixel((0, 0)) == (255, 255, 255)
    assert decoded(palette, "PNG", transparency=0).image.getpixel((0, 0)) == (10, 20, 30)
    assert decoded(palette, "GIF", transparency=1).image.getpixel((0, 0)) == (255, 255, 255)
    assert decoded(Image.new("L", (4, 4), 9), "PNG", transparency=9).image.getpixel((0, 0)) == (255, 255, 255)


def test_cmyk_and_two_level_pictures_become_rgb() -> None:
    assert decoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG").image.getpixel((4, 4))[0] > 200
    assert decoded(Image.new("1", (4, 4), 1), "PNG").image.getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_the_first_frame_of_an_animation_counts_and_frames_are_told(format: str) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "lime", "blue")]
    photo = decoded(frames[0], format, save_all=True, append_images=frames[1:])
    assert photo.frames == 3
    assert photo.image.getpixel((8, 8))[0] > 200


def test_a_huge_picture_in_a_small_file_is_refused_before_memory_is_taken() -> None:
    file = bomb_png(60_000, 60_000)
    assert len(file) < 25_000
    for content, limit in ((file, 120_000_000), (bomb_png(13_000, 13_000), 120_000_000), (bomb_png(200, 100), 19_999)):
        tracemalloc.start()
        with pytest.raises(PhotoRejected, match="too_many_pixels"):
            open_photo(io.BytesIO(content), max_pixels=limit)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 5_000_000


def test_the_pixel_limit_may_be_raised_above_the_library_s_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert decoded(picture(1), "PNG").image.size == (96, 64)


def test_more_bytes_than_allowed_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "p.png")
    size = path.stat().st_size
    assert open_photo(path, max_bytes=size).width == 96
    for source in (path, io.BytesIO(path.read_bytes())):
        with pytest.raises(PhotoRejected, match="too_many_bytes"):
            open_photo(source, max_bytes=size - 1)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF", "HEIF"])
@pytest.mark.parametrize("draft_px", [None, 32])
def test_truncated_files_are_refused_in_every_format(format: str, draft_px: int | None) -> None:
    whole = stored(picture(2, (200, 150)), format).getvalue()
    with pytest.raises(PhotoRejected) as caught:
        open_photo(io.BytesIO(whole[: len(whole) // 2]), draft_px=draft_px)
    assert caught.value.reason in ("truncated", "unreadable")


def test_what_cannot_be_read_says_why(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("hello")
    for name, reason in {"gone.jpg": "io_error", "pipe.jpg": "io_error", "empty.jpg": "empty", "text.jpg": "unsupported_format"}.items():
        with pytest.raises(PhotoRejected) as caught:
            open_photo(tmp_path / name)
        assert caught.value.reason == reason


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
@pytest.mark.parametrize("size", [(800, 450), (450, 800), (333, 100), (3000, 7)])
@pytest.mark.parametrize("draft_px", [96, 350, 10_000])
def test_a_draft_is_smaller_but_never_below_what_was_asked(format: str, size: tuple[int, int], draft_px: int) -> None:
    photo = open_photo(stored(picture(1, size), format), draft_px=draft_px)
    assert min(draft_px, max(size)) <= max(photo.image.size) <= max(size)
    assert max(photo.image.size) <= max(2 * draft_px, max(size) // 8 + 1)
    assert (photo.width, photo.height) == size


def test_thumbnails_are_inline_pictures_and_bad_files_are_left_out(tmp_path: Path) -> None:
    paths = [save(tmp_path / f"{seed} [x](y).png", seed) for seed in range(4)]
    (tmp_path / "bad.jpg").write_bytes(b"bad")
    text = thumbnail_markdown([tmp_path / "bad.jpg", tmp_path / "gone.jpg", os.fsencode(paths[0]), *paths[1:]], px=32, most=2)
    assert text.count("](data:image/jpeg;base64,") == 2
    assert "![0 _x__y_.png]" in text
    assert thumbnail_markdown([]) == ""
