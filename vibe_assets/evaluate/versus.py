"""Two versions of labels, judged and compared, become one self-contained HTML file: who is nearer to people, what changed, which photos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from vibe_assets.evaluate import charts
from vibe_assets.evaluate.compare import Comparison
from vibe_assets.evaluate.figures import headline_titles, lower_is_better, noun, plural, question_of, titles
from vibe_assets.evaluate.flow import Flow
from vibe_assets.evaluate.labels import Evaluation
from vibe_assets.evaluate.page import check_pictures, percent, render
from vibe_assets.evaluate.report_parts import frequent_moves
from vibe_assets.evaluate.voices import voices
from vibe_assets.questions import OneOf, Questions, YesNo

SHOWN_MOVES = 40
GALLERY = 24


def agreement_words(kind: str, questions: Questions) -> tuple[str, str]:
    """Title of how often two versions agree in a question, and what counts as agreement."""
    question = question_of(kind, questions)
    if isinstance(question, OneOf):
        about = "both leaving it open counts as the same"
    elif isinstance(question, YesNo):
        about = "all of them, where both sides are asked"
    else:
        about = f"{noun(question, questions)} that both name, as a share of those that either names; mean over the photos"
    return f"Same {noun(question, questions)}", about


@dataclass(frozen=True)
class Judged:
    """One side of the comparison: its name, what it is, and its evaluation against people (None where there is none)."""

    name: str
    about: str
    evaluation: Evaluation | None


def render_comparison(
    a: Judged,
    b: Judged,
    *,
    questions: Questions,
    flow: Flow,
    comparisons: Sequence[Comparison],
    scope: str,
    truth_note: str = "",
    thumbnails: Mapping[str, str] | None = None,
    names: Mapping[str, str] | None = None,
    beside: Mapping[str, Mapping[str, Mapping[str, Any]]] | None = None,
    footer: Mapping[str, Any] | None = None,
    generated_at: datetime | None = None,
) -> str:
    """One HTML page, made like the reports. `comparisons`: paired, against people. `scope`: what was compared, in words.

    `beside`: image_id -> people | a | b -> label row. Raises ValueError for a thumbnail that is not an inline picture.
    """
    check_pictures(thumbnails or {})
    pictures, said = thumbnails or {}, beside or {}
    judged = [(side, one.evaluation) for side, one in (("A", a), ("B", b)) if one.evaluation is not None]
    shown = [image_id for image_id in flow.differing if not pictures or image_id in pictures][:GALLERY]
    moves = flow.moves[:SHOWN_MOVES]
    first = judged[0][1] if judged else None
    return render(
        "compare.html",
        questions,
        title="What is different?",
        a=a,
        b=b,
        verdict=verdict(flow, comparisons, questions),
        scope=scope,
        generated_at=generated_at,
        against="people",
        truth_note=truth_note,
        n_truth=first.n if first else 0,
        weighted=first.weighted if first else False,
        sides=[side for side, _ in judged],
        figures=_figures([evaluation for _, evaluation in judged], questions),
        comparisons=comparisons,
        flow=flow,
        titles=titles(questions),
        agreement=[
            {"name": name, "about": about, "estimate": estimate}
            for kind, estimate in flow.agreement.items()
            for name, about in [agreement_words(kind, questions)]
        ],
        tables=[
            {
                "one": noun(question, questions),
                "many": plural(question, questions),
                "columns": table.columns,
                "heat": charts.heat(table),
                "frequent": frequent_moves(table),
            }
            for question in questions
            if (table := flow.tables.get(question.head)) is not None
        ],
        moves=moves,
        most=max((max(move.gained, move.lost) for move in moves), default=1),
        hidden=len(flow.moves) - len(moves),
        photos=[_photo(image_id, pictures, names or {}, said.get(image_id, {}), questions) for image_id in shown],
        pictures=bool(pictures),
        judged=any("people" in said.get(image_id, {}) for image_id in shown),
        n_differing=flow.n_differing,
        footer=footer or {},
    )


def verdict(flow: Flow, comparisons: Sequence[Comparison], questions: Questions) -> str:
    """The comparison in two sentences."""
    kinds = {question.head: noun(question, questions) for question in questions}
    same = [f"the same {kinds[kind]} on {percent(share.value, 0)}" for kind, share in flow.agreement.items()]
    text = f"Of {flow.n:,} photos, A and B give {', '.join(same)}." if same else "No photo has labels on both sides."
    if not comparisons:
        return text
    said, many = comparisons[0].verdict, plural(question_of(comparisons[0].what, questions), questions)
    return f"{text} Against people, {many}: {said[:1].lower()}{said[1:]}"


def _figures(evaluations: Sequence[Evaluation], questions: Questions) -> list[dict[str, Any]]:
    rows = []
    for name, title in headline_titles(questions).items():
        estimates = [evaluation.headline.get(name) for evaluation in evaluations]
        known = [estimate for estimate in estimates if estimate is not None]
        if known:
            rows.append({
                "name": title, "estimates": estimates, "lower": lower_is_better(name),
                "n": max(estimate.n for estimate in known), "baseline": known[0].baseline,
            })  # fmt: skip
    return rows


def _photo(
    image_id: str, pictures: Mapping[str, str], names: Mapping[str, str], rows: Mapping[str, Mapping[str, Any]], questions: Questions
) -> dict[str, Any]:
    who = {"people": "people", "a": "A", "b": "B"}
    return {
        "image_id": image_id,
        "name": names.get(image_id, ""),
        "picture": pictures.get(image_id),
        "voices": voices(rows, "people" if "people" in rows else None, who, questions=questions),
        "mistakes": (),
    }
