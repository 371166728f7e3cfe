"""Curves, calibration and confusion become pictures: SVG that takes its colours from the page, and PNG data URLs for metadata.

An SVG is drawn in stand-in colours that become CSS variables, so that one picture reads well on light, dark and paper.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from vibe_assets.evaluate.metrics import ABSTAINED, Confusion, Curve, LabelScore, Reliability

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, LINE, ACCENT, WARM = "#010101", "#010102", "#010103", "#010104", "#010105"
VARIABLES = {INK: "var(--ink)", MUTED: "var(--muted)", LINE: "var(--line)", ACCENT: "var(--accent)", WARM: "var(--warm)"}
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


def precision_recall(curve: Curve, chosen: LabelScore | None = None) -> str:
    """SVG of precision over recall: the sweep, the label's share as baseline, and the point where the labels in use stand."""
    with _drawing(3.1, 2.5) as (figure, axes):
        points = [(point.recall, point.precision) for point in curve.sweep if point.precision is not None]
        axes.plot(*zip(*points, strict=True), color=ACCENT, linewidth=2, solid_capstyle="round")
        if curve.average_precision.baseline is not None:
            axes.axhline(curve.average_precision.baseline, color=MUTED, linewidth=1, linestyle=(0, (2, 2)))
        if chosen is not None and chosen.precision is not None and chosen.recall is not None:
            axes.plot(chosen.recall.value, chosen.precision.value, "o", color=WARM, markersize=7, markeredgewidth=0)
        _unit_square(axes, "recall", "precision")
        return _svg(figure, f"Precision over recall of {short(curve.label)}")


def calibration(before: Reliability | None, after: Reliability | None) -> str:
    """SVG of how often answers were right over how sure they were; dots by share of photos, before calibration in the second colour."""
    with _drawing(3.1, 2.9) as (figure, axes):
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (2, 2)))
        for part, colour, style in ((before, WARM, (0, (4, 2))), (after, ACCENT, "-")):
            if part is not None:
                axes.plot(part.confidence, part.accuracy, color=colour, linewidth=1, linestyle=style, alpha=0.55)
                axes.scatter(part.confidence, part.accuracy, s=[8 + 160 * share for share in part.share], color=colour, linewidths=0)
        _unit_square(axes, "confidence", "share right")
        return _svg(figure, "Calibration: share right over confidence")


def confusion_png(confusion: Confusion) -> str:
    """Data URL of a small PNG: row shares of the confusion matrix, for places that show only images."""
    with _drawing(0.42 * len(confusion.columns) + 1.7, 0.36 * len(confusion.rows) + 1.3) as (figure, axes):
        totals = [sum(row) or 1 for row in confusion.shares]
        cells = [[cell / total for cell in row] for row, total in zip(confusion.shares, totals, strict=True)]
        axes.grid(False)
        axes.imshow(cells, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        for r, row in enumerate(confusion.photos):
            for c, photos in enumerate(row):
                if photos:
                    colour = "white" if cells[r][c] > 0.5 else "#333333"
                    axes.text(c, r, str(photos), ha="center", va="center", color=colour, fontsize=7)
        axes.set_xticks(range(len(confusion.columns)), [short(label) for label in confusion.columns], rotation=45, ha="right")
        axes.set_yticks(range(len(confusion.rows)), [short(label) for label in confusion.rows])
        axes.set_xlabel("predicted")
        axes.set_ylabel("truth")
        return _png(figure)


class _drawing:
    """One figure without pyplot's global state; sizes in inches. The style holds for the block only."""

    def __init__(self, width: float, height: float) -> None:
        self.size = (width, height)

    def __enter__(self) -> tuple[Figure, Axes]:
        import matplotlib
        from matplotlib.figure import Figure

        self.style = matplotlib.rc_context(_STYLE)
        self.style.__enter__()
        figure = Figure(figsize=self.size, layout="constrained")
        return figure, figure.add_subplot()

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
    text = re.sub(r'^<svg[^>]*viewBox="([^"]*)"[^>]*>', rf'<svg viewBox="\1" role="img" aria-label="{title}">', text, count=1)
    text = re.sub(r"<!--.*?-->\s*", "", text, flags=re.DOTALL)
    for colour, variable in VARIABLES.items():
        text = text.replace(colour, variable)
    return text


def _png(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.patch.set_facecolor("white")
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        if isinstance(text, Text) and text.get_color() in VARIABLES:
            text.set_color("#333333")
    figure.savefig(buffer, format="png", dpi=110)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


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
