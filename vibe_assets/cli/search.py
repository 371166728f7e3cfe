"""Find photos by words or by example, and pairs that are nearly the same."""

from __future__ import annotations

from pathlib import Path

import click

from vibe_assets.cli.app import OUT, Number, main, nothing, platform, show, tell
from vibe_assets.words import some


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
    records = [{"photo": shot.rel_path, "cosine": shot.cosine, "alike": shot.alike, "labels": shot.keys} for shot in found.shots]
    show("Nearest photos", ["", "cosine", "photo", "labels"], rows, name="photos", records=records)
    if found.skipped:
        tell(f"{some(found.skipped, 'photo')} passed over: without a vector of the current encoder", skipped=found.skipped)
    tell(found.page, page=found.page)
    if not rows:
        nothing("no other photo has a vector of the current encoder")
    if in_browser:
        click.launch(found.page.absolute().as_uri())


@main.command()
@click.option("--cosine", default=0.98, show_default=True, type=Number(0.5, 1.0), help="Pairs of photos this close, or closer.")
@click.option("--top", default=24, show_default=True, type=click.IntRange(0), help="Pairs to show, those that cross splits first.")
def duplicates(cosine: float, top: int) -> None:
    """Photos whose vectors nearly agree although their hashes do not: crops, re-edits, two scans of one print.

    Such a pair is in no group of photo_groups. Where one photo is in train and the other in val or test, scores flatter the students.
    """
    from vibe_assets.stages.duplicates import find_duplicates

    found = find_duplicates(platform(), cosine=cosine)
    rows = [
        (f"{pair.cosine:.4f}", pair.photo, pair.other, " / ".join(pair.splits) + (" (crosses)" if pair.crosses else ""))
        for pair in found.pairs[:top]
    ]
    records = [
        {"cosine": pair.cosine, "photo": pair.photo, "other": pair.other, "splits": pair.splits, "crosses": pair.crosses}
        for pair in found.pairs[:top]
    ]
    show("Near-duplicates by vector", ["cosine", "photo", "other", "splits"], rows, name="pairs", records=records)
    crossing = sum(pair.crosses for pair in found.pairs)
    tell(
        f"{some(len(found.pairs), 'pair')} of {some(found.compared, 'photo')} at {cosine} or closer, {crossing:,} of them across splits; "
        f"{found.grouped:,} more are in one group already",
        found=len(found.pairs), compared=found.compared, crossing=crossing, grouped=found.grouped,
    )  # fmt: skip
