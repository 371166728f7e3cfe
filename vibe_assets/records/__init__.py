"""Table schemas, and the frozen records that pass between stages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from vibe_assets.fingerprints import fingerprint
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
from vibe_assets.records.table import SPLITS, Column, Table
from vibe_assets.records.tags import TAGS

__all__ = [
    "SPLITS",
    "TABLES",
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
    """What one photo shows: column of a question -> its label. None or absent: unknown; of many labels the main one is first."""

    image_id: str
    values: Mapping[str, Any] = field(default_factory=dict)

    def row(self) -> dict[str, Any]:
        """The record as columns of the label tables."""
        return {
            "image_id": self.image_id,
            **{name: list(value) if isinstance(value, tuple) else value for name, value in self.values.items()},
        }

    @classmethod
    def from_row(cls, row: Mapping[str, Any], columns: Iterable[str]) -> Labels:
        """Those `columns` of a row."""
        values = {name: row[name] for name in columns}
        return cls(row["image_id"], {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


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
