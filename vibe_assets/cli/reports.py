"""Find the reports, compare any two versions of labels."""

from __future__ import annotations

from typing import Any

import click

from vibe_assets.cli.app import main, platform, tell

PAGES = ("teacher", "student", "drift")


@main.command()
@click.argument("name", required=False, type=click.Choice(PAGES))
@click.option("--open", "in_browser", is_flag=True, help="Open it in the browser.")
def report(name: str | None, in_browser: bool) -> None:
    """Where the reports lie: one page that leads to all of them, or the one of that NAME.

    \b
    Examples:
      vibe report --open
      vibe report drift --open
    """
    from vibe_assets.stages.index import write_index

    page = write_index(platform())
    if name is not None:
        page = page.with_name(f"{name}_report.html")
        if not page.exists():
            raise click.ClickException(f"{page}: not written yet: `vibe run` writes it, `vibe report` shows those that are there")
    tell(page, page=page)
    if in_browser:
        click.launch(page.as_uri())


@main.command()
@click.argument("a")
@click.argument("b")
@click.option(
    "--what", metavar="QUESTION", help="Only this question: scene, attributes, objects, or one of your label file (default: all)."
)
@click.option("--open", "in_browser", is_flag=True, help="Open it in the browser.")
def compare(a: str, b: str, what: str | None, in_browser: bool) -> None:
    """What is different between two versions of labels, and which is nearer to people. Writes one page.

    \b
    A and B may each be
      a table of the lake   auto_ground_truth, predictions, audited_ground_truth; with a version: predictions@7, predictions@-1
      a teacher             its fingerprint: the answers in its journal under the mapping in force
      a head                its version: predicted again from the cached vectors
      a file of labels      .json or .jsonl
    \b
    Examples:
      vibe compare auto_ground_truth@3 auto_ground_truth
      vibe compare predictions audited_ground_truth --what scene --open
    """
    from vibe_assets.stages.comparison import compare_versions

    written = compare_versions(platform(), a, b, what=what)
    tell(written.verdict, verdict=written.verdict)
    for one in written.comparisons:
        said: dict[str, Any] = {one.what: {"verdict": one.verdict, "test": one.test, "p_two_sided": one.p_two_sided}}
        tell(f"  {one.what}: {one.verdict} ({one.test}, two-sided p = {one.p_two_sided:.3g})", **said)
    tell(written.path, page=written.path)
    if in_browser:
        click.launch(written.path.as_uri())
