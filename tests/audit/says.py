"""Made-up verdicts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from vibe_assets.audit.verdicts import Verdict
from vibe_assets.records import Labels

START = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)


def said(
    verdict_id: str,
    *,
    image: int = 1,
    by: str = "ann",
    scene: str | None = "scene.food",
    objects: tuple[str, ...] = (),
    second: float = 0,
    act: str = "accepted",
    **more: Any,
) -> Verdict:
    """A verdict `second` seconds after START; `attributes` and `values` among the rest go into its labels."""
    image_id = f"{image:032x}"
    values = {"scene": scene, **more.pop("attributes", {}), "objects": objects, **more.pop("values", {})}
    labels = None if act in ("skipped", "undone") else Labels(image_id, values)
    at = (START + timedelta(seconds=second)).isoformat()
    return Verdict(verdict_id, at, image_id, by, act, labels, blind=more.pop("blind", False), spent_ms=900, **more)  # type: ignore[arg-type]
