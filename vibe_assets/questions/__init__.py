"""What photos are asked, as data: questions of three types, read from one YAML file."""

from __future__ import annotations

from vibe_assets.questions.file import LabelFileError, load, packaged, packs
from vibe_assets.questions.questions import Questions
from vibe_assets.questions.rules import Rule
from vibe_assets.questions.types import Field, Label, ManyOf, OneOf, Question, Rating, Told, YesNo
from vibe_assets.questions.words import normalise

__all__ = [
    "Field", "Label", "LabelFileError", "ManyOf", "OneOf", "Question", "Questions", "Rating", "Rule", "Told", "YesNo", "load", "normalise",
    "packaged", "packs",
]  # fmt: skip
