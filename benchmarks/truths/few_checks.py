"""Checks and models together, with students that know something, nothing, or the opposite: coverage, width, and what doubt is worth."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from truths.library import Library, make, shared
from truths.result import Result
from vibe_assets.evaluate.combined import Models, combined_share
from vibe_assets.evaluate.intervals import weighted_share
from vibe_assets.evaluate.paired import weighted_difference
from vibe_assets.evaluate.said import Said
from vibe_assets.questions import load
from vibe_assets.records import Estimate

TITLE = "More from every check"
CLAIM = "95 % intervals of checks and models together hold the figure in at least 93 % of libraries, whatever the students are like"
PHOTOS, ACCURACY, PRIOR = 4000, 0.9, 0.3
LABEL, OTHER = "scene.food", "scene.other"
STUDENTS = ("useful", "useless", "adversarial")


def simulate(libraries: int, seed: int) -> Iterator[Result]:
    """Coverage of every figure; before: the checks alone. Then widths, of which the claim is that nothing is lost."""
    for in_bursts in (0.0, 0.2, 0.42, 0.8):
        for size in (50, 200, 800):
            rng = np.random.default_rng([seed, size, round(100 * in_bursts)])
            library = make(PHOTOS, in_bursts, rng)
            held: dict[tuple[str, str], list[tuple[bool, bool]]] = {}
            for number in range(libraries):
                right = shared(library, ACCURACY, rng)
                record = library.draw(size, number)
                for student in STUDENTS:
                    for name, both, alone, true in _figures(library, record, right, student, rng):
                        held.setdefault((student, name), []).append((_holds(both, true), _holds(alone, true)))
            for (student, name), marks in sorted(held.items()):
                now, before = (float(np.mean(column)) for column in zip(*marks, strict=True))
                yield Result(f"{name}, {size} checks, {in_bursts:.0%} in bursts, {student} student", now, 0.93, 1.0, len(marks), before)
    for student in STUDENTS:
        yield from _second_draws(libraries, seed, student)


def _second_draws(libraries: int, seed: int, student: str) -> Iterator[Result]:
    """A sample of 200 by doubt after 100 random checks, against 200 at random: how much wider, and is it true?"""
    rng = np.random.default_rng([seed, len(student)])
    library = make(PHOTOS, 0.0, rng)
    widths: dict[str, list[float]] = {"doubt": [], "random": []}
    held = []
    for number in range(libraries):
        right = shared(library, ACCURACY, rng)
        sure, predictions = _answers(library, right, student, rng)
        first = library.draw(100, 2 * number)
        at = np.flatnonzero(first["drawn"].to_numpy())
        checked = {library.truth["image_id"][int(k)]: (float(not right[k]), 1 / first["inclusion_probability"][int(k)]) for k in at}
        for strategy, found in widths.items():
            record = library.draw(200, 2 * number + 1, strategy, predictions, checked)
            drawn = np.flatnonzero(record["drawn"].to_numpy())
            weights = 1 / record["inclusion_probability"].to_numpy()[drawn]
            models = Models(sure[drawn, None], sure.mean(keepdims=True), PHOTOS)
            both = combined_share(right[drawn], models, weights=weights, groups=library.group[drawn], finite=True)
            found.append(both.high - both.low)
            if strategy == "doubt":
                held.append(_holds(both, right.mean()))
    ratio = np.array(widths["doubt"]) / np.array(widths["random"])
    error = float(ratio.std() / np.sqrt(libraries))
    yield Result(f"width by doubt over width at random, {student} student", float(ratio.mean()), 0.0, 1.02, libraries, 1.0, error)
    yield Result(f"accuracy by doubt, 200 checks, {student} student", float(np.mean(held)), 0.93, 1.0, libraries)


def _holds(estimate: Estimate, true: float) -> bool:
    return estimate.low - 1e-12 <= true <= estimate.high + 1e-12


def _answers(
    library: Library, right: NDArray[np.bool_], student: str, rng: np.random.Generator
) -> tuple[NDArray[np.float64], pl.DataFrame]:
    """How sure the student is of the teacher's scene, and the student's own answers."""
    n = len(library)
    knows, doubts = rng.beta(8, 1.5, n), rng.beta(3, 3, n)
    kinds = {"useful": np.where(right, knows, doubts), "useless": rng.beta(5, 1.5, n), "adversarial": np.where(right, doubts, knows)}
    sure = kinds[student]
    scene = np.where(sure >= 0.5, library.truth["scene"].to_numpy(), "scene.none")
    own = {"image_id": library.truth["image_id"], "scene": scene, "scene_confidence": np.maximum(sure, 1 - sure)}
    return sure, pl.DataFrame(own)


def _figures(
    library: Library, record: pl.DataFrame, right: NDArray[np.bool_], student: str, rng: np.random.Generator
) -> Iterator[tuple[str, Estimate, Estimate, float]]:
    """Name, by both, by the checks alone, and of the whole library; of one label of two."""
    sure, _ = _answers(library, right, student, rng)
    true = shared(library, PRIOR, rng)
    said = true == right
    drawn = np.flatnonzero(record["drawn"].to_numpy())
    ids, weights, groups = library.truth["image_id"], 1 / record["inclusion_probability"].to_numpy()[drawn], library.group[drawn]
    here = [ids[int(at)] for at in drawn]
    own = said == (sure >= 0.5)  # the student's answer: the teacher's where it believes it
    models = Said(ids.to_list(), [_rows(ids, said), _rows(ids, own, np.maximum(sure, 1 - sure))], questions=load())
    hit, positive, guess = right[drawn], true[drawn], said[drawn]
    all_ = np.ones(len(drawn), dtype=bool)
    for name, hits, among, what, whole in (
        ("accuracy", hit, all_, models.agreement(here, "scene"), right.mean()),
        ("share of a label", positive, all_, models.shares(here, LABEL), true.mean()),
        ("precision", positive, guess, models.of_label(here, LABEL, "precision"), true[said].mean()),
        ("recall", guess, positive, models.of_label(here, LABEL, "recall"), said[true].mean()),
    ):
        if among.any() and what is not None:
            both = combined_share(hits, what, among=among, weights=weights, groups=groups, finite=True)
            alone = weighted_share(hits[among], weights=weights[among], groups=groups[among], finite=True)
            yield name, both, alone, float(whole)
    other = np.where(shared(library, 0.15, rng), ~right, right)  # a second teacher, and what the student has of the difference
    gap, seen = other.astype(float) - right, (own == other).astype(float) - (own == right)
    shared_: dict[str, Any] = {"weights": weights, "groups": groups}
    both = weighted_difference(gap[drawn], **shared_, models=Models(seen[drawn, None], seen.mean(keepdims=True), PHOTOS))
    yield "difference", both, weighted_difference(gap[drawn], **shared_), float(gap.mean())


def _rows(ids: pl.Series, yes: NDArray[np.bool_], sure: NDArray[np.float64] | None = None) -> pl.DataFrame:
    rows = pl.DataFrame({"image_id": ids, "scene": np.where(yes, LABEL, OTHER)}).with_columns(
        *(pl.lit(None, pl.Boolean).alias(name) for name in (field.name for field in load()["attributes"].fields)),
        pl.lit(None, pl.List(pl.String)).alias("objects"),
    )
    return rows if sure is None else rows.with_columns(scene_confidence=pl.Series(sure))
