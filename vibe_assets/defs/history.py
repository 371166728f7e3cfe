"""What the Dagster instance knows of the assets: the one place that reads runs, events and check results to decide what is made next."""

import json
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import wraps
from typing import Any, NamedTuple

import dagster as dg
from dagster._core.definitions.assets.graph.base_asset_graph import BaseAssetGraph
from dagster._core.event_api import PartitionKeyFilter
from dagster._core.execution.backfill import BulkActionsFilter, BulkActionStatus
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecord
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus as Judged
from dagster._core.storage.event_log.base import AssetRecord

from vibe_assets.defs.partitions import folders
from vibe_assets.defs.plan import JUDGES_ITSELF, Attempt, Cell, Graph, Made, Seen, input_version, seen_version

REBUILT = "vibe_assets/rebuilt"  # tag of the assets that are kept up to date
FOLLOWS = {REBUILT: "when_an_input_moves"}
ONCE = {REBUILT: "once"}
VERSION_TAG = "dagster/data_version"
ASKED_TAG = ".dagster/vibe_asked"  # of a run: for every asset, the fingerprint of its inputs and which try it is; hidden in the UI
CRASHED = "could not be judged"  # metadata of a check whose judging crashed
RANGE = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")
OVER = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
UNFINISHED = [status for status in dg.DagsterRunStatus if status not in OVER]
OUTCOMES = (Judged.SUCCEEDED, Judged.FAILED)
MADE = dg.DagsterEventType.ASSET_MATERIALIZATION


# -- the graph ---------------------------------------------------------------------------------------------------------
def graph_of(assets: BaseAssetGraph) -> Graph:
    """The assets that are kept up to date, as their definitions say."""
    kept = [key for key in assets.toposorted_asset_keys if REBUILT in assets.get(key).tags]
    names = [key.to_user_string() for key in kept]
    parents = {key.to_user_string(): sorted(parent.to_user_string() for parent in assets.get(key).parent_keys) for key in kept}
    everything = {*names, *(parent for inputs in parents.values() for parent in inputs)}
    checks = {key: sorted(check for check in assets.asset_check_keys if check.asset_key == key) for key in kept}
    gates = {key: [check for check in found if assets.get(check).blocking] for key, found in checks.items()}
    return Graph(
        inputs={name: tuple(parents[name]) for name in names},
        by_folder=frozenset(name for name in everything if assets.get(dg.AssetKey(name)).partitions_def is not None),
        once=frozenset(name for name in names if assets.get(dg.AssetKey(name)).tags[REBUILT] == ONCE[REBUILT]),
        codes={name: assets.get(dg.AssetKey(name)).code_version or "" for name in names},
        pools={name: ",".join(sorted(assets.get(dg.AssetKey(name)).pools or ())) for name in names},
        checks={key.to_user_string(): tuple(check.name for check in found) for key, found in checks.items()},
        gates={key.to_user_string(): tuple(check.name for check in found) for key, found in gates.items()},
    )


# -- what an asset was made from ---------------------------------------------------------------------------------------
def notes_inputs(body: Callable[..., dg.MaterializeResult]) -> Callable[..., dg.MaterializeResult]:
    """Note the versions of the inputs as they are when the asset's body begins; what moves later makes it be asked for again."""

    @wraps(body)
    def noting(context: dg.AssetExecutionContext, **arguments: Any) -> dg.MaterializeResult:
        instance = context.instance
        asset, folder = context.asset_key.to_user_string(), context.partition_key if context.has_partition_key else None
        definition = context.assets_def
        parents = {key.to_user_string(): key for key in definition.asset_deps[context.asset_key]}
        live = list(instance.get_dynamic_partitions(folders.name or ""))
        since = instance.event_log_storage.get_maximum_record_id() or 0
        by_folder = {name for name, key in parents.items() if _has_folders(context, key)}
        made = _newest(instance, parents, by_folder, live, _records(instance, parents, by_folder))
        shut, _ = _judgements(instance, JUDGES_ITSELF.get(asset, {}), by_folder, made, frozenset())
        inputs = {
            name: seen_version(asset, name, input_version(made, live, name, folder, by_folder=name in by_folder), shut=Cell(name) in shut)
            for name in parents
        }
        result = body(context, **arguments)
        code = (definition.code_versions_by_key or {}).get(context.asset_key) or ""
        note = {"since": since, "code": code, "inputs": inputs}
        instance.daemon_cursor_storage.set_cursor_values({_note_key(Cell(asset, folder)): json.dumps(note)})
        return result

    return noting


def _has_folders(context: dg.AssetExecutionContext, key: dg.AssetKey) -> bool:
    layer = context.job_def.asset_layer
    return layer.asset_graph.has(key) and layer.asset_graph.get(key).partitions_def is not None


def _note_key(cell: Cell) -> str:
    return f"vibe_assets/made/{cell.asset}/{cell.folder or ''}"


def _notes(instance: dg.DagsterInstance, wanted: Iterable[Cell]) -> dict[Cell, dict[str, Any]]:
    keys = {_note_key(cell): cell for cell in wanted}
    names, found = list(keys), dict[str, str]()
    for start in range(0, len(names), 500):  # SQLite takes a limited number of values in one question
        found.update(instance.daemon_cursor_storage.get_cursor_values(set(names[start : start + 500])))
    return {keys[name]: json.loads(value) for name, value in found.items()}


# -- one look ----------------------------------------------------------------------------------------------------------
def look(
    instance: dg.DagsterInstance,
    graph: Graph,
    jobs: Mapping[str, Iterable[str]],
    *,
    again: Mapping[Cell, str] | None = None,
    lost: Collection[str] = (),
) -> Seen:
    """What the instance knows now.

    `jobs` are the assets of the jobs whose runs name none; `again` are cells that are to be made once more, with the reason; `lost` are
    the ids of runs that count as at work and whose process has ended.
    """
    live = list(instance.get_dynamic_partitions(folders.name or ""))
    running = _running(instance, jobs, live, lost)  # first, see Seen
    names = dict.fromkeys([*graph.inputs, *(name for inputs in graph.inputs.values() for name in inputs)])
    records = _records(instance, names, graph.by_folder)
    made = _newest(instance, names, graph.by_folder, live, records)
    notes = _notes(instance, [cell for cell in made if cell.asset in graph.inputs])
    for cell, note in notes.items():
        if note["since"] < made[cell].at:
            made[cell] = Made(made[cell].at, made[cell].version, note["inputs"], note["code"])
    shut, unjudged = _judgements(instance, graph.gates, graph.by_folder, made, running)
    failed = _failed(instance, graph, live, records, running, unjudged)
    return Seen(live, made, running, failed, shut, frozenset(unjudged) - failed.keys(), again or {}, time.time())


def _running(instance: dg.DagsterInstance, jobs: Mapping[str, Iterable[str]], live: list[str], lost: Collection[str]) -> frozenset[Cell]:
    """Cells of runs that are not over, those of people's backfills that still hand out runs included."""
    found: set[Cell] = set()
    for run in instance.get_runs(dg.RunsFilter(statuses=UNFINISHED)):
        if run.run_id in lost:
            continue
        names = [key.to_user_string() for key in run.asset_selection or ()] or list(jobs.get(run.job_name, ()))
        found.update(cell for name in names for cell in _cells_of(name, run.tags, live))
    for backfill in instance.get_backfills(BulkActionsFilter(statuses=[BulkActionStatus.REQUESTED])):
        found.update(Cell(key.to_user_string(), folder) for key in backfill.asset_selection or () for folder in (*live, None))
    return frozenset(found)


def _cells_of(name: str, tags: Mapping[str, str], live: list[str]) -> list[Cell]:
    """The cells of an asset that a run with these tags is about; without a partition it is the whole asset, one cell or another."""
    if one := tags.get("dagster/partition"):
        return [Cell(name, one), Cell(name)]
    if (first := tags.get(RANGE[0])) in live and (last := tags.get(RANGE[1])) in live:
        return [Cell(name, key) for key in live[live.index(first) : live.index(last) + 1]]
    return [Cell(name)]


def _records(instance: dg.DagsterInstance, names: Iterable[str], by_folder: Collection[str]) -> dict[str, AssetRecord]:
    """What the instance keeps of every asset without partitions."""
    keys = [dg.AssetKey(name) for name in names if name not in by_folder]
    found = instance.event_log_storage.get_asset_records(keys) if keys else ()
    return {record.asset_entry.asset_key.to_user_string(): record for record in found}


def _newest(
    instance: dg.DagsterInstance,
    names: Iterable[str],
    by_folder: Collection[str],
    live: list[str],
    records: Mapping[str, AssetRecord],
) -> dict[Cell, Made]:
    """The newest materialisation of every cell that has one."""
    storage, known, found = instance.event_log_storage, set(live), {}
    for name in names:
        if name in by_folder:
            key = dg.AssetKey(name)
            at = storage.get_latest_storage_id_by_partition(key, MADE)
            tags = storage.get_latest_tags_by_partition(key, MADE, tag_keys=[VERSION_TAG])
            found.update({Cell(name, one): Made(at[one], tags.get(one, {}).get(VERSION_TAG, str(at[one]))) for one in at.keys() & known})
        elif name in records and (newest := records[name].asset_entry.last_materialization_record):
            event = newest.asset_materialization
            version = ((event.tags or {}) if event else {}).get(VERSION_TAG, str(newest.storage_id))
            found[Cell(name)] = Made(newest.storage_id, version)
    return found


class _Judgement(NamedTuple):
    """What a gate said of the newest materialisation of a cell."""

    passed: bool | None  # None: it has not judged it
    run_id: str  # the run that judged, or should have
    crashed: bool = False


def _judgements(
    instance: dg.DagsterInstance,
    gates: Mapping[str, Iterable[str]],
    by_folder: Collection[str],
    made: Mapping[Cell, Made],
    running: frozenset[Cell],
) -> tuple[dict[Cell, tuple[str, ...]], dict[Cell, str]]:
    """Cells with gates that did not pass, and cells that a gate did not judge (with the run that should have, "" when there was none)."""
    said: dict[Cell, dict[str, _Judgement]] = defaultdict(dict)
    keys = [dg.AssetCheckKey(dg.AssetKey(name), gate) for name, checks in gates.items() for gate in checks]
    single = [key for key in keys if key.asset_key.to_user_string() not in by_folder]
    several = [key for key in keys if key not in single]
    for key, record in (instance.event_log_storage.get_latest_asset_check_execution_by_key(single) if single else {}).items():
        cell = Cell(key.asset_key.to_user_string())
        if cell in made:
            said[cell][key.name] = _judgement(record, made[cell].at)
    for info in instance.event_log_storage.get_asset_check_partition_info(several) if several else ():
        cell, key = Cell(info.check_key.asset_key.to_user_string(), info.partition_key), info.check_key
        if cell in made:
            passed = (
                info.latest_execution_status == Judged.SUCCEEDED if info.is_current and info.latest_execution_status in OUTCOMES else None
            )
            crashed = passed is False and _crashed(instance, key, info.partition_key)
            said[cell][key.name] = _Judgement(passed, info.latest_planned_run_id, crashed)
    shut, unjudged = dict[Cell, tuple[str, ...]](), dict[Cell, str]()
    for cell in made:
        found = {gate: said[cell].get(gate, _Judgement(None, "")) for gate in gates.get(cell.asset, ())}
        if cell not in running and (closed := tuple(gate for gate, one in found.items() if not one.passed)):
            shut[cell] = closed
        for one in found.values():
            if one.passed is None or one.crashed:
                unjudged[cell] = one.run_id or unjudged.get(cell, "")
    return shut, unjudged


def _judgement(record: AssetCheckExecutionRecord, at: int) -> _Judgement:
    evaluation = record.evaluation if record.status in OUTCOMES else None
    target = evaluation.target_materialization_data if evaluation else None
    if evaluation is None or (target is not None and target.storage_id != at):
        return _Judgement(None, record.run_id)
    return _Judgement(record.status == Judged.SUCCEEDED, record.run_id, CRASHED in evaluation.metadata)


def _crashed(instance: dg.DagsterInstance, key: dg.AssetCheckKey, folder: str | None) -> bool:
    found = instance.event_log_storage.get_latest_asset_check_execution_by_key([key], PartitionKeyFilter(key=folder))
    evaluation = found[key].evaluation if key in found else None
    return CRASHED in (getattr(evaluation, "metadata", None) or {})


def _failed(
    instance: dg.DagsterInstance,
    graph: Graph,
    live: list[str],
    records: Mapping[str, AssetRecord],
    running: frozenset[Cell],
    unjudged: Mapping[Cell, str],
) -> dict[Cell, Attempt]:
    """Cells whose newest run is over and did not bring them, or left them without a judgement."""
    tried: dict[Cell, str] = {cell: run for cell, run in unjudged.items() if run}
    known = set(live)
    for name in graph.inputs:
        if name in graph.by_folder:
            attempts = instance.event_log_storage.get_latest_asset_partition_materialization_attempts_without_materializations(
                dg.AssetKey(name)
            )
            tried |= {Cell(name, key): run for key, (run, _) in attempts.items() if key in known}
        elif name in records:
            newest, last = records[name].asset_entry.last_materialization_record, records[name].asset_entry.last_run_id
            if last and (newest is None or newest.run_id != last):
                tried[Cell(name)] = last
    ids = sorted({run for cell, run in tried.items() if cell not in running})
    runs = {record.dagster_run.run_id: record for record in instance.get_run_records(dg.RunsFilter(run_ids=ids))} if ids else {}
    over = {cell: runs[run] for cell, run in tried.items() if cell not in running and run in runs}
    return {cell: _attempt(record, cell) for cell, record in over.items() if record.dagster_run.is_finished}


def _attempt(record: dg.RunRecord, cell: Cell) -> Attempt:
    run = record.dagster_run
    inputs, tries = json.loads(run.tags.get(ASKED_TAG, "{}")).get(cell.asset, ("", 1))
    ended = record.end_time or record.update_timestamp.timestamp()
    return Attempt(run.run_id, ended, int(tries), inputs, cancelled=run.status == dg.DagsterRunStatus.CANCELED)
