"""Indexed faces go in; square chips as JPEG files and FACE_CHIPS rows come out. Photos are read as a stream, a few at a time.

The square is the box's longer side times (1 + margin) around its middle; what lies outside the photo is its mirror image. Boxes are in
pixels of the upright photo. A detector for photos without boxes can be plugged in; none is bundled.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
from tqdm import tqdm

from vibe_assets.lake import atomic_file
from vibe_assets.names.index import NameIndexError
from vibe_assets.photos.decode import PhotoRejected, open_accepted, open_photo, read_photo
from vibe_assets.records import fingerprint
from vibe_assets.records.first_names import FACE_CHIPS

if TYPE_CHECKING:
    import polars as pl
    from PIL import Image

    from vibe_assets.settings import LibrarySettings, NameSettings

Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels of the upright photo
WINDOW = 64  # photos in flight: decoded ones are gone before the next window


@dataclass(frozen=True)
class Face:
    """What a detector found: a box and its confidence, 0..1."""

    box: Box
    score: float


class FaceDetector(Protocol):
    """Finds faces in one upright RGB photo; called from several threads."""

    def detect(self, image: Image.Image) -> Sequence[Face]:
        """All faces of the photo, in any order."""


def load_detector(name: str) -> FaceDetector | None:
    """`MODULE:FACTORY` of the settings as a detector, None for ''. Raises NameIndexError naming the setting."""
    if not name:
        return None
    module, _, factory = name.partition(":")
    try:
        return cast(FaceDetector, getattr(import_module(module), factory)())
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise NameIndexError(f"names.detector = {name!r}: {error}. Write MODULE:FACTORY of something that has detect(image)") from error


def cut_chips(
    rows: pl.DataFrame, folder: Path, settings: NameSettings, *, limits: LibrarySettings, workers: int = 2, progress: bool = True
) -> pl.DataFrame:
    """FACE_CHIPS rows, one per accepted NAME_INDEX row in its order. A chip that lies in `folder` already is not cut again.

    Reasons: those of the decoder, no_face, multi_face, low_score, small_box, small_area (with a detector), outside (the box does not meet
    the photo).
    """
    import polars as pl

    detector = load_detector(settings.detector)
    accepted = rows.filter(pl.col("reason").is_null())

    def work(row: dict[str, Any]) -> dict[str, Any]:
        return _chip(row, folder, settings, limits, detector)

    with ThreadPoolExecutor(workers, thread_name_prefix="chips") as pool:
        bar = tqdm(accepted.iter_rows(named=True), total=accepted.height, desc="chips", unit="face", disable=None if progress else True)
        found = [row for window in _windows(bar, WINDOW) for row in pool.map(work, window)]
    return pl.DataFrame(found, schema=FACE_CHIPS.polars_schema())


def square(box: Box, margin: float) -> tuple[int, int, int]:
    """Left, top and side of the square around a box, in whole pixels; it may reach outside the photo."""
    left, top, right, bottom = box
    side = max(1, round(max(right - left, bottom - top) * (1 + margin)))
    return round((left + right) / 2 - side / 2), round((top + bottom) / 2 - side / 2), side


def cut(image: Image.Image, box: Box, margin: float) -> Image.Image:
    """The square around the box; pixels outside the photo are mirrored (edge not repeated). Raises PhotoRejected: outside."""
    from PIL import Image

    left, top, side = square(box, margin)
    if left >= image.width or top >= image.height or left + side <= 0 or top + side <= 0:
        raise PhotoRejected("outside", f"the box {[round(edge) for edge in box]} does not meet a photo of {image.width} x {image.height}")
    columns, rows = _mirrored(left, side, image.width), _mirrored(top, side, image.height)
    x0, y0, x1, y1 = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    pixels = np.asarray(image.crop((int(x0), int(y0), int(x1), int(y1))))  # only what the chip shows is copied
    return Image.fromarray(pixels[np.ix_(rows - y0, columns - x0)])


def _mirrored(start: int, length: int, size: int) -> np.ndarray:
    """Positions start..start+length-1 folded back into 0..size-1."""
    if size == 1:
        return np.zeros(length, dtype=np.int64)
    period = 2 * (size - 1)
    folded = np.arange(start, start + length) % period
    return np.minimum(folded, period - folded)


def _chip(
    row: Mapping[str, Any], folder: Path, settings: NameSettings, limits: LibrarySettings, detector: FaceDetector | None
) -> dict[str, Any]:
    known = {column: row[column] for column in ("shard", "name", "rel_path", "identity")}
    nothing = dict.fromkeys(("image_id", "path", "source_id", "phash", "reason", "detail"))
    try:
        data = read_photo(row["path"], max_bytes=limits.max_bytes)
        source_id = hashlib.sha256(data).hexdigest()[:32]
        if row["is_chip"]:
            image = open_accepted(io.BytesIO(data), limits, draft_px=64).image
            return {**nothing, **known, "image_id": source_id, "path": row["path"], "source_id": source_id, "phash": phash(image)}
        path = folder / f"{source_id[:2]}" / f"{source_id}-{_recipe(row, settings)}.jpg"
        if not path.exists():
            with atomic_file(path) as temporary:
                _made(data, row, settings, limits, detector).save(temporary, "JPEG", quality=settings.jpeg_quality, subsampling=0)
        made = path.read_bytes()
        image = open_photo(io.BytesIO(made), draft_px=64).image
        return {
            **nothing, **known, "image_id": hashlib.sha256(made).hexdigest()[:32], "path": str(path), "source_id": source_id,
            "phash": phash(image),
        }  # fmt: skip
    except PhotoRejected as rejection:
        return {**nothing, **known, "reason": rejection.reason, "detail": rejection.detail}


def _made(
    data: bytes, row: Mapping[str, Any], settings: NameSettings, limits: LibrarySettings, detector: FaceDetector | None
) -> Image.Image:
    """The chip of one photo, chip_px square."""
    from PIL import Image

    opened = open_accepted(io.BytesIO(data), limits)
    photo, scale = opened.image, opened.image.width / opened.width  # a JPEG beyond the limit comes at half its size, boxes are of the whole
    size = (settings.chip_px, settings.chip_px)
    if row["x0"] is not None:
        face = cut(photo, (row["x0"] * scale, row["y0"] * scale, row["x1"] * scale, row["y1"] * scale), settings.margin)
    elif detector is not None:
        face = cut(photo, _only_face(detector.detect(photo), photo, settings).box, settings.margin)
    else:
        face = cut(photo, (0, 0, photo.width, photo.height), 0.0)  # a folder of faces: the picture is the face
    return face.resize(size, Image.Resampling.LANCZOS)


def _only_face(faces: Sequence[Face], photo: Image.Image, settings: NameSettings) -> Face:
    """The one face of a photo that passes the filters of the index. Raises PhotoRejected."""
    if not faces:
        raise PhotoRejected("no_face", "the detector found no face")
    sure = [face for face in faces if face.score >= settings.min_score]
    if not sure:
        raise PhotoRejected("low_score", f"{max(face.score for face in faces):.3f}, at least {settings.min_score} wanted")
    if len(sure) > 1:
        raise PhotoRejected("multi_face", f"the detector found {len(sure)} faces: whose name it is cannot be known")
    left, top, right, bottom = sure[0].box
    if min(right - left, bottom - top) < settings.min_box_px:
        raise PhotoRejected("small_box", f"{min(right - left, bottom - top):.0f} px, at least {settings.min_box_px:g} wanted")
    if (share := (right - left) * (bottom - top) / (photo.width * photo.height)) < settings.min_area_share:
        raise PhotoRejected("small_area", f"{share:.5f} of the photo, at least {settings.min_area_share} wanted")
    return sure[0]


def _recipe(row: Mapping[str, Any], settings: NameSettings) -> str:
    """All that changes a chip besides the photo's bytes: two faces of one photo are two files."""
    box = [row[edge] for edge in ("x0", "y0", "x1", "y1")]
    made: dict[str, Any] = {"box": box, "margin": settings.margin, "px": settings.chip_px, "quality": settings.jpeg_quality}
    made["by"] = settings.detector if row["x0"] is None else ""
    if made["by"]:  # which of the faces that it finds is the one
        made["filters"] = [settings.min_score, settings.min_box_px, settings.min_area_share]
    return fingerprint(made)[:8]


def phash(image: Image.Image) -> str:
    """64-bit perceptual hash, 16 hex digits."""
    import imagehash

    return str(imagehash.phash(image))


def _windows(rows: Iterable[dict[str, Any]], size: int) -> Iterator[list[dict[str, Any]]]:
    stream = iter(rows)
    while window := list(islice(stream, size)):
        yield window
