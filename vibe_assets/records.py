"""Table schemas, and the frozen records that pass between stages."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import polars as pl

ATTRIBUTES = ("has_person", "has_animal", "has_text", "is_document", "is_screenshot")
SPLITS = ("train", "val", "test")


class Column(NamedTuple):
    """One column of a table: polars type by name, and what a reader must know (unit, range, meaning of null)."""

    dtype: str
    description: str


@dataclass(frozen=True)
class Table:
    """A table of the lake. `partitioned` tables hold one folder per partition, in the column `folder_key`."""

    name: str
    description: str
    columns: Mapping[str, Column]
    partitioned: bool = False

    def polars_schema(self) -> pl.Schema:
        """Column name -> polars data type."""
        import polars as pl

        types: dict[str, Any] = {
            "str": pl.String,
            "i64": pl.Int64,
            "i32": pl.Int32,
            "f64": pl.Float64,
            "f32": pl.Float32,
            "bool": pl.Boolean,
            "bytes": pl.Binary,
            "time": pl.Datetime("us", "UTC"),
            "wall": pl.Datetime("us"),
            "list[str]": pl.List(pl.String),
            "list[f32]": pl.List(pl.Float32),
        }
        return pl.Schema({name: types[column.dtype] for name, column in self.columns.items()})


_KEY = {"folder_key": Column("str", "partition: readable slug and hash of the folder's relative path")}
_ID = {"image_id": Column("str", "first 32 hex digits of the SHA-256 of the file's bytes")}
_PATH = {"rel_path": Column("str", "path below the photo root, '/' as separator; bytes that are not UTF-8 shown as \\xNN")}
_REASON = {
    "reason": Column("str", "null where all is well, otherwise why the row was rejected (a short code)"),
    "detail": Column("str", "what exactly was wrong, for people"),
}
_LABELS = {
    "scene": Column("str", "scene.* key, null where unknown"),
    **{name: Column("bool", f"attr.{name}, null where unknown") for name in ATTRIBUTES},
    "objects": Column("list[str]", "object.* keys, main object first"),
}

FOLDER_SET = Table(
    "folder_set",
    "the folders that hold photos, gone ones kept as tombstones",
    {
        **_KEY,
        **_PATH,
        "path_bytes": Column("bytes", "the relative path as the file system spells it"),
        "files": Column("i64", "files seen"),
        "listing": Column("str", "hash of names, sizes and times of the files"),
        "gone_at": Column("time", "null while the folder exists"),
    },
)
RAW_PHOTOS = Table(
    "raw_photos",
    "one row per file of the library, rejected files included with a reason",
    {
        **_KEY,
        **_ID,
        **_PATH,
        "path_bytes": Column("bytes", "relative path as the file system spells it"),
        "bytes": Column("i64", "file size"),
        "mtime_ns": Column("i64", "modification time"),
        "format": Column("str", "JPEG, PNG, ... as decoded"),
        "width": Column("i32", "pixels after EXIF rotation"),
        "height": Column("i32", "pixels after EXIF rotation"),
        "frames": Column("i32", "1 for stills; the first frame is used"),
        "orientation": Column("i32", "EXIF orientation 1..8"),
        "taken_at": Column("wall", "EXIF DateTimeOriginal, local wall clock"),
        "offset_min": Column("i32", "minutes east of UTC, null where EXIF has none"),
        "latitude": Column("f64", "degrees north, WGS 84"),
        "longitude": Column("f64", "degrees east, WGS 84"),
        "camera": Column("str", "maker and model"),
        "sharpness": Column("f32", "variance of the Laplacian of luma (0..255) at 512 px"),
        "exposure": Column("f32", "mean luma, 0..1"),
        "contrast": Column("f32", "RMS contrast of luma, 0..1"),
        "colourfulness": Column("f32", "Hasler-Suesstrunk M3"),
        "phash": Column("str", "64-bit perceptual hash, 16 hex digits"),
        **_REASON,
    },
    partitioned=True,
)
PHOTO_GROUPS = Table(
    "photo_groups",
    "near-duplicates and bursts as groups, and the split that every student shares",
    {
        **_ID,
        "group_id": Column("str", "image_id of the group's first member"),
        "split": Column("str", "train | val | test, or aside: a new photo that links groups of different splits"),
        "link": Column("str", "why the photo is in the group: single | near_duplicate | burst | gone (no longer in the library)"),
        "group_size": Column("i32", "photos in the group"),
    },
)
ANNOTATIONS = Table(
    "annotations",
    "the teacher's answer to every photo, failures included with a reason",
    {
        **_KEY,
        **_ID,
        **_PATH,
        "annotation": Column("str", "the validated answer as JSON, null after a failure"),
        "teacher": Column("str", "teacher fingerprint"),
        "model": Column("str", "model name"),
        "latency_s": Column("f64", "seconds of the successful request"),
        "prompt_tokens": Column("i64", "as the server counted"),
        "completion_tokens": Column("i64", "as the server counted"),
        **_REASON,
    },
    partitioned=True,
)
AUTO_GROUND_TRUTH = Table(
    "auto_ground_truth",
    "the teacher's answers as labels of the taxonomy",
    {**_ID, **_LABELS, "teacher": Column("str", "teacher fingerprint"), "mapping": Column("str", "fingerprint of taxonomy and conversion")},
)
AUDIT_SAMPLE = Table(
    "audit_sample",
    "the photos that people are asked to check",
    {
        **_ID,
        **_PATH,
        "group_id": Column("str", "group"),
        "stratum": Column("str", "stratum it was drawn from"),
        "inclusion_probability": Column("f64", "chance of this photo to be in the sample, 0..1"),
        **_LABELS,
    },
)
AUDITED_GROUND_TRUTH = Table(
    "audited_ground_truth",
    "what people say, settled",
    {
        **_ID,
        **_LABELS,
        "inclusion_probability": Column("f64", "chance of this photo to be in the sample; null where unknown, weight 1"),
        "annotator": Column("str", "who"),
    },
)
IMAGE_EMBEDDINGS = Table(
    "image_embeddings",
    "every photo as a unit vector",
    {**_KEY, **_ID, "encoder": Column("str", "encoder fingerprint"), "embedding": Column("list[f32]", "unit vector"), **_REASON},
    partitioned=True,
)
PROMPT_EMBEDDINGS = Table(
    "prompt_embeddings",
    "label prompts as unit vectors of the same space; empty where the encoder has no text tower",
    {
        "label": Column("str", "taxonomy key"),
        "prompt": Column("str", "text"),
        "encoder": Column("str", "encoder fingerprint"),
        "embedding": Column("list[f32]", "unit vector"),
        "logit_scale": Column("f64", "factor on the cosine"),
        "logit_bias": Column("f64", "offset after scaling"),
    },
)
PREDICTIONS = Table(
    "predictions",
    "the deployed students' labels for every photo, the teacher's beside them",
    {
        **_KEY,
        **_ID,
        **_PATH,
        **_LABELS,
        "scene_confidence": Column("f64", "calibrated probability of the best scene, 0..1"),
        **{f"{name}_confidence": Column("f64", f"probability of attr.{name}, 0..1") for name in ATTRIBUTES},
        "object_confidences": Column("list[str]", "KEY=PROBABILITY, same order as objects"),
        "abstained": Column("list[str]", "what was left open: scene, attribute names"),
        "source": Column("str", "student | zero_shot | none"),
        "heads": Column("str", "versions of the heads used"),
        "encoder": Column("str", "encoder fingerprint"),
        "teacher_scene": Column("str", "the teacher's scene, null where it has none"),
        "teacher_objects": Column("list[str]", "the teacher's objects"),
    },
    partitioned=True,
)
METRICS = Table(
    "metrics",
    "history of every headline figure",
    {
        "at": Column("time", "when it was computed"),
        "run_id": Column("str", "Dagster run, or 'cli'"),
        "subject": Column("str", "teacher | student | trial"),
        "version": Column("str", "version of what was judged"),
        "metric": Column("str", "name"),
        "label": Column("str", "label, '' for the whole"),
        "value": Column("f64", "value"),
        "low": Column("f64", "95 % interval"),
        "high": Column("f64", "95 % interval"),
        "n": Column("i64", "photos"),
        "baseline": Column("f64", "majority or prior"),
        "truth": Column("str", "human | auto"),
    },
)
TABLES = {
    table.name: table
    for table in (
        FOLDER_SET,
        RAW_PHOTOS,
        PHOTO_GROUPS,
        ANNOTATIONS,
        AUTO_GROUND_TRUTH,
        AUDIT_SAMPLE,
        AUDITED_GROUND_TRUTH,
        IMAGE_EMBEDDINGS,
        PROMPT_EMBEDDINGS,
        PREDICTIONS,
        METRICS,
    )
}


@dataclass(frozen=True)
class PhotoRef:
    """A photo to read: its identity, where the bytes are, and the path to show people."""

    image_id: str
    path: bytes  # absolute, as the file system spells it (names need not be UTF-8)
    rel_path: str


@dataclass(frozen=True)
class Labels:
    """What one photo shows, in the taxonomy's keys. Unknown is None (scene, attributes) or absence (objects)."""

    image_id: str
    scene: str | None
    attributes: Mapping[str, bool | None] = field(default_factory=dict)  # keys of ATTRIBUTES
    objects: tuple[str, ...] = ()  # main object first

    def row(self) -> dict[str, Any]:
        """The record as columns of the label tables."""
        return {
            "image_id": self.image_id,
            "scene": self.scene,
            **{name: self.attributes.get(name) for name in ATTRIBUTES},
            "objects": list(self.objects),
        }

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Labels:
        return cls(row["image_id"], row["scene"], {name: row[name] for name in ATTRIBUTES}, tuple(row["objects"] or ()))


@dataclass(frozen=True)
class Estimate:
    """A score as it must be reported: value with a 95 % interval, sample size and the baseline to beat."""

    value: float
    low: float
    high: float
    n: int
    baseline: float | None = None

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}] n={self.n}"


def fingerprint(parts: Mapping[str, Any]) -> str:
    """16 hex digits over everything that changes an answer; key order does not matter."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
