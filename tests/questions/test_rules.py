"""Rules between questions: what they decide of answers and of predictions, what they overruled, and which are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.heads.examples import plain_head
from tests.heads.test_classifier import EYE, photos, prompts
from tests.support.questions import PACKAGED
from vibe_assets.heads.classifier import classify
from vibe_assets.labels.convert import convert
from vibe_assets.questions import LabelFileError, Questions, load
from vibe_assets.records import ANNOTATIONS, AUTO_GROUND_TRUTH, PREDICTIONS
from vibe_assets.records.answers import filled_from_teacher

FILE = """
version: 1
questions:
  scene: {type: one_of, labels: {people: {}, food: {}, other: {}}}
  facts: {type: yes_no, labels: {person: {}, meal: {}, day: {}, night: {}}}
  things: {type: many_of, labels: {animal: {}, animal.dog: {}, plate: {}}}
rules:
"""


def ruled(folder: Path, *rules: str) -> Questions:
    file = folder / "labels.yaml"
    file.write_text(FILE + "".join(f"  - {rule}\n" for rule in rules), encoding="utf-8")
    return load(file)


def told(questions: Questions, **answer: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    things = [{"coarse_type": word, "is_main": True, "confidence": 0.9} for word in answer.pop("things", [])]
    found = questions.tell({**answer, "things": things}, min_confidence=0.7, include_non_main=False)
    return dict(found.values), found.overruled


@pytest.mark.parametrize(
    ("condition", "answer", "fires"),
    [
        ("{scene: people}", {"scene": "people"}, True),
        ("{scene: people}", {"scene": "food"}, False),
        ("{scene: people}", {}, False),
        ("{scene: [people, food]}", {"scene": "food"}, True),
        ("{not: {scene: people}}", {"scene": "food"}, True),
        ("{not: {scene: people}}", {}, False),
        ("{scene: people, day: true}", {"scene": "people", "day": True}, True),
        ("{scene: people, day: true}", {"scene": "people"}, False),
        ("{any: [{scene: people}, {day: true}]}", {"day": True}, True),
        ("{any: [{scene: people}, {day: true}]}", {"scene": "food"}, False),
        ("{all: [{day: false}, {not: {scene: other}}]}", {"day": False, "scene": "food"}, True),
        ("{all: [{day: false}, {not: {scene: other}}]}", {"day": False, "scene": "other"}, False),
        ("{things: animal}", {"things": ["dog"]}, True),
        ("{things: animal.dog}", {"things": ["animal"]}, False),
        ("{things: [plate, animal]}", {"things": ["plate"]}, True),
        ("{not: {things: plate}}", {"things": []}, True),
    ],
)
def test_a_condition_holds_where_the_labels_say_so_for_certain(tmp_path: Path, condition: str, answer: dict[str, Any], fires: bool) -> None:
    questions = ruled(tmp_path, f"{{when: {condition}, then: {{meal: true}}}}")
    values, _ = told(questions, **answer)
    assert values["meal"] is (True if fires else None)


def test_a_rule_overrules_the_teacher_and_what_it_said_is_kept(tmp_path: Path) -> None:
    questions = ruled(
        tmp_path, "{when: {scene: people}, then: {person: true, things: animal.dog, meal: unknown}}", "{exclusive: [day, night]}"
    )
    values, overruled = told(questions, scene="people", person=False, meal=True, day=True, night=True)
    assert (values["person"], values["meal"], values["things"]) == (True, None, ["things.animal.dog"])
    assert (values["day"], values["night"]) == (True, False), "the first of equally likely ones"
    assert overruled == (
        "person=false by scene", "things.animal.dog=unknown by scene", "meal=true by scene", "night=true by day+night",
    )  # fmt: skip
    answers = [{"scene": "people", "person": False, "things": []}, {"scene": "food", "person": False, "things": []}]
    rows = [dict.fromkeys(ANNOTATIONS.columns) | {"image_id": f"{at}", "annotation": json.dumps(each)} for at, each in enumerate(answers)]
    truth = convert(pl.DataFrame(rows, schema=ANNOTATIONS.polars_schema()), questions, min_object_confidence=0.7, include_non_main=False)
    assert truth["person"].to_list() == [True, False]
    assert truth["overruled"].to_list() == [["person=false by scene", "things.animal.dog=unknown by scene"], []]


def test_a_scene_may_follow_too_and_nothing_is_noted_where_nothing_changes(tmp_path: Path) -> None:
    questions = ruled(tmp_path, "{when: {person: true}, then: {scene: people}}")
    assert told(questions, person=True, scene="food")[1] == ("scene=scene.food by person",)
    assert told(questions, person=True, scene="people")[1] == ()


SURE = 30.0


def heads(questions: Questions) -> dict[str, Any]:
    scene = plain_head("scene", questions["scene"].keys, weight=SURE * EYE)
    facts = plain_head(
        "facts",
        ("person", "meal", "day", "night"),
        weight=np.array([[-9, 0, 9], [0, 9, 0], [1, 3, 0], [4, 2, 0]]).astype(float),
        qtype="yes_no",
    )
    return {"scene": scene, "facts": facts}


def test_predictions_follow_the_rules_and_keep_what_the_heads_said(tmp_path: Path) -> None:
    questions = ruled(tmp_path, "{when: {scene: people}, then: {person: true}}", "{exclusive: [day, night]}")
    rows = classify(photos([[1, 0, 0], [0, 1, 0]]), heads(questions), questions=questions)
    people, food = rows.rows(named=True)
    assert people["scene"] == "scene.people"
    assert (people["person"], people["person_confidence"]) == (True, pytest.approx(people["scene_confidence"]))
    assert [note.partition("@")[0] for note in people["overruled"]] == ["person=false", "day=true"]
    assert float(people["overruled"][0].partition("@")[2].split()[0]) == pytest.approx(1 / (1 + np.exp(9)), abs=1e-3)
    assert (people["day"], people["night"]) == (False, True)
    assert people["day_confidence"] == pytest.approx(1 - people["night_confidence"])
    assert (food["day"], food["night"]) == (True, False)
    assert set(rows.columns) <= set(PREDICTIONS.of(questions).columns)


def test_what_a_head_says_of_a_label_that_follows_is_kept_beside_it() -> None:
    scene = plain_head("scene", ("scene.document", "scene.people", "scene.screenshot"), weight=SURE * EYE)
    attribute = plain_head("attribute", ("is_document", "has_text"), weight=np.array([[-9, 9, 0], [0, 9, 0]]).astype(float))
    rows = classify(photos([[1, 0, 0], [0, 1, 0]]), {"scene": scene, "attribute": attribute}, questions=PACKAGED)
    assert rows["is_document"].to_list() == [True, False]
    assert [[note.partition("@")[0] for note in notes] for notes in rows["overruled"]] == [["is_document=false"], ["is_document=true"]]
    assert all(note.endswith(" by scene") for notes in rows["overruled"] for note in notes)


def test_margins_of_prompts_are_kept() -> None:
    texts = {"scene.people": EYE[0], "scene.food": EYE[1], "attr.has_text": EYE[2], "not attr.has_text": EYE[0], "object.food": EYE[1]}
    rows = classify(photos([[0.6, 0.0, 0.8], None]), {}, questions=PACKAGED, prompts_rows=prompts(texts))
    assert rows["margins"].to_list() == [["scene.people=0.6000", "attr.has_text=0.2000", "object.food=0.0000"], []]
    assert rows["overruled"].to_list() == [[], []]


def test_a_rule_reaches_what_the_teacher_fills_in_but_never_what_heads_said(tmp_path: Path) -> None:
    questions = ruled(tmp_path, "{when: {scene: people, day: true}, then: {person: true, meal: false}}")
    scene, facts = heads(questions)["scene"], plain_head("facts", ("person",), weight=np.array([[-9, 0, 9]]).astype(float), qtype="yes_no")
    said = classify(photos([[1, 0, 0]]), {"scene": scene, "facts": facts}, questions=questions)
    teacher = {"image_id": "p0", "scene": "scene.food", "meal": True, "day": True}
    truth = pl.DataFrame(
        [dict.fromkeys(AUTO_GROUND_TRUTH.of(questions).columns) | teacher], schema=AUTO_GROUND_TRUTH.of(questions).polars_schema()
    )
    row = filled_from_teacher(said, truth, questions).row(0, named=True)
    assert (row["person"], row["meal"], row["day"]) == (False, False, True)
    assert row["overruled"] == ["meal=true by scene+day"], "the teacher said that it is day, the head that it is people"


@pytest.mark.parametrize(
    ("rules", "complaint"),
    [
        (["{when: {scene: peple}, then: {person: true}}"], "rules.0.when.scene: 'scene.peple' is no label of scene; use one of"),
        (["{when: {scen: people}, then: {person: true}}"], "rules.0.when.scen: 'scen' is no question and no label of a yes_no question"),
        (["{when: {person: maybe}, then: {meal: true}}"], "rules.0.when.person: expected true or false"),
        (["{when: {scene: people}, then: {persn: true}}"], "rules.0.then.persn: 'persn' is no question"),
        (["{when: {scene: people}, then: {person: 7}}"], "rules.0.then.person: expected true, false or unknown"),
        (["{when: {person: true}, then: {scene: [people, food]}}"], "rules.0.then.scene: one label, got 2"),
        (["{when: {}, then: {person: true}}"], "rules.0.when: expected a condition"),
        (["{when: {all: {scene: people}}, then: {person: true}}"], "rules.0.when.all: expected a list of conditions"),
        (["{exclusive: [day]}"], "not a rule"),
        (["{exclusive: [day, day]}"], "rules.0.exclusive: a label is named twice"),
        (["{exclusive: [day, scene]}"], "rules.0.exclusive.1: 'scene' is no label of a yes_no question"),
        (["{iff: {scene: people}}"], "not a rule"),
        (["{when: {person: true}, then: {meal: true}}", "{when: {day: true}, then: {person: true}}"], "decides person, which a rule above"),
        (["{when: {person: true}, then: {person: false}}"], "decides person, which it goes by itself"),
        (["{label: person, follows: {scene: food}}", "{when: {day: true}, then: {person: true}}"], "person follows from another question"),
        (["{when: {scene: []}, then: {person: true}}"], "an empty list"),
    ],
)  # fmt: skip
def test_a_rule_that_cannot_hold_is_refused_with_its_line(tmp_path: Path, rules: list[str], complaint: str) -> None:
    with pytest.raises(LabelFileError) as caught:
        ruled(tmp_path, *rules)
    assert complaint in str(caught.value)
    assert f"labels.yaml, line {8 + len(rules) - 1}: " in str(caught.value)


def test_a_rule_converts_anew_and_asks_nobody(tmp_path: Path) -> None:
    plain, other = ruled(tmp_path, "{exclusive: [day, night]}"), ruled(tmp_path, "{exclusive: [day, person]}")
    assert plain.fingerprint != other.fingerprint
    assert plain.asked_fingerprints == other.asked_fingerprints
    assert PACKAGED.general == ()
