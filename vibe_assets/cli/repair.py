"""Mend what a power cut, a full disk, a hand or a hanging client left: the lake's tables, the logs and the published file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from vibe_assets.cli.app import main, platform, show

if TYPE_CHECKING:
    from vibe_assets.stages.platform import Platform


@main.command()
@click.option("--check", is_flag=True, help="Only name what is damaged; exit status 1 when something is.")
def repair(check: bool) -> None:
    """Make a damaged lake whole: without the network, without asking the teacher.

    Torn newest commits are set aside (`*.damaged`): a table is as of its last whole commit. A table that is gone, or torn in older commits,
    is made anew from photos, journal, verdicts, cached vectors and the published file. Damaged lines of logs are set aside, too. Sound
    tables and logs are not touched.

    \b
    Examples:
      vibe repair --check
      vibe repair
    """
    from vibe_assets.operate.damage import damaged_lines, set_lines_aside

    home = platform()
    if check:
        torn, lines = home.lake.torn(), damaged_lines(home)
        found = [(f"table {name}", str(entry.file), entry.what) for name, entry in torn]
        found += [("log", str(file), f"{count} damaged lines") for file, count in lines]
        if not found:
            click.echo("every table is whole, and no log has a damaged line")
            return
        show("", ["what", "file", "what is wrong"], found)
        raise click.ClickException("`vibe repair` makes them whole")
    left = _repair_tables(home)
    for file, count in set_lines_aside(home):
        click.echo(f"set {count} damaged lines aside: {file}.damaged")
    if left:
        raise click.ClickException(f"{left} tables need a hand, see above")
    click.echo("every table is whole")


def _repair_tables(home: Platform) -> int:
    """Say what became of each table; how many need a hand."""
    from vibe_assets.stages.repair import repair_lake
    from vibe_assets.triage import picks, study

    series = {
        "photo_series": study.build_series,
        "series_members": study.build_series,
        "series_preferences": study.settle_preferences,
        "image_quality": study.measure_quality,
        "best_of_series": picks.pick_library,
    }
    left = 0
    for mended in repair_lake(home, more=series):
        left += mended.rows is None
        click.echo(f"table {mended.table}: " + (mended.detail if mended.rows is None else f"made anew, {mended.rows:,} rows"))
    return left


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
