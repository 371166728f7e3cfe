"""The automation conditions, asked tick by tick in this process; what they want is run here and recorded in the instance.

The daemon does the same with a process for every run. This driver serves whoever wants to wait for the end: the demo and tests.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
from dagster._core.definitions.asset_daemon_cursor import AssetDaemonCursor
from dagster._core.definitions.declarative_automation.automation_condition_evaluator import AutomationConditionEvaluator

from vibe_assets.defs.automation import folder_events, moved_folders, source_events
from vibe_assets.defs.partitions import folders
from vibe_assets.lake import write_text
from vibe_assets.progress import stepped, waiting
from vibe_assets.stages.library import look_at_folders
from vibe_assets.stages.platform import Platform

LAUNCHED_BY = {"launched_by": "vibe"}  # tag of the runs made here
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}  # the instance keeps the whole log
Wanted = dict[frozenset[dg.AssetKey], list[str | None]]


@dataclass
class Tally:
    """What the runs did."""

    runs: int = 0
    failed: list[str] = field(default_factory=list)
    checks: dict[bool, int] = field(default_factory=lambda: defaultdict(int))
    not_passed: list[str] = field(default_factory=list)


@dataclass
class Driver:
    """Ticks and runs until nothing is wanted. `cursor_file` keeps the conditions' memory between processes."""

    instance: dg.DagsterInstance
    defs: dg.Definitions
    cursor_file: Path
    progress: bool = True
    tally: Tally = field(default_factory=Tally)

    def drain(self) -> list[dict[str, list[str]]]:
        """Tick and run until two ticks in a row ask for nothing; return what each tick ran, asset -> partitions.

        One empty tick is not the end: a condition may let one pass to see whether an input of an input is about to be built.
        """
        ticks: list[dict[str, list[str]]] = []
        empty = 0
        while True:
            with waiting("asking the conditions what moved", shown=self.progress):
                wanted, cursor = self._tick()
            for keys, partitions in wanted.items():
                names, unit = ", ".join(sorted(key.to_user_string() for key in keys)), "run" if partitions == [None] else "folder"
                for partition in stepped(partitions, names, unit=unit, shown=self.progress):
                    self.run(sorted(keys), partition)
            write_text(self.cursor_file, dg.serialize_value(cursor))  # only now: an interrupted tick is asked again
            empty = 0 if wanted else empty + 1
            if empty == 2:
                return ticks
            if not wanted:
                continue
            ran: dict[str, list[str]] = defaultdict(list)
            for keys, partitions in wanted.items():
                for key in keys:
                    ran[key.to_user_string()] += [partition or "" for partition in partitions]
            ticks.append({name: sorted(partitions) for name, partitions in sorted(ran.items())})

    def _tick(self) -> tuple[Wanted, AssetDaemonCursor]:
        """Assets that are wanted together -> partitions to run them for (None: unpartitioned), and the conditions' new memory.

        As the daemon does it: dg.evaluate_automation_conditions() asks the instance for the partitions once per sub-condition instead of
        once, which took 90 % of a tick.
        """
        cursor = AssetDaemonCursor.empty()
        if self.cursor_file.exists():
            cursor = dg.deserialize_value(self.cursor_file.read_text(encoding="utf-8"), AssetDaemonCursor)
        graph = self.defs.resolve_asset_graph()
        evaluator = AutomationConditionEvaluator(
            entity_keys={key for key in graph.get_all_asset_keys() | graph.asset_check_keys if graph.get(key).automation_condition},
            instance=self.instance,
            asset_graph=graph,
            cursor=cursor,
            emit_backfills=False,
            evaluation_id=cursor.evaluation_id,
        )
        results, requested = evaluator.evaluate()
        by_partition: dict[str | None, set[dg.AssetKey]] = defaultdict(set)
        with dg.partition_loading_context(new_ctx=evaluator.asset_graph_view.partition_loading_context):
            for subset in requested:
                for key, partition in subset.expensively_compute_asset_partitions() if isinstance(subset.key, dg.AssetKey) else ():
                    by_partition[partition].add(key)
            memory = cursor.with_updates(
                evaluation_id=cursor.evaluation_id + 1,
                evaluation_timestamp=evaluator.evaluation_time.timestamp(),
                newly_observe_requested_asset_keys=[],
                condition_cursors=[result.get_new_cursor() for result in results],
                asset_graph=graph,
            )
        together: Wanted = defaultdict(list)
        for partition, keys in sorted(by_partition.items(), key=lambda item: item[0] or ""):
            together[frozenset(keys)].append(partition)
        return together, memory

    def run(self, keys: list[dg.AssetKey], partition: str | None = None) -> bool:
        """Materialise the assets with their checks in one run; True when it succeeded."""
        result = self.defs.resolve_implicit_global_asset_job_def().execute_in_process(
            run_config=QUIET, instance=self.instance, asset_selection=keys, partition_key=partition, raise_on_error=False, tags=LAUNCHED_BY
        )
        names, where = ", ".join(key.to_user_string() for key in keys), f" ({partition})" if partition else ""
        self.tally.runs += 1
        for check in result.get_asset_check_evaluations():
            self.tally.checks[check.passed] += 1
            if not check.passed:
                self.tally.not_passed.append(f"{check.severity.value} {check.check_name} on {check.asset_key.to_user_string()}{where}")
        if not result.success:
            self.tally.failed.append(names + where)
        return result.success

    def close_interrupted(self) -> int:
        """Mark runs as failed that a killed process left as started: an asset in progress would never be asked for again."""
        unfinished = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.NOT_STARTED]
        runs = self.instance.get_runs(dg.RunsFilter(statuses=unfinished, tags=LAUNCHED_BY))
        for run in runs:
            self.instance.report_run_failed(run, "the process that ran it was ended before it was done")
        return len(runs)


def report_outside_world(platform: Platform, instance: dg.DagsterInstance) -> None:
    """What the two sensors do: folders become partitions, sources that moved are reported."""
    look = look_at_folders(platform)
    partitions = set(instance.get_dynamic_partitions(folders.name or ""))
    instance.add_dynamic_partitions(folders.name or "", sorted(look.listings.keys() - partitions))
    for gone in sorted(partitions - look.listings.keys()):
        instance.delete_dynamic_partition(folders.name or "", gone)
    for event in [*folder_events(look, instance, moved_folders(look, instance)), *source_events(platform, instance)]:
        instance.report_runless_asset_event(event)
