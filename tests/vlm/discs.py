"""Pictures whose tags only the picture can tell: flat colours, drawn by seed, and a tiny model that has never seen them."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from PIL import Image

from vibe_assets.vlm.lora import Record
from vibe_assets.vlm.tiny import save_tiny_model

PROMPT = "Tags as JSON."
COLOURS = {"red": (220, 30, 30), "green": (30, 180, 60), "blue": (30, 60, 220), "yellow": (230, 210, 30)}


def answer(colour: str) -> str:
    return json.dumps({"tags": [colour, "disc"]})


def records(folder: Path, count: int, *, seed: int = 0) -> list[Record]:
    """Colours take turns; every picture differs a little from the others of its colour."""
    folder.mkdir(parents=True, exist_ok=True)
    rng, made = random.Random(seed), []
    for at in range(count):
        colour = list(COLOURS)[at % len(COLOURS)]
        path = folder / f"{at:02d}-{colour}.png"
        Image.new("RGB", (56, 56), tuple(max(0, min(255, part + rng.randint(-20, 20))) for part in COLOURS[colour])).save(path)
        made.append(Record(f"{at:032x}", str(path), PROMPT, answer(colour)))
    return made


def tiny(folder: Path, **family: Any) -> Path:
    texts = [PROMPT, "user", "assistant", *(answer(colour) for colour in COLOURS)]
    return save_tiny_model(folder, texts * 4, seed=1, **family)
