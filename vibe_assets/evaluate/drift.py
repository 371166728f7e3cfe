"""The history of figures and of the labels' versions becomes one page: small multiples with intervals, and drift by folder and label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from vibe_assets.evaluate import charts
from vibe_assets.evaluate.figures import headline_titles, left_open, lower_is_better, main_words
from vibe_assets.evaluate.page import percent, render, signed
from vibe_assets.records import Estimate
from vibe_assets.strangers import markdown_cell

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

    from vibe_assets.questions import Questions

SUBJECTS = {
    ("teacher", "human"): "The teacher against people",
    ("student", "human"): "The students against people",
    ("student", "auto"): "The students against the teacher",
}
SHOWN_FOLDERS = 40
STEPS = 24  # moves of the labels shown as a strip
FULL = 0.3  # total variation, or change of a share, that gets the full colour


@dataclass(frozen=True)
class Series:
    """One headline figure over time, oldest first."""

    subject: str
    truth: str
    metric: str
    at: tuple[datetime, ...]
    estimates: tuple[Estimate, ...]
    versions: tuple[str, ...]

    @property
    def changed(self) -> tuple[bool, ...]:
        """Where another version was judged than at the point before; the first point counts."""
        return tuple(at == 0 or version != self.versions[at - 1] for at, version in enumerate(self.versions))


@dataclass(frozen=True)
class FolderDrift:
    """How the labels of the main question moved in one folder, from version to version."""

    folder: str
    photos: int  # labelled in the newest version
    distances: tuple[float | None, ...]  # total variation of each step, oldest first, 0..1; None where one side has no photo
    relabelled: int  # photos whose label the last step changed
    deltas: Mapping[str, float]  # label -> share after the last step minus share before


def headline_series(metrics: pl.DataFrame, questions: Questions) -> list[Series]:
    """METRICS rows -> headline figures over time, in the order of `SUBJECTS` and `headline_titles`."""
    import polars as pl

    figures = list(headline_titles(questions))
    rows = metrics.filter((pl.col("label") == "") & pl.col("metric").is_in(figures)).sort("at")
    found = []
    for subject, truth in SUBJECTS:
        mine = rows.filter((pl.col("subject") == subject) & (pl.col("truth") == truth))
        for metric in figures:
            points = mine.filter((pl.col("metric") == metric) & pl.col("value").is_finite()).unique("at", keep="last", maintain_order=True)
            if points.height:
                estimates = [Estimate(*row) for row in points.select("value", "low", "high", "n", "baseline").iter_rows()]
                found.append(Series(subject, truth, metric, tuple(points["at"]), tuple(estimates), tuple(points["version"].fill_null(""))))
    return found


def folder_drift(versions: Sequence[pl.DataFrame], folders: Mapping[str, str], questions: Questions) -> list[FolderDrift]:
    """Label rows (image_id, the main question) of versions, oldest first, and image_id -> folder become drift by folder.

    The largest last step comes first. A photo without a label counts as `left_open` (scene.none). Photos of no known folder are left out.
    """
    main = questions.main
    if len(versions) < 2 or main is None:
        return []
    none = left_open(main)
    said = [
        {image_id: label or none for image_id, label in rows.select("image_id", main.key).iter_rows() if image_id in folders}
        for rows in versions
    ]
    keys = sorted({key for labels in said for key in labels.values()})
    place = {key: at for at, key in enumerate(keys)}
    names = sorted(set(folders.values()))
    row_of = {name: at for at, name in enumerate(names)}
    counts = np.zeros((len(said), len(names), len(keys)))
    for step, labels in enumerate(said):
        for image_id, key in labels.items():
            counts[step, row_of[folders[image_id]], place[key]] += 1
    last, before = said[-1], said[-2]
    moved = dict.fromkeys(names, 0)
    for image_id, key in last.items():
        moved[folders[image_id]] += image_id in before and before[image_id] != key
    found = [
        FolderDrift(name, int(counts[-1, at].sum()), _steps(counts[:, at]), moved[name], _deltas(counts[-2, at], counts[-1, at], keys))
        for name, at in row_of.items()
        if counts[-1, at].sum()
    ]
    return sorted(found, key=lambda drift: (-(drift.distances[-1] or 0.0), -drift.relabelled, drift.folder))


def _steps(counts: NDArray[np.float64]) -> tuple[float | None, ...]:
    """Total variation distance of each step; `counts` is (versions, labels)."""
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(totals, 1)
    distances = np.abs(np.diff(shares, axis=0)).sum(axis=1) / 2
    known = (totals[1:, 0] > 0) & (totals[:-1, 0] > 0)
    return tuple(float(distance) if there else None for distance, there in zip(distances, known, strict=True))


def _deltas(before: NDArray[np.float64], after: NDArray[np.float64], keys: Sequence[str]) -> dict[str, float]:
    if not before.sum() or not after.sum():
        return {}
    change = after / after.sum() - before / before.sum()
    return {key: float(value) for key, value in zip(keys, change, strict=True)}


def render_drift(
    series: Sequence[Series],
    folders: Sequence[FolderDrift],
    *,
    questions: Questions,
    steps: Sequence[str] = (),
    footer: Mapping[str, Any] | None = None,
    generated_at: datetime | None = None,
) -> str:
    """One HTML page of both. `steps`: what each step of the labels is called, oldest first, as long as every `distances`."""
    titles, none = headline_titles(questions), "" if questions.main is None else left_open(questions.main)
    one_label, labels = main_words(questions)
    sections = []
    for (subject, truth), title in SUBJECTS.items():
        mine = [one for one in series if (one.subject, one.truth) == (subject, truth)]
        if mine:
            sections.append({"title": title, "charts": [_chart(one, titles[one.metric]) for one in mine]})
    shown = list(folders[:SHOWN_FOLDERS])
    moved = sorted({key for drift in shown for key, change in drift.deltas.items() if change}, key=lambda key: (key == none, key))
    return render(
        "drift.html",
        questions,
        title="What has moved?",
        subtitle="Every headline figure since the first report, and the labels' shares by folder",
        generated_at=generated_at,
        sections=sections,
        steps=list(steps)[-STEPS:],
        one=one_label,
        many=labels,
        unlabelled=none,
        moved=moved,
        folders=[_row(drift, moved) for drift in shown],
        hidden=len(folders) - len(shown),
        footer=footer or {},
    )


def _chart(series: Series, name: str, *, drawn: bool = True) -> dict[str, Any]:
    last = series.estimates[-1]
    change = None if len(series.estimates) < 2 else last.value - series.estimates[-2].value
    lower = lower_is_better(series.metric)
    return {
        "name": name,
        "last": last,
        "points": len(series.estimates),
        "lower": lower,
        "change": change,
        "good": change is not None and (change <= 0 if lower else change >= 0),
        "svg": charts.history(f"{name} over time", series.at, series.estimates, series.changed) if drawn else "",
    }


def _row(drift: FolderDrift, keys: Sequence[str]) -> dict[str, Any]:
    return {
        "folder": drift.folder,
        "photos": drift.photos,
        "relabelled": drift.relabelled,
        "distance": drift.distances[-1],
        "strip": [{"distance": d, "heat": min(1.0, (d or 0.0) / FULL)} for d in drift.distances[-STEPS:]],
        "cells": [
            {"label": key, "change": change, "points": round(100 * change), "heat": min(1.0, abs(change) / FULL)}
            for key in keys
            for change in [drift.deltas.get(key, 0.0)]
        ],
    }


def series_markdown(series: Sequence[Series], questions: Questions) -> str:
    """Markdown table of the newest value of every figure, its interval, and the change since the point before."""
    lines = ["| of | figure | newest | 95 % interval | n | since the point before | points |", "|---|---|---:|---:|---:|---:|---:|"]
    titles = headline_titles(questions)
    for one in series:
        last, shown = one.estimates[-1], _chart(one, titles[one.metric], drawn=False)
        change = "" if shown["change"] is None else signed(shown["change"])
        interval = f"{percent(last.low)} – {percent(last.high)}"
        of, name, points = SUBJECTS[(one.subject, one.truth)], markdown_cell(titles[one.metric]), len(one.estimates)
        lines.append(f"| {of} | {name} | {percent(last.value)} | {interval} | {last.n:,} | {change} | {points} |")
    return "\n".join(lines)


def folders_markdown(folders: Sequence[FolderDrift], *, most: int = 12) -> str:
    """Markdown table of the folders that moved most with the last step; '' for none."""
    lines = ["| folder | photos | relabelled | distance |", "|---|---:|---:|---:|"]
    for drift in folders[:most]:
        lines.append(f"| {markdown_cell(drift.folder)} | {drift.photos:,} | {drift.relabelled:,} | {percent(drift.distances[-1])} |")
    return "\n".join(lines) if folders else ""
