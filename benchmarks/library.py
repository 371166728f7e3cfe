"""A number of photos goes in; a lake with their folders, unit vectors, labels and groups comes out, made up, without a photo on disk.

The vectors have the spectrum of real embeddings, a few strong directions and many weak ones, mixed over all columns, so that standardising
does not undo it. Labels are drawn from a linear rule on them, so that there is something to learn and nothing is learned perfectly.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
from scipy.fft import dct

from vibe_assets.questions import load
from vibe_assets.records import AUTO_GROUND_TRUTH, FOLDER_SET, IMAGE_EMBEDDINGS, PHOTO_GROUPS
from vibe_assets.settings import Settings
from vibe_assets.stages.platform import Platform

SEED, DIM, FOLDER, OBJECTS = 42, 768, 50_000, 24
QUESTIONS = load()
ATTRIBUTES = tuple(field.name for field in QUESTIONS["attributes"].fields)
SCENES, KEYS = QUESTIONS["scene"].keys, QUESTIONS["objects"].keys[:OBJECTS]


def ids(start: int, stop: int) -> list[str]:
    return [f"{at * 0x9E3779B97F4A7C15 % 2**64:016x}{at:016x}" for at in range(start, stop)]


def unit_vectors(start: int, count: int, dim: int = DIM) -> np.ndarray:
    """(count, dim) float32 unit rows; variance falls as 1 / rank."""
    x = np.random.default_rng([SEED, start]).standard_normal((count, dim), dtype=np.float32)
    x *= np.arange(1, dim + 1, dtype=np.float32) ** -0.5
    x = dct(x, norm="ortho", axis=1, overwrite_x=True)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return x


def folders(count: int) -> Iterator[tuple[str, int, np.ndarray]]:
    for start in range(0, count, FOLDER):
        yield f"f-{start // FOLDER:08x}", start, unit_vectors(start, min(FOLDER, count - start))


def embedding_rows(key: str, start: int, x: np.ndarray) -> pl.DataFrame:
    columns = {"folder_key": [key] * len(x), "image_id": ids(start, start + len(x)), "encoder": ["made-up"] * len(x), "embedding": x}
    table = pl.DataFrame(columns, schema_overrides={"embedding": pl.Array(pl.Float32, x.shape[1])})
    return table.with_columns(pl.col("embedding").arr.to_list()).match_to_schema(IMAGE_EMBEDDINGS.polars_schema(), missing_columns="insert")


def open_library(home: Path) -> Platform:
    return Platform(Settings(library={"root": home / "photos", "home": home / "data"}), progress=False)


def build(home: Path, count: int) -> Platform:
    """All tables that training and search read."""
    platform = open_library(home)
    (home / "photos").mkdir(parents=True, exist_ok=True)
    truth, lake = [], platform.lake
    rules = np.random.default_rng(SEED).standard_normal((DIM, len(SCENES) + len(ATTRIBUTES) + OBJECTS), dtype=np.float32)
    for key, start, x in folders(count):
        lake.replace(IMAGE_EMBEDDINGS, embedding_rows(key, start, x), folder_key=key)
        truth.append(_labels(key, start, x, 4 * x @ rules))
    keys = [key for key, _, _ in ((f"f-{start // FOLDER:08x}", start, None) for start in range(0, count, FOLDER))]
    now = datetime.now(UTC)
    found = pl.DataFrame({"folder_key": keys, "first_seen_at": [now] * len(keys)})
    lake.replace(FOLDER_SET, found.match_to_schema(FOLDER_SET.polars_schema(), missing_columns="insert", extra_columns="ignore"))
    lake.replace(AUTO_GROUND_TRUTH, pl.concat(truth))
    names = pl.concat(truth)["image_id"]
    splits = np.random.default_rng(SEED).choice(["train", "val", "test"], count, p=[0.7, 0.15, 0.15])
    groups = pl.DataFrame({"image_id": names, "group_id": names, "split": splits, "group_size": 1, "link": "single"})
    lake.replace(PHOTO_GROUPS, groups.cast(PHOTO_GROUPS.polars_schema()))
    return platform


def _labels(key: str, start: int, x: np.ndarray, scores: np.ndarray) -> pl.DataFrame:
    rng = np.random.default_rng([SEED, start, 1])
    scenes, attributes, objects = np.split(scores, [len(SCENES), len(SCENES) + len(ATTRIBUTES)], axis=1)
    chosen = (scenes + rng.gumbel(size=scenes.shape)).argmax(axis=1)
    holds = attributes + rng.logistic(size=attributes.shape) > 1.0
    shown = objects + rng.logistic(size=objects.shape) > 4.0
    columns = {
        "folder_key": [key] * len(x), "image_id": ids(start, start + len(x)), "scene": np.array(SCENES)[chosen],
        **{name: holds[:, at] for at, name in enumerate(ATTRIBUTES)},
        "objects": [[KEYS[at] for at in np.flatnonzero(row)] for row in shown], "teacher": ["t"] * len(x), "mapping": ["m"] * len(x),
    }  # fmt: skip
    return pl.DataFrame(columns).match_to_schema(AUTO_GROUND_TRUTH.polars_schema(), missing_columns="insert", extra_columns="ignore")
