"""The real photos' known labels, written as the answers of a replay teacher."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.questions import ATTRIBUTES


def known_labels(real_data: Path) -> list[dict[str, Any]]:
    """One dict a photo of the labelled library: path below the library, scene, objects, attributes, source, group."""
    lines = [json.loads(line) for line in (real_data / "labels.jsonl").read_text(encoding="utf-8").splitlines()]
    kept = [line for line in lines if line["path"].startswith("library/")]
    named = [{**line, "path": line["path"].removeprefix("library/"), "attributes": json.loads(line["attributes"])} for line in kept]
    return list({line["path"]: line for line in named}.values())  # 251 files were written over by later ones: the last line is true


def annotation_of(line: dict[str, Any]) -> dict[str, Any]:
    """A teacher's answer that says exactly what is known; the rest is unknown."""
    objects = [name for name in str(line["objects"] or "").replace(";", ",").split(",") if name]
    return {
        "scene": line["scene"].removeprefix("scene."),
        **{name: line["attributes"].get(f"attr.{name}", "unknown") for name in ATTRIBUTES},
        "objects": [{"name_free": name, "coarse_type": name, "is_main": True, "confidence": 0.95} for name in map(_leaf, objects)],
    }


def _leaf(key: str) -> str:
    return key.rsplit(".", 1)[-1]


def write_answers(real_data: Path, file: Path) -> Path:
    """The answers file of the replay teacher for the labelled library."""
    lines = [json.dumps({"path": line["path"], "annotation": annotation_of(line)}) for line in known_labels(real_data)]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file
