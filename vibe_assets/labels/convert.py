"""The teacher's answers become automatic ground truth: scene, attributes and objects in the taxonomy's keys, one row per photo."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from vibe_assets.records import ATTRIBUTES, AUTO_GROUND_TRUTH, Labels, fingerprint
from vibe_assets.strangers import json_value

if TYPE_CHECKING:
    import polars as pl

    from vibe_assets.labels.taxonomy import Taxonomy
    from vibe_assets.settings import LabelSettings

CONVERSION_VERSION = 1  # raise when the rules below change what an answer becomes


def convert(annotations_rows: pl.DataFrame, taxonomy: Taxonomy, *, min_object_confidence: float, include_non_main: bool) -> pl.DataFrame:
    """ANNOTATIONS rows -> AUTO_GROUND_TRUTH rows, sorted by image_id.

    Rows with a reason (failures) are left out. Of several answers to one photo the last row counts. Raises ValueError when an
    answer without a reason is not a JSON object.
    """
    import polars as pl

    mapping = _mapping(taxonomy, min_object_confidence, include_non_main)
    truth: dict[str, dict[str, Any]] = {}
    answered = annotations_rows.filter(pl.col("reason").is_null())
    for image_id, text, teacher in answered.select("image_id", "annotation", "teacher").iter_rows():
        labels = labels_of(image_id, _parsed(image_id, text), taxonomy, min_object_confidence=min_object_confidence,
                           include_non_main=include_non_main)  # fmt: skip
        truth[image_id] = {**labels.row(), "teacher": teacher, "mapping": mapping}
    return pl.DataFrame([truth[image_id] for image_id in sorted(truth)], schema=AUTO_GROUND_TRUTH.polars_schema())


def labels_of(image_id: str, answer: dict[str, Any], taxonomy: Taxonomy, *, min_object_confidence: float, include_non_main: bool) -> Labels:
    """One answer as labels. What the answer does not say clearly is unknown, never false."""
    attributes = {name: answer[name] for name in ATTRIBUTES if isinstance(answer.get(name), bool)}
    objects = _objects(answer.get("objects"), taxonomy, min_object_confidence, include_non_main)
    return Labels(image_id, taxonomy.scene_of(answer.get("scene")), attributes, objects)


def mapping_fingerprint(taxonomy: Taxonomy, settings: LabelSettings) -> str:
    """16 hex digits over everything but the answers that decides what `convert` returns."""
    return _mapping(taxonomy, settings.min_object_confidence, settings.include_non_main)


def _mapping(taxonomy: Taxonomy, min_object_confidence: float, include_non_main: bool) -> str:
    return fingerprint({
        "conversion": CONVERSION_VERSION, "taxonomy": taxonomy.fingerprint,
        "min_object_confidence": float(min_object_confidence), "include_non_main": include_non_main,
    })  # fmt: skip


def _objects(values: Any, taxonomy: Taxonomy, min_confidence: float, include_non_main: bool) -> tuple[str, ...]:
    """Keys, main objects first, then by falling confidence; equal ones stay in the answer's order."""
    found = []
    for value in values if isinstance(values, list) else []:
        if not isinstance(value, dict):
            continue
        key, main, confidence = (
            taxonomy.object_of(value.get("coarse_type")),
            value.get("is_main") is True,
            _confidence(value.get("confidence")),
        )
        if key is not None and confidence >= min_confidence and (main or include_non_main):
            found.append((not main, -confidence, key))
    return tuple(dict.fromkeys(key for *_, key in sorted(found, key=lambda entry: entry[:2])))


def _confidence(value: Any) -> float:
    """A number of 0..1 as it is; anything else is no confidence at all."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0.0
    return float(value) if math.isfinite(value) and 0 <= value <= 1 else 0.0


def _parsed(image_id: str, text: str | None) -> dict[str, Any]:
    try:
        answer = json_value(text or "")
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise ValueError(f"annotation of {image_id}: expected a JSON object in a row without a reason, got {text!r:.80}")
    return answer
