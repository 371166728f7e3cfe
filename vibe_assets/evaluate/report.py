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
from vibe_assets.evaluate.metrics import ABSTAINED, Confusion, Reliability
from vibe_assets.lake import write_text
from vibe_assets.records import ATTRIBUTES, Estimate

CARDS = {  # headline figure -> what it says, in the words of somebody with photos
    "scene_accuracy": "of the photos have the right scene; a photo left open counts as wrong",
    "scene_accuracy_forced": "right when every photo must get a scene, the doubtful ones too",
    "scene_accuracy_answered": "right among the photos it is sure enough about",
    "scene_macro_f1": "every scene counts alike, however rare: found where it is, not claimed where it is not",
    "attributes_macro_f1": "yes-or-no questions such as “is a person in it?”, each counting alike",
    "objects_top1": "of the photos that show a known object: the first object named is one of them",
    "objects_top3": "the same, for the first three objects named",
    "scene_ece": "how far the stated confidence is from the share that is right",
}
TRUTHS = {"human": "people's labels", "auto": "the teacher's labels"}
WHO = {"teacher": "the teacher", "student": "the students", "trial": "the candidate"}
SAYS = {"people": "people", "teacher": "teacher", "students": "students"}  # whose labels stand beside a photo, in this order
REFERENCE = {"human": "people", "auto": "teacher"}
GALLERY = 24
SHOWN_OBJECTS = 24
SMALLEST_SLICE = 5  # photos: below it an interval says nothing
SHOWN_SLICES = 16
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
    beside: Mapping[str, Mapping[str, Mapping[str, Any]]] | None = None,
    generated_at: datetime | None = None,
) -> str:
    """One HTML page without JavaScript and without anything to load: opens offline, prints, light and dark, any width.

    The first evaluation gives the cards at the top. `footer`: lineage, shown as given. `thumbnails`: image_id -> data URL of a small
    picture, for the photos of `worst_photos`; `names`: image_id -> path to show. `previous`: the last report's headline.
    `shares`: `estimate_shares`, its baseline the labels' own claim. `calibration`: label -> (before, after). `beside`: image_id -> people |
    teacher | students -> label row, shown side by side under the picture instead of the list of mistakes.
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
            summary=summary(judged[0]),
            cards=[_card(name, judged[0], last.get(name)) for name in card_names(judged[0])],
            comparisons=[comparison] if isinstance(comparison, Comparison) else list(comparison or ()),
            parts=[
                _part(evaluation, thumbnails or {}, names or {}, calibration if at == 0 else None, beside or {})
                for at, evaluation in enumerate(judged)
            ],
            shares=_share_rows(shares or {}),
            footer=footer or {},
        )
    )


def render_index(reports: Sequence[Mapping[str, Any]], trials: Sequence[Mapping[str, Any]], files: Sequence[Mapping[str, str]]) -> str:
    """One HTML page that leads to everything written beside it.

    `reports`: href, title, at (datetime), summary, figures (name, value, interval). `trials`: candidate, verdict, allowed, at.
    `files`: href, name, about. All of it is shown as text.
    """
    return _environment().get_template("index.html").render(reports=reports, trials=trials, files=files)


def summary(evaluation: Evaluation) -> str:
    """The scene figures in one or two sentences; empty where no scene is known."""
    main = evaluation.headline.get("scene_accuracy_forced") or evaluation.headline.get("scene_accuracy")
    if main is None:
        return ""
    who = WHO.get(evaluation.subject, evaluation.subject)
    gives, they, are = ("give", "they answer", "are") if who.endswith("s") else ("gives", "it answers", "is")
    others = {"human": "people give", "auto": "the teacher gives"}.get(evaluation.truth_kind, "the truth gives")
    text = f"{who[:1].upper()}{who[1:]} {gives} the scene that {others} for {percent(main.value, 0)} of the photos"
    text += f" (95 % interval {percent(main.low, 0)} to {percent(main.high, 0)}, {main.n:,} photos)"
    if main.baseline is not None:
        text += f"; always giving the most frequent scene would be right for {percent(main.baseline, 0)}"
    left_open, answered = evaluation.abstained.get("scene"), evaluation.headline.get("scene_accuracy_answered")
    if left_open is None or answered is None or left_open.value == 0:
        return text + "."
    share = percent(1 - left_open.value, 0)
    return f"{text}. Left free to pass when in doubt, {they} {share} and {are} right on {percent(answered.value, 0)} of those."


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
    return "" if evaluation.confusion is None else f"![confusion matrix]({charts.confusion_png(_seen(evaluation.confusion))})"


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


def card_names(evaluation: Evaluation) -> list[str]:
    """Which figures get a card: where the scene was also judged without abstaining, that and the answered stand for the accuracy."""
    names = [name for name in CARDS if name in evaluation.headline]
    if "scene_accuracy_forced" in names:
        return [name for name in names if name not in ("scene_accuracy", "scene_macro_f1")]
    left_open = evaluation.abstained.get("scene")
    return names if left_open is not None and left_open.value > 0 else [name for name in names if name != "scene_accuracy_answered"]


def _card(name: str, evaluation: Evaluation, before: Estimate | None) -> dict[str, Any]:
    estimate, lower = evaluation.headline[name], name in LOWER_IS_BETTER
    change = None if before is None else estimate.value - before.value
    about = CARDS[name]
    if name == "scene_accuracy_answered" and (left_open := evaluation.abstained.get("scene")) is not None:
        about += f"; it answers {percent(1 - left_open.value, 0)} and leaves the rest open"
    return {
        "name": HEADLINE[name],
        "about": about,
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
    beside: Mapping[str, Mapping[str, Mapping[str, Any]]],
) -> dict[str, Any]:
    chosen = {score.label: score for score in evaluation.labels}
    objects = sorted(evaluation.table("object"), key=lambda score: (-score.support, -score.predicted, score.label))
    pairs = dict(calibration or {})
    if evaluation.reliability is not None and not pairs:
        pairs = {"scene": (None, evaluation.reliability)}
    seen = None if evaluation.confusion is None else _seen(evaluation.confusion)
    return {
        "evaluation": evaluation,
        "against": TRUTHS.get(evaluation.truth_kind, evaluation.truth_kind),
        "scenes": [score for score in evaluation.table("scene") if score.support or score.predicted],
        "absent": [score.label for score in evaluation.table("scene") if not score.support and not score.predicted],
        "attributes": [score for score in evaluation.table("attribute") if score.recall is not None or score.precision is not None],
        "objects": objects[:SHOWN_OBJECTS],
        "more_objects": objects[SHOWN_OBJECTS:],
        "columns": seen.columns if seen else (),
        "heat": charts.heat(seen) if seen else (),
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
        "gallery": _gallery(evaluation, thumbnails, names, beside),
        "slices": _by(evaluation),
        "abstained": {label: share for label, share in evaluation.abstained.items() if share.value > 0},
    }  # fmt: skip


def _seen(confusion: Confusion) -> Confusion:
    """Without the scenes that neither truth nor answer names."""
    used = {label for label, row in zip(confusion.rows, confusion.photos, strict=True) if any(row)}
    used |= {label for label, column in zip(confusion.columns, zip(*confusion.photos, strict=True), strict=True) if any(column)}
    rows = [at for at, label in enumerate(confusion.rows) if label in used]
    columns = [at for at, label in enumerate(confusion.columns) if label in used]
    return Confusion(
        tuple(confusion.rows[at] for at in rows),
        tuple(confusion.columns[at] for at in columns),
        tuple(tuple(confusion.photos[row][at] for at in columns) for row in rows),
        tuple(tuple(confusion.shares[row][at] for at in columns) for row in rows),
    )


def _gallery(
    evaluation: Evaluation,
    thumbnails: Mapping[str, str],
    names: Mapping[str, str],
    beside: Mapping[str, Mapping[str, Mapping[str, Any]]],
) -> list[dict[str, Any]]:
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
            "voices": _voices(beside.get(image_id, {}), REFERENCE[evaluation.truth_kind]),
            "mistakes": sorted(mistakes[image_id], key=lambda m: (m.what != "scene", m.predicted is None, m.what)),
        }
        for image_id in shown
    ]  # fmt: skip


# -- labels side by side -----------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Word:
    """One label as it is shown: state right | wrong | open against the reference, '' where that says nothing of it."""

    text: str
    state: str = ""
    label: str = ""  # the full key, on hover
    sure: float | None = None


def _voices(rows: Mapping[str, Mapping[str, Any]], reference: str) -> list[dict[str, Any]]:
    """What people, teacher and students say of one photo; empty where the reference says nothing."""
    truth = rows.get(reference)
    if truth is None:
        return []
    return [
        {"who": who, "reference": name == reference, "words": _words(rows[name], truth, name == reference)}
        for name, who in SAYS.items()
        if name in rows
    ]


def _words(row: Mapping[str, Any], truth: Mapping[str, Any], is_truth: bool) -> list[Word]:
    """Scene, attributes and objects of a row as words."""

    def state(said: Any, true: Any) -> str:
        return "" if is_truth or true is None else "open" if said is None else "right" if said == true else "wrong"

    scene = row.get("scene")
    words = [
        Word("not labelled" if is_truth else "left open", state(None, truth.get("scene")) or "open")
        if scene is None
        else Word(charts.short(scene), state(scene, truth.get("scene")), scene, row.get("scene_confidence"))
    ]
    for name in ATTRIBUTES:
        said, true, text = row.get(name), truth.get(name), charts.short(name)
        if said and said == true and scene is not None and name == f"is_{charts.short(scene)}":
            continue  # the scene has said it
        if said or (said is None and true and not is_truth) or (said is False and true):
            shown = text if said else f"{text}: no" if said is False else f"{text}?"
            words.append(Word(shown, state(said, true), f"attr.{name}", row.get(f"{name}_confidence") if said else None))
    real = list(truth.get("objects") or ())
    for label in row.get("objects") or ():
        known = any(other == label or other.startswith(f"{label}.") for other in real)
        words.append(Word(charts.short(label), "" if is_truth or not real else "right" if known else "wrong", label))
    return words


def _confusions(evaluation: Evaluation, limit: int = 8) -> list[dict[str, Any]]:
    """The most frequent wrong answers."""
    if evaluation.confusion is None:
        return []
    cells = [
        {"truth": row["label"], "answer": column, "photos": cell["photos"], "share": cell["share"]}
        for row in charts.heat(evaluation.confusion)
        for column, cell in zip(evaluation.confusion.columns, row["cells"], strict=True)
        if cell["photos"] and not cell["right"] and column != ABSTAINED
    ]
    return sorted(cells, key=lambda cell: (-cell["photos"], -cell["share"], cell["truth"], cell["answer"]))[:limit]


def _by(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Scene accuracy by part of the library, largest cut first; parts too small to say anything are counted, not shown."""
    grouped: dict[str, list[Any]] = {}
    for score in evaluation.slices:
        grouped.setdefault(score.by, []).append(score)
    tables = []
    for by, scores in grouped.items():
        large = sorted((score for score in scores if score.accuracy.n >= SMALLEST_SLICE), key=lambda score: score.accuracy.value)
        if len(large) >= 2:
            tables.append({"by": by, "rows": large[:SHOWN_SLICES], "hidden": len(scores) - len(large[:SHOWN_SLICES])})
    return sorted(tables, key=lambda table: -len(table["rows"]))


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
