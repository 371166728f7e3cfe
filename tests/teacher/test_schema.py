"""Reading a teacher's answer: what is forgiven, what is normalised, what is refused."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.teacher.conftest import ANNOTATION
from vibe_assets.questions import load
from vibe_assets.teacher.hostile import hostile_answer
from vibe_assets.teacher.prompts import load_prompt
from vibe_assets.teacher.schema import MAX_ANSWER_CHARS, InvalidAnswer
from vibe_assets.teacher.schema import parse_answer as parse

PACKAGED = load()
PLAIN = json.dumps(ANNOTATION)


def parse_answer(text: str) -> dict[str, Any]:
    return parse(text, PACKAGED)


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        f"```json\n{PLAIN}\n```",
        f"```\n{PLAIN}\n```\n",
        f'The sign is 6" wide {{so I think}}.\n\n{PLAIN}\n\nDoes that help?',
        PLAIN[:-1] + ",}",
        PLAIN.replace("}]", "},\n ]"),
        f'<think>Maybe {{"scene": "other"}}? No.</think>{PLAIN}',
        f"[{PLAIN}]",
        json.dumps({"annotation": ANNOTATION}),
        json.dumps(ANNOTATION, indent=4),
        "\ufeff" + PLAIN,
    ],
)
def test_the_same_annotation_is_read_in_every_wrapping(text: str) -> None:
    assert parse_answer(text) == ANNOTATION


def test_commas_inside_strings_survive_the_repair() -> None:
    answer = parse_answer('{"scene": "food", "objects": [{"name_free": "a \\"b\\",} c,]", "coarse_type": "food",},],}')
    assert answer["objects"][0]["name_free"] == 'a "b",} c,]'


def test_values_that_mean_something_else_for_certain_are_read_and_the_rest_become_none_or_are_dropped() -> None:
    answer = parse_answer(
        json.dumps(
            {
                "scene": "  Food ", "has_person": "true", "has_animal": 1, "has_text": " UNKNOWN", "is_document": None,
                "objects": [
                    {"name_free": "bread", "confidence": "0.8", "is_main": "yes"}, {"coarse_type": " Cat ", "confidence": 95},
                    {"name_free": " ", "coarse_type": None, "confidence": 1}, "dog", None, {"name_free": "x", "confidence": True},
                ],
            }
        )
    )  # fmt: skip
    assert answer == {
        "scene": "food", "has_person": True, "has_animal": True, "has_text": "unknown", "is_document": None, "is_screenshot": None,
        "objects": [
            {"name_free": "bread", "coarse_type": None, "is_main": True, "confidence": 0.8},
            {"name_free": None, "coarse_type": "cat", "is_main": False, "confidence": 0.95},
            {"name_free": "x", "coarse_type": None, "is_main": False, "confidence": 0.0},
        ],
    }  # fmt: skip


def test_unknown_everywhere_is_an_answer_and_an_unexpected_scene_is_kept_for_the_mapping() -> None:
    assert parse_answer('{"scene": "unknown"}')["scene"] == "unknown"
    assert parse_answer('{"scene": "underwater disco"}')["scene"] == "underwater disco"
    assert parse_answer('{"scene": 7, "has_person": true}')["scene"] is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no JSON object"),
        ("I cannot see the photo.", "no JSON object"),
        (PLAIN[:60], "no JSON object"),
        ("{}", "no answer to any of scene, attributes, objects"),
        ('{"objects": []}', "no answer to any of scene, attributes, objects"),
        ('{"scene": null, "has_person": "maybe"}', "no answer to any of scene, attributes, objects"),
        (PLAIN + " " * MAX_ANSWER_CHARS, "characters"),
    ],
)
def test_what_is_no_annotation_is_refused_with_the_reason(text: str, message: str) -> None:
    with pytest.raises(InvalidAnswer, match=message):
        parse_answer(text)


def test_hostile_answers_are_settled_quickly_and_can_be_stored() -> None:
    began = time.perf_counter()
    for number in range(14):
        try:
            annotation = parse_answer(hostile_answer(number, "Bearer key"))
        except InvalidAnswer:
            continue
        json.dumps(annotation, allow_nan=False, ensure_ascii=False).encode()
    assert time.perf_counter() - began < 3


@given(st.text(alphabet='{}[]",:\\ \nabscenetru0.5`', max_size=80) | st.text(max_size=80))
def test_any_text_ends_as_an_annotation_or_as_invalid(text: str) -> None:
    try:
        annotation = parse_answer(text)
    except InvalidAnswer:
        return
    assert set(annotation) == set(PACKAGED.schema["properties"])


def test_the_packaged_prompt_names_every_scene_and_field_and_its_example_is_valid() -> None:
    prompt = load_prompt("photo_labels")
    assert all(f'"{scene}"' in prompt for scene in PACKAGED.schema["properties"]["scene"]["enum"])
    assert all(name in prompt for name in PACKAGED.schema["properties"])
    example = parse_answer(prompt)
    assert example["scene"] == "product"
    assert example["is_screenshot"] == "unknown"
    assert example["objects"][0]["confidence"] == 0.95
