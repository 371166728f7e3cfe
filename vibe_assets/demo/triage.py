"""The triage study on the demo: rendered takes with simulated comparisons are imported, and the job runs through Dagster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import dagster as dg

from vibe_assets.demo.takes import render_takes
from vibe_assets.records import RAW_PHOTOS
from vibe_assets.records.series import BEST_OF_SERIES
from vibe_assets.stages.platform import Platform
from vibe_assets.triage.imports import import_pairs

if TYPE_CHECKING:
    from vibe_assets.triage.report import Judged

SERIES = 300
NAME = "takes"


@dataclass(frozen=True)
class TriageOutcome:
    """What the study came to, for the demo's closing table."""

    success: bool
    not_passed: tuple[str, ...]
    judged: Judged | None
    bursts: int  # rendered bursts of the library in which a pick was made
    sound: int  # of those, the picks that are neither blurred nor over-exposed


def run_triage_study(platform: Platform, instance: dg.DagsterInstance, *, series: int = SERIES, seed: int = 7) -> TriageOutcome:
    """Render takes beside the library, let its simulated people compare them, import both and run `triage_study`."""
    from vibe_assets.definitions import defs
    from vibe_assets.defs.drive import QUIET
    from vibe_assets.triage.learn import latest_heads
    from vibe_assets.triage.report import judge

    folder = platform.settings.triage_dir / NAME
    photos, pairs = render_takes(folder, series=series, seed=seed)
    import_pairs(platform, pairs, photos=photos, name=NAME)
    result = defs.resolve_job_def("triage_study").execute_in_process(
        run_config=QUIET, instance=instance, raise_on_error=False, tags={"launched_by": "vibe"}
    )
    not_passed = tuple(check.check_name for check in result.get_asset_check_evaluations() if not check.passed)
    picked, sound = judge_bursts(platform)
    return TriageOutcome(result.success, not_passed, judge(platform) if latest_heads(platform) else None, picked, sound)


def judge_bursts(platform: Platform, *, seed: int = 7) -> tuple[int, int]:
    """(picked, sound) over the library's rendered bursts: the truth is the plan that they were rendered from."""
    import polars as pl

    from vibe_assets.demo.plan import plan_library

    rows = platform.lake.read(BEST_OF_SERIES)
    found = platform.lake.read_live(RAW_PHOTOS).filter(pl.col("reason").is_null())["rel_path"].n_unique()
    plan = {shot.rel_path: shot for shot in plan_library(seed=seed, photos=found)} if found >= 60 else {}
    faulty = {path for path, shot in plan.items() if shot.fault}
    bursts = rows.filter(pl.col("rel_path").is_in(sorted(faulty)))["series_id"].unique()
    picks = rows.filter(pl.col("series_id").is_in(bursts.to_list()) & pl.col("pick"))["rel_path"].to_list()
    return len(picks), sum(path not in faulty for path in picks)
