"""Which tables of a lake were ever made, kept beside the lake: what is in the register and not in the lake was lost."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vibe_assets.storage.disk import to_disk
from vibe_assets.storage.place import Place, Url

if TYPE_CHECKING:
    from vibe_assets.storage.object_log import ObjectLog

SUFFIX = ".tables"


@dataclass(frozen=True)
class Register:
    """One durable line per table that was made, or forgotten again ('-NAME'). A lake that was made before has none, which says nothing."""

    lake: Place

    @property
    def place(self) -> Place:
        """File, or folder of a store, beside the lake: it outlives the lake's folder."""
        if isinstance(self.lake, Url):
            return Url(self.lake.scheme, self.lake.bucket, f"{self.lake.key}{SUFFIX}".lstrip("."))
        return self.lake.with_name(f"{self.lake.name}{SUFFIX}")

    def made(self) -> set[str]:
        """Names of the tables that were made. Raises OSError."""
        names: set[str] = set()
        for line in self._lines():
            name = line.decode("utf-8", "replace").strip()
            names = names - {name[1:]} if name.startswith("-") else names | {name}
        return names - {""}

    def add(self, names: list[str]) -> None:
        """Note that these were made. Raises OSError."""
        self._append([f"{name}\n" for name in names])

    def forget(self, name: str) -> None:
        """Note that the table is not missed any more. Raises OSError."""
        self._append([f"-{name}\n"])

    def _lines(self) -> list[bytes]:
        if isinstance(self.place, Url):
            return list(self._objects().lines())
        try:
            return self.place.read_bytes().splitlines()
        except (FileNotFoundError, NotADirectoryError):
            return []

    def _append(self, lines: list[str]) -> None:
        if isinstance(self.place, Url):
            return self._objects().append(line.encode() for line in lines)
        new = not self.place.exists()
        descriptor = os.open(self.place, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(descriptor, ("\n" + "".join(lines)).encode())  # the newline ends what a power cut left
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if new:
            to_disk(self.place.parent)

    def _objects(self) -> ObjectLog:
        from vibe_assets.storage.object_log import ObjectLog

        assert isinstance(self.place, Url)
        return ObjectLog(self.place, "lake")
