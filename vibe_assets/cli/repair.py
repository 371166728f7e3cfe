"""Mend what a power cut, a full disk or a hanging client left: the lake's tables and the published file."""

from __future__ import annotations

import click

from vibe_assets.cli.app import main, platform, show


@main.group()
def lake() -> None:
    """Look for files of the lake that a power cut tore, and go back to what is whole."""


@lake.command("check")
def lake_check() -> None:
    """Name every torn file. Exit status 1 when there is one.

    \b
    Example: vibe lake check
    """
    torn = platform().lake.torn()
    if not torn:
        click.echo("every table is whole")
        return
    show("", ["table", "file", "what is wrong"], [(name, entry.file, entry.what) for name, entry in torn])
    raise click.ClickException("`vibe lake repair` goes back to the last whole commit of each table; `vibe run` makes what is missing then")


@lake.command("repair")
def lake_repair() -> None:
    """Set torn newest commits aside (`*.damaged`): every table is as of its last whole commit. Sound tables are not touched.

    \b
    Example: vibe lake repair
    """
    home = platform().lake
    for file in home.repair():
        click.echo(f"set aside {file}.damaged")
    if left := home.torn():
        name, torn = left[0]
        raise click.ClickException(f"table {name}: {torn}: older than the newest commit; `vibe run {name}` writes its rows anew")
    click.echo("every table is whole")


@main.group()
def warehouse() -> None:
    """The published DuckDB file."""


@warehouse.command("rebuild")
def warehouse_rebuild() -> None:
    """Write the published file anew from the lake: for one that is damaged, lost, or held by a client that hangs.

    \b
    Example: vibe warehouse rebuild
    """
    from vibe_assets.stages.notes import WANTED, leave_note
    from vibe_assets.stages.warehouse import rebuild_warehouse

    home = platform()
    for name, rows in rebuild_warehouse(home).items():
        click.echo(f"{name}: {rows:,} rows")
    leave_note(home, "published_warehouse", what=WANTED)  # its reader, the drift report, follows
    click.echo(home.settings.warehouse_file)
