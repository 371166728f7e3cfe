"""Label rows of one photo from several sources become words side by side, each right, wrong or left open against a reference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from vibe_assets.evaluate.figures import in_words
from vibe_assets.questions import OneOf, Question, Questions, YesNo

SAYS = {"people": "people", "teacher": "teacher", "students": "students"}  # whose labels stand beside a photo, in this order


@dataclass(frozen=True)
class Word:
    """One label as it is shown: state right | wrong | open against the reference, '' where that says nothing of it."""

    text: str
    state: str = ""
    label: str = ""  # the full key, on hover
    sure: float | None = None


def voices(
    rows: Mapping[str, Mapping[str, Any]], reference: str | None, who: Mapping[str, str] = SAYS, *, questions: Questions
) -> list[dict[str, Any]]:
    """What each of `who` (key -> name to show) says of one photo; empty where the reference says nothing.

    Without a reference nobody is right or wrong.
    """
    truth = rows.get(reference) if reference is not None else dict.fromkeys(questions.columns)
    if truth is None:
        return []
    return [
        {"who": shown, "reference": name == reference, "words": _words(rows[name], truth, name == reference, questions)}
        for name, shown in who.items()
        if name in rows
    ]


def _words(row: Mapping[str, Any], truth: Mapping[str, Any], is_truth: bool, questions: Questions) -> list[Word]:
    """What a row answers to every question, as words."""
    words: list[Word] = []
    for question in questions:
        if isinstance(question, OneOf):
            words += _one_of(question, row, truth, is_truth, questions)
        elif isinstance(question, YesNo):
            words += _yes_no(question, row, truth, is_truth, questions)
        else:
            words += _many_of(question, row, truth, is_truth, questions)
    return words


def _one_of(question: OneOf, row: Mapping[str, Any], truth: Mapping[str, Any], is_truth: bool, questions: Questions) -> list[Word]:
    """One word; nothing for a further question that neither answers."""
    said, true, main = row.get(question.key), truth.get(question.key), question is questions.main
    if said is not None:
        return [Word(questions.short(said), _state(said, true, is_truth), said, row.get(question.fields[0].confidence))]
    if not main and (is_truth or true is None):
        return []
    open_text, noun = "not labelled" if is_truth else "left open", questions.name(question.key, in_words(question.key))
    return [Word(open_text if main else f"{noun}: {open_text}", _state(None, true, is_truth) or "open")]


def _yes_no(question: YesNo, row: Mapping[str, Any], truth: Mapping[str, Any], is_truth: bool, questions: Questions) -> Iterator[Word]:
    for field, label in zip(question.fields, question.labels, strict=True):
        said, true, rule = row.get(field.name), truth.get(field.name), questions.follows.get(field.name)
        text = questions.name(label.key, in_words(field.name))
        if said and said == true and rule is not None and row.get(rule.question) in rule.keys:
            continue  # the answer that it follows from has said it
        if said or (said is None and true and not is_truth) or (said is False and true):
            shown = text if said else f"{text}: no" if said is False else f"{text}?"
            yield Word(shown, _state(said, true, is_truth), label.key, row.get(field.confidence) if said else None)


def _many_of(question: Question, row: Mapping[str, Any], truth: Mapping[str, Any], is_truth: bool, questions: Questions) -> Iterator[Word]:
    real = list(truth.get(question.key) or ())
    for label in row.get(question.key) or ():
        known = any(other == label or other.startswith(f"{label}.") for other in real)
        yield Word(questions.short(label), "" if is_truth or not real else "right" if known else "wrong", label)


def _state(said: Any, true: Any, is_truth: bool) -> str:
    return "" if is_truth or true is None else "open" if said is None else "right" if said == true else "wrong"
