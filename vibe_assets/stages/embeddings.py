"""Photos -> image_embeddings; label prompts -> prompt_embeddings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vibe_assets.records import IMAGE_EMBEDDINGS, PROMPT_EMBEDDINGS
from vibe_assets.stages.library import accepted_photos
from vibe_assets.stages.platform import Platform
from vibe_assets.stages.truth import load_taxonomy

if TYPE_CHECKING:
    import polars as pl


def embed_folder(platform: Platform, folder_key: str) -> pl.DataFrame:
    """Bring one folder's embeddings up to date; photos the cache holds cost nothing."""
    import polars as pl

    from vibe_assets.encoders.base import load_encoder
    from vibe_assets.encoders.engine import embed_photos

    settings = platform.settings
    rows = embed_photos(
        platform.photo_refs(accepted_photos(platform, folder_key)),
        load_encoder(settings.encoder),
        settings=settings.encoder,
        cache_dir=settings.cache_dir,
        progress=platform.progress,
        limits=settings.library,
    ).with_columns(folder_key=pl.lit(folder_key))
    platform.lake.replace(IMAGE_EMBEDDINGS, rows, folder_key=folder_key, commit=platform.commit)
    return rows


def embed_label_prompts(platform: Platform) -> pl.DataFrame:
    """The taxonomy's prompts in the encoder's space; no rows where the encoder has no text tower."""
    from vibe_assets.encoders.base import load_encoder
    from vibe_assets.encoders.engine import embed_prompts

    taxonomy = load_taxonomy(platform)
    negatives = {f"not {label}": texts for label, texts in taxonomy.negative_prompts().items()}
    rows = embed_prompts(load_encoder(platform.settings.encoder), {**taxonomy.prompts(), **negatives})
    platform.lake.replace(PROMPT_EMBEDDINGS, rows, commit=platform.commit)
    return rows
