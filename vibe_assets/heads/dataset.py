"""Tables go in (embeddings, truth, groups); arrays to train on come out: one row per photo, sorted by image_id."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vibe_assets.heads.models import KINDS, HeadError
from vibe_assets.records import Labels

if TYPE_CHECKING:
    import polars as pl

Closure = Callable[[Iterable[str]], Iterable[str]]  # object keys -> the keys and all their parents
USABLE_SPLITS = ("train", "val", "test", "aside")


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """What a head learns from. Targets are indices into the label list (n,), -1 where unknown, or 0/1 per label (n, c) with a mask.

    x (n, d) float32 unit rows; mask has the shape of targets, True where the truth is known; splits, groups, image_ids (n,) strings.
    Rows of the split `aside` are never used. Raises ValueError when shapes disagree.
    """

    x: NDArray[np.float32]
    targets: NDArray[np.integer]
    mask: NDArray[np.bool_]
    splits: NDArray[np.str_]
    groups: NDArray[np.str_]
    image_ids: NDArray[np.str_]

    def __post_init__(self) -> None:
        n = len(self.x)
        if self.x.ndim != 2 or self.x.dtype != np.float32:
            raise ValueError(f"x: expected float32 (n, d), got {self.x.dtype} {self.x.shape}")
        if self.targets.shape != self.mask.shape or self.mask.dtype != np.bool_:
            raise ValueError(f"mask: expected bool {self.targets.shape}, got {self.mask.dtype} {self.mask.shape}")
        for name in ("targets", "splits", "groups", "image_ids"):
            if len(getattr(self, name)) != n:
                raise ValueError(f"{name}: expected {n} rows, got {len(getattr(self, name))}")
        if foreign := set(np.unique(self.splits).tolist()) - set(USABLE_SPLITS):
            raise ValueError(f"splits: expected {USABLE_SPLITS}, got {sorted(foreign)}")

    def rows(self, split: str) -> NDArray[np.intp]:
        """Positions of the photos of a split for which anything is known."""
        known = self.mask if self.mask.ndim == 1 else self.mask.any(axis=1)
        return np.flatnonzero((self.splits == split) & known)


def build_targets(
    kind: str, truth: Sequence[Labels | None], *, labels: Sequence[str], closure: Closure | None = None
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Targets and mask of photos for a kind; None is a photo without truth, unknown for every label.

    Objects are positive with all their parents when `closure` (for example `Taxonomy.closure`) is given; an object that is not
    named is absent. Raises ValueError on a scene that is not among the labels: the caller checks labels before.
    """
    if kind not in KINDS:
        raise ValueError(f"kind: expected one of {KINDS}, got {kind!r}")
    index = {label: at for at, label in enumerate(labels)}
    if len(index) != len(labels):
        raise ValueError(f"labels: expected each once, got {len(labels) - len(index)} repeated")
    if kind == "scene":
        if foreign := {one.scene for one in truth if one and one.scene} - set(index):
            raise ValueError(f"scenes: expected {sorted(index)}, got {sorted(map(str, foreign))}")
        scenes = np.array([index[one.scene] if one and one.scene else -1 for one in truth], dtype=np.int64)
        return scenes, scenes >= 0
    targets = np.zeros((len(truth), len(labels)), dtype=np.int64)
    mask = np.zeros((len(truth), len(labels)), dtype=bool)
    for row, one in enumerate(truth):
        if one is None:
            continue
        if kind == "attribute":
            said = [one.attributes.get(name) for name in labels]
            mask[row] = [value is not None for value in said]
            targets[row] = [bool(value) for value in said]
        else:
            mask[row] = True
            targets[row, [index[key] for key in (closure(one.objects) if closure else one.objects) if key in index]] = 1
    return targets, mask


def training_set(
    kind: str, embeddings_rows: pl.DataFrame, truth_rows: pl.DataFrame, groups_rows: pl.DataFrame, *, labels: Sequence[str],
    closure: Closure | None = None,
) -> TrainingSet:  # fmt: skip
    """Join IMAGE_EMBEDDINGS, label rows (the columns of `Labels.row()`) and PHOTO_GROUPS on image_id.

    Photos without a vector, truth or split are left out; copies of a photo count once. A null `objects` leaves an object row out.
    """
    import polars as pl

    truth = truth_rows.unique("image_id", keep="last", maintain_order=True)
    if kind == "object":
        truth = truth.filter(pl.col("objects").is_not_null())
    joined = (
        embeddings_rows.filter(pl.col("embedding").is_not_null())
        .select("image_id", "embedding")
        .unique("image_id", keep="first", maintain_order=True)
        .join(truth, on="image_id", how="inner")
        .join(groups_rows.select("image_id", "group_id", "split").unique("image_id", keep="first"), on="image_id", how="inner")
        .sort("image_id")
    )  # fmt: skip
    targets, mask = build_targets(
        kind, [Labels.from_row(row) for row in joined.drop("embedding").iter_rows(named=True)], labels=labels, closure=closure
    )
    strings = {name: joined[name].to_numpy().astype(np.str_) for name in ("split", "group_id", "image_id")}
    return TrainingSet(vectors(joined["embedding"]), targets, mask, strings["split"], strings["group_id"], strings["image_id"])


def vectors(column: pl.Series) -> NDArray[np.float32]:
    """A list column without nulls as (n, d) float32. Raises HeadError when the vectors differ in length."""
    lengths = column.list.len().unique().to_list()
    if len(lengths) > 1:
        raise HeadError(f"image_embeddings: vectors of {len(lengths)} lengths {sorted(lengths)}; embed the library again with one encoder")
    dim = lengths[0] if lengths else 0
    return np.ascontiguousarray(column.explode().to_numpy().reshape(len(column), dim), dtype=np.float32)
