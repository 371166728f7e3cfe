"""Several draws of different kinds from one library, which may have grown in between: the audit's estimate of the accuracy."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl

from truths.library import Library, make, shared
from truths.result import Result
from vibe_assets.evaluate.intervals import weighted_share
from vibe_assets.labels.draws import audited_chances

TITLE = "Second samples and libraries that grew"
CLAIM = "accuracy is unbiased and its 95 % interval holds it in at least 93 % of libraries, whatever was drawn before, by whatever strategy"
PHOTOS, IN_BURSTS = 1200, 0.42
Plan = tuple[tuple[int, str, float, int], ...]  # places, strategy, share of today's photos that were there, seed
PLANS: dict[str, Plan] = {
    "random, then stratified": ((100, "random", 1.0, 0), (100, "stratified", 1.0, 0)),
    "stratified, then twice as many": ((60, "stratified", 1.0, 0), (120, "stratified", 1.0, 0)),
    "random, then disagreement, then uncertainty": ((80, "random", 1.0, 0), (80, "disagreement", 1.0, 0), (80, "uncertainty", 1.0, 0)),
    "disagreement, then random of a library half as large again": ((100, "disagreement", 2 / 3, 0), (100, "random", 1.0, 0)),
    "stratified, then stratified with another seed": ((100, "stratified", 1.0, 0), (100, "stratified", 1.0, 1)),
}


def simulate(libraries: int, seed: int) -> Iterator[Result]:
    """Bias and coverage of every plan; before: each photo with the probability of the draw it was checked for last."""
    for name, plan in PLANS.items():
        rng = np.random.default_rng([seed, len(name)])
        library = make(PHOTOS, IN_BURSTS, rng)
        scene = library.truth["scene"].to_numpy()
        errors: list[float] = []
        old_errors: list[float] = []
        held: list[bool] = []
        old_held: list[bool] = []
        for number in range(libraries):
            right = np.where(scene == "scene.document", shared(library, 0.5, rng), shared(library, 0.9, rng))
            student = np.where(right | (rng.random(len(right)) < 0.3), scene, "scene.other")
            sure = np.where(right, 1 - 0.4 * rng.random(len(right)), rng.random(len(right)))
            draws = drawn(library, plan, number, pl.DataFrame({"scene": student, "scene_confidence": sure}))
            sampled = draws.filter(pl.col("drawn"))
            chances = audited_chances(draws, sampled["image_id"].to_list())
            last = dict(sampled.select("image_id", "inclusion_probability").iter_rows())
            for chance, off, inside, finite in ((chances, errors, held, True), (last, old_errors, old_held, False)):
                at = np.array([int(image_id) for image_id in chance])
                weights = 1 / np.array(list(chance.values()))
                found = weighted_share(right[at], weights=weights, groups=library.group[at], finite=finite)
                off.append(found.value - right.mean())
                inside.append(found.low <= right.mean() <= found.high)
        error = float(np.std(errors) / np.sqrt(libraries))
        yield Result(f"bias, {name}", float(np.mean(errors)), 0.0, 0.0, libraries, float(np.mean(old_errors)), error)
        yield Result(f"coverage, {name}", float(np.mean(held)), 0.93, 1.0, libraries, float(np.mean(old_held)))


def drawn(library: Library, plan: Plan, number: int, said: pl.DataFrame) -> pl.DataFrame:
    """AUDIT_DRAWS rows of a plan, made by the product's own draws."""
    records = []
    for at, (places, strategy, there, other) in enumerate(plan, start=1):
        n = round(len(library) * there)
        then = Library(library.truth[:n], library.groups[:n], library.paths[:n], library.group[:n])
        seed = 2 * number + other
        predictions = said[:n].with_columns(image_id=then.truth["image_id"])
        records.append(then.draw(places, seed, strategy, predictions).with_columns(draw=pl.lit(at), seed=pl.lit(seed)))
    return pl.concat(records)
