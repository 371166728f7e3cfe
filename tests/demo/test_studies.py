"""The demo runs a study once per state of the library."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from vibe_assets.demo.studies import StudyOutcome, run_studies
from vibe_assets.lake import write_text
from vibe_assets.records import AUDITED_GROUND_TRUTH
from vibe_assets.settings import load_settings
from vibe_assets.stages.platform import Platform

OUTCOME = StudyOutcome("triage", "best photo found: 0.67 [0.44, 0.89], n 18", "triage_report.html")


class Watched:
    """A study that counts how often it is run, and says what it is told to say."""

    def __init__(self, platform: Platform, outcome: StudyOutcome) -> None:
        self.platform, self.outcome, self.runs = platform, outcome, 0

    def __call__(self, platform: Platform, driver: Any) -> StudyOutcome:
        self.runs += 1
        write_text(platform.settings.reports_dir / self.outcome.page, "a page")
        return self.outcome

    def demo(self) -> StudyOutcome:
        (outcome,) = run_studies(self.platform, None, lambda name: None, {"triage": self})  # type: ignore[arg-type]
        return outcome


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    (tmp_path / "vibe.toml").write_text('[library]\nroot = "photos"\nhome = "data"\n')
    return Platform(load_settings(tmp_path / "vibe.toml"), progress=False)


def audit(platform: Platform) -> None:
    platform.lake.replace(AUDITED_GROUND_TRUTH, pl.DataFrame(schema=AUDITED_GROUND_TRUTH.polars_schema()))


def test_nothing_moved_nothing_runs_and_the_outcome_is_told_again(platform: Platform) -> None:
    study = Watched(platform, OUTCOME)
    first, second = study.demo(), study.demo()
    assert study.runs == 1
    assert (first.ran, second.ran) == (True, False)
    assert second.said == first.said == OUTCOME.said


def test_a_new_audit_or_a_lost_page_runs_it_again(platform: Platform) -> None:
    study = Watched(platform, OUTCOME)
    study.demo()
    audit(platform)
    assert study.demo().ran
    (platform.settings.reports_dir / OUTCOME.page).unlink()
    assert study.demo().ran
    assert study.runs == 3


def test_a_study_that_failed_is_tried_again(platform: Platform) -> None:
    study = Watched(platform, replace(OUTCOME, failed=("triage_study",)))
    study.demo()
    assert study.demo().ran
    assert study.runs == 2


def test_a_head_that_the_gates_refuse_is_no_failed_demo(platform: Platform) -> None:
    study = Watched(platform, replace(OUTCOME, not_passed=("beats_rules",)))
    outcome = study.demo()
    assert not outcome.failed
    assert outcome.not_passed == ("beats_rules",)
    assert not study.demo().ran
