"""Which questions a kept record answers, and which are still to be asked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from vibe_assets.lake import write_text
from vibe_assets.questions import Questions, load

# What answers without a note of their questions are answers to: the packaged questions as they were when notes began.
FIRST = {"scene": "e7733d205aafb636", "attributes": "d317a6a5ed553621", "objects": "528f363300d61125"}


def open_questions(record: Mapping[str, Any] | None, questions: Questions, rel_path: str) -> tuple[str, ...]:
    """The questions that the photo there is asked and its record does not answer; all of them without one."""
    answered, accepted = answered_questions(record), questions.accepted
    asked = (question for question in questions.asked if not question.is_off(rel_path))
    return tuple(question.key for question in asked if answered.get(question.key) not in accepted[question.key])


def asked_before(folder: Path) -> list[dict[str, Any]]:
    """What was asked of teachers here so far, by the notes in `folder`; one that cannot be read is passed over.

    Without notes it was the packaged questions, which a library of before notes was asked.
    """
    found: list[dict[str, Any]] = []
    for file in sorted(folder.glob("*.json")):
        with suppress(OSError, ValueError):
            found.append(json.loads(file.read_text(encoding="utf-8")))
    return found or list(load().asked_in_full.values())


def note_asked(folder: Path, questions: Questions) -> None:
    """Write down what is asked, each question once, so that a label that is taken out later asks nobody again."""
    for key, mark in questions.asked_fingerprints.items():
        if not (file := folder / f"{mark}.json").exists():
            write_text(file, json.dumps(questions.asked_in_full[key], ensure_ascii=False))
            note_asked(folder, load())


def answered_questions(record: Mapping[str, Any] | None) -> Mapping[str, str]:
    """Question -> fingerprint of what was asked, of a record that is an answer."""
    if record is None or not isinstance(record.get("annotation"), dict):
        return {}
    noted = record.get("questions")
    return noted if isinstance(noted, dict) else FIRST
