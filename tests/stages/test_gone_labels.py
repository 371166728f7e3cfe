"""A label leaves the file while a deployed head still knows it."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.stages.rows import FOLDERS, QUICK, SCENES, open_platform
from vibe_assets.questions import packaged
from vibe_assets.records import PREDICTIONS
from vibe_assets.stages.gates import predictions_sound
from vibe_assets.stages.runtime import predict_folder


def without(label: str) -> str:
    """The packaged file without a scene."""
    lines = packaged().splitlines(keepends=True)
    start = next(at for at, line in enumerate(lines) if line == f"      {label}:\n")
    end = next(at for at in range(start + 1, len(lines)) if not lines[at].startswith("        "))
    return "".join([*lines[:start], *lines[end:]])


def test_a_head_that_knows_a_label_of_before_leaves_its_photos_open(trained: Path, tmp_path: Path) -> None:
    home = Path(shutil.copytree(trained, tmp_path / "home"))
    gone = next(scene for scene in SCENES if scene not in ("scene.document", "scene.screenshot", "scene.other"))
    platform = open_platform(home, **QUICK)
    for key in FOLDERS:
        predict_folder(platform, key)
    before = platform.lake.read(PREDICTIONS)
    assert gone in set(before["scene"])
    (home / "labels.yaml").write_text(without(gone.removeprefix("scene.")), encoding="utf-8")
    platform = open_platform(home, labels={"taxonomy": home / "labels.yaml"}, **QUICK)
    for key in FOLDERS:
        predict_folder(platform, key)
        assert predictions_sound(platform, key).passed, predictions_sound(platform, key).facts
    after = platform.lake.read(PREDICTIONS)
    assert gone not in set(after["scene"])
    same = before.filter(before["scene"] != gone).join(after, on="image_id")
    assert (same["scene"] == same["scene_right"]).mean() > 0.95
