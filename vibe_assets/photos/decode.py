"""A photo file goes in; an upright RGB picture comes out, or a PhotoRejected that says why not."""

# ruff: noqa: PTH122, PTH123 -- paths are bytes here, and pathlib takes text only
from __future__ import annotations

import base64
import html
import io
import os
import stat
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from PIL import ExifTags, Image

from vibe_assets.errors import UserError
from vibe_assets.photos import mend, tiff
from vibe_assets.photos.exif import Exif, read_exif
from vibe_assets.storage import is_url

if TYPE_CHECKING:
    from vibe_assets.settings import LibrarySettings  # for types only: every worker would pay for the import

FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "BMP", "TIFF", "GIF", "HEIF", "AVIF")
OPENERS = (*(name for name in FORMATS if name != "MPO"), "DIB")  # Pillow's JPEG reader tells MPO apart by itself; DIB: BMP without a head
DECODED_SUFFIXES = frozenset({
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".bmp", ".dib", ".tif", ".tiff", ".gif", ".heic", ".heif", ".heics",
    ".heifs", ".hif", ".avif", ".avifs",
})  # fmt: skip
OTHER_IMAGE_SUFFIXES = frozenset({  # pictures that are listed and counted, but not decoded
    ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".srf", ".sr2", ".dng", ".raf", ".orf", ".rw2", ".rwl", ".pef", ".srw", ".x3f", ".3fr",
    ".raw", ".psd", ".svg", ".jp2", ".j2k", ".jpf", ".jxl", ".ico", ".tga", ".ppm", ".pgm", ".pnm", ".eps",
})  # fmt: skip
MAX_PIXELS = 120_000_000
MAX_BYTES = 200_000_000
JPEG_PIXELS = 2  # times as many pixels as other formats may have: a draft of half the size or less is cheap (a phone's 200 megapixels)
STRAY = 4  # bytes that may precede a JPEG
VALUES_AT_ONCE = 1 << 22  # that are floats at one time while they become bytes
ORIENTATION = ExifTags.Base.Orientation
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90,
}  # fmt: skip


class PhotoRejected(UserError, ValueError):
    """A file that cannot be used. `reason` is a short code, `detail` is for people; the size in pixels where it was reached."""

    def __init__(self, reason: str, detail: str, size: tuple[int, int] | None = None) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail, self.size = reason, detail, size

    def __reduce__(self) -> tuple[type, tuple[str, str, tuple[int, int] | None]]:
        return PhotoRejected, (self.reason, self.detail, self.size)  # crosses process borders


@dataclass(frozen=True)
class Decoded:
    """A picture ready to use, and what the file said about it."""

    image: Image.Image  # RGB, upright, first frame
    format: str  # one of FORMATS
    frames: int  # 1 for stills
    orientation: int  # EXIF 1..8 as stored; already applied to `image`
    width: int  # full size of the upright picture, whatever draft_px was
    height: int
    exif: Exif
    stored: float = 1.0  # share of the picture that a cut file holds, see jpeg_share
    mended: bool = False  # a plain decoder refuses the file's own bytes, or shows other values


def suffix(name: bytes) -> str:
    """Lowercase extension with its dot, '' without one."""
    text = os.path.splitext(name)[1].decode("ascii", "replace").lower()
    return "" if text == "." else text


def looks_decodable(name: bytes) -> bool:
    """Worth opening by its name: a known extension, or none at all."""
    return suffix(name) in DECODED_SUFFIXES or suffix(name) == ""


def looks_like_image(name: bytes) -> bool:
    return looks_decodable(name) or suffix(name) in OTHER_IMAGE_SUFFIXES


@cache
def _prepare() -> None:
    """Load every Pillow plugin (an allow-list only works on loaded ones) and add HEIC."""
    import pi_heif

    pi_heif.register_heif_opener()
    Image.init()


def read_photo(path: str | bytes | Path, *, max_bytes: int = MAX_BYTES) -> bytes:
    """Bytes of a regular file, or of the object that an URL names. Raises PhotoRejected (too_many_bytes, empty, io_error).

    A pipe or device is never waited for, and of an object no more than `max_bytes` and one are asked for.
    """
    data = _object_bytes(os.fsencode(path), max_bytes) if is_url(path) else _file_bytes(path, max_bytes)
    if len(data) > max_bytes:  # a file that grew while it was read
        raise PhotoRejected("too_many_bytes", f"more than {max_bytes} bytes")
    if not data:
        raise PhotoRejected("empty", "the file has no bytes")
    return data


def _object_bytes(url: bytes, max_bytes: int) -> bytes:
    from vibe_assets.storage.objects import read_object

    try:
        return read_object(url, most=max_bytes + 1)
    except OSError as error:
        raise PhotoRejected("io_error", error.strerror or str(error)) from error


def _file_bytes(path: str | bytes | Path, max_bytes: int) -> bytes:
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with open(handle, "rb") as file:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                raise PhotoRejected("io_error", "not a regular file")
            if status.st_size > max_bytes:
                raise PhotoRejected("too_many_bytes", f"{status.st_size} bytes, at most {max_bytes} are allowed")
            return file.read(max_bytes + 1)
    except OSError as error:
        raise PhotoRejected("io_error", error.strerror or str(error)) from error


def open_photo(
    source: str | bytes | Path | BinaryIO, *, max_pixels: int = MAX_PIXELS, max_bytes: int = MAX_BYTES, draft_px: int | None = None
) -> Decoded:
    """Decode the first frame as upright RGB. `source` is a path (bytes are a path, too) or a binary file.

    `draft_px`: the picture may come smaller than it is, but not below `draft_px` on its longest side (if it ever was as large):
    JPEG is scaled by 1/2, 1/4 or 1/8 while it is decoded, others are box-averaged by a whole factor. A JPEG may have twice
    `max_pixels`; one that has more than `max_pixels` comes at half its size or less, draft or not. Transparency is laid over white;
    16-bit and float values are rescaled to 8 bit; CMYK and others are converted. What a progressive JPEG that was cut holds is shown as
    long as it covers the whole picture. Raises PhotoRejected: unsupported_format, unreadable, truncated, too_many_pixels,
    too_many_bytes, empty, out_of_memory, io_error.
    """
    if isinstance(source, str | bytes | Path):
        data = read_photo(source, max_bytes=max_bytes)
    else:
        data = source.read(max_bytes + 1)
        if len(data) > max_bytes:
            raise PhotoRejected("too_many_bytes", f"more than {max_bytes} bytes")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"PIL\.")  # junk in metadata; what matters ends as a reason
            try:
                return _plainly(data, max_pixels, draft_px)
            except PhotoRejected as rejected:
                return _once_more(data, rejected, max_pixels, draft_px)
    except MemoryError as error:
        raise PhotoRejected("out_of_memory", "not enough memory to decode it") from error


def open_accepted(source: str | bytes | Path | BinaryIO, library: LibrarySettings | None, *, draft_px: int | None = None) -> Decoded:
    """`open_photo` under the limits of the library that accepted the photo: what a scan accepts, everything that follows can read."""
    caps = {"max_pixels": library.max_pixels, "max_bytes": library.max_bytes} if library is not None else {}
    return open_photo(source, draft_px=draft_px, **caps)


def fits(format: str | None, width: int, height: int, max_pixels: int) -> bool:
    """Whether a picture of this size is decoded."""
    return width * height <= max_pixels * (JPEG_PIXELS if format in ("JPEG", "MPO") else 1)


def _plainly(data: bytes, max_pixels: int, draft_px: int | None) -> Decoded:
    with _opened(data, max_pixels) as image:
        if image.format != "TIFF":
            return _decode(image, draft_px, max_pixels)
        exif = read_exif(image)
        turned = _to_full_page(image)
        if not fits("TIFF", *image.size, max_pixels):
            raise _too_large(*image.size, max_pixels)
        if tiff.misread(image):
            return _tiff(data, max_pixels, draft_px, exif)
        photo = _decode(image, draft_px, max_pixels)
        return replace(photo, exif=replace(exif, orientation=photo.orientation), mended=True) if turned else photo


def _to_full_page(image: Image.Image) -> bool:
    try:
        return tiff.to_full_page(image)
    except Exception as error:  # any type on junk
        raise PhotoRejected("unreadable", _said(error), image.size) from error


def _once_more(data: bytes, rejected: PhotoRejected, max_pixels: int, draft_px: int | None) -> Decoded:
    """Decode what Pillow refused, where the picture is there all the same. Raises PhotoRejected, mostly `rejected` itself."""
    damaged = rejected.reason in ("unreadable", "truncated")
    if damaged and data.startswith(mend.PNG) and (sound := mend.sound_png(data)) != data:
        return replace(_plainly(sound, max_pixels, draft_px), mended=True)
    if damaged and data.startswith(tiff.MAGIC):
        try:
            return _tiff(data, max_pixels, draft_px, Exif())
        except PhotoRejected as again:
            raise (again if again.reason == "too_many_pixels" else rejected) from None
    if rejected.reason == "unsupported_format" and (start := data.find(mend.JPEG, 0, STRAY + len(mend.JPEG))) > 0:
        return replace(open_photo(io.BytesIO(data[start:]), max_pixels=max_pixels, max_bytes=len(data), draft_px=draft_px), mended=True)
    if rejected.reason == "truncated" and data.startswith(mend.JPEG):
        best: Decoded | None = None
        for ended, noisy in mend.ended_jpegs(data):
            try:
                photo, other = (_plainly(one, max_pixels, draft_px) for one in (ended, noisy))
            except PhotoRejected:
                continue
            stored = mend.jpeg_share(data, last_whole=photo.image.tobytes() == other.image.tobytes())
            if stored is not None and (best is None or stored > best.stored):
                best = replace(photo, stored=stored, mended=True)
        if best is not None:
            return best
    raise rejected


def _tiff(data: bytes, max_pixels: int, draft_px: int | None, exif: Exif) -> Decoded:
    """By tifffile. Raises PhotoRejected."""
    try:
        found = tiff.read_tiff(data, max_pixels=max_pixels)
        values = _eight_bit(found.values)
    except tiff.TooLarge as error:
        width, height = error.args[:2]
        raise _too_large(width, height, max_pixels) from error
    except MemoryError:
        raise
    except Exception as error:  # any type on junk, as with Pillow
        raise PhotoRejected("truncated" if isinstance(error, EOFError) else "unreadable", _said(error)) from error
    height, width = values.shape[:2]
    orientation = found.orientation if found.orientation in range(1, 9) else 1
    image = Image.fromarray(values)
    rgb = _to_rgb(_reduced(image, draft_px))
    if orientation in UPRIGHT:
        rgb = rgb.transpose(UPRIGHT[orientation])
    size = (height, width) if orientation >= 5 else (width, height)
    return Decoded(rgb, "TIFF", found.pages, orientation, *size, replace(exif, orientation=orientation), mended=True)


def _too_large(width: int, height: int, max_pixels: int) -> PhotoRejected:
    return PhotoRejected("too_many_pixels", f"{width} x {height}, at most {max_pixels} pixels are allowed", (width, height))


def _opened(data: bytes, max_pixels: int) -> Image.Image:
    """The header parsed and its size checked; no pixel is decoded yet."""
    _prepare()
    if not data:
        raise PhotoRejected("empty", "the file has no bytes")
    Image.MAX_IMAGE_PIXELS = None  # Pillow's own ceiling must not undercut the setting, which is applied to the same header below
    try:
        image = Image.open(io.BytesIO(data), formats=OPENERS)
    except Image.UnidentifiedImageError as error:
        if _claims_to_be_image(data[:16].ljust(16, b"\0")):
            raise PhotoRejected("unreadable", "starts like a picture, but its header is damaged") from error
        raise PhotoRejected("unsupported_format", f"not one of {', '.join(FORMATS)}") from error
    except MemoryError:
        raise
    except Exception as error:  # decoders raise struct.error, SyntaxError, OverflowError ... on junk
        raise PhotoRejected("unreadable", _said(error)) from error
    if not fits(image.format, *image.size, max_pixels):
        raise _too_large(*image.size, max_pixels)
    if min(image.size) < 1:
        raise PhotoRejected("unreadable", f"no pixels: {image.width} x {image.height}")
    return image


def _claims_to_be_image(prefix: bytes) -> bool:
    for name in OPENERS:
        accept = Image.OPEN[name][1] if name in Image.OPEN else None  # a Pillow built without AVIF has no such entry
        if accept is not None and accept(prefix) is True:
            return True
    return False


def _decode(image: Image.Image, draft_px: int | None, max_pixels: int) -> Decoded:
    size = image.size
    if image.format == "PNG":  # its EXIF may follow the pixels; reading it first would hide a truncated file
        frames = _frames(image)
        _load(image)
        exif = read_exif(image)
    else:  # TIFF closes its file after loading, with the EXIF unread
        frames, exif = _frames(image), read_exif(image)
        wanted = [] if draft_px is None else [draft_px]
        if size[0] * size[1] > max_pixels:  # a JPEG, or it would have been refused
            wanted.append(max(size) // 2)
        if wanted and image.format in ("JPEG", "MPO"):
            image.draft(None, _draft_size(size, min(wanted)))
        _load(image)
    orientation = exif.orientation
    turned = (
        image.format == "TIFF" and orientation > 1 and ORIENTATION not in image.getexif()
    )  # some releases of Pillow turn TIFF by themselves
    if turned:
        size = image.size
    clipped = _more_than_8_bit(image)
    rgb = _to_rgb(_reduced(image, draft_px))
    if orientation in UPRIGHT and not turned:
        rgb = rgb.transpose(UPRIGHT[orientation])
    width, height = reversed(size) if orientation >= 5 and not turned else size
    return Decoded(rgb, "BMP" if image.format == "DIB" else str(image.format), frames, orientation, width, height, exif, mended=clipped)


def _frames(image: Image.Image) -> int:
    try:
        return int(getattr(image, "n_frames", 1))
    except Exception as error:
        raise PhotoRejected("unreadable", _said(error), image.size) from error


def _load(image: Image.Image) -> None:
    size = image.size
    try:
        image.load()
    except MemoryError:
        raise
    except Exception as error:
        reason = "truncated" if "truncated" in str(error).lower() or isinstance(error, EOFError) else "unreadable"
        raise PhotoRejected(reason, _said(error), size) from error


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:300]


def _draft_size(size: tuple[int, int], draft_px: int) -> tuple[int, int]:
    """What to ask the JPEG decoder for: it picks the smallest of 1, 1/2, 1/4, 1/8 that covers both sides."""
    scale = min(1.0, draft_px / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _reduced(image: Image.Image, draft_px: int | None) -> Image.Image:
    """Box-average by a whole factor before any conversion makes a large picture larger."""
    factor = max(image.size) // draft_px if draft_px else 1
    if factor < 2 or image.mode not in ("L", "LA", "RGB", "RGBA", "CMYK", "YCbCr"):
        return image
    return image.reduce(factor)


def _more_than_8_bit(image: Image.Image) -> bool:
    """Whether it has greys that a plain convert() clips to white."""
    return image.mode.startswith("I") or image.mode == "F"


def _to_rgb(image: Image.Image) -> Image.Image:
    if _more_than_8_bit(image):
        values, clear = np.asarray(image), image.info.get("transparency")
        levels = _eight_bit(values)
        image = Image.fromarray(levels if clear is None else np.where(values == clear, np.uint8(255), levels))
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        picture = image.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        white.alpha_composite(picture)
        image = white
    return image.convert("RGB") if image.mode != "RGB" else image


def _eight_bit(values: np.ndarray) -> np.ndarray:
    """Values of any type as uint8, in their shape; a plain convert() would clip them all to white.

    Unsigned values and signed bytes keep the range of their type; of floats, other signed values and 32 bits that are hardly used, the
    range that the values suggest (0..1, 0..255, 0..65535) is kept where one fits; otherwise the least becomes black, the most white.
    """
    if values.dtype == np.uint8:
        return values
    if values.dtype == np.int8:
        return values.view(np.uint8) ^ np.uint8(128)
    unsigned = values.dtype.itemsize if values.dtype.kind == "u" else 0  # bytes
    if unsigned == 2 and values.ndim == 3:
        return (values >> 8).astype(np.uint8)  # as Pillow does
    rows = max(1, VALUES_AT_ONCE * len(values) // max(1, values.size))
    parts = [slice(start, start + rows) for start in range(0, len(values), rows)]
    low = min(float(_finite(values[part]).min()) for part in parts)
    high = max(float(_finite(values[part]).max()) for part in parts)
    if unsigned == 4 and high >= 1 << 24:
        low, high = 0.0, 2.0**32
    elif unsigned == 2 or (low >= 0 and 255 < high <= 65535):
        low, high = 0.0, 65535.0
    elif low >= 0 and high <= 1 and values.dtype.kind == "f":
        low, high = 0.0, 1.0
    elif low >= 0 and high <= 255:
        low, high = 0.0, 255.0
    levels = np.empty(values.shape, np.uint8)
    for part in parts:
        scaled = _finite(values[part]) - np.float32(low)
        scaled *= 255 / (high - low) if high > low else 0.0
        levels[part] = np.rint(scaled, out=scaled)
    return levels


def _finite(values: np.ndarray) -> np.ndarray:
    """As float32, differences of which stay finite."""
    with np.errstate(over="ignore"):
        values = np.nan_to_num(values.astype(np.float32), copy=False, posinf=0, neginf=0)
    return np.clip(values, -1e30, 1e30, out=values)


def thumbnail_markdown(paths: Iterable[str | bytes | Path], px: int = 96, most: int = 12, *, library: LibrarySettings | None = None) -> str:
    """Inline Markdown images (data: URLs, JPEG) of the first `most` readable photos, for metadata that people look at."""
    images: list[str] = []
    for path in paths:
        if len(images) == most:
            break
        try:
            picture = open_accepted(path, library, draft_px=px).image
        except PhotoRejected:
            continue  # a missing thumbnail is no news: rejects have their own list
        picture.thumbnail((px, px))
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=75)
        name = os.fsencode(path).rsplit(b"/", 1)[-1].decode("utf-8", "backslashreplace")
        alt = html.escape("".join(c if c.isprintable() and c not in "[]()\\`" else "_" for c in name))
        images.append(f"![{alt}](data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()})")
    return " ".join(images)
