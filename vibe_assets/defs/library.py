"""Photo root -> [library]: the folders, one row per file, groups and splits."""

import dagster as dg
import polars as pl

from vibe_assets.defs.history import FOLLOWS, notes_inputs
from vibe_assets.defs.metadata import column_schema, counts_table, stored
from vibe_assets.defs.partitions import folders
from vibe_assets.defs.resources import Installation
from vibe_assets.records import FOLDER_SET, PHOTO_GROUPS, RAW_PHOTOS
from vibe_assets.stages import library

OWNERS = ["team:platform"]

folder_set = dg.AssetSpec(
    "folder_set",
    group_name="library",
    kinds={"filesystem"},
    owners=OWNERS,
    description="The folders below the photo root. Moves when a folder comes or goes; reported by the folder sensor.",
    metadata={"dagster/column_schema": column_schema(FOLDER_SET)},
)
folder_listing = dg.AssetSpec(
    "folder_listing",
    group_name="library",
    kinds={"filesystem"},
    owners=OWNERS,
    partitions_def=folders,
    description="Names, sizes and times of one folder's files. Moves when any of them does; reported by the folder sensor.",
)


@dg.asset(
    partitions_def=folders,
    deps=[folder_listing],
    group_name="library",
    kinds={"python", "deltalake"},
    owners=OWNERS,
    code_version="1",
    tags=FOLLOWS,
    description="One row per file of the folder: identity, EXIF, quality, perceptual hash; rejected files with a reason.",
)
@notes_inputs
def raw_photos(context: dg.AssetExecutionContext, installation: Installation) -> dg.MaterializeResult:
    """Scan one folder; unchanged files cost a stat call."""
    from vibe_assets.photos.decode import thumbnail_markdown

    platform = installation.open(context)
    rows = library.scan_folder(platform, context.partition_key)
    accepted = rows.filter(pl.col("reason").is_null())
    formats = {str(name): count for name, count in accepted["format"].value_counts(sort=True).iter_rows()}
    return stored(
        platform,
        RAW_PHOTOS,
        rows,
        photos=accepted.height,
        copies=accepted.height - accepted["image_id"].n_unique(),
        formats=counts_table("format", formats),
        thumbnails=dg.MetadataValue.md(
            thumbnail_markdown([ref.path for ref in platform.photo_refs(accepted.head(12))], library=platform.settings.library)
        ),
    )


@dg.asset(
    deps=[raw_photos, folder_set],
    group_name="library",
    kinds={"python", "deltalake"},
    owners=OWNERS,
    code_version="1",
    tags=FOLLOWS,
    description="Near-duplicates and bursts as groups, and the split that every student, sample and bootstrap shares.",
)
@notes_inputs
def photo_groups(context: dg.AssetExecutionContext, installation: Installation) -> dg.MaterializeResult:
    """Group the whole library; a photo never changes sides."""
    platform = installation.open(context)
    rows = library.group_library(platform)
    splits = {str(name): count for name, count in rows["split"].value_counts(sort=True).iter_rows()}
    return stored(
        platform,
        PHOTO_GROUPS,
        rows,
        groups=rows["group_id"].n_unique(),
        largest_group=rows.select(pl.col("group_size").max().fill_null(0)).item(),
        splits=counts_table("split", splits),
    )


assets: list[dg.AssetsDefinition | dg.AssetSpec] = [folder_set, folder_listing, raw_photos, photo_groups]
