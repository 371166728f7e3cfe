"""Tables go in (embeddings, truth, groups); arrays to train on come out: one row per photo, sorted by split and image_id."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vibe_assets.heads.models import HeadError
from vibe_assets.questions import ManyOf, OneOf, Question, YesNo
from vibe_assets.questions.types import implied

if TYPE_CHECKING:
    import polars as pl

USABLE_SPLITS = ("train", "val", "test", "aside")


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """What a head learns from. Targets are indices into the label list (n,), -1 where unknown, or 0/1 per label (n, c) with a mask.

    x (n, d) float32 unit rows; mask has the shape of targets, True where the truth is known; splits, groups, image_ids (n,) strings.
    Rows of the split `aside` are never used. `sources` (n,): the folder (camera, day) of each photo, None where nothing tells them apart.
    Raises ValueError when shapes disagree.
    """

    x: NDArray[np.float32]
    targets: NDArray[np.integer]
    mask: NDArray[np.bool_]
    splits: NDArray[np.str_]
    groups: NDArray[np.str_]
    image_ids: NDArray[np.str_]
    sources: NDArray[np.str_] | None = None

    def __post_init__(self) -> None:
        n = len(self.x)
        if self.x.ndim != 2 or self.x.dtype != np.float32:
            raise ValueError(f"x: expected float32 (n, d), got {self.x.dtype} {self.x.shape}")
        if self.targets.shape != self.mask.shape or self.mask.dtype != np.bool_:
            raise ValueError(f"mask: expected bool {self.targets.shape}, got {self.mask.dtype} {self.mask.shape}")
        for name in ("targets", "splits", "groups", "image_ids", *(() if self.sources is None else ("sources",))):
            if len(getattr(self, name)) != n:
                raise ValueError(f"{name}: expected {n} rows, got {len(getattr(self, name))}")
        if foreign := set(np.unique(self.splits).tolist()) - set(USABLE_SPLITS):
            raise ValueError(f"splits: expected {USABLE_SPLITS}, got {sorted(foreign)}")

    def rows(self, split: str) -> NDArray[np.intp]:
        """Positions of the photos of a split for which anything is known."""
        known = self.mask if self.mask.ndim == 1 else self.mask.any(axis=1)
        return np.flatnonzero((self.splits == split) & known)


def build_targets(
    question: Question, rows: pl.DataFrame, *, labels: Sequence[str] | None = None
) -> tuple[NDArray[np.integer], NDArray[np.bool_]]:
    """Targets and mask of label rows for a question, or for some of its `labels`; a null is unknown, a null list for every label.

    A label of many_of is positive with all its parents; one that is not named is absent. One byte a label: a hundred labels of a million
    photos are 100 MB. Raises ValueError on a label of one_of that the question does not have: the caller checks labels before.
    """
    import polars as pl

    labels = head_labels(question) if labels is None else labels
    index = {label: at for at, label in enumerate(labels)}
    if len(index) != len(labels):
        raise ValueError(f"labels: expected each once, got {len(labels) - len(index)} repeated")
    if isinstance(question, OneOf):
        if foreign := set(rows[question.key].drop_nulls().unique()) - set(index):
            raise ValueError(f"{question.key}: expected {sorted(index)}, got {sorted(map(str, foreign))}")
        found = rows[question.key].replace_strict(index, default=-1, return_dtype=pl.Int64).fill_null(-1).to_numpy()
        return found, found >= 0
    if isinstance(question, YesNo):
        columns = [rows[label].cast(pl.Boolean) for label in labels]
        said = np.stack([column.fill_null(value=False).to_numpy() for column in columns], axis=1)
        return said.astype(np.int8), np.stack([column.is_not_null().to_numpy() for column in columns], axis=1)
    targets = np.zeros((rows.height, len(labels)), dtype=np.int8)
    many = pl.col(question.key)
    named = rows.select(pl.int_range(pl.len()).alias("row"), many.cast(pl.List(pl.String))).explode(question.key).drop_nulls()
    for (key,), part in named.group_by(question.key):
        for label in (str(key), *implied(str(key))):
            if label in index:
                targets[part["row"].to_numpy(), index[label]] = 1
    return targets, np.repeat(rows[question.key].is_not_null().to_numpy()[:, None], len(labels), axis=1)


def head_labels(question: Question) -> tuple[str, ...]:
    """What the head of a question calls its labels: columns of a yes_no question, else their keys."""
    return tuple(label.word for label in question.labels) if isinstance(question, YesNo) else question.keys


def training_set(
    question: Question, embeddings_rows: pl.DataFrame, truth_rows: pl.DataFrame, groups_rows: pl.DataFrame, *,
    labels: Sequence[str] | None = None, read: Callable[[pl.Series], NDArray[np.float32]] | None = None,
) -> TrainingSet:  # fmt: skip
    """Join IMAGE_EMBEDDINGS, label rows and PHOTO_GROUPS on image_id, sorted by split and image_id; targets as in `build_targets`.

    A column `source` of `groups_rows` becomes the sources.

    Photos without a vector, truth or split are left out; copies of a photo count once. A null list of labels leaves the row out.
    With `read`, `embeddings_rows` only name the photos that have a vector, and `read(image_ids)` hands the vectors over, (n, d).
    """
    import polars as pl

    truth = truth_rows.unique("image_id", keep="last", maintain_order=True)
    if isinstance(question, ManyOf):
        truth = truth.filter(pl.col(question.key).is_not_null())
    if read is None:
        embeddings_rows = embeddings_rows.filter(pl.col("embedding").is_not_null()).unique("image_id", keep="first", maintain_order=True)
    with_source = ["source"] if "source" in groups_rows.columns else []
    joined = (
        embeddings_rows.select("image_id")
        .unique("image_id")
        .join(truth.select("image_id", *(field.name for field in question.fields)), on="image_id", how="inner")
        .join(
            groups_rows.select("image_id", "group_id", "split", *with_source).unique("image_id", keep="first"), on="image_id", how="inner"
        )
        .sort("split", "image_id")
    )
    targets, mask = build_targets(question, joined, labels=labels)
    if read is None:
        places = joined.select("image_id").join(embeddings_rows, on="image_id", how="left", maintain_order="left")
        x = vectors(places["embedding"])
    else:
        x = read(joined["image_id"])
    strings = {name: joined[name].to_numpy().astype(np.str_) for name in ("split", "group_id", "image_id", *with_source)}
    return TrainingSet(x, targets, mask, strings["split"], strings["group_id"], strings["image_id"], strings.get("source"))


def vectors(column: pl.Series) -> NDArray[np.float32]:
    """A list column without nulls as (n, d) float32. Raises HeadError when the vectors differ in length."""
    lengths = column.list.len().unique().to_list()
    if len(lengths) > 1:
        raise HeadError(f"image_embeddings: vectors of {len(lengths)} lengths {sorted(lengths)}; embed the library again with one encoder")
    dim = lengths[0] if lengths else 0
    return np.ascontiguousarray(column.explode().to_numpy().reshape(len(column), dim), dtype=np.float32)
