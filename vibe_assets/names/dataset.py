"""NAME_EMBEDDINGS and NAME_SPLITS of the lake go in, shard by shard; the arrays that probes are trained and judged on come out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vibe_assets.records.first_names import NAME_EMBEDDINGS, NAME_SPLITS
from vibe_assets.stages.platform import Platform, StageError

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

SPLITS = ("train", "val", "test")


@dataclass(frozen=True, eq=False)
class NameData:
    """x (n, d) float32, y (n,) int64 positions in `names` (the most frequent first), splits (n,) and group numbers (n,).

    Raises ValueError when shapes disagree.
    """

    x: NDArray[np.float32]
    y: NDArray[np.int64]
    splits: NDArray[np.str_]
    groups: NDArray[np.int64]
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        for name in ("y", "splits", "groups"):
            if len(getattr(self, name)) != len(self.x):
                raise ValueError(f"{name}: expected {len(self.x)} rows, got {len(getattr(self, name))}")
        if self.x.dtype != np.float32:
            raise ValueError(f"x: expected float32, got {self.x.dtype}")
        if len(self.y) and not 0 <= self.y.min() <= self.y.max() < len(self.names):
            raise ValueError(f"y: expected 0..{len(self.names) - 1}, got {self.y.min()}..{self.y.max()}")

    def rows(self, split: str) -> NDArray[np.intp]:
        return np.flatnonzero(self.splits == split)

    def capped(self, most: int, *, seed: int) -> NameData:
        """At most `most` training faces of each name, drawn by `seed`; val and test stay whole."""
        keep = self.splits != "train"
        rng = np.random.default_rng(seed)
        for name in range(len(self.names)):
            rows = np.flatnonzero((self.y == name) & (self.splits == "train"))
            keep[rng.permutation(rows)[:most]] = True
        return self.only(np.flatnonzero(keep))

    def without(self, removed: set[int]) -> NameData:
        """The faces of the other names, numbered anew."""
        kept = [at for at in range(len(self.names)) if at not in removed]
        number = np.full(len(self.names), -1)
        number[kept] = np.arange(len(kept))
        rows = np.flatnonzero(number[self.y] >= 0)
        return NameData(
            self.x[rows], number[self.y[rows]].astype(np.int64), self.splits[rows], self.groups[rows], tuple(self.names[at] for at in kept)
        )

    def only(self, rows: NDArray[np.intp]) -> NameData:
        return NameData(self.x[rows], self.y[rows], self.splits[rows], self.groups[rows], self.names)

    def relabelled(self, y: NDArray[np.int64]) -> NameData:
        return NameData(self.x, y, self.splits, self.groups, self.names)


def load_names(platform: Platform) -> NameData:
    """The faces of the names under study; vectors are read one shard at a time into one array. Raises StageError naming what is missing."""
    import polars as pl

    settings, lake = platform.settings.names, platform.lake
    splits = lake.read(NAME_SPLITS).filter(pl.col("reason").is_null()).unique("image_id", keep="first")
    if splits.is_empty():
        raise StageError("no faces with a split: run `vibe names index`")
    names = names_under_study(splits, settings.top_names)
    splits = splits.filter(pl.col("name").is_in(names)).sort("image_id").with_row_index("row")
    shards = splits["shard"].unique().sort().to_list()
    x: NDArray[np.float32] | None = None
    known = np.zeros(splits.height, bool)
    encoders: set[str] = set()
    for shard in shards:
        rows = lake.read(NAME_EMBEDDINGS, folder_key=shard).filter(pl.col("embedding").is_not_null())
        joined = rows.select("image_id", "encoder", "embedding").unique("image_id").join(splits.select("image_id", "row"), on="image_id")
        if joined.is_empty():
            continue
        encoders.update(joined["encoder"].unique().to_list())
        vectors = joined["embedding"].list.to_array(len(joined["embedding"][0])).to_numpy()
        x = np.zeros((splits.height, vectors.shape[1]), np.float32) if x is None else x
        if vectors.shape[1] != x.shape[1] or len(encoders) > 1:
            raise StageError(f"name_embeddings: vectors of {len(encoders)} encoders; `vibe names index` embeds every shard again")
        at = joined["row"].to_numpy()
        x[at] = vectors
        known[at] = True
    if x is None or not known.any():
        raise StageError("no vectors of faces: run `vibe names index`")
    number = {name: at for at, name in enumerate(names)}
    y = np.array([number[name] for name in splits["name"]], dtype=np.int64)
    groups = np.unique(splits["group_id"].to_numpy().astype(str), return_inverse=True)[1].astype(np.int64)
    data = NameData(x, y, splits["split"].to_numpy().astype(str), groups, tuple(names))
    data = data if known.all() else data.only(np.flatnonzero(known))
    _enough(data)
    return data.capped(settings.max_per_name, seed=settings.seed) if settings.max_per_name else data


def names_under_study(splits: pl.DataFrame, top: int) -> list[str]:
    """Names by faces in training, the most frequent first; names without a training face are not under study."""
    import polars as pl

    counts = splits.filter(pl.col("split") == "train").group_by("name").len().sort("len", "name", descending=[True, False])
    return counts["name"].to_list()[: top or None]


def _enough(data: NameData) -> None:
    if len(data.names) < 2:
        raise StageError(f"the names study needs faces of at least two names in training, found {len(data.names)}")
    for split in SPLITS:
        if not len(data.rows(split)):
            raise StageError(f"no face on the {split} side: add faces, or change names.val, names.test or names.seed")
