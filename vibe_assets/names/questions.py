"""Faces and names become questions for a vision-language model, and its answers become names: open questions and multiple choice."""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

OPEN_PROMPT = "Which first name would you guess for the person in this picture? Answer with one first name only."
CHOICE_PROMPT = "Which first name would you guess for the person in this picture?\n{options}\nAnswer with one letter only."


@dataclass(frozen=True)
class FaceFile:
    """A chip of the study: where it lies, its name as a position in the names, its group and side."""

    image_id: str
    path: str
    name: int
    group: int
    split: str


@dataclass(frozen=True)
class Question:
    """What is asked about a chip, and the right answer. `options`: positions of the names on offer, in the order of their letters."""

    face: FaceFile
    prompt: str
    answer: str
    options: tuple[int, ...] = ()


def open_questions(faces: Sequence[FaceFile], names: Sequence[str]) -> list[Question]:
    return [Question(face, OPEN_PROMPT, names[face.name].capitalize()) for face in faces]


def choice_questions(faces: Sequence[FaceFile], names: Sequence[str], *, options: int, seed: int) -> list[Question]:
    """One question per face: the true name among `options` - 1 others drawn at random, at a place drawn at random.

    The draw depends on face and seed only, so a question stays the same whatever else is asked. Raises ValueError for too few names.
    """
    if not 2 <= options <= min(len(names), 26):
        raise ValueError(f"options: expected 2..{min(len(names), 26)}, got {options}")
    made = []
    for face in faces:
        rng = Random(f"{seed}:{face.image_id}")
        offered = [face.name, *rng.sample([at for at in range(len(names)) if at != face.name], options - 1)]
        rng.shuffle(offered)
        listed = "\n".join(f"{letter}. {names[at].capitalize()}" for letter, at in zip(string.ascii_uppercase, offered, strict=False))
        letter = string.ascii_uppercase[offered.index(face.name)]
        made.append(Question(face, CHOICE_PROMPT.format(options=listed), letter, tuple(offered)))
    return made


def read_open(text: str, names: Sequence[str]) -> int:
    """Position of the name that an answer gives, len(names) for anything else."""
    words = [word.strip(string.punctuation + "„“”").lower() for word in text.split()]
    known = {name: at for at, name in enumerate(names)}
    found = [known[word] for word in words if word in known]
    return found[0] if len(set(found)) == 1 else len(names)


def read_choice(text: str, question: Question, names: Sequence[str]) -> int:
    """Position of the name that an answer chooses, by letter or by name; len(names) where it chooses none or several."""
    letters = string.ascii_uppercase[: len(question.options)]
    word = text.strip().strip(string.punctuation)
    if word and word[0].upper() in letters and not word[1:2].isalpha():
        return question.options[letters.index(word[0].upper())]
    said = read_open(text, names)
    return said if said in question.options else len(names)
