"""The lake: one Delta table per stage, replaced folder by folder in single commits; DuckDB reads over it and publishes the warehouse.

A writer hands over a whole partition (or a whole small table); a conflict with another writer is retried, a crash leaves the
last commit in force. Readers get a lazy polars frame of one version.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vibe_assets.records import TABLES, Table

if TYPE_CHECKING:
    from collections.abc import Iterator

    import duckdb
    import polars as pl

KEY_PATTERN = re.compile(r"[a-z0-9][a-z0-9-]{0,68}")
PLAIN_PATH = re.compile(r"[A-Za-z0-9/._~+,@:-]*")
NO_LAKE_IN = re.compile(r"[\[\]\\^|\x00-\x1f\ud800-\udfff]|%[0-9A-Fa-f]{2}")  # delta-rs takes these for something else, or panics
COMMIT_TRIES = 100
MIN_FREE_BYTES = 64 * 1024 * 1024


class LakeError(RuntimeError):
    """A table cannot be read or written; the message names the table and the remedy."""


@dataclass(frozen=True)
class Lake:
    """All tables below one folder."""

    root: Path

    def __post_init__(self) -> None:
        if found := NO_LAKE_IN.search(str(self.root)):
            raise LakeError(f"{str(self.root)!r}: tables cannot lie below a name with {found[0]!r}; set library.home to another folder")

    def path(self, table: Table) -> Path:
        return self.root / table.name

    def exists(self, table: Table) -> bool:
        from deltalake import DeltaTable

        return DeltaTable.is_deltatable(str(self.path(table)))

    def version(self, table: Table) -> int | None:
        """Number of the newest commit, None before the first."""
        from deltalake import DeltaTable

        return DeltaTable(self.path(table)).version() if self.exists(table) else None

    # -- reading -------------------------------------------------------------------------------------------------------
    def scan(self, table: Table, *, version: int | None = None) -> pl.LazyFrame:
        """Lazy rows of one version; an empty frame with the right columns before the first write."""
        import polars as pl

        if not self.exists(table):
            return pl.LazyFrame(schema=table.polars_schema())
        path = str(self.path(table))
        special = not PLAIN_PATH.fullmatch(path)  # polars' own reader looks for 'my%20photos', and for columns in names with '='
        return pl.scan_delta(path, version=version, use_pyarrow=special).select(list(table.columns)).cast(table.polars_schema())

    def read(self, table: Table, *, folder_key: str | None = None, version: int | None = None) -> pl.DataFrame:
        """Rows of one folder, or of all."""
        import polars as pl

        rows = self.scan(table, version=version)
        return (rows if folder_key is None else rows.filter(pl.col(table.key) == folder_key)).collect()

    def read_live(self, table: Table, *, columns: Iterable[str] | None = None) -> pl.DataFrame:
        """Rows of the folders that exist now: what stays of removed folders is left out."""
        import polars as pl

        rows = self.scan(table)
        rows = rows.filter(pl.col("folder_key").is_in(self.live_folders()))
        return (rows if columns is None else rows.select(list(columns))).collect()

    def live_folders(self) -> list[str]:
        """Keys of the folders of the newest folder set, sorted."""
        import polars as pl

        return (
            self.scan(TABLES["folder_set"])
            .filter(pl.col("gone_at").is_null())
            .select("folder_key")
            .collect()["folder_key"]
            .sort()
            .to_list()
        )

    def history(self, table: Table) -> list[dict[str, Any]]:
        """Commits, newest first: version, timestamp and the metadata the writer gave."""
        from deltalake import DeltaTable

        return DeltaTable(self.path(table)).history() if self.exists(table) else []

    # -- writing -------------------------------------------------------------------------------------------------------
    def replace(self, table: Table, rows: pl.DataFrame, *, folder_key: str | None = None, commit: Mapping[str, str] | None = None) -> int:
        """Replace one folder's rows (partitioned tables) or the whole table in one commit; return the new version.

        Raises ValueError on a schema or key that does not fit, LakeError when the disk is full or 100 tries met conflicts.
        """
        if table.partitioned != (folder_key is not None):
            raise ValueError(f"{table.name}: expected {'a ' if table.partitioned else 'no '}{table.key}, got {folder_key!r}")
        rows = conform(rows, table)
        predicate = None
        if folder_key is not None:
            predicate = f"{table.key} = '{checked_key(folder_key)}'"  # the only way a key enters a predicate: letters, digits, '-'
            foreign = set(rows[table.key].unique()) - {folder_key}
            if foreign:
                raise ValueError(f"{table.name}: rows of {sorted(map(str, foreign))} in a write of {table.key} {folder_key!r}")
        return self._commit(table, rows, mode="overwrite", predicate=predicate, commit=commit)

    def append(self, table: Table, rows: pl.DataFrame, *, commit: Mapping[str, str] | None = None) -> int:
        """Add rows in one commit (histories); return the new version."""
        return self._commit(table, conform(rows, table), mode="append", predicate=None, commit=commit)

    def _commit(self, table: Table, rows: pl.DataFrame, *, mode: str, predicate: str | None, commit: Mapping[str, str] | None) -> int:
        from deltalake import CommitProperties, DeltaTable, write_deltalake
        from deltalake.exceptions import CommitFailedError, DeltaError

        path = self.path(table)
        _ensure_space(path, int(rows.estimated_size()))
        data = rows.to_arrow(compat_level=None)
        properties = CommitProperties(custom_metadata=dict(commit or {}))
        for attempt in range(COMMIT_TRIES):
            try:
                if not self.exists(table):
                    path.mkdir(parents=True, exist_ok=True)
                    DeltaTable.create(
                        str(path),
                        schema=data.slice(0, 0).schema,
                        partition_by=[table.key] if table.partitioned else None,
                        description=table.description,
                        mode="ignore",
                    )
                options: dict[str, Any] = {"mode": mode, **({"predicate": predicate} if predicate else {})}
                write_deltalake(str(path), data, commit_properties=properties, **options)
                return DeltaTable(str(path)).version()
            except CommitFailedError:
                time.sleep(random.uniform(0.01, 0.05) * min(attempt + 1, 10))
            except (DeltaError, OSError) as error:
                cause = " ".join(re.sub(r"\x1b\[\d+m|↳", "", str(error)).split())  # one line, without colours
                raise LakeError(
                    f"table {table.name} in {path}: {cause}. The last good version stays in force; "
                    "free disk space or repair access, then run again"
                ) from error
        raise LakeError(f"table {table.name}: {COMMIT_TRIES} tries met other writers; run again when fewer run at once")

    # -- SQL -----------------------------------------------------------------------------------------------------------
    def connect(self, warehouse: Path | None = None) -> duckdb.DuckDBPyConnection:
        """DuckDB in memory with every existing table as a view-like relation; `warehouse` attached read-only as `warehouse`."""
        import duckdb
        from deltalake import DeltaTable

        connection = duckdb.connect()
        for table in TABLES.values():
            if self.exists(table):
                connection.register(table.name, DeltaTable(self.path(table)).to_pyarrow_dataset())
        if warehouse is not None and warehouse.exists():
            quoted = str(warehouse).replace("'", "''")
            connection.execute(f"ATTACH '{quoted}' AS warehouse (READ_ONLY)")
        return connection


def checked_key(folder_key: str) -> str:
    """The key itself when it has the shape that partitions.py gives keys. Raises ValueError otherwise."""
    if not KEY_PATTERN.fullmatch(folder_key):
        raise ValueError(f"not a folder key: {folder_key!r} (expected lowercase letters, digits and '-', at most 69)")
    return folder_key


def conform(rows: pl.DataFrame, table: Table) -> pl.DataFrame:
    """Columns in the table's order and types. Raises ValueError naming missing and unexpected columns."""
    schema = table.polars_schema()
    missing, extra = sorted(schema.keys() - set(rows.columns)), sorted(set(rows.columns) - schema.keys())
    if missing or extra:
        raise ValueError(f"{table.name}: missing columns {missing}, unexpected columns {extra}")
    return rows.select(list(schema)).cast(schema)


def _ensure_space(path: Path, wanted: int) -> None:
    """Refuse before a write that cannot fit: a half-written file costs nothing but its error is obscure."""
    existing = next(parent for parent in (path, *path.parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    if free < wanted + MIN_FREE_BYTES:
        raise LakeError(
            f"disk full: {path} needs about {(wanted + MIN_FREE_BYTES) >> 20} MiB, {free >> 20} MiB are free; free some space and run again"
        )


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that becomes `path` when the block ends well; durable before it is visible."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{random.getrandbits(32):08x}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        temporary.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> Path:
    """Write a text file atomically (UTF-8)."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


Publish = Callable[["duckdb.DuckDBPyConnection"], None]
