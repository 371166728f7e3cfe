"""The reports folder -> the page that leads to everything in it, and the files of labels that lie beside the reports."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vibe_assets.export.tables import csv_encoding
from vibe_assets.lake import write_text
from vibe_assets.questions import ManyOf, OneOf, Questions, YesNo
from vibe_assets.records import PREDICTIONS, Estimate
from vibe_assets.stages.platform import Platform
from vibe_assets.strangers import spreadsheet_cell

if TYPE_CHECKING:
    from vibe_assets.evaluate.labels import Evaluation

LABELS_FILE = "predictions"  # .jsonl and .csv beside the reports
REPORTS, COMPARISONS = "*_report.html", "compare/*.html"  # what the index lists, below the reports folder


def index_file(platform: Platform) -> Path:
    """Where the page lies that leads to all reports."""
    return platform.settings.reports_dir / "index.html"


def write_page(platform: Platform, name: str, page: str, card: Mapping[str, Any]) -> Path:
    """Write a page below the reports folder with what the index says of it beside it, and the index anew. `name` has no suffix."""
    path = write_text(platform.settings.reports_dir / f"{name}.html", page)
    write_text(path.with_suffix(".json"), json.dumps(card, indent=1, ensure_ascii=False))
    write_index(platform)
    return path


def index_card(title: str, at: datetime, *, summary: str, figures: Mapping[str, Estimate]) -> dict[str, Any]:
    """What the index says of a report: title, moment, one or two sentences, and figures (name -> estimate)."""
    from vibe_assets.evaluate.page import percent

    shown = [
        {"name": name, "value": percent(e.value), "interval": f"{percent(e.low)} – {percent(e.high)}, n {e.n:,}"}
        for name, e in figures.items()
    ]
    return {"title": title, "at": at.isoformat(), "summary": summary, "figures": shown}


def evaluation_card(title: str, evaluation: Evaluation, at: datetime) -> dict[str, Any]:
    """What the index says of a report on labels."""
    from vibe_assets.evaluate.figures import headline_titles
    from vibe_assets.evaluate.report import card_names, summary

    titles = headline_titles(evaluation.questions)
    figures = {titles[name]: evaluation.headline[name] for name in card_names(evaluation)}
    return index_card(title, at, summary=summary(evaluation), figures=figures)


def write_index(platform: Platform) -> Path:
    """Write the page that leads to every report, trial and file there is, the newest report first."""
    from vibe_assets.evaluate.report import render_index

    folder = platform.settings.reports_dir
    reports, comparisons = (
        sorted(_listed(folder, pattern), key=lambda page: page["at"], reverse=True) for pattern in (REPORTS, COMPARISONS)
    )
    trials = [
        {**json.loads(file.read_text(encoding="utf-8")), "at": datetime.fromtimestamp(file.stat().st_mtime, UTC)}
        for file in sorted((platform.settings.home / "trials").glob("*.json"), key=lambda file: -file.stat().st_mtime)
    ]
    page = render_index(reports, trials, _files(folder, platform.questions), comparisons=comparisons)
    return write_text(index_file(platform), page)


def _listed(folder: Path, pattern: str) -> Iterator[dict[str, Any]]:
    """Every page with what is written beside it; a page without such a file keeps its name."""
    for page in folder.glob(pattern):
        about = page.with_suffix(".json")
        card: dict[str, Any] = {"title": page.stem, "summary": "", "figures": []}
        if about.exists():
            card = json.loads(about.read_text(encoding="utf-8"))
        at = datetime.fromisoformat(card["at"]) if "at" in card else datetime.fromtimestamp(page.stat().st_mtime, UTC)
        yield {**card, "at": at, "href": page.relative_to(folder).as_posix()}


def _files(folder: Path, questions: Questions) -> list[dict[str, str]]:
    from vibe_assets.evaluate.figures import plural

    about = {
        f"{LABELS_FILE}.csv": "the students' labels of every photo, for a spreadsheet",
        f"{LABELS_FILE}.jsonl": "the same with every confidence, one JSON object a line",
        **{
            f"{name}_errors/{question.head}_errors.jsonl": (
                f"{plural(question, questions)} that the {name.removesuffix('_report')} got wrong, the surest first"
            )
            for name in ("student_report", "teacher_report")
            for question in questions
        },
    }
    return [{"href": name, "name": name, "about": text} for name, text in about.items() if (folder / name).exists()]


def write_labels(platform: Platform) -> list[Path]:
    """Write the predictions as JSON lines and as CSV beside the reports, one row per photo in the order of the paths."""
    import polars as pl

    rows = platform.lake.read_live(PREDICTIONS).sort("rel_path").drop("folder_key")
    folder = platform.settings.reports_dir
    questions = platform.questions
    lists = [pl.col(name).list.join(";") for name, dtype in rows.schema.items() if dtype == pl.List(pl.String)]
    confidences = [pl.col(field.confidence).round(4) for field in questions.fields if field.dtype != "list[str]"]
    one = [question.fields[0] for question in questions.of_type(OneOf)]
    first = ["rel_path", *(name for field in one for name in (field.name, field.confidence))]
    first += [field.name for kind in (ManyOf, YesNo) for question in questions.of_type(kind) for field in question.fields]
    first += ["abstained", *(f"teacher_{field.name}" for field in one)]
    flat = rows.with_columns(*lists, *confidences).select(*first, pl.exclude(first))
    guarded = flat.with_columns(pl.col(pl.String).map_elements(spreadsheet_cell, return_dtype=pl.String))
    written = [
        write_text(folder / f"{LABELS_FILE}.jsonl", rows.write_ndjson()),
        write_text(folder / f"{LABELS_FILE}.csv", guarded.write_csv(), encoding=csv_encoding(platform.settings.export.csv_bom)),
    ]
    write_index(platform)
    return written
