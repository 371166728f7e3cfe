"""What was learned from the lake -> the versions of tables that it names, which time travel must still reach."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vibe_assets.settings import Settings


def pinned_versions(settings: Settings) -> dict[str, set[int]]:
    """Table -> versions that saved heads and results of the names study were made from. A damaged card pins nothing."""
    pins: dict[str, set[int]] = defaultdict(set)
    for card in _cards(settings):
        versions = card.get("data_versions")
        for table, version in versions.items() if isinstance(versions, dict) else ():
            if isinstance(version, int):
                pins[table].add(version)
    return pins


def _cards(settings: Settings) -> Iterator[dict[str, Any]]:
    from safetensors import SafetensorError, safe_open

    for file in [*settings.heads_dir.glob("*/card.json"), *(settings.names_dir / "results").glob("*/config.json")]:
        yield from _parsed(_read(file))
    for file in (settings.triage_dir / "heads").glob("*.safetensors"):
        try:
            with safe_open(file, framework="np") as head:
                yield from _parsed((head.metadata() or {}).get("card", ""))
        except (SafetensorError, OSError):
            continue


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _parsed(text: str) -> Iterator[dict[str, Any]]:
    try:
        card = json.loads(text)
    except ValueError:
        return
    if isinstance(card, dict):
        yield card
