"""Figures over time and drift by folder: exact on small cases, one page whatever the length of the history."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from tests.evaluate.rows import PACKAGED, labels
from tests.evaluate.test_report import HOSTILE, Page
from vibe_assets.evaluate.drift import FolderDrift, Series, folder_drift, folders_markdown, headline_series, render_drift, series_markdown
from vibe_assets.records import METRICS, Estimate

START = datetime(2026, 1, 1, tzinfo=UTC)
FOOD, OTHER = "scene.food", "scene.other"


def series(points: int, metric: str = "scene_accuracy") -> Series:
    estimates = tuple(Estimate(0.8 + 0.001 * (k % 7), 0.75, 0.85, 100 + k, 0.3) for k in range(points))
    at = tuple(START + timedelta(days=k) for k in range(points))
    return Series("teacher", "human", metric, at, estimates, tuple(str(k // 10) for k in range(points)))


def scenes(text: str) -> pl.DataFrame:
    """One photo a letter: f food, o other, - none."""
    return labels([{"image_id": f"{at}", "scene": {"f": FOOD, "o": OTHER, "-": None}[letter]} for at, letter in enumerate(text)])


def test_the_history_is_sorted_by_time_and_holds_headlines_only() -> None:
    row = {"at": START, "run_id": "r", "subject": "student", "version": "v", "metric": "scene_accuracy", "label": "", "value": 0.5,
           "low": 0.4, "high": 0.6, "n": 10, "baseline": None, "truth": "human"}  # fmt: skip
    rows = [
        {**row, "at": START + timedelta(days=1), "value": 0.7, "version": "w"}, row, {**row, "label": FOOD}, {**row, "metric": "precision"},
        {**row, "subject": "trial"}, {**row, "value": float("nan"), "at": START - timedelta(days=1)},
    ]  # fmt: skip
    (found,) = headline_series(pl.DataFrame(rows, schema=METRICS.polars_schema()), questions=PACKAGED)
    assert [estimate.value for estimate in found.estimates] == [0.5, 0.7]
    assert found.changed == (True, True)


def test_drift_of_a_folder_is_the_total_variation_between_versions() -> None:
    folders = {"0": "a", "1": "a", "2": "a", "3": "a", "4": "b", "5": "b"}
    first, second = folder_drift([scenes("ffffff"), scenes("ffofff"), scenes("ooof-f")], folders, questions=PACKAGED)
    assert (first.folder, first.photos, first.relabelled) == ("a", 4, 2)
    assert first.distances == (pytest.approx(0.25), pytest.approx(0.5))
    assert first.deltas == {FOOD: pytest.approx(-0.5), OTHER: pytest.approx(0.5), "scene.none": 0.0}
    assert (second.folder, second.distances) == ("b", (0.0, pytest.approx(0.5)))
    assert second.deltas["scene.none"] == pytest.approx(0.5)


def test_photos_that_change_places_are_relabelled_without_drift() -> None:
    (found,) = folder_drift([scenes("fo"), scenes("of")], {"0": "a", "1": "a"}, questions=PACKAGED)
    assert (found.distances, found.relabelled) == ((0.0,), 2)


def test_a_folder_that_is_new_has_not_drifted() -> None:
    old, new = folder_drift([scenes("ff"), scenes("ffoo")], {"0": "a", "1": "a", "2": "b", "3": "b"}, questions=PACKAGED)
    assert {old.folder: old.distances, new.folder: new.distances} == {"a": (0.0,), "b": (None,)}


def test_one_version_has_drifted_from_nothing() -> None:
    assert folder_drift([scenes("ff")], {"0": "a"}, questions=PACKAGED) == []
    assert "nothing to compare with yet" in render_drift([], [], questions=PACKAGED)


@pytest.mark.parametrize("points", [1, 2, 200])
def test_a_page_is_made_of_any_number_of_points_and_stays_small(points: int) -> None:
    page = render_drift([series(points), series(points, "scene_macro_f1")], [], generated_at=START, questions=PACKAGED)
    assert page.count("<svg") == 2
    assert f"{points}&nbsp;point" in page
    assert len(page) < 120_000
    charts = "".join(re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL))
    assert not re.search(r"(stroke|fill): ?#", charts), "a fixed colour would vanish on one of the two backgrounds"
    assert "NaN" not in charts


def test_figures_interval_and_change_are_written_out() -> None:
    text = Page(render_drift([series(3)], [], questions=PACKAGED)).text
    assert "80.2" in text
    assert "+0.1 since before" in text
    assert "75.0\u202f% – 85.0\u202f% · n 102 · baseline 30\u202f%" in text
    table = series_markdown([series(3)], questions=PACKAGED).splitlines()
    assert table[2].startswith("| The teacher against people | Scene accuracy | 80.2")


def test_folder_names_are_text_and_the_ones_that_moved_least_are_counted() -> None:
    drifts = [FolderDrift(f"{HOSTILE} {k}", 10, (0.5 / (k + 1),), 3, {FOOD: 0.1, OTHER: -0.1}) for k in range(45)]
    page = render_drift([], drifts, steps=["version 2 of 2026-01-01 00:00, another teacher"], questions=PACKAGED)
    assert "<script" not in page
    assert "5 more folders moved less" in Page(page).text
    assert "another teacher" in page
    assert "<script" not in folders_markdown(drifts)
