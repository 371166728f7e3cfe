"""Photos with a main object, one beside it and their parents: answers that name the main one, the other, or only a parent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl

from truths.result import Result
from vibe_assets.evaluate.labels import evaluate_labels
from vibe_assets.questions import load

TITLE = "The main object is found by its own name"
CLAIM = "top-1 counts the share of photos whose main object is named first: no parent, and no other object of the photo"
QUESTIONS = load()
PHOTOS, MAIN, OTHER = 60, 0.5, 0.2  # the rest of the answers names a parent
KEYS = [key for key in QUESTIONS["objects"].keys if key.count(".") == 2][:12]


def simulate(libraries: int, seed: int) -> Iterator[Result]:
    top1, parents = [], []
    for library in range(libraries):
        rng = np.random.default_rng((seed, library))
        truth, said = [], []
        for _ in range(PHOTOS):
            main, other = rng.choice(KEYS, 2, replace=False).tolist()
            draw = rng.random()
            truth.append([main, other])
            said.append([main if draw < MAIN else other if draw < MAIN + OTHER else main.rpartition(".")[0]])
        found = evaluate_labels(_rows(said), _rows(truth), questions=QUESTIONS, kinds=("object",), resamples=2).headline
        top1.append(found["objects_top1"].value)
        parents.append(found["objects_top1_with_parents"].value)
    error = float(np.std(top1) / np.sqrt(libraries))
    yield Result("named first on half of the photos", float(np.mean(top1)), MAIN, MAIN, libraries, float(np.mean(parents)), error)


def _rows(objects: list[list[str]]) -> pl.DataFrame:
    schema: dict[str, Any] = {
        "image_id": pl.String,
        **{
            field.name: pl.List(pl.String) if field.dtype == "list[str]" else pl.Boolean if field.dtype == "bool" else pl.String
            for field in QUESTIONS.fields
        },
    }
    return pl.DataFrame([{**dict.fromkeys(schema), "image_id": str(at), "objects": own} for at, own in enumerate(objects)], schema=schema)
