"""Photos -> [embeddings]: the encoder as a source, a unit vector per photo, a unit vector per prompt."""

import dagster as dg
import polars as pl

from vibe_assets.defs.history import FOLLOWS, notes_inputs
from vibe_assets.defs.library import raw_photos
from vibe_assets.defs.metadata import stored
from vibe_assets.defs.partitions import folders
from vibe_assets.defs.resources import Installation
from vibe_assets.defs.truth import label_mapping
from vibe_assets.records import IMAGE_EMBEDDINGS, PROMPT_EMBEDDINGS
from vibe_assets.stages import embeddings

OWNERS = ["team:students"]

encoder = dg.AssetSpec(
    "encoder",
    group_name="embeddings",
    kinds={"pytorch"},
    owners=OWNERS,
    description="The frozen image encoder with weights, preprocessing and decode mode. Moves when any of them does; "
    "reported by the source sensor.",
)


@dg.asset(
    partitions_def=folders,
    deps=[raw_photos, encoder],
    group_name="embeddings",
    kinds={"pytorch", "deltalake"},
    owners=OWNERS,
    code_version="1",
    tags=FOLLOWS,
    description="Every photo of the folder as a float32 unit vector; photos the cache holds are not encoded again.",
)
@notes_inputs
def image_embeddings(context: dg.AssetExecutionContext, installation: Installation) -> dg.MaterializeResult:
    """Embed one folder."""
    platform = installation.open(context)
    rows = embeddings.embed_folder(platform, context.partition_key)
    vectors = rows["embedding"].drop_nulls()
    return stored(
        platform,
        IMAGE_EMBEDDINGS,
        rows,
        encoder=platform.settings.encoder.name,
        fingerprint=(rows["encoder"].first() or ""),
        dimensions=vectors.list.len().to_frame().select(pl.all().max().fill_null(0)).item(),
    )


@dg.asset(
    deps=[encoder, label_mapping],
    group_name="embeddings",
    kinds={"pytorch", "deltalake"},
    owners=OWNERS,
    code_version="1",
    tags=FOLLOWS,
    description="Label prompts in the photos' space, for zero-shot labels where no head is deployed. Empty where the "
    "encoder has no text tower.",
)
@notes_inputs
def prompt_embeddings(context: dg.AssetExecutionContext, installation: Installation) -> dg.MaterializeResult:
    """Embed the taxonomy's prompts."""
    platform = installation.open(context)
    rows = embeddings.embed_label_prompts(platform)
    note = (
        f"{rows['label'].n_unique()} labels" if rows.height else f"{platform.settings.encoder.name} has no text tower: no zero-shot labels"
    )
    return stored(platform, PROMPT_EMBEDDINGS, rows, note=note, prompts=rows.select(pl.len()).item())


assets: list[dg.AssetsDefinition | dg.AssetSpec] = [encoder, image_embeddings, prompt_embeddings]
