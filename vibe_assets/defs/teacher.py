"""Photos -> [teacher]: the teacher as a source, its annotations by folder, and a candidate's trial."""

import dagster as dg
import polars as pl

from vibe_assets.defs.history import FOLLOWS, notes_inputs
from vibe_assets.defs.library import raw_photos
from vibe_assets.defs.metadata import counts_table, stored
from vibe_assets.defs.partitions import folders
from vibe_assets.defs.resources import Installation
from vibe_assets.records import ANNOTATIONS
from vibe_assets.stages import teacher as stage

OWNERS = ["team:teacher"]

teacher = dg.AssetSpec(
    "teacher",
    group_name="teacher",
    kinds={"openai"},
    owners=OWNERS,
    description="The vision-language model with its prompt, sampling and image parameters. Moves when any of them "
    "does; reported by the source sensor.",
)


class AnnotateConfig(dg.Config):
    """Knobs of one annotation run."""

    limit: int | None = None  # photos to ask for at the most; None asks for all that no journal holds


@dg.asset(
    partitions_def=folders,
    deps=[raw_photos, teacher],
    group_name="teacher",
    kinds={"openai", "deltalake"},
    owners=OWNERS,
    code_version="1",
    tags=FOLLOWS,
    pool="vlm",
    description="The teacher's answer to every photo of the folder. Answers that were paid for are never asked "
    "again; failures are rows with a reason.",
)
@notes_inputs
def annotations(context: dg.AssetExecutionContext, config: AnnotateConfig, installation: Installation) -> dg.MaterializeResult:
    """Ask the current teacher for what the journal does not hold."""
    platform = installation.open(context)
    rows = stage.annotate_folder(platform, context.partition_key, limit=config.limit)
    answered = rows.filter(pl.col("reason").is_null())
    reasons = {str(name): count for name, count in rows["reason"].drop_nulls().value_counts(sort=True).iter_rows()}
    return stored(
        platform,
        ANNOTATIONS,
        rows,
        answered=answered.height,
        teacher=(rows["teacher"].first() or ""),
        model=(rows["model"].drop_nulls().first() or platform.settings.teacher.model),
        median_latency_s=answered.select(pl.col("latency_s").median().fill_null(0.0)).item(),
        tokens=int(answered.select(pl.col("prompt_tokens").fill_null(0).sum() + pl.col("completion_tokens").fill_null(0).sum()).item()),
        failures=counts_table("reason", reasons),
    )


@dg.asset(
    deps=[raw_photos, "audited_ground_truth", teacher],
    group_name="teacher",
    kinds={"openai"},
    owners=OWNERS,
    code_version="1",
    pool="vlm",
    description="[teacher.candidate] of the settings annotates the audited photos only; the paired comparison with the current teacher "
    "decides whether `vibe teacher promote` is allowed. Started by the source sensor when the candidate changes.",
)
def teacher_trial(context: dg.AssetExecutionContext, installation: Installation) -> dg.MaterializeResult:
    """Try the candidate on the audited photos."""
    from vibe_assets.evaluate.report import headline_markdown

    platform = installation.open(context)
    trial = stage.try_candidate(platform)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(f"{trial.candidate}-{trial.current}"),
        metadata={
            "candidate": trial.candidate,
            "current": trial.current,
            "may be promoted": trial.allowed,
            "photos": trial.comparison.n,
            "unanswered": trial.failed,
            "scene accuracy, candidate minus current": str(trial.comparison.delta),
            "verdict": trial.comparison.verdict,
            "candidate against people": dg.MetadataValue.md(headline_markdown(trial.evaluation)),
        },
    )


assets: list[dg.AssetsDefinition | dg.AssetSpec] = [teacher, annotations, teacher_trial]
