"""Tags in anybody's spelling become normalised lists; a model's answer becomes tags, or the reason why it is none."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from vibe_assets.questions import normalise as words
from vibe_assets.vlm.failures import VlmError

ANSWER_VERSION = 1  # part of the fingerprint: raise it when the same answer would be read differently
MIN_CHARS, MAX_CHARS, MAX_TAGS = 2, 60, 100
NAMES = ("tags", "keywords", "labels")
TAGS_JSON_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"tags": {"type": "array", "items": {"type": "string"}}},
    "required": ["tags"],
    "additionalProperties": False,
}
_EDGES = re.compile(r"^[\W_]+|[\W_]+$")
_TRAILING_COMMA = re.compile(r",(?=\s*[}\]])")


class NotTags(ValueError):
    """An answer that is no list of tags; the message says what was missing."""


def normalise_tag(text: object) -> str:
    """Lowercase words with single spaces, without hashes, quotes and full stops around them; '' for what is no text."""
    if not isinstance(text, str):
        return ""
    return words(_EDGES.sub("", text.encode("utf-8", "replace").decode()))[:MAX_CHARS].strip()


def normalise_tags(tags: Iterable[object]) -> list[str]:
    """Normalised tags in their order, each once; those of one character say nothing and are dropped."""
    found = (normalise_tag(tag) for tag in tags)
    return list(dict.fromkeys(tag for tag in found if len(tag) >= MIN_CHARS))


def parse_tags(text: str) -> list[str]:
    """Tags of an answer: JSON as asked, a bare list, fenced, with text around it or with trailing commas.

    Of several the last counts: models that think aloud conclude at the end. Raises NotTags.
    """
    found: list[str] | None = None
    for value in _values(text[:100_000]):
        if (tags := _tag_list(value)) is not None:
            found = tags
    if found is None:
        raise NotTags(f"no list of tags in {text[:120]!r}")
    return found


def _tag_list(value: Any) -> list[str] | None:
    if isinstance(value, Mapping):
        value = next((value[name] for name in NAMES if name in value), None)
    if not isinstance(value, list) or not all(isinstance(tag, str) for tag in value):
        return None
    return normalise_tags(value)[:MAX_TAGS]


def _values(text: str) -> Iterable[Any]:
    """JSON objects and lists of the text, the outermost ones, in order."""
    decoder, text = json.JSONDecoder(), _TRAILING_COMMA.sub(" ", text)
    start = 0
    for _ in range(200):  # keeps the work bounded on an answer of braces
        match = re.compile(r"[{\[]").search(text, start)
        if match is None:
            return
        try:
            value, start = decoder.raw_decode(text, match.start())
            yield value
        except (ValueError, RecursionError):
            start = match.start() + 1


def answer_text(tags: Iterable[str]) -> str:
    """Tags as a model is asked to give them, and as it is taught to."""
    return json.dumps({"tags": list(tags)}, ensure_ascii=False)


def prompt_file(prompt: str, base: Path) -> Path:
    """Path of a packaged prompt's or of a user's Markdown file. Raises VlmError when there is none."""
    packaged = Path(str(files("vibe_assets.vlm.prompts") / f"{prompt}.md"))
    file = packaged if packaged.is_file() else base / Path(prompt).expanduser()
    if not file.is_file():
        raise VlmError(f"vlm.prompt = {prompt!r}: no packaged prompt and no such file; use tags, or the path of a Markdown file")
    return file


def load_prompt(prompt: str, base: Path) -> str:
    """The prompt's text, trimmed."""
    return prompt_file(prompt, base).read_text(encoding="utf-8-sig").strip()
