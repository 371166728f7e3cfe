"""A small lake of made-up rows in which every gate passes, and a way to plant one fault in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from vibe_assets.questions import load
from vibe_assets.records import (
    ANNOTATIONS,
    AUDIT_SAMPLE,
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
from vibe_assets.teacher.annotate import teacher_fingerprint

FOLDERS = ("food-1", "cats-2")
PHOTOS = 160
DIMENSIONS = 12
SCENES = ("scene.food", "scene.animals", "scene.document", "scene.people")
OBJECTS = ("object.food", "object.animals.cat", "object.document.book", "object.drink")
QUICK = {"students": {"max_epochs": 40, "min_positives": 4}, "gates": {"max_calibration_error": 1.0}}  # settings of a quick training
SPLITS = ("train", "train", "train", "val", "test", "train", "val", "test")  # photo after photo


def photo_id(at: int) -> str:
    return f"{at:032x}"


def scene_of(at: int) -> str:
    return SCENES[at * 7 // 3 % 4]


def table_rows(table: Table, rows: list[dict[str, Any]]) -> pl.DataFrame:
    """Rows of a table; what is left out is null."""
    return pl.DataFrame([dict.fromkeys(table.columns) | row for row in rows], schema=table.polars_schema(), orient="row")


def open_platform(home: Path, **sections: Any) -> Platform:
    """The installation of a folder, with other settings where a test wants them."""
    audit = {"gates": {"min_audited": 20, **sections.pop("gates", {})}}
    return Platform(
        Settings.model_validate({"library": {"root": home / "photos", "home": home / "data"}, **audit, **sections}), progress=False
    )


def fill(home: Path) -> Platform:
    """Write every table of a small settled library."""
    platform = open_platform(home)
    lake, teacher = platform.lake, teacher_fingerprint(platform.settings.teacher)
    lake.replace(
        FOLDER_SET, table_rows(FOLDER_SET, [{"folder_key": k, "rel_path": k, "path_bytes": k.encode(), "files": 1} for k in FOLDERS])
    )
    labels = [label_row(at) for at in range(PHOTOS)]
    for number, key in enumerate(FOLDERS):
        mine = [at for at in range(PHOTOS) if at % 2 == number]
        place = [{"folder_key": key, "image_id": photo_id(at), "rel_path": f"{key}/{at}.jpg"} for at in mine]
        lake.replace(RAW_PHOTOS, table_rows(RAW_PHOTOS, [p | {"path_bytes": p["rel_path"].encode()} for p in place]), folder_key=key)
        answers = [p | {"annotation": "{}", "teacher": teacher, "model": "m", "latency_s": 0.1} for p in place]
        lake.replace(ANNOTATIONS, table_rows(ANNOTATIONS, answers), folder_key=key)
        vectors = [p | {"encoder": "e-1", "embedding": vector(at)} for at, p in zip(mine, place, strict=True)]
        lake.replace(IMAGE_EMBEDDINGS, table_rows(IMAGE_EMBEDDINGS, [only(IMAGE_EMBEDDINGS, row) for row in vectors]), folder_key=key)
        said = [p | labels[at] | said_row() for at, p in zip(mine, place, strict=True)]
        lake.replace(PREDICTIONS, table_rows(PREDICTIONS, said), folder_key=key)
    groups = [
        {"image_id": photo_id(at), "group_id": photo_id(at), "split": SPLITS[at % 8], "link": "single", "group_size": 1}
        for at in range(PHOTOS)
    ]
    lake.replace(PHOTO_GROUPS, table_rows(PHOTO_GROUPS, groups))
    lake.replace(AUTO_GROUND_TRUTH, table_rows(AUTO_GROUND_TRUTH, [row | {"teacher": teacher, "mapping": "m-1"} for row in labels]))
    sampled = [row | {"inclusion_probability": 0.5} for row in labels[: PHOTOS // 2]]
    drawn = [row | {"group_id": row["image_id"], "stratum": row["scene"], "rel_path": "x"} for row in sampled]
    lake.replace(AUDIT_SAMPLE, table_rows(AUDIT_SAMPLE, drawn))
    lake.replace(AUDITED_GROUND_TRUTH, table_rows(AUDITED_GROUND_TRUTH, sampled))
    return platform


def label_row(at: int) -> dict[str, Any]:
    scene = scene_of(at)
    attributes = {"has_person": scene == SCENES[3], "has_animal": scene == SCENES[1], "is_document": scene == SCENES[2]}
    return {
        "image_id": photo_id(at),
        "scene": scene,
        **attributes,
        "has_text": scene in (SCENES[0], SCENES[2]),
        "is_screenshot": False,
        "objects": [OBJECTS[SCENES.index(scene)]],
    }


def said_row() -> dict[str, Any]:
    confidences = {f"{name}_confidence": 0.9 for name in load().columns if name != "objects"}
    return {**confidences, "abstained": [], "source": "student", "heads": "h-1", "encoder": "e-1"}


def vector(at: int) -> list[float]:
    """A unit vector near its scene's axis."""
    numbers = np.random.default_rng(at).normal(0, 0.15, DIMENSIONS)
    numbers[SCENES.index(scene_of(at))] += 1
    return list(numbers / np.linalg.norm(numbers))


def only(table: Table, row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name in table.columns}


def damage(platform: Platform, table: Table, change: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
    """Rewrite a table, or the first folder of a partitioned one."""
    key = FOLDERS[0] if table.partitioned else None
    platform.lake.replace(table, change(platform.lake.read(table, folder_key=key)), folder_key=key)


def in_first_row(**values: Any) -> Callable[[pl.DataFrame], pl.DataFrame]:
    """Put values into the first row."""

    def change(rows: pl.DataFrame) -> pl.DataFrame:
        first = {**rows.row(0, named=True), **values}
        return pl.concat([pl.DataFrame([first], schema=rows.schema, orient="row"), rows.tail(-1)])

    return change


def first_row_twice(rows: pl.DataFrame) -> pl.DataFrame:
    return pl.concat([rows, rows.head(1)])


def without_first_row(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.tail(-1)
