"""Questions become the kinds of figures, their names, and the words that pages have for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vibe_assets.questions import ManyOf, OneOf, Question, Questions, YesNo

Expand = Callable[[Sequence[str]], Sequence[str]]
LOWER = ("_ece", "_brier")


def kinds_of(questions: Questions) -> tuple[str, ...]:
    """What figures are told apart by: the head that answers each question."""
    return tuple(question.head for question in questions)


def question_of(name: str, questions: Questions) -> Question:
    """The question of a label's key (`scene.food`) or of a kind (`scene`). Raises ValueError for one that there is not."""
    first, dot, _ = name.partition(".")
    for question in questions:
        if first == (question.prefix if dot else question.head):
            return question
    raise ValueError(f"expected a label or a kind of {', '.join(kinds_of(questions))}, got {name!r}")


def left_open(question: Question) -> str:
    """The label that stands for photos without one: scene.none."""
    none = f"{question.prefix}.none"
    return none if none not in question.keys else f"{question.prefix}.left_open"


def expansion(questions: Questions, *, parents: bool = True) -> Expand:
    """Keys -> the same with all they imply. A key that the label file no longer has stands for itself (the lake may be older)."""

    def expand(keys: Sequence[str]) -> Sequence[str]:
        return list(dict.fromkeys(up for key in keys for up in ((key, *questions.parents(key)) if questions.known(key) else (key,))))

    return expand if parents else lambda keys: keys


# -- names ---------------------------------------------------------------------------------------------------------------
def headline_titles(questions: Questions) -> dict[str, str]:
    """Headline figure -> its title, in order."""
    return in_headline_order(questions, _figures, _calibration)


def in_headline_order(questions: Questions, *texts: Callable[[Question, Questions], dict[str, str]]) -> dict[str, str]:
    """What `texts` say of headline figures: of the first question of each type, text by text, then of the further ones."""
    found: dict[str, str] = {}
    for text in texts:
        for question in questions:
            if question is questions.of_type(type(question))[0]:
                found |= text(question, questions)
    for question in questions:
        for text in texts:
            found |= text(question, questions)
    return found


def lower_is_better(figure: str) -> bool:
    """Whether a headline figure is an error."""
    return figure.endswith(LOWER)


def _figures(question: Question, questions: Questions) -> dict[str, str]:
    key, name, one = question.key, _title(question, questions), one_of(question, questions)
    if isinstance(question, OneOf):
        return {
            f"{key}_accuracy_blind": f"{name} accuracy by blind answers",
            f"{key}_accuracy": f"{name} accuracy",
            f"{key}_accuracy_answered": f"{name} accuracy of the answered",
            f"{key}_accuracy_forced": f"{name} accuracy with every photo answered",
            f"{key}_macro_f1": f"{name} macro-F1",
        }
    if isinstance(question, ManyOf):
        return {
            f"{key}_top1": f"Main {one} found (top-1)",
            f"{key}_top3": f"Main {one} in the first three (top-3)",
            f"{key}_top1_with_parents": f"First {one} is true, or a parent of a true one",
            f"{key}_macro_f1": f"{name} macro-F1",
        }
    return {f"{key}_macro_f1": f"{name} macro-F1"}


def _calibration(question: Question, questions: Questions) -> dict[str, str]:
    if not isinstance(question, OneOf):
        return {}
    name = _title(question, questions)
    return {f"{question.key}_ece": f"{name} calibration error", f"{question.key}_brier": f"{name} Brier score"}


# -- words ---------------------------------------------------------------------------------------------------------------
ABOUT = {  # what a report says under the title of a packaged question; of others what they ask
    "scene": "Which kind of photo it is",
    "objects": "Things the photo shows. An object brings its parents along: a pizza is also food.",
}
SUCH_AS = {"attributes": " such as “is a person in it?”"}


def in_words(key: str) -> str:
    return key.replace("_", " ")


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _title(question: Question, questions: Questions) -> str:
    return questions.name(question.key, capital(in_words(question.key)))


def kind_title(kind: str, questions: Questions) -> str:
    """Title of a figure of the question that a head answers."""
    return _title(question_of(kind, questions), questions)


def one_of(question: Question, questions: Questions) -> str:
    """What one of its labels is called: scene, attribute, object; a given name stands for one and for several."""
    return questions.name(question.key, in_words(question.head))


def noun(question: Question, questions: Questions) -> str:
    """What an answer is, in a sentence: the scene, the attributes, the objects."""
    return questions.name(question.key, in_words(question.head if isinstance(question, OneOf) else question.key))


def plural(question: Question, questions: Questions) -> str:
    """Several of them: scenes, attributes, objects."""
    return questions.name(question.key, f"{in_words(question.head)}s" if isinstance(question, OneOf) else in_words(question.key))


def title(question: Question, questions: Questions) -> str:
    """Title of its part of a page: Scenes, Attributes, Objects."""
    return questions.name(question.key, capital(plural(question, questions)))


def titles(questions: Questions) -> dict[str, str]:
    """Kind -> title of its part of a page."""
    return {question.head: title(question, questions) for question in questions}


def main_words(questions: Questions) -> tuple[str, str]:
    """One label and several of the question in headlines: scene, scenes."""
    return ("label", "labels") if questions.main is None else (noun(questions.main, questions), plural(questions.main, questions))


def about(question: Question, questions: Questions) -> str:
    """What it asks, as a report says it under the question's title."""
    if question.key in ABOUT:
        return ABOUT[question.key]
    text = capital(question.text(questions.language).rstrip("."))
    tree = isinstance(question, ManyOf) and any("." in label.word for label in question.labels)
    if not isinstance(question, ManyOf):
        return text
    return f"{text}.{' A child brings its parents along.' if tree else ''}"


def such_as(question: YesNo) -> str:
    return SUCH_AS.get(question.key, "")
