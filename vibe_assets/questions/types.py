"""Questions that photos are asked, in three types: each knows its columns, its part of the prompt and the schema, and how answers are read.

A new type is a subclass of `Question` with an entry in TYPES.
"""

from __future__ import annotations

import json
import math
import re
import textwrap
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

from vibe_assets.questions.words import index, normalise

UNKNOWN = "unknown"
YES, NO = frozenset({"true", "yes", "y", "1"}), frozenset({"false", "no", "n", "0"})
MAX_OBJECTS = 100
LINE = 120  # characters of a line of the prompt
MAX_NAME_CHARS = 200


@dataclass(frozen=True)
class Field:
    """A column of labels: one thing that is known of a photo, or not."""

    name: str
    dtype: str  # str | bool | list[str]
    description: str
    confidence: str  # name of the column with its probability
    confidence_description: str = "calibrated probability, 0..1"

    @property
    def confidence_dtype(self) -> str:
        return "list[str]" if self.dtype == "list[str]" else "f64"


@dataclass(frozen=True)
class Label:
    """One label. `words` are its aliases and the last part of its key; `prompts` and `negatives` are texts for zero-shot.

    `names` and `hints` go by language; `offers` are words that the teacher is offered beside it, each with its hint.
    """

    key: str
    words: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ()
    negatives: tuple[str, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    hints: Mapping[str, str] = field(default_factory=dict)
    offers: Mapping[str, str] = field(default_factory=dict)
    hotkey: str = ""

    @property
    def word(self) -> str:
        """The key within its question: scene.food -> food."""
        return self.key.partition(".")[2]

    def name(self, language: str) -> str:
        """What people read: the name that the file gives, else the last part of the key with blanks."""
        return self.given(language) or self.word.rpartition(".")[2].replace("_", " ")

    def given(self, language: str) -> str | None:
        """The name that the file gives in this language, else in the first that has one; None where it gives none."""
        return self.names.get(language) or next(iter(self.names.values()), None)


@dataclass(frozen=True)
class Told:
    """What an answer says of a question: a value for each of its columns, the words that mean none of its labels, what rules overruled."""

    values: Mapping[str, Any]
    strange: tuple[str, ...] = ()
    overruled: tuple[str, ...] = ()


@dataclass(frozen=True)
class Question(ABC):
    """A question with its labels, in the order of the file. `prefix` begins the keys of its labels; `head` names its student."""

    key: str
    labels: tuple[Label, ...]
    prefix: str
    head: str
    ask: Mapping[str, str] = field(default_factory=dict)  # language -> what is asked
    names: Mapping[str, str] = field(default_factory=dict)  # language -> what people read
    abstain: tuple[str, ...] = ()
    asked: str = "teacher"  # teacher | people: never asked of the teacher
    trained: bool = True
    example: Any = None
    not_in: tuple[str, ...] = ()  # folders in which photos are not asked it: paths below the photo root, with * and **

    type: ClassVar[str] = ""

    # -- its columns ---------------------------------------------------------------------------------------------------
    @property
    @abstractmethod
    def fields(self) -> tuple[Field, ...]:
        """Its columns in every table of labels."""

    # -- asking the teacher --------------------------------------------------------------------------------------------
    @property
    @abstractmethod
    def schema(self) -> dict[str, Any]:
        """JSON schema of each member of an answer that belongs to it."""

    @abstractmethod
    def prompt(self, language: str) -> str:
        """Its part of the prompt."""

    @property
    @abstractmethod
    def shape(self) -> dict[str, Any]:
        """Its part of the example at the end of the prompt."""

    # -- reading answers -----------------------------------------------------------------------------------------------
    @abstractmethod
    def read(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        """Its members of a decoded answer as they are kept; a value whose meaning is not certain is None, a list of them shorter."""

    @abstractmethod
    def tell(self, annotation: Mapping[str, Any], *, min_confidence: float, include_non_main: bool) -> Told:
        """A kept answer as labels. What it does not say clearly is unknown, never false."""

    def answered(self, read: Mapping[str, Any]) -> bool:
        """Whether what `read` kept holds an answer."""
        return any(value is not None and value != [] for value in read.values())

    @property
    def learnt_as(self) -> str:
        """The type that it is trained and shown as."""
        return self.type

    # -- words and keys ------------------------------------------------------------------------------------------------
    @cached_property
    def keys(self) -> tuple[str, ...]:
        return tuple(label.key for label in self.labels)

    @cached_property
    def words(self) -> dict[str, str]:
        """Normalised word -> key."""
        return index(self.labels)

    @cached_property
    def abstentions(self) -> frozenset[str]:
        return frozenset(map(normalise, self.abstain))

    def given(self, language: str) -> str | None:
        """The name that the file gives it in this language, else in the first that has one; None where it gives none."""
        return self.names.get(language) or next(iter(self.names.values()), None)

    def text(self, language: str) -> str:
        """What is asked, in this language or the first that the file has."""
        return self.ask.get(language) or next(iter(self.ask.values()), self.key.replace("_", " "))

    @cached_property
    def off(self) -> str:
        """Regular expression, of Python and of polars alike, that finds the paths of photos that are not asked it; empty where all are."""
        return f"^(?:{'|'.join(map(_folder_pattern, self.not_in))})" if self.not_in else ""

    def is_off(self, rel_path: str) -> bool:
        """Whether the photo there is not asked it."""
        return bool(self.off) and re.search(self.off, rel_path) is not None

    def answered_by(self, asked: Mapping[str, Any], language: str) -> bool:
        """Whether an answer to what was asked then (`asks` of that time) is one to this: with labels fewer, not with others."""
        now = json.loads(json.dumps(self.asks(language)))
        alike = asked.keys() | now.keys()
        return all(
            _within(now.get(name), asked.get(name)) if name in ("labels", "hints") else now.get(name) == asked.get(name) for name in alike
        )

    def asks(self, language: str) -> dict[str, Any]:
        """What an answer depends on: all that the teacher reads of it. Names, aliases, hotkeys and texts for zero-shot are not in it."""
        labels = {label.word: [_in(language, label.hints), dict(label.offers)] for label in self.labels}
        return {"key": self.key, "type": self.type, "labels": labels, "ask": _in(language, self.ask)}


@dataclass(frozen=True)
class OneOf(Question):
    """Exactly one label, or unknown. `unexpected`: key of the label that any other word means; None leaves the photo open.

    `listed`: in files of labels it is a list of one key or none, as the first version wrote scenes.
    """

    unexpected: str | None = None
    listed: bool = False

    type: ClassVar[str] = "one_of"

    @property
    def fields(self) -> tuple[Field, ...]:
        best = f"calibrated probability of the best {self.head}, 0..1"
        return (Field(self.key, "str", f"{self.prefix}.* key, null where unknown", f"{self.key}_confidence", best),)

    @property
    def offered(self) -> dict[str, Mapping[str, str]]:
        """Word that the teacher may answer -> hints by language."""
        found: dict[str, Any] = {}
        for label in self.labels:
            found |= {word: {"": hint} for word, hint in label.offers.items()}
            found[label.word] = label.hints
        return found

    @property
    def schema(self) -> dict[str, Any]:
        return {self.key: {"type": "string", "enum": [*self.offered, UNKNOWN]}}

    def prompt(self, language: str) -> str:
        lines = [f"`{self.key}`: {self.text(language)}, exactly one of", ""]
        lines += [f'- "{word}"{_hint(hints, language)}' for word, hints in self.offered.items()]
        return "\n".join([*lines, f'- "{UNKNOWN}": you cannot tell'])

    @property
    def shape(self) -> dict[str, Any]:
        return {self.key: self.example if self.example is not None else self.labels[0].word}

    def read(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        return {self.key: _word(answer.get(self.key))}

    def tell(self, annotation: Mapping[str, Any], *, min_confidence: float, include_non_main: bool) -> Told:
        said = annotation.get(self.key)
        if not isinstance(said, str) or not (word := normalise(said)) or word in self.abstentions:
            return Told({self.key: None})
        if (key := self.words.get(word)) is not None:
            return Told({self.key: key})
        return Told({self.key: self.unexpected}, (word,))


@dataclass(frozen=True)
class Rating(OneOf):
    """A whole number of a scale, say 1 to 5: one label a number, learnt and shown as one_of is; a number between two is the nearer one."""

    type: ClassVar[str] = "rating"

    @property
    def learnt_as(self) -> str:
        return OneOf.type

    def answered_by(self, asked: Mapping[str, Any], language: str) -> bool:
        return asked == json.loads(json.dumps(self.asks(language)))  # five of five is not five of ten

    @property
    def scale(self) -> tuple[int, ...]:
        return tuple(int(label.word) for label in self.labels)

    @property
    def schema(self) -> dict[str, Any]:
        return {self.key: {"anyOf": [{"type": "integer", "enum": list(self.scale)}, {"type": "string", "enum": [UNKNOWN]}]}}

    def prompt(self, language: str) -> str:
        hints = [f"- {label.word}{_hint(label.hints, language)}" for label in self.labels if label.hints]
        ends = f'a whole number from {self.scale[0]} to {self.scale[-1]}, or "{UNKNOWN}"'
        return "\n".join([f"`{self.key}`: {self.text(language)}, {ends}", *(["", *hints] if hints else [])])

    @property
    def shape(self) -> dict[str, Any]:
        return {self.key: self.example if self.example is not None else self.scale[len(self.scale) // 2]}

    def read(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        """A number of the scale as text, also from "4", 4.0 and "4/5"; unknown and other words stay as they are."""
        value = answer.get(self.key)
        said = value.strip().partition("/")[0].strip() if isinstance(value, str) else value
        try:
            number = float(said) if isinstance(said, int | float | str) and not isinstance(said, bool) else math.nan
        except (ValueError, OverflowError):
            number = math.nan
        if math.isfinite(number) and self.scale[0] <= number <= self.scale[-1]:
            return {self.key: str(min(self.scale, key=lambda step: (abs(step - number), step)))}
        return {self.key: _word(value)}


@dataclass(frozen=True)
class YesNo(Question):
    """Each label on its own: true, false or unknown."""

    type: ClassVar[str] = "yes_no"

    @property
    def fields(self) -> tuple[Field, ...]:
        return tuple(
            Field(label.word, "bool", f"{label.key}, null where unknown", f"{label.word}_confidence", f"probability of {label.key}, 0..1")
            for label in self.labels
        )

    @property
    def schema(self) -> dict[str, Any]:
        return {label.word: {"anyOf": [{"type": "boolean"}, {"type": "string", "enum": [UNKNOWN]}]} for label in self.labels}

    def prompt(self, language: str) -> str:
        names = ", ".join(f"`{label.word}`" for label in self.labels)
        lines = [f'{names}: true, false or "{UNKNOWN}" each', ""]
        if self.ask:
            lines = [f"{self.text(language)}", "", *lines]
        return "\n".join([*lines, *(f"- {label.word}{_hint(label.hints, language)}" for label in self.labels)])

    @property
    def shape(self) -> dict[str, Any]:
        return dict(self.example) if self.example is not None else {label.word: False for label in self.labels}

    def read(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        return {label.word: ternary(answer.get(label.word)) for label in self.labels}

    def tell(self, annotation: Mapping[str, Any], *, min_confidence: float, include_non_main: bool) -> Told:
        said = {label.word: annotation.get(label.word) for label in self.labels}
        return Told({word: value if isinstance(value, bool) else None for word, value in said.items()})


@dataclass(frozen=True)
class ManyOf(Question):
    """Any number of labels, the main one first; keys spell a tree, and a child implies its parents.

    The teacher names things with `offered` words (the labels' own by default; an entry is a line of the prompt, words with commas between),
    a main mark and a confidence.
    """

    offered: tuple[str, ...] = ()

    type: ClassVar[str] = "many_of"

    @property
    def fields(self) -> tuple[Field, ...]:
        return (
            Field(
                self.key, "list[str]", f"{self.prefix}.* keys, main {self.head} first", f"{self.prefix}_confidences",
                f"KEY=PROBABILITY, same order as {self.key}",
            ),
        )  # fmt: skip

    @property
    def words_offered(self) -> tuple[str, ...]:
        return tuple(word.strip() for line in self._offered_lines for word in line.split(",") if word.strip())

    @property
    def _offered_lines(self) -> Sequence[str]:
        return self.offered or textwrap.wrap(", ".join([*(label.word for label in self.labels), "other", UNKNOWN]), LINE)

    @property
    def schema(self) -> dict[str, Any]:
        item = {
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
        return {self.key: {"type": "array", "items": item}}

    def prompt(self, language: str) -> str:
        hints = [(label.word, hint) for label in self.labels if (hint := _hint(label.hints, language))]
        offered = ",\n  ".join(line.strip().removesuffix(",") for line in self._offered_lines)
        lines = [
            f"`{self.key}`: {self.text(language)}, the most important first, at most 10; an empty list if there are none. Each has",
            "",
            "- name_free: what it is, in a few English words",
            f"- coarse_type: one word of this list that fits best: {offered}",
            "- is_main: true if the photo was taken because of it, otherwise false",
            "- confidence: how sure you are, a number from 0 to 1",
        ]
        if hints:
            lines += ["", *(f"- {word}{hint}" for word, hint in hints)]
        return "\n".join(lines)

    @property
    def shape(self) -> dict[str, Any]:
        word = self.words_offered[0]
        plain = [{"name_free": word.rpartition(".")[2].replace("_", " "), "coarse_type": word, "is_main": True, "confidence": 0.9}]
        return {self.key: self.example if self.example is not None else plain}

    def read(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        """One thing is a list of one; where nothing of what was said can be read, the question stays open: nobody said "none"."""
        values = answer.get(self.key)
        said = values if isinstance(values, list) else [values] if values else []
        found = [item for each in said[:MAX_OBJECTS] if (item := _object(each)) is not None]
        return {self.key: found} if found or not said else {}

    def tell(self, annotation: Mapping[str, Any], *, min_confidence: float, include_non_main: bool) -> Told:
        """Keys, main ones first, then by falling confidence; equal ones stay in the answer's order."""
        found, strange = [], []
        if self.key not in annotation:
            return Told({self.key: None})  # not asked yet, which is not the same as "nothing of the kind"
        values = annotation[self.key]
        for value in values if isinstance(values, list) else []:
            if not isinstance(value, dict):
                continue
            word, main, sure = value.get("coarse_type"), value.get("is_main") is True, confidence(value.get("confidence"))
            if sure < min_confidence or not (main or include_non_main):
                continue
            key = self.words.get(normalise(word)) if isinstance(word, str) else None
            if key is not None:
                found.append((not main, -sure, key))
            elif isinstance(word, str) and normalise(word) and normalise(word) not in self.abstentions | {"other"}:
                strange.append(normalise(word))
        keys = [key for *_, key in sorted(found, key=lambda entry: entry[:2])]
        return Told({self.key: list(dict.fromkeys(keys))}, tuple(strange))

    def answered(self, read: Mapping[str, Any]) -> bool:
        return False  # an empty list is an answer only beside another, and a full one alone is none of a photo that was looked at

    def asks(self, language: str) -> dict[str, Any]:
        hints = {label.word: _in(language, label.hints) for label in self.labels if label.hints}
        return {**super().asks(language), "labels": list(self.words_offered)} | ({"hints": hints} if hints else {})


TYPES: dict[str, type[Question]] = {kind.type: kind for kind in (OneOf, YesNo, ManyOf, Rating)}


# -- values of answers -------------------------------------------------------------------------------------------------
def ternary(value: Any) -> bool | str | None:
    """True, False, "unknown", or None; also from words and numbers that mean one of them for certain ("yes", "False", 1)."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float) and value in (0, 1):
        return value == 1
    word = value.strip().casefold() if isinstance(value, str) else ""
    return True if word in YES else False if word in NO else UNKNOWN if word == UNKNOWN else None


def confidence(value: Any) -> float:
    """0..1; numbers as text are read, per cent too ("95 %", 95); anything else (booleans, NaN, out of range) is no confidence at all."""
    percent = isinstance(value, str) and value.strip().endswith("%")
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return 0.0
    try:
        number = float(value.strip().removesuffix("%")) if isinstance(value, str) else float(value)
    except (ValueError, OverflowError):
        return 0.0
    if not math.isfinite(number):
        return 0.0
    number = number / 100 if percent or 10 < number <= 100 else number  # 95 is one of a hundred, 1.5 and 5 may be anything
    return number if 0 <= number <= 1 else 0.0


def clean(value: Any) -> str | None:
    """Trimmed text that UTF-8 can hold (an escaped lone surrogate cannot), or None."""
    if not isinstance(value, str):
        return None
    return value[:MAX_NAME_CHARS].encode("utf-8", "replace").decode().strip() or None


def _in(language: str, texts: Mapping[str, str]) -> dict[str, str]:
    """The text that a teacher who is asked in this language reads."""
    read = language if language in texts else next(iter(texts), None)
    return {} if read is None else {read: texts[read]}


def _within(fewer: Any, more: Any) -> bool:
    """Whether one of two lists or mappings, either of which may be absent, has nothing that the other does not have just so."""
    if isinstance(fewer, dict):
        return all(isinstance(more, dict) and more.get(key) == value for key, value in fewer.items())
    return all(isinstance(more, list) and value in more for value in fewer or ())


def _folder_pattern(folder: str) -> str:
    """Of the paths of photos in a folder and all below it; '.' are those of the root itself."""
    if folder == ".":
        return "[^/]+$"
    parts = re.split(r"(\*\*|\*|\?)", folder.strip("/"))
    wild = {"**": ".*", "*": "[^/]*", "?": "[^/]"}
    return "".join(wild[part] if part in wild else re.escape(part) for part in parts) + "/"


def _word(value: Any) -> str | None:
    text = clean(value)
    return text.lower() if text else None


def _object(item: Any) -> dict[str, Any] | None:
    if not isinstance(item, dict):
        return None
    name, coarse = clean(item.get("name_free")), _word(item.get("coarse_type"))
    if name is None and coarse is None:
        return None
    return {
        "name_free": name,
        "coarse_type": coarse,
        "is_main": ternary(item.get("is_main")) is True,
        "confidence": confidence(item.get("confidence")),
    }


def _hint(hints: Mapping[str, str], language: str) -> str:
    hint = hints.get(language) or next(iter(hints.values()), "")
    return f": {hint}" if hint else ""


def example(questions: Sequence[Question]) -> str:
    """The example that ends the prompt; a list of things begins a line."""
    parts = [
        ("\n" if isinstance(question, ManyOf) else " ") + json.dumps(question.shape, ensure_ascii=False)[1:-1] for question in questions
    ]
    return f"{{{','.join(parts).strip()}}}"


def implied(key: str) -> Iterable[str]:
    """What a key implies, nearest first: object.food.dessert.cake -> object.food.dessert, object.food."""
    while key.count(".") > 1:
        key = key.rpartition(".")[0]
        yield key
