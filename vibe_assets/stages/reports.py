"""Labels and verdicts -> the teacher's and the students' report, the history of metrics, and the tables of the warehouse."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vibe_assets.records import (
    AUDIT_DRAWS,
    AUDITED_GROUND_TRUTH,
    AUTO_GROUND_TRUTH,
    METRICS,
    PHOTO_GROUPS,
    PREDICTIONS,
    RAW_PHOTOS,
    fingerprint,
)
from vibe_assets.records.answers import source_of, without_teacher
from vibe_assets.stages.agreement import audited_said
from vibe_assets.stages.audit_report import figures_of_audit
from vibe_assets.stages.calibration import Pairs, calibration_pairs, main_coverage, yes_thresholds
from vibe_assets.stages.gallery import people_teacher_students, photo_names, thumbnails
from vibe_assets.stages.index import LABELS_FILE, evaluation_card, index_file, write_index, write_labels, write_page
from vibe_assets.stages.judging import Before, before_students, before_teacher, evaluate_students, evaluate_teacher
from vibe_assets.stages.lineage import lineage
from vibe_assets.stages.platform import Platform
from vibe_assets.stages.students import deployed, deployments, standing
from vibe_assets.stages.truth import audited_population, groups_of

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

    from vibe_assets.evaluate.charts import Coverage
    from vibe_assets.evaluate.labels import Evaluation
    from vibe_assets.evaluate.report import Section
    from vibe_assets.evaluate.report_parts import Shares

__all__ = [
    "LABELS_FILE",
    "Report",
    "evaluate_students",
    "evaluate_teacher",
    "index_file",
    "report_students",
    "report_teacher",
    "warehouse_tables",
    "write_index",
    "write_labels",
]


@dataclass(frozen=True)
class Report:
    """A written report and what the asset shows of it."""

    evaluation: Evaluation
    path: Path
    errors: Path  # folder of the error lists
    version: str  # fingerprint of the figures
    markdown: str  # headline figures
    tables: Mapping[str, str] = field(default_factory=dict)  # what else the page shows: name -> Markdown, pictures inline


# -- reports -------------------------------------------------------------------------------------------------------------
def report_teacher(platform: Platform, *, now: datetime | None = None, sections: Sequence[Section] = ()) -> Report:
    """Write teacher_report.html with its error lists and add its figures to the history."""
    from vibe_assets.audit.section import audit_markdown, audit_section

    truth, evaluation = platform.lake.read_live(AUTO_GROUND_TRUTH), evaluate_teacher(platform)
    version = str(truth["teacher"][0]) if truth.height else "none"
    audit = figures_of_audit(platform)
    sections = [gate_section(platform), *([] if audit is None else [audit_section(audit, platform.questions)]), *sections]
    report = _write(
        platform,
        "teacher_report",
        [evaluation],
        before_teacher(platform, evaluation, version),
        version=version,
        title="How far is the teacher from people?",
        subtitle=f"Automatic ground truth against the audited sample, {_weighted_to(platform)}",
        shares=library_shares(platform, truth),
        sections=sections,
        now=now,
    )
    if audit is None:
        return report
    return replace(report, tables={**report.tables, "the audit itself": audit_markdown(audit, platform.questions)})


def _weighted_to(platform: Platform) -> str:
    """Which photos audited figures speak for, and which ones speak for themselves alone."""
    spoken_of = audited_population(platform)
    chances = platform.lake.read_live(AUDITED_GROUND_TRUTH)["inclusion_probability"]
    unknown = int(chances.null_count())
    if unknown and unknown == len(chances):
        return "each photo for itself: none was in a sample that was drawn"
    alone = f"; {unknown:,} audited photos were in no draw and speak for themselves alone" if unknown else ""
    return f"weighted to {'the photos of the draw' if spoken_of is None else spoken_of.words()}{alone}"


def report_students(platform: Platform, *, now: datetime | None = None, sections: Sequence[Section] = ()) -> Report:
    """Write student_report.html with its error lists and add its figures to the history."""
    version = "+".join(sorted(deployments(platform).values())) or "none"
    evaluations = evaluate_students(platform)
    subtitle = "Deployed heads on photos of the test split, which no head has seen"
    if evaluations[0].truth_kind == "human":
        subtitle += f"; beside people, {_weighted_to(platform)}"
    return _write(
        platform,
        "student_report",
        evaluations,
        before_students(platform, evaluations[0], version),
        version=version,
        title="How far are the students from people and teacher?",
        subtitle=subtitle,
        shares=library_shares(platform, without_teacher(_by_photo(platform), platform.questions)),
        calibration=calibration_pairs(platform),
        coverage=main_coverage(platform),
        thresholds=yes_thresholds(platform),
        sections=[who_answers(platform), *sections],
        now=now,
    )


def gate_section(platform: Platform) -> Section:
    """Whether students may train on these labels, and about how many more checks until they may."""
    from markupsafe import Markup

    from vibe_assets.evaluate.figures import main_words
    from vibe_assets.evaluate.report import Section, percent
    from vibe_assets.stages.model_gates import teacher_agrees

    gate = teacher_agrees(platform)
    text = "Students may train on these labels." if gate.passed else f"Students may not train yet: {gate.remedy}."
    told, facts, (one, _) = [text], gate.facts, main_words(platform.questions)
    if "agreement" in facts:
        told.append(
            f"People give the teacher's {one} for {percent(facts['agreement'])} of the photos: surely for more than "
            f"{percent(facts['lower end'])}, wanted are {percent(facts['lower end wanted'])}. Checked with a {one}: "
            f"{facts['audited']:,} photos (wanted: {facts['audited wanted']:,}), {facts['answered blind']:,} with nothing filled in."
        )
    if note := facts.get("note"):
        told.append(f"{note[:1].upper()}{note[1:]}.")
    if "agreement" in facts:
        why = "That lower end holds however often it is asked, and is therefore further down than the interval's, which is for one look."
        told.append(why)
    return Section("gate", "May students train on it?", Markup().join(Markup("<p>{}</p>").format(part) for part in told))


def who_answers(platform: Platform) -> Section:
    """Question by question: the head in force or why there is none, and who answers in the library's predictions."""
    from markupsafe import Markup

    from vibe_assets.evaluate.report import Section

    rows, lines, questions = _by_photo(platform), Markup(), standing(platform)
    noted = any(note for _, _, note in questions)
    for question, head, note in questions:
        shares = rows.select(source_of(question).alias("source"))["source"].value_counts(sort=True).iter_rows()
        sources = ", ".join(f"{source.replace('_', '-')} {n:,}" for source, n in shares)
        cells = (platform.questions.name(question), head or "none", *([note] if noted else []), sources)
        lines += Markup("<tr>{}</tr>").format(Markup().join(Markup("<td>{}</td>").format(cell) for cell in cells))
    names = ("question", "head in force", *(["why there is no newer one"] if noted else []), "photos by who answers")
    head_line = Markup("<tr>{}</tr>").format(Markup().join(Markup("<th>{}</th>").format(name) for name in names))
    text = Markup("<p>Where no head is in force, prompts answer if the encoder reads text, otherwise the teacher.</p>")
    carried = [f"{kind}: {head.card.carry_over['note']}" for kind, head in deployed(platform).items() if head.card.carry_over.get("note")]
    text += Markup().join(Markup("<p>Photos of folders that no head has seen: {}.</p>").format(note) for note in carried)
    html = text + Markup('<div class="sheet scroll"><table><thead>{}</thead><tbody>{}</tbody></table></div>').format(head_line, lines)
    return Section("who-answers", "Who answers", html)


def _by_photo(platform: Platform) -> pl.DataFrame:
    """Predictions of the library as it is now; a photo that lies in two folders counts once."""
    return platform.lake.read_live(PREDICTIONS).unique("image_id")


def library_shares(platform: Platform, labels: pl.DataFrame) -> Shares:
    """Label shares of the photos that were drawn from as the audit estimates them, beside what the labels claim; {} without an audit."""
    from vibe_assets.evaluate.compare import estimate_shares, label_shares

    audited, recorded = platform.lake.read_live(AUDITED_GROUND_TRUTH), platform.lake.exists(AUDIT_DRAWS)
    if audited.is_empty():
        return {}
    questions = platform.questions
    options: dict[str, Any] = {
        "questions": questions,
        "groups": groups_of(platform),
        "raw": label_shares(labels, questions),
        "finite": recorded,
    }
    alone = estimate_shares(audited, **options)
    both = estimate_shares(audited, **options, said=audited_said(platform, parents=False))
    return {label: (share, alone[label]) for label, share in both.items()}


def _write(
    platform: Platform,
    name: str,
    evaluations: list[Evaluation],
    before: Before,
    *,
    version: str,
    title: str,
    subtitle: str,
    now: datetime | None,
    shares: Shares,
    sections: Sequence[Section],
    calibration: Pairs | None = None,
    coverage: Mapping[str, Coverage] | None = None,
    thresholds: dict[str, float] | None = None,
) -> Report:
    from vibe_assets.evaluate.report import error_lists, headline_markdown, render_report, worst_photos

    now = now or datetime.now(UTC)
    shown = [image_id for evaluation in evaluations for image_id in worst_photos(evaluation)]
    page = render_report(
        evaluations,
        title=title,
        subtitle=subtitle,
        footer=lineage(platform),
        thumbnails=thumbnails(platform, shown),
        names=photo_names(platform, shown),
        comparison=before.comparisons,
        previous=before.headline,
        shares=shares,
        calibration=calibration,
        coverage=coverage,
        thresholds=thresholds,
        beside=people_teacher_students(platform, shown),
        sections=sections,
        generated_at=now,
    )
    path = write_page(platform, name, page, evaluation_card(title, evaluations[0], now))
    errors = platform.settings.reports_dir / f"{name}_errors"
    error_lists(evaluations[0], errors)
    for evaluation in evaluations:
        platform.lake.append(METRICS, evaluation.metrics_rows(at=now, run_id=platform.run_id, version=version), commit=platform.commit)
    return Report(
        evaluations[0],
        path,
        errors,
        _fingerprint(version, evaluations),
        "\n\n".join(headline_markdown(evaluation) for evaluation in evaluations),
        _tables(evaluations[0], before, shares, calibration or {}, coverage or {}),
    )


def _fingerprint(version: str, evaluations: list[Evaluation]) -> str:
    return fingerprint({"version": version, "figures": {e.truth_kind: json.loads(e.to_json())["headline"] for e in evaluations}})


def _tables(evaluation: Evaluation, before: Before, shares: Shares, calibration: Pairs, coverage: Mapping[str, Coverage]) -> dict[str, str]:
    """The page's content as Markdown for the asset's metadata, what is empty left out."""
    from vibe_assets.evaluate import report_markdown as as_markdown

    found = {
        "changed since the last version": as_markdown.changes_markdown(before.comparisons, evaluation.questions),
        "by label": as_markdown.labels_markdown(evaluation),
        "confusion": as_markdown.confusion_markdown(evaluation),
        "precision over recall": as_markdown.curves_markdown(evaluation),
        "calibration": as_markdown.calibration_markdown(calibration, evaluation.questions),
        "risk and coverage": as_markdown.coverage_markdown(coverage),
        "weakest parts": as_markdown.slices_markdown(evaluation),
        "shares of the library": as_markdown.shares_markdown(shares, evaluation.questions),
    }
    return {name: text for name, text in found.items() if text}


# -- the warehouse -------------------------------------------------------------------------------------------------------
def warehouse_tables(platform: Platform) -> dict[str, pa.Table]:
    """Arrow tables for the published file: truth, predictions, photos, history of metrics; no embeddings."""
    lake = platform.lake
    photos = lake.read_live(RAW_PHOTOS).drop("path_bytes")
    tables = {
        "photos": photos,
        "photo_groups": lake.read_live(PHOTO_GROUPS),
        "auto_ground_truth": lake.read_live(AUTO_GROUND_TRUTH),
        "audited_ground_truth": lake.read_live(AUDITED_GROUND_TRUTH),
        "audit_draws": lake.read(AUDIT_DRAWS),
        "predictions": lake.read_live(PREDICTIONS),
        "metrics": lake.read(METRICS),
    }
    return {name: rows.to_arrow() for name, rows in tables.items()}
