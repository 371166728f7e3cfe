from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.heads.examples import plain_head
from tests.support.questions import ATTRIBUTES, PACKAGED, styled
from vibe_assets.heads import classifier
from vibe_assets.heads.models import HeadError
from vibe_assets.questions import Label, ManyOf
from vibe_assets.questions.types import implied
from vibe_assets.records import IMAGE_EMBEDDINGS, PREDICTIONS, PROMPT_EMBEDDINGS

SCENES = ("scene.document", "scene.people", "scene.screenshot")
EYE = np.eye(3)
KEYS = ("object.a", "object.a.b", "object.a.b.c", "object.a.d", "object.e", "object.e.f")
LABELS = tuple(Label(key) for key in (*KEYS, "object.mug", "object.bag", "object.pen"))
INVENTED = replace(
    PACKAGED, questions=tuple(replace(one, labels=(*one.labels, *LABELS)) if isinstance(one, ManyOf) else one for one in PACKAGED)
)
classify = partial(classifier.classify, questions=INVENTED)


def photos(vectors, encoder="enc-1"):
    rows = [
        {
            "folder_key": "f",
            "image_id": f"p{at}",
            "encoder": encoder,
            "embedding": vector,
            "reason": None if vector is not None else "unreadable",
        }
        for at, vector in enumerate(np.asarray(v, float).tolist() if v is not None else None for v in vectors)
    ]
    return pl.DataFrame(rows, schema={name: kind for name, kind in IMAGE_EMBEDDINGS.polars_schema().items() if name != "detail"})


def prompts(vectors: dict, *, scale=10.0, bias=None, encoder="enc-1"):
    rows = [
        {
            "label": label,
            "prompt": "text",
            "encoder": encoder,
            "embedding": [float(value) for value in vector],
            "logit_scale": scale,
            "logit_bias": bias,
        }
        for label, texts in vectors.items()
        for vector in (texts if isinstance(texts[0], (list, tuple)) else [texts])
    ]
    return pl.DataFrame(rows, schema=PROMPT_EMBEDDINGS.polars_schema())


def only(rows: pl.DataFrame) -> dict:
    assert len(rows) == 1
    return rows.row(0, named=True)


def left_open(head, *labels):
    return replace(head, card=replace(head.card, open=dict.fromkeys(labels, "no better than always false")))


def test_a_question_of_ones_own_is_answered_like_the_packaged_ones(tmp_path):
    questions, labels = styled(tmp_path), ("style.film", "style.phone", "style.drone")
    head = plain_head("style", labels, EYE * 10.0, qtype="one_of")
    row = only(classify(photos([EYE[1]]), {"style": head}, questions=questions))
    assert (row["style"], row["source"], row["scene"], row["abstained"]) == ("style.phone", "student", None, [])
    assert row["style_confidence"] > 0.9
    by_prompt = prompts({"style.film": EYE[0], "style.phone": EYE[1], "scene.food": EYE[2], "scene.other": EYE[0]})
    row = only(classify(photos([EYE[1]]), {}, questions=questions, prompts_rows=by_prompt))
    assert (row["style"], row["source"]) == ("style.phone", "zero_shot")


def test_labels_that_the_card_leaves_open_are_answered_as_if_there_were_no_head_for_them():
    head = left_open(attribute_head([9.0] * len(ATTRIBUTES)), "has_text", "has_animal")
    row = only(classify(photos([EYE[0]]), {"attribute": head}))
    assert (row["has_person"], row["has_text"], row["has_text_confidence"]) == (True, None, None)
    assert "has_text" not in row["abstained"], "nobody was asked, so the teacher's label may stand"
    assert "has_text" not in row["source"]
    by_prompt = only(
        classify(photos([EYE[0]]), {"attribute": head}, prompts_rows=prompts({"attr.has_text": EYE[0], "attr.not_has_text": EYE[1]}))
    )
    assert by_prompt["has_person"] is True
    objects = plain_head("object", ("object.a", "object.b"), EYE[:2] * 0, [9.0, 9.0])
    assert only(classify(photos([EYE[0]]), {"object": left_open(objects, "object.b")}))["objects"] == ["object.a"]
    assert only(classify(photos([EYE[0]]), {"object": left_open(objects, "object.a", "object.b")}))["objects"] is None


def scene_head(scale=10.0, **more):
    return plain_head("scene", SCENES, EYE * scale, **more)


def attribute_head(logits, labels=ATTRIBUTES):
    return plain_head("attribute", labels, np.zeros((len(labels), 3)), logits)


def object_head(p: dict[str, float]):
    return plain_head("object", tuple(p), np.zeros((len(p), 3)), [math.log(value / (1 - value)) for value in p.values()])


def test_the_columns_are_those_of_the_predictions_table():
    asset_adds = {"folder_key", "rel_path", "teacher_scene", "teacher_objects"}
    expected = {name: kind for name, kind in PREDICTIONS.polars_schema().items() if name not in asset_adds}
    for rows in (photos([EYE[0], None]), photos([None]), photos([])):
        for heads in ({"scene": scene_head(), "attribute": attribute_head([3] * 5), "object": object_head({"object.a": 0.9})}, {}):
            found = classify(rows, heads)
            assert dict(found.schema) == {name: expected[name] for name in found.columns}
            assert set(found.columns) == set(expected)
            assert found["image_id"].to_list() == rows["image_id"].to_list()


def test_a_deployed_head_speaks_even_where_prompts_exist():
    row = only(classify(photos([EYE[1]]), {"scene": scene_head()}, prompts_rows=prompts({"scene.food": EYE[1].tolist()})))
    assert row["scene"] == "scene.people"
    assert row["source"] == "student"
    assert row["heads"] == scene_head().version
    assert row["scene_confidence"] == pytest.approx(math.exp(10) / (math.exp(10) + 2))


def test_zero_shot_is_the_softmax_of_scaled_cosines():
    x = np.array([0.6, 0.8, 0.0])
    given = prompts({"scene.people": [1.0, 0, 0], "scene.food": [0, 1.0, 0], "scene.other": [0, 0, 1.0]}, scale=7.5, bias=-3.0)
    row = only(classify(photos([x]), {}, prompts_rows=given))
    cosines = 7.5 * np.array([0.6, 0.8, 0.0])
    assert row["scene"] == "scene.food"
    assert row["scene_confidence"] == pytest.approx(np.exp(cosines[1]) / np.exp(cosines).sum(), rel=1e-6)
    assert (row["source"], row["heads"]) == ("zero_shot", "")


def test_the_temperature_of_the_model_decides_how_sure_zero_shot_is():
    texts = {"scene.people": [1.0, 0, 0], "scene.food": [0, 1.0, 0]}
    unsure, sure = (
        only(classify(photos([[0.8, 0.6, 0]]), {}, prompts_rows=prompts(texts, scale=scale)))["scene_confidence"] for scale in (1.0, 100.0)
    )
    assert unsure < 0.6
    assert sure > 0.99


def test_several_texts_of_a_label_are_averaged_to_a_unit_vector():
    given = prompts({"scene.people": [[1.0, 0, 0], [0, 1.0, 0]], "scene.food": [0, 0, 1.0]}, scale=1.0)
    row = only(classify(photos([[1.0, 0, 0]]), {}, prompts_rows=given))
    assert row["scene_confidence"] == pytest.approx(1 / (1 + math.exp(-math.sqrt(0.5))), rel=1e-6)


def test_without_heads_and_prompts_there_is_no_prediction_rather_than_a_guess():
    for nothing in (None, prompts({})):
        row = only(classify(photos([EYE[0]]), {}, prompts_rows=nothing))
        assert row["source"] == "none"
        assert all(row[name] is None for name in ("scene", "scene_confidence", "objects", "object_confidences", *ATTRIBUTES))
        assert row["abstained"] == []


def test_a_photo_without_a_vector_gets_nothing_and_its_neighbours_theirs():
    rows = classify(photos([None, EYE[1], None]), {"scene": scene_head()})
    assert rows["source"].to_list() == ["none", "student", "none"]
    assert rows["scene"].to_list() == [None, "scene.people", None]
    assert rows["heads"].to_list()[0] == ""


@pytest.mark.parametrize("which", ["head", "prompts"])
def test_vectors_of_another_encoder_are_refused_with_both_names_and_the_remedy(which):
    head = {"scene": scene_head(encoder="enc-old")} if which == "head" else {}
    given = prompts({"scene.food": [1.0, 0, 0]}, encoder="enc-old") if which == "prompts" else None
    with pytest.raises(HeadError, match=r"enc-old.*enc-new.*(retrain|embed)"):
        classify(photos([EYE[0]], encoder="enc-new"), head, prompts_rows=given)


def test_a_head_under_the_wrong_kind_is_a_programmer_error():
    with pytest.raises(ValueError, match="expected a object head"):
        classify(photos([EYE[0]]), {"object": scene_head()})


def test_a_scene_below_the_threshold_is_left_open_but_its_confidence_shown():
    row = only(classify(photos([EYE[1]]), {"scene": scene_head(scale=0.1)}))
    assert row["scene"] is None
    assert row["scene_confidence"] == pytest.approx(0.356, abs=0.01)
    assert row["abstained"] == ["scene", "is_document", "is_screenshot"]
    assert (row["is_document"], row["is_screenshot"]) == (None, None)


@pytest.mark.parametrize(("scene", "document", "screenshot"), [(0, True, False), (1, False, False), (2, False, True)])
def test_document_and_screenshot_follow_the_scene_against_the_attribute_head(scene, document, screenshot):
    contrary = attribute_head([0, 0, 0, -9 if document else 9, -9 if screenshot else 9])
    row = only(classify(photos([EYE[scene]]), {"scene": scene_head(), "attribute": contrary}))
    assert (row["is_document"], row["is_screenshot"]) == (document, screenshot)
    assert (row["is_document_confidence"] > 0.5) == document


def test_attributes_are_true_false_or_open_by_their_band():
    logit = {"has_person": 0.41, "has_animal": -0.41, "has_text": 0.0}  # p = 0.601, 0.399, 0.5; the band is 0.4 to 0.6
    row = only(classify(photos([EYE[0]]), {"attribute": attribute_head(list(logit.values()), tuple(logit))}))
    assert [row[name] for name in logit] == [True, False, None]
    assert row["abstained"] == ["has_text"]
    assert row["has_text_confidence"] == pytest.approx(0.5)
    assert row["is_document"] is None


def test_objects_are_sorted_by_confidence_and_written_beside_it():
    row = only(classify(photos([EYE[0]]), {"object": object_head({"object.mug": 0.7, "object.bag": 0.93, "object.pen": 0.2})}))
    assert row["objects"] == ["object.bag", "object.mug"]
    assert row["object_confidences"] == ["object.bag=0.9300", "object.mug=0.7000"]


def test_a_child_brings_its_parents_even_those_without_a_slot():
    row = only(classify(photos([EYE[0]]), {"object": object_head({"object.food": 0.1, "object.food.dessert.cake": 0.9})}))
    assert row["objects"] == ["object.food.dessert.cake", "object.food.dessert", "object.food"]
    assert row["object_confidences"][2] == "object.food=0.9000"


@given(st.lists(st.floats(0.01, 0.99), min_size=6, max_size=6), st.sets(st.sampled_from(KEYS), min_size=1))
def test_objects_are_closed_under_parents_and_sorted_whatever_the_scores(values, labels):
    p = {key: value for key, value in zip(KEYS, values, strict=True) if key in labels}
    row = only(classify(photos([EYE[0]]), {"object": object_head(p)}))
    said = [text.rpartition("=") for text in row["object_confidences"]]
    assert [key for key, _, _ in said] == row["objects"]
    assert len(set(row["objects"])) == len(row["objects"])
    assert {parent for key in row["objects"] for parent in implied(key)} <= set(row["objects"])
    confidences = [float(value) for _, _, value in said]
    assert confidences == sorted(confidences, reverse=True)
    assert {key for key, value in p.items() if value >= 0.6001} <= set(row["objects"])


def test_zero_shot_attributes_need_an_opposite_or_a_sigmoid_model():
    texts = {"attr.has_person": [1.0, 0, 0]}
    lone = only(classify(photos([[0.6, 0.8, 0]]), {}, prompts_rows=prompts(texts)))
    assert (lone["has_person"], lone["has_person_confidence"]) == (None, None)
    siglip = only(classify(photos([[0.6, 0.8, 0]]), {}, prompts_rows=prompts(texts, bias=-4.0)))
    assert siglip["has_person_confidence"] == pytest.approx(1 / (1 + math.exp(-(10 * 0.6 - 4))), rel=1e-6)
    opposed = only(classify(photos([[0.6, 0.8, 0]]), {}, prompts_rows=prompts({**texts, "not attr.has_person": [0, 1.0, 0]})))
    assert opposed["has_person_confidence"] == pytest.approx(1 / (1 + math.exp(2)), rel=1e-5)
    assert opposed["has_person"] is False


def test_zero_shot_objects_of_a_softmax_model_share_one_whole_with_parents_above_children():
    texts = {"object.food": [1.0, 0, 0], "object.food.cake": [0, 1.0, 0], "object.mug": [0, 0, 1.0]}
    row = only(classify(photos([[0.6, 0.8, 0]]), {}, prompts_rows=prompts(texts)))
    share = np.exp([6.0, 8.0, 0.0]) / np.exp([6.0, 8.0, 0.0]).sum()
    assert row["objects"] == ["object.food", "object.food.cake"]
    assert row["object_confidences"] == [f"object.food={share[0] + share[1]:.4f}", f"object.food.cake={share[1]:.4f}"]


def test_prompts_of_two_encoders_or_without_temperature_are_refused():
    texts = {"scene.people": [1.0, 0, 0]}
    both = pl.concat([prompts(texts), prompts(texts, encoder="enc-2")])
    with pytest.raises(HeadError, match="different values of encoder"):
        classify(photos([EYE[0]]), {}, prompts_rows=both)
    with pytest.raises(HeadError, match="logit_scale is empty"):
        classify(photos([EYE[0]]), {}, prompts_rows=prompts(texts, scale=None))
