"""What pre-filled labels do to people is found where it is, and not where it is not; times are medians of what was timed."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from statsmodels.stats.proportion import confint_proportions_2indep

from tests.audit.examples import team, verdict_table
from tests.support.questions import ATTRIBUTES, PACKAGED
from vibe_assets.audit.anchoring import anchoring, median_seconds, pace
from vibe_assets.audit.figures import audit_figures
from vibe_assets.audit.judgements import judgement_rows
from vibe_assets.audit.verdicts import Verdict
from vibe_assets.records import Labels

TEACHER = {"image_id": pl.String, "scene": pl.String, **dict.fromkeys(ATTRIBUTES, pl.Boolean)}


def lot(same_blind, of_blind, same_filled, of_filled):
    """Verdicts with so many that give the teacher's scene."""
    rows = [
        {"image_id": f"{blind}{at}", "annotator": "ana", "blind": blind, "scene": "scene.food" if at < same else "scene.other"}
        for blind, same, of in ((True, same_blind, of_blind), (False, same_filled, of_filled))
        for at in range(of)
    ]
    teacher = pl.DataFrame([{**dict.fromkeys(TEACHER), "image_id": row["image_id"], "scene": "scene.food"} for row in rows], schema=TEACHER)
    return verdict_table(rows), teacher


@pytest.mark.parametrize("counts", [(56, 70, 48, 80), (10, 10, 0, 20), (9, 10, 3, 10), (30, 30, 30, 30)])
def test_the_difference_and_its_interval_are_newcombes(counts):
    verdicts, teacher = lot(*counts)
    found = anchoring(verdicts, teacher, "scene")
    blind, of_blind, filled, of_filled = counts
    low, high = confint_proportions_2indep(filled, of_filled, blind, of_blind, compare="diff", method="newcomb")
    assert found.difference.value == pytest.approx(filled / of_filled - blind / of_blind)
    assert (found.difference.low, found.difference.high) == pytest.approx((low, high), abs=2e-3)
    assert (found.blind.n, found.prefilled.n, found.difference.n) == (of_blind, of_filled, of_blind + of_filled)


def test_a_pull_is_found_and_its_absence_is_not_made_up():
    verdicts, teacher, groups = team(600, pull=0.8, seed=1)
    said = verdicts.filter(pl.col("act") != "skipped")
    pulled = anchoring(said, teacher, "scene", groups=groups)
    assert pulled.difference.low > 0
    assert pulled.prefilled.value > pulled.blind.value
    found = 0
    for seed in range(40):
        verdicts, teacher, groups = team(150, pull=0.0, seed=seed)
        difference = anchoring(verdicts.filter(pl.col("act") != "skipped"), teacher, "scene", groups=groups).difference
        found += not difference.low <= 0 <= difference.high
    assert found <= 5, "about one in twenty by chance"


def test_too_few_of_either_kind_have_no_difference_but_a_reason():
    verdicts, teacher = lot(3, 4, 30, 40)
    found = anchoring(verdicts, teacher, "scene")
    assert found.difference is None
    assert (found.blind.n, found.prefilled.n) == (4, 40)
    assert found.reason == "only 4 blind verdicts, at least 10 of each are needed"
    none = anchoring(verdicts.clear(), teacher, "scene")
    assert (none.blind, none.prefilled, none.difference) == (None, None, None)
    assert "0 blind and 0 pre-filled" in none.reason


def test_times_are_medians_with_the_interval_of_their_order_statistics():
    times = np.arange(1, 101) * 1000
    found = median_seconds(times)
    assert found.value == 50.5
    assert (found.low, found.high) == (40.0, 61.0), "the textbook's order statistics for n = 100"
    assert median_seconds(times[:9]) is None


def test_the_interval_of_the_median_covers_it():
    rng = np.random.default_rng(0)
    found = [median_seconds(rng.lognormal(8, 1, 41)) for _ in range(300)]
    assert np.mean([f.low <= np.exp(8) / 1000 <= f.high for f in found]) > 0.93


def test_skips_and_untimed_verdicts_leave_the_pace():
    rows = [{"image_id": str(at), "annotator": "ana", "spent_ms": 2000} for at in range(20)]
    rows += [{"image_id": f"u{at}", "annotator": "ana", "spent_ms": 0} for at in range(20)]
    rows += [{"image_id": f"s{at}", "annotator": "ana", "act": "skipped", "spent_ms": 60_000} for at in range(10)]
    found = pace(verdict_table(rows))
    assert (found.blind.value, found.blind.n, found.prefilled) == (2.0, 20, None)
    assert (found.skipped.value, found.skipped.n) == (pytest.approx(0.2), 50)


def test_all_figures_of_a_team():
    verdicts, teacher, groups = team(200)
    found = audit_figures(verdicts, teacher, PACKAGED, groups=groups, resamples=100)
    assert set(found.people) == {"ana", "ben", "eve"}
    assert [c.question for c in found.alpha] == ["scene", "has_person", "has_animal", "has_text", "is_document", "is_screenshot"]
    assert len(found.kappa) == 18
    assert found.alpha[0].estimate.low > 0.4
    assert found.pace.blind.value > found.pace.prefilled.value
    assert 0.01 < found.pace.skipped.value < 0.1


def said(number, annotator, minute, *, view="all", scene="scene.food", **fields):
    usual = {"verdict_id": f"{annotator}-{number}-{minute}", "at": f"2026-01-01T00:{minute:02}:00+00:00", "image_id": f"{number:032x}",
             "annotator": annotator, "act": "labelled", "labels": Labels(f"{number:032x}", {"scene": scene}), "blind": True,
             "spent_ms": 3000, "shown": {"view": view}}  # fmt: skip
    return Verdict(**{**usual, **fields})


def test_rows_know_the_page_and_files_stay_out():
    shown = {"view": "all", "versions": {"teacher": "t1"}}
    rows = judgement_rows(
        [
            said(1, "ana", 1),
            said(2, "ana", 2, blind=False, act="accepted", shown=shown),
            said(3, "ana", 3, view="differ", blind=False, act="accepted"),
            said(4, "ana", 4),
            said(4, "ben", 5),
            said(5, "file", 6, source="file"),
        ],
        PACKAGED,
    )
    assert rows.select("annotator", "view", "in_order", "shown_teacher").rows() == [
        ("ana", "all", True, None),
        ("ana", "all", True, "t1"),
        ("ana", "differ", False, None),
        ("ana", "all", False, None),  # what is left after a view was picked empty is no random part
        ("ben", "all", True, None),
    ]
    assert judgement_rows([], PACKAGED).is_empty()


def test_photos_picked_by_their_answers_do_not_count_as_a_pull():
    """Where teacher and student differ the teacher is often wrong: judged first and pre-filled, they would hide the pull."""
    verdicts, teacher = lot(40, 50, 40, 50)
    picked = verdicts.with_columns(in_order=pl.col("blind") | (pl.col("scene") == "scene.other"))
    found = audit_figures(picked, teacher, PACKAGED, resamples=10, sample=[*verdicts["image_id"], "never-seen"])
    assert found.anchoring[0].prefilled.n == 10
    assert (found.chosen, found.photos, found.left) == (40, 100, 1)


def test_answers_of_another_teacher_say_nothing_of_this_ones_pull():
    verdicts, teacher = lot(40, 50, 40, 50)
    versions = pl.when("blind").then(None).otherwise(pl.when(pl.int_range(pl.len()) % 2 == 0).then(pl.lit("t1")).otherwise(pl.lit("t2")))
    shown = verdicts.with_columns(shown_teacher=versions)
    found = audit_figures(shown, teacher.with_columns(teacher=pl.lit("t2")), PACKAGED, resamples=10)
    assert (found.anchoring[0].blind.n, found.anchoring[0].prefilled.n) == (50, 25)


def test_an_empty_audit_has_reasons_instead_of_figures():
    verdicts, teacher, groups = team(50)
    found = audit_figures(verdicts.clear(), teacher, PACKAGED, groups=groups)
    assert (found.people, found.photos) == ({}, 0)
    assert all(c.estimate is None and c.reason for c in found.alpha)
    assert all(a.difference is None and a.reason for a in found.anchoring)
    assert found.pace.skipped is None
