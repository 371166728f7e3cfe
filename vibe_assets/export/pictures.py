"""A photo goes into an export: as a copy, as a link, or by its path; what cannot be given is left out with a reason."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from vibe_assets.export.items import ExportError, Item
from vibe_assets.photos.decode import PhotoRejected, open_accepted, read_photo
from vibe_assets.photos.folders import file_time
from vibe_assets.photos.mend import EOI
from vibe_assets.settings import LibrarySettings

MODES = ("copy", "link", "reference")
SUFFIXES = {
    "JPEG": "jpg", "MPO": "jpg", "PNG": "png", "WEBP": "webp", "BMP": "bmp", "TIFF": "tif", "GIF": "gif", "HEIF": "heic", "AVIF": "avif",
}  # fmt: skip
FEW_READERS = frozenset({"HEIF", "AVIF"})  # Pillow opens them with a plug-in only
PLAIN_PIXELS = 89_478_485  # beyond, Pillow warns of a bomb, and refuses twice as many
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
    read_by_pillow: bool = False  # what plain Pillow does not show as it is gets no link; a copy of it is a JPEG in any case
    limits: LibrarySettings = field(default_factory=LibrarySettings)
    left_out: list[LeftOut] = field(default_factory=list)

    def place(self, item: Item) -> Item | None:
        """The item with its file_name; None where the picture cannot be given, which `left_out` then says."""
        try:
            if self.mode == "reference" and (path := _as_text(item.photo.path)) is not None:
                return dataclasses.replace(item, file_name=path)
            return self._copied(item) if self.mode == "copy" else dataclasses.replace(item, file_name=self._linked(item))
        except PhotoRejected as rejection:
            self.leave_out(item, rejection.reason, rejection.detail)
            return None

    def leave_out(self, item: Item, reason: str, detail: str) -> None:
        self.left_out.append(LeftOut(item.labels.image_id, item.photo.rel_path, reason, detail))

    def _copied(self, item: Item) -> Item:
        made = picture_bytes(item, self.limits)
        name = f"{self.below}/{item.labels.image_id}.{made.suffix}"
        self._ready(name).write_bytes(made.data)
        return dataclasses.replace(item, file_name=name, width=made.width, height=made.height)

    def _linked(self, item: Item) -> str:
        """A symbolic link: a hard link would let a change in the export reach the original."""
        check_unchanged(item, max_bytes=self.limits.max_bytes)
        if self.read_by_pillow and self._few_read(item):
            what = f"{item.format} of {item.width} x {item.height}"
            raise PhotoRejected("few_readers", f"few readers show this {what} as it is; --photos copy writes it as JPEG")
        name = f"{self.below}/{item.labels.image_id}.{SUFFIXES.get(item.format, 'jpg')}"
        self._ready(name).symlink_to(os.fsdecode(item.photo.path))
        return name

    def _few_read(self, item: Item) -> bool:
        if item.format in ("JPEG", "MPO") and item.width * item.height <= PLAIN_PIXELS and _ends_whole(item.photo.path):
            return False  # the common case: a few bytes are read
        return _needs_more(item, labelled_bytes(item, max_bytes=self.limits.max_bytes), self.limits)

    def _ready(self, name: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


class Picture(NamedTuple):
    """What an export holds of a photo."""

    data: bytes
    suffix: str
    width: int  # of the upright picture
    height: int


def picture_bytes(item: Item, limits: LibrarySettings) -> Picture:
    """The file's own bytes where readers show them as they were labelled; otherwise an upright JPEG, smaller where it has too many pixels.

    Raises PhotoRejected (see labelled_bytes).
    """
    data = labelled_bytes(item, max_bytes=limits.max_bytes)
    if not _needs_more(item, data, limits):
        return Picture(data, SUFFIXES.get(item.format, "jpg"), item.width, item.height)
    share = (PLAIN_PIXELS / max(1, item.width * item.height)) ** 0.5
    image = open_accepted(io.BytesIO(data), limits, draft_px=max(1, int(max(item.width, item.height) * share)) if share < 1 else None).image
    if share < 1:
        image.thumbnail((max(1, int(item.width * share)), max(1, int(item.height * share))))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=JPEG_QUALITY)
    return Picture(buffer.getvalue(), "jpg", *image.size)


def _needs_more(item: Item, data: bytes, limits: LibrarySettings) -> bool:
    """Whether Pillow without a plug-in, under its own limits, refuses the file or shows other values than were labelled."""
    if item.format in FEW_READERS or item.width * item.height > PLAIN_PIXELS:
        return True
    if item.format in ("JPEG", "MPO") and data.endswith(EOI):
        return False
    return open_accepted(io.BytesIO(data), limits, draft_px=1).mended


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


def _ends_whole(path: bytes) -> bool:
    """Whether the file's last bytes are the end of a JPEG."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - bytes
            file.seek(-len(EOI), os.SEEK_END)
            return file.read() == EOI
    except OSError as error:
        raise PhotoRejected("io_error", error.strerror or str(error)) from error


def _as_text(path: bytes) -> str | None:
    """The path as text; None where it is not UTF-8, which JSON cannot hold: such a photo gets a link."""
    try:
        return path.decode("utf-8")
    except UnicodeDecodeError:
        return None
