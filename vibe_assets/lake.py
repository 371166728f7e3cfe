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
import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping, Set
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from vibe_assets import table_files
from vibe_assets.errors import UserError
from vibe_assets.records import TABLES, Table
from vibe_assets.storage import Place, Url
from vibe_assets.storage.disk import to_disk
from vibe_assets.storage.register import Register
from vibe_assets.storage.tables import scan_options, store_trouble, table_options
from vibe_assets.table_files import Torn

if TYPE_CHECKING:
    from collections.abc import Iterator

    import duckdb
    import polars as pl
    from deltalake import DeltaTable

    from vibe_assets.questions import Questions

_REGISTERED: set[tuple[Place, str]] = set()  # tables of stores that this process knows to be registered: asking costs a request
MOST_KEY_CHARS, MOST_KEY_BYTES = 69, 129  # bytes as they are percent-encoded in names of files
PLAIN_PATH = re.compile(r"[A-Za-z0-9/._~+,@:-]*")
NO_LAKE_IN = re.compile(r"[\[\]\\^|\x00-\x1f\ud800-\udfff]|%[0-9A-Fa-f]{2}")  # delta-rs takes these for something else, or panics
COMMIT_TRIES = 100
GONE_REMEDY = "`vibe repair` makes it anew without asking the teacher"
TIDY_EVERY = 20  # commits of a table
MIN_FREE_BYTES = 64 * 1024 * 1024


class LakeError(UserError, RuntimeError):
    """A table cannot be read or written; the message names the table and the remedy."""


Pinned = Callable[[], Mapping[str, Set[int]]]  # table name -> versions


@dataclass(frozen=True)
class Lake:
    """All tables below one folder, or below one URL of an object store.

    A table that was made once and is gone is damage, not an empty table: reading it raises LakeError. While it is made anew, a repair
    reads and writes it in `staging`; `adopt` then puts it in its place, whole.
    """

    root: Place
    staging: Path | None = None
    staged: frozenset[str] = frozenset()  # names of the tables that lie there
    keep_h: float = 7 * 24  # hours that files of replaced versions are kept
    pinned: Pinned | None = None  # versions that are kept for good; None: whoever opened the lake does not know, nothing is deleted
    wrote: Callable[[str, str | None], object] | None = field(default=None, compare=False)  # hears of every commit: table, partition
    questions: Questions | None = field(default=None, compare=False)  # whose columns the tables of labels have; None: the packaged ones

    def __post_init__(self) -> None:
        if isinstance(self.root, Url):
            return  # library.lake takes plain URLs only
        if found := NO_LAKE_IN.search(str(self.root)):
            raise LakeError(f"{str(self.root)!r}: tables cannot lie below a name with {found[0]!r}; set library.home to another folder")

    def of(self, table: Table) -> Table:
        """The table with the columns of this library's questions."""
        return table if self.questions is None else table.of(self.questions)

    def path(self, table: Table) -> Place:
        return self.staging / table.name if self.staging is not None and table.name in self.staged else self.root / table.name

    def exists(self, table: Table) -> bool:
        """Whether there has been a commit. Raises LakeError when a store does not say, or it is gone: silence is not an empty table."""
        return self._found(table) is not None

    def version(self, table: Table) -> int | None:
        """Number of the newest commit, None before the first."""
        found = self._found(table)
        return found.version() if found is not None else None

    def _found(self, table: Table, version: int | None = None) -> DeltaTable | None:
        """The table at a version, None before the first commit. Raises LakeError, also where it was made once and is gone."""
        found = self._looked(table, version)
        if found is None and self._is_missed(table):
            raise LakeError(f"table {table.name}: {self.path(table)} is gone, and it was there before; {GONE_REMEDY}")
        return found

    def _looked(self, table: Table, version: int | None = None) -> DeltaTable | None:
        """The table as its files have it, None where there are none. Raises LakeError."""
        from deltalake import DeltaTable
        from deltalake.exceptions import TableNotFoundError

        path = self.path(table)
        if isinstance(path, Path) and not (path.is_dir() and DeltaTable.is_deltatable(str(path))):
            return None
        try:
            return self._opened(table, version)
        except TableNotFoundError:
            if version is not None and self._looked(table) is not None:
                raise  # an old version whose log is gone is not an empty table
            return None

    def _is_missed(self, table: Table) -> bool:
        return table.name not in self.staged and table.name in self._made()

    def _made(self) -> set[str]:
        try:
            return self.register.made()
        except OSError as error:
            raise LakeError(f"{self.register.place}: {error.strerror or error}; which tables there were cannot be read") from error

    @property
    def register(self) -> Register:
        """Which tables were ever made here."""
        return Register(self.root)

    def _opened(self, table: Table, version: int | None = None) -> DeltaTable:
        """The table at a version, the newest by default. Raises LakeError where a power cut or a hand damaged its log."""
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError, TableNotFoundError

        path = self.path(table)
        try:
            return DeltaTable(str(path), version=version, storage_options=table_options(path))
        except TableNotFoundError:
            raise
        except (DeltaError, OSError) as error:
            if isinstance(path, Url):
                raise LakeError(f"table {table.name} in {path} cannot be read: {store_trouble(path, error)}") from error
            if not isinstance(error, DeltaError) or not (torn := table_files.torn_tail(path)):
                raise
            raise LakeError(f"table {table.name}: {torn[0]}; {table_files.REMEDY}") from error

    # -- reading -------------------------------------------------------------------------------------------------------
    def scan(self, table: Table, *, version: int | None = None) -> pl.LazyFrame:
        """Lazy rows of one version; an empty frame with the right columns before the first write."""
        import polars as pl

        table, loaded = self.of(table), self._found(table, version)
        if loaded is None:
            return pl.LazyFrame(schema=table.polars_schema())
        path = self.path(table)
        special = not PLAIN_PATH.fullmatch(str(path))  # polars' own reader looks for 'my%20photos', and for columns in names with '='
        if isinstance(path, Path) and (torn := table_files.torn_data(path, _data_files(loaded))):  # polars would panic, and name no file
            raise LakeError(f"table {table.name}: {torn}; {table_files.REMEDY}, making its rows anew replaces it")
        rows = pl.scan_delta(loaded, use_pyarrow=special, storage_options=scan_options(path))
        since = table.columns.keys() - set(rows.collect_schema().names())  # columns that the table did not have when it was last written
        rows = rows.with_columns(pl.lit(None).alias(name) for name in since)
        return rows.select(list(table.columns)).cast(table.polars_schema())

    def read(self, table: Table, *, folder_key: str | None = None, version: int | None = None) -> pl.DataFrame:
        """Rows of one folder, or of all."""
        import polars as pl

        rows = self.scan(table, version=version)
        return (rows if folder_key is None else rows.filter(pl.col(table.key) == folder_key)).collect()

    def read_live(self, table: Table, *, columns: Iterable[str] | None = None) -> pl.DataFrame:
        """Rows of the library as it is now: what stays of folders and photos that are gone is left out."""
        rows = self.live(table, self.scan(table))
        return (rows if columns is None else rows.select(list(columns))).collect()

    def live(self, table: Table, rows: pl.LazyFrame) -> pl.LazyFrame:
        """Those rows of a table, of any version, that are of folders and photos that are there now; before a first scan all are."""
        import polars as pl

        on = ["folder_key", "image_id"] if "folder_key" in table.columns else ["image_id"]
        if "folder_key" in on:
            rows = rows.filter(pl.col("folder_key").is_in(self.live_folders()))
        photos = TABLES["raw_photos"]
        if not table.of_library or not self.exists(photos):
            return rows
        there = self.scan(photos).filter(pl.col("folder_key").is_in(self.live_folders()) & pl.col("reason").is_null()).select(on).unique()
        return rows.join(there, on=on, how="semi", maintain_order="left")

    def batches(
        self, table: Table, columns: Iterable[str], *, folder_keys: Iterable[str], version: int | None = None, rows: int = 16_384
    ) -> Iterator[pl.DataFrame]:
        """Rows of some folders, a few at a time, for tables that would fill the memory: no more than some ten thousand are held at once."""
        import polars as pl
        import pyarrow.dataset as ds

        if (found := self._found(table, version)) is None:
            return
        schema, wanted = self.of(table).polars_schema(), list(columns)
        batches = found.to_pyarrow_dataset().to_batches(
            columns=wanted,
            filter=ds.field(table.key).isin(list(folder_keys)),
            batch_size=rows,
            batch_readahead=2,
            fragment_readahead=1,
            fragment_scan_options=ds.ParquetFragmentScanOptions(pre_buffer=False, use_buffered_stream=True, buffer_size=1 << 22),
        )
        for batch in batches:
            if batch.num_rows:
                yield pl.DataFrame(pl.from_arrow(batch)).cast({name: schema[name] for name in wanted})

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

    def edition(self, table: Table) -> str:
        """Version with the table's own identity: one that was made anew counts from the beginning, and is another. 'none' before it."""
        found = self._found(table)
        return f"{found.version()}.{found.metadata().id}" if found is not None else "none"

    def history(self, table: Table) -> list[dict[str, Any]]:
        """Commits, newest first: version, timestamp and the metadata the writer gave."""
        found = self._found(table)
        return found.history() if found is not None else []

    # -- writing -------------------------------------------------------------------------------------------------------
    def replace(self, table: Table, rows: pl.DataFrame, *, folder_key: str | None = None, commit: Mapping[str, str] | None = None) -> int:
        """Replace one folder's rows (partitioned tables) or the whole table in one commit; return the new version.

        Raises ValueError on a schema or key that does not fit, LakeError when the disk is full, 100 tries met conflicts, or the table
        lost its other folders.
        """
        if table.partitioned != (folder_key is not None):
            raise ValueError(f"{table.name}: expected {'a ' if table.partitioned else 'no '}{table.key}, got {folder_key!r}")
        table = self.of(table)
        rows = conform(rows, table)
        predicate = None
        if folder_key is not None:
            predicate = f"{table.key} = '{checked_key(folder_key)}'"  # the only way a key enters a predicate: letters, marks, digits, '-'
            foreign = set(rows[table.key].unique()) - {folder_key}
            if foreign:
                raise ValueError(f"{table.name}: rows of {sorted(map(str, foreign))} in a write of {table.key} {folder_key!r}")
        return self._told(table, folder_key, self._commit(table, rows, mode="overwrite", predicate=predicate, commit=commit))

    def append(self, table: Table, rows: pl.DataFrame, *, commit: Mapping[str, str] | None = None) -> int:
        """Add rows in one commit (histories); return the new version."""
        table = self.of(table)
        return self._told(table, None, self._commit(table, conform(rows, table), mode="append", predicate=None, commit=commit))

    def _told(self, table: Table, partition: str | None, version: int) -> int:
        if self.wrote is not None:
            self.wrote(table.name, partition)
        return version

    def _commit(self, table: Table, rows: pl.DataFrame, *, mode: str, predicate: str | None, commit: Mapping[str, str] | None) -> int:
        from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, write_deltalake
        from deltalake.exceptions import CommitFailedError, DeltaError

        path = self.path(table)
        store = table_options(path)
        if isinstance(path, Path):
            _ensure_space(path, int(rows.estimated_size()))
        data = rows.to_arrow(compat_level=None)
        properties = CommitProperties(custom_metadata=dict(commit or {}))
        after = PostCommitHookProperties(cleanup_expired_logs=False)  # it would take the log of pinned versions, too: see _tidy
        for attempt in range(COMMIT_TRIES):
            try:
                if new := self._looked(table) is None:
                    if (table.partitioned or mode == "append") and self._is_missed(table):  # a part is not the whole
                        raise LakeError(f"table {table.name}: {path} is gone, and it was there before; {GONE_REMEDY}")
                    if isinstance(path, Path):
                        path.mkdir(parents=True, exist_ok=True)
                    DeltaTable.create(
                        str(path),
                        schema=data.slice(0, 0).schema,
                        partition_by=[table.key] if table.partitioned else None,
                        description=table.description,
                        mode="ignore",
                        storage_options=store,
                    )
                options: dict[str, Any] = {"mode": mode, **({"predicate": predicate} if predicate else {})}
                loaded = self._opened(table)
                before = -1 if new else loaded.version()
                there = {column.name for column in loaded.schema().fields}
                if predicate is None and mode == "overwrite" and there - table.columns.keys():
                    options["schema_mode"] = "overwrite"  # of questions that are no more
                elif table.columns.keys() != there:
                    options["schema_mode"] = "merge"
                write_deltalake(loaded, data, commit_properties=properties, post_commithook_properties=after, **options)
                if isinstance(path, Path):  # a store answers when it has the bytes
                    table_files.sync_commits(path, after=before)
                self._register(table)
                if loaded.version() % TIDY_EVERY == TIDY_EVERY - 1:
                    self._tidy(table, loaded)
                return loaded.version()
            except CommitFailedError:
                time.sleep(random.uniform(0.01, 0.05) * min(attempt + 1, 10))
            except (DeltaError, OSError) as error:
                cause = store_trouble(path, error) if isinstance(path, Url) else _one_line(error)
                remedy = "mend it" if isinstance(path, Url) else "free some space or repair access"
                raise LakeError(
                    f"table {table.name} in {path}: {cause}. The last good version stays in force; {remedy}, then run again"
                ) from error
        raise LakeError(f"table {table.name}: {COMMIT_TRIES} tries met other writers; run again when fewer run at once")

    def _tidy(self, table: Table, loaded: DeltaTable) -> None:
        """Delete data files that no version of the last `keep_h` hours and no pinned version holds; the write is good without it.

        Files that are in no commit go too when they are as old: killed writers left them. Readers of a version have `keep_h` hours.
        """
        from deltalake.exceptions import DeltaError

        if self.pinned is None or table.name in self.staged:
            return
        path = self.path(table)
        with suppress(DeltaError, OSError, LakeError):
            pins = sorted(self.pinned().get(table.name, ()))
            kept = [number for number in pins if number <= loaded.version() and self._is_readable(table, number)]
            old = loaded.vacuum(  # a dry run: a real one would be two commits, and move the version of a table that did not change
                retention_hours=int(self.keep_h), dry_run=True, enforce_retention_duration=False, full=True, keep_versions=kept or None
            )
            table_files.delete_data(path, old)
            if not pins:
                loaded.cleanup_metadata()

    def _is_readable(self, table: Table, version: int) -> bool:
        from deltalake.exceptions import DeltaError

        try:
            return self._opened(table, version) is not None
        except (DeltaError, LakeError, OSError):
            return False

    def _register(self, table: Table) -> None:
        """Note that the table was made; the first time, with those that older versions made. The write is good without it."""
        if table.name in self.staged or (isinstance(self.root, Url) and (self.root, table.name) in _REGISTERED):
            return
        with suppress(OSError, LakeError):
            known = self.register.made()
            if table.name not in known:
                self.register.add([one.name for one in TABLES.values() if one.name not in known and self._looked(one) is not None])
            _REGISTERED.add((self.root, table.name))

    # -- after a power cut, or a hand --------------------------------------------------------------------------------------
    def torn(self) -> list[tuple[str, Torn]]:
        """(table, file that is not what was written) of every table: newest commits, checkpoints, the data of the version in force, or all.

        Raises LakeError for a store that does not answer.
        """
        found = [(table.name, Torn(self.path(table), "the table is gone, and it was there before")) for table in self.gone()]
        for table, path in self._local_tables():
            tail = table_files.torn_tail(path)
            if not tail and (loaded := self._looked(table)) is not None:
                data = table_files.torn_data(path, _data_files(loaded))
                tail = [data] if data else []
            found += [(table.name, torn) for torn in tail]
        return found

    def gone(self) -> list[Table]:
        """Tables that were made once and are gone. Raises LakeError."""
        made = self._made()
        return [table for name, table in TABLES.items() if name in made and name not in self.staged and self._looked(table) is None]

    def adopt(self, table: Table) -> None:
        """Put a staged table in its place as its first commit: readers see all of it or nothing. Raises LakeError."""
        from deltalake import CommitProperties, write_deltalake
        from deltalake.exceptions import DeltaError

        staged, whole = self._looked(table), Lake(self.root)
        if staged is None:
            raise LakeError(f"table {table.name}: nothing was made anew")
        if whole._looked(table) is not None:
            return  # somebody wrote it anew meanwhile, whole: nobody may write a part of it
        path = whole.path(table)
        try:
            if isinstance(path, Path):
                shutil.rmtree(path, ignore_errors=True)  # what a hand left of it: no commit
                path.mkdir(parents=True)
            write_deltalake(
                str(path), staged.to_pyarrow_dataset().scanner().to_reader(), mode="error", description=table.description,
                partition_by=[table.key] if table.partitioned else None, storage_options=table_options(path),
                commit_properties=CommitProperties(custom_metadata={"repaired": "true"}),
            )  # fmt: skip
            if isinstance(path, Path):
                table_files.sync_commits(path, after=-1)
        except (DeltaError, OSError) as error:
            raise LakeError(f"table {table.name} in {path}: {_one_line(error)}; mend it, then run `vibe repair` again") from error
        whole._register(table)

    def repair(self) -> list[Path]:
        """Set the torn newest commits of every table aside, as `*.damaged`: each table is as of its last commit that is whole."""
        return [file for _, path in self._local_tables() for file in table_files.set_aside(path)]

    def _local_tables(self) -> list[tuple[Table, Path]]:
        """Those whose files are a disk's: a store has an object whole or not at all."""
        return [(table, path) for table in TABLES.values() if isinstance(path := self.path(table), Path)]

    # -- SQL -----------------------------------------------------------------------------------------------------------
    def connect(self, warehouse: Path | None = None, *, query: str | None = None) -> duckdb.DuckDBPyConnection:
        """DuckDB in memory with every existing table as a view; `warehouse` attached read-only as `warehouse`.

        A table shows the library as it is now, `NAME_with_gone` what stays of folders and photos that are gone as well.
        Raises LakeError naming the lost tables that `query` reads, every lost one without a query.
        """
        import duckdb

        connection = duckdb.connect()
        found: dict[str, DeltaTable] = {}
        lost: dict[str, LakeError] = {}
        for name, table in TABLES.items():
            try:
                if (loaded := self._found(table)) is not None:
                    found[name] = loaded
            except LakeError as error:
                lost[name] = error
        for name, loaded in found.items():
            conditions = _live_sql(TABLES[name], found)
            connection.register(f"{name}_with_gone" if conditions else name, loaded.to_pyarrow_dataset())
            if conditions:
                connection.execute(f"CREATE TEMP VIEW {name} AS FROM {name}_with_gone WHERE {' AND '.join(conditions)}")
        if warehouse is not None and warehouse.exists():
            quoted = str(warehouse).replace("'", "''")
            try:
                connection.execute(f"ATTACH '{quoted}' AS warehouse (READ_ONLY)")
            except duckdb.Error as error:
                raise LakeError(warehouse_trouble(warehouse, error)) from error
        if missed := [error for name, error in lost.items() if query is None or name in _tables_of(connection, query)]:
            raise LakeError("\n".join(map(str, missed)))
        return connection


def _tables_of(connection: duckdb.DuckDBPyConnection, query: str) -> set[str]:
    """Tables of the lake that a query reads, with those that tell what is still there; where the parser does not say, all it may mean."""
    import duckdb

    try:
        named = connection.get_table_names(query, qualified=True)
    except duckdb.Error:
        named = set(re.findall(r"[a-z_]+", query.lower()))
    found = {name.lower().removesuffix("_with_gone") for name in named} & TABLES.keys()
    of_photos = any(TABLES[name].of_library or "folder_key" in TABLES[name].columns for name in found)
    return found | {"folder_set", "raw_photos"} if of_photos else found


def _live_sql(table: Table, found: Collection[str]) -> list[str]:
    """What a row of the library as it is now fulfils; none for tables that know no photo of it."""
    keyed = "folder_key" in table.columns and table.name != "folder_set"
    folders = "(SELECT folder_key FROM folder_set WHERE gone_at IS NULL)"
    conditions = [f"folder_key IN {folders}"] if keyed and "folder_set" in found else []
    if table.of_library and {"folder_set", "raw_photos"} <= set(found):
        on = "(folder_key, image_id)" if keyed else "image_id"
        photos = f"SELECT {on} FROM raw_photos_with_gone WHERE reason IS NULL AND folder_key IN {folders}"  # noqa: S608 - no word of others
        conditions.append(f"{on} IN ({photos})")
    return conditions


def warehouse_trouble(file: Path, error: Exception) -> str:
    """What is wrong with the published file, and the one command that mends it."""
    said = " ".join(str(error).split())
    return f"{file} cannot be used: {said[:300]}. `vibe warehouse rebuild` writes it anew from the lake, whatever holds or damaged it"


def is_key(text: str) -> bool:
    """Whether a text has the shape of partition keys: lowercase letters and digits of any script with their marks, joined by '-'."""
    categories = [unicodedata.category(char) for char in text.replace("-", "")]
    return (
        0 < len(text) <= MOST_KEY_CHARS
        and all(category[0] in "LM" or category == "Nd" for category in categories)
        and not text.startswith("-") and not categories[0].startswith("M")
        and len(quote(text)) <= MOST_KEY_BYTES
        and unicodedata.normalize("NFC", text.lower()) == text
    )  # fmt: skip


def checked_key(folder_key: str) -> str:
    """The key itself when it has the shape that photos.folder_key gives keys. Raises ValueError otherwise."""
    if not is_key(folder_key):
        raise ValueError(
            f"not a folder key: {folder_key!r} (expected lowercase letters and digits of any script and '-', at most {MOST_KEY_CHARS}, "
            f"percent-encoded at most {MOST_KEY_BYTES} bytes)"
        )
    return folder_key


def conform(rows: pl.DataFrame, table: Table) -> pl.DataFrame:
    """Columns in the table's order and types. Raises ValueError naming missing and unexpected columns."""
    schema = table.polars_schema()
    missing, extra = sorted(schema.keys() - set(rows.columns)), sorted(set(rows.columns) - schema.keys())
    if missing or extra:
        raise ValueError(f"{table.name}: missing columns {missing}, unexpected columns {extra}")
    return rows.select(list(schema)).cast(schema)


def _one_line(error: Exception) -> str:
    """Without colours."""
    return " ".join(re.sub(r"\x1b\[\d+m|↳", "", str(error)).split())


def _data_files(table: DeltaTable) -> dict[str, int]:
    """Path below the table -> bytes, of the data files of one version."""
    files = table.get_add_actions()
    return dict(zip(map(unquote, files["path"].to_pylist()), files["size_bytes"].to_pylist(), strict=True))


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
        to_disk(temporary)
        temporary.replace(path)
        to_disk(path.parent)
    except OSError as error:
        if error.filename is None and error.errno is not None:  # a write that finds the disk full does not say where
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str, *, encoding: str = "utf-8") -> Path:
    """Write a text file atomically."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding=encoding)
    return path


Publish = Callable[["duckdb.DuckDBPyConnection"], None]
