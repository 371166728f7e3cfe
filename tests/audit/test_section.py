"""The audit's part of the teacher's report: figures with intervals, reasons where there are none, nothing that runs, names escaped."""

from __future__ import annotations

import re
from dataclasses import replace

import polars as pl
import pytest

from tests.audit.examples import team
from tests.support.questions import PACKAGED
from vibe_assets.audit.figures import audit_figures
from vibe_assets.audit.section import audit_markdown, audit_section, audit_summary, audit_warning


@pytest.fixture(scope="module")
def figures():
    verdicts, teacher, groups = team(160)
    return audit_figures(verdicts, teacher, PACKAGED, groups=groups, resamples=200)


@pytest.fixture(scope="module")
def alone():
    """One person, a few photos."""
    verdicts, teacher, groups = team(60)
    few = verdicts.filter(pl.col("annotator") == "ana").head(8)
    return audit_figures(few.with_columns(annotator=pl.lit("<b>ana</b>")), teacher, PACKAGED, groups=groups)


def test_the_section_shows_every_figure_with_its_interval_and_runs_nothing(figures):
    section = audit_section(figures)
    html = str(section.html)
    assert (section.anchor, section.title) == ("audit", "The audit itself")
    assert "<script" not in html
    assert not re.search(r"\son\w+=|https?://|url\(", html)
    scene = figures.alpha[0].estimate
    assert f"{scene.value:.2f}</td>" in html
    assert f"{scene.low:.2f} – {scene.high:.2f}" in html
    assert html.count('role="img"') == 6 + 18 + 3 * 6, "alpha, kappa, and blind, pre-filled and difference"
    assert "ben · ana" in html
    for position in re.findall(r"--(?:low|high|value|base):([\d.]+)%", html):
        assert 0 <= float(position) <= 100


def test_the_summary_says_what_is_clear_and_what_may_be_chance(figures, alone):
    assert audit_summary(figures).startswith("3 people labelled")
    assert "filling in the teacher's scene raises agreement with it by" in audit_summary(figures)
    assert "may be chance" not in audit_summary(figures)
    flat = replace(figures.anchoring[0], difference=replace(figures.anchoring[0].difference, value=-0.01, low=-0.1, high=0.08))
    assert "lowers agreement with it by 1.0 points (−10.0 to +8.0), which may be chance" in audit_summary(
        replace(figures, anchoring=(flat,))
    )
    assert audit_summary(alone) == "One person labelled 8 photos."


def test_too_little_is_said_in_words_and_names_are_escaped(alone):
    html = str(audit_section(alone).html)
    assert "once two of them have looked at the same photos" in html
    assert "at least 10 of each are needed" in html
    assert "nan" not in html
    assert "&lt;b&gt;ana&lt;/b&gt;" in html
    assert "<b>ana" not in html


def test_markdown_has_the_same_tables(figures, alone):
    text = audit_markdown(figures)
    assert f"| scene | **{figures.alpha[0].estimate.value:.2f}** |" in text
    assert "Median time per photo: blind" in text
    for row in (line for line in text.splitlines() if line.startswith("|")):
        assert row.count("|") in (5, 6)
    assert "no photo answered by two people" in audit_markdown(alone)


def test_picked_photos_are_warned_of_until_the_sample_is_judged(figures):
    picked = replace(figures, chosen=30, left=12)
    assert "30 of the 158 photos were met in a view that picks" in audit_warning(picked)
    assert audit_warning(picked) in str(audit_section(picked).html)
    assert audit_warning(picked) in audit_markdown(picked)
    assert audit_warning(replace(picked, left=0)) == ""
    assert audit_warning(figures) == ""
