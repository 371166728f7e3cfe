"""What the teacher and the students say of every photo of a library becomes what `combined_share` reads, label by label."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from vibe_assets.evaluate.align import align
from vibe_assets.evaluate.combined import Models
from vibe_assets.evaluate.labels import Closure, label_marks
from vibe_assets.records import ATTRIBUTES

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


class Said:
    """Label rows of several sources, the one that is judged first, on the photos that a figure is of.

    Confidences (`scene_confidence`, `NAME_confidence`: the probability of yes) count where a source gives them; a photo that a source
    says nothing of counts as its mean.
    """

    def __init__(self, photos: Sequence[str], sources: Sequence[pl.DataFrame], closure: Closure | None = None) -> None:
        import polars as pl

        here = pl.DataFrame({"image_id": list(photos)}, schema={"image_id": pl.String}).unique(maintain_order=True)
        empty = here.with_columns(
            pl.lit(None, pl.String).alias("scene"),
            *(pl.lit(None, pl.Boolean).alias(name) for name in ATTRIBUTES),
            pl.lit(None, pl.List(pl.String)).alias("objects"),
        )
        self.photos, self.closure = here["image_id"].to_list(), closure
        self._sides = [align(rows, empty) for rows in sources]

    @cached_property
    def _at(self) -> dict[str, int]:
        return {image_id: at for at, image_id in enumerate(self.photos)}

    def knows(self, ids: Collection[str]) -> bool:
        """Whether all photos are of those that the figures are of."""
        return all(image_id in self._at for image_id in ids)

    def agreement(self, ids: Sequence[str]) -> Models:
        """How sure the other sources are of the first one's scene; without others: whether there is one."""
        first, *others = self._sides
        scene = first.predicted["scene"]
        columns = []
        for other in others:
            same, sure = (scene == other.predicted["scene"]).to_numpy(), other.confidence("scene")
            known = scene.is_not_null().to_numpy() & other.predicted["scene"].is_not_null().to_numpy()
            sure = np.where(np.isfinite(sure), sure, 1.0)
            columns.append(_filled(np.where(same, sure, 1 - sure), known))
        return self._models(ids, columns or [scene.is_not_null().to_numpy().astype(np.float64)])

    def shares(self, ids: Sequence[str], label: str) -> Models:
        """For the share of photos that have a label: every source's probability of it."""
        return self._models(ids, [self._probability(at, label) for at in range(len(self._sides))])

    def of_label(self, ids: Sequence[str], label: str, what: str) -> Models | None:
        """For the first source's precision or recall of a label; None where it never says so, or nobody else says anything of it."""
        says = self._marks(0, label)[0].astype(np.float64)
        if not says.any():
            return None
        others = [self._probability(at, label) for at in range(1, len(self._sides))]
        if what == "precision":
            return self._models(ids, [says, *(says * other for other in others)])
        return self._models(ids, [part for other in others for part in (says * other, (1 - says) * other)]) if others else None

    def _probability(self, source: int, label: str) -> Floats:
        """(photos,) of a source."""
        side, (has, known) = self._sides[source], self._marks(source, label)
        found = has.astype(np.float64)
        if label.startswith("scene."):
            sure = side.confidence("scene")
            found = np.where(has & np.isfinite(sure), sure, found)
        elif label.startswith("attr."):
            sure = side.confidence(label.removeprefix("attr."))
            found = np.where(np.isfinite(sure), sure, found)
            known = known | np.isfinite(sure)
        return _filled(found, known)

    def _marks(self, source: int, label: str) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """As `label_marks` of a source; objects are looked up, for there are many labels and many photos."""
        rows = self._sides[source].predicted
        if label.startswith(("scene.", "attr.")):
            return label_marks(rows, label)
        has = np.zeros(len(self.photos), dtype=bool)
        for key, photos in self._holders[source].items():
            if label in (self.closure([key]) if self.closure else (key,)):
                has[photos] = True
        return has, rows["objects"].is_not_null().to_numpy()

    @cached_property
    def _holders(self) -> list[dict[str, NDArray[np.int64]]]:
        """Source by source: object key -> the places of the photos that it says so of."""
        import polars as pl

        tables = [side.predicted.select("objects").with_row_index("at").explode("objects").drop_nulls() for side in self._sides]
        held = [rows.group_by("objects").agg(pl.col("at").cast(pl.Int64)) for rows in tables]
        return [{key: np.asarray(places, dtype=np.int64) for key, places in rows.iter_rows()} for rows in held]

    def _models(self, ids: Sequence[str], columns: Sequence[Floats]) -> Models:
        table = np.stack(columns, axis=1)  # (photos, k)
        return Models(table[[self._at[image_id] for image_id in ids]], table.mean(axis=0), len(table))


def _filled(values: Floats, known: NDArray[np.bool_]) -> Floats:
    """The values, their mean where unknown."""
    return np.where(known, values, values[known].mean() if known.any() else 0.0)
