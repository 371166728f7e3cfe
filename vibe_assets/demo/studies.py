"""The demo's installation in, its three studies run through Dagster; a study whose inputs did not move is told from memory, not run."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from vibe_assets.defs.drive import Driver
from vibe_assets.lake import write_text
from vibe_assets.records import AUDITED_GROUND_TRUTH, IMAGE_EMBEDDINGS, PHOTO_GROUPS, RAW_PHOTOS, Estimate, fingerprint
from vibe_assets.stages.platform import Platform

INPUTS = (RAW_PHOTOS, PHOTO_GROUPS, IMAGE_EMBEDDINGS, AUDITED_GROUND_TRUTH)
EDITION = 1  # raise it when a study changes: the next demo runs it again


@dataclass(frozen=True)
class StudyOutcome:
    """What one study came to, in a line for people."""

    name: str
    said: str
    page: str  # of its report, below the reports folder
    failed: tuple[str, ...] = ()
    not_passed: tuple[str, ...] = ()
    seconds: float = 0.0
    ran: bool = True


Study = Callable[[Platform, Driver], StudyOutcome]


def run_studies(
    platform: Platform, driver: Driver, told: Callable[[str], None], studies: Mapping[str, Study] | None = None
) -> list[StudyOutcome]:
    """Triage, names and tags in turn; `told` hears the name of each study that begins. One that failed is tried again next time."""
    outcomes = []
    for name, study in (studies or {"triage": _triage, "names": _names, "tags": _tags}).items():
        known = _remembered(platform, name)
        if known is None:
            told(f"Study: {name}")
            started = time.monotonic()
            known = study(platform, driver)
            known = replace(known, seconds=round(time.monotonic() - started, 1))
            if not known.failed:
                _remember(platform, known)
        outcomes.append(known)
    return outcomes


# -- the studies -------------------------------------------------------------------------------------------------------
def _triage(platform: Platform, driver: Driver) -> StudyOutcome:
    from vibe_assets.demo.triage import run_triage_study

    outcome = run_triage_study(platform, driver.instance)
    said = "no head was trained"
    if (judged := outcome.judged) is not None:
        best, rule = judged.best.figures["top1"], judged.rule.figures["top1"]
        said = (
            f"best photo of a series found by {judged.chosen}: {shown(best)}; best rule {rule.value:.2f}, chance {best.baseline or 0:.2f}"
        )
    crashed = not outcome.success and not outcome.not_passed  # a gate that refuses an unproven head has done its work
    return StudyOutcome("triage", said, "triage_report.html", ("triage_study",) if crashed else (), outcome.not_passed)


def _names(platform: Platform, driver: Driver) -> StudyOutcome:
    from vibe_assets.demo.names import run_names_study
    from vibe_assets.names.study import primary_scores

    before = len(driver.tally.failed)
    passed = run_names_study(platform, driver)
    failed = tuple(driver.tally.failed[before:])
    if not passed:
        return StudyOutcome("names", "stopped by a gate or a failed run", "names_report.html", failed or ("a gate",))
    scores = primary_scores(platform)
    found = shown(scores.headline["accuracy"])
    said = f"planted signal found: accuracy {found}; the same answers dealt out at random {scores.chance:.2f}"
    return StudyOutcome("names", said, "names_report.html")


def _tags(platform: Platform, driver: Driver) -> StudyOutcome:
    from vibe_assets.demo.tags import run_tag_study

    study = run_tag_study(platform, driver.instance)
    return StudyOutcome("tags", f"fine-tuned against its base: {study.verdict}", study.page.name, study.failed, study.not_passed)


def shown(estimate: Estimate) -> str:
    """`0.67 [0.44, 0.89], n 18`."""
    return f"{estimate.value:.2f} [{estimate.low:.2f}, {estimate.high:.2f}], n {estimate.n}"


# -- what was run before -----------------------------------------------------------------------------------------------
def _remembered(platform: Platform, name: str) -> StudyOutcome | None:
    """The outcome of this study on the same inputs; None when it has to run."""
    try:
        known = json.loads(_file(platform, name).read_text(encoding="utf-8"))
        outcome = StudyOutcome(**{**known["outcome"], "ran": False})
    except (OSError, ValueError, KeyError, TypeError):
        return None
    there = (platform.settings.reports_dir / outcome.page).is_file()
    return outcome if there and known["inputs"] == _inputs(platform) else None


def _remember(platform: Platform, outcome: StudyOutcome) -> None:
    write_text(_file(platform, outcome.name), json.dumps({"inputs": _inputs(platform), "outcome": asdict(outcome)}, indent=2))


def _file(platform: Platform, name: str) -> Path:
    return platform.settings.home / "studies" / f"{name}.json"


def _inputs(platform: Platform) -> str:
    """What the studies read of the library: versions of its tables."""
    return fingerprint({"edition": EDITION, **{table.name: platform.lake.version(table) for table in INPUTS}})
