"""Photos become small inline pictures for the reports' galleries; a photo that cannot be opened has none."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from pathlib import Path

from vibe_assets.photos.decode import PhotoRejected, open_photo


def thumbnails(paths: Mapping[str, str | bytes | Path], *, px: int = 320, quality: int = 78) -> dict[str, str]:
    """image_id -> path becomes image_id -> data URL of a JPEG of at most `px` on its longest side, metadata left behind."""
    pictures: dict[str, str] = {}
    for image_id, path in paths.items():
        try:
            picture = open_photo(path, draft_px=px).image
        except PhotoRejected:
            continue  # the report then says "no picture"
        picture.thumbnail((px, px))
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=quality)
        pictures[image_id] = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
    return pictures
