"""What earlier versions computed for the packaged labels stays so: paid answers, trained heads and tables keep their meaning.

A value that must move is changed here with its reason, and named in the changelog.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from vibe_assets.labels.convert import mapping_fingerprint
from vibe_assets.labels.files import labels_to_json
from vibe_assets.questions import Questions, load
from vibe_assets.records import TABLES, Labels
from vibe_assets.settings import LabelSettings, TeacherSettings
from vibe_assets.teacher.annotate import teacher_fingerprint
from vibe_assets.teacher.prompts import load_prompt
from vibe_assets.teacher.schema import normalise

ANSWER = {
    "scene": "Selfie", "has_person": True, "has_animal": "unknown", "has_text": False, "is_document": None, "is_screenshot": False,
    "objects": [
        {"name_free": "mug", "coarse_type": "cups", "is_main": False, "confidence": 0.9},
        {"name_free": "black keyboard", "coarse_type": "keyboard", "is_main": True, "confidence": 0.8},
        {"name_free": "phone", "coarse_type": "smartphone", "is_main": True, "confidence": "0.95"},
        {"name_free": "thing", "coarse_type": "gizmo", "is_main": True, "confidence": 0.99},
    ],
}  # fmt: skip


def digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:16]


@pytest.fixture(scope="module")
def packaged() -> Questions:
    return load()


def test_answers_that_were_paid_for_are_those_of_this_teacher(packaged: Questions) -> None:
    assert teacher_fingerprint(TeacherSettings(model="m")) == "617a91b5cfddeede"
    assert digest(load_prompt("photo_labels")) == "4495500664589f18"
    assert digest(packaged.schema) == "b27cd47f6eb304eb"


def test_labels_are_converted_again_only_where_their_meaning_moved(packaged: Questions) -> None:
    # Moved once from f32a9d1bc84562b4 and 2ae70af08bec7eaf: types, prefixes and rules of questions count, and "95 %" is a confidence.
    assert packaged.fingerprint == "b4b29bdbe7655598"
    assert mapping_fingerprint(packaged, LabelSettings()) == "276968ece6cd7311"
    assert digest([question.keys for question in packaged]) == "223420e56479595c"
    assert (digest(packaged.prompts()), digest(packaged.negative_prompts())) == ("bc804fa4a76598d0", "c2c6091743046436")


def test_tables_have_the_columns_that_queries_of_people_name() -> None:
    # Moved from c2443f74dd7bd2f5: `annotations` notes which questions an answer is to; from 0d57b483d26c1255: `audited_ground_truth` notes
    # of which labels nobody was asked.
    assert (
        digest({name: {column: of.dtype for column, of in table.columns.items()} for name, table in TABLES.items()}) == "f1c1e6bb330f3011"
    )


def test_an_answer_becomes_the_same_labels_in_the_same_line(packaged: Questions) -> None:
    told = packaged.tell(normalise(ANSWER, packaged), min_confidence=0.7, include_non_main=True)
    assert labels_to_json(Labels("0" * 32, told.values), packaged) == {
        "image_id": "0" * 32,
        "scene": ["scene.people"],
        "attributes": {"attr.has_person": True, "attr.has_text": False, "attr.is_screenshot": False},
        "objects": ["object.electronics.phone", "object.electronics.peripheral.keyboard", "object.dailystuff.mug"],
    }
