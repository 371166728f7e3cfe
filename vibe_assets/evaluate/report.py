"""Evaluations, comparisons and thumbnails become one self-contained HTML file; the index becomes the page that leads to all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from vibe_assets.evaluate import charts
from vibe_assets.evaluate.compare import Comparison
from vibe_assets.evaluate.figures import capital, main_words, noun, titles
from vibe_assets.evaluate.labels import Evaluation
from vibe_assets.evaluate.mistakes import error_lists, worst_photos
from vibe_assets.evaluate.page import TRUTHS, check_pictures, percent, render
from vibe_assets.evaluate.report_markdown import confusion_markdown, headline_markdown
from vibe_assets.evaluate.report_parts import Calibration, Shares, card, card_names, part, share_rows
from vibe_assets.records import Estimate

if TYPE_CHECKING:
    from markupsafe import Markup

__all__ = [
    "TRUTHS",
    "Section",
    "card_names",
    "confusion_markdown",
    "error_lists",
    "headline_markdown",
    "percent",
    "render_index",
    "render_report",
    "summary",
    "worst_photos",
]
WHO = {"teacher": "the teacher", "student": "the students", "trial": "the candidate"}


@dataclass(frozen=True)
class Section:
    """A part of a report that another room renders: shown after the headline, reachable as `#anchor`."""

    anchor: str  # lower-case words joined by "-"
    title: str
    html: Markup  # escaped by whoever made it; shown as it is


def render_report(
    evaluations: Evaluation | Sequence[Evaluation],
    *,
    title: str,
    subtitle: str = "",
    footer: Mapping[str, Any] | None = None,
    thumbnails: Mapping[str, str] | None = None,
    names: Mapping[str, str] | None = None,
    comparison: Comparison | Sequence[Comparison] | None = None,
    previous: Evaluation | Mapping[str, Estimate] | None = None,
    shares: Shares | None = None,
    calibration: Calibration | None = None,
    coverage: Mapping[str, charts.Coverage] | None = None,
    thresholds: Mapping[str, float] | None = None,
    beside: Mapping[str, Mapping[str, Mapping[str, Any]]] | None = None,
    sections: Sequence[Section] = (),
    generated_at: datetime | None = None,
) -> str:
    """One HTML page without JavaScript and without anything to load: opens offline, prints, light and dark, any width.

    The first evaluation gives the cards at the top. `footer`: lineage, shown as given. `thumbnails`: image_id -> data URL of a small
    picture, for the photos of `worst_photos`; `names`: image_id -> path to show. `previous`: the last version's headline.
    `shares`: `estimate_shares` with and without models, its baseline the labels' own claim. `calibration`: label -> (before, after).
    `coverage`: on which photos -> how many answers to the main question are right over how many are given.
    `beside`: image_id -> people | teacher | students -> label row, shown side by side under the picture instead of the list of mistakes.
    `sections` come after the headline figures. `thresholds`: label -> the confidence from which on the labels in use say yes.
    Raises ValueError for no evaluation, and for a thumbnail that is not an inline picture.
    """
    judged = [evaluations] if isinstance(evaluations, Evaluation) else list(evaluations)
    if not judged:
        raise ValueError("expected at least one evaluation, got 0")
    check_pictures(thumbnails or {})
    questions = judged[0].questions
    one, many = main_words(questions)
    last = previous.headline if isinstance(previous, Evaluation) else previous or {}
    return render(
        "report.html",
        questions,
        title=title,
        subtitle=subtitle,
        generated_at=generated_at,
        summary=summary(judged[0]),
        cards=[card(name, judged[0], last.get(name)) for name in card_names(judged[0])],
        comparisons=[comparison] if isinstance(comparison, Comparison) else list(comparison or ()),
        sections=sections,
        parts=[
            part(one, thumbnails or {}, names or {}, calibration if at == 0 else None, beside or {}, thresholds or {})
            for at, one in enumerate(judged)
        ],
        shares=share_rows(shares or {}, questions),
        titles=titles(questions),
        one=one,
        accuracy=capital(one),
        many=many,
        coverage=coverage or {},
        coverage_svg=charts.risk_coverage(coverage) if coverage else "",
        footer=footer or {},
    )


def render_index(
    reports: Sequence[Mapping[str, Any]],
    trials: Sequence[Mapping[str, Any]],
    files: Sequence[Mapping[str, str]],
    *,
    comparisons: Sequence[Mapping[str, Any]] = (),
) -> str:
    """One HTML page that leads to everything written beside it.

    `reports`, `comparisons`: href, title, at (datetime), summary, figures (name, value, interval). `trials`: candidate, verdict, allowed,
    at. `files`: href, name, about. All of it is shown as text.
    """
    return render("index.html", reports=reports, comparisons=comparisons, trials=trials, files=files)


def summary(evaluation: Evaluation) -> str:
    """The main question's figures in one or two sentences; empty where no answer to it is known."""
    question = evaluation.questions.main
    if question is None:
        return ""
    key, one = question.key, noun(question, evaluation.questions)
    named = (f"{key}_accuracy_blind", f"{key}_accuracy_forced", f"{key}_accuracy")
    main = next((evaluation.headline[name] for name in named if name in evaluation.headline), None)
    if main is None:
        return ""
    blind = " when nothing is filled in" if named[0] in evaluation.headline else ""
    who = WHO.get(evaluation.subject, evaluation.subject)
    gives, they, are = ("give", "they answer", "are") if who.endswith("s") else ("gives", "it answers", "is")
    others = {"human": "people give", "auto": "the teacher gives"}.get(evaluation.truth_kind, "the truth gives")
    text = f"{who[:1].upper()}{who[1:]} {gives} the {one} that {others}{blind} for {percent(main.value, 0)} of the photos"
    text += f" (95 % interval {percent(main.low, 0)} to {percent(main.high, 0)}, {main.n:,} photos)"
    if main.baseline is not None:
        text += f"; always giving the most frequent {one} would be right for {percent(main.baseline, 0)}"
    left_open, answered = evaluation.abstained.get(key), evaluation.headline.get(f"{key}_accuracy_answered")
    if left_open is None or answered is None or left_open.value == 0:
        return text + "."
    share = percent(1 - left_open.value, 0)
    return f"{text}. Left free to pass when in doubt, {they} {share} and {are} right on {percent(answered.value, 0)} of those."
