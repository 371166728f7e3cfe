"""A cosine -> the photos whose vectors are at least that close although photo_groups keeps them apart, and which of them cross splits."""

from __future__ import annotations

from dataclasses import dataclass

from vibe_assets.records import PHOTO_GROUPS
from vibe_assets.stages.library import accepted_photos
from vibe_assets.stages.platform import Platform, StageError
from vibe_assets.stages.students import embedded_photos, read_vectors


@dataclass(frozen=True)
class Pair:
    """Two photos that the encoder hardly tells apart."""

    cosine: float
    photo: str  # path below the photo root
    other: str
    splits: tuple[str, str]

    @property
    def crosses(self) -> bool:
        """Whether one was trained on and the other judges: a score on it is partly memory."""
        return self.splits[0] != self.splits[1] and "aside" not in self.splits


@dataclass(frozen=True)
class Duplicates:
    """Pairs, the worst first: crossing splits, then by cosine."""

    pairs: tuple[Pair, ...]
    compared: int  # photos with a vector and a group
    grouped: int  # pairs as close that photo_groups has in one group already


def find_duplicates(platform: Platform, *, cosine: float) -> Duplicates:
    """Near-duplicates by vector, exactly, that perceptual hashes and bursts did not find: crops, re-edits, scans of one print.

    Raises StageError for a library without vectors, or with those of several encoders.
    """
    import polars as pl

    from vibe_assets.photos.vectors import near_vector_pairs

    groups = platform.lake.read(PHOTO_GROUPS).select("image_id", "group_id", "split").unique("image_id", keep="first")
    photos = embedded_photos(platform).select("image_id").join(groups, on="image_id", how="inner").sort("image_id")
    if photos.is_empty():
        raise StageError("no photo has a vector and a group yet: `vibe run image_embeddings` makes them")
    found, cosines = near_vector_pairs(read_vectors(platform, photos["image_id"]), cosine)
    one, other = photos[found[:, 0]], photos[found[:, 1]].rename(lambda name: f"{name}_other")
    pairs = pl.concat([one, other], how="horizontal").with_columns(cosine=cosines)
    apart = pairs.filter(pl.col("group_id") != pl.col("group_id_other"))
    wanted = [*apart["image_id"], *apart["image_id_other"]]
    path_of = dict(accepted_photos(platform, image_ids=wanted).select("image_id", "rel_path").iter_rows())
    listed = [
        Pair(row["cosine"], path_of.get(row["image_id"], row["image_id"]), path_of.get(row["image_id_other"], row["image_id_other"]),
             (row["split"], row["split_other"]))
        for row in apart.iter_rows(named=True)
    ]  # fmt: skip
    listed.sort(key=lambda pair: (not pair.crosses, -pair.cosine, pair.photo, pair.other))
    return Duplicates(tuple(listed), photos.height, pairs.height - apart.height)
