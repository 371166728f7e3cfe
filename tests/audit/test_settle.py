"""Verdicts settle: undo compensates, the newest wins, several people vote, a file adjudicates, and a busy audit moves nothing."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.audit.says import START, said
from tests.support.questions import PACKAGED
from vibe_assets.audit.settle import settled_part, standing, truth_rows, truth_version, verdict_rows
from vibe_assets.audit.verdicts import Verdict


def truth(*verdicts: Verdict) -> dict[str, Any]:
    (row,) = truth_rows(verdicts, PACKAGED).iter_rows(named=True)
    return row


def test_the_newest_verdict_of_a_person_wins() -> None:
    assert truth(said("v2", scene="scene.product", second=2), said("v1", second=1))["scene"] == "scene.product"


def test_an_undo_takes_one_verdict_back_and_the_one_before_holds_again() -> None:
    rows = [said("v1"), said("v2", scene="scene.product", second=1), said("v3", act="undone", undoes="v2", second=2)]
    assert truth(*rows)["scene"] == "scene.food"
    assert truth_rows([said("v1"), said("v2", act="undone", undoes="v1", second=1)], PACKAGED).is_empty()


def test_nobody_undoes_what_another_said() -> None:
    assert truth(said("v1"), said("v2", act="undone", undoes="v1", by="ben", second=1))["scene"] == "scene.food"


def test_a_skipped_photo_has_no_label_but_is_seen() -> None:
    verdicts = [said("v1"), said("v2", act="skipped", reason="too dark", second=1)]
    assert truth_rows(verdicts, PACKAGED).is_empty()
    assert verdict_rows(verdicts, PACKAGED).select("act", "scene", "reason").row(0) == ("skipped", None, "too dark")


def test_most_people_decide_field_by_field_and_a_tie_is_unknown() -> None:
    rows = [
        said("v1", by="ann", attributes={"has_text": True, "has_person": True}, objects=("object.drink", "object.food")),
        said("v2", by="ben", attributes={"has_text": True, "has_person": False}, objects=("object.food", "object.drink")),
        said("v3", by="cleo", scene="scene.product", attributes={"has_text": False}, objects=("object.food", "object.plant")),
    ]
    row = truth(*rows)
    assert (row["scene"], row["has_text"], row["has_person"], row["has_animal"]) == ("scene.food", True, None, None)
    assert row["objects"] == ["object.food", "object.drink"]
    assert row["annotator"] == "ann + ben + cleo"
    two = truth(rows[0], rows[2])
    assert (two["scene"], two["objects"]) == (None, ["object.food"])


def test_an_accepted_file_settles_a_photo_until_somebody_judges_it_anew() -> None:
    page = [said("v1", by="ann"), said("v2", by="ben", scene="scene.product")]
    file = said("f1", by="file", scene="scene.people", second=5, source="file", shown={"inclusion_probability": 0.25})
    assert (truth(*page, file)["scene"], truth(*page, file)["inclusion_probability"]) == ("scene.people", 0.25)
    later = said("v3", by="cleo", scene="scene.animals", second=9)
    assert truth(*page, file, later)["scene"] == "scene.animals"
    assert truth(*page, file, later, said("v4", by="cleo", act="undone", undoes="v3", second=10))["scene"] == "scene.people"


def test_the_probability_is_that_of_the_newest_judgement() -> None:
    rows = [said(f"v{at}", by=by, second=at, shown={"inclusion_probability": p}) for at, (by, p) in enumerate([("ann", 0.1), ("ben", 0.4)])]
    assert truth(*rows)["inclusion_probability"] == 0.4


def test_every_person_has_one_row_a_photo_and_the_page_goes_before_the_file() -> None:
    rows = verdict_rows([
        said("v1"), said("v2", by="ben", blind=True, act="labelled"), said("v3", image=2),
        said("f1", second=9, scene="scene.people", source="file"),
    ], PACKAGED)  # fmt: skip
    assert rows.select("annotator", "scene", "blind", "source").rows() == [
        ("ann", "scene.food", False, "page"), ("ben", "scene.food", True, "page"), ("ann", "scene.food", False, "page"),
    ]  # fmt: skip


def test_the_order_of_the_lines_does_not_matter() -> None:
    verdicts = [said("v1"), said("v2", second=1, scene="scene.product"), said("v3", second=2, act="undone", undoes="v2")]
    assert standing(verdicts) == standing(verdicts[::-1])
    assert truth_version(truth_rows(verdicts, PACKAGED)) == truth_version(truth_rows(verdicts[:1], PACKAGED))


@pytest.mark.parametrize(
    ("quiet", "now", "done", "counted"),
    [
        (60, 20, None, 0),  # still at it
        (60, 75, None, 3),  # a minute after the last
        (60, 20, 20, 3),  # Done
        (60, 20, 5, 2),  # Done before the last one
        (4, 13, None, 2),  # the pause lay before the last one
        (0, 12, None, 3),
    ],
)
def test_verdicts_count_after_a_pause_or_when_somebody_says_done(quiet: float, now: float, done: float | None, counted: int) -> None:
    verdicts = [said("v1", second=1), said("v2", second=2, image=2), said("v3", second=12, image=3)]
    done_at = None if done is None else START + timedelta(seconds=done)
    assert settled_part(verdicts, now=START + timedelta(seconds=now), quiet_s=quiet, done_at=done_at) == verdicts[:counted]
