"""The tag benchmark by hand: the same stages as the assets, without Dagster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from vibe_assets.cli.app import main, nothing, platform, show, tell
from vibe_assets.strangers import visible
from vibe_assets.words import some


@main.group()
def tags() -> None:
    """Which vision-language model finds the tags that people gave their photos."""


@tags.command("ingest")
@click.option("--batch", default="", help="Name of the batch (default: the moment, as 20261122-061500).")
@click.option("--query", default="", help="Search terms on Unsplash.")
@click.option("--collection", default="", help="Id of a collection on Unsplash.")
@click.option("--random", is_flag=True, help="A random draw on Unsplash, of the search terms where they are given.")
@click.option("--count", default=30, show_default=True, type=click.IntRange(min=1), help="Photos from Unsplash at the most.")
@click.option("--first-page", default=1, show_default=True, type=click.IntRange(min=1), help="Page of the search results to begin with.")
@click.option("--from", "file", default="", help="Folder with metadata.jsonl or metadata.csv, or such a file.")
@click.option("--library", default="", type=click.Choice(["", "audited", "auto"]), help="The library's own labels as tags.")
@click.option("--limit", type=click.IntRange(min=1), help="Photos of a file or of the library at the most.")
@click.option("--allow-nothing-new", is_flag=True, help="Succeed with an empty batch.")
def tags_ingest(batch: str, **source: Any) -> None:
    """Take in one batch of photos with tags.

    \b
    Example: UNSPLASH_ACCESS_KEY=... vibe tags ingest --query "old town" --count 60
             vibe tags ingest --from ~/tagged --batch holidays
             vibe tags ingest --library audited          (no key needed)
    """
    from vibe_assets.vlm.ingest import ingest, new_batch
    from vibe_assets.vlm.orders import order_of

    done = ingest(platform(), batch or new_batch(), order_of(**source))
    rejected = done.rows["reason"].drop_nulls().len()
    new = done.rows.height - rejected
    tell(
        f"batch {done.batch}: {some(new, 'new photo')}, {rejected} rejected, {done.known} known before",
        batch=done.batch, new=new, rejected=rejected, known=done.known, stopped=done.stopped,
    )  # fmt: skip
    if done.stopped:
        click.echo(visible(f"it stopped early: {done.stopped}"), err=True)
    if done.pruned:
        tell(f"removed as older than vlm.keep_days: {', '.join(done.pruned)}", pruned=list(done.pruned))
    if not new and not source["allow_nothing_new"]:
        why = "".join(f", {count} {reason}" for reason, count in _counts(done.rows["reason"].drop_nulls()))
        nothing(f"batch {done.batch} holds no usable photo: {done.known} known before{why}")


@tags.command("diagnose")
@click.argument("batch", default="")
def tags_diagnose(batch: str) -> None:
    """How good a batch is as a ruler (default: the newest): tags per photo, duplicates, diversity, broken photos."""
    from vibe_assets.stages.notes import leave_note
    from vibe_assets.vlm.diagnostics import diagnose, write_diagnosis

    home = platform()
    found = diagnose(home, batch or _newest(home))
    figures = {
        "photos, usable": f"{found.photos:,}, {found.accepted:,}",
        "seen before": f"{found.duplicate_share:.1%}",
        "broken or unreachable": f"{found.broken_share:.1%}",
        "distinct tags": f"{found.distinct:,} of {found.tags:,} ({found.diversity:.0%}), {found.entropy_bits:.1f} bits",
        **{f"photos with {name} tags": f"{count:,}" for name, count in found.tiers.items()},
        "most frequent": ", ".join(f"{tag} ({count})" for tag, count in found.top[:10]),
    }
    show(f"Batch {found.batch}", ["figure", "value"], list(figures.items()), name="figures")
    page = write_diagnosis(home, found)
    leave_note(home, "tag_diagnostics", found.batch)
    tell(page, batch=found.batch, page=page)
    if not found.accepted:
        nothing(f"batch {found.batch} holds no usable photo")


@tags.command("benchmark")
@click.option("--batch", "batches", multiple=True, help="Only these batches (default: all).")
@click.option("--model", "wanted", multiple=True, help="Only these models (default: all of the settings, and every adapter).")
@click.option("--limit", type=click.IntRange(min=1), help="Photos per batch and model at the most.")
def tags_benchmark(batches: tuple[str, ...], wanted: tuple[str, ...], limit: int | None) -> None:
    """Ask every model about every batch, what is known is not asked again; then write the leaderboard."""
    from vibe_assets.vlm.failures import VlmError
    from vibe_assets.vlm.ingest import batches as all_batches
    from vibe_assets.vlm.predict import predict_cell
    from vibe_assets.vlm.registry import model_named, models

    home = platform()
    names = wanted or tuple(models(home))
    if not names:
        raise VlmError("no model to ask: add a section [vlm.models.NAME] with base_url and model (or local) to the settings")
    for name in names:
        model_named(home, name)
    cells: list[dict[str, Any]] = []
    for batch in batches or all_batches(home):
        for name in names:
            rows = predict_cell(home, batch, name, limit=limit)
            failed = rows["reason"].drop_nulls()
            cells.append({"batch": batch, "model": name, "answered": rows.height - failed.len(), "failed": dict(_counts(failed))})
            tell(f"{batch}, {name}: {cells[-1]['answered']} answered" + "".join(f", {n} {why}" for why, n in _counts(failed)), cells=cells)
    _ranked(home)
    if not any(cell["answered"] for cell in cells):
        nothing("no model answered about any photo" + ("" if cells else ": there is no batch, `vibe tags ingest` fills one"))


@tags.command("leaderboard")
@click.option("--open", "in_browser", is_flag=True, help="Open the page in the browser.")
def tags_leaderboard(in_browser: bool) -> None:
    """Write the leaderboard from what models have said so far."""
    page = _ranked(platform())
    if in_browser:
        click.launch(page.as_uri())


@tags.command("models")
def tags_models() -> None:
    """Whom the benchmark asks: models of the settings, and every adapter that was trained here."""
    from vibe_assets.vlm.registry import models

    rows = [(name, one.provider, one.model_id, one.adapter_version or "") for name, one in models(platform()).items()]
    show("Models", ["name", "provider", "model", "adapter"], rows, name="models")


def _newest(home: Any) -> str:
    from vibe_assets.vlm.failures import VlmError
    from vibe_assets.vlm.ingest import batches

    found = batches(home)
    if not found:
        raise VlmError("no batch yet; `vibe tags ingest` fills one")
    return found[-1]


def _counts(reasons: Any) -> list[tuple[str, int]]:
    return [(str(reason), count) for reason, count in reasons.value_counts(sort=True).iter_rows()]


def _ranked(home: Any) -> Path:
    from vibe_assets.vlm.board import build_board, interval, percent, standing, statuses, wait

    written = build_board(home)
    status = statuses(home)
    rows = [
        (row.scores.provider, row.scores.name, status.get(row.scores.identity, ""), wait(row.latency_p50_s),
         percent(row.figures["recall"].value), interval(row.figures["recall"]), standing(row))
        for row in written.board.rows
    ]  # fmt: skip
    show("Leaderboard", ["provider", "model", "status", "median", "recall", "95 %", "against the best"], rows, name="leaderboard")
    tell(written.page, page=written.page)
    return written.page
