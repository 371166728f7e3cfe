"""Labels leave the house: one command per format, and XMP sidecars."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vibe_assets.cli.app import OUT, Number, main, nothing, platform, show, tell
from vibe_assets.words import some

if TYPE_CHECKING:
    from vibe_assets.export.sidecar_files import Outcome
    from vibe_assets.questions import Questions
    from vibe_assets.stages.sidecars import Qualification

SHOWN = 20  # rows of a table of what was left out
ABOUT = {  # kept here, so that `vibe --help` loads nothing; a test compares it with the formats there are
    "csv": "A table for spreadsheets; no cell can run as a formula.",
    "jsonl": "The project's own JSON lines, as audited files have them.",
    "parquet": "A Parquet file for polars, DuckDB, pandas, Spark.",
    "imagefolder": "A Hugging Face ImageFolder: pictures and metadata.jsonl.",
    "webdataset": "WebDataset shards: tar files with picture and JSON.",
    "coco": "COCO-style JSON with image-level annotations.",
    "fiftyone": "A FiftyOneImageClassificationDataset, multi-label.",
    "messages": "Chat messages with the photo, for LoRA fine-tuning, by split.",
    "label-studio": "Label Studio tasks with the labels filled in, and the labelling config.",
}


def selecting(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say which labels of which photos."""
    for option in reversed(
        [
            click.option(
                "--labels", type=click.Choice(["best", "people", "students", "teacher"]), default="best", show_default=True,
                help="Whose labels; best: people's where they looked, else the students' answer, else the teacher's.",
            ),
            click.option("--folder", "folders", multiple=True, metavar="KEY", help="Only this folder (see `vibe folders`); repeatable."),
            click.option(
                "--scene", "scenes", multiple=True, metavar="SCENE", help="Only photos with this scene, say food (or its name); repeatable."
            ),
            click.option(
                "--min-confidence", type=Number(0, 1), metavar="P",
                help="Labels that the students are less sure of count as left open. People and teacher state no confidence.",
            ),
        ]
    ):  # fmt: skip
        command = option(command)
    return command


@main.group(no_args_is_help=True)
def export() -> None:
    """Write the labels for other tools, or into XMP sidecars.

    \b
    vibe export csv                                            data/exports/csv/labels.csv
    vibe export parquet --labels students --min-confidence 0.8
    vibe export imagefolder --scene food --scene product --into ~/datasets/food
    vibe export webdataset --labels best                       tar shards with the pictures in them
    vibe export coco --photos link                             annotations.json and images/ of links
    vibe export messages --labels teacher                      train.jsonl, val.jsonl, test.jsonl for a LoRA
    vibe export xmp --dry-run                                  which labels may go into sidecars, and what would change
    vibe export xmp --into ~/sidecars                          the same tree of sidecars elsewhere
    vibe export xmp --remove                                   takes out exactly what was written before

    A second run with nothing new does nothing; a folder that was not written by this command is never touched.
    """


def _add(name: str, about: str) -> None:
    @export.command(name, help=f"{about}\n\nWritten to exports/{name}/ in the home folder unless --into says otherwise.")
    @selecting
    @click.option(
        "--photos", type=click.Choice(["copy", "link", "reference"]),
        help="The pictures: copied, linked, or named by their path (default: what the format needs).",
    )  # fmt: skip
    @click.option("--into", type=OUT, help="Folder to write; replaced only if an earlier export of ours is in it.")
    def command(
        labels: str, folders: tuple[str, ...], scenes: tuple[str, ...], min_confidence: float | None, photos: str | None,
        into: Path | None, bom: bool | None = None,
    ) -> None:  # fmt: skip
        from vibe_assets.stages.export import Selection, export_labels
        from vibe_assets.stages.notes import leave_note

        home = platform()
        done = export_labels(home, name, Selection(labels, folders, scenes, min_confidence), into=into, mode=photos, bom=bom)
        facts: dict[str, Any] = {"photos": done.photos, "folder": done.folder, "labels_from": done.labels_from, "written": done.written}
        if not done.written and done.photos:
            tell(f"nothing to do: {done.folder} holds {some(done.photos, 'such photo')} already", **facts)
            return
        leave_note(home, "label_export")
        sources = ", ".join(f"{count} from {source}" for source, count in sorted(done.labels_from.items()))
        tell(f"{some(done.photos, 'photo')} in {done.folder}; labels: {sources or 'none'}", **facts)
        if done.left_out:
            rows = [(left.rel_path, left.reason, left.detail) for left in done.left_out[:SHOWN]]
            show(f"{len(done.left_out)} left out (all of them in left_out.jsonl)", ["photo", "reason", "detail"], rows, name="left_out")
        if not done.photos:
            nothing("no photo has these labels: choose others with --labels, --folder, --scene or --min-confidence")

    if name == "csv":
        click.option("--bom/--no-bom", default=None, help="Begin with a byte order mark, for Excel (default: [export] csv_bom).")(command)


for _name, _about in ABOUT.items():
    _add(_name, _about)


@export.command()
@selecting
@click.option("--into", type=OUT, help="Mirror the tree of sidecars here, instead of beside the photos.")
@click.option("--remove", is_flag=True, help="Take out what earlier runs wrote, and nothing else.")
@click.option("--dry-run", is_flag=True, help="Say what would change; write nothing.")
def xmp(
    labels: str,
    folders: tuple[str, ...],
    scenes: tuple[str, ...],
    min_confidence: float | None,
    into: Path | None,
    remove: bool,
    dry_run: bool,
) -> None:
    """Labels that people's checks vouch for, as XMP sidecars (IMG.jpg.xmp) for digiKam, Lightroom, darktable.

    A label is written only where the lower end of its precision's 95 % interval, against people, is above [export] min_precision. Fields
    and tags of others stay; photos are never opened for writing; a tag that somebody took out again is not written a second time.

    \b
    Example: vibe export xmp --labels teacher --dry-run
    """
    from vibe_assets.stages.export import Selection
    from vibe_assets.stages.sidecars import check_selection, qualify, remove_sidecars, write_sidecars

    home = platform()
    if remove:
        show_outcomes(remove_sidecars(home, folders=folders, into=into, dry_run=dry_run), dry_run=dry_run)
        return
    selection = Selection(labels, folders, scenes, min_confidence)
    check_selection(home, selection)
    qualified = qualify(home, selection)
    _table(qualified, home.questions)
    show_outcomes(write_sidecars(home, selection, qualified, into=into, dry_run=dry_run), dry_run=dry_run)
    if not any(one.qualifies for one in qualified):
        nothing("no label qualifies for sidecars: the table says why; more audited photos narrow the intervals")


def _table(qualified: list[Qualification], questions: Questions) -> None:
    """Labels that may be written first; then the others, the most frequent first."""
    own = [one for one in qualified if one.precision is None and one.qualifies]
    if own:
        photos = sum(one.photos for one in own)
        said = f"{some(len(own), 'label')} of people themselves ({photos} times on photos) may be written as they are"
        tell(said, labels_of_people=len(own))
    judged = sorted((one for one in qualified if one not in own), key=lambda one: (not one.qualifies, -one.photos, one.label))
    columns = ["label", "from", "precision [95 %]", "n", "photos", "written"]
    rows = [(one.label, one.source, *_figures(one), one.photos, "yes" if one.qualifies else f"no: {one.why}") for one in judged]
    records = [dict(zip(columns, row, strict=True)) for row in rows]
    named = [(questions.name(label), *rest) for label, *rest in rows]
    show("Labels of machines, against people", columns, named, name="labels", records=records)


def _figures(one: Qualification) -> tuple[str, int]:
    """Precision with its interval, and the audited photos behind it."""
    score = one.precision
    return (f"{score.value:.3f} [{score.low:.3f}, {score.high:.3f}]", score.n) if score else ("", 0)


def show_outcomes(outcomes: Iterable[Outcome], *, dry_run: bool) -> None:
    """How many sidecars came to what, and those that were left alone with their reasons."""
    counts: Counter[str] = Counter()
    refused: list[tuple[str, str | None, str | None]] = []
    for outcome in outcomes:
        counts[outcome.what] += 1
        if outcome.reason and len(refused) < SHOWN:
            refused.append((outcome.rel_path, outcome.reason, outcome.detail))
    said = ", ".join(f"{count} {what}" for what, count in sorted(counts.items())) or "nothing of ours was found"
    tell(f"{'dry run, nothing was written: ' if dry_run else 'sidecars: '}{said}", dry_run=dry_run, sidecars=counts)
    if refused:
        show("Left alone", ["sidecar", "reason", "detail"], refused, name="left_alone")
