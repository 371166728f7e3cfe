"""Whose label leaves the house, and what is said of where it came from."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from tests.stages.rows import table_rows
from vibe_assets.export.choice import choose, provenance
from vibe_assets.questions import load
from vibe_assets.records import AUDITED_GROUND_TRUTH, AUTO_GROUND_TRUTH, PREDICTIONS, Table

PACKAGED = load()
HEADS = {"source": "student", "heads": "attribute-2 object-3 scene-1", "encoder": "e"}


def voice(table: Table, **row: Any) -> pl.DataFrame:
    return table_rows(table, [{"image_id": "p", **row}])


def chosen(source: str = "best", *, min_confidence: float | None = None, **rows: pl.DataFrame) -> dict[str, Any]:
    found = choose(source, rows, PACKAGED, min_confidence=min_confidence)
    assert found.height == 1
    return found.row(0, named=True)


PEOPLE = voice(AUDITED_GROUND_TRUTH, scene="scene.food", has_person=True, objects=["object.food"], annotator="anna")
STUDENTS = voice(
    PREDICTIONS, scene="scene.people", scene_confidence=0.8, has_person=False, has_person_confidence=0.1, has_text=True,
    has_text_confidence=0.7, objects=["object.drink", "object.food"], object_confidences=["object.drink=0.9", "object.food=0.6"], **HEADS,
)  # fmt: skip
TEACHER = voice(
    AUTO_GROUND_TRUTH, scene="scene.other", has_person=True, has_animal=True, objects=["object.animals.dog"], teacher="t-1", mapping="m"
)


def test_people_win_and_what_they_left_unknown_stays_unknown() -> None:
    row = chosen(people=PEOPLE, students=STUDENTS, teacher=TEACHER)
    assert (row["scene"], row["scene_source"], row["scene_version"]) == ("scene.food", "people", "anna")
    assert (row["has_text"], row["has_text_source"]) == (None, None)
    assert row["objects"] == ["object.food"]


def test_the_teacher_fills_in_what_the_students_leave_open() -> None:
    row = chosen(students=STUDENTS, teacher=TEACHER)
    assert (row["scene"], row["scene_source"]) == ("scene.people", "students")
    assert (row["has_animal"], row["has_animal_source"], row["has_animal_version"]) == (True, "teacher", "t-1")


def test_students_without_any_object_leave_objects_open() -> None:
    row = chosen(students=STUDENTS.with_columns(objects=pl.lit([], dtype=pl.List(pl.String))), teacher=TEACHER)
    assert (row["objects"], row["objects_source"]) == (["object.animals.dog"], "teacher")


def test_below_the_least_confidence_a_student_has_not_answered() -> None:
    row = chosen(students=STUDENTS, teacher=TEACHER, min_confidence=0.85)
    assert (row["scene"], row["scene_source"]) == ("scene.other", "teacher")
    assert (row["has_person"], row["has_person_source"]) == (False, "students"), "sure that there is nobody"
    assert row["objects"] == ["object.drink"]
    alone = chosen("students", students=STUDENTS, teacher=TEACHER, min_confidence=0.85)
    assert (alone["scene"], alone["has_text"], alone["has_animal"]) == (None, None, None)


def test_every_label_says_who_which_version_and_how_sure() -> None:
    found = {entry.label: entry for entry in provenance(chosen(students=STUDENTS, teacher=TEACHER), PACKAGED)}
    assert (found["scene.people"].version, found["scene.people"].confidence) == ("scene-1", 0.8)
    person = found["attr.has_person"]
    assert (person.value, person.version, person.confidence) == (False, "attribute-2", 0.9)
    assert (found["object.drink"].version, found["object.drink"].confidence) == ("object-3", 0.9)
    assert found["attr.has_animal"].confidence is None


def test_answers_from_prompts_are_not_called_a_students() -> None:
    rows = STUDENTS.with_columns(source=pl.lit("zero_shot"), heads=pl.lit(""))
    row = chosen("students", students=rows)
    assert (row["scene_source"], row["scene_version"]) == ("zero_shot", "e")


def test_objects_without_confidences_are_kept() -> None:
    row = chosen("students", students=STUDENTS.with_columns(object_confidences=pl.lit(None, dtype=pl.List(pl.String))))
    assert (row["objects"], row["object_confidence"]) == (["object.drink", "object.food"], [None, None])


@pytest.mark.parametrize("source", ["people", "students", "teacher", "best"])
def test_photos_of_which_nothing_is_known_are_not_there(source: str) -> None:
    nothing = {
        "people": voice(AUDITED_GROUND_TRUTH), "students": voice(PREDICTIONS, **HEADS), "teacher": voice(AUTO_GROUND_TRUTH),
    }  # fmt: skip
    assert choose(source, nothing, PACKAGED).is_empty()
    assert choose(source, {}, PACKAGED).is_empty()
