"""A seed and a number of photos become the plan of the demo library: what is in which folder, taken when, where and how."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

import numpy as np

from vibe_assets.demo import animals, figures, indoors, outdoors, paper
from vibe_assets.demo.paint import Canvas, Drawing

Painter = Callable[[Canvas], Drawing]
FileFormat = Literal["JPEG", "PNG", "WEBP"]
MIN_PHOTOS = 60  # fewer cannot hold every folder, burst and copy


def _people_out(canvas: Canvas) -> Drawing:
    """People before a view, a street or a room: what makes people and other scenes hard to tell apart."""
    return figures.people(canvas, behind=canvas.pick((None, None, outdoors.landscape, outdoors.street, indoors.room)))


PAINTERS: dict[str, Painter] = {
    "landscape": outdoors.landscape, "street": outdoors.street, "people": _people_out, "party": lambda c: figures.people(c, party=True),
    "animal": animals.animal, "food": indoors.food, "product": indoors.product, "room": indoors.room, "document": paper.document,
    "scan": lambda c: paper.document(c, flat=True), "screenshot": paper.screenshot, "other": paper.other,
}  # fmt: skip


@dataclass(frozen=True)
class Folder:
    """A folder of the library: its share of the photos, what they show (painter -> weight), and where its camera was."""

    path: str
    share: float
    shows: dict[str, float]
    first_day: str  # ISO date
    place: tuple[float, float] | None = None  # degrees north and east
    source: Literal["camera", "phone", "scanner", "studio"] = "camera"


FOLDERS = (
    Folder(
        "2023/summer at the lake",
        0.17,
        {"landscape": 10, "people": 5, "street": 1, "animal": 2, "food": 2, "other": 1},
        "2023-07-08",
        (46.02, 8.75),
    ),
    Folder("2024/birthday & friends", 0.15, {"party": 6, "people": 3, "food": 3, "room": 5, "other": 1}, "2024-05-18", (52.52, 13.4)),
    Folder(
        "2024/city trip",
        0.15,
        {"street": 7, "landscape": 4, "people": 3, "food": 2, "document": 1, "other": 1},
        "2024-09-27",
        (41.15, -8.61),
    ),
    Folder("phone/screenshots", 0.10, {"screenshot": 15, "other": 1}, "2024-02-03", source="phone"),
    Folder("scans", 0.08, {"scan": 6, "document": 2}, "2022-11-12", source="scanner"),
    Folder("kitchen", 0.13, {"food": 9, "room": 2, "product": 2}, "2024-03-02", source="phone"),
    Folder("pets", 0.12, {"animal": 9, "people": 1, "room": 2}, "2023-10-21", source="phone"),
    Folder("shop", 0.10, {"product": 9, "document": 2, "other": 1}, "2024-06-11", source="studio"),
)
CAMERAS = {"camera": ("Fieldcam", "F-24"), "phone": ("Lumen", "L7"), "scanner": ("Flatbed", "S300")}
UTC_OFFSETS = {"2023/summer at the lake": 120, "2024/birthday & friends": 120, "2024/city trip": 60}
BURSTS = (
    ("2023/summer at the lake", "people", 4),
    ("2024/birthday & friends", "party", 5),
    ("pets", "animal", 4),
    ("2023/summer at the lake", "landscape", 3),
    ("2024/city trip", "people", 3),
    ("pets", "animal", 3),
)
EXACT_COPIES, NEAR_COPIES = 4, 5


@dataclass(frozen=True)
class Shot:
    """One file to make. Shots of a burst share `subject` and differ in `step`; a copy names the shot it is made from."""

    rel_path: str
    painter: str
    subject: int  # seed of what is drawn
    width: int
    height: int
    file_format: FileFormat
    camera: tuple[str, str] | None
    taken_at: datetime | None
    offset_min: int | None = None
    place: tuple[float, float] | None = None
    orientation: int = 1
    step: int = 0  # 0 is the burst's first shot
    fault: Literal["", "blurred", "over-exposed"] = ""
    copy_of: str = ""
    exact: bool = False


def plan_library(*, seed: int, photos: int) -> list[Shot]:
    """Exactly `photos` shots, copies included. Raises ValueError for fewer than 60."""
    if photos < MIN_PHOTOS:
        raise ValueError(f"expected at least {MIN_PHOTOS} photos, got {photos}")
    rng = np.random.default_rng([seed, 1])
    burst_shots = sum(size for *_, size in BURSTS)
    singles = photos - burst_shots - EXACT_COPIES - NEAR_COPIES
    shots: list[Shot] = []
    for folder, wanted in zip(FOLDERS, _shares([folder.share for folder in FOLDERS], singles), strict=True):
        kinds = list(folder.shows)
        counts = _shares(list(folder.shows.values()), wanted)
        sequence: list[tuple[str, int]] = [(kind, 1) for kind, count in zip(kinds, counts, strict=True) for _ in range(count)]
        sequence += [(kind, size) for path, kind, size in BURSTS if path == folder.path]
        shots += _folder(folder, [sequence[i] for i in rng.permutation(len(sequence))], rng)
    return shots + _copies(shots, rng)


def _shares(weights: list[float], total: int) -> list[int]:
    """Whole numbers in proportion to the weights that add up to the total (largest remainders)."""
    exact = np.array(weights) / sum(weights) * total
    counts = np.floor(exact).astype(int)
    for index in np.argsort(counts - exact, kind="stable")[: total - counts.sum()]:
        counts[index] += 1
    return [int(count) for count in counts]


def _folder(folder: Folder, sequence: list[tuple[str, int]], rng: np.random.Generator) -> list[Shot]:
    clock = datetime.fromisoformat(folder.first_day) + timedelta(hours=9)
    shots: list[Shot] = []
    for kind, size in sequence:
        clock += timedelta(seconds=int(rng.integers(90, 5400)))
        first = _shot(folder, kind, clock, len(shots) + 1, rng)
        steps = [first] if size == 1 else _burst(first, size, rng)
        shots += [replace(shot, rel_path=_name(folder, len(shots) + 1 + i, shot)) for i, shot in enumerate(steps)]
    return shots


def _shot(folder: Folder, kind: str, clock: datetime, number: int, rng: np.random.Generator) -> Shot:
    screen, paper_like = kind == "screenshot", kind in ("document", "scan")
    portrait = rng.random() < (0.65 if screen else 0.6 if paper_like else 0.12)
    width, height = (360, 480) if portrait else ((480, 360), (480, 320), (480, 360))[int(rng.integers(3))]
    fresh = not screen and folder.source in ("camera", "phone")
    place = (folder.place[0] + rng.normal(0, 0.01), folder.place[1] + rng.normal(0, 0.01)) if folder.place and rng.random() < 0.85 else None
    return Shot(
        rel_path="", painter=kind, subject=int(rng.integers(2**31)), width=width, height=height,
        file_format="PNG" if screen and rng.random() < 0.7 else "JPEG",
        camera=None if screen else CAMERAS.get(folder.source), taken_at=clock if fresh else None,
        offset_min=UTC_OFFSETS.get(folder.path, 60) if fresh and rng.random() < 0.9 else None, place=place if fresh else None,
        orientation=int(rng.choice([1, 3, 6, 8], p=[0.76, 0.04, 0.12, 0.08])) if fresh else 1,
    )  # fmt: skip


def _burst(first: Shot, size: int, rng: np.random.Generator) -> list[Shot]:
    """Shots one or two seconds apart; one of them blurred, another over-exposed."""
    assert first.taken_at is not None
    blurred, bright = (int(i) for i in rng.permutation(np.arange(1, size))[:2])
    faults: dict[int, Literal["blurred", "over-exposed"]] = {blurred: "blurred", bright: "over-exposed"}
    moments = np.cumsum([0, *rng.integers(1, 3, size - 1)])
    return [
        replace(first, step=step, fault=faults.get(step, ""), taken_at=first.taken_at + timedelta(seconds=int(moments[step])))
        for step in range(size)
    ]


def _name(folder: Folder, number: int, shot: Shot) -> str:
    suffix = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp"}[shot.file_format]
    stem = {
        "camera": f"DSC_{4000 + number}",
        "phone": f"IMG_{2000 + number}",
        "scanner": f"scan {number:03d}",
        "studio": f"item-{number:03d}",
    }[folder.source]
    return f"{folder.path}/{f'Screenshot {number:03d}' if shot.painter == 'screenshot' else stem}.{suffix}"


def _copies(shots: list[Shot], rng: np.random.Generator) -> list[Shot]:
    """The same bytes again in another folder, and smaller, recompressed versions beside their originals (one as WebP)."""
    originals = [shot for shot in shots if shot.step == 0 and shot.file_format == "JPEG" and shot.taken_at]
    chosen = [originals[int(i)] for i in rng.permutation(len(originals))[: EXACT_COPIES + NEAR_COPIES]]
    copies = []
    for index, shot in enumerate(chosen):
        folder, _, name = shot.rel_path.rpartition("/")
        if index < EXACT_COPIES:
            target = "kitchen" if folder == "pets" else "pets"
            copies.append(
                replace(
                    shot,
                    rel_path=f"{target}/copy of {name.removesuffix('.jpg')} ({folder.rpartition('/')[2]}).jpg",
                    copy_of=shot.rel_path,
                    exact=True,
                )
            )
        else:
            webp = index == EXACT_COPIES
            renamed = f"{folder}/{name.removesuffix('.jpg')} small.{'webp' if webp else 'jpg'}"
            copies.append(replace(shot, rel_path=renamed, copy_of=shot.rel_path, file_format="WEBP" if webp else "JPEG"))
    return copies
