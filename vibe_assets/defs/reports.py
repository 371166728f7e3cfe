"""Labels and verdicts -> [reports]: how far teacher and students are from people, and the published warehouse."""

import dagster as dg

from vibe_assets.defs.conditions import follow
from vibe_assets.defs.metadata import counts_table
from vibe_assets.defs.resources import Installation, Warehouse, code_commit
from vibe_assets.defs.truth import audited_ground_truth, auto_ground_truth
from vibe_assets.stages import reports

OWNERS = ["team:truth"]


@dg.asset(
    deps=[auto_ground_truth, audited_ground_truth],
    group_name="reports",
    kinds={"html"},
    owners=OWNERS,
    code_version="1",
    automation_condition=follow("teacher_report"),
    description="How far the teacher is from people, on the audited sample, with intervals. Its gate decides whether students may train.",
)
def teacher_report(context: dg.AssetExecutionContext, installation: Installation) -> dg.MaterializeResult:
    """Judge the teacher."""
    return report_result(reports.report_teacher(installation.open(context, commit=code_commit())))


@dg.asset(
    deps=["predictions", audited_ground_truth, auto_ground_truth],
    group_name="reports",
    kinds={"html"},
    owners=OWNERS,
    code_version="1",
    automation_condition=follow("student_report"),
    description="How far the deployed students are from people and from the teacher, on photos of the test split.",
)
def student_report(context: dg.AssetExecutionContext, installation: Installation) -> dg.MaterializeResult:
    """Judge the students."""
    return report_result(reports.report_students(installation.open(context, commit=code_commit())))


@dg.asset(
    deps=["predictions", auto_ground_truth, audited_ground_truth, teacher_report, student_report],
    group_name="reports",
    kinds={"duckdb"},
    owners=OWNERS,
    code_version="1",
    pool="warehouse",
    automation_condition=follow("published_warehouse"),
    description="Truth, predictions and the history of every metric in one DuckDB file that any DuckDB client opens; "
    "rewritten in one transaction. The labels of every photo also lie beside the reports, as JSON lines and as CSV.",
)
def published_warehouse(context: dg.AssetExecutionContext, installation: Installation, warehouse: Warehouse) -> dg.MaterializeResult:
    """Publish what people query."""
    platform = installation.open(context)
    counts = warehouse.publish(reports.warehouse_tables(platform))
    labels = {path.suffix.removeprefix("."): dg.MetadataValue.path(str(path)) for path in reports.write_labels(platform)}
    return dg.MaterializeResult(
        metadata={"file": dg.MetadataValue.path(str(warehouse.path())), "tables": counts_table("table", counts), **labels}
    )


def report_result(report: reports.Report) -> dg.MaterializeResult:
    """Headline figures, plots and the page itself as metadata."""
    figures = {
        name: dg.MetadataValue.float(round(estimate.value, 4))
        for name, estimate in report.evaluation.headline.items()
        if estimate.value == estimate.value
    }
    return dg.MaterializeResult(
        data_version=dg.DataVersion(report.version),
        metadata={
            "headline": dg.MetadataValue.md(report.markdown),
            "page": dg.MetadataValue.path(str(report.path)),
            "errors": dg.MetadataValue.path(str(report.errors)),
            "confusion": dg.MetadataValue.md(report.picture),
            **figures,
        },
    )


assets: list[dg.AssetsDefinition | dg.AssetSpec] = [teacher_report, student_report, published_warehouse]
