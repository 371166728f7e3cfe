"""What people say of the labels, and how far the labels are from it."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from vibe_assets.cli.app import FILE, main, platform


@main.command()
def sample() -> None:
    """Draw the audit sample and write the file that people check."""
    from vibe_assets.stages.truth import draw_audit_sample, sample_file

    home = platform()
    rows = draw_audit_sample(home)
    click.echo(f"{rows.height} photos in {sample_file(home)}; correct the labels there, then: vibe audited {sample_file(home)}")


@main.command()
@click.argument("file", type=FILE)
def audited(file: Path) -> None:
    """Accept an audited file: every line is checked, one wrong line refuses it all."""
    from vibe_assets.stages.truth import accept_audited

    home = platform()
    rows = accept_audited(home, file)
    click.echo(f"{rows.height} audited photos accepted as {home.settings.audited_file}; the daemon takes it from here")


@main.command("eval", context_settings={"ignore_unknown_options": True}, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def evaluate(arguments: tuple[str, ...]) -> None:
    """Score labels against people's (same as python -m vibe_assets.eval.labels)."""
    from vibe_assets.eval.labels import main as run

    sys.exit(run(list(arguments)))


@main.command()
@click.option("--open", "in_browser", is_flag=True, help="Open it in the browser.")
def report(in_browser: bool) -> None:
    """Where the reports lie: one page that leads to all of them.

    \b
    Example: vibe report --open
    """
    from vibe_assets.stages.reports import write_index

    page = write_index(platform())
    click.echo(page)
    if in_browser:
        click.launch(page.as_uri())
