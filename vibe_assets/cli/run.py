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
    from collections.abc import Sequence

    from vibe_assets.cli.status import Status
    from vibe_assets.defs.drive import Tally

SHOWN = 3  # reasons in one line


@main.command()
@click.argument("assets", nargs=-1)
@click.option("--folder", "folders", multiple=True, metavar="KEY", help="With ASSETS: only this folder (see `vibe folders`); repeatable.")
def run(assets: tuple[str, ...], folders: tuple[str, ...]) -> None:
    """Do all that the daemon would do now, in the foreground, and end with the status.

    ASSETS are made again first, whether or not anything they are made from moved. Exit status 1 when a run failed, while a gate that
    something waits for is shut, and while something that failed waits for another try.

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
        print_status(found, home.questions)
    if why := [str(stopped)] if stopped else not_done(found, tally.failed):
        click.echo(f"Error: {visible('; '.join(why))}", err=True)
    leave(1 if why else 0)


def not_done(found: Status, failed: Sequence[str]) -> list[str]:
    """Why a run that came to rest is no success: what failed in it, and what keeps the library from being whole until somebody acts."""
    from vibe_assets.cli.status import clock, retries_of

    library, graph = found.library, found.graph
    if not library.files:
        return [f"no photos below {found.root}: put some there, or set library.root to the folder that holds them"]
    why = [library.lacks] if library.lacks else []
    why += [f"the gate {gate.gate} of {gate.asset} is shut: {gate.remedy}" for gate in graph.gates]
    for one in retries_of(library, graph):
        where = f" of {one.partition}" if one.partition else ""
        why.append(f"{one.asset}{where} failed and waits for another try at {clock(one.next_try)}: {one.reason}")
    if failed and not why:
        why.append(f"{some(len(failed), 'run')} failed: {', '.join(failed[:SHOWN])}")
    more = len(why) - SHOWN
    return [*why[:SHOWN], f"and {more} more, see `vibe status`"] if more > 0 else why


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
    from vibe_assets.operate.instance import dagster_home, refuse_daemon, working

    settings = platform().settings
    with working(settings, "`vibe adopt`"):
        with DagsterInstance.get() as instance:
            refuse_daemon(instance)
            forgotten = take(settings, instance)
    served = dagster_home(settings)
    said = f"{served} serves {settings.home} now; it forgot {some(forgotten, 'asset')}. Next: vibe run, or vibe ui"
    tell(said, instance=served, home=settings.home, forgotten=forgotten)
