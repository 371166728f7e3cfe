"""Words of people and models in any script: as they are compared, and which label each of them means."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Any


def normalise(text: str) -> str:
    """Lowercase words separated by single spaces; '_' and '-' count as spaces."""
    return " ".join(re.sub(r"[_\-\s]+", " ", unicodedata.normalize("NFKC", text).casefold()).split())


def index(labels: Iterable[Any]) -> dict[str, str]:
    """Normalised word -> key. What a file spells out wins over singulars and plurals derived from it (glass, glasses)."""
    labels = list(labels)
    words = {normalise(word): label.key for label in labels for word in label.words}
    words |= {normalise(text): label.key for label in labels for text in (label.key, label.key.partition(".")[2])}
    for label in labels:
        for word in label.words:
            for variant in _numbers(normalise(word)):
                words.setdefault(variant, label.key)
    return words


def _numbers(word: str) -> Iterator[str]:
    """The plausible English singulars and plurals of a phrase: too many rather than too few, they only widen the index."""
    yield from (f"{word}s", f"{word}es")
    if word.endswith("y"):
        yield f"{word[:-1]}ies"
    if word.endswith("f"):
        yield f"{word[:-1]}ves"
    if word.endswith("fe"):
        yield f"{word[:-2]}ves"
    if word.endswith("ies") and len(word) > 4:
        yield f"{word[:-3]}y"
    if word.endswith(("ses", "xes", "zes", "ches", "shes", "oes")):
        yield word[:-2]
    if word.endswith("s") and not word.endswith(("ss", "us", "is")):
        yield word[:-1]
