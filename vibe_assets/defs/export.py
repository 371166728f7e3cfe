"""Labels of every photo -> [export]: files in other tools' formats, launched by a person."""

from pathlib import Path

import dagster as dg
from pydantic import Field

from vibe_assets.defs.resources import Installation
from vibe_assets.defs.truth import audited_ground_truth, auto_ground_truth
from vibe_assets.stages.export import Selection, export_labels, exports_dir
from vibe_assets.strangers import markdown_cell


class ExportConfig(dg.Config):
    """What to write, launch by launch."""

    formats: list[str] = Field(["csv", "jsonl", "parquet"], description="Any of the formats that `vibe export --help` lists.")
    folder: str = Field("", description="Folder that gets one sub-folder per format; empty: exports/ in the home folder.")
    source: str = Field("best", description="Whose labels: best, people, students or teacher.")


@dg.asset(
    deps=["predictions", auto_ground_truth, audited_ground_truth, "photo_groups"],
    group_name="export",
    kinds={"python", "parquet"},
    owners=["team:truth"],
    code_version="1",
    description="The labels of every photo as files for other tools, each label with where it came from. Written when the job "
    "export_labels is launched; an export of the same labels is left as it is.",
)
def label_export(context: dg.AssetExecutionContext, config: ExportConfig, installation: Installation) -> dg.MaterializeResult:
    """Write every format asked for."""
    platform = installation.open(context)
    base = Path(config.folder).expanduser() if config.folder else exports_dir(platform)
    written = {name: export_labels(platform, name, Selection(config.source), into=base / name) for name in config.formats}
    lines = ["| format | photos | left out | folder | |", "|---|---:|---:|---|---|"]
    lines += [
        f"| {name} | {done.photos:,} | {len(done.left_out):,} | {markdown_cell(done.folder)} "
        f"| {'written' if done.written else 'nothing new'} |"
        for name, done in written.items()
    ]
    sources = {f"labels from {source}": count for done in written.values() for source, count in done.labels_from.items()}
    return dg.MaterializeResult(
        metadata={"exports": dg.MetadataValue.md("\n".join(lines)), "folder": dg.MetadataValue.path(str(base)), **sources}
    )


assets: list[dg.AssetsDefinition | dg.AssetSpec] = [label_export]
