"""The teacher's answers become automatic ground truth: the labels of every question, one row per photo."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from vibe_assets.records import AUTO_GROUND_TRUTH, fingerprint
from vibe_assets.strangers import json_value

if TYPE_CHECKING:
    import polars as pl

    from vibe_assets.questions import Questions
    from vibe_assets.settings import LabelSettings

CONVERSION_VERSION = 1  # raise when the rules below change what an answer becomes


def convert(annotations_rows: pl.DataFrame, questions: Questions, *, min_object_confidence: float, include_non_main: bool) -> pl.DataFrame:
    """ANNOTATIONS rows -> AUTO_GROUND_TRUTH rows, sorted by image_id.

    Rows with a reason (failures) are left out. Of several answers to one photo the last row counts. Raises ValueError when an
    answer without a reason is not a JSON object.
    """
    import polars as pl

    mapping = _mapping(questions, min_object_confidence, include_non_main)
    truth: dict[str, dict[str, Any]] = {}
    off = _switched_off(annotations_rows, questions)
    for image_id, annotation, teacher in _answers(annotations_rows):
        annotation = {key: value for key, value in annotation.items() if key not in off.get(image_id, ())}
        told = questions.tell(annotation, min_confidence=min_object_confidence, include_non_main=include_non_main)
        truth[image_id] = {"image_id": image_id, **told.values, "teacher": teacher, "mapping": mapping, "overruled": list(told.overruled)}
    schema = AUTO_GROUND_TRUTH.of(questions).polars_schema()
    return pl.DataFrame([truth[image_id] for image_id in sorted(truth)], schema=schema)


def _switched_off(rows: pl.DataFrame, questions: Questions) -> dict[str, frozenset[str]]:
    """Photo -> members of its answer to questions that it is asked in none of the folders where it lies."""
    found: dict[str, frozenset[str]] = {}
    if any(question.off for question in questions):
        for image_id, path in rows.select("image_id", "rel_path").iter_rows():
            off = frozenset(name for question in questions if question.is_off(path) for name in question.schema)
            found[image_id] = found.get(image_id, off) & off
    return found


def strange_words(
    annotations_rows: pl.DataFrame, questions: Questions, *, min_object_confidence: float, include_non_main: bool
) -> Counter[str]:
    """ "QUESTION: word" -> photos, of words of the answers that mean no label."""
    found: dict[str, tuple[str, ...]] = {}
    for image_id, annotation, _ in _answers(annotations_rows):
        found[image_id] = questions.tell(annotation, min_confidence=min_object_confidence, include_non_main=include_non_main).strange
    return Counter(word for words in found.values() for word in set(words))


def _answers(annotations_rows: pl.DataFrame) -> Iterator[tuple[str, dict[str, Any], str]]:
    """image_id, annotation and teacher of every answer."""
    import polars as pl

    answered = annotations_rows.filter(pl.col("reason").is_null())
    for image_id, text, teacher in answered.select("image_id", "annotation", "teacher").iter_rows():
        yield image_id, _parsed(image_id, text), teacher


def mapping_fingerprint(questions: Questions, settings: LabelSettings) -> str:
    """16 hex digits over everything but the answers that decides what `convert` returns."""
    return _mapping(questions, settings.min_object_confidence, settings.include_non_main)


def _mapping(questions: Questions, min_object_confidence: float, include_non_main: bool) -> str:
    return fingerprint({
        "conversion": CONVERSION_VERSION, "labels": questions.fingerprint,
        "min_object_confidence": float(min_object_confidence), "include_non_main": include_non_main,
    })  # fmt: skip


def _parsed(image_id: str, text: str | None) -> dict[str, Any]:
    try:
        answer = json_value(text or "")
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise ValueError(f"annotation of {image_id}: expected a JSON object in a row without a reason, got {text!r:.80}")
    return answer
