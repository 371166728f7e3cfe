"""Which questions a kept record answers, and which are still to be asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vibe_assets.questions import Questions

# What answers without a note of their questions are answers to: the packaged questions as they were when notes began.
FIRST = {"scene": "e7733d205aafb636", "attributes": "d317a6a5ed553621", "objects": "528f363300d61125"}


def open_questions(record: Mapping[str, Any] | None, questions: Questions) -> tuple[str, ...]:
    """The questions that a record does not answer; all without one."""
    answered = answered_questions(record)
    return tuple(key for key, wanted in questions.asked_fingerprints.items() if answered.get(key) != wanted)


def answered_questions(record: Mapping[str, Any] | None) -> Mapping[str, str]:
    """Question -> fingerprint of what was asked, of a record that is an answer."""
    if record is None or not isinstance(record.get("annotation"), dict):
        return {}
    noted = record.get("questions")
    return noted if isinstance(noted, dict) else FIRST
