"""Quality measures of a series' photos go in; scores by rule come out: the baselines that a learned head has to beat.

Weights: sharpness 0.4, exposure 0.3, colourfulness 0.2, contrast 0.1 (the usual rule of photo-triage tools).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from vibe_assets.heads.series_data import SeriesSet

WEIGHTS = {"sharpness": 0.4, "exposure": 0.3, "colourfulness": 0.2, "contrast": 0.1}
COMBINED = "rules combined"


def rule_scores(quality: Sequence[Mapping[str, float]], measure: str | None = None) -> NDArray[np.float64]:
    """(n,) scores of one series by one measure, or by all four in their weights (None).

    Each measure is stretched to 0..1 within the series, since only the difference between takes says anything; equal takes score 0.
    """
    weights = WEIGHTS if measure is None else {measure: 1.0}
    total = np.zeros(len(quality))
    for name, weight in weights.items():
        values = np.array([row[name] for row in quality], dtype=np.float64)
        spread = values.max() - values.min() if len(values) else 0.0
        total += weight * (values - values.min()) / spread if spread > 1e-12 else 0.0
    return total


def rule_baselines(data: SeriesSet, quality: Mapping[str, Mapping[str, float]]) -> dict[str, NDArray[np.float64]]:
    """Name -> scores (b, n), -inf where masked: every measure by itself, then all combined."""
    found = {}
    for name in (*WEIGHTS, None):
        scores = np.full(data.mask.shape, -np.inf)
        for row, members in enumerate(data.members):
            scores[row, : len(members)] = rule_scores([quality[photo] for photo in members], name)
        found[COMBINED if name is None else name] = scores
    return found
