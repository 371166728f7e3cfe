"""Series, features and a head go in; the pick of every series comes out, or "too close to call"; as a table, a CSV and a contact sheet.

Nothing here moves, changes or deletes a photo.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vibe_assets.export.tables import csv_encoding
from vibe_assets.lake import write_text
from vibe_assets.records.series import BEST_OF_SERIES, IMAGE_QUALITY
from vibe_assets.settings import TriageSettings
from vibe_assets.stages.platform import Platform
from vibe_assets.strangers import spreadsheet_cell
from vibe_assets.triage.learn import chosen_head, features_of, members_of, quality_of, series_vectors
from vibe_assets.triage.pages import pictures, render
from vibe_assets.triage.rules import rule_scores
from vibe_assets.triage.study import LIBRARY, build_rows, quality_rows, series_in_place, takes_of

if TYPE_CHECKING:
    import polars as pl

    from vibe_assets.heads.series_head import SeriesHead

PICKED, OPEN = "picked", "too close to call"
RULES = "rules"
SHOWN = 120  # series on a page; the CSV has all


@dataclass(frozen=True)
class Picks:
    """BEST_OF_SERIES rows, and the files that show them."""

    rows: pl.DataFrame
    page: Path
    table: Path
    model: str
    caution: str = ""  # what the reader must know of a head that did not pass its gates

    @property
    def series(self) -> int:
        return self.rows["series_id"].n_unique()

    @property
    def picked(self) -> int:
        return int(self.rows["pick"].sum() or 0)


def pick_library(platform: Platform) -> Picks:
    """Pick in every series of the library with the head that validation prefers (by rule where none was trained), and write the page."""
    series = series_in_place(platform).filter(source=LIBRARY)
    quality = quality_of(platform.lake.read(IMAGE_QUALITY))
    head = chosen_head(platform)
    rows = pick_rows(platform, series, quality, head)
    platform.lake.replace(BEST_OF_SERIES, rows, commit=platform.commit)
    return _written(platform, rows, series, platform.settings.reports_dir, "best_of_series", "The best of every series")


def pick_folder(platform: Platform, folder: Path, output: Path) -> Picks:
    """Series, quality and picks of a folder that need not belong to the library; writes page and CSV to `output`, and nothing else."""
    import polars as pl

    from vibe_assets.stages.standalone import scan_photos
    from vibe_assets.triage.series import find_series

    photos = scan_photos(platform.settings, folder.resolve())
    vectors, _ = series_vectors(platform, photos) if photos.height else ({}, "")
    found = find_series(takes_of(photos, vectors), previous={}, settings=platform.settings.triage)
    places = {row["image_id"]: row for row in photos.select("image_id", "rel_path", "path_bytes", "folder_key", "taken_at").to_dicts()}
    series = build_rows(
        {name: (LIBRARY, members) for name, members in found.items()}, places, dict.fromkeys(found, ""), dict.fromkeys(found, "")
    )
    quality = quality_of(quality_rows(platform, series)) if series.height else {}
    rows = pick_rows(platform, series, quality, chosen_head(platform), vectors)
    return _written(platform, rows, series.filter(pl.lit(True)), output, "best_of_series", f"The best of every series in {folder.name}")


def pick_rows(
    platform: Platform,
    series: pl.DataFrame,
    quality: Mapping[str, Mapping[str, float]],
    head: SeriesHead | None,
    vectors: Mapping[str, NDArray[np.float32]] | None = None,
) -> pl.DataFrame:
    """BEST_OF_SERIES rows of PHOTO_SERIES rows. A head of another encoder than the vectors' is refused with a HeadError."""
    import polars as pl

    from vibe_assets.heads.models import HeadError

    features: Mapping[str, NDArray[np.float32]] = {}
    if head is not None and series.height:
        found, encoder = series_vectors(platform, series)
        if encoder != head.card.encoder:
            raise HeadError(
                f"series head {head.version} reads vectors of encoder {head.card.encoder}, the photos have {encoder}: train it again"
            )
        features = features_of(found, quality)
    names = dict(series.unique("image_id").select("image_id", "rel_path").iter_rows())
    rows = [
        row
        for series_id, members in members_of(series).items()
        for row in _series_rows(series_id, [m for m in members if m in quality], names, quality, features, head, platform.settings.triage)
    ]
    return pl.DataFrame(rows, schema=BEST_OF_SERIES.polars_schema(), orient="row").sort("series_id", "rank")


def _series_rows(
    series_id: str, members: Sequence[str], names: Mapping[str, str], quality: Mapping[str, Mapping[str, float]],
    features: Mapping[str, NDArray[np.float32]], head: SeriesHead | None, settings: TriageSettings,
) -> list[dict[str, Any]]:  # fmt: skip
    """One series, best photo first. By rule the margin is one of scores (0..1), with a head one of calibrated probabilities."""
    if len(members) < 2:
        return []
    learned = head is not None and all(photo in features for photo in members)
    if learned and head is not None:
        scores = head.scores(np.stack([features[photo] for photo in members]))
        chances = head.probabilities(scores)
    else:
        scores = rule_scores([quality[photo] for photo in members])
        chances = scores
    order = np.argsort(-chances, kind="stable")
    clear = float(chances[order[0]] - chances[order[1]]) >= max(settings.min_margin, 1e-9)
    return [
        {
            "series_id": series_id, "image_id": members[at], "rel_path": names[members[at]], "rank": rank, "score": float(scores[at]),
            "probability": float(chances[at]) if learned else None, "pick": clear and rank == 1, "verdict": PICKED if clear else OPEN,
            "model": head.version if learned and head is not None else RULES,
        }
        for rank, at in enumerate(order, 1)
    ]  # fmt: skip


# -- page and CSV ------------------------------------------------------------------------------------------------------
def _written(platform: Platform, rows: pl.DataFrame, series: pl.DataFrame, folder: Path, name: str, title: str) -> Picks:
    from vibe_assets.triage.gates import caution

    model = str(rows["model"][0]) if rows.height else RULES
    warning = caution(platform) if model != RULES else ""
    table = write_text(folder / f"{name}.csv", _csv(rows), encoding=csv_encoding(platform.settings.export.csv_bom))
    page = write_text(folder / f"{name}.html", _page(platform, rows, series, title, model, warning))
    return Picks(rows, page, table, model, warning)


def _csv(rows: pl.DataFrame) -> str:
    """The rows for a spreadsheet. A name that a spreadsheet would take for a formula gets an apostrophe in front."""
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    columns = ("series_id", "rel_path", "rank", "pick", "verdict", "probability", "score", "image_id", "model")
    writer.writerow(columns)
    for row in rows.select(columns).iter_rows():
        writer.writerow([spreadsheet_cell(value) if isinstance(value, str) else value for value in row])
    return buffer.getvalue()


def _page(platform: Platform, rows: pl.DataFrame, series: pl.DataFrame, title: str, model: str, warning: str) -> str:
    import polars as pl

    shown = rows.filter(pl.col("series_id").is_in(rows["series_id"].unique(maintain_order=True).head(SHOWN)))
    images = pictures(platform, series, shown["image_id"].to_list())
    strips = {PICKED: [], OPEN: []}  # type: dict[str, list[dict[str, Any]]]
    for (series_id,), takes in shown.group_by("series_id", maintain_order=True):
        strips[takes["verdict"][0]].append(_strip(str(series_id), takes.to_dicts(), images, series))
    total, picked = rows["series_id"].n_unique(), int(rows["pick"].sum() or 0)
    note = f"{total:,} series, {rows.height:,} photos: {picked:,} picked, {total - picked:,} too close to call"
    rule = "No series head is trained yet: picked by sharpness, exposure, colourfulness and contrast."
    return render(
        "picks.html",
        title=title,
        subtitle="One photo to keep of every burst and every moment taken more than once",
        note=note,
        warning=warning,
        picked=strips[PICKED],
        open=strips[OPEN],
        gap=f"{platform.settings.triage.gap_s:g}",
        hidden=max(0, total - SHOWN),
        model_note=rule if model == RULES else f"Picked by {model}.",
    )


def _strip(series_id: str, takes: list[dict[str, Any]], images: Mapping[str, str], series: pl.DataFrame) -> dict[str, Any]:
    first = series.filter(series_id=series_id).sort("position").row(0, named=True)
    folder = str(PurePosixPath(first["rel_path"]).parent)
    return {
        "title": "" if folder == "." else folder,
        "note": f"{first['taken_at']:%Y-%m-%d %H:%M:%S}" if first["taken_at"] else "",
        "takes": [
            {
                "picture": images.get(take["image_id"]), "name": PurePosixPath(take["rel_path"]).name, "chance": take["probability"],
                "state": "pick" if take["pick"] else "other" if take["verdict"] == PICKED else "", "badge": "pick" if take["pick"] else "",
            }
            for take in takes
        ],
    }  # fmt: skip
