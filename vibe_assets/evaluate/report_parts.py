"""An evaluation becomes what a report's template shows of it: tables, charts, galleries and slices, ready to be written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from vibe_assets.evaluate import charts
from vibe_assets.evaluate.figures import (
    about,
    headline_titles,
    in_headline_order,
    lower_is_better,
    noun,
    one_of,
    plural,
    such_as,
    title,
)
from vibe_assets.evaluate.labels import Evaluation, Mistake
from vibe_assets.evaluate.metrics import ABSTAINED, Confusion, Reliability
from vibe_assets.evaluate.mistakes import GALLERY, worst_photos
from vibe_assets.evaluate.page import TRUTHS, bar, percent
from vibe_assets.evaluate.voices import voices
from vibe_assets.questions import ManyOf, OneOf, Question, Questions, YesNo
from vibe_assets.records import Estimate

REFERENCE = {"human": "people", "auto": "teacher"}
SHOWN_OBJECTS = 24
SMALLEST_SLICE = 5  # photos: below it an interval says nothing
SHOWN_SLICES = 16
SHOWN_GAP = 0.02  # between mean confidence and the share that is right: smaller ones are not worth a word
ERROR_SCALE = 0.25  # calibration errors are drawn on 0..25 %
Shares = Mapping[str, tuple[Estimate, Estimate]]  # label -> (checks and models together, the checks alone)
Calibration = Mapping[str, tuple[Reliability | None, Reliability | None]]  # label -> (before, after)


def card_texts(questions: Questions) -> dict[str, str]:
    """Headline figure that gets a card -> what it says, in the words of somebody with photos; the first question of each type leads."""
    return in_headline_order(questions, _card_texts, _card_of_calibration)


def _card_texts(question: Question, questions: Questions) -> dict[str, str]:
    key, one = question.key, noun(question, questions)
    if isinstance(question, OneOf):
        return {
            f"{key}_accuracy_blind": f"of the photos have the {one} that people give with nothing filled in; filled-in answers flatter the "
            "teacher",
            f"{key}_accuracy": f"of the photos have the right {one}; a photo left open counts as wrong",
            f"{key}_accuracy_forced": f"right when every photo must get a {one}, the doubtful ones too",
            f"{key}_accuracy_answered": "right among the photos it is sure enough about",
            f"{key}_macro_f1": f"every {one} counts alike, however rare: found where it is, not claimed where it is not",
        }
    if isinstance(question, YesNo):
        return {f"{key}_macro_f1": f"yes-or-no questions{such_as(question)}, each counting alike"}
    head = one_of(question, questions)
    return {
        f"{key}_top1": f"of the photos that show a known {head}: the first {head} named is the main one, the most specific name of it",
        f"{key}_top3": f"the same, for the first three {noun(question, questions)} named",
    }


def _card_of_calibration(question: Question, _: Questions) -> dict[str, str]:
    text = "how far the stated confidence is from the share that is right"
    return {f"{question.key}_ece": text} if isinstance(question, OneOf) else {}


def card_names(evaluation: Evaluation) -> list[str]:
    """Which figures get a card: where an answer was also judged without abstaining, that and the answered stand for the accuracy."""
    names = [name for name in card_texts(evaluation.questions) if name in evaluation.headline]
    for question in evaluation.questions.of_type(OneOf):
        key, left_open = question.key, evaluation.abstained.get(question.key)
        hidden = [] if left_open is not None and left_open.value > 0 else [f"{key}_accuracy_answered"]
        if f"{key}_accuracy_forced" in names:
            hidden = [f"{key}_accuracy", f"{key}_macro_f1"]
        names = [name for name in names if name not in hidden]
    return names


def card(name: str, evaluation: Evaluation, before: Estimate | None) -> dict[str, Any]:
    """One headline figure with its interval, and how far it is from `before`."""
    estimate, lower = evaluation.headline[name], lower_is_better(name)
    change = None if before is None else estimate.value - before.value
    about = card_texts(evaluation.questions)[name]
    for question in evaluation.questions.of_type(OneOf):
        if name == f"{question.key}_accuracy_answered" and (left_open := evaluation.abstained.get(question.key)) is not None:
            about += f"; it answers {percent(1 - left_open.value, 0)} and leaves the rest open"
        if name == f"{question.key}_ece" and (found := evaluation.reliabilities.get(question.head)) is not None and estimate.low > 0:
            about += _direction(found, evaluation.subject)
    return {
        "name": headline_titles(evaluation.questions)[name],
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
    pairs = dict(calibration or {}) or {kind: (None, found) for kind, found in evaluation.reliabilities.items()}
    return {
        "evaluation": evaluation,
        "against": TRUTHS.get(evaluation.truth_kind, evaluation.truth_kind),
        "tables": [_table(question, evaluation, thresholds) for question in evaluation.questions],
        "calibration": [
            {"label": label, "before": before, "after": after, "svg": charts.calibration(before, after)}
            for label, (before, after) in pairs.items()
        ],
        "pictures": bool(thumbnails),
        "gallery": _gallery(evaluation, thumbnails, names, beside),
        "slices": slice_tables(evaluation),
        "plain": _plain(evaluation.questions),
    }


def _plain(questions: Questions) -> list[str]:
    """Kinds whose mistakes are shown without the question: the first of one label and the first of many."""
    return [question.head for kind in (OneOf, ManyOf) for question in questions.of_type(kind)[:1]]


def _table(question: Question, evaluation: Evaluation, thresholds: Mapping[str, float]) -> dict[str, Any]:
    """What the template shows of one question."""
    questions, scores = evaluation.questions, list(evaluation.table(question.head))
    shown: dict[str, Any] = {
        "type": question.learnt_as, "title": title(question, questions), "about": about(question, questions),
        "one": one_of(question, questions), "many": plural(question, questions),
    }  # fmt: skip
    if isinstance(question, ManyOf):
        ranked = sorted(scores, key=lambda score: (-score.support, -score.predicted, score.label))
        return {**shown, "rows": ranked[:SHOWN_OBJECTS], "more": ranked[SHOWN_OBJECTS:]}
    if isinstance(question, YesNo):
        chosen = {score.label: score for score in scores}
        curves = [
            {"curve": curve, "svg": charts.precision_recall(curve, chosen[label], questions.short), "at": thresholds.get(label)}
            for label, curve in evaluation.curves.items()
            if label in chosen
        ]
        return {**shown, "rows": [one for one in scores if one.recall is not None or one.precision is not None], "curves": curves}
    share, confusion = evaluation.abstained.get(question.key), evaluation.confusions.get(question.head)
    seen = None if confusion is None else seen_only(confusion)
    moves = () if seen is None else frequent_moves(seen, len(seen.rows) ** 2)
    return {
        **shown,
        "rows": [score for score in scores if score.support or score.predicted],
        "absent": [score.label for score in scores if not score.support and not score.predicted],
        "left_open": share if share is not None and share.value > 0 else None,
        "ordinal": found.words() if (found := evaluation.ordinals.get(question.head)) is not None else (),
        "columns": seen.columns if seen else (),
        "heat": charts.heat(seen) if seen else (),
        "confusions": [move for move in moves if move["answer"] != ABSTAINED][:8],
    }


def seen_only(confusion: Confusion) -> Confusion:
    """Without the labels that neither truth nor answer names."""
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
    main = None if evaluation.questions.main is None else evaluation.questions.main.head
    shown = [image_id for image_id in wanted if not thumbnails or image_id in thumbnails][:GALLERY]
    mistakes: dict[str, list[Mistake]] = {image_id: [] for image_id in shown}
    for mistake in evaluation.mistakes:
        if mistake.image_id in mistakes:
            mistakes[mistake.image_id].append(mistake)
    return [
        {
            "image_id": image_id, "name": names.get(image_id, ""), "picture": thumbnails.get(image_id),
            "voices": voices(beside.get(image_id, {}), REFERENCE[evaluation.truth_kind], questions=evaluation.questions),
            "mistakes": sorted(mistakes[image_id], key=lambda m: (m.what != main, m.predicted is None, m.what)),
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
    """Accuracy of the main question by part of the library, largest cut first; parts too small to say anything are counted, not shown."""
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


def share_rows(shares: Shares, questions: Questions) -> list[tuple[str, list[tuple[str, Estimate, Estimate]]]]:
    """Label, share by checks and models, share by the checks alone: by kind, the largest first."""
    found = []
    for question in questions:
        rows = [(label, *both) for label, both in shares.items() if label.startswith(f"{question.prefix}.")]
        found.append((title(question, questions), sorted(rows, key=lambda row: -row[1].value)))
    return [(name, rows[:SHOWN_OBJECTS]) for name, rows in found if rows]
