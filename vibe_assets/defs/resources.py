"""Resources: the installation (settings read anew in every run) and the published warehouse file."""

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
import duckdb
from dagster_duckdb import DuckDBResource

from vibe_assets.lake import LakeError, warehouse_trouble
from vibe_assets.operate.instance import claim
from vibe_assets.settings import load_settings
from vibe_assets.stages.platform import Platform
from vibe_assets.stages.warehouse import CONFIG, is_broken, open_to_older_clients, publish_tables, refuse_damaged

if TYPE_CHECKING:
    import pyarrow as pa


class Installation(dg.ConfigurableResource):
    """Opens settings and lake at run time, so that a changed vibe.toml is seen without a reload of the code location."""

    def open(self, context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext, **facts: str) -> Platform:
        """The installation as this run sees it; run id, asset and code commit go into the metadata of its writes."""
        signature = {"asset": context.asset_key.to_user_string(), **facts} if isinstance(context, dg.AssetExecutionContext) else facts
        platform = Platform.open(run_id=context.run.run_id, progress=False).signed(**signature)
        claim(platform.settings, context.instance)  # a run of another library's history must not touch these tables
        return platform


class Warehouse(dg.ConfigurableResource):
    """The DuckDB file that any DuckDB client can open: rewritten in one transaction, never held while something is computed."""

    def path(self) -> Path:
        return load_settings().warehouse_file

    def publish(self, tables: "Mapping[str, pa.Table]") -> dict[str, int]:
        """Replace every named table by the given Arrow table, all or none; return the row counts.

        Columns are matched by name. Waits for readers. Raises duckdb.Error, after which the file still holds what it held before, and
        LakeError for a file that is damaged or stays locked.
        """
        path = self.path()
        path.parent.mkdir(parents=True, exist_ok=True)
        refuse_damaged(path)
        try:
            open_to_older_clients(path)
            with DuckDBResource(database=str(path), connection_config=CONFIG).get_connection() as connection:
                return publish_tables(connection, tables)
        except duckdb.Error as error:
            if is_broken(error):
                raise LakeError(warehouse_trouble(path, error)) from error
            raise

    @contextmanager
    def reader(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A read-only connection, closed at the end of the block."""
        connection = duckdb.connect(str(self.path()), read_only=True)
        try:
            yield connection
        finally:
            connection.close()


def code_commit() -> str:
    """Short hash of the checked-out commit, '' outside a git checkout."""
    found = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],  # noqa: S607
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return found.stdout.strip()
