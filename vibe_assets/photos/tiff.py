"""TIFF files that Pillow refuses or misreads, read by tifffile: big-endian BigTIFF, float colours, WebP and LERC, planes of 16 bits."""

from __future__ import annotations

import io
import logging
import math
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
BYTES_PER_PIXEL = 8  # of as many pixels as are allowed: half of what decoding may take in all
MOST_REDUCED = 64  # pages that are looked through for the picture itself
_KIND, _REDUCED = 254, 1
_BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES, _PLANAR, _FORMAT = 258, 259, 262, 277, 284, 339
_MIN_IS_WHITE, _MIN_IS_BLACK, _RGB = 0, 1, 2
_ALPHA = (1, 2)  # associated, unassociated


class TiffPicture(NamedTuple):
    """The first page as stored, not turned."""

    values: np.ndarray  # (h, w) or (h, w, 1..4), of the file's own type; black is the least
    has_alpha: bool
    orientation: int  # 1..8
    pages: int


class TooLarge(ValueError):
    """More pixels, or more bytes in them, than allowed; the arguments are width and height."""


def misread(image: Image.Image) -> bool:
    """Whether Pillow shows an opened TIFF with other values than it holds."""
    tags: Any = image.tag_v2  # type: ignore[attr-defined]
    bits = max(tags.get(_BITS, (1,)))
    unsigned = set(tags.get(_FORMAT, (1,))) == {1}
    planes = tags.get(_PLANAR) == 2 and tags.get(_SAMPLES, 1) > 1 and tags.get(_COMPRESSION, 1) == 1  # it takes bytes for samples
    if 8 < bits < 16 or (bits == 8 and 2 in tags.get(_FORMAT, (1,))):  # it takes the values as if they had 16 bits, or no sign
        return True
    return bits > 8 and (planes or (bits == 32 and unsigned) or tags.get(_PHOTOMETRIC) == _MIN_IS_WHITE)


def to_full_page(image: Image.Image) -> bool:
    """Turn an opened TIFF whose first page is a reduced copy of another to the first that is none; whether it was turned."""
    opened: Any = image
    if not opened.tag_v2.get(_KIND, 0) & _REDUCED:
        return False
    for at in range(1, min(opened.n_frames, MOST_REDUCED)):
        opened.seek(at)
        if not opened.tag_v2.get(_KIND, 0) & _REDUCED:
            return True
    opened.seek(0)
    return False


def read_tiff(data: bytes, *, max_pixels: int) -> TiffPicture:
    """The first page that is no reduced copy. Raises TooLarge, MemoryError, and any other error for what is damaged or no photo."""
    import tifffile

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what matters ends as a reason
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        first: Any = file.pages[0]
        candidates: Any = islice(file.pages, MOST_REDUCED) if first.subfiletype & _REDUCED else ()
        page: Any = next((one for one in candidates if not one.subfiletype & _REDUCED), first)
        width, height, samples, dtype = page.imagewidth, page.imagelength, page.samplesperpixel, page.dtype
        if width * height > max_pixels or (dtype is not None and width * height * samples * dtype.itemsize > BYTES_PER_PIXEL * max_pixels):
            raise TooLarge(width, height)
        if min(width, height) < 1 or dtype is None or page.imagedepth != 1 or page.photometric not in (_MIN_IS_WHITE, _MIN_IS_BLACK, _RGB):
            raise ValueError(f"TIFF of {width} x {height} samples of {dtype}, photometric {page.photometric}")
        if page.bitspersample not in (8, *range(9, 17), 32, 64):
            raise ValueError(f"TIFF of samples of {page.bitspersample} bits")
        stored = list(zip(page.dataoffsets, page.databytecounts, strict=True))
        if len(stored) < math.prod(page.chunked) or any(count < 1 or offset + count > len(data) for offset, count in stored):
            raise EOFError("the file is truncated")  # tifffile would fill the gap with zeros
        values = np.asarray(page.asarray(maxworkers=1)).reshape(page.shape)
        if page.axes.startswith("S"):
            values = np.moveaxis(values, 0, -1)
        orientation = int(page.tags[274].value) if 274 in page.tags else 1
        colours = 3 if page.photometric == _RGB else 1
        has_alpha = samples > colours and bool(page.extrasamples) and int(page.extrasamples[0]) in _ALPHA
        pages = len(file.pages)
    if values.ndim == 3:
        values = values[..., : colours + has_alpha]
    if values.ndim == 3 and values.shape[-1] == 1:
        values = values[..., 0]
    if values.shape[:2] != (height, width):
        raise ValueError(f"TIFF of {width} x {height} pixels that holds {values.shape}")
    if 8 < page.bitspersample < 16:  # to the range of their type
        most = (1 << page.bitspersample) - 1
        values = (np.minimum(values, most).astype(np.uint32) * 65535 // most).astype(np.uint16)
    if page.photometric == _MIN_IS_WHITE:
        values = 1 - values if dtype.kind == "f" else np.invert(values)
    return TiffPicture(values, has_alpha, orientation, pages)
