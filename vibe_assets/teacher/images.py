"""A photo file becomes the `data:` URL that the teacher gets: rotated, scaled, re-encoded, without metadata unless asked."""

from __future__ import annotations

import base64
import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vibe_assets.settings import LibrarySettings, TeacherBase
from vibe_assets.teacher.failures import TeacherFailure

if TYPE_CHECKING:
    from PIL import Image

    from vibe_assets.photos.decode import Decoded

MIME = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp"}
ENCODING = 2  # part of the teacher's fingerprint: raise it when the same photo and settings would give other pixels
SLACK = 0.03  # a photo that its decoder can bring this close below max_side_px (4032 / 4 = 1008) is sent so: half the client's time
MAX_URL_CHARS = 20 * 1024 * 1024  # what common servers still take in one request
_ORIENTATION = 0x0112
_JPEG_SAFE = ("JFIF", "ICC_PROFILE", "Adobe")  # application segments that hold colour, not the photographer
_PNG_SAFE = {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"sBIT", b"bKGD", b"pHYs"}
_WEBP_SAFE = {b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ICCP"}


@dataclass(frozen=True)
class EncodedPhoto:
    """What is sent: `url` is `data:MIME;base64,...`."""

    url: str
    mime: str


def encode_for_teacher(
    path: bytes | str | Path,
    settings: TeacherBase,
    *,
    library: LibrarySettings | None = None,
    image_id: str | None = None,
) -> EncodedPhoto:
    """Read, check and encode one photo. With `image_id` the bytes must still hash to it: the answer is kept under that name.

    The longest side is at most `max_side_px`, and at least 97 % of it if the photo is as large.
    `keep` sends the file's own bytes where they need no rotation, scaling or stripping. Raises TeacherFailure with reason
    `unreadable_photo`, `photo_changed` or `too_large`.
    """
    library = library or LibrarySettings.model_validate({})
    data, decoded = _decoded(path, settings, library, image_id)
    image_format = _target_format(decoded.format, settings)
    if not (settings.image_format == "keep" and _may_go_as_it_is(data, decoded, settings)):
        data = _encoded(decoded.image, data, image_format, settings)
    url = f"data:{MIME[image_format]};base64,{base64.b64encode(data).decode()}"
    if len(url) > MAX_URL_CHARS:
        raise TeacherFailure("too_large", f"{len(url) >> 20} MiB as sent; lower teacher.max_side_px or teacher.image_quality")
    return EncodedPhoto(url, MIME[image_format])


def probe_image() -> Image.Image:
    """A small picture of the project's own making that asks nobody's privacy: a red disc on a blue-green ramp, 64 x 64 RGB."""
    from PIL import Image, ImageDraw

    ramp = Image.linear_gradient("L").resize((64, 64))
    image = Image.merge("RGB", (Image.new("L", (64, 64), 40), ramp, ramp.rotate(90)))
    ImageDraw.Draw(image).ellipse((16, 16, 48, 48), fill=(220, 30, 30))
    return image


def encode_probe() -> EncodedPhoto:
    """The probe image as it is sent."""
    buffer = io.BytesIO()
    probe_image().save(buffer, "JPEG", quality=95)
    return EncodedPhoto(f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}", "image/jpeg")


def _decoded(path: bytes | str | Path, settings: TeacherBase, library: LibrarySettings, image_id: str | None) -> tuple[bytes, Decoded]:
    """The file's bytes and the picture in them, read once so that hash and picture belong together."""
    from vibe_assets.photos.decode import PhotoRejected, open_accepted, read_photo

    try:
        data = read_photo(path, max_bytes=library.max_bytes)
        if image_id is not None and not hashlib.sha256(data).hexdigest().startswith(image_id):
            raise TeacherFailure("photo_changed", "the bytes are no longer those that were scanned; the next scan sees it as a new photo")
        draft_px = max(1, round((1 - SLACK) * settings.max_side_px)) if settings.max_side_px else None
        return data, open_accepted(io.BytesIO(data), library, draft_px=draft_px)
    except PhotoRejected as rejected:
        raise TeacherFailure("unreadable_photo", f"{rejected.reason}: {rejected.detail}") from rejected
    except ValueError as error:  # a NUL in the path
        raise TeacherFailure("unreadable_photo", str(error)) from error


def _target_format(own: str, settings: TeacherBase) -> str:
    if settings.image_format == "keep":
        return own if own in MIME else "JPEG"  # HEIC, TIFF, BMP ... : no server can be relied on to read them
    return settings.image_format.upper()


def _encoded(image: Image.Image, original: bytes, image_format: str, settings: TeacherBase) -> bytes:
    from PIL import Image

    if settings.max_side_px and max(image.size) > settings.max_side_px:
        image = image.copy()
        image.thumbnail((settings.max_side_px, settings.max_side_px), Image.Resampling.BICUBIC)
    image.info = {}  # Pillow would write comments and profiles along
    options: dict[str, Any] = {"exif": _exif(original)} if settings.keep_metadata else {}
    if image_format != "PNG":
        options["quality"] = settings.image_quality
    buffer = io.BytesIO()
    try:
        image.save(buffer, image_format, **options)
    except (OSError, ValueError) as error:  # a side beyond what the format can hold (JPEG 65,535, WebP 16,383)
        raise TeacherFailure("too_large", f"{image.width} x {image.height} does not fit into {image_format}: {error}") from error
    return buffer.getvalue()


def _exif(original: bytes) -> bytes:
    """The file's EXIF block with the rotation reset, since the pixels are rotated; empty when it cannot be read."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(original)) as opened:
            exif = opened.getexif()
            exif[_ORIENTATION] = 1
            return exif.tobytes()
    except Exception:  # EXIF is foreign data: a broken block costs the block, not the photo
        return b""


def _may_go_as_it_is(data: bytes, decoded: Decoded, settings: TeacherBase) -> bool:
    from PIL import Image

    fits = not settings.max_side_px or max(decoded.width, decoded.height) <= settings.max_side_px
    if decoded.format not in MIME or decoded.orientation != 1 or decoded.frames > 1 or decoded.mended or not fits:
        return False
    if settings.keep_metadata:
        return True
    with Image.open(io.BytesIO(data)) as opened:  # the header only; the pixels were just decoded within their caps
        return _is_bare(data, opened)


def _is_bare(data: bytes, opened: Image.Image) -> bool:
    """Whether nothing but pixels and colour is in the file: no EXIF, XMP, comments, thumbnails or appended videos."""
    if opened.format == "JPEG":
        segments: list[tuple[str, bytes]] = getattr(opened, "applist", [])
        safe = all(marker.startswith("APP") and body.startswith(tuple(name.encode() for name in _JPEG_SAFE)) for marker, body in segments)
        return safe and data.count(b"\xff\xd9") == 1 and data.endswith(b"\xff\xd9")
    if opened.format == "PNG":
        return set(_chunks(data, start=8, big_endian=True)) <= _PNG_SAFE
    return set(_chunks(data, start=12, big_endian=False)) <= _WEBP_SAFE


def _chunks(data: bytes, *, start: int, big_endian: bool) -> list[bytes]:
    """Chunk names of a PNG (length, name, data, CRC) or WebP (name, length, data, padding); `b""` for what is no chunk."""
    names: list[bytes] = []
    position = start
    while position < len(data):
        head = data[position : position + 8]
        if len(head) < 8 or (big_endian and names and names[-1] == b"IEND"):
            return [*names, b""]
        name, length = (head[4:], int.from_bytes(head[:4])) if big_endian else (head[:4], int.from_bytes(head[4:], "little"))
        names.append(name)
        position += 8 + length + (4 if big_endian else length % 2)
    return names
