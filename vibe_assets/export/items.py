"""Chosen labels joined with photos go in, row by row; the items that every format writes come out, with flat memory."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload
from urllib.parse import quote_from_bytes

from vibe_assets.errors import UserError
from vibe_assets.export.choice import Provenance, provenance
from vibe_assets.questions import Questions
from vibe_assets.records import Labels, PhotoRef
from vibe_assets.storage import Place, below

if TYPE_CHECKING:
    import polars as pl

SLICE = 1024  # rows that are Python objects at a time


class ExportError(UserError, RuntimeError):
    """An export cannot be written; the message names the folder or option and the remedy."""


@dataclass(frozen=True)
class Item:
    """One photo as a format gets it: its labels, where each came from, and where the picture is."""

    photo: PhotoRef
    labels: Labels
    provenance: tuple[Provenance, ...]
    path_uri: str  # relative path with every byte of the name kept, percent-encoded
    format: str  # JPEG, PNG, ...
    width: int  # pixels after EXIF rotation; 0 where unknown
    height: int
    bytes: int | None
    mtime_ns: int | None
    group_id: str
    split: str
    file_name: str = ""  # set when the picture is placed: below the export's folder, or an absolute path

    def flat(self) -> dict[str, Any]:
        """The item as columns, the same in every table format; `provenance` is a list of structs."""
        return {
            "file_name": self.file_name,
            "image_id": self.labels.image_id,
            "rel_path": self.photo.rel_path,
            "path_uri": self.path_uri,
            "width": self.width,
            "height": self.height,
            "group_id": self.group_id,
            "split": self.split,
            **self.labels.row(),
            "provenance": self.sources(),
        }

    def sources(self) -> list[dict[str, Any]]:
        """Provenance as JSON."""
        return [entry.to_json() for entry in self.provenance]


class Items(Sequence[Item]):
    """The rows of a selection, turned into items one slice at a time."""

    def __init__(self, rows: pl.DataFrame, root: Place, questions: Questions) -> None:
        self.rows, self.root, self.questions = rows, root, questions

    def __len__(self) -> int:
        return self.rows.height

    def __iter__(self) -> Iterator[Item]:
        for part in self.rows.iter_slices(SLICE):
            for row in part.iter_rows(named=True):
                yield self._item(row)

    @overload
    def __getitem__(self, at: int) -> Item: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Item]: ...
    def __getitem__(self, at: int | slice) -> Item | Sequence[Item]:
        return Items(self.rows[at], self.root, self.questions) if isinstance(at, slice) else self._item(self.rows.row(at, named=True))

    def _item(self, row: dict[str, Any]) -> Item:
        path = bytes(row["path_bytes"])
        return Item(
            PhotoRef(row["image_id"], below(self.root, path), row["rel_path"]),
            self._labels(row),
            tuple(provenance(row, self.questions)),
            quote_from_bytes(path, safe=b"/"),
            row["format"] or "",
            row["width"] or 0,
            row["height"] or 0,
            row["bytes"],
            row["mtime_ns"],
            row["group_id"] or row["image_id"],
            row["split"] or "train",
        )

    def _labels(self, row: dict[str, Any]) -> Labels:
        """The row's labels; of many, none is an empty list."""
        lists = {field.name: row[field.name] or [] for field in self.questions.fields if field.dtype == "list[str]"}
        return Labels.from_row({**row, **lists}, self.questions.columns)

    def fingerprint(self) -> str:
        """16 hex digits over every row, in order."""
        digest = hashlib.sha256()
        for part in self.rows.iter_slices(SLICE):
            buffer = io.BytesIO()
            part.write_ipc(buffer)
            digest.update(buffer.getbuffer())
        return digest.hexdigest()[:16]
