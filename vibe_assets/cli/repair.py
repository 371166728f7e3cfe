"""Mend what a power cut, a full disk, a hand or a hanging client left: the lake's tables, the logs and the published file."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from vibe_assets.cli.app import keep, main, platform, show, tell
from vibe_assets.words import some

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
        found += [("log", str(file), some(count, "damaged line")) for file, count in lines]
        if not found:
            tell("every table is whole, and no log has a damaged line", damaged=[])
            return
        show("", ["what", "file", "what is wrong"], found, name="damaged")
        raise click.ClickException("`vibe repair` makes them whole")
    left = _repair_tables(home)
    aside = set_lines_aside(home)
    for file, count in aside:
        tell(f"set {some(count, 'damaged line')} aside: {file}.damaged")
    keep(lines_set_aside={str(file): count for file, count in aside})
    if left:
        raise click.ClickException(f"{some(left, 'table')} {'needs' if left == 1 else 'need'} a hand, see above")
    tell("every table is whole")


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
    done: list[dict[str, Any]] = []
    for mended in repair_lake(home, more=series):
        done.append(asdict(mended))
        said = mended.detail if mended.rows is None else f"made anew, {some(mended.rows, 'row')}"
        tell(f"table {mended.table}: {said}", tables=done)
    return sum(mended["rows"] is None for mended in done)


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
    tables = rebuild_warehouse(home)
    for name, rows in tables.items():
        tell(f"{name}: {some(rows, 'row')}")
    leave_note(home, "published_warehouse", what=WANTED)  # its reader, the drift report, follows
    tell(home.settings.warehouse_file, file=home.settings.warehouse_file, tables=tables)
