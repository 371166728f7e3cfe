"""Curves, calibration and confusion become pictures: SVG that takes its colours from the page, and PNG data URLs for metadata.

An SVG is drawn in stand-in colours that become CSS variables, so that one picture reads well on light, dark and paper.
"""

from __future__ import annotations

import base64
import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cache
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple
from unicodedata import bidirectional

from vibe_assets.evaluate.metrics import ABSTAINED, Confusion, Curve, LabelScore, Reliability
from vibe_assets.records import Estimate
from vibe_assets.strangers import shortened

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LONGEST = 24  # characters of a name in a picture
Name = Callable[[str], str]  # key of a label -> what people read
INK, MUTED, LINE, ACCENT, WARM = "#010101", "#010102", "#010103", "#010104", "#010105"
VARIABLES = {INK: "var(--ink)", MUTED: "var(--muted)", LINE: "var(--line)", ACCENT: "var(--accent)", WARM: "var(--warm)"}
PLAIN = {INK: "#333333", MUTED: "#6b6f74", LINE: "#dddddd", ACCENT: "#0b6e69", WARM: "#b4540a"}  # on white paper
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "vibe_assets",  # same data, same bytes
    "font.size": 9.0,
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "text.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
}


def short(label: str) -> str:
    """The last part of a key, in words: object.document.bank_card -> bank card."""
    return label.rpartition(".")[2].replace("_", " ")


def _drawn(label: str, name: Name) -> str:
    """The name where the font of the pictures has its letters, and they run from left to right; else the key, in words."""
    text, there = name(label), _letters()
    if text == short(label) or not all(ord(letter) in there and bidirectional(letter) not in ("R", "AL") for letter in text):
        return short(label)
    return shortened(text, LONGEST)


@cache
def _letters() -> frozenset[int]:
    from matplotlib.font_manager import findfont, get_font

    return frozenset(get_font(findfont("DejaVu Sans")).get_charmap())


def precision_recall(curve: Curve, chosen: LabelScore | None = None, name: Name = short) -> str:
    """SVG of precision over recall: the sweep, the label's share as baseline, and the point where the labels in use stand."""
    with _drawing(3.1, 2.5) as (figure, (axes,)):
        _draw_curve(axes, curve, chosen)
        return _svg(figure, f"Precision over recall of {name(curve.label)}")


def curves_png(curves: Sequence[tuple[Curve, LabelScore | None]], name: Name = short) -> str:
    """Data URL of a PNG with one such square per label, for places that show only images."""
    with _drawing(2.3 * len(curves), 2.4, columns=len(curves)) as (figure, panels):
        for axes, (curve, chosen) in zip(panels, curves, strict=True):
            _draw_curve(axes, curve, chosen)
            axes.set_title(_drawn(curve.label, name), fontsize=9, parse_math=False)
        return _png(figure)


def _draw_curve(axes: Axes, curve: Curve, chosen: LabelScore | None) -> None:
    points = [(point.recall, point.precision) for point in curve.sweep if point.precision is not None]
    axes.plot(*zip(*points, strict=True), color=ACCENT, linewidth=2, solid_capstyle="round")
    if curve.average_precision.baseline is not None:
        axes.axhline(curve.average_precision.baseline, color=MUTED, linewidth=1, linestyle=(0, (2, 2)))
    if chosen is not None and chosen.precision is not None and chosen.recall is not None:
        axes.plot(chosen.recall.value, chosen.precision.value, "o", color=WARM, markersize=7, markeredgewidth=0)
    _unit_square(axes, "recall", "precision")


def calibration(before: Reliability | None, after: Reliability | None) -> str:
    """SVG of how often answers were right over how sure they were; dots by share of photos, before calibration in the second colour."""
    with _drawing(3.1, 2.9) as (figure, (axes,)):
        _draw_calibration(axes, before, after)
        return _svg(figure, "Calibration: share right over confidence")


def calibration_png(pairs: Mapping[str, tuple[Reliability | None, Reliability | None]], name: Name = short) -> str:
    """Data URL of a PNG with one such square per label, for places that show only images."""
    with _drawing(2.4 * len(pairs), 2.6, columns=len(pairs)) as (figure, panels):
        for axes, (label, (before, after)) in zip(panels, pairs.items(), strict=True):
            _draw_calibration(axes, before, after)
            axes.set_title(_drawn(label, name), fontsize=9, parse_math=False)
        return _png(figure)


def _draw_calibration(axes: Axes, before: Reliability | None, after: Reliability | None) -> None:
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (2, 2)))
    for part, colour, style in ((before, WARM, (0, (4, 2))), (after, ACCENT, "-")):
        if part is not None:
            axes.plot(part.confidence, part.accuracy, color=colour, linewidth=1, linestyle=style, alpha=0.55)
            axes.scatter(part.confidence, part.accuracy, s=[8 + 160 * share for share in part.share], color=colour, linewidths=0)
    _unit_square(axes, "confidence", "share right")


class Coverage(NamedTuple):
    """(share answered, share right of these) from all photos to the surest, and the point of the threshold in use."""

    points: Sequence[Sequence[float]]
    in_use: tuple[float, float] | None


def risk_coverage(curves: Mapping[str, Coverage]) -> str:
    """SVG of how many answers are right over how many are given, of one or two sources of photos; a dot where the threshold stands."""
    with _drawing(3.1, 2.7) as (figure, (axes,)):
        _draw_coverage(axes, curves)
        return _svg(figure, "Share right over share answered")


def risk_coverage_png(curves: Mapping[str, Coverage]) -> str:
    """Data URL of the same as a PNG, for places that show only images."""
    with _drawing(3.1, 2.7) as (figure, (axes,)):
        _draw_coverage(axes, curves)
        return _png(figure)


def _draw_coverage(axes: Axes, curves: Mapping[str, Coverage]) -> None:
    for (points, in_use), colour, style in zip(curves.values(), (ACCENT, WARM), ("-", (0, (4, 2))), strict=False):
        axes.plot(*zip(*points, strict=True), color=colour, linewidth=2, linestyle=style, solid_capstyle="round")
        if in_use is not None:
            axes.plot(*in_use, "o", color=colour, markersize=7, markeredgewidth=0)
    _unit_square(axes, "share answered", "share right of these")


def history(title: str, at: Sequence[datetime], estimates: Sequence[Estimate], changed: Sequence[bool]) -> str:
    """SVG of a figure over time, oldest first: the value in its interval, the baseline dotted, a dot where another version was judged."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
    from matplotlib.ticker import MaxNLocator

    with _drawing(3.3, 1.9) as (figure, (axes,)):
        days = [float(day) for day in date2num(list(at))]
        values, low, high = ([getattr(e, name) for e in estimates] for name in ("value", "low", "high"))
        if len(days) == 1:
            axes.errorbar(days, values, yerr=[[values[0] - low[0]], [high[0] - values[0]]], color=ACCENT, linewidth=2)
        else:
            axes.fill_between(days, low, high, color=ACCENT, alpha=0.22, linewidth=0)
            axes.plot(days, values, color=ACCENT, linewidth=1.6)
        size = 5 if len(days) <= 30 else 3
        new = [k for k, moved in enumerate(changed) if moved]
        axes.plot([days[k] for k in new], [values[k] for k in new], "o", color=WARM, markersize=size, markeredgewidth=0)
        baselines = [math.nan if e.baseline is None else e.baseline for e in estimates]
        if any(map(math.isfinite, baselines)):  # drawn where it comes into view
            wide, level = [days[0] - 1e3, *days, days[-1] + 1e3], [baselines[0], *baselines, baselines[-1]]
            axes.plot(wide, level, color=MUTED, linewidth=1, linestyle=(0, (2, 2)))
        shown = [y for y in (*low, *high) if math.isfinite(y)]  # a baseline far away would flatten the line; the page writes it out
        middle, half = (max(shown) + min(shown)) / 2, max(0.06, 0.56 * (max(shown) - min(shown)))
        pad = max(0.04 * (days[-1] - days[0]), 1e-4)
        axes.set(xlim=(days[0] - pad, days[-1] + pad), ylim=(max(-0.01, middle - half), min(1.01, middle + half)))
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.yaxis.set_major_formatter(lambda y, _: f"{100 * y:.0f} %")
        if len(days) == 1:
            axes.set_xticks(days, [f"{at[0]:%Y-%m-%d}"])
        else:
            locator = AutoDateLocator(minticks=2, maxticks=4)
            axes.xaxis.set_major_locator(locator)
            axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, show_offset=False))
        axes.tick_params(length=0)
        return _svg(figure, title)


def confusion_png(confusion: Confusion, name: Name = short) -> str:
    """Data URL of a small PNG: row shares of the confusion matrix, for places that show only images."""
    with _drawing(0.42 * len(confusion.columns) + 1.7, 0.36 * len(confusion.rows) + 1.3) as (figure, (axes,)):
        totals = [sum(row) or 1 for row in confusion.shares]
        cells = [[cell / total for cell in row] for row, total in zip(confusion.shares, totals, strict=True)]
        axes.grid(False)
        axes.imshow(cells, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        for r, row in enumerate(confusion.photos):
            for c, photos in enumerate(row):
                if photos:
                    colour = "white" if cells[r][c] > 0.5 else "#333333"
                    axes.text(c, r, str(photos), ha="center", va="center", color=colour, fontsize=7)
        columns, rows = ([_drawn(label, name) for label in labels] for labels in (confusion.columns, confusion.rows))
        axes.set_xticks(range(len(columns)), columns, rotation=45, ha="right", parse_math=False)
        axes.set_yticks(range(len(rows)), rows, parse_math=False)
        axes.set_xlabel("predicted")
        axes.set_ylabel("truth")
        return _png(figure)


class _drawing:
    """One figure of so many panels, without pyplot's global state; sizes in inches. The style holds for the block only."""

    def __init__(self, width: float, height: float, *, columns: int = 1) -> None:
        self.size, self.columns = (width, height), columns

    def __enter__(self) -> tuple[Figure, list[Axes]]:
        import matplotlib
        from matplotlib.figure import Figure

        self.style = matplotlib.rc_context(_STYLE)
        self.style.__enter__()
        figure = Figure(figsize=self.size, layout="constrained")
        return figure, [figure.add_subplot(1, self.columns, at + 1) for at in range(self.columns)]

    def __exit__(self, *failure: Any) -> None:
        self.style.__exit__(*failure)


def _unit_square(axes: Axes, x: str, y: str) -> None:
    ticks = [0, 0.25, 0.5, 0.75, 1]
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.04), xlabel=x, ylabel=y)
    axes.set_xticks(ticks, ["0", "", "50 %", "", "100 %"])
    axes.set_yticks(ticks, ["0", "", "50 %", "", "100 %"])
    axes.tick_params(length=0)


def _svg(figure: Figure, title: str) -> str:
    """Inline SVG: no prologue, no metadata, no namespaces (HTML needs none), colours from the page."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\s(xmlns(:\w+)?|version)="[^"]*"', "", text).replace("xlink:href", "href")
    text = re.sub(
        r'^<svg[^>]*viewBox="([^"]*)"[^>]*>', lambda head: f'<svg viewBox="{head[1]}" role="img" aria-label="{escape(title)}">', text
    )
    text = re.sub(r"<!--.*?-->\s*", "", text, flags=re.DOTALL)
    used = set(re.findall(r'(?:url\(|href=")#([^")]+)', text))  # clips and markers; the names of all the other parts serve nobody
    text = re.sub(r'\sid="([^"]*)"', lambda found: found[0] if found[1] in used else "", text)
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, variable)
    return text


def _png(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.patch.set_facecolor("white")
    for part in figure.findobj():
        _in_plain_colours(part)
    figure.savefig(buffer, format="png", dpi=110)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _in_plain_colours(part: Artist) -> None:
    """Give a part of a figure the colours for white paper where it has the stand-ins."""
    from matplotlib.colors import to_hex

    for side in ("color", "facecolor", "edgecolor"):
        get, put = getattr(part, f"get_{side}", None), getattr(part, f"set_{side}", None)
        if get is None or put is None:
            continue
        found = get()
        several = not isinstance(found, str | tuple)  # a collection has an array of colours, all the same here
        plain = PLAIN.get(to_hex(found[0] if several else found)) if len(found) else None
        if plain is not None:
            put(plain)


def numbered(svg: str, at: int) -> str:
    """The drawing with ids of its own: an id must be unique on a page, and drawings of the same size share theirs."""
    return re.sub(r'(\sid="|url\(#|href="#)', rf"\g<1>c{at}-", svg)


def heat(confusion: Confusion) -> Sequence[dict[str, Any]]:
    """Rows for a heat table: label, photos of the row, and its cells (photos, share of the row, right or wrong)."""
    rows = []
    for label, photos, shares in zip(confusion.rows, confusion.photos, confusion.shares, strict=True):
        total = sum(shares)
        cells = [
            {"photos": count, "share": share / total if total else 0.0, "right": column == label, "abstained": column == ABSTAINED}
            for column, count, share in zip(confusion.columns, photos, shares, strict=True)
        ]
        rows.append({"label": label, "photos": sum(photos), "cells": cells})
    return rows
