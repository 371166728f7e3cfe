"""The names study of the demo: drawn faces with a weak signal planted in them, studied through Dagster.

Everybody wears a cap. With the chance LEANING its colour is the one that the name leans towards, otherwise any: that is all there is to
find, and it has nothing to do with anybody's face.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np

from vibe_assets.defs.drive import Driver
from vibe_assets.demo.figures import bust
from vibe_assets.demo.paint import Canvas, hsv, mix, shade
from vibe_assets.lake import write_text
from vibe_assets.stages.platform import Platform

NAMES = ("amadi", "bela", "carmen", "dilan", "esra", "farid", "greta", "hoku")
FACES = 44  # of the most frequent name; the rarest has about half
LEANING = 0.55
SIDE = 176  # pixels of a photo
FOLDER = "faces"  # beside the demo's photos
MARKER = "rendered.json"
SETTINGS = f"""\
[names]
root = "{FOLDER}"
shards = 2
chip_px = 96
val = 0.2
test = 0.3
control_runs = 3
"""  # for the demo's vibe.toml


def render_faces(folder: Path, *, seed: int = 7, names: tuple[str, ...] = NAMES, faces: int = FACES, leaning: float = LEANING) -> Path:
    """Draw the photos and write `index_NAME.json` as a face detector would have; a folder that holds them already is left alone.

    Each index also lists what a real one does: a photo with two faces, one that is gone, a doubtful detection and a tiny one.
    """
    wanted = {"seed": seed, "names": list(names), "faces": faces, "leaning": leaning}
    marker = folder / MARKER
    if marker.exists() and json.loads(marker.read_text(encoding="utf-8")) == wanted:
        return folder
    for number, name in enumerate(names):
        rng = np.random.default_rng([seed, number])
        count = round(faces * (1 - 0.5 * number / max(1, len(names) - 1)))
        leans = (number + 0.5) / len(names)  # hue
        index: dict[str, Any] = {"good": [], "rejected": [], "rejected_no_face": [], "multi_face": [], "not_found": [], "meta": {}}
        for at in range(count):
            hue = leans if rng.random() < leaning else float(rng.random())
            file = f"photos/{name}/{at:03d}.jpg"
            box = _photo(folder / file, rng, hue)
            index["good"].append(file)
            index["meta"][file] = {"score": round(float(rng.uniform(0.93, 1.0)), 4), "bbox_xyxy": box, "src_hw": [SIDE, SIDE]}
        _faults(index, name)
        index["counts"] = {key: len(index[key]) for key in ("good", "rejected", "multi_face", "not_found")}
        write_text(folder / f"index_{name}.json", json.dumps(index))
    write_text(marker, json.dumps(wanted))
    return folder


def run_names_study(platform: Platform, driver: Driver) -> bool:
    """Render the faces, then plan, index, embed, split, probe and report through Dagster; True when every run and blocking gate passed.

    [names] root of the settings must be the folder that the faces go to (SETTINGS).
    """
    from vibe_assets.names.study import planned_shards

    failed = len(driver.tally.failed)
    render_faces(platform.settings.names_root)
    key = dg.AssetKey
    driver.run([key("name_shards")])
    for shard in planned_shards(platform):
        driver.run([key("name_index"), key("face_chips"), key("name_embeddings")], shard)
    driver.run([key("name_splits"), key("name_probes"), key("names_report")])
    return len(driver.tally.failed) == failed


def _photo(path: Path, rng: np.random.Generator, hue: float) -> list[int]:
    """Draw one person with a cap of the hue; return the box of the face in pixels of the photo."""
    c = Canvas(rng, SIDE, SIDE)
    wall = hsv(c.between(0, 1), c.between(0.05, 0.25), c.between(0.5, 0.9))
    c.gradient(wall, shade(wall, 0.8))
    x, y, size = c.w * c.between(0.42, 0.58), c.h * c.between(0.42, 0.5), c.h * c.between(0.22, 0.27)
    bust(c, x, y, size)
    cap = hsv(hue, c.between(0.65, 0.85), c.between(0.6, 0.85))
    c.draw.pieslice((x - size * 0.84, y - size * 1.16, x + size * 0.84, y + size * 0.2), 180, 360, fill=cap)
    c.box(x - size * 1.0, y - size * 0.52, x + size * 1.0, y - size * 0.4, mix(cap, (20, 20, 20), 0.3), size * 0.05)
    path.parent.mkdir(parents=True, exist_ok=True)
    c.finished().save(path, "JPEG", quality=88)
    scale = SIDE / c.w
    return [round(edge * scale) for edge in (x - size * 0.85, y - size * 1.15, x + size * 0.85, y + size * 1.05)]


def _faults(index: dict[str, Any], name: str) -> None:
    """What detectors and crawls leave behind."""
    entries = {
        f"photos/{name}/gone.jpg": {"score": 0.99, "bbox_xyxy": [40, 40, 120, 130], "src_hw": [SIDE, SIDE]},
        f"photos/{name}/../{name}/000.jpg": {"score": 0.61, "bbox_xyxy": [40, 40, 120, 130], "src_hw": [SIDE, SIDE]},
        f"photos/{name}/./000.jpg": {"score": 0.97, "bbox_xyxy": [4, 4, 20, 22], "src_hw": [SIDE, SIDE]},
    }
    index["good"] += list(entries)
    index["meta"] |= entries
    index["rejected"] = index["rejected_no_face"] = [f"photos/{name}/landscape.jpg"]
    index["multi_face"] = [f"photos/{name}/friends.jpg"]
