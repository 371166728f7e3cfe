"""Find photos by words or by example."""

from __future__ import annotations

from pathlib import Path

import click

from vibe_assets.cli.app import OUT, main, platform, show


@main.command()
@click.argument("text", required=False)
@click.option("--like", type=OUT, metavar="PHOTO", help="Search with a photo, in the library or not, instead of words.")
@click.option("--top", default=24, show_default=True, type=click.IntRange(1, 500), help="Photos to show.")
@click.option("--all", "every", is_flag=True, help="Near-duplicates and bursts too, each by itself.")
@click.option("--open", "in_browser", is_flag=True, help="Open the contact sheet in the browser.")
def search(text: str | None, like: Path | None, top: int, every: bool, in_browser: bool) -> None:
    """The photos nearest to some words, or to a photo: a table, and a contact sheet in reports/search/.

    \b
    vibe search "a dog on a beach"
    vibe search --like ~/Pictures/2024/IMG_1234.jpg --top 12 --open
    """
    from vibe_assets.stages.search import query_photo, query_text
    from vibe_assets.stages.search import search as find

    if (text is None) == (like is None):
        raise click.UsageError('give either words, vibe search "a dog on a beach", or a photo, vibe search --like PHOTO')
    home = platform()
    found = find(home, query_photo(home, like) if like is not None else query_text(home, text or ""), top=top, every=every)
    rows = [
        (number, f"{shot.cosine:.3f}", shot.rel_path + (f" (+{shot.alike} alike)" if shot.alike else ""), shot.labels)
        for number, shot in enumerate(found.shots, 1)
    ]
    show("Nearest photos", ["", "cosine", "photo", "labels"], rows)
    if found.skipped:
        click.echo(f"{found.skipped} photos were passed over: they have no vector of the current encoder")
    click.echo(found.page)
    if in_browser:
        click.launch(found.page.absolute().as_uri())
