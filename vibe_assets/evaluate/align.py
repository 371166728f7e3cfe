"""Predicted rows and true rows become one table of the same photos in the same order, with their groups and weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vibe_assets.records import AUTO_GROUND_TRUTH
from vibe_assets.records.answers import asked_of_people

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

    from vibe_assets.questions import Questions


@dataclass(frozen=True)
class Aligned:
    """Truth and prediction of the same photos, in the truth's order; every column has n entries."""

    ids: list[str]
    truth: pl.DataFrame
    predicted: pl.DataFrame  # null rows where there is no prediction
    groups: NDArray[np.str_]
    weights: NDArray[np.float64]
    missing: int
    known_chances: bool  # every photo has an inclusion probability
    questions: Questions

    def confidence(self, name: str) -> NDArray[np.float64]:
        """Of a column that holds one label, or a yes or no: (n,) float64, nan where unknown."""
        import polars as pl

        column = next(field.confidence for field in self.questions.fields if field.name == name)
        if column not in self.predicted.columns:
            return np.full(len(self.ids), np.nan)
        return self.predicted[column].cast(pl.Float64).fill_null(float("nan")).to_numpy()

    def asked(self, column: str) -> NDArray[np.bool_]:
        """(n,) whether both sides were asked for the column: people were not on photos that they checked before there was the question."""
        every = np.ones(len(self.ids), dtype=bool)
        for rows in (self.truth, self.predicted):
            every &= rows.select(asked_of_people(column)).to_series().to_numpy() if "unasked" in rows.columns else True
        return every


def align(
    predicted: pl.DataFrame, truth: pl.DataFrame, *, questions: Questions, groups: Mapping[str, str] | pl.DataFrame | None = None,
    use_weights: bool = True, scores: pl.DataFrame | None = None,
) -> Aligned:  # fmt: skip
    """Bring predictions into the truth's order. A photo predicted twice (same bytes in two places) counts once."""
    import polars as pl

    for name, rows in (("predicted", predicted), ("truth", truth)):
        missing = {"image_id", *questions.columns} - set(rows.columns)
        if missing:
            raise ValueError(f"{name} rows: expected the label columns, missing {sorted(missing)}")
    if truth["image_id"].n_unique() != len(truth):
        twice = truth.filter(pl.col("image_id").is_duplicated())["image_id"][0]
        raise ValueError(f"truth rows: expected each photo once, got {twice} again")
    schema = AUTO_GROUND_TRUTH.of(questions).polars_schema()
    types: dict[Any, Any] = {name: schema[name] for name in questions.columns}
    truth = truth.cast(types)  # a column of nulls only may come without a type
    guess = predicted.cast(types).unique("image_id", keep="first", maintain_order=True)
    if scores is not None:
        columns = [field.confidence for field in questions.fields if field.dtype != "list[str]" and field.confidence in scores.columns]
        guess = guess.drop(columns, strict=False)
        guess = guess.join(scores.select("image_id", *columns).unique("image_id"), on="image_id", how="left", maintain_order="left")
    beside = truth.select("image_id").join(guess.with_columns(_there=pl.lit(True)), on="image_id", how="left", maintain_order="left")
    ids = truth["image_id"].to_list()
    named = _group_names(groups)
    return Aligned(
        ids,
        truth,
        beside.drop("_there"),
        np.array([named.get(image_id, image_id) for image_id in ids], dtype=np.str_),
        _weights(truth) if use_weights else np.ones(len(ids)),
        int(beside["_there"].null_count()),
        "inclusion_probability" in truth.columns and truth["inclusion_probability"].null_count() == 0,
        questions,
    )


def _group_names(groups: Mapping[str, str] | pl.DataFrame | None) -> Mapping[str, str]:
    if groups is None or isinstance(groups, Mapping):
        return groups or {}
    return dict(zip(groups["image_id"].to_list(), groups["group_id"].to_list(), strict=True))


def _weights(truth: pl.DataFrame) -> NDArray[np.float64]:
    """Inverse inclusion probabilities, 1 where unknown."""
    if "inclusion_probability" not in truth.columns:
        return np.ones(len(truth))
    chance = truth["inclusion_probability"].fill_null(1.0).to_numpy().astype(np.float64)
    if not ((chance > 0) & (chance <= 1)).all():
        raise ValueError(f"expected inclusion probabilities above 0 and at most 1, got {chance.min()} to {chance.max()}")
    return 1 / chance
