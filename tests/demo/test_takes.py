"""Rendered takes: the same bytes for the same seed, faults that can be measured, and people who prefer what is better."""

from __future__ import annotations

import numpy as np
from PIL import Image

from vibe_assets.demo.takes import MARGIN, Take, degraded, plan_takes, render_takes
from vibe_assets.photos.quality import measure_take
from vibe_assets.settings import TriageSettings
from vibe_assets.triage.pairs import read_pairs, series_of


def test_the_same_seed_gives_the_same_photos_and_votes(tmp_path):
    first, second = (render_takes(tmp_path / name, series=3, seed=4) for name in "ab")
    names = sorted(path.name for path in first[0].iterdir())
    assert [(first[0] / name).read_bytes() for name in names] == [(second[0] / name).read_bytes() for name in names]
    assert first[1].read_bytes() == second[1].read_bytes()
    files = {file for members in series_of(read_pairs(first[1], settings=TriageSettings(min_agreement=0.5))).values() for file in members}
    assert files == set(names), "every photo was compared, under the name it has on disk"


def test_faults_lower_the_worth_and_can_be_measured():
    scene = Image.fromarray(np.random.default_rng(0).integers(60, 190, (16, 20, 3), dtype=np.uint8)).resize(
        (248, 198), Image.Resampling.BICUBIC
    )
    sound, blurred, bright = (Take(0, 0, 0, 0), Take(1, 0, 0, 0), Take(0, 1, 0, 0))
    assert sound.worth == 0 > max(blurred.worth, bright.worth, Take(0, 0, MARGIN, 0).worth)
    seen = [measure_take(degraded(scene, take, np.random.default_rng(3))) for take in (sound, blurred, bright)]
    assert seen[1].sharpness < seen[0].sharpness
    assert seen[2].brightness > seen[0].brightness


def test_series_have_two_to_six_takes():
    sizes = {len(plan_takes(np.random.default_rng(seed))) for seed in range(60)}
    assert sizes == {2, 3, 4, 5, 6}
