"""A number of folders goes in; an installation with one tiny photo in each, and a Dagster instance that knows it, comes out."""

from __future__ import annotations

import io
import os
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import dagster as dg
from PIL import Image

from vibe_assets.definitions import defs
from vibe_assets.defs.automation import folder_events, moved, source_events
from vibe_assets.defs.history import graph_of
from vibe_assets.defs.partitions import folders
from vibe_assets.stages.library import look_at_folders
from vibe_assets.stages.platform import Platform

HOME = Path(__file__).parents[1] / "dagster_home" / "dagster.yaml"
SETTINGS = '[library]\nroot = "photos"\nhome = "data"\nscan_workers = 1\n'
COPIES = (
    "insert into event_logs select id + :ids, run_id, replace(replace(event, :first, :key), :old, :new), dagster_event_type, timestamp, "
    "step_key, asset_key, :key from event_logs where id <= :last and partition = :first",
    "insert into asset_event_tags select id + :tag_ids, event_id + :ids, asset_key, key, replace(value, :old, :new), event_timestamp "
    "from asset_event_tags where id <= :last_tag and event_id in (select id from event_logs where id <= :last and partition = :first)",
    "insert into asset_check_executions select id + :check_ids, asset_key, check_name, :key, run_id, execution_status, "
    "replace(evaluation_event, :first, :key), evaluation_event_timestamp, evaluation_event_storage_id + :ids, "
    "materialization_event_storage_id + :ids, create_timestamp from asset_check_executions where id <= :last_check and partition = :first",
)


def install(folder: Path, count: int, *, photos: int = 1, side_px: int = 16, settings: str = "") -> Path:
    """Write `count` folders of `photos` PNGs each, all of them different, and the settings beside them."""
    buffer = io.BytesIO()
    Image.effect_noise((side_px, side_px * 3 // 4), 60).convert("RGB").save(buffer, "PNG")
    for number in range(count):
        shelf = folder / "photos" / f"{number // 100:03d}" / f"{number:05d}"
        shelf.mkdir(parents=True)
        for at in range(photos):
            (shelf / f"{at:03d}.png").write_bytes(buffer.getvalue() + (number * photos + at).to_bytes(4))
    (folder / "vibe.toml").write_text(SETTINGS + settings, encoding="utf-8")
    (folder / "dagster_home").mkdir()
    shutil.copy(HOME, folder / "dagster_home")
    return folder


@contextmanager
def opened(folder: Path, **environment: str) -> Iterator[dg.DagsterInstance]:
    """The installation's instance, and its environment for the length of the block."""
    before = dict(os.environ)
    os.environ |= {"VIBE_CONFIG": str(folder / "vibe.toml"), "DAGSTER_HOME": str(folder / "dagster_home"), **environment}
    try:
        with dg.DagsterInstance.get() as instance:
            yield instance
    finally:
        os.environ.clear()
        os.environ |= before


def settle(folder: Path, instance: dg.DagsterInstance) -> list[str]:
    """Tell the instance that every asset was made and every gate passed, without running any; the partition keys.

    One folder's events are reported through Dagster. Those of the others are copies of their rows under the other names: reporting
    takes some 10 ms an event, and there are eleven of them a folder.
    """
    platform = Platform.open(run_id="benchmark", progress=False)
    look = look_at_folders(platform)
    first, *others = sorted(look.listings)
    instance.add_dynamic_partitions(str(folders.name), [first, *others])
    for event in [*source_events(platform, instance), *folder_events(look, instance, list(look.listings))]:
        if event.partition in (None, first):
            instance.report_runless_asset_event(event)
    instance.report_runless_asset_event(moved("audited_verdicts", "none", {}))
    told = list(made_and_judged(first))
    for one in told:
        instance.report_runless_asset_event(one)
    copy_events(folder / "dagster_home" / "history" / "runs" / "index.db", look.listings)
    for one in told:  # once more: Dagster remembers the newest event of every asset, and the copies must not be newer
        if isinstance(one, dg.AssetMaterialization):
            instance.report_runless_asset_event(one)
    return [first, *others]


def made_and_judged(partition: str) -> Iterator[dg.AssetMaterialization | dg.AssetCheckEvaluation]:
    """Events of every automated asset and of its gates, upstream first."""
    graph = defs.resolve_asset_graph()
    kept = graph_of(graph)
    for level in graph.toposorted_asset_keys_by_level:
        for key in sorted(level):
            if (name := key.to_user_string()) in kept.inputs:
                where = partition if name in kept.by_folder else None
                yield moved(name, "1", {}, partition=where)
                for check in sorted(one for one in graph.asset_check_keys if one.asset_key == key):
                    yield dg.AssetCheckEvaluation(
                        asset_key=key, check_name=check.name, passed=True, partition=where, blocking=graph.get(check).blocking
                    )


def copy_events(database: Path, listings: Mapping[str, str]) -> None:
    """Write the rows of the first partition once more for every other; `listings` is folder_key -> data version of its files."""
    first = min(listings)
    with closing(sqlite3.connect(database)) as connection, connection:
        (last,) = connection.execute("select max(id) from event_logs").fetchone()
        (last_check,) = connection.execute("select max(id) from asset_check_executions").fetchone()
        (last_tag,) = connection.execute("select max(id) from asset_event_tags").fetchone()
        for at, key in enumerate(sorted(listings)[1:], start=1):
            named = {"first": first, "key": key, "old": listings[first], "new": listings[key],
                     "ids": at * last, "last": last, "check_ids": at * last_check, "last_check": last_check,
                     "tag_ids": at * last_tag, "last_tag": last_tag}  # fmt: skip
            for statement in COPIES:
                connection.execute(statement, named)
