"""What decoding accepts, how it turns every kind of picture into upright RGB, and what it refuses before it costs memory."""

from __future__ import annotations

import hashlib
import io
import itertools
import os
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps
from pillow_heif import from_pillow

from tests.photos.library import bomb_png, picture, save
from vibe_assets.photos import mend
from vibe_assets.photos.decode import UPRIGHT, Decoded, PhotoRejected, open_photo, thumbnail_markdown
from vibe_assets.settings import LibrarySettings


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


# -- files that a strict decoder refuses, although the picture is there ------------------------------------------------
def close(photo: Decoded, wanted: Image.Image, *, mean: float = 1.0) -> bool:
    return np.abs(np.asarray(photo.image, dtype=float) - np.asarray(wanted.convert("RGB"), dtype=float)).mean() <= mean


def far_apart(photo: Decoded, wanted: Image.Image) -> float:
    return float(np.abs(np.asarray(photo.image, dtype=float) - np.asarray(wanted.convert("RGB"), dtype=float)).max())


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("draft_px", [None, 60])
@pytest.mark.parametrize("tail", [b"", bytes(4096), b"\xff"])
def test_a_jpeg_that_lacks_its_end_alone_is_the_same_picture(progressive: bool, mode: str, draft_px: int | None, tail: bytes) -> None:
    file = stored(picture(4, (203, 151)).convert(mode), "JPEG", progressive=progressive).getvalue()
    whole = open_photo(io.BytesIO(file), draft_px=draft_px)
    photo = open_photo(io.BytesIO(file[:-2] + tail), draft_px=draft_px)
    assert photo.image.tobytes() == whole.image.tobytes()
    assert (photo.stored, photo.width, photo.height) == (1, 203, 151)
    assert (whole.mended, open_photo(io.BytesIO(file[:-2])).mended) == (False, True)


@pytest.mark.parametrize("missing", [3, 20, 500, 4000])
def test_a_plain_jpeg_that_was_cut_is_refused_however_little_is_missing(missing: int) -> None:
    file = stored(noise(), "JPEG", quality=95).getvalue()
    with pytest.raises(PhotoRejected, match="truncated"):
        open_photo(io.BytesIO(file[:-missing]))


@pytest.mark.parametrize("padding", [0, 4096])
def test_zeros_that_end_a_picture_are_not_taken_for_padding(padding: int) -> None:
    """The last blocks of a flat colour are coded in zeros alone."""
    ends = set()
    for seed in range(40):
        flat = np.full((24, 16 * seed + 16, 3), 120, np.uint8)
        flat[:8, :8] = np.random.default_rng(seed).integers(0, 256, (8, 8, 3))
        for optimize in (False, True):
            file = stored(Image.fromarray(flat), "JPEG", optimize=optimize).getvalue()
            body = file[:-2]
            zeros = len(body) - len(body.rstrip(b"\0"))
            ends.add(zeros)
            if zeros <= (2 if padding else mend.OWN_ZEROS):
                photo = open_photo(io.BytesIO(body + bytes(padding)))
                assert photo.image.tobytes() == open_photo(io.BytesIO(file)).image.tobytes()
                assert photo.stored == 1
    assert {0, 1, 27} <= ends


def test_a_progressive_jpeg_may_be_cut_at_any_byte_after_its_colours_came() -> None:
    file = stored(picture(5, (40, 32)), "JPEG", progressive=True, quality=60).getvalue()
    scans = scans_of(file)
    shares = []
    for cut in range(scans[1], len(file)):
        photo = open_photo(io.BytesIO(file[:cut]))
        assert photo.image.size == (40, 32)
        shares.append(photo.stored)
    assert shares == sorted(shares)
    assert shares[-1] == 1


def noise() -> Image.Image:
    return Image.fromarray(np.random.default_rng(1).integers(0, 256, (160, 200, 3), dtype=np.uint8))


def scans_of(file: bytes) -> list[int]:
    """Where the scans of a JPEG begin."""
    return [at for at in range(len(file)) if file[at : at + 2] == b"\xff\xda"]


def test_a_progressive_jpeg_that_was_cut_shows_what_it_holds_and_says_how_much() -> None:
    wanted = picture(4, (200, 160))
    file = stored(wanted, "JPEG", progressive=True, quality=95).getvalue()
    scans = [*scans_of(file), len(file)]
    assert len(scans) == 11
    with pytest.raises(PhotoRejected, match="truncated"):  # the first scan is what every other refines
        open_photo(io.BytesIO(file[: (scans[0] + scans[1]) // 2]))
    shares = []
    for start, end in itertools.pairwise(scans[1:]):
        photo = open_photo(io.BytesIO(file[: (start + end) // 2]))
        assert close(photo, wanted, mean=30)
        assert photo.mended
        shares.append(photo.stored)
    assert shares == sorted(shares)
    assert 0 < shares[0] < 0.05
    assert 0.5 < shares[-1] <= 1
    assert close(photo, wanted, mean=3)
    assert far_apart(open_photo(io.BytesIO(file[: scans[-1] - 2])), open_photo(io.BytesIO(file)).image) == 0


def test_a_jpeg_whose_colours_never_came_is_refused() -> None:
    """Scans of one component each, as some encoders write them without being progressive."""
    file = stored(picture(4, (200, 160)), "JPEG", progressive=True).getvalue()
    scans = scans_of(file)
    sequential = file[: scans[0]].replace(b"\xff\xc2", b"\xff\xc0")
    assert mend.jpeg_share(sequential + b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00" + b"\x12" * 50, last_whole=True) is None
    every = b"".join(b"\xff\xda\x00\x08\x01" + bytes([part]) + b"\x00\x00\x3f\x00" + b"\x12" * 50 for part in (1, 2, 3))
    assert mend.jpeg_share(sequential + every, last_whole=True) == 1
    assert mend.jpeg_share(sequential + every, last_whole=False) is None


@given(st.binary(max_size=400))
def test_no_junk_upsets_the_search_for_what_is_there(junk: bytes) -> None:
    share = mend.jpeg_share(mend.JPEG + junk, last_whole=True)
    assert share is None or 0 < share <= 1
    assert mend.sound_png(mend.PNG + junk).startswith(mend.PNG)


def chunk(kind: bytes, data: bytes, *, crc: int | None = None) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data) if crc is None else crc)


LARGE = zlib.compress(bytes(9_000_000))
ODD_CHUNKS = {
    "large zTXt": chunk(b"zTXt", b"Comment\0\0" + LARGE), "large iTXt": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + LARGE),
    "large iCCP": chunk(b"iCCP", b"ICC\0\0" + LARGE), "broken iCCP": chunk(b"iCCP", b"ICC\0\0junk"),
    "70 MB of texts": b"".join(chunk(b"zTXt", b"C\0\0" + zlib.compress(bytes(1_000_000))) for _ in range(70)),
    "tIME with a wrong sum": chunk(b"tIME", bytes(7), crc=1), "tEXt with a wrong sum": chunk(b"tEXt", b"a\0b", crc=1),
    "pHYs with a wrong sum": chunk(b"pHYs", bytes(9), crc=1), "gAMA that is too short": chunk(b"gAMA", b"1"),
    "chunk of nobody's with a wrong sum": chunk(b"vpAg", bytes(9), crc=1),
}  # fmt: skip


@pytest.mark.parametrize("odd", ODD_CHUNKS)
@pytest.mark.parametrize("where", ["before", "after"])
def test_a_png_is_not_refused_for_what_no_pixel_needs(odd: str, where: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    file = stored(picture(1), "PNG", exif=exif).getvalue()
    at = 33 if where == "before" else len(file) - 12
    photo = open_photo(io.BytesIO(file[:at] + ODD_CHUNKS[odd] + file[at:]))
    assert (photo.orientation, photo.width, photo.height, photo.frames) == (6, 64, 96, 1)
    assert photo.image.tobytes() == picture(1).transpose(Image.Transpose.ROTATE_270).tobytes()


def test_a_png_with_odd_chunks_that_lacks_pixels_or_has_a_broken_head_stays_refused() -> None:
    file, odd = stored(noise(), "PNG").getvalue(), ODD_CHUNKS["large zTXt"]
    for data in (file[:33] + odd + file[33 : len(file) // 2], file[:20] + b"\1" + file[21:33] + odd + file[33:]):
        with pytest.raises(PhotoRejected):
            open_photo(io.BytesIO(data))


def test_a_bitmap_without_its_file_header_is_a_bitmap() -> None:
    photo = decoded(picture(1), "DIB")
    assert photo.format == "BMP"
    assert far_apart(photo, picture(1)) == 0


# -- TIFF ----------------------------------------------------------------------------------------------------------------
COLOURS = np.asarray(picture(6, (64, 48)))  # (h, w, 3) uint8
GREYS = COLOURS[..., 0]
RGB, GREY, WHITE = {"photometric": "rgb"}, {"photometric": "minisblack"}, {"photometric": "miniswhite"}
PLANES = RGB | {"planarconfig": "separate"}
ALPHA = {"extrasamples": ["unassalpha"]}
HALF = np.full_like(GREYS, 128)


def planes(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(values, -1, 0))


TIFFS: dict[str, tuple[np.ndarray, dict[str, object]]] = {  # values as stored
    "big-endian BigTIFF": (COLOURS, RGB | {"bigtiff": True, "byteorder": ">"}),
    "big-endian BigTIFF, LZW": (COLOURS, RGB | {"bigtiff": True, "byteorder": ">", "compression": "lzw"}),
    "big-endian BigTIFF, 16 bit": (COLOURS * np.uint16(257), RGB | {"bigtiff": True, "byteorder": ">"}),
    "little-endian BigTIFF": (COLOURS, RGB | {"bigtiff": True}),
    "float colours": ((COLOURS / 255).astype("f4"), RGB), "half floats": ((COLOURS / 255).astype("f2"), RGB),
    "double colours": ((COLOURS / 255).astype("f8"), RGB), "float colours 0..255": (COLOURS.astype("f4"), RGB),
    "float colours, predicted": ((COLOURS / 255).astype("f4"), RGB | {"compression": "zlib", "predictor": 3}),
    "float planes": (planes((COLOURS / 255).astype("f4")), PLANES),
    "WebP": (COLOURS, RGB | {"compression": "webp", "compressionargs": {"lossless": True}}),
    "WebP in tiles": (COLOURS, RGB | {"compression": "webp", "compressionargs": {"lossless": True}, "tile": (32, 32)}),
    "LERC": (COLOURS, RGB | {"compression": "lerc"}), "LERC, float": ((COLOURS / 255).astype("f4"), RGB | {"compression": "lerc"}),
    "planes of 16 bit": (planes(COLOURS * np.uint16(257)), PLANES),
    "planes of 16 bit, big-endian": (planes(COLOURS * np.uint16(257)), PLANES | {"byteorder": ">"}),
    "planes of 16 bit, LZW": (planes(COLOURS * np.uint16(257)), PLANES | {"compression": "lzw", "predictor": True}),
    "planes of 8 bit": (planes(COLOURS), PLANES),
    "16 bit": (COLOURS * np.uint16(257), RGB), "32 bit": (COLOURS * np.uint32(16_843_009), RGB),
    "grey of 32 bit": (GREYS * np.uint32(16_843_009), GREY),
    "grey of 32 bit, big-endian": (GREYS * np.uint32(16_843_009), GREY | {"byteorder": ">"}),
    "grey, double": ((GREYS / 255).astype("f8"), GREY), "grey, LERC": (GREYS, GREY | {"compression": "lerc"}),
    "white is 0, 16 bit": (65535 - GREYS * np.uint16(257), WHITE), "white is 0, 32 bit": (~(GREYS * np.uint32(16_843_009)), WHITE),
    "white is 0, 8 bit": (255 - GREYS, WHITE), "white is 0, float": (1 - (GREYS / 255).astype("f4"), WHITE),
}  # fmt: skip


def tiff_file(values: np.ndarray, **options: object) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, values, metadata=None, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", TIFFS)
def test_a_tiff_of_any_kind_shows_its_values(kind: str) -> None:
    values, options = TIFFS[kind]
    photo = open_photo(io.BytesIO(tiff_file(values, **options)))
    wanted = Image.fromarray(COLOURS if options["photometric"] == "rgb" else GREYS)
    assert (photo.format, photo.width, photo.height, photo.frames) == ("TIFF", 64, 48, 1)
    assert far_apart(photo, wanted) <= 1


@pytest.mark.parametrize("kind", [kind for kind in TIFFS if "WebP" not in kind])
def test_a_tiff_of_any_kind_that_was_cut_is_refused(kind: str) -> None:
    values, options = TIFFS[kind]
    file = tiff_file(np.tile(values, (1, 4, 1) if options.get("planarconfig") else (4,) + (1,) * (values.ndim - 1)), **options)
    for kept in (0.5, 0.95):
        with pytest.raises(PhotoRejected) as caught:
            open_photo(io.BytesIO(file[: int(len(file) * kept)]))
        assert caught.value.reason in ("truncated", "unreadable")


def test_a_tiff_without_width_or_of_another_meaning_is_refused() -> None:
    file = bytearray(tiff_file((COLOURS / 255).astype("f4"), **RGB))
    with tifffile.TiffFile(io.BytesIO(file)) as known:
        width, meaning = (known.pages[0].tags[tag].valueoffset for tag in (256, 262))
    for at, value in ((width, 0), (meaning, 32803)):
        odd = file.copy()
        odd[at : at + 2] = struct.pack("<H", value)
        for draft_px in (None, 64):
            with pytest.raises(PhotoRejected, match="unreadable"):
                open_photo(io.BytesIO(bytes(odd)), draft_px=draft_px)


def test_transparency_of_odd_tiffs_is_laid_over_white() -> None:
    wanted = [round((value * 128 + 255 * 127) / 255) for value in COLOURS[0, 0].tolist()]
    both = np.dstack([COLOURS, HALF])
    for values, options in ((both * np.uint16(257), RGB), ((both / 255).astype("f4"), RGB), (planes(both * np.uint16(257)), PLANES)):
        photo = open_photo(io.BytesIO(tiff_file(values, **options, **ALPHA)))
        assert photo.image.getpixel((0, 0)) == pytest.approx(wanted, abs=2)
    photo = open_photo(io.BytesIO(tiff_file(np.dstack([GREYS, HALF]) * np.uint16(257), **GREY, **ALPHA)))
    assert photo.image.getpixel((0, 0)) == pytest.approx([wanted[0]] * 3, abs=2)


def test_a_huge_tiff_is_refused_before_memory_is_taken_whoever_reads_it() -> None:
    odd = tiff_file(np.zeros((2000, 3000, 3), "f4"), compression="zlib", **RGB)
    with pytest.raises(PhotoRejected, match="too_many_pixels") as caught:
        open_photo(io.BytesIO(odd), max_pixels=5_999_999)
    assert caught.value.size == (3000, 2000)
    many = tiff_file(np.zeros((200, 300, 20), "f8"), compression="zlib", photometric="minisblack", planarconfig="contig")
    with pytest.raises(PhotoRejected, match="too_many_pixels"):
        open_photo(io.BytesIO(many), max_pixels=60_000)


@pytest.mark.parametrize("kind", ["plain", "float", "planes"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_tiffs_are_turned_once(kind: str, orientation: int) -> None:
    """800 x 400 for those who look at it: red top left, green top right, blue bottom left, white bottom right."""
    wanted = np.zeros((40, 80, 3), np.uint8)
    wanted[:20, :40], wanted[:20, 40:], wanted[20:, :40], wanted[20:, 40:] = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
    backwards = {6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}.get(orientation, UPRIGHT.get(orientation))
    image = Image.fromarray(wanted)
    values = np.asarray(image.transpose(backwards) if backwards is not None else image)
    values = {"plain": values, "float": values / np.float32(255), "planes": planes(values * np.uint16(257))}[kind]
    options = PLANES if kind == "planes" else RGB
    photo = open_photo(io.BytesIO(tiff_file(values, extratags=[(274, 3, 1, orientation, True)], **options)))
    assert (photo.orientation, photo.width, photo.height) == (orientation, 80, 40)
    assert far_apart(photo, image) <= 1


@pytest.mark.parametrize("bits", range(9, 16))
@pytest.mark.parametrize("colours", [False, True])
def test_a_tiff_of_9_to_15_bits_keeps_the_range_of_its_samples(bits: int, colours: bool) -> None:
    most = (1 << bits) - 1
    values = np.round((COLOURS if colours else GREYS) / 255 * most).astype(np.uint16)
    for options in ({}, {} if colours else {"photometric": "miniswhite"}):
        shown = most - values if options else values
        photo = open_photo(io.BytesIO(tiff_file(shown, **(RGB if colours else GREY) | options, bitspersample=bits)))
        assert far_apart(photo, Image.fromarray(COLOURS if colours else GREYS)) <= 1
        assert photo.mended


def test_signed_bytes_of_a_tiff_keep_the_range_of_their_type() -> None:
    photo = open_photo(io.BytesIO(tiff_file((GREYS.astype(int) - 128).astype(np.int8), **GREY)))
    assert far_apart(photo, Image.fromarray(GREYS)) == 0


@pytest.mark.parametrize("values", [COLOURS, COLOURS / np.float32(255)])
def test_the_first_full_page_of_a_tiff_counts_not_a_reduced_copy_of_it(values: np.ndarray) -> None:
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as pages:
        pages.write(values[::4, ::4].copy(), subfiletype=1, extratags=[(274, 3, 1, 6, True)], **RGB)
        pages.write(values, extratags=[(274, 3, 1, 3, True)], **RGB)
    photo = open_photo(io.BytesIO(file.getvalue()))
    assert (photo.width, photo.height, photo.frames, photo.orientation, photo.mended) == (64, 48, 2, 3, True)
    assert far_apart(photo, Image.fromarray(COLOURS).transpose(Image.Transpose.ROTATE_180)) <= 1
    with pytest.raises(PhotoRejected, match="too_many_pixels"):
        open_photo(io.BytesIO(file.getvalue()), max_pixels=1000)
    only = tiff_file(values[::4, ::4].copy(), subfiletype=1, **RGB)
    assert open_photo(io.BytesIO(only)).width == 16


def png_file(values: np.ndarray, kind: int, *, before: bytes = b"", adler: bytes | None = None) -> bytes:
    """A PNG of rows of samples (uint8, or uint16 of big-endian order), without help of the library that reads it."""
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    pixels = zlib.compress(rows)
    pixels = pixels if adler is None else pixels[:-4] + adler
    head = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 8 * values.dtype.itemsize, kind, 0, 0, 0)
    half = len(pixels) // 2
    parts = (chunk(b"IDAT", pixels[:half]), chunk(b"IDAT", pixels[half:]))
    return mend.PNG + chunk(b"IHDR", head) + before + b"".join(parts) + chunk(b"IEND", b"")


def test_a_transparent_grey_of_16_bits_is_laid_over_white() -> None:
    values = np.array([[0, 257, 32896, 32897]], ">u2")
    assert levels(open_photo(io.BytesIO(png_file(values, 0, before=chunk(b"tRNS", struct.pack(">H", 32896)))))) == [[0, 1, 255, 128]]


def test_a_png_is_not_refused_for_a_short_trns_or_a_wrong_checksum_of_whole_pixels() -> None:
    wanted = Image.fromarray(COLOURS)
    for file in (png_file(COLOURS, 2, before=chunk(b"tRNS", b"\0")), png_file(COLOURS, 2, adler=bytes(4))):
        photo = open_photo(io.BytesIO(file))
        assert far_apart(photo, wanted) == 0
        assert photo.mended
    broken = png_file(COLOURS, 2, adler=bytes(4))
    at = broken.index(b"IDAT") + 20
    with pytest.raises(PhotoRejected, match=r"unreadable|truncated"):
        open_photo(io.BytesIO(broken[:at] + b"\xff\xff\xff" + broken[at + 3 :]))


def test_a_few_stray_bytes_before_a_jpeg_are_passed_over() -> None:
    file = stored(picture(1), "JPEG").getvalue()
    for stray in (b"\n", b"\r\n", b"\0\0\0\0"):
        photo = open_photo(io.BytesIO(stray + file))
        assert photo.image.tobytes() == open_photo(io.BytesIO(file)).image.tobytes()
        assert photo.mended
        assert open_photo(io.BytesIO(stray + file[:-2])).mended
    with pytest.raises(PhotoRejected, match="unsupported_format"):
        open_photo(io.BytesIO(b"stray" + file))


# -- more pixels than others -------------------------------------------------------------------------------------------
def test_a_jpeg_may_have_twice_the_pixels_where_a_smaller_picture_will_do() -> None:
    file = stored(picture(2, (400, 300)), "JPEG").getvalue()
    for draft_px in (64, 300, 10_000, None):
        photo = open_photo(io.BytesIO(file), max_pixels=60_000, draft_px=draft_px)
        assert (photo.width, photo.height) == (400, 300)
        assert min(draft_px or 200, 200) <= max(photo.image.size) <= 200
    for limit, draft_px in ((59_999, 64), (59_999, None)):
        with pytest.raises(PhotoRejected, match="too_many_pixels") as caught:
            open_photo(io.BytesIO(file), max_pixels=limit, draft_px=draft_px)
        assert caught.value.size == (400, 300)
    with pytest.raises(PhotoRejected, match="too_many_pixels"):
        open_photo(stored(picture(2, (400, 300)), "PNG"), max_pixels=119_999, draft_px=64)


def test_the_photo_of_a_phone_with_200_megapixels_is_read_by_default_and_a_jpeg_bomb_is_not() -> None:
    buffer = io.BytesIO()
    Image.new("L", (16_320, 12_240), 90).save(buffer, "JPEG")  # grey: a fifth of the time that the test would take
    photo = open_photo(io.BytesIO(buffer.getvalue()), draft_px=512)
    assert (photo.width, photo.height) == (16_320, 12_240)
    assert photo.image.size == (680, 510)  # an eighth, and a third of that
    at = buffer.getvalue().index(b"\xff\xc0")
    bomb = buffer.getvalue()[: at + 5] + struct.pack(">HH", 65_000, 65_000) + buffer.getvalue()[at + 9 :]
    with pytest.raises(PhotoRejected, match="too_many_pixels") as caught:
        open_photo(io.BytesIO(bomb), draft_px=512)
    assert caught.value.size == (65_000, 65_000)


def test_what_the_scan_accepts_under_the_library_s_limits_everything_after_it_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vibe_assets.encoders import engine
    from vibe_assets.evaluate.gallery import thumbnails
    from vibe_assets.names.chips import _made
    from vibe_assets.photos import decode
    from vibe_assets.records import PhotoRef
    from vibe_assets.settings import Settings
    from vibe_assets.teacher.images import encode_for_teacher
    from vibe_assets.vlm.lora import read_picture

    told = {"library": {"root": tmp_path, "max_pixels": 60_000, "max_bytes": 50_000}, "teacher": {"max_side_px": 0}}
    settings = Settings.model_validate(told)
    limits, path = settings.library, save(tmp_path / "p.jpg")
    picture(2, (400, 300)).save(path)  # twice the pixels, as a JPEG may have
    ref = PhotoRef(hashlib.sha256(path.read_bytes()).hexdigest()[:32], os.fsencode(path), "p.jpg")
    assert encode_for_teacher(path, settings.teacher, library=limits).mime == "image/jpeg"
    assert engine._picture(ref, None, limits).size == (200, 150)
    row = {"x0": 40, "y0": 60, "x1": 360, "y1": 240}
    chip = _made(path.read_bytes(), row, settings.names, limits, None)
    whole = _made(path.read_bytes(), row, settings.names, LibrarySettings.model_validate({}), None)
    assert np.abs(np.asarray(chip, dtype=float) - np.asarray(whole, dtype=float)).mean() < 4  # the same face

    raised = LibrarySettings(max_pixels=120_000, max_bytes=50_000)  # and what only a raised limit accepts
    monkeypatch.setattr(decode.open_photo, "__kwdefaults__", decode.open_photo.__kwdefaults__ | {"max_pixels": 1000, "max_bytes": 1000})
    picture(2, (400, 300)).save(tmp_path / "p.png")
    assert thumbnails({"a": tmp_path / "p.png"}) == thumbnails({"a": tmp_path / "p.png"}, library=limits) == {}
    assert list(thumbnails({"a": tmp_path / "p.png"}, library=LibrarySettings(max_pixels=120_000, max_bytes=500_000))) == ["a"]
    assert list(thumbnails({"a": path}, library=raised)) == ["a"]
    assert read_picture(str(path), 64, raised).size == (64, 48)
    assert thumbnail_markdown([path], library=raised)
