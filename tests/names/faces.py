"""Small faces on disk: index files, folders, and a platform that studies them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vibe_assets.sections import NameSettings
from vibe_assets.settings import LibrarySettings, Settings
from vibe_assets.stages.platform import Platform

GOOD = {"score": 0.99, "bbox_xyxy": [10, 10, 50, 54], "src_hw": [64, 64]}


def picture(path: Path, seed: int, *, size: tuple[int, int] = (64, 64), tint: float = 0.0) -> Path:
    """Noise of its own, smoothed: no two pictures are near-duplicates."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    coarse[..., 0] = np.clip(coarse[..., 0] * (1 - tint) + 255 * tint, 0, 255)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(path, quality=95)
    return path


def write_index(root: Path, name: str, good: dict[str, Any], **lists: Any) -> Path:
    """index_NAME.json with `good` as path -> meta."""
    file = root / f"index_{name}.json"
    root.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"good": list(good), "meta": {path: facts for path, facts in good.items() if facts}, **lists}))
    return file


def open_names(home: Path, root: Path, **names: Any) -> Platform:
    settings = Settings(
        library=LibrarySettings(root=home / "photos", home=home),
        names=NameSettings(root=root, shards=3, chip_px=48, val=0.25, test=0.25, **names),
    )
    return Platform(settings, run_id="test", progress=False)
