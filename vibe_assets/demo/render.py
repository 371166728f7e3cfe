"""A seed becomes the demo library: folders of painted photos, their true labels, and the answers of two imperfect teachers."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vibe_assets.demo.answers import CANDIDATE, TEACHER, teacher_answers
from vibe_assets.demo.answers import simulate_audit as simulate_audit
from vibe_assets.demo.paint import Canvas, Drawing, through_a_lens
from vibe_assets.demo.plan import FOLDERS, PAINTERS, Shot, plan_library
from vibe_assets.lake import write_text

RENDER_VERSION = 1  # raise when the same seed would give other pictures or labels
MARKER = "demo-library.json"
BROKEN_AT = datetime(2024, 1, 1, tzinfo=UTC).timestamp()
BROKEN = ("2024/city trip/DSC_torn.jpg", "scans/scan empty.jpg", "shop/price list.jpg")
MARGIN = 14  # pixels of a burst's subject outside the frame, room for the hand to move
UPRIGHT_TO_STORED = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}


@dataclass(frozen=True)
class DemoLibrary:
    """Where the demo library is and what it truly shows. `cached` says that it was there already."""

    root: Path
    truth: list[dict[str, Any]]  # image_id, rel_path, scene, attributes, objects; one per readable file
    truth_file: Path
    teacher_file: Path
    candidate_file: Path
    cached: bool


def render_library(folder: Path, *, seed: int = 7, photos: int = 400, progress: bool = False) -> DemoLibrary:
    """Write `photos` readable photos and three broken files below `folder`/photos, truth and answers beside them.

    Does nothing when the same library is there complete. An outdated or half-written one is replaced. Raises FileExistsError
    when `folder`/photos was not made by this function.
    """
    wanted = {"version": RENDER_VERSION, "seed": seed, "photos": photos}
    library, marker = folder / "photos", folder / MARKER
    found = _read_marker(marker)
    if found == {**wanted, "complete": True} and (truth := _read_truth(folder)) is not None:
        return _library(folder, truth, cached=True)
    if library.exists() and found is None:
        raise FileExistsError(f"{library} holds photos that the demo did not make; choose another folder, or remove it")
    write_text(marker, json.dumps({**wanted, "complete": False}))
    shutil.rmtree(library, ignore_errors=True)
    truth, selfies = _write_photos(library, plan_library(seed=seed, photos=photos), progress)
    _write_broken(library, truth[0]["rel_path"])
    _write_lines(folder / "truth.jsonl", truth)
    _write_lines(folder / "teacher_answers.jsonl", teacher_answers(truth, TEACHER, seed=seed, selfies=selfies))
    _write_lines(folder / "candidate_answers.jsonl", teacher_answers(truth, CANDIDATE, seed=seed, selfies=selfies))
    write_text(marker, json.dumps({**wanted, "complete": True}))
    return _library(folder, truth, cached=False)


def _library(folder: Path, truth: list[dict[str, Any]], *, cached: bool) -> DemoLibrary:
    truth_file, teacher_file, candidate_file = (folder / f"{name}.jsonl" for name in ("truth", "teacher_answers", "candidate_answers"))
    return DemoLibrary(folder / "photos", truth, truth_file, teacher_file, candidate_file, cached)


def _read_marker(marker: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(marker.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _read_truth(folder: Path) -> list[dict[str, Any]] | None:
    """The stored truth, or None when one of the files it speaks of is gone."""
    library = _library(folder, [], cached=True)
    if not all(file.is_file() for file in (library.truth_file, library.teacher_file, library.candidate_file)):
        return None
    truth = [json.loads(line) for line in library.truth_file.read_text(encoding="utf-8").splitlines()]
    return truth if all((library.root / photo["rel_path"]).is_file() for photo in truth) else None


def _write_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    write_text(path, "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows))


# -- photos ------------------------------------------------------------------------------------------------------------
def _write_photos(library: Path, shots: list[Shot], progress: bool) -> tuple[list[dict[str, Any]], frozenset[str]]:
    from vibe_assets.progress import stepped

    for folder in FOLDERS:
        (library / folder.path).mkdir(parents=True)
    truth, selfies = [], set()
    for shot in stepped(shots, "rendering photos", unit="photo", shown=progress):
        drawing = _drawing(shot.painter, shot.subject, *_drawn_size(shot))
        content = (library / shot.copy_of).read_bytes() if shot.exact else encoded(shot, drawing.image)
        (library / shot.rel_path).write_bytes(content)
        photo = _truth(shot, drawing, hashlib.sha256(content).hexdigest()[:32])
        truth.append(photo)
        if drawing.selfie:
            selfies.add(photo["image_id"])
    return truth, frozenset(selfies)


@lru_cache(maxsize=1)
def _drawing(painter: str, subject: int, width: int, height: int) -> Drawing:
    """What is before the lens, a little larger than the frame. The shots of a burst follow each other: one is enough to keep."""
    return PAINTERS[painter](Canvas(np.random.default_rng([subject, 2]), width, height))


def _drawn_size(shot: Shot) -> tuple[int, int]:
    return (shot.width, shot.height) if shot.painter == "screenshot" else (shot.width + 2 * MARGIN, shot.height + 2 * MARGIN)


def _truth(shot: Shot, drawing: Drawing, image_id: str) -> dict[str, Any]:
    return {
        "image_id": image_id, "rel_path": shot.rel_path, "scene": [f"scene.{drawing.scene}"],
        "attributes": {
            "attr.has_person": drawing.has_person, "attr.has_animal": drawing.has_animal, "attr.has_text": drawing.has_text,
            "attr.is_document": drawing.scene == "document", "attr.is_screenshot": drawing.scene == "screenshot",
        },
        "objects": [f"object.{word}" for word in drawing.objects],
    }  # fmt: skip


def encoded(shot: Shot, scene: Image.Image) -> bytes:
    """The file's bytes: framed, through a lens, turned as its orientation tag says, with its EXIF."""
    image = _exposed(shot, scene) if shot.painter != "screenshot" else scene
    if shot.copy_of:
        image = image.resize((image.width * 3 // 4, image.height * 3 // 4), Image.Resampling.LANCZOS)
    if turn := UPRIGHT_TO_STORED.get(shot.orientation):
        image = image.transpose(turn)
    options: dict[str, Any] = {} if shot.file_format == "PNG" else {"quality": 70 if shot.copy_of else 88}
    if shot.camera:
        options["exif"] = _exif(shot)
    buffer = io.BytesIO()
    image.save(buffer, shot.file_format, **options)
    return buffer.getvalue()


def _exposed(shot: Shot, scene: Image.Image) -> Image.Image:
    lens = np.random.default_rng([shot.subject, 3])
    hand = np.random.default_rng([shot.subject, 4, shot.step])
    dx, dy = (0, 0) if shot.step == 0 else (int(v) for v in hand.integers(-MARGIN // 2, MARGIN // 2 + 1, 2))
    left, top = MARGIN + dx, MARGIN + dy
    framed = scene.crop((left, top, left + shot.width, top + shot.height))
    exposure = float(lens.uniform(0.86, 1.14)) * (1.55 if shot.fault == "over-exposed" else 1)
    blur_px = 2.6 if shot.fault == "blurred" else float(lens.choice([0.0, 0.4, 0.9], p=[0.6, 0.3, 0.1]))
    grain = float(lens.uniform(1.2, 5)) * (0.4 if shot.fault == "blurred" else 1)  # phones smooth what is not sharp
    return through_a_lens(framed, lens, exposure=exposure, blur_px=blur_px, grain=grain)


def _exif(shot: Shot) -> Image.Exif:
    assert shot.camera is not None
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = shot.camera
    exif[0x0112] = shot.orientation
    if shot.taken_at:
        details = exif.get_ifd(0x8769)
        details[0x9003] = details[0x9004] = shot.taken_at.strftime("%Y:%m:%d %H:%M:%S")
        if shot.offset_min is not None:
            details[0x9011] = f"{'+' if shot.offset_min >= 0 else '-'}{abs(shot.offset_min) // 60:02d}:{abs(shot.offset_min) % 60:02d}"
    if shot.place:
        north, east = shot.place
        gps = exif.get_ifd(0x8825)
        gps[1], gps[2] = "N" if north >= 0 else "S", _degrees(north)
        gps[3], gps[4] = "E" if east >= 0 else "W", _degrees(east)
    return exif


def _degrees(value: float) -> tuple[float, float, float]:
    """Degrees, minutes, seconds."""
    minutes, seconds = divmod(round(abs(value) * 3600, 2), 60)
    return float(minutes // 60), float(minutes % 60), round(seconds, 2)


def _write_broken(library: Path, sound: str) -> None:
    """Files as real libraries have them: a transfer cut short, an empty file, a text that calls itself a photo."""
    torn, empty, text = (library / name for name in BROKEN)
    content = (library / sound).read_bytes()
    torn.write_bytes(content[: len(content) // 3])
    empty.write_bytes(b"")
    text.write_text("apples 2.40\nbread 3.10\nthis is not a photo\n", encoding="utf-8")
    for path in (torn, empty, text):  # broken long ago: a file that was cut just now counts as being written, and is looked at again
        os.utime(path, (BROKEN_AT, BROKEN_AT))
