"""What the teacher and the students say of every photo of a library becomes what `combined_share` reads, label by label."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from vibe_assets.evaluate.align import align
from vibe_assets.evaluate.combined import Models
from vibe_assets.evaluate.figures import expansion, question_of
from vibe_assets.evaluate.labels import label_marks
from vibe_assets.questions import ManyOf, OneOf, Questions, YesNo
from vibe_assets.records import AUTO_GROUND_TRUTH

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


class Said:
    """Label rows of several sources, the one that is judged first, on the photos that a figure is of.

    Confidences (of a yes or no: the probability of yes) count where a source gives them; a photo that a source says nothing of counts as
    its mean. `parents`: a label brings its parents along.
    """

    def __init__(self, photos: Sequence[str], sources: Sequence[pl.DataFrame], *, questions: Questions, parents: bool = True) -> None:
        import polars as pl

        here = pl.DataFrame({"image_id": list(photos)}, schema={"image_id": pl.String}).unique(maintain_order=True)
        schema = AUTO_GROUND_TRUTH.of(questions).polars_schema()
        empty = here.with_columns(pl.lit(None, schema[name]).alias(name) for name in questions.columns)
        self.photos, self.questions, self.parents = here["image_id"].to_list(), questions, parents
        self._held: dict[str, list[dict[str, NDArray[np.int64]]]] = {}
        self._expand = expansion(questions, parents=parents)
        self._sides = [align(rows, empty, questions=questions) for rows in sources]

    @cached_property
    def _at(self) -> dict[str, int]:
        return {image_id: at for at, image_id in enumerate(self.photos)}

    def knows(self, ids: Collection[str]) -> bool:
        """Whether all photos are of those that the figures are of."""
        return all(image_id in self._at for image_id in ids)

    def agreement(self, ids: Sequence[str], column: str) -> Models:
        """How sure the other sources are of the first one's answer to a question of one label; without others: whether there is one."""
        first, *others = self._sides
        answer = first.predicted[column]
        columns = []
        for other in others:
            same, sure = (answer == other.predicted[column]).to_numpy(), other.confidence(column)
            known = answer.is_not_null().to_numpy() & other.predicted[column].is_not_null().to_numpy()
            sure = np.where(np.isfinite(sure), sure, 1.0)
            columns.append(_filled(np.where(same, sure, 1 - sure), known))
        return self._models(ids, columns or [answer.is_not_null().to_numpy().astype(np.float64)])

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
        side, question, (has, known) = self._sides[source], question_of(label, self.questions), self._marks(source, label)
        found = has.astype(np.float64)
        if isinstance(question, OneOf):
            sure = side.confidence(question.key)
            found = np.where(has & np.isfinite(sure), sure, found)
        elif isinstance(question, YesNo):
            sure = side.confidence(label.partition(".")[2])
            found = np.where(np.isfinite(sure), sure, found)
            known = known | np.isfinite(sure)
        return _filled(found, known)

    def _marks(self, source: int, label: str) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """As `label_marks` of a source; those of many are looked up, for there are many labels and many photos."""
        rows = self._sides[source].predicted
        question = question_of(label, self.questions)
        if not isinstance(question, ManyOf):
            return label_marks(rows, label, question, self.questions)
        has = np.zeros(len(self.photos), dtype=bool)
        for key, photos in self._holders(question.key)[source].items():
            if label in self._expand([key]):
                has[photos] = True
        return has, rows[question.key].is_not_null().to_numpy()

    def _holders(self, column: str) -> list[dict[str, NDArray[np.int64]]]:
        """Source by source: key of a column of many labels -> the places of the photos that it says so of."""
        import polars as pl

        if column not in self._held:
            tables = [side.predicted.select(column).with_row_index("at").explode(column).drop_nulls() for side in self._sides]
            held = [rows.group_by(column).agg(pl.col("at").cast(pl.Int64)) for rows in tables]
            self._held[column] = [{key: np.asarray(places, dtype=np.int64) for key, places in rows.iter_rows()} for rows in held]
        return self._held[column]

    def _models(self, ids: Sequence[str], columns: Sequence[Floats]) -> Models:
        table = np.stack(columns, axis=1)  # (photos, k)
        return Models(table[[self._at[image_id] for image_id in ids]], table.mean(axis=0), len(table))


def _filled(values: Floats, known: NDArray[np.bool_]) -> Floats:
    """The values, their mean where unknown."""
    return np.where(known, values, values[known].mean() if known.any() else 0.0)
