"""Deployed heads and vectors -> [runtime]: labels for every photo."""

from typing import Any

import dagster as dg
import polars as pl

from vibe_assets.defs.embeddings import image_embeddings, prompt_embeddings
from vibe_assets.defs.history import FOLLOWS, notes_inputs
from vibe_assets.defs.metadata import counts_table, stored
from vibe_assets.defs.partitions import folders
from vibe_assets.defs.resources import Installation
from vibe_assets.defs.students import deployed_heads
from vibe_assets.defs.truth import auto_ground_truth, label_counts
from vibe_assets.questions import OneOf
from vibe_assets.records import PREDICTIONS
from vibe_assets.records.answers import without_teacher
from vibe_assets.stages import runtime


@dg.asset(
    partitions_def=folders,
    deps=[image_embeddings, deployed_heads, prompt_embeddings, auto_ground_truth],
    group_name="runtime",
    kinds={"python", "deltalake"},
    owners=["team:students"],
    code_version="3",
    tags=FOLLOWS,
    description="The deployed students' labels for every photo of the folder, with confidence; below a label's "
    "threshold they abstain. What no head answers comes from prompts where the encoder reads text, otherwise from the teacher: "
    "`source` says which. The teacher's labels stand beside them.",
)
@notes_inputs
def predictions(context: dg.AssetExecutionContext, installation: Installation) -> dg.MaterializeResult:
    """Label one folder."""
    platform = installation.open(context)
    rows = runtime.predict_folder(platform, context.partition_key)
    own, facts = without_teacher(rows, platform.questions), dict[str, Any]()
    for question in platform.questions.of_type(OneOf):
        both = own.filter(pl.col(question.key).is_not_null() & pl.col(f"teacher_{question.key}").is_not_null())
        agree = both.select((pl.col(question.key) == pl.col(f"teacher_{question.key}")).mean()).item()
        facts[f"abstained_{question.key}"] = rows.select(pl.col(question.key).is_null().mean().fill_null(0.0)).item()
        facts[f"agrees_with_teacher_{question.key}"] = float(agree) if agree is not None else 0.0
    return stored(
        platform,
        PREDICTIONS,
        rows,
        **label_counts(rows, platform.questions)
        | facts
        | {"sources": counts_table("source", {str(name): count for name, count in rows["source"].value_counts(sort=True).iter_rows()})},
    )


assets: list[dg.AssetsDefinition | dg.AssetSpec] = [predictions]
