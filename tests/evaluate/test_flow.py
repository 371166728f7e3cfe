"""What changed between two versions is counted photo by photo, label by label, without asking who is right."""

from __future__ import annotations

import pytest

from tests.evaluate.rows import KINDS, PACKAGED, labels, library
from vibe_assets.evaluate.flow import Flow, LabelMove, label_flow

FOOD, OTHER, PEOPLE = "scene.food", "scene.other", "scene.people"
A = labels([
    {"image_id": "1", "scene": FOOD, "has_text": True, "objects": ["object.drink"]},
    {"image_id": "2", "scene": FOOD, "has_text": True, "objects": ["object.drink"]},
    {"image_id": "3", "scene": OTHER, "has_text": False, "objects": []},
    {"image_id": "4", "scene": None, "has_text": None, "objects": []},
    {"image_id": "gone", "scene": FOOD, "objects": []},
])  # fmt: skip
B = labels([
    {"image_id": "4", "scene": PEOPLE, "has_text": True, "objects": ["object.drink"]},
    {"image_id": "3", "scene": None, "has_text": None, "objects": []},
    {"image_id": "2", "scene": PEOPLE, "has_text": False, "objects": []},
    {"image_id": "1", "scene": FOOD, "has_text": True, "objects": ["object.drink"]},
    {"image_id": "new", "scene": FOOD, "objects": []},
])  # fmt: skip


@pytest.fixture(scope="module")
def flow() -> Flow:
    return label_flow(A, B, kinds=KINDS, questions=PACKAGED)


def test_only_photos_of_both_are_compared(flow: Flow) -> None:
    assert flow.n == 4
    assert (flow.agreement["scene"].value, flow.agreement["scene"].n) == (0.25, 4)
    assert flow.agreement["object"].value == 0.5


def test_gains_losses_and_flips_of_every_label(flow: Flow) -> None:
    moves = {move.label: move for move in flow.moves}
    assert moves[PEOPLE] == LabelMove("scene", PEOPLE, a=0, b=2, gained=2, lost=0, flipped=1)
    assert moves[FOOD] == LabelMove("scene", FOOD, a=2, b=1, gained=0, lost=1, flipped=1)
    assert moves[OTHER] == LabelMove("scene", OTHER, a=1, b=0, gained=0, lost=1, flipped=0)
    assert moves["attr.has_text"] == LabelMove("attribute", "attr.has_text", a=2, b=2, gained=1, lost=1, flipped=1)
    assert moves["object.drink"] == LabelMove("object", "object.drink", a=2, b=2, gained=1, lost=1, flipped=None)


def test_the_table_of_scenes_counts_every_photo_once_with_those_left_open(flow: Flow) -> None:
    scenes = flow.tables["scene"]
    cells = {
        (row, column): photos
        for row, counts in zip(scenes.rows, scenes.photos, strict=True)
        for column, photos in zip(scenes.columns, counts, strict=True)
        if photos
    }
    assert cells == {(FOOD, FOOD): 1, (FOOD, PEOPLE): 1, (OTHER, "abstained"): 1, ("abstained", PEOPLE): 1}


def test_contradictions_come_before_what_one_side_left_open(flow: Flow) -> None:
    assert flow.differing[0] == "2"
    assert set(flow.differing) == {"2", "3", "4"}
    assert flow.n_differing == 3


def test_one_frequent_change_does_not_fill_the_gallery() -> None:
    many = [{"image_id": f"{at:03}", "scene": FOOD} for at in range(50)] + [{"image_id": "rare", "scene": OTHER}]
    flow = label_flow(labels(many), labels([{**row, "scene": PEOPLE} for row in many]), kinds=("scene",), questions=PACKAGED)
    assert "rare" in flow.differing[:2]


def test_attributes_that_one_side_is_never_asked_are_left_out() -> None:
    asked = label_flow(A, B, kinds=("attribute",), questions=PACKAGED)
    assert {move.label for move in asked.moves} == {"attr.has_text"}


def test_the_same_labels_differ_in_nothing() -> None:
    truth, _, groups = library(40)
    flow = label_flow(truth, truth, kinds=KINDS, groups=groups, questions=PACKAGED)
    assert (flow.moves, flow.differing, flow.n_differing) == ((), (), 0)
    assert {share.value for share in flow.agreement.values()} == {1.0}


def test_versions_without_a_common_photo_have_no_figures() -> None:
    flow = label_flow(A.head(1), B.head(1), kinds=KINDS, questions=PACKAGED)
    assert (flow.n, flow.agreement, flow.tables) == (0, {}, {})
