"""A small installation with a drawn audit sample: rendered photos, answers of a teacher and a student with planted mistakes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import polars as pl
from PIL import Image

from tests.support.questions import ATTRIBUTES
from vibe_assets.demo.render import render_library
from vibe_assets.records import AUTO_GROUND_TRUTH, PREDICTIONS, Table
from vibe_assets.settings import load_settings
from vibe_assets.stages.library import accepted_photos, group_library, look_at_folders, scan_folder
from vibe_assets.stages.platform import Platform
from vibe_assets.stages.truth import draw_audit_sample

SETTINGS = """[library]
root = "photos"
home = "data"
scan_workers = 1

[audit]
sample_size = {sample}
blind_share = {blind}
port = 0
{more}
"""
SCENES = ("scene.food", "scene.product", "scene.snapshot")


def build(folder: Path, *, photos: int = 60, sample: int = 30, blind: float = 0.2, larger: int = 1, more: str = "") -> Platform:
    """Write it below `folder`; nothing of it needs a model or a server. `larger` scales the photos, for measurements."""
    folder.mkdir(parents=True, exist_ok=True)
    library = render_library(folder, seed=5, photos=photos)
    truth = [enlarged(library.root, photo, larger) for photo in library.truth] if larger > 1 else library.truth
    (folder / "vibe.toml").write_text(SETTINGS.format(sample=sample, blind=blind, more=more))
    platform = open_at(folder)
    for key in look_at_folders(platform).folders["folder_key"]:
        scan_folder(platform, key)
    group_library(platform)
    fill(platform, truth)
    draw_audit_sample(platform)
    return platform


def enlarged(root: Path, photo: dict[str, Any], factor: int) -> dict[str, Any]:
    """The photo's file with `factor` times as many pixels a side, and its new identity."""
    file = root / photo["rel_path"]
    with Image.open(file) as image:
        picture = image.convert("RGB").resize((image.width * factor, image.height * factor), Image.Resampling.BICUBIC)
    noise = Image.effect_noise(picture.size, 24).convert("RGB")  # a camera's files do not compress as well as a painting
    Image.blend(picture, noise, 0.06).save(file, "JPEG", quality=92)
    return photo | {"image_id": hashlib.sha256(file.read_bytes()).hexdigest()[:32]}


def open_at(folder: Path) -> Platform:
    return Platform(load_settings(folder / "vibe.toml"), progress=False)


def fill(platform: Platform, truth: list[dict[str, Any]]) -> None:
    """Answers of a teacher who errs in every fifth scene, and of a student who errs in every fourth."""
    true = {photo["image_id"]: photo for photo in truth}
    teacher, student = [], []
    for at, row in enumerate(accepted_photos(platform).iter_rows(named=True)):
        photo = true[row["image_id"]]
        labels = {
            "image_id": row["image_id"],
            "scene": photo["scene"][0],
            **{name: photo["attributes"].get(f"attr.{name}") for name in ATTRIBUTES},
            "objects": photo["objects"],
        }
        wrong = next(scene for scene in SCENES if scene != labels["scene"])
        teacher.append({**labels, "scene": wrong if at % 5 == 0 else labels["scene"], "teacher": "t" * 16, "mapping": "m" * 16})
        share = 0.5 + (at * 37 % 50) / 100
        sure = {"scene_confidence": share} | {f"{name}_confidence": share if labels[name] else 1 - share for name in ATTRIBUTES}
        place = {"folder_key": row["folder_key"], "rel_path": row["rel_path"], "abstained": [], "source": "student", "heads": "h-1"}
        student.append({**labels, **sure, **place, "scene": wrong if at % 4 == 0 else labels["scene"], "encoder": "e" * 16})
    platform.lake.replace(AUTO_GROUND_TRUTH, rows_of(AUTO_GROUND_TRUTH, teacher))
    for key in {row["folder_key"] for row in student}:
        mine = [row for row in student if row["folder_key"] == key]
        platform.lake.replace(PREDICTIONS, rows_of(PREDICTIONS, mine), folder_key=key)


def rows_of(table: Table, rows: list[dict[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame([dict.fromkeys(table.columns) | row for row in rows], schema=table.polars_schema(), orient="row")


def log_lines(platform: Platform) -> list[dict[str, Any]]:
    """Every line of every writer's file."""
    files = sorted((platform.settings.audit_dir / "verdicts").glob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]
