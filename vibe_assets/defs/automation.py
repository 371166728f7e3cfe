"""What happens unattended: sensors that see the outside world move, schedules, and the jobs people start by hand."""

import json
import math
import os
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import dagster as dg

from vibe_assets.defs.history import ASKED_TAG, FOLLOWS, ONCE, VERSION_TAG, graph_of, look
from vibe_assets.defs.orders import NOTE, Order, forget_lost, open_orders
from vibe_assets.defs.partitions import folders
from vibe_assets.defs.plan import Cell, Graph, Seen, State, Status, plan
from vibe_assets.defs.questions import HEAD_NAMES
from vibe_assets.operate.clock import schedule_timezone
from vibe_assets.operate.instance import claim
from vibe_assets.records import fingerprint
from vibe_assets.stages.library import Look, folders_to_look_at_again, look_at_folders
from vibe_assets.stages.platform import Platform
from vibe_assets.stages.sources import candidate_version, read_sources
from vibe_assets.stages.teacher import trial_file, unanswered_folders

LAUNCHED_BY_AUTOMATION = {"launched_by": "automation"}
NO_LIBRARY = "library.root is not set: `vibe init PHOTO_FOLDER` writes a vibe.toml"
# Seconds between two looks of every sensor. From a photo to its labels some twelve ticks follow one another, so this is what a small change
# waits for; a tick takes 1.4 s of CPU up to a thousand folders, 6 s at ten thousand: give it a minute there.
LOOK_EVERY_S = int(os.environ.get("VIBE_LOOK_EVERY_S", "10"))
POOLS = ("vlm", "warehouse")
LOOK_AGAIN = "folders wait"  # the cursor while some of them were not told yet
# First of the doubling pauses between looks while something runs and nothing is heard of it: Dagster keeps the event of a run's end before
# the run says that it is over, and a backfill is over half a minute after its last run, without an event.
END_UNHEARD_S = 10.0
LOOK_AGAIN_S = 600  # a look without an event: what vanished without one (a deleted run) is found by it
AT_A_TIME = 50  # runs that one look asks for: each costs a tenth of a second, and the next look takes the rest
AT_ONCE = 500  # folders that are handed to the queue while others wait; a library that grows by more is taken in bit by bit

JOBS = {  # assets of the jobs that people start by hand and the schedules start by the clock
    "refresh_library": ("raw_photos", "annotations", "image_embeddings"),
    "retrain_students": (
        "photo_groups", "auto_ground_truth", "teacher_report", *HEAD_NAMES, "deployed_heads",
    ),
    "evaluate": ("teacher_report", "student_report", "published_warehouse", "drift_report"),
}  # fmt: skip
upkeep = dg.define_asset_job(
    "upkeep",
    selection=dg.AssetSelection.tag(*next(iter(FOLLOWS.items()))) | dg.AssetSelection.tag(*next(iter(ONCE.items()))),
    description="What is kept up to date: the automation sensor and the nightly schedule start the parts of it that are wanted.",
)
refresh_library = dg.define_asset_job(
    "refresh_library",
    selection=dg.AssetSelection.assets(*JOBS["refresh_library"]),
    partitions_def=folders,
    description="Scan, annotate and embed one folder again; what a cache holds is not repeated.",
)
retrain_students = dg.define_asset_job(
    "retrain_students",
    selection=dg.AssetSelection.assets(*JOBS["retrain_students"]),
    description="Labels, the teacher's report, the heads and the decision what is deployed.",
)
evaluate = dg.define_asset_job(
    "evaluate",
    selection=dg.AssetSelection.assets(*JOBS["evaluate"]),
    description="All reports and the warehouse, from what is in the lake.",
)
trial_job = dg.define_asset_job(
    "try_candidate_teacher",
    selection=dg.AssetSelection.assets("teacher_trial"),
    description="Try [teacher.candidate] on the audited photos.",
)
export_job = dg.define_asset_job(
    "export_labels",
    selection=dg.AssetSelection.assets("label_export"),
    description="Write the labels for other tools; formats, source and folder are in the launch's configuration.",
)


# -- sources -----------------------------------------------------------------------------------------------------------
def moved(name: str, version: str, facts: Mapping[str, str], partition: str | None = None) -> dg.AssetMaterialization:
    """The event that says: this source has a new version."""
    return dg.AssetMaterialization(name, partition=partition, tags={VERSION_TAG: version}, metadata={"version": version, **facts})


def latest_version(instance: dg.DagsterInstance, name: str) -> str | None:
    """Version that the instance knows an unpartitioned source by; None when it was never reported."""
    records = instance.fetch_materializations(dg.AssetKey(name), limit=1).records
    event = records[0].asset_materialization if records else None
    return (event.tags or {}).get(VERSION_TAG) if event else None


def source_events(platform: Platform, instance: dg.DagsterInstance) -> list[dg.AssetMaterialization]:
    """Events for the sources that moved since the instance last heard of them."""
    return [
        moved(source.name, source.version, source.facts)
        for source in read_sources(platform)
        if latest_version(instance, source.name) != source.version
    ]


def untried_candidate(platform: Platform, instance: dg.DagsterInstance) -> str:
    """Version of the candidate teacher that is to be tried, now that people's verdicts judge it; empty when there is none."""
    version = candidate_version(platform)
    audited = latest_version(instance, "audited_verdicts") is not None
    return version if version and audited and not trial_file(platform.settings, version).exists() else ""


def know_pools(instance: dg.DagsterInstance) -> None:
    """Give every pool its default limit before the first run asks for it.

    The queue reads the limits before it adds unknown pools to them: without this, the very first runs of a pool start together,
    and the first two folders would ask the teacher for the photos they share twice.
    """
    known = instance.event_log_storage.get_concurrency_keys()
    for pool in POOLS:
        if pool not in known:
            instance.event_log_storage.initialize_concurrency_limit_to_default(pool)


def latest_versions(instance: dg.DagsterInstance, name: str) -> dict[str, str]:
    """Partition -> version that the instance knows a source by: one query, where one a partition took 18 s for 1,000 folders."""
    tags = instance.event_log_storage.get_latest_tags_by_partition(
        dg.AssetKey(name), dg.DagsterEventType.ASSET_MATERIALIZATION, tag_keys=[VERSION_TAG]
    )
    return {partition: found[VERSION_TAG] for partition, found in tags.items()}


def room_in_queue(instance: dg.DagsterInstance) -> int:
    """How many more folders the queue may be given. Every pass of it reads all runs that wait, so ten thousand would hold up the rest."""
    return max(0, AT_ONCE - instance.get_runs_count(dg.RunsFilter(statuses=[dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTING])))


def moved_folders(look: Look, instance: dg.DagsterInstance) -> list[str]:
    """Keys of the folders whose files moved since the instance last heard of them."""
    known = latest_versions(instance, "folder_listing")
    return [key for key, listing in look.listings.items() if known.get(key) != listing]


def folder_events(
    look: Look, instance: dg.DagsterInstance, moving: Sequence[str], *, all_told: bool = True
) -> list[dg.AssetMaterialization]:
    """Events for the folders that moved, and for the set of folders once `all_told`: what needs every folder waits for the last."""
    events = [moved("folder_listing", look.listings[key], {}, partition=key) for key in moving]
    if all_told and look.listings and latest_version(instance, "folder_set") != look.version:  # an empty library must never start training
        problems = {"problems": "; ".join(f"{p.rel_path}: {p.reason}" for p in look.problems[:20])} if look.problems else {}
        events.append(moved("folder_set", look.version, {"folders": str(len(look.listings)), **problems}))
    return events


@dg.sensor(
    name="folder_sensor",
    minimum_interval_seconds=LOOK_EVERY_S,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Looks at the photo root: new folders become partitions, removed ones go, changed ones are scanned again.",
)
def folder_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    platform = Platform.open(run_id="folder_sensor", progress=False)
    if platform.settings.library.root is None:
        return dg.SkipReason(NO_LIBRARY)
    claim(platform.settings, context.instance)  # InstanceError fails the tick: another library's history stays as it is
    know_pools(context.instance)
    look = look_at_folders(platform)  # LibraryVanished fails the tick: the last good state stays in force
    partitions = set(context.instance.get_dynamic_partitions(folders.name or ""))
    new, gone = sorted(look.listings.keys() - partitions), sorted(partitions - look.listings.keys())
    seen = fingerprint(look.listings)  # a cursor is stored with every tick: the listings of 10,000 folders would be half a megabyte
    if (context.cursor or fingerprint({})) == seen and not new and not gone:
        return dg.SkipReason(f"{len(partitions)} folders, nothing moved")
    moving, room = moved_folders(look, context.instance), room_in_queue(context.instance)
    now, later = moving[:room], set(moving[room:])
    adding = [key for key in new if key not in later]
    if later and not (now or adding or gone):
        return dg.SkipReason(f"{len(later)} folders wait until fewer than {AT_ONCE} runs are in the queue")
    requests = ([folders.build_add_request(adding)] if adding else []) + ([folders.build_delete_request(gone)] if gone else [])
    return dg.SensorResult(
        cursor=LOOK_AGAIN if later else seen,
        dynamic_partitions_requests=requests,
        asset_events=folder_events(look, context.instance, now, all_told=not later),
    )


@dg.sensor(
    name="source_sensor",
    jobs=[trial_job, upkeep],
    minimum_interval_seconds=LOOK_EVERY_S,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Looks at settings, audited file and the notes of commands: reports a new teacher, mapping, encoder or audit, tries a new "
    "candidate teacher, and carries out what commands left to do.",
)
def source_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    platform = Platform.open(run_id="source_sensor", progress=False)
    if platform.settings.library.root is None:
        return dg.SkipReason(NO_LIBRARY)  # nothing is built, not even what needs no photos, where nobody asked for it
    claim(platform.settings, context.instance)
    events = source_events(platform, context.instance)
    candidate = untried_candidate(platform, context.instance)
    wanted = candidate and context.cursor != candidate
    requests = [dg.RunRequest(run_key=f"trial-{candidate}", job_name=trial_job.name)] if wanted else []
    if context.repository_def is not None:
        forget_lost(platform, context.instance, context.repository_def.asset_graph)
        orders = open_orders(platform, context.instance, context.repository_def.asset_graph)
        requests += [order_request(order) for order in orders]
    if not events and not requests:
        return dg.SkipReason("teacher, mapping, encoder and audit are as the instance knows them")
    return dg.SensorResult(cursor=candidate if wanted else context.cursor, asset_events=events, run_requests=requests)


def order_request(order: Order) -> dg.RunRequest:
    """What a command left to do, for the queue; asked for twice, it is run once."""
    return dg.RunRequest(
        run_key=order.tags[NOTE],
        job_name=upkeep.name,
        asset_selection=[dg.AssetKey(order.asset)],
        asset_check_keys=[dg.AssetCheckKey(dg.AssetKey(order.asset), check) for check in order.checks],
        partition_key=order.partition,
        tags=order.tags,
    )


# -- upkeep ------------------------------------------------------------------------------------------------------------
def wanted_runs(graph: Graph, statuses: Mapping[Cell, Status], seen: Seen) -> list[dg.RunRequest]:
    """A run for every wanted cell; unpartitioned assets that are wanted together share one.

    The key of a run is what the instance knew when it was asked for, so that two looks at the same state never start it twice.
    """
    together: dict[tuple[str, str], list[Cell]] = defaultdict(list)
    for cell, status in statuses.items():
        if status.state == State.WANTED:
            together[cell.folder or "", cell.asset if cell.folder else graph.pools[cell.asset]].append(cell)
    return [_request(graph, cells, statuses, seen) for cells in together.values()]


def _request(graph: Graph, cells: Sequence[Cell], statuses: Mapping[Cell, Status], seen: Seen) -> dg.RunRequest:
    asked, known = {}, []
    for cell in cells:
        status = statuses[cell]
        attempt = status.attempt
        same = attempt is not None and attempt.inputs in ("", status.inputs)
        asked[cell.asset] = (status.inputs, attempt.tries + 1 if attempt and same else 1)
        known.append((cell, seen.made[cell].at if cell in seen.made else 0, status.inputs, attempt.run_id if attempt else "", status.why))
    return dg.RunRequest(
        run_key=fingerprint({"known": [[*cell, *rest] for cell, *rest in known]}),
        asset_selection=[dg.AssetKey(cell.asset) for cell in cells],
        asset_check_keys=[dg.AssetCheckKey(dg.AssetKey(cell.asset), check) for cell in cells for check in graph.checks[cell.asset]],
        partition_key=cells[0].folder,
        tags={**LAUNCHED_BY_AUTOMATION, ASKED_TAG: json.dumps(asked)},
    )


@dg.sensor(
    name="automation",
    job=upkeep,
    minimum_interval_seconds=min(LOOK_EVERY_S, 30),
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Makes what is wanted: what is not there yet, what an input moved under, what failed and is tried again. Nothing else.",
)
def automation_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    assert context.repository_def is not None
    newest, now = context.instance.event_log_storage.get_maximum_record_id() or 0, time.time()
    heard = Heard.read(context.cursor)
    if heard.event == newest and heard.at <= now < heard.until:
        return dg.SkipReason(heard.said)
    again, look_next = {}, heard.look_next
    if not heard.at <= now < look_next:
        again, look_next = rejected_for_now(Platform.open(run_id="automation", progress=False)), now + LOOK_AGAIN_S
    graph = graph_of(context.repository_def.asset_graph)
    seen = look(context.instance, graph, JOBS, again=again)
    statuses = plan(graph, seen)
    if requests := wanted_runs(graph, statuses, seen)[: min(AT_A_TIME, room_in_queue(context.instance))]:
        return dg.SensorResult(run_requests=requests, cursor=Heard(-1, now, now, look_next, "").text())
    counts = Counter(status.state for status in statuses.values())
    said = ", ".join(f"{counts[state]} {state}" for state in State if counts[state]) or "nothing is there yet"
    tries = [status.attempt.next_try for status in statuses.values() if status.state == State.PAUSED and status.attempt]
    wanted = counts[State.WANTED] > 0  # and no room in the queue
    pause = END_UNHEARD_S if newest != heard.event else max(END_UNHEARD_S, 2 * (heard.until - heard.at))
    ends = [now + pause] if counts[State.RUNNING] else []
    until = now if wanted else min([*tries, *ends, look_next])
    return dg.SensorResult(skip_reason=dg.SkipReason(said), cursor=Heard(newest, now, until, look_next, said).text())


def rejected_for_now(platform: Platform) -> dict[Cell, str]:
    """Folders with files that were rejected for a reason that may have passed, or that other code or limits judged."""
    if platform.settings.library.root is None:
        return {}
    return {Cell("raw_photos", key): "files that were rejected may be readable now" for key in folders_to_look_at_again(platform)}


class Heard(NamedTuple):
    """What the last look ended with: nothing has to be looked at before a new event, or before `until`."""

    event: int
    at: float
    until: float
    look_next: float  # at the lake, for what no event tells
    said: str

    @classmethod
    def read(cls, cursor: str | None) -> "Heard":
        """From a cursor; anything else than one of ours is no memory at all."""
        try:
            event, at, until, look_next, said = json.loads(cursor or "")
            return cls(int(event), float(at), float(until), float(look_next), str(said))
        except (ValueError, TypeError):
            return cls(-1, 0.0, 0.0, 0.0, "")

    def text(self) -> str:
        return json.dumps(self)


# -- schedules ---------------------------------------------------------------------------------------------------------
@dg.schedule(
    name="nightly_refresh",
    job=upkeep,
    cron_schedule="15 2 * * *",
    execution_timezone=schedule_timezone(),
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every night: what failed is tried again whatever its pause, and the teacher is asked for photos that it has not answered.",
)
def nightly_refresh(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest] | dg.SkipReason:
    assert context.repository_def is not None
    platform = Platform.open(run_id="nightly_refresh", progress=False)
    runs, statuses = refresh(platform, context.instance, graph_of(context.repository_def.asset_graph))
    return runs or dg.SkipReason(nothing_to_do(statuses))


def refresh(platform: Platform, instance: dg.DagsterInstance, graph: Graph) -> tuple[list[dg.RunRequest], Mapping[Cell, Status]]:
    """Runs for all that failed, whatever its pause, and for photos that the teacher has not answered; the status of those cells."""
    again = asked_again(platform)
    seen = replace(look(instance, graph, JOBS, again=again), now=math.inf)  # no pause lasts longer than the night
    statuses = {cell: status for cell, status in plan(graph, seen).items() if status.attempt or cell in again}
    return wanted_runs(graph, statuses, seen), statuses


def asked_again(platform: Platform) -> dict[Cell, str]:
    """What is made once more although nothing moved: folders with rejections that may have passed, and with photos without an answer."""
    return rejected_for_now(platform) | {
        Cell("annotations", key): f"{photos} photos without an answer" for key, photos in unanswered_folders(platform).items()
    }


def nothing_to_do(statuses: Mapping[Cell, Status]) -> str:
    """Why the night asks for nothing: all is well, or what is not waits for something else."""
    held = [f"{cell} waits for {', '.join(status.waits_for)}" for cell, status in statuses.items() if status.state == State.WAITING]
    return "; ".join(held[:20]) or "every photo is answered, and no run has failed"


weekly_retrain = dg.ScheduleDefinition(
    name="weekly_retrain",
    job=retrain_students,
    cron_schedule="45 3 * * 0",
    execution_timezone=schedule_timezone(),
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every Sunday: labels, heads and the decision what is deployed, from what is in the lake.",
)


jobs = [upkeep, refresh_library, retrain_students, evaluate, trial_job, export_job]
schedules = [nightly_refresh, weekly_retrain]
sensors = [folder_sensor, source_sensor, automation_sensor]
