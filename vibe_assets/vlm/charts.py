"""Figures of the leaderboard and of a training become pictures in the look of the other reports."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vibe_assets.evaluate.charts import ACCENT, INK, MUTED, WARM, _drawing, _png, _svg
from vibe_assets.vlm.lora import Training
from vibe_assets.vlm.score import Row, pareto

TICKS_MS = [lead * 10**power for power in range(6) for lead in (1, 2, 5)]
NAMED = 12  # more names than this cover each other: then only those of the front are written


def speed_and_quality(rows: Sequence[Row]) -> str:
    """SVG of recall over median latency with 95 % intervals; the front of models that none beats in both is joined."""
    from matplotlib.ticker import NullLocator

    known = [row for row in rows if np.isfinite(row.latency_p50_s)]
    if not known:
        return ""
    front = pareto(known)
    waits = [1000 * row.latency_p50_s for row in known]
    ticks = [tick for tick in TICKS_MS if min(waits) / 2 <= tick <= max(waits) * 2]
    with _drawing(7.6, 3.6) as (figure, (axes,)):
        for row in known:
            recall, best = row.figures["recall"], row in front
            x, y = 1000 * row.latency_p50_s, 100 * recall.value
            colour = ACCENT if best else MUTED
            axes.plot([x, x], [100 * recall.low, 100 * recall.high], color=colour, linewidth=1, alpha=0.5)
            axes.plot(x, y, "o", color=colour, markersize=7 if best else 5, markeredgewidth=0)
            if best or len(known) <= NAMED:
                axes.annotate(row.scores.name, (x, y), (6, 5), textcoords="offset points", fontsize=8, color=INK if best else MUTED)
        axes.step(*zip(*((1000 * row.latency_p50_s, 100 * row.figures["recall"].value) for row in front), strict=True), where="post",
                  color=ACCENT, linewidth=1.2, alpha=0.6)  # fmt: skip
        axes.set_xscale("log")
        for side in (axes.xaxis.set_major_locator, axes.xaxis.set_minor_locator):
            side(NullLocator())
        axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
        axes.set(xlabel="median latency, ms (logarithmic)", ylabel="recall, %")
        axes.set_ylim(bottom=0)
        axes.margins(x=0.18)
        axes.tick_params(length=0, which="both")
        return _svg(figure, "Recall over median latency of every model")


def losses(training: Training) -> str:
    """Data URL of a PNG: training and validation loss over steps, the base's validation loss as a line, the kept step marked."""
    with _drawing(5.2, 2.8) as (figure, (axes,)):
        if training.train_curve:
            axes.plot(*zip(*training.train_curve, strict=True), color=MUTED, linewidth=1, label="training")
        curve = ((0, training.first_val_loss), *training.val_curve)
        axes.plot(*zip(*curve, strict=True), color=ACCENT, linewidth=2, marker="o", markersize=3, label="validation")
        axes.plot(training.best_step, training.best_val_loss, "o", color=WARM, markersize=8, label=f"kept: step {training.best_step}")
        axes.set(xlabel="step", ylabel="loss per answer token")
        axes.set_ylim(bottom=0)
        axes.legend(frameon=False, fontsize=8)
        return _png(figure)
