"""Label rows of one photo from several sources become words side by side, each right, wrong or left open against a reference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vibe_assets.evaluate import charts
from vibe_assets.records import ATTRIBUTES

SAYS = {"people": "people", "teacher": "teacher", "students": "students"}  # whose labels stand beside a photo, in this order


@dataclass(frozen=True)
class Word:
    """One label as it is shown: state right | wrong | open against the reference, '' where that says nothing of it."""

    text: str
    state: str = ""
    label: str = ""  # the full key, on hover
    sure: float | None = None


def voices(rows: Mapping[str, Mapping[str, Any]], reference: str | None, who: Mapping[str, str] = SAYS) -> list[dict[str, Any]]:
    """What each of `who` (key -> name to show) says of one photo; empty where the reference says nothing.

    Without a reference nobody is right or wrong.
    """
    truth = rows.get(reference) if reference is not None else dict.fromkeys(("scene", "objects", *ATTRIBUTES))
    if truth is None:
        return []
    return [
        {"who": shown, "reference": name == reference, "words": _words(rows[name], truth, name == reference)}
        for name, shown in who.items()
        if name in rows
    ]


def _words(row: Mapping[str, Any], truth: Mapping[str, Any], is_truth: bool) -> list[Word]:
    """Scene, attributes and objects of a row as words."""

    def state(said: Any, true: Any) -> str:
        return "" if is_truth or true is None else "open" if said is None else "right" if said == true else "wrong"

    scene = row.get("scene")
    words = [
        Word("not labelled" if is_truth else "left open", state(None, truth.get("scene")) or "open")
        if scene is None
        else Word(charts.short(scene), state(scene, truth.get("scene")), scene, row.get("scene_confidence"))
    ]
    for name in ATTRIBUTES:
        said, true, text = row.get(name), truth.get(name), charts.short(name)
        if said and said == true and scene is not None and name == f"is_{charts.short(scene)}":
            continue  # the scene has said it
        if said or (said is None and true and not is_truth) or (said is False and true):
            shown = text if said else f"{text}: no" if said is False else f"{text}?"
            words.append(Word(shown, state(said, true), f"attr.{name}", row.get(f"{name}_confidence") if said else None))
    real = list(truth.get("objects") or ())
    for label in row.get("objects") or ():
        known = any(other == label or other.startswith(f"{label}.") for other in real)
        words.append(Word(charts.short(label), "" if is_truth or not real else "right" if known else "wrong", label))
    return words
