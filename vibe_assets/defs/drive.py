"""The upkeep of the library in this process: what is wanted is run here, look by look, until nothing is.

The daemon does the same with a process for every run. This driver serves whoever wants to wait for the end: `vibe run`, the demo, tests.
"""

import math
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TextIO

import dagster as dg
from dagster._core.launcher import WorkerStatus

from vibe_assets.defs.automation import (
    JOBS,
    asked_again,
    folder_events,
    know_pools,
    moved_folders,
    order_request,
    source_events,
    wanted_runs,
)
from vibe_assets.defs.history import UNFINISHED, graph_of, look
from vibe_assets.defs.orders import forget_lost, open_orders
from vibe_assets.defs.partitions import folders
from vibe_assets.defs.plan import Cell, plan
from vibe_assets.operate.instance import claim
from vibe_assets.operate.launcher import end_lost_starts, held_here
from vibe_assets.progress import stepped, waiting
from vibe_assets.stages.library import look_at_folders
from vibe_assets.stages.platform import Platform

LAUNCHED_BY = {"launched_by": "vibe"}  # tag of the runs made here
MOST_TIMES = 5  # that one run is asked for with the same inputs until nothing is wanted
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}  # the instance keeps the whole log


@dataclass
class Tally:
    """What the runs did."""

    runs: int = 0
    failed: list[str] = field(default_factory=list)
    checks: dict[bool, int] = field(default_factory=lambda: defaultdict(int))
    not_passed: list[str] = field(default_factory=list)


@dataclass
class Driver:
    """Looks and runs until nothing is wanted."""

    instance: dg.DagsterInstance
    defs: dg.Definitions
    progress: bool = True
    log: TextIO | None = None  # gets a line for every step that is done
    again: dict[Cell, str] = field(default_factory=dict)  # cells to make once more as soon as nothing holds them up, and why
    due: float = 0.0  # what failed before this moment is tried whatever its pause
    tally: Tally = field(default_factory=Tally)

    def drain(self) -> list[dict[str, list[str]]]:
        """Look and run until a look asks for nothing; return what each look ran, asset -> partitions. What failed is left for later."""
        ticks: list[dict[str, list[str]]] = []
        asked: Counter[str] = Counter()
        while True:
            with waiting("looking at what moved", shown=self.progress, log=self.log):
                wanted = self.wanted()
            if not wanted:
                return ticks
            asked.update(str((request.asset_selection, request.partition_key, request.tags)) for request in wanted)
            if asked.most_common(1)[0][1] > MOST_TIMES:  # a fault of ours; better said than gone round for ever
                raise RuntimeError(f"the same run was asked for {MOST_TIMES} times with the same inputs: {asked.most_common(1)[0][0]}")
            ticks.append(self.carry_out(wanted))

    def carry_out(self, requests: Sequence[dg.RunRequest]) -> dict[str, list[str]]:
        """Run what was asked for, runs of the same assets one after the other; asset -> partitions."""
        alike: dict[tuple[dg.AssetKey, ...], list[dg.RunRequest]] = defaultdict(list)
        ran: dict[str, list[str]] = defaultdict(list)
        for request in requests:
            alike[tuple(request.asset_selection or ())].append(request)
            for key in request.asset_selection or ():
                ran[key.to_user_string()].append(request.partition_key or "")
                self.again.pop(Cell(key.to_user_string(), request.partition_key), None)
        for keys, some in alike.items():
            names, unit = ", ".join(key.to_user_string() for key in keys), "folder" if some[0].partition_key else "run"
            for request in stepped(some, names, unit=unit, shown=self.progress, log=self.log):
                self.run(list(keys), request.partition_key, tags=request.tags)
        return {name: sorted(partitions) for name, partitions in sorted(ran.items())}

    def look(self, platform: Platform) -> bool:
        """What the sensors do: see what moved outside, and carry out what commands left to do. Whether there was anything."""
        moved = report_outside_world(platform, self.instance)
        lost = forget_lost(platform, self.instance, self.defs.resolve_asset_graph())
        orders = open_orders(platform, self.instance, self.defs.resolve_asset_graph())
        self.carry_out([order_request(order) for order in orders])
        return bool(moved or lost or orders)

    def refresh(self, platform: Platform) -> None:
        """Want what the night wants: another try of what failed, whatever its pause, and answers that the teacher did not give."""
        self.again, self.due = asked_again(platform), time.time()

    def wanted(self) -> list[dg.RunRequest]:
        """The runs that one look asks for."""
        graph = graph_of(self.defs.resolve_asset_graph())
        seen = look(self.instance, graph, JOBS, again=self.again)
        due = {cell: replace(attempt, ended=-math.inf) for cell, attempt in seen.failed.items() if attempt.ended < self.due}
        seen = replace(seen, failed={**seen.failed, **due})
        return wanted_runs(graph, plan(graph, seen), seen)

    def run(self, keys: list[dg.AssetKey], partition: str | None = None, *, tags: Mapping[str, str] | None = None) -> bool:
        """Materialise the assets with their checks in one run; True when it succeeded."""
        result = self.defs.resolve_implicit_global_asset_job_def().execute_in_process(
            run_config=QUIET,
            instance=self.instance,
            asset_selection=keys,
            partition_key=partition,
            raise_on_error=False,
            tags={**(tags or {}), **LAUNCHED_BY, **held_here()},
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

    def take_over(self) -> int:
        """Where no daemon is alive: end the runs that one left behind, which would count as on their way for ever; how many.

        A run whose process still lives goes on; one that waits in a queue is started by nobody, and wanted again at the next look.
        """
        left = end_lost_starts(self.instance)
        for run in self.instance.get_runs(dg.RunsFilter(statuses=UNFINISHED)):
            if run.status in (dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.CANCELING):
                launcher = self.instance.run_launcher
                if not launcher.supports_check_run_worker_health:
                    continue
                if launcher.check_run_worker_health(run).status not in (WorkerStatus.NOT_FOUND, WorkerStatus.FAILED):
                    continue
            self.instance.report_run_failed(run, "the daemon that it belonged to has ended; `vibe run` goes on")
            left += 1
        return left


def report_outside_world(platform: Platform, instance: dg.DagsterInstance) -> int:
    """What the two sensors do: folders become partitions, sources that moved are reported; how many events that were."""
    claim(platform.settings, instance)
    know_pools(instance)
    look = look_at_folders(platform)
    partitions = set(instance.get_dynamic_partitions(folders.name or ""))
    instance.add_dynamic_partitions(folders.name or "", sorted(look.listings.keys() - partitions))
    for gone in sorted(partitions - look.listings.keys()):
        instance.delete_dynamic_partition(folders.name or "", gone)
    events = [*folder_events(look, instance, moved_folders(look, instance)), *source_events(platform, instance)]
    for event in events:
        instance.report_runless_asset_event(event)
    return len(events)
