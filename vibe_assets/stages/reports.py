"""Labels and verdicts -> the teacher's and the students' report, the history of metrics, and the tables of the warehouse."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vibe_assets.lake import write_text
from vibe_assets.records import (
    ATTRIBUTES,
    AUDITED_GROUND_TRUTH,
    AUTO_GROUND_TRUTH,
    METRICS,
    PHOTO_GROUPS,
    PREDICTIONS,
    RAW_PHOTOS,
    Estimate,
    fingerprint,
)
from vibe_assets.stages.library import accepted_photos
from vibe_assets.stages.platform import Platform
from vibe_assets.stages.students import deployed, deployments, judge_head, library_vectors, test_rows
from vibe_assets.stages.truth import groups_of, load_taxonomy

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

    from vibe_assets.evaluate.labels import Evaluation
    from vibe_assets.evaluate.metrics import Reliability

THUMBNAIL_PX = 320
LABELS_FILE = "predictions"  # .jsonl and .csv beside the reports


@dataclass(frozen=True)
class Report:
    """A written report and what the asset shows of it."""

    evaluation: Evaluation
    path: Path
    errors: Path  # folder of the error lists
    version: str  # fingerprint of the figures
    markdown: str
    picture: str  # Markdown of the confusion matrix


def evaluate_teacher(platform: Platform) -> Evaluation:
    """The teacher's labels against people's, weighted to the whole library."""
    return _evaluate(platform, platform.lake.read(AUTO_GROUND_TRUTH), platform.lake.read(AUDITED_GROUND_TRUTH), "teacher", "human")


def evaluate_students(platform: Platform) -> list[Evaluation]:
    """The deployed students on the test split: against people where people looked, and against the teacher."""
    lake = platform.lake
    said = lake.read_live(PREDICTIONS)
    human, auto = test_rows(platform, lake.read(AUDITED_GROUND_TRUTH)), test_rows(platform, lake.read(AUTO_GROUND_TRUTH))
    found = [_evaluate(platform, said, truth, "student", kind) for truth, kind in ((human, "human"), (auto, "auto"))]
    return [_with_forced(platform, evaluation) for evaluation in found if evaluation.n] or found[1:]


def _with_forced(platform: Platform, evaluation: Evaluation) -> Evaluation:
    """The evaluation with the scene accuracy that the head has when it may not abstain, comparable with systems that never do."""
    head = deployed(platform).get("scene")
    if head is None or head.card.encoder != library_vectors(platform)["encoder"][0]:
        return evaluation
    forced = judge_head(platform, head, evaluation.truth_kind).headline.get("scene_accuracy")
    added = {} if forced is None else {"scene_accuracy_forced": forced}
    return dataclasses.replace(evaluation, headline={**evaluation.headline, **added})


def _evaluate(platform: Platform, said: pl.DataFrame, truth: pl.DataFrame, subject: str, truth_kind: str) -> Evaluation:
    from vibe_assets.evaluate.labels import evaluate_labels

    taxonomy = load_taxonomy(platform)
    return evaluate_labels(
        said,
        truth,
        groups=groups_of(platform),
        scenes=tuple(taxonomy.scenes),
        closure=taxonomy.closure,
        slices=_slices(platform),
        subject=subject,
        truth_kind=truth_kind,
    )


def _slices(platform: Platform) -> pl.DataFrame:
    """image_id with folder, camera and year, to see where labels are worse."""
    import polars as pl

    photos = accepted_photos(platform)
    folder = pl.col("rel_path").str.extract(r"^(.*)/[^/]*$", 1).fill_null("(root)")
    return photos.select("image_id", "camera", folder=folder, year=pl.col("taken_at").dt.year().cast(pl.String))


def report_teacher(platform: Platform, *, now: datetime | None = None) -> Report:
    """Write teacher_report.html with its error lists and add its figures to the history."""
    from vibe_assets.evaluate.compare import estimate_shares, label_shares

    lake = platform.lake
    audited = lake.read(AUDITED_GROUND_TRUTH)
    shares = (
        estimate_shares(audited, groups=groups_of(platform), raw=label_shares(lake.read(AUTO_GROUND_TRUTH))) if audited.height else None
    )
    truth = lake.read(AUTO_GROUND_TRUTH)
    version = str(truth["teacher"][0]) if truth.height else "none"
    return _write(
        platform,
        "teacher_report",
        [evaluate_teacher(platform)],
        version=version,
        title="How far is the teacher from people?",
        subtitle="Automatic ground truth against the audited sample, weighted to the whole library",
        shares=shares,
        now=now,
    )


def report_students(platform: Platform, *, now: datetime | None = None) -> Report:
    """Write student_report.html with its error lists and add its figures to the history."""
    heads = deployments(platform)
    return _write(
        platform,
        "student_report",
        evaluate_students(platform),
        version="+".join(sorted(heads.values())) or "none",
        title="How far are the students from people and teacher?",
        subtitle="Deployed heads on photos of the test split, which no head has seen",
        now=now,
    )


def _write(
    platform: Platform,
    name: str,
    evaluations: list[Evaluation],
    *,
    version: str,
    title: str,
    subtitle: str,
    now: datetime | None,
    shares: dict[str, Estimate] | None = None,
) -> Report:
    from vibe_assets.evaluate.report import confusion_markdown, error_lists, headline_markdown, render_report, worst_photos

    now = now or datetime.now(UTC)
    folder = platform.settings.reports_dir
    previous = previous_headline(platform, evaluations[0], version)
    shown = [image_id for evaluation in evaluations for image_id in worst_photos(evaluation)]
    page = render_report(
        evaluations,
        title=title,
        subtitle=subtitle,
        footer=lineage(platform),
        thumbnails=thumbnails(platform, shown),
        names=_names(platform, shown),
        previous=previous,
        shares=shares,
        calibration=_calibration(platform) if name == "student_report" else None,
        beside=_beside(platform, shown),
        generated_at=now,
    )
    path = write_text(folder / f"{name}.html", page)
    write_text(folder / f"{name}.json", json.dumps(_card(title, evaluations[0], now), indent=1, ensure_ascii=False))
    write_index(platform)
    errors = folder / f"{name}_errors"
    error_lists(evaluations[0], errors)
    figures = {e.truth_kind: json.loads(e.to_json())["headline"] for e in evaluations}
    for evaluation in evaluations:
        platform.lake.append(METRICS, evaluation.metrics_rows(at=now, run_id=platform.run_id, version=version), commit=platform.commit)
    markdown = "\n\n".join(headline_markdown(evaluation) for evaluation in evaluations)
    return Report(
        evaluations[0], path, errors, fingerprint({"version": version, "figures": figures}), markdown, confusion_markdown(evaluations[0])
    )


def previous_headline(platform: Platform, evaluation: Evaluation, version: str) -> dict[str, Estimate]:
    """Headline of the last report about another version of the same subject; empty for the first."""
    import polars as pl

    rows = platform.lake.read(METRICS).filter(
        (pl.col("subject") == evaluation.subject)
        & (pl.col("truth") == evaluation.truth_kind)
        & (pl.col("label") == "")
        & (pl.col("version") != version)
    )
    last = rows.filter(pl.col("at") == pl.col("at").max())
    return {row["metric"]: Estimate(row["value"], row["low"], row["high"], row["n"], row["baseline"]) for row in last.iter_rows(named=True)}


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


def thumbnails(platform: Platform, image_ids: list[str]) -> dict[str, str]:
    """image_id -> JPEG data URL; photos that cannot be read any more are left out."""
    import polars as pl

    from vibe_assets.photos.decode import PhotoRejected, open_photo

    found = {}
    for ref in platform.photo_refs(accepted_photos(platform).filter(pl.col("image_id").is_in(sorted(set(image_ids))))):
        try:
            image = open_photo(ref.path, draft_px=2 * THUMBNAIL_PX).image
        except PhotoRejected:
            continue
        image.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=80)
        found[ref.image_id] = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
    return found


def _names(platform: Platform, image_ids: list[str]) -> dict[str, str]:
    import polars as pl

    wanted = accepted_photos(platform).filter(pl.col("image_id").is_in(sorted(set(image_ids))))
    return dict(wanted.select("image_id", "rel_path").iter_rows())


def _beside(platform: Platform, image_ids: list[str]) -> dict[str, dict[str, dict[str, Any]]]:
    """image_id -> people | teacher | students -> label row, for the photos that a gallery shows."""
    import polars as pl

    lake = platform.lake
    voices = {"people": lake.read(AUDITED_GROUND_TRUTH), "teacher": lake.read(AUTO_GROUND_TRUTH), "students": lake.read_live(PREDICTIONS)}
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for who, rows in voices.items():
        for row in rows.filter(pl.col("image_id").is_in(sorted(set(image_ids)))).iter_rows(named=True):
            found.setdefault(row["image_id"], {})[who] = row
    return found


# -- what lies beside the reports ----------------------------------------------------------------------------------------
def _card(title: str, evaluation: Evaluation, at: datetime) -> dict[str, Any]:
    """What the index says of a report."""
    from vibe_assets.evaluate.labels import HEADLINE
    from vibe_assets.evaluate.report import card_names, percent, summary

    found = {name: evaluation.headline[name] for name in card_names(evaluation)}
    figures = [
        {"name": HEADLINE[name], "value": percent(e.value), "interval": f"{percent(e.low)} – {percent(e.high)}, n {e.n:,}"}
        for name, e in found.items()
    ]
    return {"title": title, "at": at.isoformat(), "summary": summary(evaluation), "figures": figures}


def index_file(platform: Platform) -> Path:
    """Where the page lies that leads to all reports."""
    return platform.settings.reports_dir / "index.html"


def write_index(platform: Platform) -> Path:
    """Write the page that leads to every report, trial and file there is, the newest report first."""
    from vibe_assets.evaluate.report import render_index

    folder = platform.settings.reports_dir
    reports: list[dict[str, Any]] = []
    for page in folder.glob("*_report.html"):
        about = page.with_suffix(".json")
        card: dict[str, Any] = (
            json.loads(about.read_text(encoding="utf-8")) if about.exists() else {"title": page.stem, "summary": "", "figures": []}
        )
        at = datetime.fromisoformat(card["at"]) if "at" in card else datetime.fromtimestamp(page.stat().st_mtime, UTC)
        reports.append({**card, "at": at, "href": page.name})
    reports.sort(key=lambda report: report["at"], reverse=True)
    trials = [
        {**json.loads(file.read_text(encoding="utf-8")), "at": datetime.fromtimestamp(file.stat().st_mtime, UTC)}
        for file in sorted((platform.settings.home / "trials").glob("*.json"), key=lambda file: -file.stat().st_mtime)
    ]
    about_files = {
        f"{LABELS_FILE}.csv": "the students' labels of every photo, for a spreadsheet",
        f"{LABELS_FILE}.jsonl": "the same with every confidence, one JSON object a line",
        **{
            f"{name}_errors/{kind}_errors.jsonl": f"{kind}s that the {name.removesuffix('_report')} got wrong, the surest first"
            for name in ("student_report", "teacher_report")
            for kind in ("scene", "attribute", "object")
        },
    }
    files = [{"href": name, "name": name, "about": about} for name, about in about_files.items() if (folder / name).exists()]
    return write_text(index_file(platform), render_index(reports, trials, files))


def write_labels(platform: Platform) -> list[Path]:
    """Write the predictions as JSON lines and as CSV beside the reports, one row per photo in the order of the paths."""
    import polars as pl

    rows = platform.lake.read_live(PREDICTIONS).sort("rel_path").drop("folder_key")
    folder = platform.settings.reports_dir
    lists = [pl.col(name).list.join(";") for name in ("objects", "object_confidences", "abstained", "teacher_objects")]
    confidences = [pl.col(name).round(4) for name in rows.columns if name.endswith("_confidence")]
    first = ["rel_path", "scene", "scene_confidence", "objects", *ATTRIBUTES, "abstained", "teacher_scene"]
    flat = rows.with_columns(*lists, *confidences).select(*first, pl.exclude(first))
    written = [
        write_text(folder / f"{LABELS_FILE}.jsonl", rows.write_ndjson()),
        write_text(folder / f"{LABELS_FILE}.csv", flat.write_csv()),
    ]
    write_index(platform)
    return written


def _calibration(platform: Platform) -> dict[str, tuple[Reliability | None, Reliability | None]]:
    """Reliability of the deployed scene head on the test split, before and after calibration, against the teacher's labels."""
    import numpy as np

    from vibe_assets.evaluate.metrics import reliability
    from vibe_assets.heads.dataset import vectors
    from vibe_assets.heads.models import softmax

    head = deployed(platform).get("scene")
    if head is None:
        return {}
    truth = test_rows(platform, platform.lake.read(AUTO_GROUND_TRUTH)).select("image_id", "scene").drop_nulls()
    rows = library_vectors(platform).join(truth, on="image_id", how="inner")
    if rows.is_empty() or rows["encoder"][0] != head.card.encoder:
        return {}
    x = vectors(rows["embedding"])  # (n, d)
    scenes = np.array(rows["scene"].to_list())
    pairs = []
    for p in (softmax(head.logits(x).astype(np.float64)), head.probabilities(x)):  # (n, scenes) before and after
        right = np.array(head.labels)[p.argmax(axis=1)] == scenes
        pairs.append(reliability(p.max(axis=1), right))
    return {"scene": (pairs[0], pairs[1])}


def warehouse_tables(platform: Platform) -> dict[str, pa.Table]:
    """Arrow tables for the published file: truth, predictions, photos, history of metrics; no embeddings."""
    lake = platform.lake
    photos = lake.read_live(RAW_PHOTOS).drop("path_bytes")
    tables = {
        "photos": photos,
        "photo_groups": lake.read(PHOTO_GROUPS),
        "auto_ground_truth": lake.read(AUTO_GROUND_TRUTH),
        "audited_ground_truth": lake.read(AUDITED_GROUND_TRUTH),
        "predictions": lake.read_live(PREDICTIONS),
        "metrics": lake.read(METRICS),
    }
    return {name: rows.to_arrow() for name, rows in tables.items()}
