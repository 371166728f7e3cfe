"""What the instance knows of a library's graph: what runs, what is queued, which gate is shut, what failed and when it is tried again."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import dagster as dg
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph
from dagster._core.storage.event_log.base import AssetRecord

from vibe_assets.defs.automation import JOBS
from vibe_assets.defs.history import graph_of
from vibe_assets.defs.retries import pending
from vibe_assets.operate.instance import daemon_alive

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
    """A blocking gate that did not pass: nothing downstream moves before it does."""

    asset: str
    gate: str
    remedy: str


@dataclass(frozen=True)
class Again:
    """What failed, and when it is tried again."""

    asset: str
    partition: str | None
    reason: str
    failures: int
    next_try: datetime  # UTC


@dataclass(frozen=True)
class GraphStatus:
    """What goes on in the graph."""

    daemon: bool = False
    runs: tuple[Run, ...] = ()
    queued: int = 0
    gates: tuple[ShutGate, ...] = ()
    retries: tuple[Again, ...] = ()
    made: int = 0  # assets of the graph that were made at least once
    assets: int = 0


def graph_status(instance: dg.DagsterInstance, defs: dg.Definitions) -> GraphStatus:
    """Ask the instance; nothing is changed."""
    graph = defs.resolve_asset_graph()
    records = instance.get_run_records(dg.RunsFilter(statuses=list(AT_WORK)), limit=LISTED)
    kept = graph_of(graph)
    known = [record for record in instance.get_asset_records([dg.AssetKey(name) for name in kept.inputs]) if _made(record)]
    return GraphStatus(
        daemon=daemon_alive(instance),
        runs=tuple(_run(record) for record in records),
        queued=instance.get_runs_count(dg.RunsFilter(statuses=list(IN_QUEUE))),
        gates=tuple(shut_gates(instance, graph)),
        retries=tuple(Again(one.asset, one.partition, one.reason, one.failures, one.next_try) for one in pending(instance, kept, JOBS)),
        made=len(known),
        assets=len(kept.inputs),
    )


def _made(record: AssetRecord) -> bool:
    return record.asset_entry.last_materialization is not None


def _run(record: dg.RunRecord) -> Run:
    run, began = record.dagster_run, record.start_time
    names = sorted(key.to_user_string() for key in run.asset_selection or ())
    since = datetime.fromtimestamp(began, UTC) if began else None
    return Run(", ".join(names) or run.job_name, run.tags.get("dagster/partition"), since)


def shut_gates(instance: dg.DagsterInstance, graph: AssetGraph) -> list[ShutGate]:
    """Blocking gates of the assets that follow each other by themselves, whose last judgement is no pass."""
    keys = [dg.AssetCheckKey(dg.AssetKey(asset), gate) for asset, gates in graph_of(graph).gates.items() for gate in gates]
    latest = instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
    shut = []
    for key, record in sorted(latest.items(), key=lambda item: str(item[0])):
        evaluation: Any = record.event.asset_check_evaluation if record.event is not None else None
        if evaluation is not None and not evaluation.passed:
            remedy = evaluation.description or "see its numbers in `vibe ui`"
            shut.append(ShutGate(key.asset_key.to_user_string(), key.name, remedy))
    return shut
