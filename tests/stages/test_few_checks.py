"""What the students say of every photo counts in the audit: which photos are drawn next, how narrow the figures are, when gates open."""

from __future__ import annotations

import polars as pl
import pytest

from tests.stages.rows import FOLDERS, SCENES, damage, photo_id
from vibe_assets.records import AUDIT_SAMPLE, AUDITED_GROUND_TRUTH, PREDICTIONS
from vibe_assets.stages.judging import evaluate_teacher
from vibe_assets.stages.model_gates import teacher_agrees
from vibe_assets.stages.platform import Platform
from vibe_assets.stages.reports import library_shares, report_teacher
from vibe_assets.stages.truth import draw_audit_sample

NEXT = dict(zip(SCENES, (*SCENES[1:], SCENES[0]), strict=True))


def teacher_errs(platform: Platform, *, students_know: bool) -> None:
    """People contradict every fifth scene of the teacher; the students say what people do, or find faults elsewhere."""
    wrong = [photo_id(at) for at in range(160) if at % 5 == 0]
    doubted = wrong if students_know else [photo_id(at) for at in range(160) if at * 7919 % 31 % 5 == 0]

    def other(ids: list[str]) -> pl.Expr:
        return pl.when(pl.col("image_id").is_in(ids)).then(pl.col("scene").replace(NEXT)).otherwise("scene")

    damage(platform, AUDITED_GROUND_TRUTH, lambda rows: rows.with_columns(scene=other(wrong)))
    for key in FOLDERS:
        rows = platform.lake.read(PREDICTIONS, folder_key=key)
        platform.lake.replace(PREDICTIONS, rows.with_columns(scene=other(doubted)), folder_key=key)


@pytest.mark.parametrize(("strategy", "kinds"), [("auto", {"below_50", "90_to_97"}), ("stratified", set(SCENES)), ("random", {"all"})])
def test_with_students_and_checks_the_next_sample_is_drawn_by_doubt(platform: Platform, strategy: str, kinds: set[str]) -> None:
    teacher_errs(platform, students_know=True)
    audit = platform.settings.audit.model_copy(update={"strategy": strategy, "sample_size": 60})
    platform = Platform(platform.settings.model_copy(update={"audit": audit}), progress=False)
    rows = draw_audit_sample(platform)
    assert {stratum.partition("/")[2] for stratum in rows["stratum"]} == kinds
    chances = rows.with_columns(band=pl.col("stratum").str.extract("/(.*)")).group_by("band").agg(pl.col("inclusion_probability").mean())
    if strategy == "auto":
        by_band = dict(chances.iter_rows())
        assert by_band["below_50"] > 1.2 * by_band["90_to_97"], "where the checks found the teacher's errors"


@pytest.mark.parametrize("without", ["students", "checks"])
def test_before_there_are_students_and_checks_the_sample_is_drawn_by_scene(platform: Platform, without: str) -> None:
    if without == "checks":
        damage(platform, AUDITED_GROUND_TRUTH, lambda rows: rows.head(20))
    for key in FOLDERS if without == "students" else ():
        rows = platform.lake.read(PREDICTIONS, folder_key=key)
        platform.lake.replace(PREDICTIONS, rows.with_columns(scene=pl.lit(None, pl.String), source=pl.lit("none")), folder_key=key)
    assert {stratum.partition("/")[2] for stratum in draw_audit_sample(platform)["stratum"]} == set(SCENES)


def test_students_that_know_make_the_checks_worth_more_in_report_and_gate(platform: Platform) -> None:
    teacher_errs(platform, students_know=True)
    alone = evaluate_teacher(platform).headline["scene_accuracy"]
    bound = teacher_agrees(platform).facts["lower end"]
    assert alone.worth is None, "no draw tells of which photos the figure is"
    draw_audit_sample(platform)  # and with it the record of the sample that was checked
    both = evaluate_teacher(platform).headline["scene_accuracy"]
    assert both.worth is not None
    assert both.worth > both.n == alone.n
    assert both.high - both.low < alone.high - alone.low
    assert both.low <= 0.8 <= both.high
    assert teacher_agrees(platform).facts["lower end"] > bound
    shares = library_shares(platform, platform.lake.read_live(AUDIT_SAMPLE))
    share, by_checks = shares["scene.food"]
    assert share.high - share.low < by_checks.high - by_checks.low
    page = report_teacher(platform).path.read_text()
    assert "What is in the library" in page
    assert "by the checks alone" in page
    assert f"worth {both.worth:,} checks" in page


def test_students_that_know_nothing_change_no_figure(platform: Platform) -> None:
    teacher_errs(platform, students_know=False)
    alone = evaluate_teacher(platform).headline["scene_accuracy"]
    draw_audit_sample(platform)
    both = evaluate_teacher(platform).headline["scene_accuracy"]
    assert both.value == pytest.approx(alone.value, abs=0.02)
    assert both.high - both.low <= 1.01 * (alone.high - alone.low)
