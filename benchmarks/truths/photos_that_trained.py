"""Libraries with bursts, some of whose photos lie on different sides of the split: on which photos are students judged?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl

from truths.result import Result
from vibe_assets.stages.students import untrained_photos

TITLE = "No student is judged on a photo that trained, nor on a burst mate of one"
CLAIM = "none of the photos that judge students has a photo of its group among those that trained or chose"
BURSTS, ASTRAY = 60, 0.05  # photos of a burst that lie on another side than the rest, as an older split may have left them


def simulate(libraries: int, seed: int) -> Iterator[Result]:
    """Before: every photo, as `vibe compare predictions audited_ground_truth` judged."""
    now, before, photos, judged = 0, 0, 0, 0
    for library in range(libraries):
        rng = np.random.default_rng((seed, library))
        group = np.repeat(np.arange(BURSTS), rng.integers(1, 5, BURSTS))
        sides = np.array(["train", "val", "test"])
        split = sides[rng.choice(3, BURSTS, p=[0.6, 0.15, 0.25])][group]
        split = np.where(rng.random(len(group)) < ASTRAY, sides[rng.integers(0, 3, len(group))], split)
        rows = pl.DataFrame({"image_id": np.arange(len(group)).astype(str), "group_id": group.astype(str), "split": split})
        seen = np.isin(group, group[split != "test"])
        held_out = rows["image_id"].is_in(untrained_photos(rows)["image_id"].to_list()).to_numpy()
        now, before = now + int((held_out & seen).sum()), before + int(seen.sum())
        photos, judged = photos + len(group), judged + int(held_out.sum())
    yield Result("share of the photos that judge", now / judged, 0.0, 0.0, libraries, before / photos, 0.0)
