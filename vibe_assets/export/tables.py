"""Items become tables: CSV for spreadsheets, JSON lines in the project's own layout, Parquet for query engines."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vibe_assets.export.items import Item
from vibe_assets.labels.files import labels_to_json
from vibe_assets.questions import Field, Questions
from vibe_assets.strangers import spreadsheet_cell

if TYPE_CHECKING:
    import pyarrow as pa

ROW_GROUP = 8192  # photos that are in memory at a time
OF_PHOTO = ("file_name", "image_id", "rel_path", "path_uri", "width", "height", "group_id", "split")  # columns before the labels


def csv_encoding(bom: bool) -> str:
    """Excel takes a file for UTF-8 only where it begins with a byte order mark; other tools show the mark."""
    return "utf-8-sig" if bom else "utf-8"


def write_jsonl(items: Iterable[Item], folder: Path, questions: Questions) -> None:
    """labels.jsonl: one photo a line, `{"image_id", "scene": [...], "attributes": {...}, "objects": [...]}` and what else is known of it.

    The layout of audited files and of `python -m vibe_assets.eval.labels`, documented in vibe_assets/labels/files.py.
    """
    with (folder / "labels.jsonl").open("w", encoding="utf-8") as file:
        for item in items:
            beside = {name: item.flat()[name] for name in ("file_name", "rel_path", "path_uri", "group_id", "split", "provenance")}
            file.write(json.dumps({**labels_to_json(item.labels, questions), **beside}, ensure_ascii=False) + "\n")


# -- CSV ---------------------------------------------------------------------------------------------------------------
def write_csv(items: Iterable[Item], folder: Path, questions: Questions, *, encoding: str = "utf-8") -> None:
    """labels.csv (RFC 4180, https://www.rfc-editor.org/rfc/rfc4180): lists are joined with ';', unknown is empty.

    No cell begins a formula (https://owasp.org/www-community/attacks/CSV_Injection): where one would, a ' stands before it.
    `path_uri` never holds a ' itself, so a leading one is always the guard. utf-8-sig puts a byte order mark in front.
    """
    with (folder / "labels.csv").open("w", encoding=encoding, newline="") as file:
        table = csv.DictWriter(file, csv_columns(questions), lineterminator="\r\n")
        table.writeheader()
        for item in items:
            table.writerow({name: spreadsheet_cell(value) for name, value in csv_row(item, questions).items()})


def csv_columns(questions: Questions) -> tuple[str, ...]:
    """The columns of labels.csv; a label of a yes_no question has no column for its version."""
    return (*OF_PHOTO, *(name for field in questions.fields for name in _csv_columns_of(field)))


def _csv_columns_of(field: Field) -> tuple[str, ...]:
    version = () if field.dtype == "bool" else (f"{field.name}_version",)
    return field.name, f"{field.name}_source", *version, field.confidence


def csv_row(item: Item, questions: Questions) -> dict[str, Any]:
    """The item as one flat row; None where a label or its source is unknown."""
    row: dict[str, Any] = {name: value for name, value in item.flat().items() if name != "provenance"}
    row["path_uri"] = item.path_uri.replace("'", "%27")
    for field in questions.fields:
        said = [entry for entry in item.provenance if entry.column == field.name]
        if said:
            row |= {name: said[0].source if name.endswith("_source") else said[0].version for name in _csv_columns_of(field)[1:-1]}
        sure = [entry.confidence for entry in said]
        if field.dtype != "list[str]":
            row[field.confidence] = sure[0] if sure else None
        else:
            row[field.name] = ";".join(item.labels.values[field.name])
            row[field.confidence] = (
                ";".join("" if one is None else str(one) for one in sure) if any(one is not None for one in sure) else ""
            )
    return row


# -- Parquet -----------------------------------------------------------------------------------------------------------
def parquet_schema(questions: Questions) -> pa.Schema:
    """Columns of labels.parquet; `provenance` is a list of structs, one per label."""
    import pyarrow as pa

    source = pa.struct(
        {"label": pa.string(), "value": pa.bool_(), "source": pa.string(), "version": pa.string(), "confidence": pa.float64()}
    )
    text = ("file_name", "image_id", "rel_path", "path_uri")
    types = {"str": pa.string(), "bool": pa.bool_(), "list[str]": pa.list_(pa.string())}
    return pa.schema({
        **dict.fromkeys(text, pa.string()), "width": pa.int32(), "height": pa.int32(), "group_id": pa.string(), "split": pa.string(),
        **{field.name: types[field.dtype] for field in questions.fields}, "provenance": pa.list_(source),
    })  # fmt: skip


def write_parquet(items: Iterable[Item], folder: Path, questions: Questions) -> None:
    """labels.parquet (https://parquet.apache.org/docs/file-format/), row group by row group."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = parquet_schema(questions)
    with pq.ParquetWriter(folder / "labels.parquet", schema, compression="zstd") as file:
        for rows in _groups(items, ROW_GROUP):
            file.write_table(pa.Table.from_pylist([item.flat() for item in rows], schema=schema))


def _groups(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    rest = iter(items)
    while rows := list(islice(rest, size)):
        yield rows
