"""Two tags become "the same thing", by spelling or by meaning; the two are scored apart and never mixed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from vibe_assets.questions import ManyOf, OneOf, Question, Questions, normalise


class Meaning:
    """Tags that mean the same, or a kind of it: singular and plural, the label file's synonyms, and what its keys imply."""

    def __init__(self, questions: Questions) -> None:
        self.questions = questions
        self.keys = lru_cache(maxsize=100_000)(self._keys)

    def satisfies(self, said: str, true: str) -> bool:
        """Whether the tag that was said covers the true one. A kind of it does (cake for dessert); the general word for it does not."""
        if said == true or stem(said) == stem(true):
            return True
        return bool(set(self._own(true)) & set(self.keys(said)))

    def recalled(self, said: Sequence[str], true: Sequence[str]) -> int:
        """How many of the true tags are covered by a said one."""
        return sum(any(self.satisfies(tag, wanted) for tag in said) for wanted in true)

    def _keys(self, tag: str) -> tuple[str, ...]:
        """Label keys that the tag means or implies."""
        return self.questions.closure(self._own(tag))

    def _own(self, tag: str) -> tuple[str, ...]:
        word = normalise(tag)
        return tuple(key for question in self.questions if (key := _meant(word, question)) is not None)


def _meant(word: str, question: Question) -> str | None:
    """The label of the question that the word means; the one that stands for any other word says nothing."""
    key = question.words.get(word)
    match question:
        case ManyOf():
            return key
        case OneOf() if word not in question.abstentions and key != question.unexpected:
            return key
    return None


def stem(tag: str) -> str:
    """The tag with its last word in the singular, as far as English spelling tells."""
    if tag.endswith("ies") and len(tag) > 4:
        return f"{tag[:-3]}y"
    if tag.endswith(("ses", "xes", "zes", "ches", "shes")):
        return tag[:-2]
    return tag[:-1] if tag.endswith("s") and not tag.endswith(("ss", "us", "is")) else tag
