"""What can go wrong with a teacher: reason codes for rows, one error for people, and texts with the key taken out."""

from __future__ import annotations

from typing import Any

REASONS = {
    "teacher_refused": "the teacher declined, or a content filter cut its answer",
    "invalid_answer": "no usable JSON after all tries",
    "timeout": "no answer within teacher.timeout_s, after all tries",
    "rate_limited": "429 after all tries",
    "server_error": "5xx after all tries",
    "unreachable": "the connection broke, after all tries",
    "request_rejected": "the server refused this one request (another 4xx)",
    "too_large": "the photo is too large to send, or the server says so",
    "unreadable_photo": "the file cannot be read or decoded",
    "photo_changed": "the file's bytes are no longer those that were scanned",
    "not_asked": "beyond the limit, or the run ended before",
}
MAX_DETAIL_CHARS = 500


class TeacherError(RuntimeError):
    """The run cannot go on; the message names the setting or file and the remedy. What is journalled stays."""


class TeacherFailure(Exception):
    """One photo has no annotation. `reason` is a key of REASONS, `detail` is for people."""

    def __init__(self, reason: str, detail: str) -> None:
        if reason not in REASONS:
            raise ValueError(f"expected a reason of {sorted(REASONS)}, got {reason!r}")
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail[:MAX_DETAIL_CHARS]


def redact(value: Any, secret: str) -> Any:
    """The same text (or JSON value) with every occurrence of `secret` replaced by ***."""
    if not secret:
        return value
    if isinstance(value, str):
        return value.replace(secret, "***")
    if isinstance(value, dict):
        return {redact(key, secret): redact(item, secret) for key, item in value.items()}
    if isinstance(value, list):
        return [redact(item, secret) for item in value]
    return value
