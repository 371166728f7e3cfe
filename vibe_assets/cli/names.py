"""The names study by hand: the same stages as the assets, without Dagster."""

from __future__ import annotations

from pathlib import Path

import click

from vibe_assets.cli.app import main, nothing, platform, show, tell
from vibe_assets.strangers import spreadsheet_cell, visible


@main.group()
def names() -> None:
    """How much of a first name can be told from a face: a study of a weak association. It identifies nobody."""


@names.command("index")
@click.option("--plan", "only_plan", is_flag=True, help="Only list the names, their shards and how many faces each promises.")
@click.option("--shard", "wanted", multiple=True, help="Only these shards (default: all); give it several times for several.")
def names_index(only_plan: bool, wanted: tuple[str, ...]) -> None:
    """Read the faces of [names] root, cut their chips, embed them and draw the split, one shard at a time."""
    import polars as pl

    from vibe_assets.names import study

    home = platform()
    rows = study.plan_study(home)
    per_shard = rows.group_by("shard").agg(pl.len(), pl.col("listed").sum(), pl.col("set_aside").sum()).sort("shard")
    show("Shards", ["shard", "names", "faces", "set aside"], per_shard.rows(), name="shards")
    for name, detail in rows.filter(pl.col("reason").is_not_null()).select("name", "detail").iter_rows():
        click.echo(visible(f"{name}: {detail}"), err=True)
    shards = study.planned_shards(home)
    if unknown := sorted(set(wanted) - set(shards)):
        raise click.BadParameter(f"no such shard {', '.join(unknown)}; there are {', '.join(shards)}", param_hint="--shard")
    if only_plan:
        return
    reasons: dict[str, int] = {}
    for shard in wanted or shards:
        for stage in (study.index_faces, study.cut_faces, study.embed_faces):
            ruled_out = stage(home, shard)["reason"].drop_nulls()
            for reason in ruled_out:
                reasons[reason] = reasons.get(reason, 0) + 1
    split = study.split_names(home)
    for reason in split["reason"].drop_nulls():
        reasons[reason] = reasons.get(reason, 0) + 1
    sides = split.filter(pl.col("reason").is_null())["split"].value_counts(sort=True)
    often = sorted(reasons.items(), key=lambda item: -item[1])
    show("Ruled out", ["reason", "faces"], often, name="ruled_out")
    show("Faces under study", ["side", "faces"], sides.rows(), name="under_study")
    if sides.is_empty():
        why = ", ".join(f"{count} {reason}" for reason, count in often[:3]) or "no name has a face"
        nothing(f"no face is under study ({why}); [names] min_score, min_box_px and min_area_share rule faces out")


@names.command("probe")
@click.argument("methods", nargs=-1)
def names_probe(methods: tuple[str, ...]) -> None:
    """Train and judge probes with their controls (default: all methods; the linear probe always runs).

    \b
    Example: vibe names probe cosine logit_adjusted
    """
    from vibe_assets.names.probes import METHODS
    from vibe_assets.names.results import COMPARED, comparison_rows
    from vibe_assets.names.study import probe_names, results_dir

    if unknown := sorted(set(methods) - set(METHODS)):
        raise click.BadParameter(f"no such method {', '.join(unknown)}; there are {', '.join(METHODS)}", param_hint="METHODS")
    home = platform()
    tracks = probe_names(home, methods or None)
    show("Names study", list(COMPARED), list(comparison_rows(tracks)), name="tracks")
    tell(f"{results_dir(home)}; next: vibe names report", folder=results_dir(home))


@names.command("compare")
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--csv", "as_csv", is_flag=True, help="Comma-separated values instead of a table.")
def names_compare(folders: tuple[Path, ...], as_csv: bool) -> None:
    """Put results folders side by side: this study's, or others with predictions.npy and true_labels.npy.

    \b
    Example: vibe names compare data/names/results ~/study/results/track3_arcface_500
    """
    import csv
    import sys

    from vibe_assets.names.results import COMPARED, comparison_rows, find_tracks

    rows = comparison_rows([track for folder in folders for track in find_tracks(folder)])
    if as_csv:
        csv.writer(sys.stdout).writerows([COMPARED, *([spreadsheet_cell(value) for value in row] for row in rows)])
        return
    show("Results, the most accurate first", list(COMPARED), list(rows))


@names.command("report")
@click.argument("folders", nargs=-1, type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--to", "file", type=click.Path(path_type=Path, dir_okay=False), help="Where to write the page of the folders given.")
@click.option("--open", "in_browser", is_flag=True, help="Open it in the browser.")
def names_report(folders: tuple[Path, ...], file: Path | None, in_browser: bool) -> None:
    """Write the page of the study, or of any results folders (the first track is the one that is reported on).

    \b
    Example: vibe names report old/results/clip_linear old/results/permuted_labels --to old.html
    """
    if folders and file is None:
        raise click.UsageError("--to FILE says where the page of these folders goes")
    if folders and file is not None:
        from vibe_assets.lake import write_text
        from vibe_assets.names.report import render_names
        from vibe_assets.names.results import find_tracks

        page = write_text(file.resolve(), render_names([track for folder in folders for track in find_tracks(folder)]))
    else:
        from vibe_assets.names.study import report_names
        from vibe_assets.stages.notes import leave_note

        home = platform()
        page = report_names(home).path
        leave_note(home, "names_report")
    tell(page, page=page)
    if in_browser:
        click.launch(page.as_uri())


@names.command("ask")
@click.argument("base")
@click.option("--mode", "modes", multiple=True, type=click.Choice(["head", "open", "choice"]), help="What to ask (default: all three).")
@click.option("--options", "offered", default=5, show_default=True, type=click.IntRange(2, 26), help="Names on offer in a multiple choice.")
@click.option("--as-is", is_flag=True, help="Ask the model as it is, without fine-tuning (not for the head).")
@click.option("--most", default=0, show_default=True, type=click.IntRange(min=0), help="Faces of each side at the most; 0: all.")
@click.option("--rank", default=64, show_default=True, type=click.IntRange(min=1), help="Rank of the LoRA adapters.")
@click.option("--epochs", default=2, show_default=True, type=click.IntRange(min=1), help="Passes over the training faces.")
def names_ask(base: str, modes: tuple[str, ...], offered: int, as_is: bool, most: int, rank: int, epochs: int) -> None:
    """Put the same question to a vision-language model: BASE is a saved model's folder or a hub name.

    \b
    Example: vibe names ask Qwen/Qwen2.5-VL-3B-Instruct --mode choice --as-is --most 500
    """
    from vibe_assets.defs.name_tools import vlm_tools
    from vibe_assets.names.results import COMPARED, comparison_rows
    from vibe_assets.names.study import ask_model
    from vibe_assets.names.vlm_tracks import MODES, HeadKnobs
    from vibe_assets.stages.notes import noted

    home = platform()
    tools = vlm_tools(base, device=home.settings.vlm.device, rank=rank, epochs=epochs)
    knobs = HeadKnobs(rank=rank, alpha=2 * rank, epochs=epochs)
    wanted = modes or tuple(mode for mode in MODES if not (as_is and mode == "head"))
    with noted(home, "name_vlm"):
        tracks = ask_model(home, wanted, tools, knobs=knobs, options=offered, tune=not as_is, most=most)
    show("Vision-language model", list(COMPARED), list(comparison_rows(tracks)), name="tracks")
