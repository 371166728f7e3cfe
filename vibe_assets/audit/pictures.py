"""A photo file -> the JPEG that the audit page shows: upright, at most so many pixels a side, made once and kept."""

from __future__ import annotations

import hashlib
import io
import threading
from collections import OrderedDict
from pathlib import Path

from vibe_assets.lake import atomic_file
from vibe_assets.photos.decode import MAX_BYTES, MAX_PIXELS, PhotoRejected, open_photo, read_photo

SIDES = {"page": 1600, "zoom": 4096}  # longest side in pixels
IN_MEMORY = 48
QUALITY = 88


class Pictures:
    """Pictures by image_id, from memory, else from `folder`, else made from the photo. Threads may share it."""

    def __init__(self, folder: Path, *, max_pixels: int = MAX_PIXELS, max_bytes: int = MAX_BYTES) -> None:
        self.folder, self.max_pixels, self.max_bytes = folder, max_pixels, max_bytes
        self._memory: OrderedDict[str, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def jpeg(self, image_id: str, path: bytes, *, size: str = "page") -> bytes:
        """Bytes of the JPEG. Raises PhotoRejected: the reasons of open_photo, or photo_changed where the file is another one now."""
        name = f"{image_id}-{SIDES[size]}.jpg"
        with self._lock:
            if name in self._memory:
                self._memory.move_to_end(name)
                return self._memory[name]
        file = self.folder / name
        try:
            data = file.read_bytes()
        except OSError:
            data = self._made(image_id, path, SIDES[size])
            with atomic_file(file) as draft:
                draft.write_bytes(data)
        with self._lock:
            self._memory[name] = data
            while len(self._memory) > IN_MEMORY:
                self._memory.popitem(last=False)
        return data

    def _made(self, image_id: str, path: bytes, side: int) -> bytes:
        data = read_photo(path, max_bytes=self.max_bytes)
        if not hashlib.sha256(data).hexdigest().startswith(image_id):
            raise PhotoRejected("photo_changed", "the file is no longer the one that was scanned; scan its folder again")
        picture = open_photo(io.BytesIO(data), max_pixels=self.max_pixels, max_bytes=self.max_bytes, draft_px=side).image
        picture.thumbnail((side, side))
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=QUALITY)
        return buffer.getvalue()
