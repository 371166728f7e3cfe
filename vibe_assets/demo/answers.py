"""The demo's truth becomes what its teachers and its people say: right mostly, with errors planted by seed, photo by photo."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vibe_assets.questions import load

# What each scene is taken for. The first is the likeliest.
CONFUSIONS = {
    "landscape": ("snapshot", "other"), "snapshot": ("people", "landscape", "product"), "people": ("snapshot", "product"),
    "animals": ("snapshot", "landscape"), "food": ("product", "snapshot"), "product": ("food", "other", "document"),
    "document": ("product", "screenshot"), "screenshot": ("document", "other"), "other": ("product", "snapshot", "landscape"),
}  # fmt: skip
SIMULATED_PERSON = "simulated person"

Photo = Mapping[str, Any]  # a line of truth.jsonl


@dataclass(frozen=True)
class Teacher:
    """How often a teacher errs, each a share of photos (attributes: of the true or false ones)."""

    name: str
    wrong_scene: float
    unknown_scene: float
    missed: Mapping[str, float]  # attribute -> share of the true ones it does not see
    imagined: float  # share of the false ones it claims to see
    unsure: float  # share of attributes it leaves unknown
    missed_object: float
    wrong_object: float


TEACHER = Teacher("demo-teacher", 0.08, 0.01, {"has_text": 0.2, "has_person": 0.06, "has_animal": 0.04}, 0.015, 0.02, 0.08, 0.06)
CANDIDATE = Teacher("demo-candidate", 0.03, 0.005, {"has_text": 0.06, "has_person": 0.02, "has_animal": 0.01}, 0.008, 0.01, 0.03, 0.02)


def teacher_answers(truth: Sequence[Photo], teacher: Teacher, *, seed: int, selfies: frozenset[str]) -> list[dict[str, Any]]:
    """One `{"path", "annotation"}` per photo. The errors belong to the image: a copy of it gets the same answer.

    The share of wrong scenes is met exactly. `selfies` are the image_ids that a teacher calls so.
    """
    images = {photo["image_id"]: photo for photo in truth}
    ranked = sorted(images, key=lambda image_id: _draw(seed, teacher.name, image_id, "scene"))
    wrong = round(len(ranked) * teacher.wrong_scene)
    unknown = round(len(ranked) * teacher.unknown_scene)
    spoken = dict.fromkeys(ranked[:wrong], "wrong") | dict.fromkeys(ranked[wrong : wrong + unknown], "unknown")
    answers = {image_id: _answer(photo, teacher, seed, spoken.get(image_id), image_id in selfies) for image_id, photo in images.items()}
    return [{"path": photo["rel_path"], "annotation": answers[photo["image_id"]]} for photo in truth]


def _answer(photo: Photo, teacher: Teacher, seed: int, slip: str | None, selfie: bool) -> dict[str, Any]:
    rng = np.random.default_rng(_number(seed, teacher.name, photo["image_id"], "answer"))
    true_scene = photo["scene"][0].removeprefix("scene.")
    scene = {"wrong": mistaken(true_scene, rng), "unknown": "unknown"}.get(slip or "", "selfie" if selfie else true_scene)
    seen: dict[str, Any] = {"scene": scene}
    for name in (label.word for label in load()["attributes"].labels):
        truth = photo["attributes"][f"attr.{name}"]
        flipped = rng.random() < (teacher.missed.get(name, 0.02) if truth else teacher.imagined)
        seen[name] = "unknown" if rng.random() < teacher.unsure else truth != flipped
    if slip == "wrong":
        seen |= {"is_document": scene == "document", "is_screenshot": scene == "screenshot"}
    return {**seen, "objects": _objects(photo["objects"], teacher, rng)}


def _objects(keys: Sequence[str], teacher: Teacher, rng: np.random.Generator) -> list[dict[str, Any]]:
    """The true objects in a model's words, one now and then missed or taken for another; a faint extra thing on some."""
    known, objects = load()["objects"].keys, []
    for rank, key in enumerate(keys):
        if rng.random() < teacher.missed_object:
            continue
        taken = _any(known, rng) if rng.random() < teacher.wrong_object else key
        confidence = rng.uniform(0.8, 0.99) if taken == key else rng.uniform(0.5, 0.9)
        objects.append(_object(taken, rng, main=rank == 0 or rng.random() < 0.8, confidence=confidence))
    if rng.random() < 0.2:
        objects.append(_object(_any(known, rng), rng, main=False, confidence=rng.uniform(0.2, 0.6)))
    if rng.random() < 0.05:
        objects.append({"name_free": "something", "coarse_type": "other", "is_main": False, "confidence": 0.3})
    return objects


def _object(key: str, rng: np.random.Generator, *, main: bool, confidence: float) -> dict[str, Any]:
    words = load().labels[key].words
    return {
        "name_free": _any(words, rng),
        "coarse_type": words[0].replace(" ", "_"),
        "is_main": bool(main),
        "confidence": round(float(confidence), 2),
    }


def simulate_audit(sample_json: Path, truth: Iterable[Photo], *, seed: int, error_rate: float = 0.01) -> list[dict[str, Any]]:
    """The sample file as SIMULATED people would give it back: true labels, a wrong scene in a share `error_rate` of the photos.

    Stands in for people in the demo only; every photo says so in `annotator`. Raises ValueError for a photo without truth.
    """
    true = {photo["image_id"]: photo for photo in truth}
    audited = []
    for drawn in json.loads(sample_json.read_text(encoding="utf-8")):
        image_id = drawn["image_id"]
        if image_id not in true:
            raise ValueError(f"{sample_json}: the demo has no truth for photo {image_id!r}; it was sampled from another library")
        photo, rng = true[image_id], np.random.default_rng(_number(seed, "audit", image_id))
        scene = photo["scene"]
        if rng.random() < error_rate:
            scene = [f"scene.{mistaken(scene[0].removeprefix('scene.'), rng)}"]
        labels = {"scene": scene, "attributes": dict(photo["attributes"]), "objects": list(photo["objects"])}
        audited.append({**drawn, **labels, "annotator": SIMULATED_PERSON})
    return audited


def mistaken(scene: str, rng: np.random.Generator) -> str:
    """A scene that this one is taken for, the first confusion most often."""
    others = CONFUSIONS[scene]
    return others[0] if rng.random() < 0.6 else _any(others, rng)


def _any(items: Sequence[str], rng: np.random.Generator) -> str:
    return items[int(rng.integers(len(items)))]


def _draw(*parts: object) -> bytes:
    return hashlib.sha256("/".join(map(str, parts)).encode()).digest()


def _number(*parts: object) -> int:
    return int.from_bytes(_draw(*parts)[:8], "big")
