"""Tasks go out as Label Studio imports them, and its two exports come back as the verdicts that people gave; wrong files are refused."""

from __future__ import annotations

import json
from contextlib import suppress
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.questions import ATTRIBUTES, PACKAGED
from vibe_assets.audit.label_studio import TaskPhoto, is_blind, labelling_config, read_export, tasks
from vibe_assets.labels.files import AuditedFileError
from vibe_assets.records import Labels

SCENES, OBJECTS = PACKAGED["scene"].keys, PACKAGED["objects"].keys
A, B = "a" * 32, "b" * 32
SAID = Labels(
    A,
    {
        "scene": "scene.food", **dict.fromkeys(ATTRIBUTES, False), "has_text": True, "has_person": None,
        "objects": ("object.food.dessert", "object.drink"),
    },
)  # fmt: skip
AT = "2026-03-09T22:16:08.728378Z"


def photo(labels=SAID, image_id=A, path=b"trips/caf\xc3\xa9 1.jpg"):
    return TaskPhoto(image_id, path, "trips/café 1.jpg", 0.25, labels, 0.9)


def annotated(task, **fields):
    """The task as an export has it, its prediction submitted as it is."""
    result = task.get("predictions", [{}])[0].get("result", [])
    usual = {
        "id": 1001,
        "result": result,
        "was_cancelled": False,
        "lead_time": 4.288,
        "completed_by": 10,
        "updated_at": AT,
        "created_at": AT,
    }
    return {"id": 7, **task, "annotations": [{**usual, **fields}]}


def ticked(**choices):
    return [
        {"from_name": name, "to_name": "image", "type": "choices", "value": {"choices": list(found)}} for name, found in choices.items()
    ]


def shortened(task):
    """What Label Studio's JSON-MIN makes of an exported task: one flat object per annotation that was not cancelled."""
    for annotation in task["annotations"]:
        if annotation["was_cancelled"]:
            continue
        answers = {}
        for region in annotation["result"]:
            choices = region["value"]["choices"]
            answers[region["from_name"]] = choices[0] if len(choices) == 1 else {"choices": choices}
        yield {
            **task["data"], "id": task["id"], **answers, "annotator": annotation["completed_by"], "annotation_id": annotation["id"],
            "created_at": annotation["created_at"], "updated_at": annotation["updated_at"], "lead_time": annotation["lead_time"],
        }  # fmt: skip


def read(tmp_path, value, known=(A, B)):
    path = tmp_path / "export.json"
    path.write_text(value if isinstance(value, str) else json.dumps(value, indent=1), encoding="utf-8")
    return read_export(path, questions=PACKAGED, known_ids=known)


def test_a_task_has_what_label_studio_asks_for():
    (task,) = tasks([photo()], PACKAGED, image_prefix="/data/local-files/?d=", model_version="t1")
    assert task["data"]["image"] == "/data/local-files/?d=trips/caf%C3%A9%201.jpg"
    assert (task["data"]["image_id"], task["data"]["inclusion_probability"]) == (A, 0.25)
    (prediction,) = task["predictions"]
    assert (prediction["model_version"], prediction["score"]) == ("t1", 0.9)
    assert {region["from_name"]: region["value"]["choices"] for region in prediction["result"]} == {
        "scene": ["food"], "attributes": ["has_text"], "cannot_tell": ["has_person"], "objects": ["food.dessert", "drink"],
    }  # fmt: skip
    assert all((region["to_name"], region["type"]) == ("image", "choices") for region in prediction["result"])
    assert len({region["id"] for region in prediction["result"]}) == 4


def test_a_blind_task_tells_nothing_of_any_answer():
    (task,) = tasks([photo(None)], PACKAGED, image_prefix="", model_version="t1")
    assert set(task) == {"data"}
    assert set(task["data"]) == {"image", "image_id", "name", "inclusion_probability"}


def test_blind_photos_are_a_steady_random_share():
    blind = [is_blind(f"{at:032x}", seed=1, share=0.2) for at in range(2000)]
    assert 0.17 < sum(blind) / 2000 < 0.23
    assert blind == [is_blind(f"{at:032x}", seed=1, share=0.2) for at in range(2000)]
    assert not is_blind(A, seed=1, share=0.0)


def test_the_config_offers_every_label_and_every_predicted_choice():
    view = ET.fromstring(labelling_config(PACKAGED))
    boxes = {box.get("name"): box for box in view.iter("Choices")}
    assert {name: box.get("choice") for name, box in boxes.items()} == {
        "scene": "single", "attributes": "multiple", "cannot_tell": "multiple", "objects": "multiple",
    }  # fmt: skip
    offered = {name: [choice.get("value") for choice in box] for name, box in boxes.items()}
    assert offered["scene"] == [key.removeprefix("scene.") for key in SCENES]
    assert set(offered["attributes"]) == set(ATTRIBUTES)
    assert len(offered["objects"]) == len(set(offered["objects"])) == len(OBJECTS)
    assert view.find("Image").get("value") == "$image"
    (task,) = tasks([photo()], PACKAGED, image_prefix="", model_version="t1")
    for region in task["predictions"][0]["result"]:
        assert set(region["value"]["choices"]) <= set(offered[region["from_name"]])


LABELS = st.builds(
    lambda scene, flags, objects: Labels(A, {"scene": scene, **flags, "objects": objects}),
    st.sampled_from(SCENES),
    st.fixed_dictionaries({name: st.sampled_from([True, False, None]) for name in ATTRIBUTES}),
    st.lists(st.sampled_from(OBJECTS), max_size=4, unique=True).map(tuple),
)


@settings(deadline=None, max_examples=40)
@given(LABELS)
def test_accepted_predictions_come_back_as_they_went_out_by_either_format(tmp_path_factory, labels):
    tmp_path = tmp_path_factory.mktemp("round")
    (task,) = tasks([photo(labels)], PACKAGED, image_prefix="", model_version="t1")
    full = annotated(json.loads(json.dumps(task)))
    (verdict,) = read(tmp_path, [full])
    assert verdict.labels == labels
    assert (verdict.act, verdict.blind, verdict.source, verdict.spent_ms) == ("accepted", False, "label_studio", 4288)
    assert verdict.shown == {"inclusion_probability": 0.25, "versions": {"teacher": "t1"}}
    assert read(tmp_path, list(shortened(full))) == [verdict], "the same annotation in both formats is one verdict"
    shuffled = {**full, "annotations": [{**full["annotations"][0], "result": [
        {**region, "value": {"choices": region["value"]["choices"][::-1]}} for region in full["annotations"][0]["result"]]}]}  # fmt: skip
    assert read(tmp_path, [shuffled]) == [verdict], "the main object stays first"


def test_corrections_blind_answers_skips_and_empty_submissions_are_told_apart(tmp_path):
    filled, blind = tasks([photo(), photo(None, B)], PACKAGED, image_prefix="", model_version="t1")
    export = [
        annotated(filled, result=ticked(scene=["people"], objects=["toy" if "object.toy" in OBJECTS else "drink"])),
        annotated(blind, result=ticked(scene=["food"]), completed_by={"id": 3, "email": "ana@example.org"}),
        annotated(blind, result=ticked(scene=["food"]), was_cancelled=True, lead_time=None),
        annotated(blind, result=[], id=5),
    ]
    corrected, labelled, skipped, empty = read(tmp_path, export)
    assert (corrected.act, corrected.labels.values["scene"], corrected.annotator) == ("corrected", "scene.people", "label-studio-10")
    assert {name: corrected.labels.values[name] for name in ATTRIBUTES} == dict.fromkeys(ATTRIBUTES, False), "what is not ticked is false"
    assert (labelled.act, labelled.blind, labelled.annotator) == ("labelled", True, "ana@example.org")
    assert (skipped.act, skipped.labels, skipped.reason, skipped.spent_ms) == ("skipped", None, "skipped in Label Studio", 0)
    assert (empty.act, empty.reason) == ("skipped", "submitted without an answer")


def test_other_controls_and_several_people_are_no_trouble(tmp_path):
    (task,) = tasks([photo(None)], PACKAGED, image_prefix="", model_version="t1")
    remark = {"from_name": "remark", "to_name": "image", "type": "textarea", "value": {"text": ["dark"]}}
    full = annotated(task, result=[*ticked(scene=["food"]), remark])
    full["annotations"].append({**full["annotations"][0], "id": 1002, "completed_by": 11})
    assert [verdict.annotator for verdict in read(tmp_path, [full])] == ["label-studio-10", "label-studio-11"]
    assert read(tmp_path, [{**task, "id": 1, "annotations": []}]) == []


def test_one_wrong_line_refuses_the_file_and_every_wrong_line_is_named(tmp_path):
    (task,) = tasks([photo(None)], PACKAGED, image_prefix="", model_version="t1")
    wrong = [
        annotated(task, result=ticked(scene=["food"])),
        annotated({**task, "data": {**task["data"], "image_id": "c" * 32}}, result=ticked(scene=["food"])),
        annotated(task, result=ticked(scene=["feast"])),
        annotated(task, result=ticked(scene=["food", "people"])),
        annotated(task, result=ticked(scene=["food"], attributes=["has_text"], cannot_tell=["has_text"])),
        annotated(task, result=ticked(scene=["food"]), lead_time=-1),
        annotated(task, result=ticked(scene=["food"]), updated_at="yesterday", created_at=None),
        annotated({**task, "data": {**task["data"], "inclusion_probability": 2}}, result=ticked(scene=["food"])),
        annotated(task, result=ticked(objects=[{"odd": 1}])),
        annotated(task, result=ticked(scene=["food"]), updated_at="0001-01-01T00:00:00+14:00"),
        annotated(task, result=ticked(scene=["food"]), updated_at="9999-12-31T23:59:59-14:00"),
        annotated({**task, "data": {**task["data"], "filled_in": {"teacher": {"x": 1}}}}, result=ticked(scene=["food"])),
        {"image": "x"},
        "nothing",
    ]
    with pytest.raises(AuditedFileError) as refused:
        read(tmp_path, wrong)
    messages = [fault.message for fault in refused.value.faults]
    assert len(messages) == 13
    assert sum("with its zone" in message for message in messages) == 3
    parts = ("no photo of this library", "'feast' is no label", "expected one, got", "as cannot tell", "expected seconds", "with its zone")
    for part in (*parts, "up to 1, got 2", "version as text, got {'x': 1}", "{'odd': 1}", "export as JSON or JSON-MIN"):
        assert any(part in message for message in messages), part
    text = (tmp_path / "export.json").read_text(encoding="utf-8").splitlines()
    by_part = {fault.message.partition(":")[0]: fault.line for fault in refused.value.faults}
    assert '"image_id": "ccc' in text[by_part["image_id"] - 1]
    assert '"lead_time": -1' in text[by_part["lead_time"] - 1]


@pytest.mark.parametrize("text", ["", "[", '{"a": 1', "[1, 2", '"x"', "\ufeff[]x"])
def test_what_is_no_export_is_refused_in_words(tmp_path, text):
    with pytest.raises(AuditedFileError, match="refused, nothing was taken over"):
        read(tmp_path, text)


FIELDS = (
    "data",
    "annotations",
    "result",
    "image_id",
    "value",
    "choices",
    "from_name",
    "type",
    "filled_in",
    "scene",
    "annotation_id",
    "objects",
)
PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
JSON = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4), max_leaves=12
)


@settings(deadline=None, max_examples=150)
@given(st.lists(JSON, max_size=3))
def test_whatever_a_file_holds_it_is_read_or_refused(tmp_path_factory, value):
    with suppress(AuditedFileError):
        read(tmp_path_factory.mktemp("any"), value)
