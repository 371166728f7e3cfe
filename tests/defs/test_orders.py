"""What commands write beside the graph: it hears of every write, takes it over or carries it out, and ends where it would have ended."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from click.testing import CliRunner

from tests.defs.world import World, ran
from vibe_assets.cli import main
from vibe_assets.definitions import defs
from vibe_assets.defs.drive import Driver
from vibe_assets.defs.foreground import run_graph, wanted
from vibe_assets.defs.orders import known_version, open_orders, standing_version
from vibe_assets.defs.standing import graph_status
from vibe_assets.operate.instance import HEARD, TABLES_SEEN
from vibe_assets.operate.launcher import PROCESS_TAG
from vibe_assets.records import ANNOTATIONS, AUDIT_SAMPLE, PREDICTIONS, RAW_PHOTOS
from vibe_assets.stages import students
from vibe_assets.stages.notes import leave_note, notes_file, read_notes
from vibe_assets.stages.truth import sample_file

AFTER_A_DEPLOYMENT = {"predictions", "student_report", "published_warehouse", "drift_report"}


def vibe(*arguments: str | Path) -> str:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, f"{arguments}: {result.output} {result.exception!r}"
    return result.stdout


def runs_of(world: World, asset: str) -> int:
    return len(world.instance.fetch_materializations(dg.AssetKey(asset), limit=1000).records)


def settled_runs(world: World) -> dict[str, int]:
    """Asset -> runs until nothing moves."""
    return ran(world.settle())


def test_predictions_follow_a_head_that_is_deployed_by_hand_and_one_that_is_rolled_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = students.deployments(world.platform)["scene"]
    monkeypatch.setenv("VIBE_STUDENTS__SEED", "7")
    vibe("train", "scene")
    monkeypatch.delenv("VIBE_STUDENTS__SEED")
    second = students.latest_head(world.platform, "scene").version
    notes_file(world.platform).unlink()  # the training is not what this test is about
    for command, version in ((("deploy", second), second), (("rollback", "scene"), first)):
        vibe("heads", *command)
        counts = settled_runs(world)
        assert set(counts) == AFTER_A_DEPLOYMENT
        assert counts["predictions"] == len(world.folders())
        assert version in (known_version(world.instance, "deployed_heads") or "")
        assert students.deployments(world.platform)["scene"] == version
    made = runs_of(world, "deployed_heads")
    assert world.settle() == []
    assert runs_of(world, "deployed_heads") == made


def test_a_head_that_is_trained_by_hand_is_judged_and_deployed_by_the_graph(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIBE_STUDENTS__SEED", "7")
    vibe("train", "scene")
    trained = students.latest_head(world.platform, "scene").version
    counts = settled_runs(world)
    assert not {"scene_head", "attribute_head"} & set(counts)  # taken over as it was trained, not trained again
    assert counts["deployed_heads"] == 1
    assert known_version(world.instance, "scene_head") == trained
    judged = world.instance.event_log_storage.get_latest_asset_check_execution_by_key(
        [key for key in defs.resolve_asset_graph().asset_check_keys if key.asset_key == dg.AssetKey("scene_head")]
    )
    runs = {record.run_id for record in judged.values()}
    assert len(runs) == 1  # its gates judged this very head
    assert known_version(world.instance, "deployed_heads") == students.deployed_version(world.platform)


def test_photos_that_are_gone_for_good_leave_the_labels(world: World) -> None:
    folder = max({path.parent for path in world.photos.rglob("*.jpg")}, key=lambda path: len(list(path.iterdir())))
    photos = sorted(path for path in folder.iterdir() if path.is_file())
    assert len(photos) >= 12
    for photo in photos[2:]:
        photo.unlink()
    world.settle()  # raw_photos of the folder refuses: is the disk mounted?
    key = next(name for name, rel in vibe_folders(world).items() if rel == str(folder.relative_to(world.photos)))
    before = world.platform.lake.read(RAW_PHOTOS, folder_key=key).filter(pl.col("reason").is_null()).height
    said = vibe("folders", "--accept-missing")
    assert key in said
    assert before == len(photos)  # the command wrote nothing itself
    settled_runs(world)
    assert world.platform.lake.read(RAW_PHOTOS, folder_key=key).filter(pl.col("reason").is_null()).height == 2
    assert world.platform.lake.read(PREDICTIONS, folder_key=key).height == 2
    assert "counts as gone" not in vibe("folders", "--accept-missing")  # nothing more is missing
    assert world.settle() == []


def vibe_folders(world: World) -> dict[str, str]:
    from vibe_assets.records import FOLDER_SET

    return dict(world.platform.lake.read(FOLDER_SET).select("folder_key", "rel_path").iter_rows())


def test_answers_that_are_brought_home_are_filled_in_and_nothing_is_asked(world: World, tmp_path: Path) -> None:
    key = world.folders()[0]
    lake = world.platform.lake
    rows = lake.read(ANNOTATIONS, folder_key=key)
    lost = rows.with_columns(reason=pl.lit("unreachable"), detail=pl.lit("the connection broke"))
    lake.replace(ANNOTATIONS, lost, folder_key=key)
    answers = tmp_path / "answers.jsonl"
    answers.write_text("".join(file.read_text() for file in world.platform.settings.journal_dir.rglob("*.jsonl")))
    asked = world.replay.counts()["requests"]
    assert "1 folder can be filled in" in vibe("import-annotations", answers)
    made = runs_of(world, "annotations")
    settled_runs(world)
    assert runs_of(world, "annotations") == made + 1
    assert lake.read(ANNOTATIONS, folder_key=key)["reason"].null_count() == rows.height
    assert world.replay.counts()["requests"] == asked
    assert world.settle() == []


def test_a_sample_drawn_by_a_command_is_the_sample(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIBE_AUDIT__SEED", "99")
    before = set(world.platform.lake.read(AUDIT_SAMPLE)["image_id"])
    vibe("sample")
    drawn = set(world.platform.lake.read(AUDIT_SAMPLE)["image_id"])
    assert drawn != before
    settled_runs(world)
    assert set(world.platform.lake.read(AUDIT_SAMPLE)["image_id"]) == drawn
    assert known_version(world.instance, "audit_sample") == standing_version(world.platform, "audit_sample")


def test_a_new_instance_does_not_draw_a_second_sample_nor_pay_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Dagster home was deleted: what people checked, and what was paid for, stays."""
    sample = sample_file(world.platform).read_bytes()
    drawn = world.platform.lake.read(AUDIT_SAMPLE)
    asked = world.replay.counts()["requests"]
    monkeypatch.setenv("DAGSTER_HOME", str(world.folder / "second"))
    monkeypatch.setenv("VIBE_AUDIT__SEED", "99")
    (world.folder / "second").mkdir()
    shutil.copy(world.folder / "dagster_home" / "dagster.yaml", world.folder / "second")
    with dg.DagsterInstance.get() as instance:
        driver = Driver(instance, defs, progress=False)
        driver.look(world.platform)
        driver.drain()
        assert not driver.tally.failed
        assert instance.get_latest_materialization_event(dg.AssetKey("drift_report")) is not None
        driver.look(world.platform)
        assert driver.drain() == []
    assert sample_file(world.platform).read_bytes() == sample
    assert world.platform.lake.read(AUDIT_SAMPLE).equals(drawn)
    assert world.replay.counts()["requests"] == asked


def test_tables_that_went_back_are_made_anew(world: World) -> None:
    """The library was restored from a backup that is older than the instance."""
    world.settle()  # the versions of now are known
    home = world.platform.settings.home
    backup = shutil.copytree(home / "lake" / PREDICTIONS.name, world.folder / "backup")
    photo = next(iter(sorted(world.photos.rglob("*.jpg"))))
    photo.write_bytes(photo.read_bytes() + b"\0")
    world.settle()
    whole = world.platform.lake.read_live(PREDICTIONS).sort("image_id")
    world.settle()
    shutil.rmtree(home / "lake" / PREDICTIONS.name)
    shutil.copytree(backup, home / "lake" / PREDICTIONS.name)
    counts = settled_runs(world)
    assert counts["predictions"] == len(world.folders())
    assert not {"scene_head", "annotations", "raw_photos"} & set(counts)
    assert world.platform.lake.read_live(PREDICTIONS).sort("image_id")["image_id"].equals(whole["image_id"])
    assert json.loads(world.instance.daemon_cursor_storage.get_cursor_values({TABLES_SEEN})[TABLES_SEEN])["predictions"] > 0


def test_vibe_run_makes_what_moved_and_what_is_named_and_ends_with_the_status(world: World) -> None:
    photo = next(iter(sorted(world.photos.rglob("*.jpg"))))
    photo.write_bytes(photo.read_bytes() + b"\0")
    key = world.folders()[-1]
    made = {name: runs_of(world, name) for name in ("raw_photos", "annotations", "predictions")}
    command = [sys.executable, "-m", "vibe_assets.cli", "run", "image_embeddings", "--folder", key]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert runs_of(world, "raw_photos") == made["raw_photos"] + 1
    assert runs_of(world, "annotations") == made["annotations"] + 1
    assert "annotations" in done.stdout  # a line for every step, where no terminal is
    assert done.stdout.index(" runs\n") < done.stdout.index("Library\n") < done.stdout.index("Next\n")
    assert "Traceback" not in done.stderr
    assert world.settle() == []


def test_assets_and_folders_that_do_not_exist_are_named(world: World) -> None:
    with pytest.raises(LookupError, match=r"no such asset photos; there are .*raw_photos"):
        wanted(defs, world.instance, ["photos"], [])
    with pytest.raises(LookupError, match="no such folder x-1; `vibe folders`"):
        wanted(defs, world.instance, ["raw_photos"], ["x-1"])
    with pytest.raises(LookupError, match="tagged_photos is not made by folders"):
        wanted(defs, world.instance, ["tagged_photos"], [])
    assert wanted(defs, world.instance, ["scene_head", "raw_photos"], [world.folders()[0]]) == [
        (dg.AssetKey("scene_head"), None), (dg.AssetKey("raw_photos"), world.folders()[0]),
    ]  # fmt: skip


def test_vibe_run_tries_again_at_once_what_waits_for_its_next_try(world: World) -> None:
    """The evening with the teacher off is over: whoever starts `vibe run` does not wait for a pause."""
    world.setting("teacher-1", "teacher-2")
    os.environ["QWEN_BASE_URL"], base_url = "http://127.0.0.1:9/v1", os.environ["QWEN_BASE_URL"]
    world.settle()
    found = graph_status(world.instance, defs)
    assert {(one.asset, one.partition) for one in found.retries} == {("annotations", key) for key in world.folders()}
    assert all(one.next_try > datetime.now(UTC) and one.reason for one in found.retries)
    os.environ["QWEN_BASE_URL"] = base_url
    photo = next(iter(sorted(world.photos.rglob("*.jpg"))))
    photo.write_bytes(photo.read_bytes() + b"\0")  # its folder is scanned first, and the answers wait for that
    tally = run_graph(defs, progress=False)
    assert not tally.failed
    assert graph_status(world.instance, defs).retries == ()


def test_vibe_run_goes_on_after_a_daemon_that_was_killed_with_its_runs(world: World) -> None:
    job = defs.resolve_implicit_global_asset_job_def()
    key, dead = world.folders()[0], json.dumps({"host": socket.gethostname(), "pid": 2**22 + 1, "started": 1})
    for tags in ({PROCESS_TAG: dead}, {PROCESS_TAG: json.dumps({"host": "elsewhere", "pid": 1, "started": 1})}):
        world.instance.create_run_for_job(
            job,
            asset_selection=frozenset({dg.AssetKey("raw_photos")}),
            status=dg.DagsterRunStatus.STARTED,
            tags={"launched_by": "automation", "dagster/partition": key, **tags},
        )
    assert world.driver.take_over() == 1
    (goes_on,) = world.instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
    assert "elsewhere" in goes_on.tags[PROCESS_TAG]


def test_a_note_is_carried_out_once_and_a_torn_one_is_none(world: World) -> None:
    platform = world.platform
    leave_note(platform, "published_warehouse", what="wanted")
    with notes_file(platform).open("a") as file:
        file.write('{"id": "x", "asset": "predic')
    leave_note(platform, "published_warehouse", what="wanted")
    assert [note.asset for _, note in read_notes(platform)] == ["published_warehouse"] * 2
    graph = defs.resolve_asset_graph()
    (order,) = open_orders(platform, world.instance, graph)  # two of the same are one
    assert open_orders(platform, world.instance, graph) == [order]  # nobody carried it out yet
    assert world.driver.run([dg.AssetKey(order.asset)], order.partition, tags=order.tags)
    assert open_orders(platform, world.instance, graph) == []
    heard = world.instance.daemon_cursor_storage.get_cursor_values({HEARD})[HEARD]
    assert notes_file(platform).stat().st_size == int(heard)
