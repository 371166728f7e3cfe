"""Let the graph move in the foreground, and give its instance to this library."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from vibe_assets.cli.app import document, keep, leave, main, platform, tell
from vibe_assets.errors import UserError
from vibe_assets.strangers import visible
from vibe_assets.words import some

if TYPE_CHECKING:
    from vibe_assets.defs.drive import Tally


@main.command()
@click.argument("assets", nargs=-1)
@click.option("--folder", "folders", multiple=True, metavar="KEY", help="With ASSETS: only this folder (see `vibe folders`); repeatable.")
def run(assets: tuple[str, ...], folders: tuple[str, ...]) -> None:
    """Do all that the daemon would do now, in the foreground, and end with the status.

    ASSETS are made again first, whether or not anything they are made from moved. Exit status 1 when a run failed.

    \b
    Examples:
      vibe run                     until nothing moves
      vibe run annotations         ask the teacher again for every photo it did not answer, then go on
      vibe run audit_sample        draw a new sample
    """
    from vibe_assets.cli.status import as_facts, print_status, read_status
    from vibe_assets.definitions import defs
    from vibe_assets.defs.foreground import run_graph
    from vibe_assets.demo.run import teacher_for_demo
    from vibe_assets.photos.workers import stop_idle_workers

    home, stopped = platform(), None
    with teacher_for_demo(home.settings):
        try:
            log = None if document() is not None or sys.stdout.isatty() else sys.stdout
            tally = run_graph(defs, assets=assets, folders=folders, log=log)
            _say(tally)
        except LookupError as error:
            raise click.BadParameter(str(error).strip("'\"")) from error
        except UserError as error:
            stopped = error
    stop_idle_workers()
    try:
        found = read_status(home)
    except UserError as error:
        raise (stopped or error) from None
    keep(status=as_facts(found))
    if document() is None:
        print_status(found)
    if stopped is not None:
        raise stopped
    if not found.library.files:
        click.echo(f"Error: no photos below {found.root}: put some there, or set library.root to the folder that holds them", err=True)
    leave(1 if tally.failed or not found.library.files else 0)


def _say(tally: Tally) -> None:
    """What the runs did."""
    for line in tally.not_passed:
        tell(f"gate not passed: {line}")
    for line in tally.failed:
        click.echo(visible(f"run failed: {line}"), err=True)
    said = some(tally.runs, "run") + (f", {len(tally.failed):,} failed" if tally.failed else "") if tally.runs else "nothing moved: no run"
    tell(said, runs=tally.runs, failed=tally.failed, gates_not_passed=tally.not_passed)


@main.command()
def adopt() -> None:
    """Give the Dagster instance in $DAGSTER_HOME to this library; it forgets the one it belonged to.

    Needed only where a library was deleted or two were pointed at one instance: `vibe ui` and `vibe run` say so. Photos, tables, journals
    and reports of both libraries stay as they are; what the instance knew of runs and versions of the other one's assets is gone.
    """
    from dagster import DagsterInstance

    from vibe_assets.operate.instance import adopt as take
    from vibe_assets.operate.instance import dagster_home, prepare_home, refuse_daemon, working

    settings = platform().settings
    with working(settings, "`vibe adopt`"):
        prepare_home(settings)
        with DagsterInstance.get() as instance:
            refuse_daemon(instance)
            forgotten = take(settings, instance)
    served = dagster_home(settings)
    said = f"{served} serves {settings.home} now; it forgot {some(forgotten, 'asset')}. Next: vibe run, or vibe ui"
    tell(said, instance=served, home=settings.home, forgotten=forgotten)
