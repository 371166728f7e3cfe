"""Evaluations, comparisons and thumbnails become one self-contained HTML file, Markdown for asset metadata, and error lists as JSONL."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from vibe_assets.evaluate import charts
from vibe_assets.evaluate.compare import Comparison
from vibe_assets.evaluate.labels import HEADLINE, LOWER_IS_BETTER, Evaluation, Mistake
from vibe_assets.evaluate.metrics import Reliability
from vibe_assets.lake import write_text
from vibe_assets.records import Estimate

CARDS = ("scene_accuracy", "scene_macro_f1", "attributes_macro_f1", "objects_top1", "objects_top3", "scene_ece")
TRUTHS = {"human": "people's labels", "auto": "the teacher's labels"}
GALLERY = 24
SHOWN_OBJECTS = 24
ERROR_SCALE = 0.25  # calibration errors are drawn on 0..25 %
_IMAGE = re.compile(r"data:image/(png|jpeg|webp|gif);base64,[A-Za-z0-9+/=]+")


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
    shares: Mapping[str, Estimate] | None = None,
    calibration: Mapping[str, tuple[Reliability | None, Reliability | None]] | None = None,
    generated_at: datetime | None = None,
) -> str:
    """One HTML page without JavaScript and without anything to load: opens offline, prints, light and dark, any width.

    The first evaluation gives the cards at the top. `footer`: lineage, shown as given. `thumbnails`: image_id -> data URL of a small
    picture, for the photos of `worst_photos`; `names`: image_id -> path to show. `previous`: the last report's headline.
    `shares`: `estimate_shares`, its baseline the labels' own claim. `calibration`: label -> (before, after).
    Raises ValueError for no evaluation, and for a thumbnail that is not an inline picture.
    """
    judged = [evaluations] if isinstance(evaluations, Evaluation) else list(evaluations)
    if not judged:
        raise ValueError("expected at least one evaluation, got 0")
    for image_id, url in (thumbnails or {}).items():
        if not _IMAGE.fullmatch(url):
            raise ValueError(f"thumbnail of {image_id}: expected a data URL of a PNG, JPEG, WebP or GIF, got {url[:40]!r}")
    last = previous.headline if isinstance(previous, Evaluation) else previous or {}
    return (
        _environment()
        .get_template("report.html")
        .render(
            title=title,
            subtitle=subtitle,
            generated_at=generated_at,
            cards=[_card(name, judged[0].headline[name], last.get(name)) for name in CARDS if name in judged[0].headline],
            comparisons=[comparison] if isinstance(comparison, Comparison) else list(comparison or ()),
            parts=[
                _part(evaluation, thumbnails or {}, names or {}, calibration if at == 0 else None) for at, evaluation in enumerate(judged)
            ],
            shares=_share_rows(shares or {}),
            footer=footer or {},
        )
    )


def headline_markdown(evaluation: Evaluation) -> str:
    """Markdown table of the headline figures, for asset metadata."""
    lines = ["| figure | value | 95 % interval | baseline | n |", "|---|---:|---:|---:|---:|"]
    for name, estimate in evaluation.headline.items():
        baseline = "" if estimate.baseline is None else percent(estimate.baseline)
        interval = f"{percent(estimate.low)} to {percent(estimate.high)}"
        lines.append(f"| {HEADLINE[name]} | **{percent(estimate.value)}** | {interval} | {baseline} | {estimate.n:,} |")
    missing = f"; {evaluation.n_missing} without a prediction" if evaluation.n_missing else ""
    lines += ["", f"Against {TRUTHS.get(evaluation.truth_kind, evaluation.truth_kind)}, {evaluation.n:,} photos{missing}."]
    return "\n".join(lines)


def confusion_markdown(evaluation: Evaluation) -> str:
    """Markdown of the confusion matrix as an inline PNG; empty where no scene is known."""
    return "" if evaluation.confusion is None else f"![confusion matrix]({charts.confusion_png(evaluation.confusion)})"


def error_lists(evaluation: Evaluation, folder: Path) -> list[Path]:
    """Write scene_errors.jsonl, attribute_errors.jsonl and object_errors.jsonl, the surest errors first; empty lists as empty files."""
    kinds: dict[str, list[Mistake]] = {"scene": [], "attribute": [], "object": []}
    for mistake in evaluation.mistakes:
        kinds["attribute" if mistake.what.startswith("attr.") else mistake.what].append(mistake)
    return [
        write_text(folder / f"{kind}_errors.jsonl", "".join(json.dumps(asdict(m), ensure_ascii=False) + "\n" for m in mistakes))
        for kind, mistakes in kinds.items()
    ]


def worst_photos(evaluation: Evaluation, limit: int = GALLERY) -> list[str]:
    """image_ids worth looking at first: wrong answers before abstentions, scenes first, then the surest, then the most mistakes."""
    by_photo: dict[str, list[Mistake]] = {}
    for mistake in evaluation.mistakes:
        by_photo.setdefault(mistake.image_id, []).append(mistake)

    def rank(image_id: str) -> tuple[bool, float, int, str]:
        answered = [mistake for mistake in by_photo[image_id] if mistake.predicted is not None]
        sure = max((mistake.confidence or 0.0 for mistake in answered), default=0.0)
        return not any(mistake.what == "scene" for mistake in answered), -sure, -len(answered), image_id

    return sorted(by_photo, key=rank)[:limit]


# -- what the template shows -----------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Bar:
    """An interval on a track: positions in percent of the track's width."""

    value: float
    low: float
    high: float
    baseline: float | None


def percent(value: float | None, digits: int = 1) -> str:
    """0.7512 -> '75.1 %' (with a narrow no-break space); a dash for what is undefined."""
    return "–" if value is None or not math.isfinite(value) else f"{100 * value:.{digits}f}\u202f%"


def bar(estimate: Estimate | None, scale: float = 1.0) -> Bar | None:
    if estimate is None:
        return None
    low, high, value = (round(100 * min(1.0, max(0.0, x / scale)), 2) for x in (estimate.low, estimate.high, estimate.value))
    baseline = None if estimate.baseline is None else round(100 * min(1.0, max(0.0, estimate.baseline / scale)), 2)
    return Bar(value, low, high, baseline)


def _card(name: str, estimate: Estimate, before: Estimate | None) -> dict[str, Any]:
    lower = name in LOWER_IS_BETTER
    change = None if before is None else estimate.value - before.value
    return {
        "name": HEADLINE[name],
        "estimate": estimate,
        "bar": bar(estimate, ERROR_SCALE if lower else 1.0),
        "scale": ERROR_SCALE if lower else 1.0,
        "lower": lower,
        "change": change,
        "good": change is not None and (change <= 0 if lower else change >= 0),
    }


def _part(
    evaluation: Evaluation,
    thumbnails: Mapping[str, str],
    names: Mapping[str, str],
    calibration: Mapping[str, tuple[Reliability | None, Reliability | None]] | None,
) -> dict[str, Any]:
    chosen = {score.label: score for score in evaluation.labels}
    objects = sorted(evaluation.table("object"), key=lambda score: (-score.support, -score.predicted, score.label))
    pairs = dict(calibration or {})
    if evaluation.reliability is not None and not pairs:
        pairs = {"scene": (None, evaluation.reliability)}
    return {
        "evaluation": evaluation,
        "against": TRUTHS.get(evaluation.truth_kind, evaluation.truth_kind),
        "scenes": evaluation.table("scene"),
        "attributes": [score for score in evaluation.table("attribute") if score.recall is not None or score.precision is not None],
        "objects": objects[:SHOWN_OBJECTS],
        "more_objects": objects[SHOWN_OBJECTS:],
        "columns": evaluation.confusion.columns if evaluation.confusion else (),
        "heat": charts.heat(evaluation.confusion) if evaluation.confusion else (),
        "confusions": _confusions(evaluation),
        "curves": [
            {"curve": curve, "svg": charts.precision_recall(curve, chosen.get(label)), "chosen": chosen.get(label)}
            for label, curve in evaluation.curves.items()
        ],
        "calibration": [
            {"label": label, "before": before, "after": after, "svg": charts.calibration(before, after)}
            for label, (before, after) in pairs.items()
        ],
        "pictures": bool(thumbnails),
        "gallery": _gallery(evaluation, thumbnails, names),
        "slices": _by(evaluation),
        "abstained": {label: share for label, share in evaluation.abstained.items() if share.value > 0},
    }  # fmt: skip


def _gallery(evaluation: Evaluation, thumbnails: Mapping[str, str], names: Mapping[str, str]) -> list[dict[str, Any]]:
    """The worst photos; where thumbnails were made, only photos that have one."""
    wanted = worst_photos(evaluation, GALLERY if not thumbnails else len(evaluation.mistakes))
    shown = [image_id for image_id in wanted if not thumbnails or image_id in thumbnails][:GALLERY]
    mistakes: dict[str, list[Mistake]] = {image_id: [] for image_id in shown}
    for mistake in evaluation.mistakes:
        if mistake.image_id in mistakes:
            mistakes[mistake.image_id].append(mistake)
    return [
        {
            "image_id": image_id, "name": names.get(image_id, ""), "picture": thumbnails.get(image_id),
            "mistakes": sorted(mistakes[image_id], key=lambda m: (m.what != "scene", m.predicted is None, m.what)),
        }
        for image_id in shown
    ]  # fmt: skip


def _confusions(evaluation: Evaluation, limit: int = 8) -> list[dict[str, Any]]:
    """The most frequent wrong answers."""
    if evaluation.confusion is None:
        return []
    cells = [
        {"truth": row["label"], "answer": column, "photos": cell["photos"], "share": cell["share"]}
        for row in charts.heat(evaluation.confusion)
        for column, cell in zip(evaluation.confusion.columns, row["cells"], strict=True)
        if cell["photos"] and not cell["right"] and not cell["abstained"]
    ]
    return sorted(cells, key=lambda cell: (-cell["photos"], -cell["share"], cell["truth"], cell["answer"]))[:limit]


def _by(evaluation: Evaluation) -> list[tuple[str, list[Any]]]:
    grouped: dict[str, list[Any]] = {}
    for score in evaluation.slices:
        grouped.setdefault(score.by, []).append(score)
    return list(grouped.items())


def _share_rows(shares: Mapping[str, Estimate]) -> list[tuple[str, list[tuple[str, Estimate]]]]:
    """Shares by kind, the largest first."""
    kinds = (("Scenes", "scene."), ("Attributes", "attr."), ("Objects", "object."))
    found = [
        (name, sorted(((label, e) for label, e in shares.items() if label.startswith(prefix)), key=lambda item: -item[1].value))
        for name, prefix in kinds
    ]
    return [(name, rows[:SHOWN_OBJECTS]) for name, rows in found if rows]


def _says(mistake: Mistake) -> str:
    """What was said, in words: an attribute's value stands for the attribute itself."""
    return "left open" if mistake.predicted is None else ", ".join(charts.short(part) for part in mistake.predicted.split(", "))


def _truly(mistake: Mistake) -> str:
    return ", ".join(charts.short(part) for part in mistake.truth.split(", "))


def _environment() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup, escape

    def breakable(path: str) -> Markup:
        """A path that may break a line after its separators, not within its words."""
        return Markup(re.sub(r"([/_-]+)", r"\1<wbr>", str(escape(path))))  # noqa: S704 - escaped before

    environment = Environment(
        loader=PackageLoader("vibe_assets.evaluate"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )  # fmt: skip
    environment.filters.update(pct=percent, bar=bar, short=charts.short, says=_says, truly=_truly, breakable=breakable)
    environment.filters["svg"] = Markup  # only pictures that charts.py drew pass through it
    return environment
