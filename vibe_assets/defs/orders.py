"""Notes that commands left -> what the graph does about them: a run for an asset it follows, an event for one of a study.

An asset that a command wrote is taken over as it is, in a run of its own: its gates judge it like any other version.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg
from dagster._core.definitions.assets.graph.base_asset_graph import BaseAssetGraph

from vibe_assets.defs.history import VERSION_TAG, graph_of
from vibe_assets.defs.metadata import content_version
from vibe_assets.defs.questions import HEAD_NAMES
from vibe_assets.heads.models import HeadError
from vibe_assets.lake import LakeError
from vibe_assets.operate.instance import HEARD, TABLES_SEEN
from vibe_assets.records import AUDIT_SAMPLE, TABLES
from vibe_assets.stages import students
from vibe_assets.stages.notes import WANTED, Note, read_notes
from vibe_assets.stages.platform import Platform, StageError

AS_IT_IS = "vibe/as_it_is"  # tag of a run that takes an asset over as a command left it; its value names the command
NOTE = "vibe/note"  # tag of a run that carries out a note
BY_COMMANDS = (
    "audit_sample",
    *HEAD_NAMES,
    "deployed_heads",
)  # of the assets kept up to date: what commands write
FOLDERS = "photo_folders"
BY_ITSELF = ("automation", "vibe")  # launched_by of runs that nobody asked for by name
BY_NAME = {".dagster/vibe_by_name": "vibe run"}  # tag of a run that somebody did


@dataclass(frozen=True)
class Order:
    """A run that the graph owes somebody."""

    asset: str
    partition: str | None
    tags: dict[str, str]
    checks: tuple[str, ...] = ()  # its gates


def taken_over(context: dg.AssetExecutionContext) -> bool:
    """Whether this run is to take the asset over as it lies there, instead of making it anew."""
    return AS_IT_IS in context.run.tags


def asked_by_hand(context: dg.AssetExecutionContext) -> bool:
    """Whether a person asked for this very run."""
    return context.run.tags.get("launched_by") not in BY_ITSELF or BY_NAME.keys() <= context.run.tags.keys()


def open_orders(platform: Platform, instance: dg.DagsterInstance, graph: BaseAssetGraph) -> list[Order]:
    """Runs for the notes that nobody carried out yet; notes about assets of the studies become events here and now.

    A note is done with once there is a run for it, so a process that dies after this call loses none.
    """
    store = instance.daemon_cursor_storage
    before = int(store.get_cursor_values({HEARD}).get(HEARD) or 0)
    read = read_notes(platform, after=before)
    newest = {(note.asset, note.partition, note.what): note.id for _, note in read}
    orders, heard, waiting, checks = [], before, False, graph_of(graph).checks
    for end, note in read:
        if newest[note.asset, note.partition, note.what] == note.id:
            if note.asset not in checks:
                _tell(platform, instance, graph, note)
            elif order := _order(platform, instance, checks, note):
                orders.append(order)
                waiting = True
        heard = heard if waiting else end
    if heard != before:
        store.set_cursor_values({HEARD: str(heard)})
    return orders


def unheard(platform: Platform, instance: dg.DagsterInstance, graph: BaseAssetGraph) -> list[Order]:
    """The runs that `open_orders` would ask for; nothing is written."""
    before = int(instance.daemon_cursor_storage.get_cursor_values({HEARD}).get(HEARD) or 0)
    newest = {(note.asset, note.partition, note.what): note for _, note in read_notes(platform, after=before)}
    checks = graph_of(graph).checks
    return [order for note in newest.values() if note.asset in checks and (order := _order(platform, instance, checks, note)) is not None]


def _order(platform: Platform, instance: dg.DagsterInstance, checks: Mapping[str, tuple[str, ...]], note: Note) -> Order | None:
    """The run that a note about a kept asset asks for; None when there is nothing to run, or was already."""
    if instance.get_runs_count(dg.RunsFilter(tags={NOTE: note.id})):
        return None
    if note.what == WANTED:
        gone = note.partition is not None and note.partition not in instance.get_dynamic_partitions(FOLDERS)
        return None if gone else Order(note.asset, note.partition, {NOTE: note.id}, checks[note.asset])
    if note.asset not in BY_COMMANDS or (there := standing_version(platform, note.asset)) is None:
        return None
    if there == known_version(instance, note.asset):
        return None
    return Order(note.asset, None, {NOTE: note.id, AS_IT_IS: note.by}, checks[note.asset])


def standing_version(platform: Platform, asset: str) -> str | None:
    """Data version of what a command left, as the asset itself would state it; None where nothing is there."""
    if asset == "audit_sample":
        rows = platform.lake.read(AUDIT_SAMPLE)
        return content_version(AUDIT_SAMPLE, rows).value if rows.height else None
    if asset == "deployed_heads":
        return students.deployed_version(platform)
    try:
        return students.latest_head(platform, asset.removesuffix("_head")).version
    except (StageError, HeadError):
        return None


def known_version(instance: dg.DagsterInstance, asset: str) -> str | None:
    """Data version of the newest materialisation."""
    event = instance.get_latest_materialization_event(dg.AssetKey(asset))
    made = event.asset_materialization if event else None
    return (made.tags or {}).get(VERSION_TAG) if made else None


def _tell(platform: Platform, instance: dg.DagsterInstance, graph: BaseAssetGraph, note: Note) -> None:
    """Report what a command made of an asset that only people start: the UI shows it, and its partition exists."""
    key = dg.AssetKey(note.asset)
    if key not in graph.materializable_asset_keys:
        return  # a source, which the sensors look at themselves, or a table that is no asset
    partition, made = note.partition, graph.get(key).partitions_def
    if isinstance(made, dg.MultiPartitionsDefinition) and partition:
        partition = dg.MultiPartitionKey(dict(zip(("batch", "model"), partition.split("--", 1), strict=True)))
        dimensions = {one.name: one.partitions_def for one in made.partitions_defs}
        for name, one in partition.keys_by_dimension.items():
            _add_partition(instance, dimensions[name], one)
    elif made is not None and partition:
        _add_partition(instance, made, partition)
    tags = {}
    if (table := TABLES.get(note.asset)) is not None:
        rows = platform.lake.read(table, folder_key=note.partition)
        if rows.is_empty() and note.partition:
            return  # a batch that was pruned
        tags[VERSION_TAG] = content_version(table, rows).value
    metadata: dict[str, Any] = {"by": note.by, "at": note.at, **({"rows": rows.height} if table else {})}
    instance.report_runless_asset_event(dg.AssetMaterialization(note.asset, partition=partition, tags=tags, metadata=metadata))


def _add_partition(instance: dg.DagsterInstance, made: dg.PartitionsDefinition, key: str) -> None:
    if isinstance(made, dg.DynamicPartitionsDefinition) and made.name and not instance.has_dynamic_partition(made.name, key):
        instance.add_dynamic_partitions(made.name, [key])


# -- a lake that went back ---------------------------------------------------------------------------------------------
def forget_lost(platform: Platform, instance: dg.DagsterInstance, graph: BaseAssetGraph) -> list[str]:
    """Assets whose table is older than the instance knows it (restored from a backup, repaired, deleted): to be made anew.

    The instance forgets that they were made, so the conditions ask for them; caches and journals answer, nobody is paid twice.
    """
    lost, seen, now = _compared(platform, instance, graph)
    if lost:
        instance.wipe_assets([dg.AssetKey(name) for name in lost])
    if now != seen:
        instance.daemon_cursor_storage.set_cursor_values({TABLES_SEEN: json.dumps(now, sort_keys=True)})
    return lost


def lost_tables(platform: Platform, instance: dg.DagsterInstance, graph: BaseAssetGraph) -> list[str]:
    """Assets that `forget_lost` would forget; nothing is written."""
    return _compared(platform, instance, graph)[0]


def _compared(platform: Platform, instance: dg.DagsterInstance, graph: BaseAssetGraph) -> tuple[list[str], dict[str, int], dict[str, int]]:
    """Tables that are older than the instance knows them, and the versions of all: as it knows them, and as they are."""
    text = instance.daemon_cursor_storage.get_cursor_values({TABLES_SEEN}).get(TABLES_SEEN)
    seen: dict[str, int] = json.loads(text) if text else {}
    now = dict(seen)
    for name in graph_of(graph).inputs.keys() & TABLES.keys():
        try:
            version = platform.lake.version(TABLES[name])
        except LakeError:
            continue  # damaged: whoever reads it says so
        if version is None:
            now.pop(name, None)
        else:
            now[name] = version
    return sorted(name for name, version in seen.items() if now.get(name, -1) < version), seen, now
