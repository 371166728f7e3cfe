"""The published history of metrics and the versions of the labels -> drift_report.html: figures over time, labels by folder."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from vibe_assets.lake import LakeError, warehouse_trouble
from vibe_assets.records import AUTO_GROUND_TRUTH, METRICS, fingerprint
from vibe_assets.stages.index import index_card, write_page
from vibe_assets.stages.library import accepted_photos
from vibe_assets.stages.lineage import label_versions, lineage
from vibe_assets.stages.platform import Platform, StageError

if TYPE_CHECKING:
    import polars as pl

TITLE = "What has moved?"


@dataclass(frozen=True)
class DriftReport:
    """The written page and what the asset shows of it."""

    path: Path
    points: int  # reports in the history
    largest: float  # total variation of the folder that moved most with the last step, 0..1
    version: str  # fingerprint of what the page shows
    figures: str  # Markdown table: newest value of every figure and its change
    folders: str  # Markdown table of the folders that moved most; '' before the labels have a second version


def report_drift(platform: Platform, *, now: datetime | None = None) -> DriftReport:
    """Write drift_report.html. Raises StageError before the warehouse was published."""
    from vibe_assets.evaluate.drift import SUBJECTS, folder_drift, folders_markdown, headline_series, render_drift, series_markdown

    now = now or datetime.now(UTC)
    questions = platform.questions
    series = headline_series(published_metrics(platform), questions)
    steps, versions = distinct_versions(platform)
    folders = folder_drift(versions, photo_folders(platform), questions)
    page = render_drift(series, folders, questions=questions, steps=steps, footer=lineage(platform), generated_at=now)
    largest = max((drift.distances[-1] or 0.0 for drift in folders), default=0.0)
    in_index = None if questions.main is None else f"{questions.main.key}_accuracy"
    figures = {SUBJECTS[(one.subject, one.truth)]: one.estimates[-1] for one in series if one.metric == in_index}
    path = write_page(platform, "drift_report", page, index_card(TITLE, now, summary=_summary(len(steps), largest), figures=figures))
    shown = {"series": [(one.metric, one.truth, one.subject, [e.value for e in one.estimates]) for one in series], "steps": steps}
    points = max((len(one.estimates) for one in series), default=0)
    return DriftReport(path, points, largest, fingerprint(shown), series_markdown(series, questions), folders_markdown(folders))


def published_metrics(platform: Platform) -> pl.DataFrame:
    """The history of metrics as the warehouse has it (METRICS columns). Raises StageError before the first publication."""
    import duckdb
    import polars as pl

    file = platform.settings.warehouse_file
    if not file.exists():
        raise StageError(f"{file} was not published yet: `vibe run` publishes it")
    try:
        with duckdb.connect(str(file), read_only=True) as connection:
            return connection.sql(f"FROM {METRICS.name}").pl().with_columns(pl.col("at").dt.convert_time_zone("UTC"))
    except duckdb.Error as error:
        raise LakeError(warehouse_trouble(file, error)) from error


def distinct_versions(platform: Platform) -> tuple[list[str], list[pl.DataFrame]]:
    """Versions of the automatic labels whose main answers differ from the one before, oldest first, and what each step is called.

    Of each version the photos that are in the library now: that one was deleted since is no move of the labels.
    """
    found: list[tuple[int, pl.DataFrame]] = []
    main = [] if platform.questions.main is None else [platform.questions.main.key]
    photos = accepted_photos(platform).select("image_id")
    for version, rows in label_versions(platform):
        said = rows.select("image_id", *main, "teacher", "mapping").join(photos, on="image_id", how="semi").sort("image_id")
        if said.is_empty():
            continue
        if found and said.select("image_id", *main).equals(found[-1][1].select("image_id", *main)):
            found[-1] = (version, said)  # the same labels again: the step belongs to the earliest commit that has them
            continue
        found.append((version, said))
    found.reverse()
    when = {entry["version"]: datetime.fromtimestamp(entry["timestamp"] / 1000, UTC) for entry in platform.lake.history(AUTO_GROUND_TRUTH)}
    steps = [
        f"version {number} of {when[number]:%Y-%m-%d %H:%M}, {_cause(old, new)}" for (_, old), (number, new) in itertools.pairwise(found)
    ]
    return steps, [rows for _, rows in found]


def _cause(old: pl.DataFrame, new: pl.DataFrame) -> str:
    if set(old["teacher"]) != set(new["teacher"]):
        return "another teacher"
    return "another mapping" if set(old["mapping"]) != set(new["mapping"]) else "other photos or answers"


def photo_folders(platform: Platform) -> dict[str, str]:
    """image_id -> folder, of every photo of the library as it is now; of copies the first in the order of the paths."""
    import polars as pl

    photos = accepted_photos(platform)
    folder = pl.col("rel_path").str.extract(r"^(.*)/[^/]*$", 1).fill_null("(root)")
    return dict(photos.select("image_id", folder=folder).iter_rows())


def _summary(steps: int, largest: float) -> str:
    from vibe_assets.evaluate.page import percent

    if not steps:
        return "The automatic labels have one version so far."
    of = "With the only step" if steps == 1 else f"With the last of {steps} steps"
    return f"{of} of the labels, the folder that moved most did so by {percent(largest, 0)}."
