"""Questions -> what the audit page draws of them: a control for each, with the names that people read and the keys that they press."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from vibe_assets.questions import Label, ManyOf, OneOf, Question, Questions, YesNo

COMMANDS = frozenset("0nokufz")  # keys that the page itself has
DIGITS, LETTERS = "123456789", "abcdefghijklmnopqrstuvwxyz"
STROKES = re.compile(r"[0-9a-z]{1,2}")
MOST_DRAWN = len(DIGITS + LETTERS)  # of a question with one answer; from there on its labels are found by searching
IDS = {"one_of": "scenes", "yes_no": "attributes", "many_of": "objects"}  # of the first control of a type on the page


def vocabulary(questions: Questions) -> list[dict[str, Any]]:
    """The questions in order, as plain JSON values.

    `hotkey` is one stroke, two, or empty: of a label; of a question it is unknown (one_of) or goes to its search (many_of).
    """
    language, keys, drawn = questions.language, _hotkeys(questions), set[str]()
    found = []
    for question in questions:
        first = question.learnt_as not in drawn
        drawn.add(question.learnt_as)
        searched = isinstance(question, ManyOf) or (isinstance(question, OneOf) and len(question.labels) > MOST_DRAWN)
        label = "label" if isinstance(question, ManyOf) and question.head == question.key else question.head  # one of several
        found.append({
            "key": question.key, "type": question.learnt_as, "id": IDS[question.learnt_as] if first else f"q-{question.key}",
            "noun": questions.name(question.key, question.key.replace("_", " ")),
            "title": questions.name(question.key, _title(question, language)),
            "label": questions.name(question.key, label.replace("_", " ")),
            "main": question is questions.main, "searched": searched, "asked": question.asked, "hotkey": keys.get(question.key, ""),
            "labels": [_label(question, label, language, keys, searched) for label in question.labels],
        })  # fmt: skip
    return found


def _label(question: Question, label: Label, language: str, keys: dict[str, str], searched: bool) -> dict[str, Any]:
    known = {"key": label.key, "word": label.word, "name": _name(question, label, language), "hotkey": keys.get(label.key, "")}
    return {**known, "words": list(dict.fromkeys((*label.words, *label.names.values())))} if searched else known


def _title(question: Question, language: str) -> str:
    """A question of yes and no that is asked in no words of its own is about what the photo shows."""
    if isinstance(question, YesNo):
        return question.text(language) if question.ask else "Shows"
    return question.key.replace("_", " ").capitalize()


def _name(question: Question, label: Label, language: str) -> str:
    """has_smile -> Smile, where the file names it no better."""
    if not isinstance(question, YesNo) or label.given(language):
        return label.name(language)
    return re.sub(r"^(has|is)_", "", label.word).replace("_", " ").capitalize()


def _hotkeys(questions: Questions) -> dict[str, str]:
    """Key of a label or a question -> its strokes; what has none is not in it.

    Those of the file come first, then digits for the main question and letters of their names for yes and no; what is left of a question
    shares a first stroke.
    """
    language, main = questions.language, questions.main
    keys: dict[str, str] = {}
    singles, leaders = set(COMMANDS), set[str]()

    def free(wanted: Iterable[str]) -> str | None:
        return next((key for key in wanted if key not in singles and key not in leaders), None)

    def give(name: str, key: str | None) -> None:
        if key is not None:
            keys[name] = key
            singles.add(key)

    for label in (label for question in questions for label in question.labels):
        wanted = label.hotkey.lower()
        if not STROKES.fullmatch(wanted) or wanted in keys.values() or wanted[0] in singles:
            continue
        if len(wanted) == 1:
            give(label.key, free(wanted))
        else:
            keys[label.key] = wanted
            leaders.add(wanted[0])
    if main is not None:
        keys[main.key] = "0"
        for label in [label for label in main.labels if label.key not in keys][: len(DIGITS)]:
            give(label.key, free(DIGITS))
    for flags in questions.of_type(YesNo):
        for label in (label for label in flags.labels if label.key not in keys):
            give(label.key, free(letter for letter in _name(flags, label, language).lower() if letter in LETTERS))
    for question in (*questions.of_type(OneOf), *questions.of_type(YesNo)):
        open_labels = [label for label in question.labels if label.key not in keys]
        unknown = isinstance(question, OneOf) and question is not main
        if (open_labels or unknown) and (leader := free(_letters(question))) is not None:
            leaders.add(leader)
            keys |= {label.key: leader + second for label, second in zip(open_labels, DIGITS + LETTERS, strict=False)}
            keys |= {question.key: f"{leader}0"} if unknown else {}
    for at, tags in enumerate(questions.of_type(ManyOf)):
        give(tags.key, free(_letters(tags)) if at else "o")
    return keys


def _letters(question: Question) -> str:
    """Letters in the order in which they suit a question: its own, then any."""
    return "".join(letter for letter in question.key.lower() if letter in LETTERS) + LETTERS
