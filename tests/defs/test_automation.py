"""What is rebuilt when something moves, over several ticks, on the real graph with real assets."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from tests.defs.world import HEADS, World, build, opened, ran
from vibe_assets.definitions import defs
from vibe_assets.defs import plan
from vibe_assets.defs.history import graph_of
from vibe_assets.defs.plan import JUDGES_ITSELF, MAY_BE_ABSENT
from vibe_assets.defs.resources import Installation
from vibe_assets.defs.standing import graph_status
from vibe_assets.records import ANNOTATIONS, AUTO_GROUND_TRUTH, PHOTO_GROUPS, PREDICTIONS, RAW_PHOTOS
from vibe_assets.stages.platform import Platform

AFTER_REPORT = [*HEADS, "deployed_heads", "published_warehouse", "student_report", "drift_report"]


def once_each(*names: str) -> dict[str, int]:
    return dict.fromkeys(names, 1)


def test_the_first_build_ends_with_labels_for_every_photo(world: World) -> None:
    photos = world.platform.lake.read_live(RAW_PHOTOS).filter(pl.col("reason").is_null())
    predictions = world.platform.lake.read_live(PREDICTIONS)
    assert set(predictions["image_id"]) == set(photos["image_id"])
    assert set(predictions["source"]) == {"student"}


def test_a_new_teacher_reannotates_every_folder_and_trains_exactly_once(world: World) -> None:
    world.setting("teacher-1", "teacher-2")
    counts, folders = ran(world.settle()), len(world.folders())
    assert counts == {
        "annotations": folders, "predictions": folders, **once_each("auto_ground_truth", "teacher_report", *AFTER_REPORT),
    }  # fmt: skip
    assert world.platform.lake.read(AUTO_GROUND_TRUTH)["teacher"].n_unique() == 1


def test_a_new_audit_rebuilds_reports_and_students_but_asks_the_teacher_nothing(world: World) -> None:
    world.audit(error_rate=0.2)
    asked = world.replay.counts()["requests"]
    counts = ran(world.settle())
    assert counts == {"predictions": len(world.folders()), **once_each("audited_ground_truth", "teacher_report", *AFTER_REPORT)}
    assert world.replay.counts()["requests"] == asked


def test_a_new_mapping_rebuilds_labels_without_asking_the_teacher(world: World) -> None:
    world.setting("[audit]", "[labels]\nmin_object_confidence = 0.2\n[audit]")
    asked = world.replay.counts()["requests"]
    counts = ran(world.settle())
    assert counts["auto_ground_truth"] == counts["scene_head"] == 1
    assert "annotations" not in counts
    assert world.replay.counts()["requests"] == asked


def test_a_new_folder_is_built_alone_and_the_students_learn_it_once(world: World) -> None:
    source = next(path for path in sorted(world.photos.rglob("*")) if path.is_dir() and any(path.glob("*.jpg")))
    new = world.photos / "new, 'folder' 😀"
    new.mkdir()
    for at, photo in enumerate(sorted(source.glob("*.jpg"))[:6]):
        with (new / f"{at}.jpg").open("wb") as copy:  # other bytes behind the picture: a new photo that looks the same
            copy.write(photo.read_bytes() + b"\0" * (at + 1))
    before = world.platform.lake.read(PHOTO_GROUPS)
    counts = ran(world.settle())
    assert counts["raw_photos"] == counts["annotations"] == counts["image_embeddings"] == 1
    assert {counts[name] for name in (*HEADS, "auto_ground_truth", "teacher_report", "deployed_heads", "student_report")} == {1}
    after = before.join(world.platform.lake.read(PHOTO_GROUPS), on="image_id", suffix="_after")
    assert (after["split"] == after["split_after"]).all()


def test_a_removed_folder_leaves_the_labels(world: World) -> None:
    gone = next(path for path in sorted(world.photos.rglob("*")) if path.is_dir() and any(path.glob("*.jpg")))
    keys = set(world.folders())
    shutil.rmtree(gone)
    counts = ran(world.settle())
    assert counts["photo_groups"] == counts["auto_ground_truth"] == counts["scene_head"] == 1
    assert not {"annotations", "raw_photos"} & set(counts)
    (removed,) = keys - set(world.folders())
    lake = world.platform.lake
    lost = set(lake.read(RAW_PHOTOS, folder_key=removed)["image_id"].drop_nulls()) - set(lake.read_live(RAW_PHOTOS)["image_id"])
    assert lost
    assert not lost & set(lake.read(AUTO_GROUND_TRUTH)["image_id"])


def test_a_changed_photo_rebuilds_its_folder_only_and_pays_for_one_answer(world: World) -> None:
    photo = next(iter(sorted(world.photos.rglob("*.jpg"))))
    photo.write_bytes(photo.read_bytes() + b"\0")
    asked = world.replay.counts()["photos"]
    counts = ran(world.settle())
    assert counts["raw_photos"] == counts["annotations"] == counts["image_embeddings"] == 1
    assert world.replay.counts()["photos"] == asked + 1


def test_students_never_train_on_two_teachers(world: World) -> None:
    """Half of the folders fail under the new teacher: the labels stay as they were, nothing is trained."""
    broken = next(path for path in sorted(world.photos.rglob("*")) if path.is_dir() and any(path.glob("*.jpg")))
    names = {line.name for line in broken.glob("*")}
    answers = world.folder / "candidate_answers.jsonl"
    kept = [line for line in answers.read_text().splitlines() if not any(f"/{name}" in line or f'"{name}' in line for name in names)]
    whole = answers.read_text()
    answers.write_text("\n".join(kept) + "\n")
    world.replay.answers = type(world.replay.answers)({"teacher-1": world.folder / "teacher_answers.jsonl", "": answers}, world.photos)
    world.setting("teacher-1", "teacher-2")
    counts = ran(world.settle())
    assert set(counts) == {"annotations", "auto_ground_truth"}  # whose gate library_annotated is shut
    answers.write_text(whole)
    world.replay.answers = type(world.replay.answers)({"teacher-1": world.folder / "teacher_answers.jsonl", "": answers}, world.photos)
    teachers = world.platform.lake.read_live(ANNOTATIONS)
    failed = sorted(set(teachers.filter(pl.col("reason").is_not_null())["folder_key"]))
    for key in failed:
        assert world.driver.run([dg.AssetKey("annotations")], key)
    counts = ran(world.settle())
    assert counts["auto_ground_truth"] == counts["scene_head"] == 1
    assert world.platform.lake.read(AUTO_GROUND_TRUTH)["teacher"].n_unique() == 1


def test_labels_of_a_partial_reannotation_stop_at_the_gate(world: World) -> None:
    """By hand, with the sources not looked at: one folder with the new teacher, the others with the old one."""
    world.setting("teacher-1", "teacher-2")
    key = world.folders()[0]
    assert world.driver.run([dg.AssetKey("annotations")], key)
    assert not world.driver.run([dg.AssetKey("auto_ground_truth")])
    assert not world.driver.run([dg.AssetKey("scene_head")])


def test_a_shut_gate_stops_what_is_downstream_and_opens_again(world: World) -> None:
    deployed = (world.folder / "data" / "heads" / "deployments.jsonl").read_text()
    world.setting("min_teacher_agreement = 0.5", "min_teacher_agreement = 0.999")
    world.audit(error_rate=0.3)
    counts = ran(world.settle())
    assert counts["teacher_report"] == 1
    assert not set(HEADS) & set(counts)
    assert (world.folder / "data" / "heads" / "deployments.jsonl").read_text() == deployed
    world.setting("min_teacher_agreement = 0.999", "min_teacher_agreement = 0.1")
    assert world.driver.run([dg.AssetKey("teacher_report")])
    assert ran(world.settle())["scene_head"] == 1


def test_an_update_that_lands_between_request_and_tick_is_not_lost(world: World) -> None:
    world.setting("teacher-1", "teacher-2")
    world.settle()
    world.setting("teacher-2", "teacher-3")
    world.settle()
    from vibe_assets.teacher.annotate import teacher_fingerprint

    current = teacher_fingerprint(world.platform.settings.teacher)
    assert set(world.platform.lake.read(AUTO_GROUND_TRUTH)["teacher"]) == {current}


def test_predictions_wait_while_the_gates_of_the_heads_are_at_work(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under the daemon, looks pass between the moment the heads are stored and the moment their gates have judged them."""
    wanted: list[set[str]] = []
    opened = Installation.open

    def ticking(self: Installation, context: Any, **facts: str) -> Platform:
        if isinstance(context, dg.AssetCheckExecutionContext) and "scene_head_" in context.op_execution_context.op.name and not wanted:
            wanted.append({key.to_user_string() for request in world.driver.wanted() for key in request.asset_selection or ()})
        return opened(self, context, **facts)

    monkeypatch.setattr(Installation, "open", ticking)
    world.setting("teacher-1", "teacher-2")
    world.settle()
    assert wanted == [set()]


def test_what_is_kept_up_to_date_is_the_spine_and_nothing_else() -> None:
    graph = graph_of(defs.resolve_asset_graph())
    assert set(graph.inputs) == {
        "raw_photos", "photo_groups", "annotations", "auto_ground_truth", "audit_sample", "audited_ground_truth", "teacher_report",
        "image_embeddings", "prompt_embeddings", *HEADS, "deployed_heads", "predictions", "student_report", "published_warehouse",
        "drift_report",
    }  # fmt: skip
    assert graph.once == {"audit_sample"}
    assert graph.by_folder == {"folder_listing", "raw_photos", "annotations", "image_embeddings", "predictions"}
    assert {head: graph.gates[head] for head in JUDGES_ITSELF["deployed_heads"]} == JUDGES_ITSELF["deployed_heads"]
    for optional in (*MAY_BE_ABSENT.items(), *JUDGES_ITSELF.items()):
        assert set(optional[1]) <= set(graph.inputs[optional[0]])


def test_a_gate_that_crashes_is_shut_says_why_and_opens_when_the_cause_is_gone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    taxonomy = world.folder / "taxonomy.yaml"
    world.setting("[audit]", "[labels]\nmin_object_confidence = 0.2\n[audit]")
    opened = Installation.open

    def full(self: Installation, context: Any, **facts: str) -> Platform:
        if isinstance(context, dg.AssetCheckExecutionContext) and "auto_ground_truth" in context.op_execution_context.op.name:
            raise OSError(28, "No space left on device", str(taxonomy))
        return opened(self, context, **facts)

    with monkeypatch.context() as broken:
        broken.setattr(Installation, "open", full)
        assert ran(world.settle()) == once_each("auto_ground_truth", "prompt_embeddings")
    records = world.instance.event_log_storage.get_latest_asset_check_execution_by_key(
        [dg.AssetCheckKey(dg.AssetKey("auto_ground_truth"), "one_teacher_only")]
    )
    (record,) = records.values()
    assert record.evaluation is not None
    assert "No space left on device" in str(record.evaluation.description)
    assert world.settle() == []  # its pause is not over
    (retry,) = graph_status(world.instance, defs).retries
    assert (retry.asset, retry.failures) == ("auto_ground_truth", 1)
    monkeypatch.setattr(plan, "PAUSES_S", (0,))
    assert ran(world.settle())["scene_head"] == 1


def test_a_run_that_failed_is_tried_again_after_its_pause_and_what_follows_is_made_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.setting("teacher-1", "teacher-2")
    address = os.environ.pop("QWEN_BASE_URL")
    os.environ["QWEN_BASE_URL"] = "http://127.0.0.1:9/v1"  # nobody listens there
    assert ran(world.settle()) == {"annotations": len(world.folders())}
    waiting = graph_status(world.instance, defs).retries
    assert [retry.asset for retry in waiting] == ["annotations"] * len(world.folders())
    assert all("127.0.0.1:9" in retry.reason for retry in waiting)
    os.environ["QWEN_BASE_URL"] = address
    assert world.settle() == []
    monkeypatch.setattr(plan, "PAUSES_S", (0,))
    folders = len(world.folders())
    assert ran(world.settle()) == {
        "annotations": folders, "predictions": folders, **once_each("auto_ground_truth", "teacher_report", *AFTER_REPORT),
    }  # fmt: skip


def test_the_first_build_of_a_library_whose_teacher_is_off_comes_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was never there counts as much as what moved."""
    build(tmp_path)
    with opened(tmp_path) as world:
        address = os.environ.pop("QWEN_BASE_URL")
        os.environ["QWEN_BASE_URL"] = "http://127.0.0.1:9/v1"
        world.settle()
        assert world.driver.wanted() == []
        os.environ["QWEN_BASE_URL"] = address
        monkeypatch.setattr(plan, "PAUSES_S", (0,))
        world.settle()
        photos = world.platform.lake.read_live(RAW_PHOTOS).filter(pl.col("reason").is_null())
        assert set(world.platform.lake.read(AUTO_GROUND_TRUTH)["image_id"]) == set(photos["image_id"])
        assert set(world.platform.lake.read_live(PREDICTIONS)["image_id"]) == set(photos["image_id"])


def test_two_bad_photos_of_a_folder_hold_up_nobody(world: World) -> None:
    folders = (path for path in world.photos.rglob("*") if path.is_dir() and any(path.glob("*.jpg")))
    folder = min(folders, key=lambda path: len(list(path.iterdir())))
    for photo in sorted(folder.glob("*.jpg"))[: 2 * len(list(folder.iterdir())) // 3]:
        photo.write_bytes(b"no photo")
    counts = ran(world.settle())
    assert counts["raw_photos"] == 1
    assert counts["auto_ground_truth"] == counts["scene_head"] == counts["student_report"] == 1
