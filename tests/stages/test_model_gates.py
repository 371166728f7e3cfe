"""Gates of teacher and heads on real, quickly trained heads: sound ones pass, planted damage is named in numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from tests.stages.rows import FOLDERS, OBJECTS, PHOTOS, SCENES, damage, open_platform
from tests.support.questions import PACKAGED
from vibe_assets.audit.verdicts import Verdict
from vibe_assets.heads.deployments import Deployments
from vibe_assets.records import AUDITED_GROUND_TRUTH, AUTO_GROUND_TRUTH, IMAGE_EMBEDDINGS, PHOTO_GROUPS, Labels
from vibe_assets.stages.judging import evaluate_teacher
from vibe_assets.stages.model_gates import beats_majority, calibrated, heads_fit, not_worse_than_deployed, teacher_agrees
from vibe_assets.stages.platform import Platform, StageError
from vibe_assets.stages.reports import report_teacher
from vibe_assets.stages.students import (
    Trained,
    Untrained,
    deploy_students,
    deployments,
    label_rows,
    library_vectors,
    standing,
    train_student,
)
from vibe_assets.stages.truth import settle_audit
from vibe_assets.stages.verdicts import verdict_log


def without_signal(platform: Platform) -> None:
    """Give every photo another photo's vector."""
    for key in FOLDERS:
        rows = platform.lake.read(IMAGE_EMBEDDINGS, folder_key=key)
        shuffled = rows.with_columns(pl.col("embedding").shuffle(seed=1))
        platform.lake.replace(IMAGE_EMBEDDINGS, shuffled, folder_key=key)


# -- teacher -----------------------------------------------------------------------------------------------------------
def test_a_teacher_that_people_agree_with_passes(platform: Platform) -> None:
    found = teacher_agrees(platform)
    assert found.passed
    assert (found.facts["agreement"], found.facts["audited"]) == (1.0, PHOTOS // 2)


def test_a_teacher_that_people_contradict_is_stopped_with_both_numbers(platform: Platform) -> None:
    next_scene = dict(zip(SCENES, (*SCENES[1:], SCENES[0]), strict=True))
    half = pl.when(pl.int_range(pl.len()) % 2 == 0).then(pl.col("scene").replace(next_scene)).otherwise(pl.col("scene"))
    damage(platform, AUDITED_GROUND_TRUTH, lambda rows: rows.with_columns(scene=half))
    found = teacher_agrees(platform)
    assert not found.passed
    assert (found.facts["agreement"], found.facts["lower end wanted"]) == (0.5, 0.6)


def test_too_few_audited_photos_stop_the_best_teacher(platform: Platform) -> None:
    damage(platform, AUDITED_GROUND_TRUTH, lambda rows: rows.head(19))
    found = teacher_agrees(platform)
    assert not found.passed
    assert (found.facts["audited"], found.facts["audited wanted"]) == (19, 20)


def test_no_audit_stops_the_teacher_unless_the_settings_allow_it(home: Path) -> None:
    relaxed = open_platform(home, gates={"require_audit": False})
    damage(relaxed, AUDITED_GROUND_TRUTH, lambda rows: rows.clear())
    assert teacher_agrees(relaxed).passed
    assert not teacher_agrees(open_platform(home)).passed


def judge(platform: Platform, *, blind: int, agree: int, blind_agree: int) -> None:
    """Let one person judge the audited photos: the first `blind` of them with nothing filled in."""
    sampled = platform.lake.read(AUDITED_GROUND_TRUTH)
    log = verdict_log(platform)
    for at, row in enumerate(sampled.iter_rows(named=True)):
        agrees = at < blind_agree if at < blind else at - blind < agree
        scene = row["scene"] if agrees else "scene.other"
        log.append(
            Verdict(
                f"v{at}", f"2026-03-01T09:{at // 60:02}:{at % 60:02}+00:00", row["image_id"], "ann",
                "labelled" if at < blind else "accepted", Labels(row["image_id"], {"scene": scene}), blind=at < blind, spent_ms=900,
                shown={"inclusion_probability": 0.5},
            )
        )  # fmt: skip
    log.close()
    settle_audit(platform)


def test_answers_with_the_teachers_filled_in_do_not_open_the_gate_where_blind_ones_contradict(platform: Platform) -> None:
    judge(platform, blind=30, blind_agree=16, agree=50)
    found = teacher_agrees(platform)
    assert not found.passed
    assert (found.facts["agreement"], found.facts["answered blind"]) == (pytest.approx(16 / 30), 30)
    headline = evaluate_teacher(platform).headline
    assert next(iter(headline)) == "scene_accuracy_blind"
    assert headline["scene_accuracy_blind"].value == pytest.approx(16 / 30)
    assert headline["scene_accuracy"].value == pytest.approx(66 / 80)
    assert "when nothing is filled in" in report_teacher(platform).path.read_text()


def test_a_gate_that_may_open_yet_says_after_how_many_more_checks(platform: Platform) -> None:
    judge(platform, blind=30, blind_agree=24, agree=50)
    found = teacher_agrees(platform)
    assert not found.passed
    assert 14 * 2 < found.facts["more checks"] < 80, "a few more blind ones, and three checks in eight are blind"
    assert f"about {found.facts['more checks']:,} more checks" in found.remedy
    page = report_teacher(platform).path.read_text()
    assert "May students train on it?" in page
    assert "wanted are 60.0\u202f%. Checked with a scene: 80 photos (wanted: 20), 30 with nothing filled in." in page


# -- heads -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", PACKAGED.heads)
def test_heads_that_learned_something_pass_every_gate(settled: Platform, kind: str) -> None:
    for gate in (beats_majority(kind), not_worse_than_deployed(kind), calibrated(kind)):
        found = gate(settled)
        assert found.passed, found


def misleading(platform: Platform) -> None:
    """Turn the vectors of the test split around."""
    groups = platform.lake.read(PHOTO_GROUPS)
    judged = groups.filter(pl.col("split") == "test")["image_id"].to_list()
    around = pl.col("embedding").list.eval(-pl.element())
    for key in FOLDERS:
        rows = platform.lake.read(IMAGE_EMBEDDINGS, folder_key=key)
        turned = pl.when(pl.col("image_id").is_in(judged)).then(around).otherwise(pl.col("embedding"))
        platform.lake.replace(IMAGE_EMBEDDINGS, rows.with_columns(embedding=turned), folder_key=key)


@pytest.mark.parametrize(("kind", "fault"), [("scene", without_signal), *((kind, misleading) for kind in PACKAGED.heads)])
def test_a_head_that_learned_nothing_of_use_is_stopped(settled: Platform, kind: str, fault: Callable[[Platform], None]) -> None:
    fault(settled)
    train_student(settled, kind)
    found = beats_majority(kind)(settled)
    assert not found.passed, found
    assert found.facts["score"] <= found.facts["to beat"]


def test_a_label_that_learnt_nothing_stays_open_and_is_named_by_gate_and_report(settled: Platform) -> None:
    noise = (pl.int_range(pl.len()) * 7919 % 31 == 0).alias("has_text")
    damage(settled, AUTO_GROUND_TRUTH, lambda rows: rows.with_columns(noise))
    trained = train_student(settled, "attribute")
    assert not isinstance(trained, Untrained)
    assert list(trained.head.card.open) == ["has_text"]
    found = beats_majority("attribute")(settled)
    assert found.passed, found
    assert list(found.facts["left open"]) == ["has_text"]
    assert "has_text" not in found.facts["labels"]
    assert deploy_students(settled)["attribute"].deployed
    (_, version, note) = next(row for row in standing(settled) if row[0] == "has_text")
    assert version == ""
    assert note.startswith("left open: ")
    assert label_rows(trained.head, library_vectors(settled), PACKAGED)["has_text"].is_null().all()


def test_an_object_head_that_names_main_objects_worse_than_a_constant_list_is_not_deployed(settled: Platform) -> None:
    def one_mostly(rows: pl.DataFrame) -> pl.DataFrame:
        """Nearly every photo has the same main object, and the object that the head knows beside it."""
        first = pl.when(pl.int_range(pl.len()) % 10 == 0).then(pl.lit(OBJECTS[1])).otherwise(pl.lit(OBJECTS[3]))
        return rows.with_columns(objects=pl.concat_list(first, pl.col("objects").list.first()))

    trained = train_student(settled, "object")
    assert not isinstance(trained, Untrained)
    damage(settled, AUTO_GROUND_TRUTH, one_mostly)
    damage(settled, PHOTO_GROUPS, lambda rows: rows.with_columns(split=pl.lit("test")))
    found = beats_majority("object")(settled)
    assert not found.passed, found
    assert "always the same three" in found.facts["note"]


def test_a_head_that_loses_to_the_deployed_one_is_stopped_and_the_old_one_stays(settled: Platform) -> None:
    before = deployments(settled)["scene"]
    sound = {key: settled.lake.read(IMAGE_EMBEDDINGS, folder_key=key) for key in FOLDERS}
    without_signal(settled)
    train_student(settled, "scene")
    for key, rows in sound.items():
        settled.lake.replace(IMAGE_EMBEDDINGS, rows, folder_key=key)
    found = not_worse_than_deployed("scene")(settled)
    assert not found.passed
    assert found.facts["only the deployed one right"] > found.facts["only the new one right"]
    assert found.facts["loss allowed"] == 0.05
    decision = deploy_students(settled)["scene"]
    assert (decision.deployed, decision.in_force) == (False, before)
    assert deployments(settled)["scene"] == before


def test_a_head_like_the_deployed_one_is_stopped_when_both_lose_to_an_earlier_one(settled: Platform) -> None:
    best = deployments(settled)["scene"]
    sound = {key: settled.lake.read(IMAGE_EMBEDDINGS, folder_key=key) for key in FOLDERS}
    without_signal(settled)
    worse = train_student(settled, "scene")
    assert isinstance(worse, Trained)
    Deployments(settled.settings.heads_dir).deploy("scene", worse.version, at="2026-01-02")
    damage(settled, AUTO_GROUND_TRUTH, lambda rows: rows.with_columns(mapping=pl.lit("m-2")))
    train_student(settled, "scene")
    for key, rows in sound.items():
        settled.lake.replace(IMAGE_EMBEDDINGS, rows, folder_key=key)
    found = not_worse_than_deployed("scene")(settled)
    assert found.facts["verdict"].startswith("No difference"), found
    assert not found.passed
    assert found.facts["best ever deployed"] == best
    assert found.remedy.startswith(f"against {best}, the best ever deployed: worse")


def test_a_calibration_error_above_the_threshold_is_told(settled: Platform) -> None:
    strict = open_platform(settled.settings.home.parent, gates={"max_calibration_error": 0.1})
    boast = pl.col("embedding").list.eval(-pl.element())  # as sure as before, and wrong
    for key in FOLDERS:
        rows = strict.lake.read(IMAGE_EMBEDDINGS, folder_key=key)
        strict.lake.replace(IMAGE_EMBEDDINGS, rows.with_columns(embedding=boast), folder_key=key)
    found = calibrated("scene")(strict)
    assert not found.passed
    assert found.facts["calibration error"] > 0.3 > found.facts["allowed at most"] == 0.1


def test_heads_in_force_fit_the_library_until_its_encoder_changes(settled: Platform) -> None:
    assert heads_fit(settled).passed
    for key in FOLDERS:
        rows = settled.lake.read(IMAGE_EMBEDDINGS, folder_key=key)
        settled.lake.replace(IMAGE_EMBEDDINGS, rows.with_columns(encoder=pl.lit("e-2")), folder_key=key)
    found = heads_fit(settled)
    assert not found.passed
    assert found.facts["heads of another encoder"] == sorted(PACKAGED.heads)


def test_without_a_deployed_head_the_gate_says_who_answers_instead(platform: Platform) -> None:
    found = heads_fit(platform)
    assert found.passed
    assert found.facts["none in force"] == list(PACKAGED.heads)


# -- what training refuses ---------------------------------------------------------------------------------------------
def test_students_refuse_labels_of_two_teachers(platform: Platform) -> None:
    damage(platform, AUTO_GROUND_TRUTH, lambda rows: rows.with_columns(teacher=pl.Series(["a", "b"] * (PHOTOS // 2))))
    with pytest.raises(StageError, match=r"labels of 2 teachers \(a, b\): annotate every folder with the current teacher"):
        train_student(platform, "scene")


def test_students_refuse_vectors_of_two_encoders(platform: Platform) -> None:
    damage(platform, IMAGE_EMBEDDINGS, lambda rows: rows.with_columns(encoder=pl.lit("e-2")))
    with pytest.raises(StageError, match=r"expected vectors of one encoder, got 2 \(e-1, e-2\)"):
        train_student(platform, "scene")


def test_an_empty_truth_trains_nothing_and_is_no_error(platform: Platform) -> None:
    damage(platform, AUTO_GROUND_TRUTH, lambda rows: rows.clear())
    found = train_student(platform, "scene")
    assert isinstance(found, Untrained)
    assert found.reason == "the teacher has labelled no photo yet: `vibe run` lets it"
