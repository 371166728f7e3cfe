"""The teacher is judged by people who were shown nothing first, and photos on which people are divided count half."""

from __future__ import annotations

import polars as pl

from tests.audit.says import said
from tests.support.questions import PACKAGED
from vibe_assets.audit.blind import scene_agreement
from vibe_assets.audit.settle import truth_rows
from vibe_assets.audit.verdicts import Verdict

TEACHER = pl.DataFrame({"image_id": ["p1"], "scene": ["scene.food"]})


def agreed(*verdicts: Verdict) -> tuple[float, float | None]:
    teacher = TEACHER.with_columns(image_id=pl.lit(verdicts[0].image_id))
    (row,) = scene_agreement(verdicts, truth_rows(verdicts, PACKAGED), teacher, PACKAGED).rows(named=True)
    return row["agreed"], row["agreed_blind"]


def test_a_photo_on_which_two_people_are_divided_counts_half_and_is_not_left_out() -> None:
    assert agreed(said("v1", by="ann"), said("v2", by="ben", scene="scene.product")) == (0.5, None)
    neither = agreed(said("v1", by="ann", scene="scene.other"), said("v2", by="ben", scene="scene.product"))
    assert neither == (0.0, None)


def test_a_majority_decides_alone() -> None:
    rows = [said("v1", by="ann"), said("v2", by="ben"), said("v3", by="cleo", scene="scene.product")]
    assert agreed(*rows) == (1.0, None)


def test_what_is_said_blind_is_counted_apart() -> None:
    filled, blind = said("v1", by="ann", blind=False), said("v2", by="ben", scene="scene.product", blind=True)
    assert agreed(filled, blind) == (0.5, 0.0)
    assert agreed(filled) == (1.0, None)


def test_a_file_that_settles_a_photo_answers_for_the_blind_people_too() -> None:
    divided = [said("v1", by="ann", blind=True), said("v2", by="ben", scene="scene.product", blind=True)]
    file = said("f1", by="file", scene="scene.product", second=5, source="file")
    assert agreed(*divided) == (0.5, 0.5)
    assert agreed(*divided, file) == (0.0, 0.0)
