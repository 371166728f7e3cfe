"""The audit in Label Studio instead of on the audit page: tasks out, annotations back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from vibe_assets.cli.app import FILE, main, nothing, platform, tell
from vibe_assets.words import some

LOCAL_FILES = "/data/local-files/?d="  # Label Studio's own address for files of a local storage


@main.group("label-studio")
def label_studio() -> None:
    """Audit the sample in Label Studio."""


@label_studio.command("export")
@click.option("--image-prefix", default=LOCAL_FILES, show_default=True, help="Put before each photo's path to make its address.")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="Folder to write to (default: label_studio/ in the audit folder)."
)
def export(image_prefix: str, out: Path | None) -> None:
    """Write the sample as tasks.json and config.xml for a Label Studio project.

    Photos are not copied. With Label Studio's local storage, start it with LOCAL_FILES_SERVING_ENABLED=true and
    LOCAL_FILES_DOCUMENT_ROOT set to the photo root, and add a local storage that covers it; where the document root lies above
    the photo root, name the rest: --image-prefix "/data/local-files/?d=Pictures/". A web server does as well.

    \b
    Example: vibe label-studio export --image-prefix https://photos.example.org/
    """
    from vibe_assets.stages.label_studio import export_tasks

    done = export_tasks(platform(), image_prefix=image_prefix, folder=out)
    facts: dict[str, Any] = {"tasks": done.photos, "blind": done.blind, "file": done.tasks}
    tell(f"{some(done.photos, 'task')}, {done.blind} of them with nothing filled in: {done.tasks}", **facts)
    tell(f"labelling config, for Settings > Labeling Interface > Code: {done.config}", config=done.config)
    if not done.photos:
        nothing("no photo of the sample is in the library any more: run `vibe sample` for a new one")
    tell("when people are done, export as JSON (with skips) or JSON-MIN, then: vibe label-studio import FILE")


@label_studio.command("import")
@click.argument("file", type=FILE)
def import_(file: Path) -> None:
    """Keep the annotations of a JSON or JSON-MIN export: every one is checked, one wrong line refuses the file.

    The same export may be imported again: what is known already is passed over.
    """
    from vibe_assets.stages.label_studio import import_verdicts

    done = import_verdicts(platform(), file)
    facts: dict[str, Any] = {"annotations": done.verdicts, "people": done.people, "new": done.new, "skipped": done.skipped}
    tell(f"{some(done.verdicts, 'annotation')}, people: {done.people}, {done.new} new, {done.skipped} of these skipped", **facts)
    if not done.verdicts:
        nothing(f"{file}: nobody has annotated a photo in it")
