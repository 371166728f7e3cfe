"""Two jobs to press: `tag_benchmark` (ingest, diagnose, ask, rank) and `vlm_factory` (dataset, fine-tune, ask the adapter, rank)."""

from collections.abc import Sequence

import dagster as dg

from vibe_assets.defs.tag_walk import Ran, Walk
from vibe_assets.defs.tags import IngestConfig
from vibe_assets.defs.vlm import DatasetConfig, LoraConfig
from vibe_assets.stages.platform import Platform
from vibe_assets.vlm.ingest import batches, new_batch
from vibe_assets.vlm.registry import models


class BatchConfig(IngestConfig):
    """A batch to take in; without a name it is named after the moment."""

    batch: str = ""


class ModelsConfig(dg.Config):
    """Whom to ask."""

    models: list[str] = []  # noqa: RUF012 - names of [vlm.models.NAME] and of adapters; none: all of them
    limit: int | None = None


def settled(context: dg.OpExecutionContext, runs: Sequence[Ran]) -> None:
    """Say what ran, and fail when one of the runs did."""
    for ran in runs:
        where = f" ({ran.partition})" if ran.partition else ""
        context.log.info(
            f"{ran.asset}{where}: {'succeeded' if ran.success else 'failed'}; checks not passed: {', '.join(ran.not_passed) or 'none'}"
        )
    if failed := [ran for ran in runs if not ran.success]:
        first = failed[0]
        why = first.error or ", ".join(first.not_passed)
        raise dg.Failure(f"{len(failed)} of {len(runs)} runs failed; first {first.asset} {first.partition or ''}: {why}")


def _filled(context: dg.OpExecutionContext) -> list[str]:
    """Batches with photos: one that was allowed to bring nothing new has none."""
    return batches(Platform.open(run_id=context.run_id, progress=False))


@dg.op(description="Take in one batch of tagged photos.")
def ingest_batch(context: dg.OpExecutionContext, config: BatchConfig) -> str:
    batch = config.batch or new_batch()
    settled(context, [Walk(context.instance).ingest(batch, config.model_dump(exclude={"batch"}, exclude_none=True))])
    return batch


@dg.op(description="Look at the batch.")
def diagnose_batch(context: dg.OpExecutionContext, batch: str) -> str:
    if batch in _filled(context):
        settled(context, [Walk(context.instance).diagnose(batch)])
    return batch


@dg.op(description="Ask every model about the batch.")
def ask_models(context: dg.OpExecutionContext, config: ModelsConfig, batch: str) -> str:
    names = config.models or list(models(Platform.open(run_id=context.run_id, progress=False)))
    settled(context, Walk(context.instance).ask([batch] if batch in _filled(context) else [], names, limit=config.limit))
    return batch


@dg.op(description="Build instruction data.")
def build_instructions(context: dg.OpExecutionContext, config: DatasetConfig) -> str:
    settled(context, [Walk(context.instance).dataset(**config.model_dump(exclude_none=True))])
    return "instruction_dataset"


@dg.op(description="Fine-tune on them, and judge the adapter against its base.")
def finetune_model(context: dg.OpExecutionContext, config: LoraConfig, data: str) -> str:
    settled(context, [Walk(context.instance).finetune(**config.model_dump(exclude_none=True))])
    return config.name


@dg.op(description="Ask the adapter, and its base where the settings list it, about every batch.")
def ask_adapter(context: dg.OpExecutionContext, adapter: str) -> str:
    known = models(Platform.open(run_id=context.run_id, progress=False))
    names = [name for name, one in known.items() if one.source == known[adapter].source]
    settled(context, Walk(context.instance).ask(_filled(context), names))
    return adapter


@dg.op(description="Write the leaderboard.", ins={"after": dg.In(str)})
def rank_models(context: dg.OpExecutionContext, after: str) -> None:
    settled(context, [Walk(context.instance).rank()])


@dg.job(
    description="Ingest a batch of tagged photos, look at it, ask every model, write the leaderboard.",
    executor_def=dg.in_process_executor,
)
def tag_benchmark() -> None:
    rank_models(ask_models(diagnose_batch(ingest_batch())))


@dg.job(
    description="Build instruction data, fine-tune an adapter, judge it against its base, ask it about every batch, write the leaderboard.",
    executor_def=dg.in_process_executor,
)
def vlm_factory() -> None:
    rank_models(ask_adapter(finetune_model(build_instructions())))


jobs = [tag_benchmark, vlm_factory]
