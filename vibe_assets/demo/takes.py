"""A seed becomes series of rendered takes, each with known faults, and the comparisons that simulated people would make of them.

The takes lie beside the demo's library, not in it: they stand for a set of compared photos that somebody brings along.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from vibe_assets.demo.paint import Canvas, through_a_lens
from vibe_assets.demo.plan import PAINTERS
from vibe_assets.lake import write_text

SIDE = (240, 180)
MARGIN = 24  # pixels outside the frame: room to point the camera elsewhere
SHOWS = ("people", "party", "animal", "landscape", "street", "food", "room", "product")
COSTS = {"blur": 2.2, "exposure": 2.0, "composition": 1.6}  # what a fault of full strength takes off a photo's worth
PEOPLE = 5
SHARPNESS_OF_TASTE = 5.0  # log-odds per unit of worth: how sure people are


@dataclass(frozen=True)
class Take:
    """One rendered photo of a series. Faults go from 0 (none) to 1; exposure is signed, the camera points `dx`, `dy` off."""

    blur: float
    exposure: float
    dx: int
    dy: int

    @property
    def worth(self) -> float:
        off = np.hypot(self.dx, self.dy) / MARGIN
        return -(COSTS["blur"] * self.blur + COSTS["exposure"] * abs(self.exposure) + COSTS["composition"] * float(off))


def render_takes(folder: Path, *, series: int = 120, seed: int = 7) -> tuple[Path, Path]:
    """Write FOLDER/photos/000001-01.JPG ... and FOLDER/pairs.csv; return both. The same seed gives the same bytes."""
    photos = folder / "photos"
    photos.mkdir(parents=True, exist_ok=True)
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(["series_id", "compareFile1", "compareFile2", "LEFT", "RIGHT"])
    for number in range(1, series + 1):
        rng = np.random.default_rng([seed, 11, number])
        takes = plan_takes(rng)
        _render_series(photos, number, takes, rng)
        for a in range(len(takes)):
            for b in range(a + 1, len(takes)):
                odds = 1 / (1 + np.exp(-SHARPNESS_OF_TASTE * (takes[a].worth - takes[b].worth)))
                left = int(rng.binomial(PEOPLE, odds))
                writer.writerow([f"{number:06d}", f"{number}-{a + 1}.JPG", f"{number}-{b + 1}.JPG", left, PEOPLE - left])
    return photos, write_text(folder / "pairs.csv", buffer.getvalue())


def plan_takes(rng: np.random.Generator) -> list[Take]:
    """Two to six takes: mostly small faults, some large ones."""
    takes = []
    for _ in range(int(rng.choice([2, 3, 4, 5, 6], p=[0.25, 0.35, 0.25, 0.1, 0.05]))):
        blur = float(rng.uniform(0.15, 1)) if rng.random() < 0.35 else float(rng.uniform(0, 0.08))
        exposure = float(rng.choice([-1, 1]) * rng.uniform(0.2, 1)) if rng.random() < 0.35 else float(rng.uniform(-0.08, 0.08))
        reach = MARGIN if rng.random() < 0.3 else MARGIN // 6
        takes.append(Take(blur, exposure, *(int(v) for v in rng.integers(-reach, reach + 1, 2))))
    return takes


def _render_series(photos: Path, number: int, takes: list[Take], rng: np.random.Generator) -> None:
    width, height = SIDE
    kind = SHOWS[int(rng.integers(len(SHOWS)))]
    scene = PAINTERS[kind](Canvas(np.random.default_rng(rng.integers(2**31)), width + 2 * MARGIN, height + 2 * MARGIN)).image
    lens_seed = int(rng.integers(2**31))
    for place, take in enumerate(takes, 1):
        degraded(scene, take, np.random.default_rng(lens_seed)).save(photos / f"{number:06d}-{place:02d}.JPG", "JPEG", quality=88)


def degraded(scene: Image.Image, take: Take, lens: np.random.Generator) -> Image.Image:
    """What the camera made of the scene in this take."""
    width, height = scene.width - 2 * MARGIN, scene.height - 2 * MARGIN
    left, top = MARGIN + take.dx, MARGIN + take.dy
    framed = scene.crop((left, top, left + width, top + height))
    return through_a_lens(framed, lens, exposure=float(2.0**take.exposure), blur_px=2.6 * take.blur, grain=3.0 * (1 - 0.6 * take.blur))
