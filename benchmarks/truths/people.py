"""People who lean towards what is filled in, and people who disagree: is the teacher's headline what people say who see nothing?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import polars as pl

from truths.result import Result
from vibe_assets.audit.blind import scene_agreement
from vibe_assets.audit.settle import truth_rows
from vibe_assets.audit.verdicts import Verdict
from vibe_assets.evaluate.intervals import weighted_share
from vibe_assets.questions import load
from vibe_assets.records import Labels

TITLE = "Two people, and what is filled in"
CLAIM = "the 95 % interval of the headline holds the share of photos of which a person who sees nothing filled in gives the teacher's scene"
PHOTOS, BLIND, PULL = 300, 0.2, 0.4  # PULL: of the photos on which a person would differ, the share left as filled in
Act = Literal["labelled", "accepted", "corrected"]


def simulate(libraries: int, seed: int) -> Iterator[Result]:
    truth, questions = _library(), load()
    for setting, people in (("one person", 1), ("two people", 2)):
        now = before = 0
        for at in range(libraries):
            rng = np.random.default_rng([seed, at, people])
            chance = rng.choice([0.25, 0.5, 1.0], PHOTOS)
            agree = np.clip(rng.normal(0.7, 0.2, PHOTOS) - 0.1 * chance, 0, 1)  # chance that a person gives the teacher's scene
            verdicts = list(_verdicts(rng, agree, chance, people))
            audited = truth_rows(verdicts, questions)
            teacher = audited.select("image_id", scene=pl.lit("scene.food"))
            rows = scene_agreement(verdicts, audited, teacher, questions)
            blind = rows.filter(pl.col("agreed_blind").is_not_null())
            found = weighted_share(blind["agreed_blind"], weights=blind["weight"])
            settled = audited.filter(pl.col("scene").is_not_null())
            old = weighted_share(settled["scene"] == "scene.food", weights=1 / settled["inclusion_probability"])
            now += found.low <= truth <= found.high
            before += old.low <= truth <= old.high
        yield Result(f"{setting}, {PULL:.0%} of other answers left as filled in", now / libraries, 0.95, 1.0, libraries, before / libraries)


def _library() -> float:
    chance, rng = np.repeat([0.25, 0.5, 1.0], 100_000), np.random.default_rng(0)
    agree = np.clip(rng.normal(0.7, 0.2, len(chance)) - 0.1 * chance, 0, 1)
    return float((agree / chance).sum() / (1 / chance).sum())


def _verdicts(rng: np.random.Generator, agree: np.ndarray, chance: np.ndarray, people: int) -> Iterator[Verdict]:
    for photo in range(PHOTOS):
        image_id = f"{photo:032x}"
        for person in range(people):
            blind = rng.random() < BLIND
            same = rng.random() < agree[photo] or (not blind and rng.random() < PULL)
            labels = Labels(image_id, {"scene": "scene.food" if same else "scene.other"})
            shown = {"inclusion_probability": float(chance[photo])}
            act: Act = "labelled" if blind else "accepted" if same else "corrected"
            yield Verdict(
                f"{photo}-{person}", "2026-03-01T09:00:00+00:00", image_id, f"p{person}", act, labels, blind=blind, spent_ms=1, shown=shown
            )
