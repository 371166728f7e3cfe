"""What the instance knows of a library's graph: what runs, what is queued, which gate is shut, what failed and when it is tried again."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import dagster as dg
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph
from dagster._core.storage.event_log.base import AssetRecord

from vibe_assets.defs.automation import JOBS, folder_events, moved_folders, rejected_for_now, source_events, untried_candidate
from vibe_assets.defs.history import graph_of, look
from vibe_assets.defs.orders import lost_tables, unheard
from vibe_assets.defs.partitions import folders
from vibe_assets.defs.plan import HOLD_NOTHING_UP, Cell, Graph, State, Status, plan
from vibe_assets.defs.retries import Retry, paused
from vibe_assets.errors import UserError
from vibe_assets.operate.instance import daemon_alive
from vibe_assets.operate.launcher import is_lost
from vibe_assets.stages.library import folders_as_they_lie
from vibe_assets.stages.platform import Platform
from vibe_assets.words import some

AT_WORK = (dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.CANCELING)
IN_QUEUE = (dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED)
LISTED = 50


@dataclass(frozen=True)
class Run:
    """A run that goes on."""

    assets: str
    partition: str | None
    since: datetime | None  # UTC


@dataclass(frozen=True)
class ShutGate:
    """A blocking gate that did not pass: what follows its asset waits until it does."""

    asset: str
    gate: str
    remedy: str


@dataclass(frozen=True)
class GraphStatus:
    """What goes on in the graph."""

    daemon: bool = False
    runs: tuple[Run, ...] = ()
    queued: int = 0
    gates: tuple[ShutGate, ...] = ()
    retries: tuple[Retry, ...] = ()
    made: int = 0  # assets of the graph that were made at least once
    assets: int = 0
    to_make: tuple[str, ...] = ()  # what a look would start from: what moved, what is wanted, what commands left to do
    refused: str = ""  # why the library as it lies there is not looked at any further


def graph_status(instance: dg.DagsterInstance, defs: dg.Definitions, platform: Platform | None = None) -> GraphStatus:
    """Ask the instance and, of a `platform`, what moved since the instance last heard of it; nothing is changed."""
    graph = defs.resolve_asset_graph()
    records = instance.get_run_records(dg.RunsFilter(statuses=list(AT_WORK)), limit=LISTED)
    lost = {record.dagster_run.run_id for record in records if is_lost(instance, record.dagster_run)}
    kept = graph_of(graph)
    known = [record for record in instance.get_asset_records([dg.AssetKey(name) for name in kept.inputs]) if _made(record)]
    again, moved, refused = dict[Cell, str](), list[str](), ""
    if platform is not None and platform.settings.library.root is not None:
        try:
            for one in _moved(platform, instance, graph):
                moved.append(one)
            again = rejected_for_now(platform)
        except UserError as error:
            refused = str(error)
    statuses = plan(kept, look(instance, kept, JOBS, again=again, lost=lost))
    return GraphStatus(
        daemon=daemon_alive(instance),
        runs=tuple(_run(record) for record in records if record.dagster_run.run_id not in lost),
        queued=instance.get_runs_count(dg.RunsFilter(statuses=list(IN_QUEUE))),
        gates=tuple(shut_gates(instance, graph)),
        retries=tuple(paused(instance, statuses)),
        made=len(known),
        assets=len(kept.inputs),
        to_make=(*moved, *_wanted(kept, statuses)),
        refused=refused,
    )


def _moved(platform: Platform, instance: dg.DagsterInstance, graph: AssetGraph) -> Iterator[str]:
    """What the sensors would tell the instance, in words. Raises UserError, LibraryVanished among them: the sensors refuse there, too."""
    for event in source_events(platform, instance):
        yield f"{event.asset_key.to_user_string()} moved"
    for name in lost_tables(platform, instance, graph):
        yield f"{name} went back"
    for order in unheard(platform, instance, graph):
        yield str(Cell(order.asset, order.partition)) + " was left to do by a command"
    if untried_candidate(platform, instance):
        yield "the candidate teacher was not tried"
    found = folders_as_they_lie(platform)
    known = set(instance.get_dynamic_partitions(folders.name or ""))
    moving, gone = moved_folders(found, instance), known - found.listings.keys()
    if moving or gone or folder_events(found, instance, ()):
        told = [some(len(moving), "folder") + " moved" if moving else "", some(len(gone), "folder") + " gone" if gone else ""]
        yield ", ".join(filter(None, told)) or "the set of folders moved"


def _wanted(graph: Graph, statuses: Mapping[Cell, Status]) -> Iterator[str]:
    """What is wanted now, an asset a line."""
    for asset in graph.inputs:
        cells = [cell for cell, status in statuses.items() if cell.asset == asset and status.state == State.WANTED]
        if cells:
            where = f" of {some(len(cells), 'folder')}" if cells[0].folder else ""
            yield f"{asset}{where}: {statuses[cells[0]].why}"


def _made(record: AssetRecord) -> bool:
    return record.asset_entry.last_materialization is not None


def _run(record: dg.RunRecord) -> Run:
    run, began = record.dagster_run, record.start_time
    names = sorted(key.to_user_string() for key in run.asset_selection or ())
    since = datetime.fromtimestamp(began, UTC) if began else None
    return Run(", ".join(names) or run.job_name, run.tags.get("dagster/partition"), since)


def shut_gates(instance: dg.DagsterInstance, graph: AssetGraph) -> list[ShutGate]:
    """Gates that hold something up: of the assets that follow each other by themselves, those whose last judgement is no pass.

    A head that failed its gate holds nothing up: it is not put in force, and the status says why.
    """
    gates = {asset: names for asset, names in graph_of(graph).gates.items() if asset not in HOLD_NOTHING_UP}
    keys = [dg.AssetCheckKey(dg.AssetKey(asset), gate) for asset, names in gates.items() for gate in names]
    latest = instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
    shut = []
    for key, record in sorted(latest.items(), key=lambda item: str(item[0])):
        evaluation: Any = record.event.asset_check_evaluation if record.event is not None else None
        if evaluation is not None and not evaluation.passed:
            remedy = evaluation.description or "see its numbers in `vibe ui`"
            shut.append(ShutGate(key.asset_key.to_user_string(), key.name, remedy))
    return shut
