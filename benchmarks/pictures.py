"""A seed and a size go in; a JPEG with the detail, file size and EXIF block of a camera's comes out."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

TWELVE_MP, TWO_MP, TINY = (4032, 3024), (1632, 1224), (64, 48)


def picture(seed: int, size: tuple[int, int]) -> Image.Image:
    """Noise whose strength falls with its frequency, as in photographs (Field 1987): octaves of random tiles, enlarged and added."""
    rng = np.random.default_rng(seed)
    width, height = size
    sides = [side for side in (4, 12, 40, 130, 420, 1300) if side < width]
    total = np.zeros((height, width, 3), dtype=np.float32)
    for octave, side in enumerate(sides):
        tile = rng.integers(0, 256, (max(2, side * height // width), side, 3), dtype=np.uint8)
        layer = Image.fromarray(tile).resize(size, Image.Resampling.BICUBIC)
        total += (np.asarray(layer, dtype=np.float32) - 128) * 0.62**octave
    return Image.fromarray(np.clip(total + 128, 0, 255).astype(np.uint8))


@cache
def jpeg(seed: int, size: tuple[int, int]) -> bytes:
    """Quality 92, 4:2:0, with maker, model, time and place in its EXIF block."""
    exif = Image.Exif()
    exif[ExifTags.Base.Make], exif[ExifTags.Base.Model] = "Benchmark", f"Camera {seed % 3}"
    details, place = exif.get_ifd(ExifTags.IFD.Exif), exif.get_ifd(ExifTags.IFD.GPSInfo)
    details[ExifTags.Base.DateTimeOriginal] = f"2024:05:{1 + seed % 28:02} 12:{seed // 60 % 60:02}:{seed % 60:02}"
    place[ExifTags.GPS.GPSLatitudeRef], place[ExifTags.GPS.GPSLatitude] = "N", (48.0, 8.0, 1.5)
    place[ExifTags.GPS.GPSLongitudeRef], place[ExifTags.GPS.GPSLongitude] = "E", (11.0, 34.0, 30.0)
    buffer = io.BytesIO()
    picture(seed, size).save(buffer, "JPEG", quality=92, exif=exif)
    return buffer.getvalue()


def write_library(folder: Path, count: int, size: tuple[int, int], *, distinct: int = 8) -> list[Path]:
    """`count` files, of which `distinct` were drawn by themselves; the others differ in trailing bytes, so every hash is another."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"IMG_{at:06}.jpg" for at in range(count)]
    for at, path in enumerate(paths):
        path.write_bytes(jpeg(at % distinct, size) + at.to_bytes(4))
    return paths
