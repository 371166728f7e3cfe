"""One batch of tagged photos goes in; how good it is as a ruler comes out: enough tags, different ones, photos that can be opened."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from vibe_assets.lake import write_text
from vibe_assets.records.tags import TAGGED_PHOTOS
from vibe_assets.stages.platform import Platform
from vibe_assets.vlm.failures import VlmError

if TYPE_CHECKING:
    import polars as pl

TIERS = (("10 or more", 10), ("5 to 9", 5), ("1 to 4", 1), ("none", 0))
UNREADABLE_NO_MORE = ("duplicate",)  # a second copy is not a broken photo
TOP = 30


@dataclass(frozen=True)
class Diagnosis:
    """Figures of one batch; shares are 0..1 of the photos that came."""

    batch: str
    photos: int  # that came, broken ones included
    accepted: int
    tiers: Mapping[str, int]  # tags per accepted photo -> photos
    duplicate_share: float  # the same picture again, or a near-duplicate of another one of the batch
    broken: tuple[tuple[str, str, str], ...]  # name, reason, detail
    tags: int
    distinct: int
    entropy_bits: float  # of the distribution of tags
    top: tuple[tuple[str, int], ...]

    @property
    def broken_share(self) -> float:
        return len(self.broken) / self.photos if self.photos else 0.0

    @property
    def diversity(self) -> float:
        """Distinct tags over all tags: 1 where none is used twice."""
        return self.distinct / self.tags if self.tags else 0.0

    @property
    def evenness(self) -> float:
        """Entropy over its maximum for as many distinct tags: 1 where all are equally frequent."""
        return self.entropy_bits / math.log2(self.distinct) if self.distinct > 1 else 0.0

    @property
    def enough_share(self) -> float:
        """Photos with five tags or more: fewer make recall a coarse ruler."""
        return (self.tiers["10 or more"] + self.tiers["5 to 9"]) / self.accepted if self.accepted else 0.0


def diagnose(platform: Platform, batch: str) -> Diagnosis:
    """Raises VlmError for a batch that was never taken in."""
    import polars as pl

    rows = platform.lake.read(TAGGED_PHOTOS, folder_key=batch)
    if rows.is_empty():
        raise VlmError(f"batch {batch!r} holds no photo; `vibe tags ingest` fills one")
    accepted = rows.filter(pl.col("reason").is_null())
    counts = Counter(tag for tags in accepted["tags"] for tag in tags)
    total = counts.total()
    broken = rows.filter(pl.col("reason").is_not_null() & ~pl.col("reason").is_in(UNREADABLE_NO_MORE))
    twice = rows.filter(pl.col("reason") == "duplicate").height + accepted.height - accepted["group_id"].n_unique()
    return Diagnosis(
        batch=batch,
        photos=rows.height,
        accepted=accepted.height,
        tiers=_tiers(accepted),
        duplicate_share=twice / rows.height,
        broken=tuple(broken.select("name", "reason", pl.col("detail").fill_null("")).iter_rows()),
        tags=total,
        distinct=len(counts),
        entropy_bits=-sum(n / total * math.log2(n / total) for n in counts.values()) if total else 0.0,
        top=tuple(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:TOP]),
    )


def _tiers(accepted: pl.DataFrame) -> dict[str, int]:
    tiers = dict.fromkeys((name for name, _ in TIERS), 0)
    for count in accepted["tags"].list.len():
        tiers[next(name for name, least in TIERS if count >= least)] += 1
    return tiers


def write_diagnosis(platform: Platform, found: Diagnosis, *, now: datetime | None = None) -> Path:
    """The figures as a page beside the other reports."""
    from vibe_assets.evaluate.page import render

    page = render(
        "tag_diagnostics.html", title=f"Batch {found.batch}", subtitle="How good this batch is as a ruler for taggers", found=found,
        generated_at=now or datetime.now(UTC),
    )  # fmt: skip
    return write_text(platform.settings.reports_dir / f"tag_diagnostics-{found.batch}.html", page)
