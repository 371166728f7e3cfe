"""Photo files become an index by content: exact bytes, else the nearest thumbnail, which finds resized and re-encoded photos."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vibe_assets.lake import atomic_file
from vibe_assets.photos.decode import PhotoRejected, open_photo

SIDE = 16  # pixels of the thumbnail
TOLERANCE = (
    4.5  # mean absolute difference of thumbnails (0..255) for "the same photo"; 256 px at quality 40 moved 240 real photos by 2.8 at most
)
ASPECT_TOLERANCE = 0.05  # relative; scaling to whole pixels moves the aspect of a 64-pixel side by 1.6 %
_NO_THUMBNAIL = -1.0  # aspect of a file that cannot be decoded: found by its bytes only


@dataclass(frozen=True)
class Look:
    """What a photo looks like: SHA-256 of the bytes (hex), thumbnail (768,) uint8, width / height of the upright picture."""

    digest: str
    thumbnail: np.ndarray
    aspect: float


def look_at(data: bytes) -> Look:
    """The look of a file's bytes; an undecodable one has an aspect of -1 and a black thumbnail."""
    from PIL import Image

    digest = hashlib.sha256(data).hexdigest()
    try:
        decoded = open_photo(io.BytesIO(data), draft_px=32 * SIDE)
    except PhotoRejected:
        return Look(digest, np.zeros(SIDE * SIDE * 3, np.uint8), _NO_THUMBNAIL)
    small = decoded.image.resize((SIDE, SIDE), Image.Resampling.BOX)
    return Look(digest, np.asarray(small, np.uint8).reshape(-1), decoded.width / decoded.height)


class PhotoIndex:
    """Looks of many photos, searched by content."""

    def __init__(self, looks: Iterable[Look]) -> None:
        unique = {look.digest: look for look in looks}
        self.digests = list(unique)
        self._position = {digest: position for position, digest in enumerate(self.digests)}
        self._thumbnails = np.array([look.thumbnail for look in unique.values()], np.int16).reshape(len(unique), SIDE * SIDE * 3)
        self._aspects = np.array([look.aspect for look in unique.values()], np.float64)

    def find(self, data: bytes) -> str | None:
        """Digest of the photo that these bytes show, None when no photo is near enough."""
        if (digest := hashlib.sha256(data).hexdigest()) in self._position or not self.digests:
            return digest if digest in self._position else None
        look = look_at(data)
        alike = np.flatnonzero(np.abs(self._aspects / look.aspect - 1) <= ASPECT_TOLERANCE)
        if look.aspect == _NO_THUMBNAIL or not alike.size:
            return None
        apart = np.abs(self._thumbnails[alike] - look.thumbnail.astype(np.int16)).mean(axis=1)  # (n,)
        nearest = int(apart.argmin())
        return self.digests[int(alike[nearest])] if apart[nearest] <= TOLERANCE else None


def look_at_files(files: Iterable[Path], *, cache: Path | None = None, workers: int = 2) -> dict[Path, Look]:
    """Looks of files, from `cache` (.npz) where path, size and time are unchanged; files that cannot be read are left out."""
    known = _cached(cache)
    stamps = {path: stamp for path in files if (stamp := _stamp(path)) is not None}
    fresh = [path for path, stamp in stamps.items() if stamp not in known]
    with ThreadPoolExecutor(workers) as pool:
        found = dict(zip(fresh, pool.map(_look_at_file, fresh), strict=True))
    looks = {path: found[path] if path in found else known[stamp] for path, stamp in stamps.items()}
    readable = {path: look for path, look in looks.items() if look is not None}
    if cache is not None and fresh:
        _write_cache(cache, {stamps[path]: look for path, look in readable.items()})
    return readable


def _look_at_file(path: Path) -> Look | None:
    try:
        return look_at(path.read_bytes())
    except OSError:
        return None


def _stamp(path: Path) -> str | None:
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return f"{status.st_size} {status.st_mtime_ns} {path.resolve()}"


def _cached(cache: Path | None) -> dict[str, Look]:
    if cache is None or not cache.is_file():
        return {}
    try:
        with np.load(cache, allow_pickle=False) as stored:
            columns = zip(stored["stamps"], stored["digests"], stored["thumbnails"], stored["aspects"], strict=True)
            return {str(stamp): Look(str(digest), thumbnail, float(aspect)) for stamp, digest, thumbnail, aspect in columns}
    except (OSError, ValueError, KeyError, EOFError):  # a cache that cannot be read is made again
        return {}


def _write_cache(cache: Path, looks: dict[str, Look]) -> None:
    with atomic_file(cache) as temporary, temporary.open("wb") as handle:
        np.savez(
            handle,
            stamps=np.array([stamp.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace") for stamp in looks]),
            digests=np.array([look.digest for look in looks.values()]),
            thumbnails=np.array([look.thumbnail for look in looks.values()]),
            aspects=np.array([look.aspect for look in looks.values()]),
        )
