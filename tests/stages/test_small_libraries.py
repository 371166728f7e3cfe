"""Libraries too small, too uniform or too young to train on: every stage ends with a worded result, and every photo keeps its labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.faults import writers
from tests.stages.rows import QUICK, label_row, only, open_platform, table_rows, vector
from tests.support.questions import PACKAGED
from vibe_assets.heads.store import Deployments, save_head
from vibe_assets.photos.groups import group_photos
from vibe_assets.records import (
    AUDITED_GROUND_TRUTH,
    AUTO_GROUND_TRUTH,
    FOLDER_SET,
    IMAGE_EMBEDDINGS,
    PHOTO_GROUPS,
    PREDICTIONS,
    PROMPT_EMBEDDINGS,
    RAW_PHOTOS,
)
from vibe_assets.records.answers import source_of, without_teacher
from vibe_assets.stages import model_gates
from vibe_assets.stages.gates import predictions_sound
from vibe_assets.stages.model_gates import beats_majority, calibrated, heads_fit, not_worse_than_deployed, teacher_agrees
from vibe_assets.stages.platform import Platform
from vibe_assets.stages.reports import evaluate_students, report_students, report_teacher
from vibe_assets.stages.runtime import predict_folder
from vibe_assets.stages.students import Deployment, Trained, Untrained, deploy_students, headless, train_student
from vibe_assets.teacher.annotate import teacher_fingerprint

KEY = "album-1"


@pytest.fixture(autouse=True)
def few_shuffles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_gates, "SHUFFLES", 19)


def library(home: Path, labels: Sequence[Mapping[str, Any]], *, audited: bool = True, answered: bool = True) -> Platform:
    """One folder of photos with vectors and splits, the teacher's labels, and an audit that agrees with all of them."""
    platform = open_platform(home, **QUICK)
    lake, ids = platform.lake, [row["image_id"] for row in labels]
    place = [{"folder_key": KEY, "image_id": image_id, "rel_path": f"{KEY}/{image_id}.jpg", "path_bytes": b"x"} for image_id in ids]
    lake.replace(FOLDER_SET, table_rows(FOLDER_SET, [{"folder_key": KEY, "rel_path": KEY, "path_bytes": KEY.encode(), "files": len(ids)}]))
    photos = table_rows(RAW_PHOTOS, [row | {"path_bytes": row["rel_path"].encode()} for row in place])
    lake.replace(RAW_PHOTOS, photos, folder_key=KEY)
    lake.replace(PHOTO_GROUPS, group_photos(photos, previous_rows=None, settings=platform.settings.split))
    vectors = [only(IMAGE_EMBEDDINGS, row) | {"encoder": "e-1", "embedding": vector(at)} for at, row in enumerate(place)]
    lake.replace(IMAGE_EMBEDDINGS, table_rows(IMAGE_EMBEDDINGS, vectors), folder_key=KEY)
    if answered:
        told = {"teacher": teacher_fingerprint(platform.settings.teacher), "mapping": "m-1"}
        lake.replace(AUTO_GROUND_TRUTH, table_rows(AUTO_GROUND_TRUTH, [{**row, **told} for row in labels]))
    if audited:
        lake.replace(AUDITED_GROUND_TRUTH, table_rows(AUDITED_GROUND_TRUTH, [{**row, "inclusion_probability": 1.0} for row in labels]))
    return platform


def rows_of(photos: int, **values: Any) -> list[dict[str, Any]]:
    return [label_row(at) | values for at in range(photos)]


def come_home(platform: Platform) -> tuple[dict[str, Trained | Untrained], dict[str, Deployment], pl.DataFrame]:
    """From labels to predictions; every gate on the way passes."""
    trained = {kind: train_student(platform, kind) for kind in PACKAGED.heads}
    for kind in PACKAGED.heads:
        for gate in (beats_majority(kind), not_worse_than_deployed(kind), calibrated(kind)):
            assert (found := gate(platform)).passed, (kind, found)
    decisions = deploy_students(platform)
    assert (found := heads_fit(platform)).passed, found
    said = headless(platform)
    for kind, result in trained.items():
        if isinstance(result, Untrained):
            assert said[kind] == f"nothing to train: {result.reason}"
        elif decisions[kind].in_force == result.version:
            assert kind not in said
        else:
            assert said[kind] == f"{result.version} is not in force: {decisions[kind].reason}"
    rows = predict_folder(platform, KEY)
    assert (found := predictions_sound(platform, KEY)).passed, found
    return trained, decisions, rows


def sources(rows: pl.DataFrame) -> dict[str, set[str]]:
    return {name: set(rows.select(source_of(name))[:, 0]) for name in PACKAGED.columns}


@pytest.mark.parametrize("photos", [1, 5, 20, 60, 200])
def test_every_photo_of_a_small_library_gets_its_labels(tmp_path: Path, photos: int) -> None:
    platform = library(tmp_path, rows_of(photos))
    assert (found := teacher_agrees(platform)).passed, found
    trained, decisions, rows = come_home(platform)
    assert rows.height == photos
    answered = sources(rows)
    for kind, question in (("scene", "scene"), ("object", "objects")):
        assert answered[question] == ({"student"} if decisions[kind].in_force else {"teacher"})
        assert (decisions[kind].in_force == "") <= bool(decisions[kind].reason)
    if photos == 1:
        assert all(isinstance(result, Untrained) for result in trained.values())
        assert rows["scene"].to_list() == [label_row(0)["scene"]]
        assert rows["source"].to_list() == ["teacher"]
    if photos == 200:
        assert all(decision.deployed for decision in decisions.values())
    taken = rows.filter(source_of("scene") == "teacher")
    assert taken["scene"].equals(taken["teacher_scene"])
    page = report_students(platform).path.read_text()
    assert "Who answers" in page
    report_teacher(platform)


def test_a_head_that_a_hand_took_out_of_force_says_so(tmp_path: Path) -> None:
    platform = library(tmp_path, rows_of(5))
    assert headless(platform) == {}, "nothing was trained yet"
    folder = platform.settings.heads_dir
    save_head(writers.HEADS[0], folder)
    (folder / "scene.latest").write_text(writers.HEADS[0].version)
    assert headless(platform)["scene"].endswith("nothing was decided about it yet")
    log = Deployments(folder)
    log.deploy("scene", writers.HEADS[0].version, at="2026-01-01")
    assert headless(platform) == {}
    log.rollback("scene", at="2026-01-02")
    assert headless(platform)["scene"].endswith(f"is out of force: rollback, back from {writers.HEADS[0].version}")


def test_an_untrained_head_has_a_version_that_moves_with_its_reason_and_inputs(tmp_path: Path) -> None:
    platform = library(tmp_path, rows_of(5))
    first, again = train_student(platform, "object"), train_student(platform, "object")
    assert isinstance(first, Untrained)
    assert first == again
    assert "no label has at least 4 photos" in first.reason
    more = platform.lake.read(AUTO_GROUND_TRUTH).with_columns(mapping=pl.lit("m-2"))
    platform.lake.replace(AUTO_GROUND_TRUTH, more)
    other = train_student(platform, "object")
    assert other.version != first.version


def test_one_scene_only_leaves_the_scene_to_the_teacher_and_keeps_the_other_heads(tmp_path: Path) -> None:
    platform = library(tmp_path, rows_of(200, scene="scene.people", is_document=False))
    trained, decisions, rows = come_home(platform)
    assert isinstance(trained["scene"], Untrained)
    assert "every photo of the train split is scene.people" in decisions["scene"].reason
    assert decisions["object"].deployed
    assert sources(rows)["scene"] == {"teacher"}
    assert sources(rows)["objects"] == {"student"}
    assert set(rows["scene"]) == {"scene.people"}


def test_a_library_without_objects_has_no_object_head_and_says_so(tmp_path: Path) -> None:
    platform = library(tmp_path, rows_of(200, objects=[]))
    _, decisions, rows = come_home(platform)
    assert decisions["scene"].deployed
    assert decisions["attribute"].deployed
    assert (decisions["object"].in_force, decisions["object"].candidate) == ("", "")
    assert sources(rows)["objects"] == {"teacher"}
    assert set(rows["objects"].list.len()) == {0}
    assert "no label has at least" in report_students(platform).path.read_text()


def test_an_attribute_that_nobody_answers_stays_unknown_and_costs_no_other(tmp_path: Path) -> None:
    platform = library(tmp_path, rows_of(200, has_text=None))
    _, decisions, rows = come_home(platform)
    assert decisions["attribute"].deployed
    assert sources(rows)["has_text"] == {"none"}
    assert sources(rows)["has_person"] == {"student"}
    assert rows["has_text"].null_count() == 200


def test_an_attribute_that_is_always_the_same_is_the_teachers(tmp_path: Path) -> None:
    platform = library(tmp_path, rows_of(200, has_animal=False))
    _, _, rows = come_home(platform)
    assert sources(rows)["has_animal"] == {"teacher"}
    assert set(rows["has_animal"]) == {False}


def test_before_any_audit_the_teachers_labels_are_shown(tmp_path: Path) -> None:
    platform = library(tmp_path, rows_of(60), audited=False)
    assert not (found := teacher_agrees(platform)).passed
    assert "no audited photo" in found.remedy
    decisions = deploy_students(platform)
    assert {decision.reason for decision in decisions.values()} == {
        f"no {kind} head was trained yet: `vibe train`, or `vibe run`" for kind in PACKAGED.heads
    }
    assert heads_fit(platform).passed
    rows = predict_folder(platform, KEY)
    assert set(rows["source"]) == {"teacher"}
    assert predictions_sound(platform, KEY).passed
    assert "was trained yet" in report_students(platform).path.read_text()


def test_before_any_teacher_there_is_no_label_and_no_error(tmp_path: Path) -> None:
    platform = library(tmp_path, rows_of(20), audited=False, answered=False)
    trained, decisions, rows = come_home(platform)
    assert all("labelled no photo yet" in decision.reason for decision in decisions.values())
    assert all(isinstance(result, Untrained) for result in trained.values())
    assert set(rows["source"]) == {"none"}


def test_prompts_come_before_the_teacher_question_by_question(tmp_path: Path) -> None:
    platform = library(tmp_path, rows_of(5))
    prompts = [
        {"label": label, "prompt": label, "encoder": "e-1", "embedding": vector(at), "logit_scale": 100.0, "logit_bias": 0.0}
        for at, label in ((0, "scene.food"), (1, "scene.people"))
    ]
    platform.lake.replace(PROMPT_EMBEDDINGS, table_rows(PROMPT_EMBEDDINGS, prompts))
    rows = predict_folder(platform, KEY)
    answered = sources(rows)
    assert answered["scene"] == {"zero_shot"}
    assert answered["has_person"] == answered["objects"] == {"teacher"}
    assert answered["is_document"] <= {"teacher", "none", "zero_shot"}
    assert predictions_sound(platform, KEY).passed


def test_the_teachers_document_that_is_no_document_scene_breaks_no_rule(tmp_path: Path) -> None:
    platform = library(tmp_path, rows_of(5, scene="scene.screenshot", is_document=True, is_screenshot=False))
    rows = predict_folder(platform, KEY)
    assert (set(rows["is_document"]), set(rows["is_screenshot"])) == ({False}, {True})
    assert predictions_sound(platform, KEY).passed


def test_what_was_taken_from_the_teacher_is_not_judged_as_the_students(tmp_path: Path) -> None:
    platform = library(tmp_path, rows_of(200, objects=[]))
    come_home(platform)
    human, auto = evaluate_students(platform)
    assert "scene_accuracy" in human.headline
    assert not human.table("object")
    assert not auto.table("object")
    own = without_teacher(platform.lake.read_live(PREDICTIONS), PACKAGED)
    assert own["objects"].null_count() == 200


def test_a_head_that_can_no_longer_be_trained_stays_in_force_and_that_is_said(tmp_path: Path) -> None:
    platform = library(tmp_path, rows_of(200))
    _, before, _ = come_home(platform)
    platform.lake.replace(
        AUTO_GROUND_TRUTH, platform.lake.read(AUTO_GROUND_TRUTH).with_columns(objects=pl.lit([], dtype=pl.List(pl.String)))
    )
    trained, after, rows = come_home(platform)
    assert isinstance(trained["object"], Untrained)
    assert after["object"].in_force == before["object"].in_force
    assert f"{before['object'].in_force} stays in force" in after["object"].reason
    assert sources(rows)["objects"] == {"student"}


def test_heads_of_another_encoder_go_out_of_force_where_no_new_one_takes_their_place(tmp_path: Path) -> None:
    platform = library(tmp_path, rows_of(200))
    come_home(platform)
    vectors = platform.lake.read(IMAGE_EMBEDDINGS, folder_key=KEY).with_columns(encoder=pl.lit("e-2"))
    platform.lake.replace(IMAGE_EMBEDDINGS, vectors, folder_key=KEY)
    platform.lake.replace(AUTO_GROUND_TRUTH, platform.lake.read(AUTO_GROUND_TRUTH).with_columns(scene=pl.lit("scene.food")))
    _, decisions, rows = come_home(platform)
    assert decisions["scene"].in_force == ""
    assert "reads vectors of encoder e-1, the library has those of e-2" in decisions["scene"].reason
    assert decisions["object"].deployed
    assert sources(rows)["scene"] == {"teacher"}


# -- tiny audits -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("right", "photos"), [(1, 1), (4, 5), (0, 1), (2, 5)])
def test_a_whole_library_of_a_few_audited_photos_is_judged_by_its_share(tmp_path: Path, right: int, photos: int) -> None:
    platform = library(tmp_path, rows_of(photos))
    other = pl.when(pl.int_range(pl.len()) < right).then(pl.col("scene")).otherwise(pl.lit("scene.other"))
    platform.lake.replace(AUDITED_GROUND_TRUTH, platform.lake.read(AUDITED_GROUND_TRUTH).with_columns(scene=other))
    found = teacher_agrees(platform)
    assert found.passed == (right / photos >= 0.6)
    assert (found.facts["audited"], found.facts["audited wanted"]) == (photos, photos)
    report_teacher(platform)


def test_one_audited_photo_of_many_is_too_few_and_says_so(tmp_path: Path) -> None:
    platform = library(tmp_path, rows_of(60))
    platform.lake.replace(AUDITED_GROUND_TRUTH, platform.lake.read(AUDITED_GROUND_TRUTH).head(1))
    found = teacher_agrees(platform)
    assert not found.passed
    assert (found.facts["audited"], found.facts["audited wanted"]) == (1, 20)
    report_teacher(platform)
    report_students(platform)
