"""A simulated library with bursts, and what people would say of it, for the rows about the audit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from vibe_assets.labels.sample import draw_record
from vibe_assets.records import AUTO_GROUND_TRUTH
from vibe_assets.settings import AuditSettings

LARGEST = 40  # photos in a burst, 2 to this many, small ones more often


@dataclass(frozen=True)
class Library:
    """Photos in groups, as the tables that a draw reads; `group` numbers the group of each photo."""

    truth: pl.DataFrame
    groups: pl.DataFrame
    paths: pl.DataFrame
    group: NDArray[np.int_]

    def __len__(self) -> int:
        return len(self.group)

    def draw(
        self,
        size: int,
        seed: int,
        strategy: str = "random",
        predictions: pl.DataFrame | None = None,
        checked: Mapping[str, tuple[float, float]] | None = None,
    ) -> pl.DataFrame:
        """The record of the product's own draw, in the order of the photos."""
        settings = AuditSettings(sample_size=size, seed=seed, strategy=strategy)
        options: dict[str, Any] = {"settings": settings, "predictions": predictions, "checked": checked}
        return draw_record(self.truth, self.groups, paths=self.paths, **options)


def make(photos: int, in_bursts: float, rng: np.random.Generator, *, rare: float = 0.1) -> Library:
    """So many photos, the given share of them in bursts; a quarter of the groups is in the test split, `rare` of them of a rare scene."""
    sizes = []
    left = round(photos * in_bursts)
    while left > 1:
        sizes.append(min(left, int(2 * (LARGEST / 2) ** rng.random())))
        left -= sizes[-1]
    group = np.repeat(np.arange(photos - sum(sizes) + len(sizes)), sizes + [1] * (photos - sum(sizes)))
    ids = [f"{at:06d}" for at in range(photos)]
    scenes = np.where(rng.random(group.max() + 1) < rare, "scene.document", "scene.food")[group]
    test = np.where(rng.random(group.max() + 1) < 0.25, "test", "train")[group]
    schema = AUTO_GROUND_TRUTH.polars_schema()
    truth = pl.DataFrame({"image_id": ids, "scene": scenes}).with_columns(
        pl.lit(None, dtype).alias(name) for name, dtype in schema.items() if name not in ("image_id", "scene")
    )
    names = [f"g{number}" for number in group]
    groups = pl.DataFrame({"image_id": ids, "group_id": names, "split": test})
    return Library(truth.select(list(schema)), groups, pl.DataFrame({"image_id": ids, "rel_path": ids}), group)


def shared(library: Library, share: float, rng: np.random.Generator, *, alike: float = 0.9) -> NDArray[np.bool_]:
    """Marks of so large a share of the photos, those of one group mostly alike."""
    of_group = rng.random(library.group.max() + 1) < share
    return np.where(rng.random(len(library)) < alike, of_group[library.group], rng.random(len(library)) < share)
