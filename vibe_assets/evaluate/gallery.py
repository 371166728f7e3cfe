"""Photos become small inline pictures for the reports' galleries; a photo that cannot be opened has none."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from vibe_assets.photos.decode import PhotoRejected, open_accepted

if TYPE_CHECKING:
    from PIL.Image import Image

    from vibe_assets.settings import LibrarySettings

MOST_BYTES = 24 * 1024  # of one picture: two galleries of 24 stay well below 2 MB
STEPS = ((1.0, 78), (1.0, 60), (0.75, 60), (0.5, 50))  # share of the size, JPEG quality: the first that fits


def thumbnails(paths: Mapping[str, str | bytes | Path], *, px: int = 320, library: LibrarySettings | None = None) -> dict[str, str]:
    """image_id -> path becomes image_id -> data URL of a JPEG of at most `px` on its longest side, metadata left behind.

    A picture full of detail is compressed more, so that a report stays small enough to be sent.
    """
    pictures: dict[str, str] = {}
    for image_id, path in paths.items():
        try:
            picture = open_accepted(path, library, draft_px=2 * px).image
        except PhotoRejected:
            continue  # the report then says "no picture"
        picture.thumbnail((px, px))
        pictures[image_id] = "data:image/jpeg;base64," + base64.b64encode(_small_jpeg(picture)).decode("ascii")
    return pictures


def _small_jpeg(picture: Image) -> bytes:
    found = b""
    for share, quality in STEPS:
        size = max(1, round(picture.width * share)), max(1, round(picture.height * share))
        buffer = io.BytesIO()
        (picture if share == 1.0 else picture.resize(size)).save(buffer, "JPEG", quality=quality)
        found = buffer.getvalue()
        if len(found) <= MOST_BYTES:
            break
    return found
