"""Label rows for the tests of this room: hand-written ones, and a simulated library with known chances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from tests.support.questions import ATTRIBUTES, PACKAGED
from vibe_assets.evaluate.figures import kinds_of

KINDS = kinds_of(PACKAGED)
SCENES = ("scene.people", "scene.food", "scene.document", "scene.other")
OBJECTS = ("object.drink", "object.document.book", "object.dailystuff.vehicle", "object.animals.dog")


def labels(rows: Sequence[Mapping[str, Any]], **extra: pl.DataType | type[pl.DataType]) -> pl.DataFrame:
    """Rows with image_id, scene, objects and attributes; what is left out is unknown (objects: none)."""
    schema: dict[str, Any] = {
        "image_id": pl.String,
        "scene": pl.String,
        **dict.fromkeys(ATTRIBUTES, pl.Boolean),
        "objects": pl.List(pl.String),
    }
    full = [{**dict.fromkeys(schema), "objects": [], **dict.fromkeys(extra), **row} for row in rows]
    return pl.DataFrame(full, schema={**schema, **extra})


def library(n: int = 240, *, seed: int = 0, accuracy: float = 0.75) -> tuple[pl.DataFrame, pl.DataFrame, dict[str, str]]:
    """Truth, predictions with confidences, and groups of two, of a simulated library."""
    rng = np.random.default_rng(seed)
    truth, predicted = [], []
    for at in range(n):
        scene = SCENES[rng.choice(4, p=[0.4, 0.3, 0.2, 0.1])]
        attributes = {name: bool(rng.random() < 0.4) if rng.random() < 0.9 else None for name in ATTRIBUTES}
        objects = [OBJECTS[k] for k in rng.choice(4, size=rng.integers(0, 3), replace=False)]
        image_id = f"{at:032x}"
        truth.append({"image_id": image_id, "scene": scene if rng.random() < 0.95 else None, **attributes, "objects": objects,
                      "inclusion_probability": 0.2 if scene == "scene.people" else 0.6})  # fmt: skip
        sure = float(rng.uniform(0.3, 1))
        said = scene if rng.random() < accuracy else SCENES[rng.integers(4)]
        row: dict[str, Any] = {"image_id": image_id, "scene": said if rng.random() < 0.95 else None, "scene_confidence": sure}
        for name in ATTRIBUTES:
            chance = float(1 / (1 + np.exp(-rng.normal(1.5 if attributes[name] else -1.5, 1.5))))
            row |= {name: None if abs(chance - 0.5) < 0.03 else chance > 0.5, f"{name}_confidence": chance}
        row["objects"] = [label for label in objects if rng.random() < 0.8]
        row["object_confidences"] = [f"{label}={rng.random():.3f}" for label in row["objects"]]
        predicted.append(row)
    confidences = {f"{name}_confidence": pl.Float64 for name in ("scene", *ATTRIBUTES)}
    return (
        labels(truth, inclusion_probability=pl.Float64),
        labels(predicted, **confidences, object_confidences=pl.List(pl.String)),
        {f"{at:032x}": str(at // 2) for at in range(n)},
    )
