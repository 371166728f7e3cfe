"""Photos -> image_embeddings; label prompts -> prompt_embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vibe_assets.records import IMAGE_EMBEDDINGS, PROMPT_EMBEDDINGS, PhotoRef
from vibe_assets.stages.library import accepted_photos
from vibe_assets.stages.platform import Platform

if TYPE_CHECKING:
    import polars as pl


def embed_folder(platform: Platform, folder_key: str) -> pl.DataFrame:
    """Bring one folder's embeddings up to date; photos the cache holds cost nothing."""
    return embed_folders(platform, [folder_key])[folder_key]


def embed_folders(platform: Platform, folder_keys: Sequence[str]) -> dict[str, pl.DataFrame]:
    """Bring several folders up to date with one pass over their photos: workers and model are started once for all of them."""
    import polars as pl

    refs = {key: platform.photo_refs(accepted_photos(platform, key)) for key in folder_keys}
    vectors = embed(platform, [ref for photos in refs.values() for ref in photos])
    found: dict[str, pl.DataFrame] = {}
    start = 0
    for key, photos in refs.items():
        found[key] = vectors.slice(start, len(photos)).with_columns(folder_key=pl.lit(key))
        start += len(photos)
        platform.lake.replace(IMAGE_EMBEDDINGS, found[key], folder_key=key, commit=platform.commit)
    return found


def embed(platform: Platform, photos: Sequence[PhotoRef]) -> pl.DataFrame:
    """IMAGE_EMBEDDINGS rows of photos anywhere, without folder_key, by the encoder and on the engine of the settings."""
    from vibe_assets.encoders.base import load_encoder
    from vibe_assets.encoders.engine import embed_photos
    from vibe_assets.stages.spread import embedder

    settings = platform.settings
    encoder = load_encoder(settings.encoder)
    return embed_photos(
        photos,
        encoder,
        settings=settings.encoder,
        cache_dir=settings.cache_dir,
        progress=platform.progress,
        limits=settings.library,
        compute=embedder(platform, encoder.fingerprint),
    )


def embed_label_prompts(platform: Platform) -> pl.DataFrame:
    """The label file's prompts in the encoder's space; no rows where the encoder has no text tower."""
    from vibe_assets.encoders.base import load_encoder
    from vibe_assets.encoders.engine import embed_prompts

    questions = platform.questions
    negatives = {f"not {label}": texts for label, texts in questions.negative_prompts().items()}
    rows = embed_prompts(load_encoder(platform.settings.encoder), {**questions.prompts(), **negatives})
    platform.lake.replace(PROMPT_EMBEDDINGS, rows, commit=platform.commit)
    return rows
