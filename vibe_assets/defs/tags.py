"""Tagged photos -> [tags]: batches, their diagnostics, what every model says, the leaderboard. A study: jobs start it, never conditions."""

import statistics
import warnings
from collections.abc import Callable
from typing import Any

import dagster as dg

from vibe_assets.defs.checks.gate import _result, _sentence, gate_check
from vibe_assets.defs.metadata import counts_table, page_links, stored
from vibe_assets.defs.resources import Installation
from vibe_assets.records.tags import LEADERBOARD, TAG_PREDICTIONS, TAGGED_PHOTOS
from vibe_assets.stages.gates import Gate
from vibe_assets.vlm import gates
from vibe_assets.vlm.board import build_board, interval, percent, standing
from vibe_assets.vlm.diagnostics import diagnose, write_diagnosis
from vibe_assets.vlm.ingest import ingest
from vibe_assets.vlm.orders import order_of
from vibe_assets.vlm.predict import predict_cell

OWNERS = ["team:vlm"]
batches = dg.DynamicPartitionsDefinition(name="tag_batches")
models = dg.DynamicPartitionsDefinition(name="tag_models")
cells = dg.MultiPartitionsDefinition({"batch": batches, "model": models})


class IngestConfig(dg.Config):
    """Where one batch comes from: Unsplash (query, collection or random), a file or folder, or the library's labels."""

    query: str = ""  # search terms on Unsplash
    collection: str = ""  # id of a collection on Unsplash
    random: bool = False  # a random draw on Unsplash, among the photos of `query` where that is given
    count: int = 30  # photos from Unsplash at the most
    first_page: int = 1
    file: str = ""  # folder with metadata.jsonl or metadata.csv, or such a file
    library: str = ""  # audited: what people said of the library's photos; auto: what the teacher said
    limit: int | None = None  # photos of a file or of the library at the most
    allow_nothing_new: bool = False


@dg.asset(
    partitions_def=batches,
    group_name="tags",
    kinds={"unsplash", "deltalake"},
    owners=OWNERS,
    code_version="1",
    description="Photos with the tags people gave them: one ingest run from Unsplash, from a folder, or from the "
    "library's own audited labels.",
)
def tagged_photos(context: dg.AssetExecutionContext, config: IngestConfig, installation: Installation) -> dg.MaterializeResult:
    """Take in one batch, and let go of old ones."""
    platform = installation.open(context)
    done = ingest(platform, context.partition_key, order_of(**config.model_dump()))
    for gone in set(done.pruned) & set(context.instance.get_dynamic_partitions(batches.name or "")):
        context.instance.delete_dynamic_partition(batches.name or "", gone)
    reasons = {str(reason): count for reason, count in done.rows["reason"].drop_nulls().value_counts(sort=True).iter_rows()}
    stopped = {"stopped early": done.stopped} if done.stopped else {}
    rows = done.rows.with_columns(rel_path="name")  # what a person sees of rejected rows
    return stored(
        platform, TAGGED_PHOTOS, rows, known_before=done.known, pruned=list(done.pruned), broken=counts_table("reason", reasons), **stopped
    )


@dg.asset(
    partitions_def=batches,
    deps=[tagged_photos],
    group_name="tags",
    kinds={"html"},
    owners=OWNERS,
    code_version="1",
    description="How good a batch is as a ruler: tags per photo, duplicates, diversity, broken photos; a page and checks.",
)
def tag_diagnostics(context: dg.AssetExecutionContext, installation: Installation) -> dg.MaterializeResult:
    """Look at one batch."""
    platform = installation.open(context)
    found = diagnose(platform, context.partition_key)
    return dg.MaterializeResult(
        metadata={
            **page_links(write_diagnosis(platform, found)),
            "photos": found.photos,
            "broken share": found.broken_share,
            "duplicate share": found.duplicate_share,
            "diversity": found.diversity,
            "entropy bits": found.entropy_bits,
            "tags per photo": counts_table("tags", found.tiers),
            "most frequent": counts_table("tag", dict(found.top)),
        }
    )


class PredictConfig(dg.Config):
    """Knobs of one cell."""

    limit: int | None = None  # photos to ask about at the most; None asks about all that no journal holds


@dg.asset(
    partitions_def=cells,
    deps=[tagged_photos],
    group_name="tags",
    kinds={"openai", "deltalake"},
    owners=OWNERS,
    code_version="1",
    pool="vlm",
    description="What one model says of one batch: an endpoint or local weights, adapters attached by themselves. Answers that were paid "
    "for are never asked again.",
)
def tag_predictions(context: dg.AssetExecutionContext, config: PredictConfig, installation: Installation) -> dg.MaterializeResult:
    """Ask one model about one batch."""
    platform = installation.open(context)
    key = context.partition_key
    assert isinstance(key, dg.MultiPartitionKey)
    rows = predict_cell(platform, key.keys_by_dimension["batch"], key.keys_by_dimension["model"], limit=config.limit)
    cost, waits = rows["cost_usd"].drop_nulls(), rows["latency_s"].drop_nulls().to_list()
    return stored(
        platform,
        TAG_PREDICTIONS,
        rows,
        answered=rows.height - rows["reason"].drop_nulls().len(),
        schema_failures=int((~rows["valid"].drop_nulls()).sum()),
        median_latency_s=statistics.median(waits) if waits else 0.0,
        cost_usd=float(cost.sum()) if cost.len() else "no price set",
        identity=rows["identity"][0],
    )


@dg.asset(
    deps=[tag_predictions],
    group_name="tags",
    kinds={"html", "json"},
    owners=OWNERS,
    code_version="1",
    description="Which model finds most of people's tags, how sure that is, how fast and at what price: one page, and its table as JSON.",
)
def leaderboard(context: dg.AssetExecutionContext, installation: Installation) -> dg.MaterializeResult:
    """Rank every model on every batch."""
    platform = installation.open(context)
    written = build_board(platform)
    lines = ["| model | recall | | against the best |", "|---|---:|---|---|"]
    for row in written.board.rows:
        recall = row.figures["recall"]
        lines.append(f"| {row.scores.name} | {percent(recall.value)} | {interval(recall)} | {standing(row)} |")
    rows = platform.lake.read(LEADERBOARD)
    shown = stored(platform, LEADERBOARD, rows, **page_links(written.page), ranks=dg.MetadataValue.md("\n".join(lines)),
                   payload=dg.MetadataValue.path(str(written.payload)), photos=written.board.photos)  # fmt: skip
    return dg.MaterializeResult(data_version=dg.DataVersion(written.version), metadata=shown.metadata)


# -- checks ------------------------------------------------------------------------------------------------------------
def cell_check(asset: Any, name: str, judge: Callable[..., Gate], partitions: dg.PartitionsDefinition, *, blocking: bool) -> Any:
    """A check on one batch, or on one cell of batch and model."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.PreviewWarning)  # partitioned checks: tried on the pinned version, see docs/log.md

        @dg.asset_check(asset=asset, name=name, blocking=blocking, partitions_def=partitions, description=_sentence(judge))
        def check(context: dg.AssetCheckExecutionContext, installation: Installation) -> dg.AssetCheckResult:
            key = context.partition_key
            keys = [key.keys_by_dimension[name] for name in ("batch", "model")] if isinstance(key, dg.MultiPartitionKey) else [key]
            return _result(judge(installation.open(context), *keys), blocking=blocking)

    return check


checks = [
    cell_check(tagged_photos, "photos_reachable", gates.photos_reachable, batches, blocking=True),
    cell_check(tagged_photos, "enough_tags", gates.enough_tags, batches, blocking=False),
    cell_check(tagged_photos, "few_duplicates", gates.few_duplicates, batches, blocking=False),
    cell_check(tagged_photos, "tags_diverse", gates.tags_diverse, batches, blocking=False),
    cell_check(tag_predictions, "answers_sound", gates.answers_sound, cells, blocking=True),
    gate_check(leaderboard, "no_photo_learnt_from", gates.no_photo_learnt_from),
]
assets: list[dg.AssetsDefinition | dg.AssetSpec] = [tagged_photos, tag_diagnostics, tag_predictions, leaderboard]
