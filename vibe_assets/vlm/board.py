"""What models said of the batches becomes the leaderboard: a table of the lake, one HTML page, and its JSON payload."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vibe_assets.lake import write_text
from vibe_assets.records import Estimate, fingerprint
from vibe_assets.records.tags import INSTRUCTION_DATASET, LEADERBOARD, TAG_PREDICTIONS, TAGGED_PHOTOS
from vibe_assets.stages.index import index_card, write_page
from vibe_assets.stages.platform import Platform
from vibe_assets.vlm.failures import VlmError
from vibe_assets.vlm.match import Meaning
from vibe_assets.vlm.registry import adapters_dir, models, read_card
from vibe_assets.vlm.score import Board, Row, deciles, pareto, rank, score_models

if TYPE_CHECKING:
    import polars as pl

NO_FIGURE = "–"
PAGE, PAYLOAD = "leaderboard_report", "leaderboard.json"  # below the reports folder


@dataclass(frozen=True)
class Written:
    """The leaderboard and where it lies."""

    board: Board
    page: Path
    payload: Path
    version: str  # moves when a figure does


def build_board(platform: Platform, *, now: datetime | None = None) -> Written:
    """Score every model on every batch and write table, page and payload. Raises VlmError when nothing can be scored."""
    board = judge(platform)
    if not board.rows:
        raise VlmError("nothing to rank: no model has answered about a tagged photo yet; `vibe tags benchmark` asks them")
    status = statuses(platform)
    rows = _table(board, status)
    platform.lake.replace(LEADERBOARD, rows, commit=platform.commit)
    dates, now = _dates(platform, board.batches), now or datetime.now(UTC)
    file = platform.settings.reports_dir / PAYLOAD
    write_text(file, json.dumps(payload(board, dates), ensure_ascii=False, indent=2) + "\n")
    best = {f"recall, {row.scores.name}": row.figures["recall"] for row in board.rows[:3]}
    summary = f"{len(board.rows)} models on {board.photos:,} photos; {board.rows[0].scores.name} finds most of the tags that people gave."
    card = index_card("Tag leaderboard", now, summary=summary, figures=best)
    page = write_page(platform, PAGE, page_of(board, dates, status, now=now, least=platform.settings.vlm.min_photos), card)
    return Written(board, page, file, fingerprint({"rows": [list(row.values()) for row in _stable(board)]}))


def judge(platform: Platform) -> Board:
    """The figures alone, from what is in the lake."""
    import polars as pl

    lake = platform.lake
    photos = lake.read(TAGGED_PHOTOS).filter(pl.col("reason").is_null()).sort("ingested_at", "batch", "image_id")
    learnt_images, learnt_groups = trained_on(platform)
    clean = photos.filter(~pl.col("image_id").is_in(learnt_images) & ~pl.col("group_id").fill_null("").is_in(learnt_groups))
    judged = clean.filter(pl.col("tags").list.len() > 0)
    batches = tuple(judged["batch"].unique(maintain_order=True))
    predictions = lake.scan(TAG_PREDICTIONS).filter(pl.col("batch").is_in(batches)).collect()
    names: dict[str, str] = {}
    for name, one in models(platform).items():
        names.setdefault(one.identity, name)  # listed twice: the first name counts
    scored = score_models(_current(predictions, platform), judged, Meaning(platform.questions), names)
    used = {image for one in scored for image in one.images}
    return Board(
        tuple(rank(scored, batches)), batches, len(used), photos.height - clean.height, clean.height - judged.height,
        groups=judged.filter(pl.col("image_id").is_in(list(used)))["group_id"].n_unique(),
    )  # fmt: skip


def trained_on(platform: Platform) -> tuple[list[str], list[str]]:
    """image_ids and groups that instruction data holds: no model is judged on them, nor on near-duplicates of them."""
    import polars as pl

    rows = platform.lake.scan(INSTRUCTION_DATASET).filter(pl.col("reason").is_null()).select("image_id", "group_id").collect()
    return sorted(set(rows["image_id"])), sorted(set(rows["group_id"].drop_nulls()))


def _current(predictions: pl.DataFrame, platform: Platform) -> pl.DataFrame:
    """Answers to the prompt in force. Those to older prompts stay in the lake, but two prompts are not compared in one table."""
    import polars as pl

    from vibe_assets.vlm.registry import prompt_of

    return predictions.filter(pl.col("prompt") == fingerprint({"prompt": prompt_of(platform)}))


def statuses(platform: Platform) -> dict[str, str]:
    """identity -> vendor, local, promoted (an adapter that beat its base), or on trial (one that did not)."""
    found: dict[str, str] = {}
    for one in models(platform).values():
        found.setdefault(one.identity, "local" if one.local else "vendor")
        if one.adapter_version is not None:
            found[one.identity] = "promoted" if one.adapter_version in _promoted(platform) else "on trial"
    return found


def _promoted(platform: Platform) -> set[str]:
    cards = [read_card(file) for file in adapters_dir(platform).glob("*/card.json")]
    return {card["adapter_version"] for card in cards if card.get("promoted")}


def _dates(platform: Platform, batches: Sequence[str]) -> dict[str, datetime]:
    import polars as pl

    rows = platform.lake.scan(TAGGED_PHOTOS).group_by("batch").agg(pl.col("ingested_at").min()).collect()
    return {batch: at for batch, at in rows.iter_rows() if batch in batches}


def _table(board: Board, status: Mapping[str, str]) -> pl.DataFrame:
    import polars as pl

    rows = []
    for row in board.rows:
        one = row.scores
        about = {"identity": one.identity, "provider": one.provider, "model": one.name, "status": status.get(one.identity, "vendor")}
        for batch, metric, estimate in _figures(row):
            rows.append(about | {"batch": batch, "metric": metric} | {key: getattr(estimate, key) for key in ("value", "low", "high", "n")})
    return pl.DataFrame(rows, schema=LEADERBOARD.polars_schema(), orient="row")


def _figures(row: Row) -> list[tuple[str, str, Estimate]]:
    found = [("", metric, estimate) for metric, estimate in row.figures.items()]
    found += [(batch, "recall", estimate) for batch, estimate in row.batches.items()]
    waits = {"latency_mean_s": row.latency_mean_s, "latency_p50_s": row.latency_p50_s, "latency_p95_s": row.latency_p95_s}
    extra = {**waits, "cost_usd_per_1000": row.cost_per_1000}
    photos = len(row.scores.images)
    return found + [
        ("", name, Estimate(value, value, value, photos)) for name, value in extra.items() if value is not None and value == value
    ]


def _stable(board: Board) -> list[dict[str, Any]]:
    """What moves the version: quality, not latency."""
    return [
        {"identity": row.scores.identity, **{name: round(estimate.value, 9) for name, estimate in row.figures.items()}}
        for row in board.rows
    ]


# -- payload and page --------------------------------------------------------------------------------------------------
def column_name(batch: str, at: datetime) -> str:
    """`id (MM-DD)`"""
    return f"{batch} ({at:%m-%d})"


def percent(value: float) -> str:
    return f"{100 * value:.0f}\u202f%"


def wait(seconds: float) -> str:
    """0.668 -> '668 ms', 3.48 -> '3,480 ms': one unit for all, so that they compare at a glance."""
    return f"{1000 * seconds:,.0f}\u202fms" if seconds == seconds else NO_FIGURE


def payload(board: Board, dates: Mapping[str, datetime]) -> dict[str, Any]:
    """`headers` and `rows` as they are shown, and the figures behind them."""
    headers = ["Provider", "Model", "Avg Latency", "Avg Recall", *(column_name(batch, dates[batch]) for batch in board.batches)]
    rows = [
        [
            row.scores.provider, row.scores.name, wait(row.latency_mean_s),
            f"{percent(row.figures['recall'].value)} ({row.figures['recall'].n})",
            *(f"{percent(found.value)} ({found.n})" if (found := row.batches.get(batch)) else NO_FIGURE for batch in board.batches),
        ]
        for row in board.rows
    ]  # fmt: skip
    figures = [
        {
            "identity": row.scores.identity, **{name: asdict(estimate) for name, estimate in row.figures.items()},
            "batches": {batch: asdict(estimate) for batch, estimate in row.batches.items()},
            "latency_mean_s": row.latency_mean_s, "latency_p50_s": row.latency_p50_s, "latency_p95_s": row.latency_p95_s,
            "cost_usd_per_1000": row.cost_per_1000, "tokens_per_photo": row.tokens_per_photo, "unanswered": row.scores.unanswered,
            "behind": asdict(row.behind) if row.behind else None,
        }
        for row in board.rows
    ]  # fmt: skip
    return {"headers": headers, "rows": rows, "figures": _finite(figures)}


def _finite(value: Any) -> Any:
    """NaN is no JSON."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and value != value else value


def page_of(board: Board, dates: Mapping[str, datetime], status: Mapping[str, str], *, now: datetime, least: int) -> str:
    """One HTML page without JavaScript, in the look of the other reports."""
    from vibe_assets.evaluate.page import render
    from vibe_assets.vlm.charts import speed_and_quality

    cells = [("", at) for at in range(len(board.rows))] + [(batch, at) for batch in board.batches for at in range(len(board.rows))]
    values = {(batch, at): (board.rows[at].batches.get(batch) if batch else board.rows[at].figures["recall"]) for batch, at in cells}
    known = [place for place in cells if values[place] is not None]
    shade = dict(zip(known, deciles([found.value for place in known if (found := values[place])]), strict=True))
    front = {row.scores.identity for row in pareto(board.rows)}
    return render(
        "leaderboard.html",
        title="Tag leaderboard",
        subtitle="Which model finds the tags that people gave",
        board=board,
        columns=[(batch, column_name(batch, dates[batch])) for batch in board.batches],
        status=status,
        front=front,
        shade={f"{batch}/{at}": decile for (batch, at), decile in shade.items()},
        rows=[_shown(row) for row in board.rows],
        few=board.photos < least,
        chart=speed_and_quality(board.rows) if len(board.rows) > 1 else "",
        generated_at=now,
        payload=PAYLOAD,
    )


def _shown(row: Row) -> dict[str, Any]:
    """A row's texts: cells, and what appears on hover."""
    recall = row.figures["recall"]
    return {
        "row": row,
        "latency": wait(row.latency_mean_s),
        "hover": f"{interval(recall)}; {standing(row)}",
        "standing": standing(row),
        "p50": wait(row.latency_p50_s),
        "p95": wait(row.latency_p95_s),
        "cost": NO_FIGURE if row.cost_per_1000 is None else "0" if row.cost_per_1000 == 0 else f"${row.cost_per_1000:,.2f}",
        "tokens": NO_FIGURE if row.tokens_per_photo is None else f"{row.tokens_per_photo:,.0f}",
        "batches": {batch: (f"{percent(found.value)} ({found.n})", interval(found)) for batch, found in row.batches.items()},
    }


def interval(estimate: Estimate) -> str:
    return f"95 % interval {percent(estimate.low)} to {percent(estimate.high)}, {estimate.n:,} photos"


def standing(row: Row) -> str:
    """Where the row stands against the best, in words."""
    if row.behind is None:
        return "the best" if row.figures else NO_FIGURE
    delta = row.behind.delta
    points = f"{-100 * delta.value:.1f} points behind {row.behind.other} on the same {delta.n:,} photos"
    spread = f"({-100 * delta.high:.1f} to {-100 * delta.low:.1f})".replace("-", "−")
    return f"{points} {spread}, " + ("a difference" if delta.high < 0 else "which may be chance")
