"""What a table of the lake is, and the columns that many tables share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import polars as pl

ATTRIBUTES = ("has_person", "has_animal", "has_text", "is_document", "is_screenshot")
SPLITS = ("train", "val", "test")


class Column(NamedTuple):
    """One column of a table: polars type by name, and what a reader must know (unit, range, meaning of null)."""

    dtype: str
    description: str


@dataclass(frozen=True)
class Table:
    """A table of the lake. `partitioned` tables hold one partition per value of the column `key`, mostly a folder."""

    name: str
    description: str
    columns: Mapping[str, Column]
    partitioned: bool = False
    key: str = "folder_key"
    of_library: bool = False  # its rows are of photos of the library, and stay when those are gone

    def polars_schema(self) -> pl.Schema:
        """Column name -> polars data type."""
        import polars as pl

        types: dict[str, Any] = {
            "str": pl.String,
            "i64": pl.Int64,
            "i32": pl.Int32,
            "f64": pl.Float64,
            "f32": pl.Float32,
            "bool": pl.Boolean,
            "bytes": pl.Binary,
            "time": pl.Datetime("us", "UTC"),
            "wall": pl.Datetime("us"),
            "list[str]": pl.List(pl.String),
            "list[f32]": pl.List(pl.Float32),
        }
        return pl.Schema({name: types[column.dtype] for name, column in self.columns.items()})


FOLDER_KEY = {"folder_key": Column("str", "partition: readable slug and hash of the folder's relative path")}
IMAGE_ID = {"image_id": Column("str", "first 32 hex digits of the SHA-256 of the file's bytes")}
REL_PATH = {"rel_path": Column("str", "path below the photo root, '/' as separator; bytes that are not UTF-8 shown as \\xNN")}
REASON = {
    "reason": Column("str", "null where all is well, otherwise why the row was rejected (a short code)"),
    "detail": Column("str", "what exactly was wrong, for people"),
}
LABELS = {
    "scene": Column("str", "scene.* key, null where unknown"),
    **{name: Column("bool", f"attr.{name}, null where unknown") for name in ATTRIBUTES},
    "objects": Column("list[str]", "object.* keys, main object first"),
}
