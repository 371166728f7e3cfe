"""The lake and its history -> what a report is made from, and what its subject was before."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from vibe_assets.records import (
    AUDITED_GROUND_TRUTH,
    AUTO_GROUND_TRUTH,
    METRICS,
    PHOTO_GROUPS,
    PREDICTIONS,
    PROMPT_EMBEDDINGS,
    RAW_PHOTOS,
    Estimate,
    Table,
)
from vibe_assets.stages.platform import Platform
from vibe_assets.stages.students import deployments, library_vectors

if TYPE_CHECKING:
    import polars as pl

    from vibe_assets.heads.models import TrainedHead

LOOKED_BACK = 30  # versions of a table


def lineage(platform: Platform) -> dict[str, Any]:
    """What a figure depends on: models, fingerprints, table versions, run and code."""
    from vibe_assets.stages.sources import read_sources

    settings, lake = platform.settings, platform.lake
    sources = {source.name.replace("_", " "): source.version for source in read_sources(platform)}
    tables = {table.name: lake.version(table) for table in (RAW_PHOTOS, PHOTO_GROUPS, AUTO_GROUND_TRUTH, AUDITED_GROUND_TRUTH, PREDICTIONS)}
    return {
        "teacher model": settings.teacher.model,
        "prompt": settings.teacher.prompt,
        **sources,
        "encoder name": settings.encoder.name,
        "heads in force": ", ".join(sorted(deployments(platform).values())) or "none",
        "table versions": ", ".join(f"{name} {version}" for name, version in tables.items() if version is not None),
        "run": platform.run_id,
        "code": platform.commit.get("commit", ""),
    }


def last_report(platform: Platform, subject: str, truth_kind: str, version: str) -> pl.DataFrame:
    """Headline rows (METRICS) of the last report about another version of the same subject; no rows for the first."""
    import polars as pl

    rows = platform.lake.read(METRICS).filter(
        (pl.col("subject") == subject) & (pl.col("truth") == truth_kind) & (pl.col("label") == "") & (pl.col("version") != version)
    )
    return rows.filter(pl.col("at") == pl.col("at").max())


def headline_of(rows: pl.DataFrame) -> dict[str, Estimate]:
    """METRICS rows of one report -> metric -> figure."""
    return {row["metric"]: Estimate(row["value"], row["low"], row["high"], row["n"], row["baseline"]) for row in rows.iter_rows(named=True)}


def previous_labels(platform: Platform) -> pl.DataFrame | None:
    """The automatic labels as they were under the teacher or mapping before the current one; None where there were none.

    Looks back over the last versions of the table, as far as their files are kept.
    """
    current: tuple[Any, ...] | None = None
    for _, rows in label_versions(platform):
        signature = rows.select("teacher", "mapping").row(0)
        if current is None:
            current = signature
        elif signature != current:
            return rows
    return None


def label_versions(platform: Platform) -> Iterator[tuple[int, pl.DataFrame]]:
    """Number and rows of the last versions of the automatic labels that hold any, newest first."""
    newest = platform.lake.version(AUTO_GROUND_TRUTH)
    for version in range(newest, max(-1, newest - LOOKED_BACK), -1) if newest is not None else ():
        rows = read_version(platform, AUTO_GROUND_TRUTH, version)
        if rows is None:
            return
        if rows.height:
            yield version, rows


def read_version(platform: Platform, table: Table, version: int) -> pl.DataFrame | None:
    """Rows of one version of a table; None where its files are gone."""
    import polars as pl
    from deltalake.exceptions import DeltaError

    try:
        return platform.lake.read(table, version=version)
    except (DeltaError, OSError, pl.exceptions.PolarsError):
        return None


def heads_named(platform: Platform, version: str) -> dict[str, TrainedHead]:
    """The heads of a report's version (joined by "+"); none where one is gone or reads vectors of another encoder."""
    from vibe_assets.heads.models import HeadError
    from vibe_assets.heads.store import load_head

    try:
        heads = [load_head(platform.settings.heads_dir / name) for name in version.split("+") if name != "none"]
    except HeadError:
        return {}
    encoder = library_vectors(platform)["encoder"][0]
    return {} if any(head.card.encoder != encoder for head in heads) else {head.kind: head for head in heads}


def said_by(platform: Platform, heads: dict[str, TrainedHead]) -> pl.DataFrame:
    """What the runtime would say of every photo with these heads, from the vectors that are in the lake."""
    from vibe_assets.heads.classifier import classify

    return classify(library_vectors(platform), heads, questions=platform.questions, prompts_rows=platform.lake.read(PROMPT_EMBEDDINGS))
