"""The teacher's answer as text becomes the annotation dict, or an InvalidAnswer that says why not."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from vibe_assets.questions import Questions

SCHEMA_VERSION = 1  # part of the teacher's fingerprint: raise it when the same answer would be read differently

MAX_ANSWER_CHARS = 100_000  # a thousand objects fit; an answer that never ends does not
MAX_BRACES = 200  # places where an object may start that are tried: keeps the work linear in the answer's length
MAX_REPAIRS = 20  # of them with trailing commas taken out, which costs a pass over the rest of the text each

_TRAILING_COMMA = re.compile(r",\s*[}\]]")
_STRING_OR_TRAILING_COMMA = re.compile(r'("(?:[^"\\]|\\.)*")|,(?=\s*[}\]])', re.DOTALL)


class InvalidAnswer(ValueError):
    """The text holds no usable annotation; the message says what was missing."""


def parse_answer(text: str, questions: Questions) -> dict[str, Any]:
    """Read a teacher's answer: plain JSON, fenced, with text around it, or with trailing commas.

    Of several objects the one with the most known keys counts, the last of equals: models that think aloud conclude at
    the end. Raises InvalidAnswer when the text is too long, holds no JSON object, or none that answers one of the questions.
    """
    if not isinstance(text, str):
        raise InvalidAnswer(f"expected text, got {type(text).__name__}")
    if len(text) > MAX_ANSWER_CHARS:
        raise InvalidAnswer(f"the answer has {len(text)} characters, more than {MAX_ANSWER_CHARS}")
    known = frozenset(questions.schema["properties"])
    best: dict[str, Any] | None = None
    for candidate in _objects_in(text, known):
        if best is None or len(known & candidate.keys()) >= len(known & best.keys()):
            best = candidate
    if best is None:
        raise InvalidAnswer(f"no JSON object in {_shown(text)}")
    return normalise(best, questions)


def normalise(answer: dict[str, Any], questions: Questions) -> dict[str, Any]:
    """The annotation of a decoded answer: its members that belong to a question. A value whose meaning is not certain becomes None.

    Raises InvalidAnswer when none of the questions is answered.
    """
    if (annotation := questions.read(answer)) is None:
        wanted = ", ".join(question.key for question in questions.asked)
        raise InvalidAnswer(f"no answer to any of {wanted} in {_shown(json.dumps(answer, default=str))}")
    return annotation


def _objects_in(text: str, known: frozenset[str]) -> Iterator[dict[str, Any]]:
    """JSON objects of the text that have a known key (or the first of all, if none has), in order of appearance."""
    decoder = json.JSONDecoder()
    start, stranger = text.find("{"), None
    repairs = MAX_REPAIRS if _TRAILING_COMMA.search(text) else 0
    for tried in range(MAX_BRACES):
        if start < 0:
            break
        value, end = _decode(decoder, text, start, repair=tried < repairs)
        if isinstance(value, dict) and known & value.keys():
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


def _shown(text: str) -> str:
    return repr(text if len(text) <= 120 else text[:117] + "...")
