"""Table schemas, and the frozen records that pass between stages."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vibe_assets.records.first_names import FIRST_NAMES
from vibe_assets.records.series import SERIES
from vibe_assets.records.spine import (
    ANNOTATIONS,
    AUDIT_DRAWS,
    AUDIT_SAMPLE,
    AUDITED_GROUND_TRUTH,
    AUTO_GROUND_TRUTH,
    FOLDER_SET,
    IMAGE_EMBEDDINGS,
    METRICS,
    PHOTO_GROUPS,
    PREDICTIONS,
    PROMPT_EMBEDDINGS,
    RAW_PHOTOS,
    SPINE,
)
from vibe_assets.records.table import ATTRIBUTES, SPLITS, Column, Table
from vibe_assets.records.tags import TAGS

__all__ = [
    "SPLITS",
    "TABLES",
    "ATTRIBUTES",
    "Column",
    "Estimate",
    "Labels",
    "PhotoRef",
    "Table",
    "fingerprint",
    "FOLDER_SET",
    "RAW_PHOTOS",
    "PHOTO_GROUPS",
    "ANNOTATIONS",
    "AUTO_GROUND_TRUTH",
    "AUDIT_DRAWS",
    "AUDIT_SAMPLE",
    "AUDITED_GROUND_TRUTH",
    "IMAGE_EMBEDDINGS",
    "PROMPT_EMBEDDINGS",
    "PREDICTIONS",
    "METRICS",
]
TABLES = {table.name: table for table in (*SPINE, *TAGS, *SERIES, *FIRST_NAMES)}


@dataclass(frozen=True)
class PhotoRef:
    """A photo to read: its identity, where the bytes are, and the path to show people."""

    image_id: str
    path: bytes  # absolute, as the file system spells it (names need not be UTF-8), or an URL; read_photo and open_photo read both
    rel_path: str


@dataclass(frozen=True)
class Labels:
    """What one photo shows, in the taxonomy's keys. Unknown is None (scene, attributes) or absence (objects)."""

    image_id: str
    scene: str | None
    attributes: Mapping[
        str,
        bool | None,
    ] = field(default_factory=dict)  # keys of ATTRIBUTES
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
    worth: int | None = None  # checks that alone would leave so narrow an interval, where models that saw every photo narrow it

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}] n={self.n}"


def fingerprint(parts: Mapping[str, Any]) -> str:
    """16 hex digits over everything that changes an answer; key order does not matter."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
