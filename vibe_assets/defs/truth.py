"""Annotations -> [truth]: automatic labels, the sample that people check, and what they say."""

from collections.abc import Mapping, Sequence

import dagster as dg
import polars as pl

from vibe_assets.defs.history import FOLLOWS, ONCE, notes_inputs
from vibe_assets.defs.library import folder_set, photo_groups
from vibe_assets.defs.metadata import column_schema, counts_table, stored
from vibe_assets.defs.orders import asked_by_hand, taken_over
from vibe_assets.defs.resources import Installation
from vibe_assets.defs.teacher import annotations
from vibe_assets.questions import ManyOf, Questions, YesNo
from vibe_assets.records import AUDIT_SAMPLE, AUDITED_GROUND_TRUTH, AUTO_GROUND_TRUTH
from vibe_assets.stages import truth
from vibe_assets.strangers import markdown_cell

OWNERS = ["team:truth"]
MOST_SHOWN = 15  # labels, or words, of a table

label_mapping = dg.AssetSpec(
    "label_mapping",
    group_name="truth",
    kinds={"yaml"},
    owners=OWNERS,
    description="The label file and the rules that turn an answer into labels. Moves when either does; reported by the source sensor.",
)
audited_verdicts = dg.AssetSpec(
    "audited_verdicts",
    group_name="truth",
    kinds={"json"},
    owners=OWNERS,
    description="What people said of the sample, at the page (`vibe audit`) and in accepted files. Moves once they paused or pressed Done; "
    "reported by the source sensor.",
    metadata={"dagster/column_schema": column_schema(AUDITED_GROUND_TRUTH)},
)


@dg.asset(
    deps=[annotations, folder_set, label_mapping],
    group_name="truth",
    kinds={"python", "deltalake"},
    owners=OWNERS,
    code_version="2",
    tags=FOLLOWS,
    description="The teacher's answers as labels of the questions of the label file; words that mean no label are counted beside.",
)
@notes_inputs
def auto_ground_truth(context: dg.AssetExecutionContext, installation: Installation) -> dg.MaterializeResult:
    """Convert the annotations of every folder."""
    platform = installation.open(context)
    rows = truth.convert_library(platform)
    return stored(
        platform,
        AUTO_GROUND_TRUTH,
        rows,
        **label_counts(rows, platform.questions)
        | {
            "teachers": sorted(rows["teacher"].unique()),
            "words_without_a_label": strange_table(truth.strange_words(platform)),
        },
    )


@dg.asset(
    deps=[auto_ground_truth, photo_groups],
    group_name="truth",
    kinds={"python", "json"},
    owners=OWNERS,
    code_version="2",
    tags=ONCE,
    description="The photos that people are asked to check, with the probability each had to be drawn. Drawn once; "
    "`vibe run audit_sample` draws a new one.",
)
@notes_inputs
def audit_sample(context: dg.AssetExecutionContext, installation: Installation) -> dg.MaterializeResult:
    """Draw the sample and write it as a file to edit."""
    platform = installation.open(context)
    drawn = platform.lake.read(AUDIT_SAMPLE)
    kept = drawn.height and (taken_over(context) or not asked_by_hand(context))
    rows = drawn if kept else truth.draw_audit_sample(platform)  # an instance that is new must not draw a second sample
    strata = {str(name): count for name, count in rows["stratum"].value_counts(sort=True).iter_rows()}
    file = dg.MetadataValue.path(str(truth.sample_file(platform)))
    return stored(platform, AUDIT_SAMPLE, rows, file=file, strata=counts_table("stratum", strata))


@dg.asset(
    deps=[audited_verdicts, audit_sample],
    group_name="truth",
    kinds={"python", "deltalake"},
    owners=OWNERS,
    code_version="3",
    tags=FOLLOWS,
    description="What people say, settled: one row per audited photo; several people's answers by majority, a tie is unknown.",
)
@notes_inputs
def audited_ground_truth(context: dg.AssetExecutionContext, installation: Installation) -> dg.MaterializeResult:
    """Settle the verdicts that count, and the accepted file, into the lake."""
    platform = installation.open(context)
    rows = truth.settle_audit(platform)
    people = {str(name or "(unnamed)"): count for name, count in rows["annotator"].value_counts(sort=True).iter_rows()}
    return stored(
        platform,
        AUDITED_GROUND_TRUTH,
        rows,
        **label_counts(rows, platform.questions) | {"annotators": counts_table("annotator", people)},
    )


def label_counts(rows: pl.DataFrame, questions: Questions) -> dict[str, dg.MetadataValue]:
    """A table for each question: label -> photos, most frequent first; null shown as (none)."""
    found: dict[str, dg.MetadataValue] = {}
    for question in questions:
        columns = [field.name for field in question.fields]
        if isinstance(question, YesNo):
            counts = {name: int(rows[name].sum() or 0) for name in columns}
        elif isinstance(question, ManyOf):
            said = rows[question.key].explode().drop_nulls().value_counts(sort=True).head(MOST_SHOWN)
            counts = {str(name): count for name, count in said.iter_rows()}
        else:
            one = rows[question.key].value_counts(sort=True)
            counts = {str(name or "(none)"): count for name, count in one.iter_rows()}
        title = markdown_cell(questions.name(question.key, question.head)) + (" (true)" if isinstance(question, YesNo) else "")
        found[question.key] = counts_table(title, named(counts, questions))
    return found


def named(counts: Mapping[str, int], questions: Questions) -> dict[str, int]:
    """The counts by the names that people read; where two are the same, with the key behind."""
    names = questions.distinct(list(counts))
    return {names.get(key, key): count for key, count in counts.items()}


def strange_table(words: Sequence[tuple[str, str, int, str]]) -> dg.MetadataValue:
    """Words of the teacher that mean no label, most frequent first."""
    lines = ["| question | word | photos | nearest label |", "|---|---|---:|---|"]
    lines += [f"| {key} | {markdown_cell(word)} | {count:,} | {near} |" for key, word, count, near in words[:MOST_SHOWN]]
    more = f"\n\n{len(words) - MOST_SHOWN:,} more" if len(words) > MOST_SHOWN else ""
    return dg.MetadataValue.md("\n".join(lines) + more if words else "every word means a label")


assets: list[dg.AssetsDefinition | dg.AssetSpec] = [label_mapping, audited_verdicts, auto_ground_truth, audit_sample, audited_ground_truth]
