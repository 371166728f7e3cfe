"""What the sensors and the nightly schedule report, on a tiny library, without running any asset."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from PIL import Image

from vibe_assets.definitions import defs
from vibe_assets.defs import automation
from vibe_assets.defs.automation import POOLS, folder_sensor, nightly_refresh, source_sensor
from vibe_assets.defs.drive import Driver
from vibe_assets.defs.partitions import folders
from vibe_assets.photos.scan import LibraryVanished
from vibe_assets.records import ANNOTATIONS, RAW_PHOTOS
from vibe_assets.settings import SettingsError
from vibe_assets.stages.platform import Platform


@dataclass
class Watch:
    """The sensors over one library, driven as the sensor daemon drives them."""

    root: Path
    instance: dg.DagsterInstance
    cursors: dict[str, str | None] = field(default_factory=dict)

    def look(self, sensor: dg.SensorDefinition = folder_sensor) -> dg.SensorResult | None:
        """One tick; what it asks for is done, as the daemon would. None for a skipped tick."""
        context = dg.build_sensor_context(instance=self.instance, cursor=self.cursors.get(sensor.name), definitions=defs)
        result = sensor(context)
        if isinstance(result, dg.SkipReason):
            return None
        assert isinstance(result, dg.SensorResult)
        self.cursors[sensor.name] = result.cursor
        for request in result.dynamic_partitions_requests or []:
            if isinstance(request, dg.AddDynamicPartitionsRequest):
                self.instance.add_dynamic_partitions(str(folders.name), list(request.partition_keys))
            else:
                for key in request.partition_keys:
                    self.instance.delete_dynamic_partition(str(folders.name), key)
        for event in result.asset_events:
            self.instance.report_runless_asset_event(event)
        return result

    def photo(self, path: str, colour: str = "teal") -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30), colour).save(file)


@pytest.fixture
def watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watch]:
    root = tmp_path / "photos"
    root.mkdir()
    config = tmp_path / "vibe.toml"
    config.write_text('[library]\nroot = "photos"\nhome = "data"\n')
    monkeypatch.setenv("VIBE_CONFIG", str(config))
    (tmp_path / "instance").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "instance"), overrides={"concurrency": {"pools": {"default_limit": 1}}}) as instance:
        yield Watch(root, instance)


def keys(result: dg.SensorResult | None) -> set[tuple[str, str | None]]:
    assert result is not None
    return {(event.asset_key.to_user_string(), event.partition) for event in result.asset_events}


def test_new_folders_become_partitions_and_a_quiet_library_is_skipped(watch: Watch) -> None:
    watch.photo("a/1.png")
    watch.photo("b/1.png")
    found = keys(watch.look())
    partitions = set(watch.instance.get_dynamic_partitions(str(folders.name)))
    assert len(partitions) == 2
    assert found == {("folder_set", None), *(("folder_listing", key) for key in partitions)}
    assert watch.look() is None


def test_many_new_folders_come_bit_by_bit_and_the_set_last(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(automation, "AT_ONCE", 2)
    for number in range(5):
        watch.photo(f"{number}/a.png")
    told = []
    for _ in range(3):
        result = watch.look()
        assert result is not None
        told.append([event.asset_key.to_user_string() for event in result.asset_events])
    assert [names.count("folder_listing") for names in told] == [2, 2, 1]
    assert [names.count("folder_set") for names in told] == [0, 0, 1]
    assert len(watch.instance.get_dynamic_partitions(str(folders.name))) == 5
    assert watch.look() is None


def test_new_folders_wait_while_as_many_runs_wait_to_start(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(automation, "AT_ONCE", 2)
    job, wanted = defs.resolve_implicit_global_asset_job_def(), frozenset({dg.AssetKey("raw_photos")})
    queued = [
        watch.instance.create_run_for_job(job, asset_selection=wanted, status=dg.DagsterRunStatus.STARTING) for _ in range(2)
    ]  # fmt: skip
    watch.photo("a/a.png")
    assert watch.look() is None
    watch.instance.delete_run(queued[0].run_id)
    result = watch.look()
    assert result is not None
    assert [event.asset_key.to_user_string() for event in result.asset_events] == ["folder_listing", "folder_set"]


def test_a_changed_folder_is_reported_alone(watch: Watch) -> None:
    watch.photo("a/1.png")
    watch.photo("b/1.png")
    watch.look()
    watch.photo("a/2.png", "red")
    (only,) = keys(watch.look())
    assert only[0] == "folder_listing"
    assert str(only[1]).startswith("a-")


def test_a_removed_folder_leaves_the_partitions_and_moves_the_set(watch: Watch) -> None:
    for name in "abcd":
        watch.photo(f"{name}/1.png")
    watch.look()
    shutil.rmtree(watch.root / "b")
    assert keys(watch.look()) == {("folder_set", None)}
    assert not [key for key in watch.instance.get_dynamic_partitions(str(folders.name)) if key.startswith("b-")]


def test_a_vanished_library_fails_the_tick_and_keeps_the_partitions(watch: Watch) -> None:
    for name in "abcd":
        watch.photo(f"{name}/1.png")
    watch.look()
    shutil.rmtree(watch.root)
    watch.root.mkdir()
    with pytest.raises(LibraryVanished, match="accept-missing"):
        watch.look()
    assert len(watch.instance.get_dynamic_partitions(str(folders.name))) == 4


def test_an_empty_library_reports_nothing_that_could_start_training(watch: Watch) -> None:
    assert watch.look() is None


def test_a_fresh_cursor_reports_nothing_that_the_instance_knows(watch: Watch) -> None:
    """The daemon starts after the demo: its cursors are empty, the instance is not."""
    watch.photo("a/1.png")
    watch.look()
    watch.look(source_sensor)
    watch.cursors.clear()
    again = watch.look()
    assert again is not None
    assert not list(again.asset_events)
    assert watch.look(source_sensor) is None


def test_sources_are_reported_once_and_again_when_they_move(watch: Watch) -> None:
    assert keys(watch.look(source_sensor)) == {("teacher", None), ("label_mapping", None), ("encoder", None)}
    assert watch.look(source_sensor) is None
    config = watch.root.parent / "vibe.toml"
    config.write_text(config.read_text() + '[teacher]\nmodel = "another"\n')
    assert keys(watch.look(source_sensor)) == {("teacher", None)}


def test_a_candidate_is_tried_once_and_only_when_there_is_an_audit(watch: Watch) -> None:
    config = watch.root.parent / "vibe.toml"
    config.write_text(config.read_text() + '[teacher]\nmodel = "one"\n[teacher.candidate]\nmodel = "two"\n')
    first = watch.look(source_sensor)
    assert first is not None
    assert not first.run_requests
    audited = Platform.open().settings.audited_file
    audited.parent.mkdir(parents=True)
    audited.write_text("[]")
    assert keys(watch.look(source_sensor)) == {("audited_verdicts", None)}
    tried = watch.look(source_sensor)
    assert tried is not None
    assert len(tried.run_requests or []) == 1
    assert watch.look(source_sensor) is None


def test_wrong_settings_fail_the_tick_with_the_name_of_the_setting(watch: Watch) -> None:
    (watch.root.parent / "vibe.toml").write_text("[teacher]\nconcurrency = 0\n")
    with pytest.raises(SettingsError, match="concurrency"):
        watch.look(source_sensor)


def test_the_night_asks_again_for_what_failed_and_for_nothing_else(watch: Watch) -> None:
    """Answered, refused for good, failed for now, and never asked for: the last two are asked for again."""
    for name, colour in zip("abcd", ("red", "green", "blue", "white"), strict=True):
        watch.photo(f"{name}/1.png", colour)
    watch.look()
    watch.look(source_sensor)
    driver = Driver(watch.instance, defs, progress=False)
    folders_ = sorted(watch.instance.get_dynamic_partitions(str(folders.name)))
    for key in folders_:
        assert driver.run([dg.AssetKey("raw_photos")], key)
    lake = Platform.open().lake
    for key, reason in zip(folders_, (None, "unreadable_photo", "timeout"), strict=False):
        (photo,) = lake.read(RAW_PHOTOS, folder_key=key)["image_id"]
        row = {"folder_key": key, "image_id": photo, "reason": reason}
        columns = {name: row.get(name) for name in ANNOTATIONS.columns}
        lake.replace(ANNOTATIONS, pl.DataFrame([columns], schema=ANNOTATIONS.polars_schema()), folder_key=key)
    context = dg.build_schedule_context(
        instance=watch.instance, scheduled_execution_time=datetime(2026, 1, 1, 2, 15, tzinfo=UTC), repository_def=defs.get_repository_def()
    )
    requests = nightly_refresh(context)
    assert [(request.asset_selection, str(request.partition_key)[0]) for request in requests] == [
        ([dg.AssetKey("annotations")], key) for key in "cd"
    ]


def test_a_look_at_the_folders_gives_every_pool_its_limit_before_any_run_is_queued(watch: Watch) -> None:
    watch.photo("trips/one.png")
    assert not watch.instance.event_log_storage.get_concurrency_keys()
    watch.look()
    limits = {pool.name: pool.limit for pool in watch.instance.event_log_storage.get_pool_limits()}
    assert limits == dict.fromkeys(POOLS, 1)


def test_the_pools_that_get_a_limit_are_those_of_the_graph() -> None:
    assert {pool for asset in defs.resolve_asset_graph().assets_defs if asset.is_executable for pool in asset.node_def.pools} == set(POOLS)


def test_a_run_that_ends_while_it_is_looked_at_is_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dagster keeps the event of a run's end before the run says that it is over: a look in between has heard of everything."""
    repository, now = defs.get_repository_def(), time.time()
    with dg.instance_for_test() as instance:
        run_id = "7b6f0d5e-6c0f-4b8e-9d43-0c8b5f1d2a34"
        instance.add_run(
            dg.DagsterRun(
                "upkeep", run_id=run_id, status=dg.DagsterRunStatus.STARTED, asset_selection=frozenset({dg.AssetKey("photo_groups")})
            )
        )

        def look(cursor: str, seconds: float) -> tuple[str, str]:
            """What a tick said and its cursor; "" where it did not look."""
            monkeypatch.setattr(automation.time, "time", lambda: now + seconds)
            found = automation.automation_sensor(dg.build_sensor_context(instance=instance, repository_def=repository, cursor=cursor))
            return (str(found.skip_reason), found.cursor or "") if isinstance(found, dg.SensorResult) else ("", cursor)

        cursor, looked = automation.Heard(-1, now, now, now + 500, "").text(), []
        for second in range(0, 400, 5):
            said, cursor = look(cursor, second)
            looked += [second] if said else []
            assert not said or "1 running" in said
        assert looked == [0, 10, 30, 70, 150, 310], "a long run is not looked at all the time"
        instance.run_storage.delete_run(run_id)  # no event tells
        said, _ = look(cursor, 500)
        assert said
        assert "running" not in said
