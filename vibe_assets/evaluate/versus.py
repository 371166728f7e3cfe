"""Two versions of labels, judged and compared, become one self-contained HTML file: who is nearer to people, what changed, which photos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from vibe_assets.evaluate import charts
from vibe_assets.evaluate.compare import Comparison
from vibe_assets.evaluate.flow import Flow
from vibe_assets.evaluate.labels import HEADLINE, LOWER_IS_BETTER, Evaluation
from vibe_assets.evaluate.page import check_pictures, percent, render
from vibe_assets.evaluate.report_parts import frequent_moves
from vibe_assets.evaluate.voices import voices

SHOWN_MOVES = 40
GALLERY = 24
AGREEMENT = {
    "scene": ("Same scene", "both leaving it open counts as the same"),
    "attribute": ("Same attributes", "all of them, where both sides are asked"),
    "object": ("Same objects", "objects that both name, as a share of those that either names; mean over the photos"),
}


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
        title="What is different?",
        a=a,
        b=b,
        verdict=verdict(flow, comparisons),
        scope=scope,
        generated_at=generated_at,
        against="people",
        truth_note=truth_note,
        n_truth=first.n if first else 0,
        weighted=first.weighted if first else False,
        sides=[side for side, _ in judged],
        figures=_figures([evaluation for _, evaluation in judged]),
        comparisons=comparisons,
        flow=flow,
        agreement=[{"name": AGREEMENT[kind][0], "about": AGREEMENT[kind][1], "estimate": e} for kind, e in flow.agreement.items()],
        columns=flow.scenes.columns if flow.scenes else (),
        heat=charts.heat(flow.scenes) if flow.scenes else (),
        frequent=frequent_moves(flow.scenes) if flow.scenes else (),
        moves=moves,
        most=max((max(move.gained, move.lost) for move in moves), default=1),
        hidden=len(flow.moves) - len(moves),
        photos=[_photo(image_id, pictures, names or {}, said.get(image_id, {})) for image_id in shown],
        pictures=bool(pictures),
        judged=any("people" in said.get(image_id, {}) for image_id in shown),
        n_differing=flow.n_differing,
        footer=footer or {},
    )


def verdict(flow: Flow, comparisons: Sequence[Comparison]) -> str:
    """The comparison in two sentences."""
    kinds = {"scene": "scene", "attribute": "attributes", "object": "objects"}
    same = [f"the same {kinds[kind]} on {percent(share.value, 0)}" for kind, share in flow.agreement.items()]
    text = f"Of {flow.n:,} photos, A and B give {', '.join(same)}." if same else "No photo has labels on both sides."
    if not comparisons:
        return text
    said = comparisons[0].verdict
    return f"{text} Against people, {kinds[comparisons[0].what].rstrip('s')}s: {said[:1].lower()}{said[1:]}"


def _figures(evaluations: Sequence[Evaluation]) -> list[dict[str, Any]]:
    rows = []
    for name, title in HEADLINE.items():
        estimates = [evaluation.headline.get(name) for evaluation in evaluations]
        known = [estimate for estimate in estimates if estimate is not None]
        if known:
            rows.append({
                "name": title, "estimates": estimates, "lower": name in LOWER_IS_BETTER,
                "n": max(estimate.n for estimate in known), "baseline": known[0].baseline,
            })  # fmt: skip
    return rows


def _photo(image_id: str, pictures: Mapping[str, str], names: Mapping[str, str], rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    who = {"people": "people", "a": "A", "b": "B"}
    return {
        "image_id": image_id,
        "name": names.get(image_id, ""),
        "picture": pictures.get(image_id),
        "voices": voices(rows, "people" if "people" in rows else None, who),
        "mistakes": (),
    }
