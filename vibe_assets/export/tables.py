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
from vibe_assets.records import ATTRIBUTES
from vibe_assets.strangers import spreadsheet_cell

if TYPE_CHECKING:
    import pyarrow as pa

ROW_GROUP = 8192  # photos that are in memory at a time
CSV_COLUMNS = (
    "file_name", "image_id", "rel_path", "path_uri", "width", "height", "group_id", "split", "scene", "scene_source", "scene_version",
    "scene_confidence", *(part for name in ATTRIBUTES for part in (name, f"{name}_source", f"{name}_confidence")), "objects",
    "objects_source", "objects_version", "object_confidences",
)  # fmt: skip


def csv_encoding(bom: bool) -> str:
    """Excel takes a file for UTF-8 only where it begins with a byte order mark; other tools show the mark."""
    return "utf-8-sig" if bom else "utf-8"


def write_jsonl(items: Iterable[Item], folder: Path) -> None:
    """labels.jsonl: one photo a line, `{"image_id", "scene": [...], "attributes": {...}, "objects": [...]}` and what else is known of it.

    The layout of audited files and of `python -m vibe_assets.eval.labels`, documented in vibe_assets/labels/files.py.
    """
    with (folder / "labels.jsonl").open("w", encoding="utf-8") as file:
        for item in items:
            beside = {name: item.flat()[name] for name in ("file_name", "rel_path", "path_uri", "group_id", "split", "provenance")}
            file.write(json.dumps({**labels_to_json(item.labels), **beside}, ensure_ascii=False) + "\n")


# -- CSV ---------------------------------------------------------------------------------------------------------------
def write_csv(items: Iterable[Item], folder: Path, *, encoding: str = "utf-8") -> None:
    """labels.csv (RFC 4180, https://www.rfc-editor.org/rfc/rfc4180): lists are joined with ';', unknown is empty.

    No cell begins a formula (https://owasp.org/www-community/attacks/CSV_Injection): where one would, a ' stands before it.
    `path_uri` never holds a ' itself, so a leading one is always the guard. utf-8-sig puts a byte order mark in front.
    """
    with (folder / "labels.csv").open("w", encoding=encoding, newline="") as file:
        table = csv.DictWriter(file, CSV_COLUMNS, lineterminator="\r\n")
        table.writeheader()
        for item in items:
            table.writerow({name: spreadsheet_cell(value) for name, value in csv_row(item).items()})


def csv_row(item: Item) -> dict[str, Any]:
    """The item as one flat row; None where a label or its source is unknown."""
    row: dict[str, Any] = {name: value for name, value in item.flat().items() if name in CSV_COLUMNS}
    row["path_uri"] = item.path_uri.replace("'", "%27")
    row["objects"] = ";".join(item.labels.objects)
    sure = []
    for entry in item.provenance:
        kind = "objects" if entry.label.startswith("object.") else entry.label.removeprefix("attr.").partition(".")[0]
        row[f"{kind}_source"] = entry.source
        if kind == "objects":
            sure.append("" if entry.confidence is None else str(entry.confidence))
        else:
            row[f"{kind}_confidence"] = entry.confidence
        if kind in ("scene", "objects"):
            row[f"{kind}_version"] = entry.version
    row["object_confidences"] = ";".join(sure) if any(sure) else ""
    return row


# -- Parquet -----------------------------------------------------------------------------------------------------------
def parquet_schema() -> pa.Schema:
    """Columns of labels.parquet; `provenance` is a list of structs, one per label."""
    import pyarrow as pa

    source = pa.struct(
        {"label": pa.string(), "value": pa.bool_(), "source": pa.string(), "version": pa.string(), "confidence": pa.float64()}
    )
    text = ("file_name", "image_id", "rel_path", "path_uri")
    return pa.schema({
        **dict.fromkeys(text, pa.string()), "width": pa.int32(), "height": pa.int32(), "group_id": pa.string(), "split": pa.string(),
        "scene": pa.string(), **dict.fromkeys(ATTRIBUTES, pa.bool_()), "objects": pa.list_(pa.string()), "provenance": pa.list_(source),
    })  # fmt: skip


def write_parquet(items: Iterable[Item], folder: Path) -> None:
    """labels.parquet (https://parquet.apache.org/docs/file-format/), row group by row group."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = parquet_schema()
    with pq.ParquetWriter(folder / "labels.parquet", schema, compression="zstd") as file:
        for rows in _groups(items, ROW_GROUP):
            file.write_table(pa.Table.from_pylist([item.flat() for item in rows], schema=schema))


def _groups(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    rest = iter(items)
    while rows := list(islice(rest, size)):
        yield rows
