"""What people say of the labels, and how far the labels are from it."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from vibe_assets.cli.app import FILE, OUT, main, nothing, platform, tell
from vibe_assets.words import some


@main.command()
def sample() -> None:
    """Draw the audit sample and write the file that people check.

    Draw again when the library has grown, for a larger sample, or by another strategy: what was checked before still counts.
    """
    from vibe_assets.stages.truth import checked_already, draw_audit_sample, sample_file

    home = platform()
    rows = draw_audit_sample(home)
    file, checked = sample_file(home), checked_already(home, rows)
    said = f"{some(rows.height, 'photo')} in {file}{f', {checked:,} of them checked already' if checked else ''}"
    tell(f"{said}; correct the labels there, then: vibe audited {file}", photos=rows.height, checked=checked, file=file)


@main.command()
@click.argument("file", type=FILE, required=False)
@click.option("--part", is_flag=True, help="The file holds some of the photos only, as an export does.")
@click.option("--export", "export", type=OUT, help="Write what people say so far, settled, to this file instead.")
def audited(file: Path | None, part: bool, export: Path | None) -> None:
    """Accept an audited file: every line is checked, one wrong line refuses it all.

    \b
    Examples:
      vibe audited data/audit/sample.json          the sample, corrected in an editor
      vibe audited --export today.json             what the audit page and files say up to now
      vibe audited today.json --part               the export again, with ties decided
    """
    from vibe_assets.stages.truth import accept_audited, export_audited

    if (file is None) == (export is None):
        raise click.UsageError("give either a FILE to accept or --export FILE to write")
    home = platform()
    if export is not None:
        photos = export_audited(home, export).height
        tell(f"{some(photos, 'audited photo')} written to {export}", photos=photos, file=export)
        if not photos:
            nothing("nobody has checked a photo yet: `vibe audit` serves the page for it")
    elif file is not None:
        rows = accept_audited(home, file, part=part)
        if rows.is_empty():
            nothing(f"{file}: no photo in it")
        said = f"{some(rows.height, 'audited photo')} accepted from {file}; a running daemon takes it from here, or `vibe run`"
        tell(said, photos=rows.height, file=file)


@main.command("eval", prints=False, context_settings={"ignore_unknown_options": True}, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def evaluate(arguments: tuple[str, ...]) -> None:
    """Score labels against people's (same as python -m vibe_assets.eval.labels)."""
    from vibe_assets.eval.labels import main as run

    sys.exit(run(list(arguments)))
