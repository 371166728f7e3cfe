"""Settled preferences, vectors and quality of series -> one padded set, and from it the trained series heads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vibe_assets.lake import write_text
from vibe_assets.records import IMAGE_EMBEDDINGS
from vibe_assets.records.series import IMAGE_QUALITY, PHOTO_SERIES, SERIES_PREFERENCES
from vibe_assets.settings import EncoderSettings
from vibe_assets.stages.platform import Platform, StageError
from vibe_assets.triage.study import as_vectors

if TYPE_CHECKING:
    import polars as pl

    from vibe_assets.heads.series_data import Preference, SeriesSet
    from vibe_assets.heads.series_head import SeriesHead

CODE_VERSION = "1"  # of the training, goes into every card
LATEST = "latest.txt"


@dataclass(frozen=True, eq=False)
class StudySet:
    """Everything that training and judging need, in one place."""

    data: SeriesSet
    quality: Mapping[str, Mapping[str, float]]  # image_id -> measures
    encoder: str  # fingerprint
    dim: int  # of the encoder's vectors

    def without_auxiliary(self) -> SeriesSet:
        return replace(self.data, x=self.data.x[..., : self.dim])


def study_set(platform: Platform) -> StudySet:
    """Series that people compared, with the features of their photos. Raises StageError where there is nothing to learn from."""
    import polars as pl

    from vibe_assets.heads.series_data import series_set

    rows = platform.lake.read(PHOTO_SERIES)
    preferences = _preferences(platform.lake.read(SERIES_PREFERENCES).filter(pl.col("reason").is_null()))
    if not preferences:
        raise StageError(
            "no preference to learn from: compare series with `vibe triage review`, or `vibe triage import-pairs FILE --photos FOLDER`"
        )
    rows = rows.filter(pl.col("series_id").is_in(sorted(preferences)))
    vectors, encoder = series_vectors(platform, rows)
    quality = quality_of(platform.lake.read(IMAGE_QUALITY))
    features = features_of(vectors, quality)
    once = rows.unique("series_id")
    data = series_set(
        members_of(rows),
        features,
        preferences,
        splits=dict(once.select("series_id", "split").iter_rows()),
        blocks=dict(once.select("series_id", "block").iter_rows()),
    )
    if not len(data):
        raise StageError(
            "none of the compared series has two photos with vector and quality: `vibe run image_embeddings`, then `vibe triage series`"
        )
    return StudySet(data, quality, encoder, len(next(iter(vectors.values()))))


def features_of(vectors: Mapping[str, NDArray[np.float32]], quality: Mapping[str, Mapping[str, float]]) -> dict[str, NDArray[np.float32]]:
    """image_id -> vector with the auxiliary features behind it, for the photos that have both."""
    from vibe_assets.heads.series_data import auxiliary

    return {photo: np.concatenate([vector, auxiliary(quality[photo])]) for photo, vector in vectors.items() if photo in quality}


def series_vectors(platform: Platform, rows: pl.DataFrame) -> tuple[dict[str, NDArray[np.float32]], str]:
    """image_id -> unit vector, and the encoder's fingerprint. Library photos come from the lake, imported ones from the encoder's cache,
    where they are embedded at the first call; after a fine-tuning, all of them by the tuned encoder.
    """
    import polars as pl

    from vibe_assets.encoders.base import load_encoder
    from vibe_assets.encoders.engine import embed_photos

    settings = tuned_settings(platform)
    encoder = load_encoder(settings)
    wanted = rows.unique("image_id", keep="first", maintain_order=True)
    lake = platform.lake.read_live(IMAGE_EMBEDDINGS, columns=["image_id", "encoder", "embedding"])
    found = as_vectors(
        lake.filter((pl.col("encoder") == encoder.fingerprint) & pl.col("embedding").is_not_null()).join(wanted, on="image_id", how="semi")
    )
    rest = wanted.filter(~pl.col("image_id").is_in(list(found)))
    if rest.height:
        embedded = embed_photos(
            platform.photo_refs(rest), encoder, settings=settings, cache_dir=platform.settings.cache_dir,
            progress=platform.progress, limits=platform.settings.library,
        )  # fmt: skip
        found |= as_vectors(embedded.filter(pl.col("embedding").is_not_null()))
    return found, encoder.fingerprint


def tuned_settings(platform: Platform) -> EncoderSettings:
    """The encoder of the study: the fine-tuned one where `fine_tune_blocks` asks for it and it exists, else [encoder]."""
    tuned = platform.settings.triage_dir / "encoder"
    if platform.settings.triage.fine_tune_blocks and (tuned / "config.json").is_file():
        return platform.settings.encoder.model_copy(update={"name": f"hf:{tuned}", "revision": None})
    return platform.settings.encoder


def members_of(rows: pl.DataFrame) -> dict[str, tuple[str, ...]]:
    members: dict[str, list[str]] = {}
    for series_id, image_id in rows.sort("series_id", "position").select("series_id", "image_id").iter_rows():
        members.setdefault(series_id, []).append(image_id)
    return {name: tuple(photos) for name, photos in members.items()}


def quality_of(rows: pl.DataFrame) -> dict[str, dict[str, float]]:
    import polars as pl

    return {row.pop("image_id"): row for row in rows.filter(pl.col("reason").is_null()).drop("reason", "detail", "measure").to_dicts()}


def _preferences(rows: pl.DataFrame) -> dict[str, list[Preference]]:
    from vibe_assets.heads.series_data import Preference

    found: dict[str, list[Preference]] = {}
    for series_id, *values in rows.select("series_id", "image_a", "image_b", "votes_a", "votes_b").iter_rows():
        found.setdefault(series_id, []).append(Preference(*values))
    return found


# -- heads -------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Heads:
    """The heads of one training, by recipe."""

    heads: Mapping[str, SeriesHead]
    paths: Mapping[str, Path]
    series: int

    @property
    def version(self) -> str:
        return "+".join(sorted(head.version for head in self.heads.values()))


def train_heads(platform: Platform, *, now: datetime | None = None) -> Heads:
    """Train every recipe on the study's series, keep them, and remember the one that validation prefers."""
    from vibe_assets.heads.series_data import AUXILIARY
    from vibe_assets.heads.series_head import RECIPES
    from vibe_assets.heads.series_train import train_series_head
    from vibe_assets.progress import stepped

    if platform.settings.triage.fine_tune_blocks:
        from vibe_assets.triage.finetune import fine_tune_encoder

        fine_tune_encoder(platform)
    study = study_set(platform)
    tables = (PHOTO_SERIES, SERIES_PREFERENCES, IMAGE_QUALITY, IMAGE_EMBEDDINGS)
    provenance = {
        "data_versions": {table.name: platform.lake.version(table) for table in tables},
        "code_version": CODE_VERSION,
        "created_at": (now or datetime.now(UTC)).isoformat(timespec="seconds"),
    }
    folder = platform.settings.triage_dir / "heads"
    heads = {
        recipe: train_series_head(
            recipe, study.data, settings=platform.settings.triage, encoder=study.encoder, auxiliary=AUXILIARY, provenance=provenance
        )
        for recipe in stepped(list(RECIPES), "series heads", unit="head", shown=platform.progress)
    }
    paths = {recipe: head.save(folder) for recipe, head in heads.items()}
    write_text(folder / LATEST, "\n".join(head.version for head in heads.values()) + "\n")
    return Heads(heads, paths, len(study.data))


def latest_heads(platform: Platform) -> dict[str, SeriesHead]:
    """Recipe -> head of the last training, simplest first; empty before the first."""
    from vibe_assets.heads.series_head import SUFFIX, load_series_head

    pointer = platform.settings.triage_dir / "heads" / LATEST
    if not pointer.is_file():
        return {}
    versions = pointer.read_text(encoding="utf-8").split()
    heads = [load_series_head(pointer.parent / f"{version}{SUFFIX}") for version in versions]
    return {head.card.recipe: head for head in heads}


def chosen_head(platform: Platform) -> SeriesHead | None:
    """The head that picks: the best on validation by top-1, the simplest of equals; None before the first training."""
    heads = list(latest_heads(platform).values())
    return max(heads, key=lambda head: float(head.card.selection["top1"])) if heads else None
