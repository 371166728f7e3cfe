"""Ask the lake, measure the machine."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from vibe_assets.cli.app import FOLDER, main, platform, show, tell


@main.command(prints=False)
@click.argument("query")
@click.option("--json", "as_json", is_flag=True, help="JSON lines instead of a table.")
def sql(query: str, as_json: bool) -> None:
    """Ask the lake's tables, and the published file as `warehouse.*`, in DuckDB's SQL.

    \b
    Example: vibe sql "select scene, count(*) from predictions group by all order by 2 desc"
    """
    import duckdb

    from vibe_assets.lake import warehouse_trouble
    from vibe_assets.stages.warehouse import is_broken

    home = platform()
    connection = home.lake.connect(home.settings.warehouse_file, query=query)
    try:
        result = connection.sql(query)
        rows = None if result is None else result.pl()
    except duckdb.Error as error:
        file = home.settings.warehouse_file
        raise click.ClickException(warehouse_trouble(file, error) if is_broken(error) else str(error)) from error
    if rows is None:
        return
    if as_json:
        sys.stdout.write(rows.write_ndjson())
    else:
        show("", rows.columns, list(rows.iter_rows()))


@main.group()
def bench() -> None:
    """Measure this machine."""


@bench.command("embed")
@click.argument("folder", type=FOLDER, required=False)
@click.option("--most", default=256, show_default=True, type=click.IntRange(min=1), help="Photos to measure on.")
def bench_embed(folder: Path | None, most: int) -> None:
    """Photos per second of the encoder: whole pipeline, decoding alone, forward pass alone."""
    from vibe_assets.encoders.bench import bench as measure

    settings = platform().settings
    chosen = folder or settings.root_folder("name a folder to measure with: vibe bench embed FOLDER")
    found = measure(chosen, settings.encoder, limit=most)
    tell(found, **found.row())
