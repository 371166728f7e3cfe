"""Every kind of report holds before an HTML validator and an accessibility checker, in both themes, narrow and wide."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.audit.examples import team
from tests.evaluate.rows import KINDS, PACKAGED, library
from tests.evaluate.test_drift import FOOD, OTHER, series
from tests.support.checkers import accessibility_faults, html_errors, repeated_ids
from vibe_assets.audit.figures import audit_figures
from vibe_assets.audit.section import audit_section
from vibe_assets.evaluate import charts, metrics
from vibe_assets.evaluate.compare import compare_paired, estimate_shares, label_shares
from vibe_assets.evaluate.drift import FolderDrift, render_drift
from vibe_assets.evaluate.flow import label_flow
from vibe_assets.evaluate.labels import evaluate_labels
from vibe_assets.evaluate.report import render_index, render_report, worst_photos
from vibe_assets.evaluate.versus import Judged, render_comparison
from vibe_assets.export.contact_sheet import Shot, render_sheet

NOW = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
PICTURE = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPj/HwADBwIAMCbHYQAAAABJRU5ErkJggg=="


def _report() -> str:
    truth, said, groups = library(120)
    first = evaluate_labels(said, truth, groups=groups, resamples=20, questions=PACKAGED)
    second = evaluate_labels(said.drop("scene_confidence"), truth, subject="student", truth_kind="auto", resamples=20, questions=PACKAGED)
    worst = worst_photos(first)
    answers = {row["image_id"]: row for row in said.iter_rows(named=True)}
    people = {row["image_id"]: row for row in truth.iter_rows(named=True)}
    spoilt = said.with_columns(scene=said["scene"].shuffle(seed=1))
    verdicts, teacher, audit_groups = team(80)
    return render_report(
        [first, second],
        title="How far?",
        footer={"teacher": "a model", "run": "r-1"},
        thumbnails=dict.fromkeys(worst[:3], PICTURE),
        names={image_id: f"2021/sea/{image_id}.jpg" for image_id in worst},
        beside={image_id: {"people": people[image_id], "students": answers[image_id]} for image_id in worst},
        comparison=[compare_paired(spoilt, said, truth, groups=groups, what=what, questions=PACKAGED) for what in KINDS],
        previous=first.headline,
        shares={
            label: (share, share)
            for label, share in estimate_shares(
                truth, groups=groups, raw=label_shares(said, questions=PACKAGED), questions=PACKAGED
            ).items()
        },
        calibration={name: (metrics.reliability([0.9, 0.8], [1, 0]), first.reliability) for name in ("scene", "attr.has_text")},
        sections=[audit_section(audit_figures(verdicts, teacher, PACKAGED, groups=audit_groups, resamples=50))],
        generated_at=NOW,
    )


def _comparison() -> str:
    truth, a, groups = library(120)
    _, b, _ = library(120, accuracy=0.3)
    flow = label_flow(a, b, kinds=KINDS, groups=groups, resamples=20, questions=PACKAGED)
    sides = [evaluate_labels(rows, truth, groups=groups, resamples=20, subject="trial", questions=PACKAGED) for rows in (a, b)]
    shown = flow.differing[:3]
    rows = {name: {row["image_id"]: row for row in side.iter_rows(named=True)} for name, side in (("people", truth), ("a", a), ("b", b))}
    return render_comparison(
        Judged("a@1", "one", sides[0]),
        Judged("b@2", "the other", sides[1]),
        flow=flow,
        comparisons=[compare_paired(a, b, truth, groups=groups, what=kind, questions=PACKAGED) for kind in KINDS],
        scope="scene of 120 photos",
        thumbnails=dict.fromkeys(shown, PICTURE),
        names=dict.fromkeys(shown, "2021/sea/a.jpg"),
        beside={image_id: {who: side[image_id] for who, side in rows.items()} for image_id in shown},
        footer={"A": "one"},
        questions=PACKAGED,
    )


def _drift() -> str:
    drifts = [FolderDrift(f"2021/folder_{at}", 10, (0.1, None, 0.5 / (at + 1)), 3, {FOOD: 0.4, OTHER: -0.4}) for at in range(4)]
    steps = [f"version {at}, another teacher" for at in range(3)]
    return render_drift([series(3), series(9, "scene_macro_f1"), series(1)], drifts, steps=steps, generated_at=NOW, questions=PACKAGED)


def _index() -> str:
    figures = [{"name": "Scene accuracy", "value": "75 %", "interval": "70 to 80"}]
    report = {"href": "teacher_report.html", "title": "How far?", "at": NOW, "summary": "Far enough.", "figures": figures}
    trials = [{"candidate": f"model {at}", "verdict": "Better", "allowed": bool(at), "at": NOW + timedelta(days=at)} for at in range(2)]
    files = [{"href": "predictions.csv", "name": "predictions.csv", "about": "every label"}]
    return render_index([report, report], trials, files, comparisons=[report])


def _sheet() -> str:
    shots = [Shot("2021/a.jpg", 0.9, PICTURE, "food, table", 2, 80.0), Shot("2021/b.jpg", 0.5, None)]
    return render_sheet(shots, title="A dog", subtitle="of 2 photos", footer="made today", example=PICTURE)


PAGES = {"report": _report, "comparison": _comparison, "drift": _drift, "index": _index, "sheet": _sheet}


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    for name, made in PAGES.items():
        (folder / f"{name}.html").write_text(made(), encoding="utf-8")
    return {name: folder / f"{name}.html" for name in PAGES}


@pytest.mark.parametrize("name", PAGES)
def test_an_id_stands_once_on_a_page_however_many_charts_it_has(pages: dict[str, Path], name: str) -> None:
    page = pages[name].read_text(encoding="utf-8")
    assert repeated_ids(page) == []
    for used in ("url(#", 'href="#'):
        for name in {part.split(")")[0].split('"')[0] for part in page.split(used)[1:]}:
            assert f'id="{name}"' in page, "a clip or a marker that is used is there"


def test_the_title_of_a_chart_is_text() -> None:
    assert 'aria-label="&lt;b&gt; &quot;\\1&quot;"' in charts.history('<b> "\\1"', [NOW], series(1).estimates, [True])


def test_every_page_is_valid_html(pages: dict[str, Path]) -> None:
    assert html_errors(*pages.values()) == []


@pytest.mark.browser
@pytest.mark.slow
def test_every_page_can_be_used_by_everybody(pages: dict[str, Path]) -> None:
    assert accessibility_faults(*pages.values()) == []
