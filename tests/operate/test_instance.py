"""An instance belongs to one library: apart by default, refused where they meet, and a library that is moved, copied or deleted."""

from __future__ import annotations

import json
import re
import shutil
import time
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest
from click.testing import CliRunner
from dagster._daemon.types import DaemonHeartbeat

from tests.faults.test_disks import fill
from tests.test_lake import mounted
from vibe_assets.cli import main
from vibe_assets.operate.instance import (
    HOME_ENV,
    IDENTITY,
    InstanceError,
    adopt,
    claim,
    daemon_alive,
    dagster_home,
    has_instance,
    library_id,
    open_instance,
    refuse_daemon,
    working,
)
from vibe_assets.operate.setup import _dagster_home, examine
from vibe_assets.settings import Settings, load_settings


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (HOME_ENV, "VIBE_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def library(folder: Path) -> Settings:
    (folder / "photos").mkdir(parents=True, exist_ok=True)
    (folder / "vibe.toml").write_text('[library]\nroot = "photos"\n')
    return load_settings(folder / "vibe.toml")


def with_history(settings: Settings) -> None:
    with open_instance(settings) as instance:
        instance.add_dynamic_partitions("photo_folders", ["a-1"])
        instance.report_runless_asset_event(dg.AssetMaterialization("audit_sample"))


def history(settings: Settings) -> tuple[list[str], list[str]]:
    with open_instance(settings) as instance:
        return sorted(key.to_user_string() for key in instance.all_asset_keys()), list(instance.get_dynamic_partitions("photo_folders"))


def test_two_libraries_have_two_instances_by_default(tmp_path: Path) -> None:
    demo, mine = library(tmp_path / "demo"), library(tmp_path / "mine")
    with_history(demo)
    assert history(mine) == ([], [])
    assert history(demo) == (["audit_sample"], ["a-1"])
    assert (dagster_home(demo), dagster_home(mine)) == (tmp_path / "demo/data/dagster", tmp_path / "mine/data/dagster")


def test_looking_for_an_instance_makes_none(tmp_path: Path) -> None:
    settings = library(tmp_path / "mine")
    assert not has_instance(settings)
    assert CliRunner().invoke(main, ["--config", str(tmp_path / "mine/vibe.toml"), "status"]).exit_code == 0
    assert _dagster_home(settings).ok  # the first `vibe ui` makes it
    assert not has_instance(settings)


def test_an_instance_that_two_libraries_are_pointed_at_serves_the_first_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HOME_ENV, str(tmp_path / "shared"))
    demo, mine = library(tmp_path / "demo"), library(tmp_path / "mine")
    with_history(demo)
    with pytest.raises(InstanceError, match=rf"belongs to the library in {demo.home}, not to that in {mine.home}.*`vibe adopt`"):
        with open_instance(mine):
            pass
    finding = _dagster_home(mine)
    assert not finding.ok
    assert "vibe adopt" in finding.remedy
    assert history(demo) == (["audit_sample"], ["a-1"])


def test_an_instance_is_adopted_and_forgets_the_other_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HOME_ENV, str(tmp_path / "shared"))
    demo, mine = library(tmp_path / "demo"), library(tmp_path / "mine")
    with_history(demo)
    said = CliRunner().invoke(main, ["adopt"], env={"VIBE_CONFIG": str(tmp_path / "mine/vibe.toml")})
    assert said.exit_code == 0, said.output
    assert "forgot 1 asset" in said.output
    assert history(mine) == ([], [])
    with pytest.raises(InstanceError, match="not to that in"):
        history(demo)


def test_a_library_that_was_deleted_is_told_from_the_one_that_came_in_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HOME_ENV, str(tmp_path / "shared"))
    settings = library(tmp_path / "mine")
    with_history(settings)
    shutil.rmtree(settings.home)
    with pytest.raises(InstanceError, match=r"no longer there.*`vibe adopt`"):
        history(settings)


def test_a_library_that_is_moved_keeps_its_instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_history(library(tmp_path / "before"))
    (tmp_path / "before").rename(tmp_path / "after")
    moved = load_settings(tmp_path / "after/vibe.toml")
    assert history(moved) == (["audit_sample"], ["a-1"])
    monkeypatch.setenv(HOME_ENV, str(tmp_path / "shared"))  # and one whose instance lies elsewhere
    with_history(moved)
    (tmp_path / "after").rename(tmp_path / "again")
    assert history(load_settings(tmp_path / "again/vibe.toml")) == (["audit_sample"], ["a-1"])


def test_a_copy_has_a_history_of_its_own_and_may_not_use_that_of_the_original(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = library(tmp_path / "original")
    with_history(original)
    shutil.copytree(tmp_path / "original", tmp_path / "copy")
    copy = load_settings(tmp_path / "copy/vibe.toml")
    assert history(copy) == (["audit_sample"], ["a-1"])
    with open_instance(copy) as instance:
        instance.add_dynamic_partitions("photo_folders", ["b-2"])
    assert history(original) == (["audit_sample"], ["a-1"])
    monkeypatch.setenv(HOME_ENV, str(dagster_home(original)))
    with pytest.raises(InstanceError, match=f"of which {copy.home} is a copy"):
        history(copy)


def test_a_link_to_the_library_is_no_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HOME_ENV, str(tmp_path / "shared"))
    with_history(library(tmp_path / "mine"))
    (tmp_path / "linked").symlink_to(tmp_path / "mine")
    assert history(load_settings(tmp_path / "linked/vibe.toml").model_copy(update={"config_file": tmp_path / "linked/vibe.toml"}))


def test_who_a_library_is_stays_and_a_damaged_note_of_it_is_named(tmp_path: Path) -> None:
    settings = library(tmp_path)
    assert library_id(settings) == library_id(load_settings(tmp_path / "vibe.toml"))
    assert [path.name for path in settings.home.iterdir()] == [IDENTITY]
    (settings.home / IDENTITY).write_text("{")
    with pytest.raises(InstanceError, match=rf"{IDENTITY} is damaged"):
        library_id(settings)


def test_one_process_lets_the_graph_move_and_names_itself(tmp_path: Path) -> None:
    settings = library(tmp_path)
    with working(settings, "`vibe ui`"):
        with pytest.raises(InstanceError, match=r"`vibe ui` \(process \d+\) works on .*`vibe status`"):
            with working(settings, "`vibe run`"):
                pass
    with working(settings, "`vibe run`"):
        pass


def test_vibe_run_leaves_the_graph_to_a_daemon_that_lives(tmp_path: Path) -> None:
    settings = library(tmp_path)
    with open_instance(settings) as instance:
        instance.add_daemon_heartbeat(DaemonHeartbeat(time.time() - 300, "SENSOR", None, None))
        assert not daemon_alive(instance)
        refuse_daemon(instance)
        instance.add_daemon_heartbeat(DaemonHeartbeat(time.time() - 5, "SENSOR", None, None))
        assert daemon_alive(instance)
    said = CliRunner().invoke(main, ["run"], env={"VIBE_CONFIG": str(tmp_path / "vibe.toml")})
    assert said.exit_code == 1
    assert "a daemon works on" in said.output


def test_an_instance_whose_runs_go_on_is_not_taken_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HOME_ENV, str(tmp_path / "shared"))
    with open_instance(library(tmp_path / "demo")) as instance:
        instance.create_run_for_job(dg.job(name="work")(lambda: None), status=dg.DagsterRunStatus.STARTED)
        with pytest.raises(InstanceError, match="1 runs of the other library"):
            adopt(library(tmp_path / "mine"), instance)


def test_sensors_of_a_strange_instance_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vibe_assets.defs.automation import folder_sensor, source_sensor

    monkeypatch.setenv(HOME_ENV, str(tmp_path / "shared"))
    demo, _ = library(tmp_path / "demo"), library(tmp_path / "mine")
    with_history(demo)
    monkeypatch.setenv("VIBE_CONFIG", str(tmp_path / "mine/vibe.toml"))
    with dg.DagsterInstance.get() as instance:
        for sensor in (folder_sensor, source_sensor):
            with pytest.raises(InstanceError, match="not to that in"):
                sensor(dg.build_sensor_context(instance))
        assert list(instance.get_dynamic_partitions("photo_folders")) == ["a-1"]
        claim(demo, instance)
    assert json.loads((demo.home / IDENTITY).read_text())["library"] == library_id(demo)


@pytest.mark.parametrize("database", ["history/runs.db", "history/runs/index.db", "schedules/schedules.db"])
@pytest.mark.parametrize(("damage", "remedy"), [("garbage", "move it away"), ("folder", "MiB are free\\) or repair access")])
def test_a_history_that_cannot_be_read_is_named_with_what_to_do(tmp_path: Path, database: str, damage: str, remedy: str) -> None:
    settings = library(tmp_path / "mine")
    with_history(settings)
    file = dagster_home(settings) / database
    for beside in (file, file.with_name(f"{file.name}-wal"), file.with_name(f"{file.name}-shm")):
        beside.unlink(missing_ok=True)
    if damage == "garbage":
        file.write_bytes(b"no database " * 1000)
    else:
        file.mkdir()
    for command in (["status"], ["run"]):
        ended = CliRunner().invoke(main, ["--config", str(tmp_path / "mine" / "vibe.toml"), *command])
        assert ended.exit_code == 1
        assert re.search(rf"Error: {re.escape(str(dagster_home(settings)))}: the database .* cannot be used: .*{remedy}", ended.output)
    found = next(found for found in examine(settings) if found.what == "Dagster home")
    assert not found.ok
    assert re.search(remedy, found.remedy)


def test_a_history_on_a_full_disk_says_to_free_some_space(tmp_path: Path) -> None:
    with contextmanager(mounted)(tmp_path / "disk", "-t", "tmpfs", "-o", "size=8m", "tmpfs") as disk:
        settings = library(disk)
        with_history(settings)
        fill(disk)
        ended = CliRunner().invoke(main, ["--config", str(disk / "vibe.toml"), "status"])
        assert ended.exit_code == 1
        assert "free some space (0 MiB are free)" in ended.output
