"""Answers of teachers: what is read as what it means, what is reported, and questions that are asked of photos answered before."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.support.questions import PACKAGED, styled
from tests.teacher.conftest import ANNOTATION, QUICK, make_library
from vibe_assets.labels.convert import convert, strange_words
from vibe_assets.questions import LabelFileError, Questions, load
from vibe_assets.questions.types import confidence, ternary
from vibe_assets.records import ANNOTATIONS
from vibe_assets.settings import TeacherSettings
from vibe_assets.stages.teacher import half_answered
from vibe_assets.teacher.annotate import annotate, annotation_rows, teacher_fingerprint
from vibe_assets.teacher.journal import Journal
from vibe_assets.teacher.kept import FIRST
from vibe_assets.teacher.replay import ReplayFaults, ReplayTeacher, running_replay
from vibe_assets.teacher.schema import InvalidAnswer, parse_answer

ANSWER = {
    "scene": "people", "has_person": "true", "has_animal": "False", "has_text": "yes", "is_document": "no", "is_screenshot": "false",
    "objects": [{"name_free": "woman", "coarse_type": "person", "is_main": "true", "confidence": 0.93}],
}  # fmt: skip
MINUTES = {"min_object_confidence": 0.7, "include_non_main": False}


def annotations(*answers: dict[str, Any]) -> pl.DataFrame:
    rows = [
        dict.fromkeys(ANNOTATIONS.columns) | {"image_id": f"{at}", "annotation": json.dumps(answer)} for at, answer in enumerate(answers)
    ]
    return pl.DataFrame(rows, schema=ANNOTATIONS.polars_schema())


# -- what values mean --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("value", "meaning"),
    [
        (True, True), ("true", True), (" YES ", True), (1, True), (1.0, True), (False, False), ("False", False), ("no", False), (0, False),
        ("unknown", "unknown"), ("maybe", None), (2, None), (None, None), ([True], None), ("", None), (float("nan"), None),
    ],
)  # fmt: skip
def test_words_and_numbers_that_mean_yes_or_no_for_certain_are_read(value: Any, meaning: Any) -> None:
    read = ternary(value)
    assert read == meaning
    assert type(read) is type(meaning)


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (0.93, 0.93), ("0.93", 0.93), (95, 0.95), ("95", 0.95), ("95 %", 0.95), ("95%", 0.95), ("5 %", 0.05), (1, 1.0), (100, 1.0),
        (1.5, 0.0), (5, 0.0), (101, 0.0), ("950 %", 0.0), (-0.1, 0.0), (True, 0.0), (None, 0.0), ("high", 0.0), (float("inf"), 0.0),
        (10**400, 0.0), ([0.9], 0.0),
    ],
)  # fmt: skip
def test_per_cent_is_a_confidence_and_what_may_mean_anything_is_none(value: Any, number: float) -> None:
    assert confidence(value) == pytest.approx(number)


def test_an_answer_whose_yes_and_no_are_words_loses_nothing() -> None:
    read = parse_answer(json.dumps(ANSWER), PACKAGED)
    assert [read[name] for name in PACKAGED["attributes"].shape] == [True, False, True, False, False]
    assert read["objects"][0]["is_main"] is True
    row = convert(annotations(read), PACKAGED, **MINUTES).row(0, named=True)
    assert [row[name] for name in PACKAGED["attributes"].shape] == [True, False, True, False, False]
    assert (row["scene"], row["objects"]) == ("scene.people", [])


def test_words_that_mean_no_label_are_counted_by_photo() -> None:
    mugs = [{"name_free": "x", "coarse_type": word, "is_main": True, "confidence": 0.9} for word in ("Gizmo", "gizmo", "mug", "other")]
    found = strange_words(
        annotations(parse_answer(json.dumps(ANSWER), PACKAGED), {"scene": "Underwater Disco", "objects": mugs}, {"scene": "unknown"}),
        PACKAGED, **MINUTES,
    )  # fmt: skip
    assert found == {"objects: person": 1, "scene: underwater disco": 1, "objects: gizmo": 1}


def test_a_word_that_the_question_does_not_expect_leaves_it_open_where_no_label_stands_for_it(tmp_path: Path) -> None:
    told = styled(tmp_path).tell({"style": "polaroid"}, min_confidence=0.5, include_non_main=False)
    assert (told.values["style"], told.strange) == (None, ("style: polaroid",))


def test_an_answer_to_the_further_question_alone_is_one(tmp_path: Path) -> None:
    questions = styled(tmp_path)
    assert parse_answer('{"style": "film"}', questions.only(["style"])) == {"style": "film"}
    with pytest.raises(InvalidAnswer, match="no answer to any of style in"):
        parse_answer(json.dumps(ANSWER), questions.only(["style"]))


# -- a question more ---------------------------------------------------------------------------------------------------
class Asked:
    """A teacher that sees bread on film, and remembers what it was asked."""

    def __init__(self, *, silent: bool = False) -> None:
        self.silent, self.prompts, self.schemas = silent, list[str](), list[dict[str, Any]]()

    def __call__(self, image: bytes, request: Mapping[str, Any]) -> Any:
        self.prompts.append(request["messages"][0]["content"][0]["text"])
        self.schemas.append(request["response_format"]["json_schema"]["schema"])
        wanted = self.schemas[-1]["properties"]
        return "I cannot tell." if self.silent else {key: value for key, value in {**ANNOTATION, "style": "film"}.items() if key in wanted}


def asked_of(teacher: Any, tmp_path: Path, questions: Questions, count: int = 3) -> list[dict[str, Any]]:
    photos = make_library(tmp_path / "photos", count)
    with running_replay(teacher) as url, Journal(tmp_path / "journal", "test") as journal:
        settings = TeacherSettings.model_validate({"base_url": url, "timeout_s": 5.0, "retries": 0, "concurrency": 2})
        return annotate(photos, settings=settings, journal=journal, progress=False, pace=QUICK, questions=questions)


def test_a_photo_that_is_answered_is_asked_the_new_question_alone_and_keeps_its_answers(tmp_path: Path) -> None:
    questions, first, second = styled(tmp_path), Asked(), Asked()
    before = asked_of(first, tmp_path, PACKAGED)
    assert (len(first.prompts), set(first.prompts)) == (3, {PACKAGED.prompt()})
    assert all("questions" not in record for record in before), "as the journal of before has it"
    after = asked_of(second, tmp_path, questions, count=4)
    partly, whole = questions.only(["style"]).prompt(), questions.prompt()
    assert sorted(second.prompts) == sorted([partly] * 3 + [whole]), "the fourth photo is new"
    assert "`style`" in partly
    assert "`scene`" not in partly
    assert [list(schema["properties"]) for schema in second.schemas].count(["style"]) == 3
    for record in after:
        assert record["annotation"] == {**ANNOTATION, "style": "film"}
        assert record["questions"] == questions.asked_fingerprints
    third = Asked()
    assert asked_of(third, tmp_path, questions, count=4) == after
    assert third.prompts == [], "nothing is open any more"


def test_a_failure_of_the_new_question_keeps_the_answers_of_before_and_it_stays_open(tmp_path: Path) -> None:
    questions = styled(tmp_path)
    before = asked_of(Asked(), tmp_path, PACKAGED)
    failing = ReplayTeacher(Asked(silent=True), faults=ReplayFaults(script=("refusal",)))
    after = asked_of(failing, tmp_path, questions)
    assert failing.counts()["requests"] == 3
    for old, new in zip(before, after, strict=True):
        assert (new["annotation"], new["questions"]) == (old["annotation"], FIRST)
        assert new["detail"].startswith("style is still to be asked: ")
        assert (new["latency_s"], new["usage"]) == (old["latency_s"], old["usage"])
    photos = make_library(tmp_path / "photos", 3)
    rows = annotation_rows(photos, after, folder_key="f-00000000")
    assert rows["reason"].null_count() == 3, "the answers of before are answers"
    assert rows.select(half_answered(questions)).to_series().to_list() == [True] * 3
    again = Asked()
    assert all(record["annotation"]["style"] == "film" for record in asked_of(again, tmp_path, questions))
    assert set(again.prompts) == {questions.only(["style"]).prompt()}


def test_other_words_of_a_label_ask_nobody_again_and_another_hint_asks_that_question(tmp_path: Path) -> None:
    questions = styled(tmp_path)
    asked_of(Asked(), tmp_path, questions)
    file = tmp_path / "labels.yaml"
    file.write_text(file.read_text(encoding="utf-8").replace("phone: {}, drone", "phone: {aliases: [mobile]}, drone"), encoding="utf-8")
    from vibe_assets.questions import load

    quiet = Asked()
    asked_of(quiet, tmp_path, load(file))
    assert quiet.prompts == []
    file.write_text(file.read_text(encoding="utf-8").replace("an analogue camera", "grain and faded colours"), encoding="utf-8")
    asked_of(quiet, tmp_path, load(file))
    assert set(quiet.prompts) == {load(file).only(["style"]).prompt()}


def test_the_teacher_is_the_same_whatever_it_is_asked(tmp_path: Path) -> None:
    assert teacher_fingerprint(TeacherSettings(model="m")) == "617a91b5cfddeede"


@pytest.mark.parametrize(
    ("said", "objects"),
    [
        ([], []), (None, []), ({"coarse_type": "mug", "is_main": True, "confidence": 0.9}, ["object.dailystuff.mug"]),
        (["mug"], None), ([{"coarse_type": 5}], None), ("a mug", None), ([{"coarse_type": "mug", "confidence": 0.9}, 7], []),
    ],
)  # fmt: skip
def test_things_that_cannot_be_read_leave_the_question_open(said: Any, objects: Any) -> None:
    annotation = PACKAGED.read({**ANSWER, "objects": said})
    assert annotation is not None
    assert PACKAGED.tell(annotation, min_confidence=0.7, include_non_main=False).values["objects"] == objects


RATED = """
version: 1
questions:
  appeal: {type: rating, scale: [1, 5], ask: how much one would want to keep it, labels: {1: {hint: delete it}, 5: {hint: frame it}}}
"""


@pytest.mark.parametrize(
    ("said", "kept"), [(4, "4"), ("4", "4"), (4.4, "4"), ("4/5", "4"), (0, None), (6, None), ("unknown", None), (True, None), ([], None)]
)
def test_a_rating_is_a_number_of_its_scale(said: Any, kept: str | None, tmp_path: Path) -> None:
    file = tmp_path / "labels.yaml"
    file.write_text(RATED, encoding="utf-8")
    questions = load(file)
    assert questions.schema["properties"]["appeal"]["anyOf"][0] == {"type": "integer", "enum": [1, 2, 3, 4, 5]}
    assert 'a whole number from 1 to 5, or "unknown"' in questions.prompt()
    assert "- 5: frame it" in questions.prompt()
    annotation = questions.read({"appeal": said}) or {}
    told = questions.tell(annotation, min_confidence=0.7, include_non_main=False).values["appeal"]
    assert told == (None if kept is None else f"appeal.{kept}")


def test_a_rating_is_learnt_like_a_question_with_one_answer(tmp_path: Path) -> None:
    file = tmp_path / "labels.yaml"
    file.write_text(RATED, encoding="utf-8")
    (question,) = load(file)
    assert (question.type, question.learnt_as, question.keys[0]) == ("rating", "one_of", "appeal.1")
    for wrong in ("[5, 1]", "[1]", "[1, 1000]", "high"):
        file.write_text(RATED.replace("[1, 5]", wrong), encoding="utf-8")
        with pytest.raises(LabelFileError, match=r"line 4: appeal.scale: .*write \[1, 5\]"):
            load(file)
