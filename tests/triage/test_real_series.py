"""Real photos of one subject without dates: series are found by name and likeness, and the picks avoid faults that were put in."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.triage.faulty import SOUND, write_takes
from tests.triage.test_study import opened
from vibe_assets.evaluate.intervals import wilson
from vibe_assets.triage import picks

SUBJECTS = ("ecust_apple006", "ecust_banana003", "ecust_lemon001", "ecust_orange015", "ecust_plum002", "ecust_tomato003")


@pytest.fixture(scope="module")
def subjects(real_data: Path) -> list[Path]:
    folders = [real_data / "series" / name for name in SUBJECTS]
    if not all(folder.is_dir() for folder in folders):
        pytest.skip(f"no series at {real_data / 'series'}")
    return folders


def test_undated_takes_of_real_subjects_are_found_and_the_setting_turns_it_off(subjects: list[Path], tmp_path: Path) -> None:
    root = tmp_path / "photos"
    root.mkdir()
    for subject in subjects:
        shutil.copytree(subject, root / subject.name)
    found = picks.pick_folder(opened(tmp_path), root, tmp_path / "out").rows
    folders = found["rel_path"].str.split("/").list.first()
    assert folders.n_unique() == len(subjects), "every subject"
    assert found.height >= 0.6 * sum(len(list(subject.iterdir())) for subject in subjects)
    off = opened(tmp_path, undated=False)
    assert picks.pick_folder(off, root, tmp_path / "off").series == 0


def test_the_rules_pick_the_sound_take_and_not_a_blurred_dark_or_cropped_one(subjects: list[Path], tmp_path: Path) -> None:
    """Over-exposure is left out: the rules take its higher contrast for sharpness (the guide has the figures)."""
    root = tmp_path / "photos"
    faults: dict[str, str] = {}
    for seed, subject in enumerate(subjects):
        faults |= write_takes(sorted(subject.iterdir())[0], root / subject.name, seed=seed, leave_out="over-exposed")
    rows = picks.pick_folder(opened(tmp_path), root, tmp_path / "out").rows
    hits, chances = [], []
    for _, takes in rows.group_by("series_id"):
        shown = [faults[path] for path in takes["rel_path"]]
        assert SOUND in shown
        chances.append(1 / len(shown))
        hits.append(faults[takes.filter(rank=1)["rel_path"].item()] == SOUND)
    assert len(hits) == len(subjects)
    assert wilson(sum(hits), len(hits)).low > np.mean(chances)
