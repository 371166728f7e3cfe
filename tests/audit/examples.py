"""Verdict rows for the tests of this room: hand-written ones, and a simulated team of annotators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl

from tests.support.questions import ATTRIBUTES

SCENES = ("scene.food", "scene.people", "scene.document", "scene.other")
SCHEMA: dict[str, Any] = {
    "image_id": pl.String, "annotator": pl.String, "act": pl.String, "blind": pl.Boolean, "scene": pl.String,
    **dict.fromkeys(ATTRIBUTES, pl.Boolean), "objects": pl.List(pl.String), "spent_ms": pl.Int64, "at": pl.Datetime("us", "UTC"),
    "source": pl.String, "reason": pl.String, "view": pl.String, "in_order": pl.Boolean, "shown_teacher": pl.String,
}  # fmt: skip


def verdict_table(rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """Rows as `judgement_rows` gives them; what is left out is an ordinary blind label."""
    usual = {"act": "labelled", "blind": True, "spent_ms": 4000, "at": datetime(2026, 1, 1, tzinfo=UTC), "source": "page", "in_order": True}
    return pl.DataFrame([{**dict.fromkeys(SCHEMA), **usual, **row} for row in rows], schema=SCHEMA)


def answers(table: Sequence[Sequence[Any]], question: str = "scene") -> pl.DataFrame:
    """One list of answers per person, None where there is none -> verdict rows."""
    return verdict_table(
        [
            {"image_id": f"{at:03}", "annotator": f"p{person}", question: answer}
            for person, said in enumerate(table)
            for at, answer in enumerate(said)
            if answer is not None
        ]
    )


def team(photos: int = 120, *, pull: float = 0.6, seed: int = 0) -> tuple[pl.DataFrame, pl.DataFrame, dict[str, str]]:
    """Verdicts of three people, the teacher's labels, and groups of two.

    The teacher is right 8 times of 10, people 9 times; a pre-filled answer that somebody would have changed is left with probability
    `pull`. Half the verdicts are pre-filled, which halves the time.
    """
    rng = np.random.default_rng(seed)
    rows, teacher = [], []
    for at in range(photos):
        image_id = f"{at:032x}"
        truth = rng.choice(SCENES)
        says = truth if rng.random() < 0.8 else rng.choice(SCENES)
        marks = {name: bool(rng.random() < 0.4) for name in ATTRIBUTES}
        teacher.append({"image_id": image_id, "scene": says, **{name: m ^ bool(rng.random() < 0.1) for name, m in marks.items()}})
        for person in rng.permutation(["ana", "ben", "eve"])[: rng.integers(1, 4)]:
            if rng.random() < 0.05:
                rows.append({"image_id": image_id, "annotator": person, "act": "skipped", "reason": "unclear", "blind": False})
                continue
            blind = bool(rng.random() < 0.5)
            scene = truth if rng.random() < 0.9 else rng.choice(SCENES)
            if not blind and scene != says and rng.random() < pull:
                scene = says
            spent = int(rng.lognormal(8.5 if blind else 7.8, 0.5))
            act = "labelled" if blind else "accepted" if scene == says else "corrected"
            rows.append({"image_id": image_id, "annotator": person, "act": act, "blind": blind, "scene": scene, **marks, "objects": [],
                         "spent_ms": spent})  # fmt: skip
    labels = pl.DataFrame(teacher, schema={"image_id": pl.String, "scene": pl.String, **dict.fromkeys(ATTRIBUTES, pl.Boolean)})
    return verdict_table(rows), labels, {f"{at:032x}": str(at // 2) for at in range(photos)}
