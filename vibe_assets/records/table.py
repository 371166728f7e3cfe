"""What a table of the lake is, and the columns that many tables share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from vibe_assets.questions import Questions, load

if TYPE_CHECKING:
    import polars as pl

SPLITS = ("train", "val", "test")


class Column(NamedTuple):
    """One column of a table: polars type by name, and what a reader must know (unit, range, meaning of null)."""

    dtype: str
    description: str


@dataclass(frozen=True)
class Table:
    """A table of the lake. `partitioned` tables hold one partition per value of the column `key`, mostly a folder.

    In `layout`, LABELS, CONFIDENCES and TEACHERS stand for columns of the `questions` in force, the packaged ones where none are named.
    """

    name: str
    description: str
    layout: Mapping[str, Column]
    partitioned: bool = False
    key: str = "folder_key"
    of_library: bool = False  # its rows are of photos of the library, and stay when those are gone
    questions: Questions | None = None

    @cached_property
    def columns(self) -> Mapping[str, Column]:
        """Column name -> type and description, in order."""
        found: dict[str, Column] = {}
        for name, column in self.layout.items():
            found |= _OF_QUESTIONS[name](self.questions or load()) if name in _OF_QUESTIONS else {name: column}
        return found

    def of(self, questions: Questions) -> Table:
        """The table with the columns of these questions."""
        return replace(self, questions=questions) if self.labelled and questions is not self.questions else self

    @property
    def labelled(self) -> bool:
        """Whether questions have columns in it."""
        return not _OF_QUESTIONS.keys().isdisjoint(self.layout)

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
LABELS = {"*labels": Column("", "a column for each label of a yes_no question, and for each other question")}
CONFIDENCES = {"*confidences": Column("", "the probability beside each of LABELS")}
TEACHERS = {"*teachers": Column("", "the teacher's word beside each of LABELS that is no yes or no")}
_OF_QUESTIONS: dict[str, Callable[[Questions], dict[str, Column]]] = {
    "*labels": lambda questions: {field.name: Column(field.dtype, field.description) for field in questions.fields},
    "*confidences": lambda questions: {
        field.confidence: Column(field.confidence_dtype, field.confidence_description) for field in questions.fields
    },
    "*teachers": lambda questions: {
        f"teacher_{field.name}": Column(field.dtype, f"the teacher's {field.name}{', null where it has none' * (field.dtype == 'str')}")
        for field in questions.fields
        if field.dtype != "bool"
    },
}
