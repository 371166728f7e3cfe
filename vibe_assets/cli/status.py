"""One screen: what is there, what runs, what waits for whom, what it cost, and what to do next."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from vibe_assets.cli.app import main, platform
from vibe_assets.records import ANNOTATIONS
from vibe_assets.stages.teacher import PASSING
from vibe_assets.strangers import visible
from vibe_assets.words import some

if TYPE_CHECKING:
    from vibe_assets.defs.retries import Retry
    from vibe_assets.defs.standing import GraphStatus
    from vibe_assets.questions import Questions
    from vibe_assets.stages.platform import Platform
    from vibe_assets.stages.status import LibraryStatus

SHOWN = 5  # lines of a kind
ACCEPT = "vibe folders --accept-missing"
OUTGROWN = 20  # the audit is behind when more than one photo in so many came since its draw
ASKED_AGAIN = ("not asked yet", *PASSING)
TEACHER_AWAY = ("unreachable", "timeout", "server_error", "rate_limited", "request_rejected")


@dataclass(frozen=True)
class Next:
    """The one command that brings the library on, and why."""

    command: str
    why: str


@dataclass(frozen=True)
class Status:
    """All that `vibe status` says; --json prints it."""

    root: str | None
    home: str
    instance: str
    library: LibraryStatus
    graph: GraphStatus
    waits: tuple[tuple[str, str], ...]  # for whom, what
    next: Next
    damaged: dict[str, int] = field(default_factory=dict)  # file of a log -> damaged lines


@main.command(prints=False)  # its JSON is the whole status
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of lines.")
def status(as_json: bool) -> None:
    """What is there, what runs, what waits for whom, what it cost so far, and the one next command.

    \b
    Example: vibe status --json
    """
    home = platform()
    found = read_status(home)
    if as_json:
        click.echo(json.dumps(as_facts(found), indent=2, ensure_ascii=False))
    else:
        print_status(found, home.questions)


def read_status(home: Platform) -> Status:
    """Look at lake and instance; nothing is changed, and no instance is made where there is none."""
    from vibe_assets.defs.standing import GraphStatus, graph_status
    from vibe_assets.operate.damage import damaged_lines
    from vibe_assets.operate.instance import dagster_home, has_instance, open_instance
    from vibe_assets.stages.status import library_status

    settings = home.settings
    library = library_status(home)
    graph = GraphStatus()
    if has_instance(settings):
        from vibe_assets.definitions import defs

        with open_instance(settings, only_look=True) as instance:
            graph = graph_status(instance, defs, home)
    elif settings.library.root is not None:
        graph = GraphStatus(to_make=("the whole graph: nothing of it was made here yet",))
    root = None if settings.library.root is None else str(settings.root)
    damaged = dict(damaged_lines(home))
    waits = (*waiting_for(library, graph), *(("you", _damage(file, count)) for file, count in damaged.items()))
    return Status(root, str(settings.home), str(dagster_home(settings)), library, graph, waits, next_step(home, library, graph), damaged)


def as_facts(found: Status) -> dict[str, Any]:
    """The status for programs."""
    facts: dict[str, Any] = json.loads(json.dumps(asdict(found), default=_as_text))
    return facts


def _damage(file: str, count: int) -> str:
    return f"{some(count, 'damaged line')} in {file}: `vibe repair` sets {'it' if count == 1 else 'them'} aside"


def waiting_for(library: LibraryStatus, graph: GraphStatus) -> list[tuple[str, str]]:
    """Whom something waits for, and what."""
    waits = []
    if library.lacks:
        waits.append(("you", library.lacks))
    for reason, photos in library.unanswered.items():
        waits.append(("the teacher", f"{some(photos, 'photo')}: {reason}"))
    if library.checked < library.sampled:
        waits.append(("people", f"{library.sampled - library.checked:,} of {some(library.sampled, 'photo')} of the sample are not checked"))
    for gate in graph.gates:
        waits.append(("a gate", f"{gate.gate} on {gate.asset}: {gate.remedy}"))
    for one in retries_of(library, graph):
        where = f" ({one.partition})" if one.partition else ""
        waits.append((f"a retry at {clock(one.next_try)}", f"{one.asset}{where}, failed {some(one.failures, 'time')}: {one.reason}"))
    if graph.refused:
        waits.append(("you", graph.refused))
    if library.trial:
        waits.append(("you", f"the candidate teacher {'may be promoted' if library.trial_allowed else 'lost its trial'}: {library.trial}"))
    return waits


def retries_of(library: LibraryStatus, graph: GraphStatus) -> list[Retry]:
    """What time may mend: what waits for a setting is no retry."""
    return [one for one in graph.retries if not (library.lacks and one.asset == ANNOTATIONS.name)]


def next_step(home: Platform, library: LibraryStatus, graph: GraphStatus) -> Next:
    """The first thing that is in the way of labels for every photo."""
    from pathlib import Path

    settings = home.settings
    if settings.library.root is None:
        return Next("vibe init PHOTO_FOLDER", "no photos are named yet")
    if isinstance(settings.root, Path) and not settings.root.is_dir():
        return Next("vibe doctor", f"{settings.root} is not there")
    if ACCEPT in graph.refused:
        return Next(ACCEPT, "if the folders are gone for good; if they are not, mount their disk, and look again")
    if graph.refused:
        return Next("vibe doctor", "the library cannot be looked at as it lies there")
    if graph.made and not library.files and not library.folders:
        return Next("vibe folders", f"no photo was found below {settings.root}: put some there")
    if library.lacks:
        return Next("vibe doctor", library.lacks)
    if any(reason in TEACHER_AWAY for reason in library.unanswered):
        return Next("vibe doctor", "the teacher does not answer; what waits for it is tried again by itself")
    if not graph.daemon and (not library.files or graph.to_make or graph.queued):
        what = f": {graph.to_make[0]}" if graph.to_make else ""
        return Next("vibe run", f"no daemon is at work, and there is something to make{what}")
    if library.sampled and library.checked < library.sampled and not library.checked:
        return Next("vibe audit --open", "people have not checked any photo of the sample yet")
    if graph.gates:
        gate = graph.gates[0]
        where = {"teacher_report": "vibe report teacher --open"}.get(gate.asset, "vibe ui")
        return Next(where, f"the gate {gate.gate} of {gate.asset} is shut: {gate.remedy}")
    if (retries := retries_of(library, graph)) and not graph.daemon:
        one = retries[0]
        if "`vibe doctor`" in one.reason:
            return Next("vibe doctor", f"{one.asset} failed, see above; once the cause is gone, `vibe run` tries it again")
        return Next("vibe run", f"{one.asset} failed, see above, and no daemon is there to try it again")
    if graph.runs or graph.queued or graph.to_make:
        return Next("vibe status", "work goes on; look again later")
    if library.checked < library.sampled:
        return Next("vibe audit --open", "the more photos people check, the more is known")
    if library.outgrown * OUTGROWN > library.photos:
        return Next(
            "vibe sample", f"{library.outgrown:,} photos came since the audit sample was drawn, and its figures do not speak of them"
        )
    if library.trial_allowed:
        return Next("vibe teacher promote", "the candidate teacher passed its trial")
    if not graph.daemon and any(reason in ASKED_AGAIN for reason in library.unanswered):
        return Next("vibe run", "all is made, and photos without an answer may be asked about again")
    return Next("vibe report --open", "all is made" if graph.daemon else "all is made; `vibe run` takes in what is new")


# -- for people --------------------------------------------------------------------------------------------------------
def print_status(found: Status, questions: Questions | None = None) -> None:
    """A screen of lines; columns of `questions` have the names that people read."""
    library, graph = found.library, found.graph
    _head("Library")
    _line("photos", found.root or "not named yet")
    _line("data", found.home)
    _line("there", f"{some(library.folders, 'folder')}, {some(library.photos, 'photo')}" + _listed("; rejected", library.rejected))
    _line("teacher", f"{library.answered:,} answered" + _listed("; without an answer", library.unanswered))
    _line("people", f"{library.checked:,} of {some(library.sampled, 'photo')} of the sample checked, {library.audited:,} audited")
    _line("heads", ", ".join(library.heads.values()) or "none in force")
    for kind, reason in library.headless.items():
        _line("", f"{kind}: {reason}")
    _line("labels", _by_whom(library.labelled, questions) or "none yet")
    cost = library.cost
    spent = f"{some(cost.answers, 'answer')}, {some(cost.tokens, 'token')}, {_duration(cost.teacher_s)} of the teacher's time"
    _line("cost", spent + (f", {cost.usd:.2f} US dollars for the tag benchmark" if cost.usd is not None else ""))
    _head("At work")
    _line("daemon", "alive" if graph.daemon else "none")
    for run in graph.runs[:SHOWN]:
        where, since = f" ({run.partition})" if run.partition else "", f", since {clock(run.since)}" if run.since else ""
        _line("runs", f"{run.assets}{where}{since}")
    if len(graph.runs) > SHOWN:
        _line("", f"and {len(graph.runs) - SHOWN} more")
    _line("queued", some(graph.queued, "run"))
    if graph.to_make:
        more = len(graph.to_make) - SHOWN
        _line("to make", "; ".join(graph.to_make[:SHOWN]) + (f"; and {more} more" if more > 0 else ""))
    if found.waits:
        _head("Waits for")
        for whom, what in found.waits[: 2 * SHOWN]:
            _line(whom, what)
        if len(found.waits) > 2 * SHOWN:
            _line("", f"and {len(found.waits) - 2 * SHOWN} more: vibe status --json")
    _head("Next")
    _line(found.next.command, found.next.why)


def _by_whom(labelled: dict[str, dict[str, int]], questions: Questions | None) -> str:
    """Who answers how many photos, questions with the same figures together."""
    alike: dict[str, list[str]] = {}
    name = str if questions is None else questions.name
    for question, by in labelled.items():
        alike.setdefault(", ".join(f"{photos:,} by {who.replace('_', '-')}" for who, photos in by.items()), []).append(name(question))
    return "; ".join(f"{', '.join(names)}: {figures}" for figures, names in alike.items())


def _head(text: str) -> None:
    click.secho(text, bold=True)


def _line(name: str, text: str) -> None:
    click.echo(f"  {visible(name):<19}  {visible(text)}")  # as wide as the longest command that is named


def _listed(before: str, counts: dict[str, int]) -> str:
    return f"{before}: " + ", ".join(f"{count:,} {name}" for name, count in counts.items()) if counts else ""


def clock(moment: datetime) -> str:
    """The hour here; with the day, when that is not today."""
    here = moment.astimezone()
    return here.strftime("%H:%M" if here.date() == datetime.now().astimezone().date() else "%Y-%m-%d %H:%M")


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min" if seconds >= 60 else f"{seconds:.0f} s"


def _as_text(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
