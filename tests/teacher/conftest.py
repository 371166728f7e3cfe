"""A small library of generated photos, and settings that point to a server."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vibe_assets.records import PhotoRef
from vibe_assets.settings import TeacherSettings
from vibe_assets.teacher.pace import Pace

ANNOTATION = {
    "scene": "food", "has_person": False, "has_animal": False, "has_text": "unknown", "is_document": False, "is_screenshot": False,
    "objects": [{"name_free": "bread", "coarse_type": "food", "is_main": True, "confidence": 0.9}],
}  # fmt: skip
QUICK = Pace(first_wait_s=0.01, longest_wait_s=0.05, outage_s=0.5)


def picture(seed: int, size: tuple[int, int] = (96, 72)) -> Image.Image:
    blocks = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(blocks).resize(size, Image.Resampling.BICUBIC)


def photo(path: Path, root: Path) -> PhotoRef:
    return PhotoRef(hashlib.sha256(path.read_bytes()).hexdigest()[:32], bytes(path), str(path.relative_to(root)))


def make_library(root: Path, count: int) -> list[PhotoRef]:
    root.mkdir(parents=True, exist_ok=True)
    photos = []
    for number in range(count):
        picture(number).save(root / f"{number:03d}.jpg", quality=92)
        photos.append(photo(root / f"{number:03d}.jpg", root))
    return photos


def write_answers(file: Path, photos: list[PhotoRef], **labels: Any) -> Path:
    lines = [{"path": photo.rel_path, "annotation": {**ANNOTATION, **labels}} for photo in photos]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def always(image: bytes, request: Any) -> dict[str, Any]:
    """Answers of a teacher that sees bread everywhere."""
    return ANNOTATION


@pytest.fixture
def library(tmp_path: Path) -> list[PhotoRef]:
    return make_library(tmp_path / "photos", 12)


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Callable[..., TeacherSettings]:
    monkeypatch.delenv("QWEN_API_KEY", raising=False)

    def build(base_url: str, **fields: Any) -> TeacherSettings:
        return TeacherSettings.model_validate({"base_url": base_url, "timeout_s": 5.0, "retries": 2, "concurrency": 4, **fields})

    return build
