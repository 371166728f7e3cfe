"""Labels and verdicts -> [reports]: how far teacher and students are from people, the published warehouse, and what has moved."""

import dagster as dg

from vibe_assets.defs.history import FOLLOWS, notes_inputs
from vibe_assets.defs.metadata import counts_table, page_links
from vibe_assets.defs.resources import Installation, Warehouse, code_commit
from vibe_assets.defs.truth import audited_ground_truth, auto_ground_truth
from vibe_assets.stages import drift, reports

OWNERS = ["team:truth"]


@dg.asset(
    deps=[auto_ground_truth, audited_ground_truth],
    group_name="reports",
    kinds={"html"},
    owners=OWNERS,
    code_version="2",
    tags=FOLLOWS,
    description="How far the teacher is from people, on the audited sample, with intervals. Its gate decides whether students may train.",
)
@notes_inputs
def teacher_report(context: dg.AssetExecutionContext, installation: Installation) -> dg.MaterializeResult:
    """Judge the teacher."""
    return report_result(reports.report_teacher(installation.open(context, commit=code_commit())))


@dg.asset(
    deps=["predictions", audited_ground_truth, auto_ground_truth],
    group_name="reports",
    kinds={"html"},
    owners=OWNERS,
    code_version="2",
    tags=FOLLOWS,
    description="How far the deployed students are from people and from the teacher, on photos of the test split.",
)
@notes_inputs
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
    tags=FOLLOWS,
    description="Truth, predictions and the history of every metric in one DuckDB file that any DuckDB client opens; "
    "rewritten in one transaction. The labels of every photo also lie beside the reports, as JSON lines and as CSV.",
)
@notes_inputs
def published_warehouse(context: dg.AssetExecutionContext, installation: Installation, warehouse: Warehouse) -> dg.MaterializeResult:
    """Publish what people query."""
    platform = installation.open(context)
    counts = warehouse.publish(reports.warehouse_tables(platform))
    labels = {path.suffix.removeprefix("."): dg.MetadataValue.path(str(path)) for path in reports.write_labels(platform)}
    return dg.MaterializeResult(
        metadata={"file": dg.MetadataValue.path(str(warehouse.path())), "tables": counts_table("table", counts), **labels}
    )


@dg.asset(
    deps=[published_warehouse],
    group_name="reports",
    kinds={"html"},
    owners=OWNERS,
    code_version="1",
    pool="warehouse",
    tags=FOLLOWS,
    description="The history of every headline figure with its interval, from the published warehouse, and how far the labels of each "
    "folder moved from version to version.",
)
@notes_inputs
def drift_report(context: dg.AssetExecutionContext, installation: Installation) -> dg.MaterializeResult:
    """Show what has moved."""
    report = drift.report_drift(installation.open(context, commit=code_commit()))
    return dg.MaterializeResult(
        data_version=dg.DataVersion(report.version),
        metadata={
            "figures": dg.MetadataValue.md(report.figures),
            **({"folders": dg.MetadataValue.md(report.folders)} if report.folders else {}),
            "points": report.points,
            "largest distance of a folder": round(report.largest, 4),
            **page_links(report.path),
        },
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
            **page_links(report.path),
            "errors": dg.MetadataValue.path(str(report.errors)),
            **{name: dg.MetadataValue.md(text) for name, text in report.tables.items()},
            **figures,
        },
    )


assets: list[dg.AssetsDefinition | dg.AssetSpec] = [teacher_report, student_report, published_warehouse, drift_report]
