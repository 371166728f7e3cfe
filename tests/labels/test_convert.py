"""Answers become labels: what counts, what is unknown, and in which order objects stand."""

from __future__ import annotations

import json

import polars as pl
import pytest

from vibe_assets.labels.convert import convert, mapping_fingerprint
from vibe_assets.questions import load
from vibe_assets.records import ANNOTATIONS, AUTO_GROUND_TRUTH
from vibe_assets.settings import LabelSettings

PACKAGED = load()


def thing(coarse_type, confidence=0.9, main=True):
    return {"name_free": "x", "coarse_type": coarse_type, "is_main": main, "confidence": confidence}


def labels(answer, *, min_object_confidence=0.7, include_non_main=False):
    return PACKAGED.tell(answer, min_confidence=min_object_confidence, include_non_main=include_non_main).values


def annotations(*rows):
    blank = dict.fromkeys(ANNOTATIONS.columns)
    full = [{**blank, "folder_key": "f-0", "rel_path": "p", "teacher": "t1", **row} for row in rows]
    return pl.DataFrame(full, schema=ANNOTATIONS.polars_schema())


def truth(*rows):
    return convert(annotations(*rows), PACKAGED, min_object_confidence=0.7, include_non_main=False)


def test_only_real_booleans_become_attributes():
    read = labels({"scene": "food", "has_person": True, "has_animal": False, "has_text": "true", "is_document": 1, "is_screenshot": None})
    assert {name: value for name, value in read.items() if name.startswith(("has_", "is_"))} == {
        "has_person": True, "has_animal": False, "has_text": None, "is_document": None, "is_screenshot": None,
    }  # fmt: skip


def test_main_objects_stand_first_then_the_surer_ones():
    answer = {"objects": [thing("mug", 0.8, main=False), thing("pen", 0.75), thing("dog", 0.99, main=False), thing("cat", 0.95)]}
    assert labels(answer, include_non_main=True)["objects"] == [
        "object.animals.cat", "object.stationery.pen", "object.animals.dog", "object.dailystuff.mug",
    ]  # fmt: skip
    assert labels(answer)["objects"] == ["object.animals.cat", "object.stationery.pen"]


def test_two_words_for_one_object_count_once_and_unknown_things_are_dropped():
    answer = {"objects": [thing("other"), thing("unknown"), thing("screen", 0.8), thing("monitor", 0.9), thing(None), "mug", None]}
    assert labels(answer)["objects"] == ["object.electronics.display.monitor"]


@pytest.mark.parametrize("confidence", ["very", None, True, float("nan"), float("inf"), -1, 5, "950 %", 101, [0.9]])
def test_a_bad_confidence_is_none_at_all(confidence):
    answer = {"objects": [thing("mug", confidence)]}
    assert labels(answer)["objects"] == []
    assert labels(answer, min_object_confidence=0.0)["objects"] == ["object.dailystuff.mug"]


def test_the_threshold_itself_is_enough_and_only_true_is_main():
    assert labels({"objects": [thing("mug", 0.7)]})["objects"] == ["object.dailystuff.mug"]
    assert labels({"objects": [thing("mug", 0.69)]})["objects"] == []
    assert labels({"objects": [thing("mug", main="true")]})["objects"] == []


@pytest.mark.parametrize("objects", [None, "mug", {"mug": 1}, 3])
def test_objects_of_the_wrong_shape_are_none(objects):
    assert labels({"objects": objects})["objects"] == []


def test_failures_are_left_out_and_the_newest_answer_of_a_photo_counts():
    rows = truth(
        {"image_id": "b", "annotation": json.dumps({"scene": "food"})},
        {"image_id": "a", "annotation": json.dumps({"scene": "selfie"})},
        {"image_id": "b", "annotation": json.dumps({"scene": "product"}), "teacher": "t2"},
        {"image_id": "b", "annotation": None, "reason": "teacher_refused"},
        {"image_id": "c", "annotation": None, "reason": "unreadable"},
    )
    assert rows.schema == pl.Schema(AUTO_GROUND_TRUTH.polars_schema())
    assert rows.select("image_id", "scene", "teacher").rows() == [("a", "scene.people", "t1"), ("b", "scene.product", "t2")]


def test_no_answers_give_an_empty_table():
    assert truth().schema == pl.Schema(AUTO_GROUND_TRUTH.polars_schema())
    assert truth({"image_id": "c", "reason": "unreadable"}).is_empty()


@pytest.mark.parametrize("text", ["[]", "not json", None])
def test_an_answer_without_reason_that_is_no_object_is_a_programming_error(text):
    with pytest.raises(ValueError, match="annotation of c: expected a JSON object in a row without a reason"):
        truth({"image_id": "c", "annotation": text})


def test_the_mapping_fingerprint_moves_with_taxonomy_and_settings():
    first = mapping_fingerprint(PACKAGED, LabelSettings())
    assert truth({"image_id": "a", "annotation": "{}"})["mapping"].to_list() == [first]
    assert mapping_fingerprint(PACKAGED, LabelSettings(min_object_confidence=0.8)) != first
    assert mapping_fingerprint(PACKAGED, LabelSettings(include_non_main=True)) != first
