"""Arrow tables -> the published DuckDB file: all of them in one transaction, or the file written anew from the lake."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from vibe_assets.lake import LakeError, atomic_file, warehouse_trouble
from vibe_assets.stages.platform import Platform

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa


STORAGE = "v1.0.0"  # of the file: every DuckDB client since 1.0 opens it
CONFIG: dict[str, str | bool | int | float | list[str]] = {"storage_compatibility_version": STORAGE}
STORAGE_NUMBER = 64  # of STORAGE, in the file's header


def storage_number(file: Path) -> int:
    """The version of the file's layout, from its header (https://duckdb.org/docs/internals/storage): 8 bytes from the 12th on."""
    with file.open("rb") as opened:
        return int.from_bytes(opened.read(20)[12:], "little")


def open_to_older_clients(file: Path) -> None:
    """Copy a file of a newer layout into one that older clients open, beside it and then in its place. Raises duckdb.Error, OSError."""
    import duckdb

    if not file.exists() or storage_number(file) == STORAGE_NUMBER:
        return
    with atomic_file(file) as temporary:
        quoted = (str(file).replace("'", "''"), str(temporary).replace("'", "''"))
        with duckdb.connect() as connection:
            connection.execute(f"ATTACH '{quoted[0]}' AS newer (READ_ONLY)")
            connection.execute(f"ATTACH '{quoted[1]}' AS older (STORAGE_VERSION '{STORAGE}')")
            connection.execute("COPY FROM DATABASE newer TO older")
            connection.execute("DETACH older")


def publish_tables(connection: duckdb.DuckDBPyConnection, tables: Mapping[str, pa.Table]) -> dict[str, int]:
    """Replace every named table, all or none; return the row counts. Columns are matched by name. Raises duckdb.Error."""
    import duckdb

    counts: dict[str, int] = {}
    connection.execute("BEGIN")
    try:
        for name, rows in tables.items():
            connection.register("incoming", rows)
            connection.execute(f'DROP TABLE IF EXISTS "{name}"')
            connection.execute(f'CREATE TABLE "{name}" AS FROM incoming LIMIT 0')
            connection.execute(f'INSERT INTO "{name}" BY NAME FROM incoming')
            connection.unregister("incoming")
            counts[name] = rows.num_rows
        connection.execute("COMMIT")
    except duckdb.Error:
        connection.execute("ROLLBACK")
        raise
    return counts


def refuse_damaged(file: Path) -> None:
    """Raises LakeError where the file is no DuckDB file any more; one that somebody holds open is waited for elsewhere."""
    import duckdb

    if not file.exists():
        return
    try:
        duckdb.connect(str(file), read_only=True).close()
    except duckdb.Error as error:
        if not is_locked(error):
            raise LakeError(warehouse_trouble(file, error)) from error


def is_broken(error: Exception) -> bool:
    """Whether it is the file's fault, not the query's or the rows': it cannot be read or written, or its blocks are damaged."""
    import duckdb

    return isinstance(error, duckdb.IOException | duckdb.FatalException | duckdb.InternalException) or "corrupt" in str(error).lower()


def is_locked(error: Exception) -> bool:
    """Whether another process has the file open for writing, or a reader keeps a writer out."""
    return "lock" in str(error).lower()


def rebuild_warehouse(platform: Platform) -> dict[str, int]:
    """Write the published file anew from the lake, beside the old one, and put it in its place; the row counts.

    Neither damage nor a lock of the old file matters: who has it open keeps reading the old one. Raises LakeError, StageError.
    """
    import duckdb

    from vibe_assets.stages.reports import warehouse_tables

    tables, file = warehouse_tables(platform), platform.settings.warehouse_file
    with atomic_file(file) as temporary:
        with duckdb.connect(str(temporary), config=CONFIG) as connection:
            counts = publish_tables(connection, tables)
        file.with_name(f"{file.name}.wal").unlink(missing_ok=True)  # of the old file; it would be replayed into the new one
    return counts
