"""The teacher's answer as text becomes the annotation dict, or an InvalidAnswer that says why not."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any

from vibe_assets.records import ATTRIBUTES

SCHEMA_VERSION = 1  # part of the teacher's fingerprint: raise it when the same answer would be read differently
SCENES = ("landscape", "snapshot", "selfie", "people", "animals", "food", "product", "document", "screenshot", "other", "unknown")
UNKNOWN = "unknown"

MAX_ANSWER_CHARS = 100_000  # a thousand objects fit; an answer that never ends does not
MAX_OBJECTS = 100
MAX_NAME_CHARS = 200
MAX_BRACES = 200  # places where an object may start that are tried: keeps the work linear in the answer's length
MAX_REPAIRS = 20  # of them with trailing commas taken out, which costs a pass over the rest of the text each

_OBJECT_SCHEMA = {
    "type": "object",
    "properties": {
        "name_free": {"type": "string"},
        "coarse_type": {"type": "string"},
        "is_main": {"type": "boolean"},
        "confidence": {"type": "number"},
    },
    "required": ["name_free", "coarse_type", "is_main", "confidence"],
    "additionalProperties": False,
}
_TERNARY = {"anyOf": [{"type": "boolean"}, {"type": "string", "enum": [UNKNOWN]}]}
ANSWER_JSON_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "scene": {"type": "string", "enum": list(SCENES)},
        **dict.fromkeys(ATTRIBUTES, _TERNARY),
        "objects": {"type": "array", "items": _OBJECT_SCHEMA},
    },
    "required": ["scene", *ATTRIBUTES, "objects"],
    "additionalProperties": False,
}
_KNOWN = frozenset(ANSWER_JSON_SCHEMA["properties"])
_TRAILING_COMMA = re.compile(r",\s*[}\]]")
_STRING_OR_TRAILING_COMMA = re.compile(r'("(?:[^"\\]|\\.)*")|,(?=\s*[}\]])', re.DOTALL)


class InvalidAnswer(ValueError):
    """The text holds no usable annotation; the message says what was missing."""


def parse_answer(text: str) -> dict[str, Any]:
    """Read a teacher's answer: plain JSON, fenced, with text around it, or with trailing commas.

    Of several objects the one with the most known keys counts, the last of equals: models that think aloud conclude at
    the end. Raises InvalidAnswer when the text is too long, holds no JSON object, or none with a scene or an attribute.
    """
    if not isinstance(text, str):
        raise InvalidAnswer(f"expected text, got {type(text).__name__}")
    if len(text) > MAX_ANSWER_CHARS:
        raise InvalidAnswer(f"the answer has {len(text)} characters, more than {MAX_ANSWER_CHARS}")
    best: dict[str, Any] | None = None
    for candidate in _objects_in(text):
        if best is None or len(_KNOWN & candidate.keys()) >= len(_KNOWN & best.keys()):
            best = candidate
    if best is None:
        raise InvalidAnswer(f"no JSON object in {_shown(text)}")
    return normalise(best)


def normalise(answer: dict[str, Any]) -> dict[str, Any]:
    """The annotation {scene, five attributes, objects[]} of a decoded answer; what has a wrong type becomes None or is dropped.

    Scene: a lowercase string (unexpected ones stay, the mapping decides) or None. Attributes: true, false, "unknown" or None.
    Raises InvalidAnswer when neither a scene nor any attribute is left.
    """
    scene = _word(answer.get("scene"))
    annotation: dict[str, Any] = {"scene": scene, **{name: _ternary(answer.get(name)) for name in ATTRIBUTES}}
    if all(value is None for value in annotation.values()):
        raise InvalidAnswer(f"neither a scene nor an attribute in {_shown(json.dumps(answer, default=str))}")
    objects = answer.get("objects")
    found = [_object(item) for item in objects[:MAX_OBJECTS]] if isinstance(objects, list) else []
    annotation["objects"] = [item for item in found if item is not None]
    return annotation


def _objects_in(text: str) -> Iterator[dict[str, Any]]:
    """JSON objects of the text that have a known key (or the first of all, if none has), in order of appearance."""
    decoder = json.JSONDecoder()
    start, stranger = text.find("{"), None
    repairs = MAX_REPAIRS if _TRAILING_COMMA.search(text) else 0
    for tried in range(MAX_BRACES):
        if start < 0:
            break
        value, end = _decode(decoder, text, start, repair=tried < repairs)
        if isinstance(value, dict) and _KNOWN & value.keys():
            yield value
            start = text.find("{", end)
            continue
        stranger = stranger if stranger is not None else value
        start = text.find("{", start + 1)
    if stranger is not None:
        yield stranger


def _decode(decoder: json.JSONDecoder, text: str, start: int, *, repair: bool) -> tuple[dict[str, Any] | None, int]:
    """The object that starts at `start` and where it ends; (None, start) when none does. `repair` forgives trailing commas."""
    try:
        return decoder.raw_decode(text, start)
    except (ValueError, RecursionError):  # ValueError also for integers of absurd length
        if not repair:
            return None, start
    # Blanks instead of removal keep `end` valid for the original text. The pairing of quotes starts at the brace, so an
    # inch sign in the sentence before it does no harm.
    repaired = _STRING_OR_TRAILING_COMMA.sub(lambda match: match.group(1) or " ", text[start:])
    try:
        value, length = decoder.raw_decode(repaired)
    except (ValueError, RecursionError):
        return None, start
    return value, start + length


def _ternary(value: Any) -> bool | str | None:
    if isinstance(value, bool):
        return value
    return UNKNOWN if isinstance(value, str) and value.strip().lower() == UNKNOWN else None


def _word(value: Any) -> str | None:
    text = _clean(value)
    return text.lower() if text else None


def _clean(value: Any) -> str | None:
    """Trimmed text that UTF-8 can hold (an escaped lone surrogate cannot), or None."""
    if not isinstance(value, str):
        return None
    return value[:MAX_NAME_CHARS].encode("utf-8", "replace").decode().strip() or None


def _object(item: Any) -> dict[str, Any] | None:
    if not isinstance(item, dict):
        return None
    name, coarse = _clean(item.get("name_free")), _word(item.get("coarse_type"))
    if name is None and coarse is None:
        return None
    return {
        "name_free": name,
        "coarse_type": coarse,
        "is_main": item.get("is_main") is True,
        "confidence": _confidence(item.get("confidence")),
    }


def _confidence(value: Any) -> float:
    """0..1; numbers as strings are read, anything else (booleans, NaN, out of range) counts as no confidence at all."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return 0.0
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return 0.0
    return number if math.isfinite(number) and 0 <= number <= 1 else 0.0


def _shown(text: str) -> str:
    return repr(text if len(text) <= 120 else text[:117] + "...")
