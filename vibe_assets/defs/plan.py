"""What is to be made next, and what everything else waits for: decided from what is there now, never from a memory of earlier looks.

An asset is wanted when it is not there, when its code changed, when an input's content differs from the one it was made from, or when a
gate never judged it. What was lost on the way (a request, a run, a process) is therefore still wanted at the next look, and what was
written again with the same content wakes nobody. Pure functions: defs/history.py reads the instance, the sensor and the driver act.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from vibe_assets.defs.questions import HEAD_NAMES
from vibe_assets.records import fingerprint

FIRST_PAUSE_S = float(os.environ.get("VIBE_RETRY_AFTER_S", "60"))  # before the second try; tests wait less
PAUSES_S = tuple(FIRST_PAUSE_S * times for times in (1, 5, 15, 30, 60))  # before the second, third ... try; the last repeats
GIVEN_UP = 3  # tries after which the others go on without it; it is tried again all the same
NONE = "none"  # version of an input that may be absent and is
PEOPLE = frozenset({"audited_verdicts"})  # a source that people make: it may be absent for ever; the sensors bring the others at once
MAY_BE_ABSENT = {"predictions": frozenset({"deployed_heads", "auto_ground_truth"})}  # asset -> inputs that it is made without
HEAD_GATES = ("beats_majority", "not_worse_than_deployed")
JUDGES_ITSELF = {  # asset -> inputs whose shut gates hold nothing up, and these gates: a run's own graph knows only those of what it makes
    "deployed_heads": dict.fromkeys(HEAD_NAMES, HEAD_GATES),
}
HOLD_NOTHING_UP = frozenset(name for names in JUDGES_ITSELF.values() for name in names)
SHUT = "!"  # behind the version of such an input: that its gate opens is news


class Cell(NamedTuple):
    """One asset, or one folder's partition of it."""

    asset: str
    folder: str | None = None

    def __str__(self) -> str:
        return self.asset if self.folder is None else f"{self.asset} of {self.folder}"


class State(StrEnum):
    """How things stand with a cell."""

    UP_TO_DATE = "up to date"
    RUNNING = "running"
    WANTED = "wanted"
    PAUSED = "tried again later"
    WAITING = "waiting"


@dataclass(frozen=True)
class Graph:
    """The part of the asset graph that is kept up to date, in an order in which inputs come first."""

    inputs: Mapping[str, tuple[str, ...]]
    by_folder: frozenset[str]
    once: frozenset[str]  # built when absent, then left alone
    codes: Mapping[str, str]
    pools: Mapping[str, str]
    checks: Mapping[str, tuple[str, ...]]
    gates: Mapping[str, tuple[str, ...]]  # those of the checks that block


@dataclass(frozen=True)
class Made:
    """The newest materialisation of a cell."""

    at: int  # storage id of the event
    version: str  # of its content
    inputs: Mapping[str, str] | None = None  # versions of the inputs it was made from; None when nobody noted them
    code: str = ""


@dataclass(frozen=True)
class Attempt:
    """A run of a cell that ended without bringing what it was for."""

    run_id: str
    ended: float  # seconds since 1970
    tries: int = 1  # with the same inputs
    inputs: str = ""  # fingerprint of the inputs it was asked for with
    cancelled: bool = False

    @property
    def next_try(self) -> float:
        """When it is tried again; somebody who cancelled a run wants it later, not at once."""
        return self.ended + PAUSES_S[min(self.tries - 1 + self.cancelled, len(PAUSES_S) - 1)]


@dataclass(frozen=True)
class Seen:
    """One look at the instance. What runs was read first: what ended meanwhile still counts as running, never as undone."""

    folders: Sequence[str]
    made: Mapping[Cell, Made] = field(default_factory=dict)
    running: frozenset[Cell] = frozenset()
    failed: Mapping[Cell, Attempt] = field(default_factory=dict)
    shut: Mapping[Cell, tuple[str, ...]] = field(default_factory=dict)  # blocking gates that judged the newest and did not pass
    unjudged: frozenset[Cell] = frozenset()  # a blocking gate has not judged the newest
    again: Mapping[Cell, str] = field(default_factory=dict)  # cells that ask for another run, and why
    now: float = 0.0


@dataclass(frozen=True)
class Status:
    """What the plan says of a cell."""

    state: State
    why: str = ""  # what it is wanted for
    waits_for: tuple[str, ...] = ()
    settled: bool = True  # nothing is on its way here: what is made from it may go on
    inputs: str = ""  # fingerprint of the inputs as they are
    attempt: Attempt | None = None


class Input(NamedTuple):
    """An input as one cell sees it; a fan-in is all folders together."""

    version: str | None  # None: nothing there
    settled: bool
    shut: tuple[str, ...]


def input_version(made: Mapping[Cell, Made], folders: Sequence[str], asset: str, folder: str | None, *, by_folder: bool) -> str | None:
    """The version of an input as a cell of `folder` sees it; None when it is absent. All folders together when the cell has none."""
    if not by_folder or folder is not None:
        one = made.get(Cell(asset, folder if by_folder else None))
        return one.version if one else None
    versions = sorted(made[cell].version for key in folders if (cell := Cell(asset, key)) in made)  # whatever the folders are called
    return fingerprint({"folders": versions}) if versions else None


def seen_version(asset: str, name: str, version: str | None, *, shut: bool) -> str:
    """The version of the input `name` as `asset` takes it; empty when it cannot be made yet."""
    if version is None:
        return NONE if name in MAY_BE_ABSENT.get(asset, ()) else ""
    return version + SHUT if shut and name in JUDGES_ITSELF.get(asset, ()) else version


def plan(graph: Graph, seen: Seen) -> dict[Cell, Status]:
    """The status of every cell of the graph."""
    found: dict[Cell, Status] = {}
    views: dict[str, Input] = {}  # fan-ins, each looked at once
    for asset in graph.inputs:
        for cell in cells(graph, seen, asset):
            found[cell] = _judge(graph, seen, found, views, cell)
    return found


def cells(graph: Graph, seen: Seen, asset: str) -> Iterator[Cell]:
    """The cells of an asset: one, or one a folder."""
    yield from (Cell(asset, key) for key in seen.folders) if asset in graph.by_folder else (Cell(asset),)


def _judge(graph: Graph, seen: Seen, found: Mapping[Cell, Status], views: dict[str, Input], cell: Cell) -> Status:
    inputs = {name: _view(graph, seen, found, views, name, cell) for name in graph.inputs[cell.asset]}
    judges = JUDGES_ITSELF.get(cell.asset, {})
    versions = {name: seen_version(cell.asset, name, one.version, shut=bool(one.shut)) for name, one in inputs.items()}
    key, moving = fingerprint(versions), [name for name, one in inputs.items() if not one.settled]
    if cell in seen.running:
        return Status(State.RUNNING, settled=False, inputs=key)
    why, attempt = _wanted(graph, seen, cell, versions), seen.failed.get(cell)
    if not why:
        return Status(State.UP_TO_DATE, settled=not moving, inputs=key)
    absent = [name for name, version in versions.items() if not version]
    shut = [gate for name, one in inputs.items() if name not in judges for gate in one.shut]
    if moving or absent or shut:
        return Status(State.WAITING, why, (*moving, *(name for name in absent if name not in moving), *shut), not moving, key, attempt)
    if attempt and attempt.inputs in ("", key) and attempt.ended - 60 <= seen.now < attempt.next_try:
        return Status(State.PAUSED, why, (), attempt.tries >= GIVEN_UP, key, attempt)
    return Status(State.WANTED, why, (), False, key, attempt)


def _wanted(graph: Graph, seen: Seen, cell: Cell, versions: Mapping[str, str]) -> str:
    """Why the cell is to be made, in words; empty when it is not."""
    made = seen.made.get(cell)
    if made is None:
        return "it is not there yet"
    if cell in seen.failed:
        return "its last run did not end well"
    if cell in seen.unjudged:
        return "its gates have not judged it"
    if cell.asset in graph.once:
        return ""
    if made.inputs is None:
        return "nobody noted what it was made from"
    if made.code != graph.codes.get(cell.asset, ""):
        return "its code changed"
    moved = [name for name, version in versions.items() if version and made.inputs.get(name) != version]
    return f"{', '.join(moved)} moved" if moved else seen.again.get(cell, "")


def _view(graph: Graph, seen: Seen, found: Mapping[Cell, Status], views: dict[str, Input], name: str, cell: Cell) -> Input:
    """The input `name` as `cell` sees it."""
    if name not in graph.by_folder:
        return _one(graph, seen, found, Cell(name))
    if cell.asset in graph.by_folder:
        return _one(graph, seen, found, Cell(name, cell.folder))
    if name not in views:
        each = [_one(graph, seen, found, Cell(name, key)) for key in seen.folders]
        version = input_version(seen.made, seen.folders, name, None, by_folder=True)
        views[name] = Input(version, all(one.settled for one in each), tuple(gate for one in each for gate in one.shut))
    return views[name]


def _one(graph: Graph, seen: Seen, found: Mapping[Cell, Status], cell: Cell) -> Input:
    made = seen.made.get(cell)
    if cell.asset not in graph.inputs:  # a source
        return Input(made.version if made else None, made is not None or cell.asset in PEOPLE, ())
    return Input(made.version if made else None, found[cell].settled, tuple(f"{cell}: {gate}" for gate in seen.shut.get(cell, ())))
