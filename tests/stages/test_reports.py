"""The reports of a small library: what they say of the version before, what lies beside them, and what drifted."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pytest
from PIL import Image

from tests.stages.rows import FOLDERS, PHOTOS, QUICK, damage, fill, in_first_row, open_platform
from tests.stages.test_comparison import wrong
from tests.support.questions import PACKAGED
from vibe_assets.evaluate.gallery import MOST_BYTES, thumbnails
from vibe_assets.records import AUTO_GROUND_TRUTH
from vibe_assets.stages import reports
from vibe_assets.stages.calibration import calibration_pairs, main_coverage, yes_thresholds
from vibe_assets.stages.drift import distinct_versions, report_drift
from vibe_assets.stages.platform import Platform, StageError
from vibe_assets.stages.runtime import predict_folder
from vibe_assets.stages.students import deploy_students, train_student

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def publish(platform: Platform) -> None:
    """What published_warehouse does."""
    with duckdb.connect(str(platform.settings.warehouse_file)) as connection:
        for name, rows in reports.warehouse_tables(platform).items():
            connection.register("incoming", rows)
            connection.execute(f'CREATE OR REPLACE TABLE "{name}" AS FROM incoming')


def remapped(platform: Platform, every: int, mapping: str) -> None:
    damage(platform, AUTO_GROUND_TRUTH, lambda rows: rows.with_columns(scene=wrong(every), mapping=pl.lit(mapping)))


# -- what changed since the last version -----------------------------------------------------------------------------------
def test_the_first_report_of_a_teacher_compares_with_nothing(platform: Platform) -> None:
    report = reports.report_teacher(platform, now=NOW)
    assert "What changed" not in report.path.read_text(encoding="utf-8")
    assert "changed since the last version" not in report.tables


def test_a_teacher_or_mapping_that_labels_otherwise_is_compared_with_the_one_before_on_the_same_photos(platform: Platform) -> None:
    reports.report_teacher(platform, now=NOW)
    remapped(platform, 5, "m-2")
    damage(platform, AUTO_GROUND_TRUTH, lambda rows: rows)  # the same again: not another version
    report = reports.report_teacher(platform, now=NOW + timedelta(days=1))
    page = report.path.read_text(encoding="utf-8")
    assert "Worse by -20.0 points" in page
    assert "exact McNemar" in page
    assert "−20.0 since last" in page
    assert "| scene | 80 | 16 | 0 | -20.0 [" in report.tables["changed since the last version"]


@dataclass(frozen=True)
class Twice:
    """Two reports on the students, the second after other labels and a new training."""

    platform: Platform
    pages: tuple[str, str]
    tables: tuple[Mapping[str, str], Mapping[str, str]]
    thresholds: Mapping[str, float]  # of the second


@pytest.fixture(scope="module")
def twice(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Twice:
    platform = open_platform(Path(shutil.copytree(trained, tmp_path_factory.mktemp("twice") / "home")), **QUICK)
    platform = platform.signed(commit="abc1234")
    found = []
    for day in (0, 1):
        if day:
            remapped(platform, 3, "m-2")
            for kind in PACKAGED.heads:
                train_student(platform, kind)
            deploy_students(platform)
        for key in FOLDERS:
            predict_folder(platform, key)
        report = reports.report_students(platform, now=NOW + timedelta(days=day))
        found.append((report.path.read_text(encoding="utf-8"), report.tables))
    (first, first_tables), (second, second_tables) = found
    return Twice(platform, (first, second), (first_tables, second_tables), yes_thresholds(platform))


def test_new_heads_are_compared_with_those_of_the_last_report(twice: Twice) -> None:
    first, second = twice.pages
    assert "What changed" not in first
    assert "What changed" in second
    assert "since last" in second
    assert twice.tables[1]["changed since the last version"].count("\n| ") == 3


# -- what a report shows ---------------------------------------------------------------------------------------------------
def test_thresholds_and_calibration_before_and_after_come_from_the_deployed_heads(twice: Twice) -> None:
    pairs = calibration_pairs(twice.platform)
    assert set(pairs) == {"scene", "attr.has_person", "attr.has_animal", "attr.has_text"}
    assert all(before is not None and after is not None for before, after in pairs.values())
    assert set(twice.thresholds) == {"attr.has_person", "attr.has_animal", "attr.has_text"}
    for at in twice.thresholds.values():
        assert f"threshold in use: {at:.2f}" in twice.pages[1]


def test_what_leaving_open_buys_is_drawn_for_the_test_split_and_for_folders_that_did_not_train(twice: Twice) -> None:
    """The library has two folders, so that each is once held out; the dots are the threshold in use."""
    curves = main_coverage(twice.platform)
    assert list(curves) == ["photos of the test split", "photos of folders that did not train"]
    for curve in curves.values():
        answered = [answered for answered, _ in curve.points]
        assert answered[0] == 1.0
        assert answered == sorted(answered, reverse=True)
        assert curve.in_use is not None
    said = twice.pages[1][twice.pages[1].index("What leaving open buys") :]
    assert "% answered" in said
    assert said.index("<svg") < said.index("</svg>")


def test_the_asset_shows_what_the_page_shows(twice: Twice) -> None:
    assert "What is in the library" in twice.pages[0]
    for name in ("by label", "confusion", "precision over recall", "calibration", "risk and coverage", "shares of the library"):
        assert twice.tables[0][name].startswith(("|", "![")), name


def test_the_footer_names_teacher_prompt_mapping_encoder_heads_and_data(twice: Twice) -> None:
    made_from = twice.pages[0][twice.pages[0].index("Made from") :]
    for named in ("teacher model", "prompt", "label mapping", "encoder", "scene-", "auto_ground_truth ", "abc1234"):
        assert named in made_from


def test_pictures_full_of_detail_are_bounded(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (700, 900, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    (url,) = thumbnails({"a": tmp_path / "noise.png"}).values()
    assert len(url) < 1.4 * MOST_BYTES


@pytest.mark.slow
def test_a_report_of_more_than_a_thousand_audited_photos_is_small_and_quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.stages.rows.PHOTOS", 2400)
    platform = fill(tmp_path / "large")
    noise = np.random.default_rng(0).integers(0, 255, (400, 500, 3), dtype=np.uint8)
    for at in range(40):
        file = tmp_path / "large" / "photos" / FOLDERS[at % 2] / f"{at}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.roll(noise, at, axis=1)).save(file)
    remapped(platform, 4, "m-2")
    began = time.monotonic()
    report = reports.report_teacher(platform, now=NOW)
    assert report.evaluation.n == 1200
    assert time.monotonic() - began < 20  # under 5 s on an idle core
    assert report.path.stat().st_size < 3_000_000
    assert report.path.read_text(encoding="utf-8").count("data:image/jpeg") > 0


# -- drift -----------------------------------------------------------------------------------------------------------------
def test_drift_is_reported_from_the_published_history(platform: Platform) -> None:
    reports.report_teacher(platform, now=NOW - timedelta(days=1))
    remapped(platform, 2, "m-2")
    reports.report_teacher(platform, now=NOW)
    publish(platform)
    report = report_drift(platform, now=NOW)
    page = report.path.read_text(encoding="utf-8")
    assert (report.points, report.path.name) == (2, "drift_report.html")
    assert 0 < report.largest < 0.5
    assert "The teacher against people" in page
    assert "another mapping" in page
    for key in FOLDERS:
        assert key in report.folders
    assert "drift_report.html" in reports.index_file(platform).read_text(encoding="utf-8")


def test_without_a_warehouse_there_is_no_history_to_show(platform: Platform) -> None:
    with pytest.raises(StageError, match="`vibe run` publishes it"):
        report_drift(platform)


def test_the_same_labels_written_again_are_no_step(platform: Platform) -> None:
    damage(platform, AUTO_GROUND_TRUTH, lambda rows: rows)
    assert distinct_versions(platform)[0] == []
    damage(platform, AUTO_GROUND_TRUTH, in_first_row(scene="scene.other", teacher="f" * 16))
    (step,), (old, new) = distinct_versions(platform)
    assert step.endswith("another teacher")
    assert old.height == new.height == PHOTOS
    assert int((old.sort("image_id")["scene"] != new.sort("image_id")["scene"]).sum()) == 1


def test_an_installation_without_labels_has_an_empty_page(tmp_path: Path) -> None:
    platform = open_platform(tmp_path)
    platform.settings.home.mkdir(parents=True)
    publish(platform)
    report = report_drift(platform, now=NOW)
    assert (report.points, report.largest, report.folders) == (0, 0.0, "")
