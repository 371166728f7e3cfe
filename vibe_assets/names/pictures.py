"""Counts of names become small inline PNGs for places that show only pictures: how unequal the names are, how skewed the answers."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from vibe_assets.names.metrics import Scores

ACCENT, MUTED = "#0b6e69", "#8a8f94"


def imbalance_markdown(faces: Sequence[int]) -> str:
    """Markdown image: faces of every name, the most frequent first."""
    ordered = sorted(faces, reverse=True)
    if not ordered:
        return ""
    figure = _figure()
    axes = figure.subplots()
    axes.fill_between(range(len(ordered)), ordered, step="mid", color=ACCENT, alpha=0.8, linewidth=0)
    axes.set(xlabel="names, the most frequent first", ylabel="faces", xlim=(-0.5, len(ordered) - 0.5), ylim=(0, None))
    rarest = ordered[-1]
    axes.set_title(f"{len(ordered)} names, {sum(ordered):,} faces, {ordered[0]:,} to {rarest:,} a name", fontsize=9, loc="left")
    return f"![faces of each name]({_url(figure)})"


def skew_markdown(scores: Scores) -> str:
    """Markdown image: how often every name was said over how often it is true; on the line both are equal."""
    figure = _figure()
    axes = figure.subplots()
    true, said = [one.support for one in scores.names], [one.predicted for one in scores.names]
    most = max([*true, *said, 1]) * 1.05
    axes.plot([0, most], [0, most], color=MUTED, linewidth=1, linestyle=(0, (3, 3)))
    axes.scatter(true, said, s=16, color=ACCENT, linewidths=0, alpha=0.75)
    axes.set(xlabel="true", ylabel="said", xlim=(0, most), ylim=(0, most))
    return f"![said over true, by name]({_url(figure)})"


def _figure() -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(5.2, 2.8), layout="constrained")


def _url(figure: Figure) -> str:
    buffer = io.BytesIO()
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(buffer, format="png", dpi=110, facecolor="white")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
