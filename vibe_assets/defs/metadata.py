"""What a person sees of a stored table in the Dagster UI: schema, row counts, rejects, versions."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from vibe_assets.records import Table
from vibe_assets.stages.platform import Platform
from vibe_assets.strangers import markdown_cell
from vibe_assets.web.pages import report_link

VOLATILE = (  # differ between runs that found the same
    "latency_s", "at", "mtime_ns", "run_id", "created_at", "measured_by", "tries", "tried_at",
)  # fmt: skip
PLACELESS = ("annotations", "image_embeddings")  # by photo: a folder that was moved says the same
DAGSTER_TYPES = {  # as the Dagster UI knows them, which shows an icon for each
    "str": "string", "bool": "boolean", "bytes": "binary", "time": "timestamp", "wall": "timestamp without time zone",
    "i64": "bigint", "i32": "int", "f64": "double", "f32": "float", "list[str]": "array<string>", "list[f32]": "array<float>",
}  # fmt: skip


def column_schema(table: Table) -> dg.TableSchema:
    """The table's columns with types and descriptions."""
    return dg.TableSchema(
        [
            dg.TableColumn(name, DAGSTER_TYPES.get(column.dtype, column.dtype), description=column.description)
            for name, column in table.columns.items()
        ]
    )


def content_version(table: Table, rows: pl.DataFrame) -> dg.DataVersion:
    """Hash of the rows' content; row order and volatile columns do not matter, nor where photos lie to what is only said of them."""
    left_out = {*VOLATILE, *(["folder_key"] if table.name in PLACELESS else [])}
    kept = rows.drop([name for name in left_out if name in rows.columns])
    keys = [name for name in ("image_id", "rel_path", "label", "folder_key", "metric") if name in kept.columns]
    digest = hashlib.sha256()
    for column in (kept.sort(keys, nulls_last=True, maintain_order=True) if keys else kept).get_columns():
        digest.update(f"{column.name}:{column.dtype};".encode())
        _digest(digest, column)
    return dg.DataVersion(digest.hexdigest()[:16])


def _digest(digest: "hashlib._Hash", values: pl.Series) -> None:
    """Add what the values say; files and memory may hold the same values in different layouts."""
    digest.update(values.is_null().to_numpy().tobytes())
    known = values.drop_nulls()
    if isinstance(known.dtype, pl.List):
        digest.update(known.list.len().to_numpy().tobytes())
        _digest(digest, known.filter(known.list.len() > 0).explode())
    elif known.dtype == pl.String:
        digest.update(known.str.len_bytes().to_numpy().tobytes())
        digest.update("".join(known.to_list()).encode())
    elif known.dtype == pl.Binary:
        digest.update(known.bin.size().to_numpy().tobytes())
        digest.update(b"".join(known.to_list()))
    else:
        digest.update((known.cast(pl.UInt8) if known.dtype == pl.Boolean else known.to_physical()).to_numpy().tobytes())


def stored(platform: Platform, table: Table, rows: pl.DataFrame, /, **metadata: Any) -> dg.MaterializeResult:
    """The result of an asset whose rows are now in the lake."""
    count = "dagster/partition_row_count" if table.partitioned else "dagster/row_count"
    facts: dict[str, Any] = {
        count: rows.height,
        "lake version": platform.lake.version(table),
        "dagster/column_schema": column_schema(table),
    }
    if "reason" in rows.columns:
        rejected = rows.filter(pl.col("reason").is_not_null())
        facts["rejected"] = rejected.height
        if rejected.height:
            facts["rejects"] = dg.MetadataValue.md(rejects_table(rejected))
    return dg.MaterializeResult(data_version=content_version(table, rows), metadata={**facts, **metadata})


def rejects_table(rejected: pl.DataFrame, *, most: int = 20) -> str:
    """Markdown table of rejected rows: where, why, what exactly."""
    where = next(name for name in ("rel_path", "image_id", *rejected.columns) if name in rejected.columns)
    lines = [f"| {where} | reason | detail |", "|---|---|---|"]
    lines += [
        f"| {markdown_cell(path)} | {markdown_cell(reason)} | {markdown_cell(detail)} |"
        for path, reason, detail in rejected.select(where, "reason", "detail").head(most).iter_rows()
    ]
    more = rejected.height - most
    return "\n".join(lines + ([f"\n... and {more} more"] if more > 0 else []))


def counts_table(title: str, counts: Mapping[str, int | float]) -> dg.MarkdownMetadataValue:
    """Markdown table of named numbers."""
    return dg.MetadataValue.md(
        "\n".join([f"| {title} | |", "|---|---:|", *(f"| {markdown_cell(name)} | {value:,} |" for name, value in counts.items())])
    )


def page_links(page: Path) -> dict[str, dg.MetadataValue]:
    """Where the page lies, and where `vibe ui` shows it and all others."""
    folder = page.parent
    return {
        "page": dg.MetadataValue.path(str(page)),
        "open": dg.MetadataValue.url(report_link(page, folder)),
        "all reports": dg.MetadataValue.url(report_link(folder / "index.html", folder)),
    }
