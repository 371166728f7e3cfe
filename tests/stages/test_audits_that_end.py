"""Audits that are nearly done, that grew old, or that a file changed: no figure says more than people looked at, and no gate is stuck."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.stages.rows import FOLDERS, PHOTOS, QUICK, damage, label_row, only, open_platform, photo_id, said_row, table_rows, vector
from tests.stages.test_model_gates import judge
from vibe_assets.audit.verdicts import Verdict
from vibe_assets.labels.files import write_labels
from vibe_assets.records import (
    AUDITED_GROUND_TRUTH,
    AUTO_GROUND_TRUTH,
    IMAGE_EMBEDDINGS,
    PHOTO_GROUPS,
    PREDICTIONS,
    RAW_PHOTOS,
    Labels,
    Table,
)
from vibe_assets.stages.agreement import audited_said, teacher_agreement
from vibe_assets.stages.comparison import compare_versions
from vibe_assets.stages.judging import evaluate_students, evaluate_teacher
from vibe_assets.stages.model_gates import teacher_agrees
from vibe_assets.stages.platform import Platform
from vibe_assets.stages.reports import report_students, report_teacher
from vibe_assets.stages.students import compare_with_deployed, latest_head, train_student
from vibe_assets.stages.truth import accept_audited, draw_audit_sample, sample_file, settle_audit
from vibe_assets.stages.verdicts import verdict_log

OTHER = pl.lit("scene.other")


def grow(platform: Platform, photos: int) -> None:
    """New photos of the test split on which teacher and students differ, in the first folder."""
    new, lake, key = range(PHOTOS, PHOTOS + photos), platform.lake, FOLDERS[0]
    place = [{"folder_key": key, "image_id": photo_id(at), "rel_path": f"{key}/{at}.jpg", "path_bytes": b"x"} for at in new]

    def add(table: Table, rows: list[dict[str, Any]], folder: str | None = None) -> None:
        old = lake.read(table, folder_key=folder) if folder else lake.read(table)
        lake.replace(table, pl.concat([old, table_rows(table, [only(table, row) for row in rows])]), folder_key=folder)

    add(RAW_PHOTOS, place, key)
    add(IMAGE_EMBEDDINGS, [p | {"encoder": "e-1", "embedding": vector(at)} for at, p in zip(new, place, strict=True)], key)
    add(PREDICTIONS, [p | label_row(at) | said_row() for at, p in zip(new, place, strict=True)], key)
    add(
        PHOTO_GROUPS,
        [{"image_id": photo_id(at), "group_id": photo_id(at), "split": "test", "link": "single", "group_size": 1} for at in new],
    )
    first = lake.read(AUTO_GROUND_TRUTH).row(0, named=True)
    add(AUTO_GROUND_TRUTH, [{**first, **label_row(at), "scene": "scene.other"} for at in new])


def test_photos_that_came_later_do_not_move_what_people_said_of_the_others(settled: Platform) -> None:
    """Neither the students' figures nor the comparison with the deployed head: models speak for the photos that were drawn from."""
    draw_audit_sample(settled)
    before = evaluate_students(settled)[0].headline["scene_accuracy"]
    damage(settled, AUTO_GROUND_TRUTH, lambda rows: rows.with_columns(scene=pl.col("scene").shuffle(seed=1)))
    train_student(settled, "scene")
    damage(settled, AUTO_GROUND_TRUTH, lambda rows: rows.with_columns(scene=pl.col("scene").shuffle(seed=1)))
    compared = compare_with_deployed(settled, latest_head(settled, "scene")).deployed  # type: ignore[arg-type]
    grow(settled, 400)
    after = evaluate_students(settled)[0].headline["scene_accuracy"]
    again = compare_with_deployed(settled, latest_head(settled, "scene")).deployed  # type: ignore[arg-type]
    assert after.value == pytest.approx(before.value, abs=0.05)
    assert compared is not None
    assert again is not None
    assert str(again.delta) == str(compared.delta)
    page = report_students(settled).path.read_text()
    assert "400 photos came since" in page


def test_a_sample_that_is_handed_in_as_it_was_written_answers_nothing_that_people_left_open(platform: Platform) -> None:
    audited, log = platform.lake.read(AUDITED_GROUND_TRUTH), verdict_log(platform)
    for at, row in enumerate(audited.head(40).iter_rows(named=True)):
        for name, scene in (("ann", row["scene"]), ("bob", "scene.other")):
            log.append(
                Verdict(
                    f"{name}{at}", f"2026-03-01T09:{at:02}:00+00:00", row["image_id"], name, "labelled",
                    Labels(row["image_id"], {"scene": scene}), blind=True, spent_ms=900, shown={"inclusion_probability": 0.5},
                )
            )  # fmt: skip
    log.close()
    settle_audit(platform)
    divided = teacher_agreement(platform).blind.estimate()
    assert divided.value == pytest.approx(0.5)
    assert divided.low < 0.45 < 0.55 < divided.high, "equal marks are no certainty"
    rows = draw_audit_sample(platform)
    written = {row["image_id"]: row for row in json.loads(sample_file(platform).read_text())}
    assert all(written[photo]["scene"] == [] for photo in audited["image_id"].head(40) if photo in written)
    accept_audited(platform, sample_file(platform))
    settle_audit(platform)
    again = teacher_agreement(platform)
    assert (again.blind.n, again.blind.estimate().value) == (40, pytest.approx(0.5))
    assert again.everyone.n > 40, f"the {rows.height} others are the file's"


def test_photos_that_were_in_no_draw_are_no_certainty(platform: Platform) -> None:
    draw_audit_sample(platform)
    some = pl.when(pl.int_range(pl.len()) % 3 == 0).then(OTHER).otherwise("scene")
    nobody = pl.lit(None, pl.Float64)
    damage(platform, AUDITED_GROUND_TRUTH, lambda rows: rows.head(12).with_columns(scene=some, inclusion_probability=nobody))
    found = evaluate_teacher(platform).headline["scene_accuracy"]
    assert found.low < 0.5 < 0.8 < found.high
    assert "each photo for itself: none was in a sample" in report_teacher(platform).path.read_text()
    part = pl.when(pl.int_range(pl.len()) < 4).then(0.5).otherwise(nobody)
    damage(platform, AUDITED_GROUND_TRUTH, lambda rows: rows.with_columns(inclusion_probability=part))
    assert "8 audited photos were in no draw" in report_teacher(platform).path.read_text()


def test_a_few_blind_answers_do_not_hold_the_gate_where_the_rest_came_by_file(platform: Platform) -> None:
    judge(platform, blind=3, blind_agree=3, agree=77)
    found = teacher_agrees(platform)
    assert found.passed
    assert found.facts["answered blind"] == 3
    assert "filled in" in found.facts["note"]


def test_a_gate_asks_for_no_more_checks_than_there_are(platform: Platform) -> None:
    """People gave the teacher's scene a little more often than wanted, on all photos but a few."""
    labels = platform.lake.read(AUTO_GROUND_TRUTH)
    agreed = pl.when(pl.int_range(pl.len()) % 20 < 13).then("scene").otherwise(OTHER)
    checked = labels.select(
        "image_id", "scene", *[n for n in labels.columns if n in AUDITED_GROUND_TRUTH.columns and n not in ("image_id", "scene")]
    )
    rows = checked.with_columns(scene=agreed, inclusion_probability=pl.lit(1.0), annotator=pl.lit("ann"), unasked=None).select(
        list(AUDITED_GROUND_TRUTH.columns)
    )
    platform.lake.replace(AUDITED_GROUND_TRUTH, rows.head(PHOTOS - 20))
    found = teacher_agrees(platform)
    assert not found.passed
    assert found.facts["more checks"] == 20
    assert "the 20 photos or bursts that nobody looked at yet decide" in found.remedy
    untold = pl.when(pl.int_range(pl.len()) == 5).then(pl.lit(None, pl.String)).otherwise("scene")
    platform.lake.replace(AUDITED_GROUND_TRUTH, rows.with_columns(scene=untold))
    done = teacher_agrees(platform)
    assert done.passed, "one scene cannot be told, and nothing is left to look at"
    assert done.remedy == ""


def test_students_that_learned_from_people_do_not_vouch_for_the_teacher(home: Path, platform: Platform) -> None:
    draw_audit_sample(platform)
    vouching = audited_said(platform)
    assert vouching is not None
    ids = platform.lake.read(AUDITED_GROUND_TRUTH)["image_id"].to_list()
    assert vouching.of_label(ids, "scene.food", "recall") is not None
    learned = open_platform(home, **{**QUICK, "students": {**QUICK["students"], "train_on": "auto+audited"}})
    alone = audited_said(learned)
    assert alone is not None
    assert alone.of_label(ids, "scene.food", "recall") is None


def test_the_students_own_file_is_held_against_photos_that_they_never_saw(settled: Platform) -> None:
    path = settled.settings.home / "predictions.jsonl"
    rows = settled.lake.read_live(PREDICTIONS)
    write_labels(rows, path, settled.questions)
    plain = compare_versions(settled, str(path), "auto_ground_truth").flow.n
    lines = [json.loads(line) | {"heads": "scene-1"} for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    own = compare_versions(settled, str(path), "auto_ground_truth").flow.n
    assert own == compare_versions(settled, "predictions", "auto_ground_truth").flow.n < plain
