"""The best photo of every series: pick, compare, import, train, report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vibe_assets.cli.app import FILE, FOLDER, OUT, PORT, Vibe, busy, main, nothing, platform, tell
from vibe_assets.words import some

if TYPE_CHECKING:
    from vibe_assets.triage.picks import Picks


class FolderFirst(Vibe):
    """`vibe triage FOLDER` is short for `vibe triage folder FOLDER`."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.commands and Path(args[0]).is_dir():
            args = ["folder", *args]
        return super().resolve_command(ctx, args)


@main.group(cls=FolderFirst)
def triage() -> None:
    """The best photo of every series: bursts, and moments taken more than once.

    \b
    Examples:
      vibe triage ~/Pictures/2024/wedding    picks of a folder, as a page and a CSV
      vibe triage review                     say which photo you would keep; heads learn from it
    """


@triage.command("folder")
@click.argument("folder", type=FOLDER)
@click.option("--output", type=OUT, help="Where page and CSV go (default: the library's triage folder). Never into the photos by itself.")
def folder_command(folder: Path, output: Path | None) -> None:
    """Pick in every series of a folder; nothing is moved or deleted."""
    from vibe_assets.triage.picks import pick_folder

    home = platform()
    with busy("looking for series"):
        found = pick_folder(home, folder, output or home.settings.triage_dir / "folders" / folder.resolve().name)
    _tell_picks(found)


def _tell_picks(found: Picks) -> None:
    """How many series have a pick, and where it is shown. Raises ClickException where there is no series."""
    tell(
        f"{found.series} series: {found.picked} picked, {found.series - found.picked} too close to call (by {found.model})",
        series=found.series, picked=found.picked, model=found.model, caution=found.caution,
    )  # fmt: skip
    _caution(found.caution)
    tell(f"{found.page}\n{found.table}", page=found.page, table=found.table)
    if not found.series:
        nothing("no series: no two photos were taken close together and look alike; [triage] gap_s, max_bits and min_cosine say how close")


def _caution(text: str) -> None:
    if text:
        click.secho(f"NOT PROVEN: {text}", fg="yellow", err=True)


@triage.command("series")
def series_command() -> None:
    """Build the series of the library and of the imports, and measure their photos."""
    from vibe_assets.triage.study import build_series, measure_quality

    home = platform()
    rows = build_series(home)
    measure_quality(home)
    series = rows["series_id"].n_unique()
    tell(f"{series} series with {some(rows.height, 'photo')}; `vibe triage review` compares them", series=series, photos=rows.height)
    if not series:
        nothing("no series: no two photos were taken close together and look alike, or the library was not scanned yet (`vibe ui`)")


@triage.command("import-pairs")
@click.argument("file", type=FILE)
@click.option("--photos", type=FOLDER, help="Folder of the photos that were compared (default: looked for in the library by name).")
@click.option("--name", help="Name of the import (default: from the file name).")
def import_pairs_command(file: Path, photos: Path | None, name: str | None) -> None:
    """Take in human comparisons: CSV or JSON lines with series, two files, votes for each (PhotoTriage's columns)."""
    from vibe_assets.triage.imports import import_pairs
    from vibe_assets.triage.pairs import series_of

    with busy("reading comparisons"):
        one = import_pairs(platform(), file, photos=photos, name=name)
    counted = [comparison for comparison in one.comparisons if comparison.reason is None]
    named, found = series_of(one.comparisons), one.series()
    chance = sum(1 / len(files) for files in named.values()) / max(len(named), 1)
    said = f"{len(counted):,} of {len(one.comparisons):,} comparisons count, in {len(named):,} series"
    tell(
        f"{said}; guessing would be right in {chance:.1%}",
        comparisons=len(one.comparisons), counted=len(counted), series=len(named), chance=chance, with_photos=len(found),
    )  # fmt: skip
    if not counted:
        nothing(f"{file}: no comparison counts; [triage] min_reviewers and min_agreement say which do")
    if not found:
        nothing(f"{file}: no photo of it was found; name their folder with --photos")
    tell(f"photos found for {len(found):,} series; next: vibe triage train")


@triage.command("train")
def train_command() -> None:
    """Settle the preferences and train every series head."""
    from vibe_assets.stages.notes import noted
    from vibe_assets.triage.learn import train_heads
    from vibe_assets.triage.study import build_series, measure_quality, settle_preferences

    home = platform()
    for stage in (build_series, measure_quality, settle_preferences):
        stage(home)
    with noted(home, "series_heads"):
        trained = train_heads(home)
    for recipe, head in trained.heads.items():
        top1, series = head.card.selection["top1"], head.card.n_val
        facts: dict[str, Any] = {recipe: {"version": head.version, "top1": top1, "validation_series": series}}
        tell(f"{recipe}: top-1 {top1:.1%} on {series} validation series ({head.version})", **facts)


@triage.command("report")
@click.option("--open", "in_browser", is_flag=True, help="Open it in the browser.")
def report_command(in_browser: bool) -> None:
    """Judge every head and rule on the test series and write the report."""
    from vibe_assets.stages.notes import leave_note
    from vibe_assets.triage.report import report_triage

    home = platform()
    written = report_triage(home)
    leave_note(home, "triage_report")
    tell(f"{written.markdown}\n\n{written.path}", page=written.path, markdown=written.markdown)
    if in_browser:
        click.launch(written.path.as_uri())


@triage.command("best")
@click.option("--xmp", is_flag=True, help="Write the picks into XMP sidecars (IMG.jpg.xmp), too: stars, label Pick, digiKam's pick flag.")
@click.option("--into", type=OUT, help="With --xmp: mirror the tree of sidecars here, instead of beside the photos.")
@click.option("--dry-run", is_flag=True, help="With --xmp: say what would change in the sidecars; write none.")
@click.option("--remove", is_flag=True, help="With --xmp: take out the picks that earlier runs wrote, and nothing else.")
def best_command(xmp: bool, into: Path | None, dry_run: bool, remove: bool) -> None:
    """Pick in every series of the library: table, CSV and contact sheet; with --xmp sidecars for digiKam, Lightroom, darktable.

    Photos that somebody has rated, labelled or flagged are left alone and named. Keywords of `vibe export xmp` in the same sidecars stay,
    and that command leaves the picks alone. No photo is moved, changed or deleted.

    \b
    vibe triage best --xmp --dry-run       what would change
    vibe triage best --xmp --remove        takes out exactly what was written before
    """
    from vibe_assets.cli.export import show_outcomes
    from vibe_assets.triage.picks import pick_library
    from vibe_assets.triage.sidecars import remove_picks, write_picks

    if not xmp and (into or dry_run or remove):
        raise click.UsageError("--into, --dry-run and --remove are about sidecars: add --xmp")
    home = platform()
    if remove:
        show_outcomes(remove_picks(home, into=into, dry_run=dry_run), dry_run=dry_run)
        return
    found = pick_library(home)
    _tell_picks(found)
    if xmp:
        show_outcomes(write_picks(home, found.rows, into=into, dry_run=dry_run), dry_run=dry_run)


@triage.command("review", prints=False)
@click.option("--port", type=PORT, default=3002, show_default=True, help="Port on 127.0.0.1; 0 takes a free one.")
@click.option("--served-as", multiple=True, metavar="HOST[:PORT]", help="Name that people reach a proxy in front by; may be repeated.")
@click.option("--open", "in_browser", is_flag=True, help="Open it in the browser.")
def review_command(port: int, served_as: tuple[str, ...], in_browser: bool) -> None:
    """Serve the page where people say which photo of a series they would keep."""
    from vibe_assets.triage.review import serve_review

    def announce(addresses: Sequence[str]) -> None:
        click.echo(f"pick the best on {' and '.join(addresses)} (Ctrl-C ends it); afterwards: vibe triage train")
        if in_browser:
            click.launch(addresses[0])

    serve_review(platform(), port=port, served_as=served_as, announce=announce)
