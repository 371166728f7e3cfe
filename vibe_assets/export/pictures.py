"""A photo goes into an export: as a copy, as a link, or by its path; what cannot be given is left out with a reason."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
from dataclasses import dataclass, field
from pathlib import Path

from vibe_assets.export.items import ExportError, Item
from vibe_assets.photos.decode import PhotoRejected, open_photo, read_photo
from vibe_assets.photos.folders import file_time

MODES = ("copy", "link", "reference")
SUFFIXES = {
    "JPEG": "jpg", "MPO": "jpg", "PNG": "png", "WEBP": "webp", "BMP": "bmp", "TIFF": "tif", "GIF": "gif", "HEIF": "heic", "AVIF": "avif",
}  # fmt: skip
FEW_READERS = frozenset({"HEIF", "AVIF"})  # Pillow opens them with a plug-in only: copied as JPEG where a format feeds Pillow
JPEG_QUALITY = 95


@dataclass(frozen=True)
class LeftOut:
    """A photo that the export does not hold."""

    image_id: str
    rel_path: str
    reason: str
    detail: str


@dataclass
class Placer:
    """Gives every item its `file_name`, and the picture its place below `folder`."""

    folder: Path
    mode: str  # copy | link | reference
    below: str = "images"
    convert: bool = False  # formats that few readers open become JPEG
    max_bytes: int = 200_000_000
    left_out: list[LeftOut] = field(default_factory=list)

    def place(self, item: Item) -> Item | None:
        """The item with its file_name; None where the picture cannot be given, which `left_out` then says."""
        try:
            if self.mode == "reference" and (path := _as_text(item.photo.path)) is not None:
                return dataclasses.replace(item, file_name=path)
            return dataclasses.replace(item, file_name=self._copied(item) if self.mode == "copy" else self._linked(item))
        except PhotoRejected as rejection:
            self.leave_out(item, rejection.reason, rejection.detail)
            return None

    def leave_out(self, item: Item, reason: str, detail: str) -> None:
        self.left_out.append(LeftOut(item.labels.image_id, item.photo.rel_path, reason, detail))

    def _copied(self, item: Item) -> str:
        data, suffix = picture_bytes(item, convert=self.convert, max_bytes=self.max_bytes)
        name = f"{self.below}/{item.labels.image_id}.{suffix}"
        self._ready(name).write_bytes(data)
        return name

    def _linked(self, item: Item) -> str:
        """A symbolic link: a hard link would let a change in the export reach the original."""
        if self.convert and item.format in FEW_READERS:
            raise PhotoRejected("few_readers", f"{item.format} needs --photos copy, which writes it as JPEG")
        check_unchanged(item, max_bytes=self.max_bytes)
        name = f"{self.below}/{item.labels.image_id}.{SUFFIXES.get(item.format, 'jpg')}"
        self._ready(name).symlink_to(os.fsdecode(item.photo.path))
        return name

    def _ready(self, name: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


def picture_bytes(item: Item, *, convert: bool, max_bytes: int) -> tuple[bytes, str]:
    """The file's own bytes and the suffix of its format. With `convert`, what few readers open becomes an upright JPEG.

    Raises PhotoRejected (see labelled_bytes).
    """
    data = labelled_bytes(item, max_bytes=max_bytes)
    if not (convert and item.format in FEW_READERS):
        return data, SUFFIXES.get(item.format, "jpg")
    buffer = io.BytesIO()
    open_photo(io.BytesIO(data), max_bytes=max_bytes).image.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue(), "jpg"


def check_unchanged(item: Item, *, max_bytes: int) -> None:
    """Raises PhotoRejected when the file is gone or its bytes are others. It is read only where its time is not that of the scan: a library
    that was restored from a backup has new times and the same photos."""
    try:
        seen = os.stat(item.photo.path)  # noqa: PTH116 - bytes: names need not be UTF-8
    except OSError as error:
        raise PhotoRejected("io_error", error.strerror or str(error)) from error
    if (seen.st_size, file_time(seen.st_mtime_ns)) != (item.bytes, item.mtime_ns):
        labelled_bytes(item, max_bytes=max_bytes)


def labelled_bytes(item: Item, *, max_bytes: int) -> bytes:
    """The file's bytes. Raises PhotoRejected: what read_photo says, and changed_since_scan where they are not those that were labelled."""
    data = read_photo(item.photo.path, max_bytes=max_bytes)
    if hashlib.sha256(data).hexdigest()[: len(item.labels.image_id)] != item.labels.image_id:
        raise PhotoRejected("changed_since_scan", "the file's bytes are not those that were labelled; scan the folder again")
    return data


def checked_mode(name: str, mode: str | None, allowed: tuple[str, ...]) -> str:
    """The mode asked for, or the format's own default. Raises ExportError for one that the format cannot do."""
    if mode is None:
        return allowed[0]
    if mode not in allowed:
        raise ExportError(f"{name} cannot be written with --photos {mode}: use {' or '.join(f'--photos {one}' for one in allowed)}")
    return mode


def _as_text(path: bytes) -> str | None:
    """The path as text; None where it is not UTF-8, which JSON cannot hold: such a photo gets a link."""
    try:
        return path.decode("utf-8")
    except UnicodeDecodeError:
        return None
