"""An evaluation becomes what a report's template shows of it: tables, charts, galleries and slices, ready to be written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from vibe_assets.evaluate import charts
from vibe_assets.evaluate.labels import HEADLINE, LOWER_IS_BETTER, Evaluation, Mistake
from vibe_assets.evaluate.metrics import ABSTAINED, Confusion, Reliability
from vibe_assets.evaluate.mistakes import GALLERY, worst_photos
from vibe_assets.evaluate.page import TRUTHS, bar, percent
from vibe_assets.evaluate.voices import voices
from vibe_assets.records import Estimate

CARDS = {  # headline figure -> what it says, in the words of somebody with photos
    "scene_accuracy_blind": "of the photos have the scene that people give with nothing filled in; filled-in answers flatter the teacher",
    "scene_accuracy": "of the photos have the right scene; a photo left open counts as wrong",
    "scene_accuracy_forced": "right when every photo must get a scene, the doubtful ones too",
    "scene_accuracy_answered": "right among the photos it is sure enough about",
    "scene_macro_f1": "every scene counts alike, however rare: found where it is, not claimed where it is not",
    "attributes_macro_f1": "yes-or-no questions such as “is a person in it?”, each counting alike",
    "objects_top1": "of the photos that show a known object: the first object named is the main one, the most specific name of it",
    "objects_top3": "the same, for the first three objects named",
    "scene_ece": "how far the stated confidence is from the share that is right",
}
REFERENCE = {"human": "people", "auto": "teacher"}
SHOWN_OBJECTS = 24
SMALLEST_SLICE = 5  # photos: below it an interval says nothing
SHOWN_SLICES = 16
SHOWN_GAP = 0.02  # between mean confidence and the share that is right: smaller ones are not worth a word
ERROR_SCALE = 0.25  # calibration errors are drawn on 0..25 %
Shares = Mapping[str, tuple[Estimate, Estimate]]  # label -> (checks and models together, the checks alone)
Calibration = Mapping[str, tuple[Reliability | None, Reliability | None]]  # label -> (before, after)


def card_names(evaluation: Evaluation) -> list[str]:
    """Which figures get a card: where the scene was also judged without abstaining, that and the answered stand for the accuracy."""
    names = [name for name in CARDS if name in evaluation.headline]
    if "scene_accuracy_forced" in names:
        return [name for name in names if name not in ("scene_accuracy", "scene_macro_f1")]
    left_open = evaluation.abstained.get("scene")
    return names if left_open is not None and left_open.value > 0 else [name for name in names if name != "scene_accuracy_answered"]


def card(name: str, evaluation: Evaluation, before: Estimate | None) -> dict[str, Any]:
    """One headline figure with its interval, and how far it is from `before`."""
    estimate, lower = evaluation.headline[name], name in LOWER_IS_BETTER
    change = None if before is None else estimate.value - before.value
    about = CARDS[name]
    if name == "scene_accuracy_answered" and (left_open := evaluation.abstained.get("scene")) is not None:
        about += f"; it answers {percent(1 - left_open.value, 0)} and leaves the rest open"
    if name == "scene_ece" and evaluation.reliability is not None and estimate.low > 0:
        about += _direction(evaluation.reliability, evaluation.subject)
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


def _direction(found: Reliability, subject: str) -> str:
    """Whether the confidence is too high or too low on the whole; nothing where the bins' gaps cancel out."""
    said, right = (sum(np.multiply(values, found.share)) for values in (found.confidence, found.accuracy))
    if abs(said - right) < max(SHOWN_GAP, found.error / 2):
        return ""
    held_out = "; it is set on folders that did not train, where confidence is worth less" if subject == "student" else ""
    verdict = "too sure" if said > right else f"too modest{held_out}"
    return f": {percent(said, 0)} on average where {percent(right, 0)} are right, {verdict}"


def part(
    evaluation: Evaluation,
    thumbnails: Mapping[str, str],
    names: Mapping[str, str],
    calibration: Calibration | None,
    beside: Mapping[str, Mapping[str, Mapping[str, Any]]],
    thresholds: Mapping[str, float],
) -> dict[str, Any]:
    """What the template shows of one evaluation; the arguments are `render_report`'s."""
    chosen = {score.label: score for score in evaluation.labels}
    objects = sorted(evaluation.table("object"), key=lambda score: (-score.support, -score.predicted, score.label))
    pairs = dict(calibration or {})
    if evaluation.reliability is not None and not pairs:
        pairs = {"scene": (None, evaluation.reliability)}
    seen = None if evaluation.confusion is None else seen_only(evaluation.confusion)
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
        "confusions": [] if seen is None else [c for c in frequent_moves(seen, len(seen.rows) ** 2) if c["answer"] != ABSTAINED][:8],
        "curves": [
            {"curve": curve, "svg": charts.precision_recall(curve, chosen.get(label)), "at": thresholds.get(label)}
            for label, curve in evaluation.curves.items()
        ],
        "calibration": [
            {"label": label, "before": before, "after": after, "svg": charts.calibration(before, after)}
            for label, (before, after) in pairs.items()
        ],
        "pictures": bool(thumbnails),
        "gallery": _gallery(evaluation, thumbnails, names, beside),
        "slices": slice_tables(evaluation),
        "abstained": {label: share for label, share in evaluation.abstained.items() if share.value > 0},
    }  # fmt: skip


def seen_only(confusion: Confusion) -> Confusion:
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
            "voices": voices(beside.get(image_id, {}), REFERENCE[evaluation.truth_kind]),
            "mistakes": sorted(mistakes[image_id], key=lambda m: (m.what != "scene", m.predicted is None, m.what)),
        }
        for image_id in shown
    ]  # fmt: skip


def frequent_moves(confusion: Confusion, limit: int = 8) -> list[dict[str, Any]]:
    """The most frequent cells off the diagonal, whatever was left open included."""
    cells = [
        {"truth": row["label"], "answer": column, "photos": cell["photos"], "share": cell["share"]}
        for row in charts.heat(confusion)
        for column, cell in zip(confusion.columns, row["cells"], strict=True)
        if cell["photos"] and not cell["right"]
    ]
    return sorted(cells, key=lambda cell: (-cell["photos"], -cell["share"], cell["truth"], cell["answer"]))[:limit]


def slice_tables(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Scene accuracy by part of the library, largest cut first; parts too small to say anything are counted, not shown."""
    grouped: dict[str, list[Any]] = {}
    for score in evaluation.slices:
        grouped.setdefault(score.by, []).append(score)
    tables: list[dict[str, Any]] = []
    cuts: list[list[Any]] = []
    for by, scores in grouped.items():
        if any({(s.value, s.accuracy.n) for s in scores} == {(s.value, s.accuracy.n) for s in other} for other in cuts):
            continue  # where every folder lies at the top, its first part says the same
        cuts.append(scores)
        large = sorted((score for score in scores if score.accuracy.n >= SMALLEST_SLICE), key=lambda score: score.accuracy.value)
        if len(large) >= 2:
            tables.append({"by": by, "rows": large[:SHOWN_SLICES], "hidden": len(scores) - len(large[:SHOWN_SLICES])})
    return sorted(tables, key=lambda table: -len(table["rows"]))


def share_rows(shares: Shares) -> list[tuple[str, list[tuple[str, Estimate, Estimate]]]]:
    """Label, share by checks and models, share by the checks alone: by kind, the largest first."""
    kinds = (("Scenes", "scene."), ("Attributes", "attr."), ("Objects", "object."))
    found = [
        (name, sorted(((label, *both) for label, both in shares.items() if label.startswith(prefix)), key=lambda item: -item[1].value))
        for name, prefix in kinds
    ]
    return [(name, rows[:SHOWN_OBJECTS]) for name, rows in found if rows]
