"""The teacher's gate is asked after every pause of an audit: how often does it open for a teacher exactly at the threshold?"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import polars as pl

from truths.result import Result
from vibe_assets.evaluate.intervals import weighted_share
from vibe_assets.evaluate.sequential import ALPHA, evidence
from vibe_assets.labels.sample import draw_sample
from vibe_assets.questions import load
from vibe_assets.sections import AuditSettings

TITLE = "Gates that are asked again and again"
CLAIM = "at the threshold the teacher's gate ever opens in at most 5 % of audits; a clearly good teacher opens it within the default sample"
PHOTOS, THRESHOLD, LOOKS = 3000, 0.6, range(30, 1001, 20)
SETTINGS = {"single photos": False, "bursts, right or wrong together": True}


def simulate(libraries: int, seed: int) -> Iterator[Result]:
    for setting, bursts in SETTINGS.items():
        now, before = _opened(bursts, THRESHOLD, libraries, seed)
        yield Result(f"at the threshold, {setting}", now, 0.0, ALPHA, libraries, before)
    for share in (0.75, 0.8):
        now, before = _opened(False, share, libraries, seed)
        yield Result(f"opens for a teacher of {share}, single photos", now, 0.95, 1.0, libraries, before)


def _opened(bursts: bool, share: float, libraries: int, seed: int) -> tuple[float, float]:
    """Share of audits in which the gate opened at any look: by the bound, and by the interval for one look."""
    rng = np.random.default_rng(seed)
    now = before = 0
    for at in range(libraries):
        hits, weights = _audit(rng, bursts, share, seed=at)
        looks = [n for n in LOOKS if n <= len(hits)]
        now += any(evidence(hits[:n], THRESHOLD, weights=weights[:n], largest=weights.max()) >= math.log(1 / ALPHA) for n in looks)
        before += any(weighted_share(hits[:n], weights=weights[:n]).low >= THRESHOLD for n in looks)
    return now / libraries, before / libraries


def _audit(rng: np.random.Generator, bursts: bool, share: float, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Marks and weights of the default sample of a library, as judged; exactly `share` of the library's photos are right."""
    sizes = np.minimum(np.ceil(rng.pareto(1.2, PHOTOS)), 60).astype(int) if bursts else np.ones(PHOTOS, int)
    group = np.repeat(np.arange(PHOTOS), sizes)[:PHOTOS]
    groups = int(group[-1]) + 1
    scene = rng.choice(6, groups, p=[0.4, 0.25, 0.15, 0.1, 0.07, 0.03])
    right, mass = rng.random(groups) < share + 0.08 * (2 - scene) / 2, np.bincount(group)
    for one in rng.permutation(groups):  # flips bring the share to what it is to be
        gap = share * PHOTOS - (right * mass).sum()
        if abs(gap) < 1:
            break
        if right[one] != (gap > 0) and mass[one] <= abs(gap):
            right[one] = gap > 0
    names = [f"{at:05}" for at in range(PHOTOS)]
    unknown = {name: pl.Series([None] * PHOTOS, dtype=pl.Boolean) for name in (field.name for field in load()["attributes"].fields)}
    truth = pl.DataFrame({"image_id": names, "scene": [f"scene.{scene[at]}" for at in group], **unknown}).with_columns(
        objects=pl.lit([], dtype=pl.List(pl.String))
    )
    split = np.where(np.arange(groups) % 4 == 0, "test", "train")
    placed = pl.DataFrame({"image_id": names, "group_id": [f"g{at:05}" for at in group], "split": split[group].tolist()})
    paths = truth.select("image_id", rel_path="image_id")
    rows = draw_sample(truth, placed, paths=paths, settings=AuditSettings(seed=seed)).sample(fraction=1.0, shuffle=True, seed=seed)
    drawn = group[rows["image_id"].cast(pl.Int64).to_numpy()]
    return right[drawn].astype(float), 1 / rows["inclusion_probability"].to_numpy()
