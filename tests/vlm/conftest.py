"""One installation with two batches of coloured discs, models that are replayed, and a tiny local one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.vlm.unsplash import picture
from vibe_assets.settings import Settings
from vibe_assets.stages.platform import Platform
from vibe_assets.vlm.ingest import Order, ingest

NOW = datetime(2026, 11, 20, 6, 0, tzinfo=UTC)
WORDS = ("boat", "harbour", "sky", "gull", "rope", "water", "morning", "red", "wood", "net")


def true_tags(at: int) -> list[str]:
    """Six tags of a photo, drawn in turn."""
    return [WORDS[(at + step) % len(WORDS)] for step in range(6)]


@dataclass
class Study:
    """A folder with settings, photos and batches."""

    folder: Path
    values: dict[str, Any]

    @property
    def platform(self) -> Platform:
        return Platform(Settings.model_validate(self.values), progress=False)

    def model(self, name: str, **settings: Any) -> None:
        self.values["vlm"]["models"][name] = settings

    def batch(self, name: str, photos: range, *, days: int = 0) -> None:
        folder = self.folder / name
        folder.mkdir()
        lines = []
        for at in photos:
            (folder / f"{at}.jpg").write_bytes(picture(at))
            lines.append(json.dumps({"file_name": f"{at}.jpg", "tags": true_tags(at)}))
        (folder / "metadata.jsonl").write_text("\n".join(lines))
        ingest(self.platform, name, Order(file=folder), now=NOW + timedelta(days=days))

    def answers(self, name: str, batches: Mapping[str, range], hits: int) -> Path:
        """What a model says that finds the first `hits` of the six tags and adds one wrong."""
        file = self.folder / f"{name}.jsonl"
        said = {f"{batch}/{at}.jpg": [*true_tags(at)[:hits], "nonsense"] for batch, photos in batches.items() for at in photos}
        file.write_text("\n".join(json.dumps({"path": path, "annotation": {"tags": tags}}) for path, tags in said.items()))
        return file


def opened(folder: Path) -> Study:
    """An installation without photos or models."""
    (folder / "photos").mkdir()
    library = {"root": str(folder / "photos"), "home": str(folder / "data"), "scan_workers": 1}
    return Study(folder, {"library": library, "vlm": {"models": {}, "device": "cpu"}})


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return opened(tmp_path)
