"""A dozen real photos whose names are as awkward as names get, with labels of people, students and teacher, in a lake."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.stages.rows import table_rows
from vibe_assets.photos.folders import readable_path
from vibe_assets.records import (
    AUDITED_GROUND_TRUTH,
    AUTO_GROUND_TRUTH,
    FOLDER_SET,
    IMAGE_EMBEDDINGS,
    PHOTO_GROUPS,
    PREDICTIONS,
    RAW_PHOTOS,
    Table,
)
from vibe_assets.settings import Settings
from vibe_assets.stages.platform import Platform

NAMES = (
    b"plain.jpg",
    "Grüße & Küsse ❤.jpg".encode(),
    b"with spaces.jpg",
    b"quote \"double\" and 'single'.jpg",
    b"line\nbreak.jpg",
    b"=cmd|' calc'!A0.jpg",
    b"not \xff\xfe utf8.jpg",
    b"-minus.png",
    b"@at.jpg",
    b"a.b.c.jpg",
    b"percent%20.jpg",
    b"back\\slash.jpg",
)
FOLDER = "album-1"
SCENES = ("scene.food", "scene.animals", "scene.people", "scene.document")
OBJECTS = (["object.food", "object.food.pizza"], ["object.animals", "object.animals.dog"], [], ["object.document.book"])


def build(home: Path, names: tuple[bytes, ...] = NAMES) -> Platform:
    """Write photos and tables; people have looked at every third photo, the students leave every fourth open."""
    platform = Platform(Settings.model_validate({"library": {"root": home / "photos", "home": home / "data"}}), progress=False)
    folder = os.fsencode(home / "photos") + b"/album"
    os.makedirs(folder, exist_ok=True)  # noqa: PTH103
    photos = []
    for at, name in enumerate(names):
        path = folder + b"/" + name
        noise = np.random.default_rng(at).integers(0, 256, (6, 8, 3), dtype=np.uint8)
        with open(path, "wb") as file:  # noqa: PTH123
            Image.fromarray(noise).resize((48, 36)).save(file, "PNG" if name.endswith(b"png") else "JPEG")
        with open(path, "rb") as file:  # noqa: PTH123
            image_id = hashlib.sha256(file.read()).hexdigest()[:32]
        seen = os.stat(path)  # noqa: PTH116
        photos.append(
            {
                "folder_key": FOLDER, "image_id": image_id, "rel_path": readable_path(b"album/" + name), "path_bytes": b"album/" + name,
                "bytes": seen.st_size, "mtime_ns": seen.st_mtime_ns, "format": "PNG" if name.endswith(b"png") else "JPEG",
                "width": 48, "height": 36,
            }
        )  # fmt: skip
    lake = platform.lake
    lake.replace(FOLDER_SET, table_rows(FOLDER_SET, [{"folder_key": FOLDER, "rel_path": "album", "path_bytes": b"album", "files": 12}]))
    lake.replace(RAW_PHOTOS, table_rows(RAW_PHOTOS, photos), folder_key=FOLDER)
    ids = [photo["image_id"] for photo in photos]
    splits = ("train", "val", "test", "train")
    groups = [{"image_id": i, "group_id": ids[at - at % 2], "split": splits[at // 2 % 4], "group_size": 2} for at, i in enumerate(ids)]
    lake.replace(PHOTO_GROUPS, table_rows(PHOTO_GROUPS, groups))
    auto = [_labels(i, at) | {"teacher": "teacher-1", "mapping": "m"} for at, i in enumerate(ids)]
    lake.replace(AUTO_GROUND_TRUTH, table_rows(AUTO_GROUND_TRUTH, auto))
    said = [_labels(i, at) | {"annotator": "anna", "has_text": None} for at, i in enumerate(ids) if at % 3 == 0]
    lake.replace(AUDITED_GROUND_TRUTH, table_rows(AUDITED_GROUND_TRUTH, said))
    predicted = [_said(photo, at) for at, photo in enumerate(photos)]
    lake.replace(PREDICTIONS, table_rows(PREDICTIONS, [_only(PREDICTIONS, row) for row in predicted]), folder_key=FOLDER)
    vectors = [{"folder_key": FOLDER, "image_id": i, "encoder": "e-1", "embedding": _vector(at)} for at, i in enumerate(ids)]
    lake.replace(IMAGE_EMBEDDINGS, table_rows(IMAGE_EMBEDDINGS, vectors), folder_key=FOLDER)
    return platform


def _labels(image_id: str, at: int) -> dict[str, Any]:
    return {
        "image_id": image_id, "scene": SCENES[at % 4], "has_person": at % 4 == 2, "has_animal": at % 4 == 1, "has_text": at % 4 == 3,
        "is_document": at % 4 == 3, "is_screenshot": False, "objects": OBJECTS[at % 4],
    }  # fmt: skip


def _said(photo: dict[str, Any], at: int) -> dict[str, Any]:
    labels = _labels(photo["image_id"], at)
    sure = 0.6 + 0.03 * at
    confidences = {f"{name}_confidence": sure if labels.get(name) else 1 - sure for name in labels if name.startswith(("has_", "is_"))}
    open_scene = {"scene": None, "abstained": ["scene"]} if at % 4 == 0 else {}
    return (
        photo | labels | confidences | {"scene_confidence": sure, "object_confidences": [f"{key}={sure}" for key in labels["objects"]]}
        | {"source": "student", "heads": "attribute-2 object-3 scene-1", "encoder": "e-1", "abstained": []} | open_scene
    )  # fmt: skip


def _vector(at: int) -> list[float]:
    numbers = np.random.default_rng(100 + at // 2).normal(size=8) + np.random.default_rng(at).normal(0, 0.05, 8)
    return list(numbers / np.linalg.norm(numbers))


def _only(table: Table, row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name in table.columns}
