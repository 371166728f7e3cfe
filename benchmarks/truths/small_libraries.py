"""Small libraries: what was checked needs no interval, and nobody is asked for more photos than there are."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from truths.result import Result
from vibe_assets.audit.progress import sample_progress
from vibe_assets.evaluate.intervals import weighted_share

TITLE = "Small libraries"
CLAIM = (
    "95 % intervals hold the library's own accuracy in at least 93 % of libraries and have no width once all is checked; "
    "no more photos are asked for than are left"
)
PHOTOS, ACCURACY = 60, 0.85


def simulate(libraries: int, seed: int) -> Iterator[Result]:
    """Parts of a library of 60 photos, checked at random; `before`: without a finite population correction."""
    for checked in (15, 30, 55, 60):
        rng = np.random.default_rng([seed, checked])
        held, old, widths, asked, old_asked = [], [], [], [], []
        for _ in range(libraries):
            right = rng.random(PHOTOS) < ACCURACY
            seen = rng.choice(right, checked, replace=False)
            weights = np.full(checked, PHOTOS / checked)
            found, was = (weighted_share(seen, weights=weights, finite=finite) for finite in (True, False))
            held.append(found.low - 1e-12 <= right.mean() <= found.high + 1e-12)
            old.append(was.low <= right.mean() <= was.high)
            widths.append((found.high - found.low, was.high - was.low))
            asked.append(sample_progress(seen, weights=weights, population=PHOTOS).more - (PHOTOS - checked))
            old_asked.append(sample_progress(seen, weights=weights).more - (PHOTOS - checked))
        yield Result(f"coverage, {checked} of {PHOTOS} checked", float(np.mean(held)), 0.93, 1.0, libraries, float(np.mean(old)))
        width, was_width = (float(value) for value in np.mean(widths, axis=0))
        yield Result(f"mean width, {checked} of {PHOTOS} checked", width, 0.0, was_width * (checked < PHOTOS), libraries, was_width, 0.0)
        most, was_most = float(max(asked)), float(max(old_asked))
        yield Result(f"photos asked for beyond those left, {checked} of {PHOTOS} checked", most, -PHOTOS, 0.0, libraries, was_most, 0.0)
