"""What can go wrong with a teacher: reason codes for rows, one error for people, and texts with the key taken out."""

from __future__ import annotations

import base64
import json
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from vibe_assets.errors import UserError

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
REMEDIES = dict.fromkeys(REASONS, "see what the server's own log says") | {  # reason -> what to do where a first try fails of it
    "teacher_refused": "choose a model or an endpoint without a content filter",
    "invalid_answer": "choose a model that follows instructions, or raise teacher.max_tokens",
    "timeout": "raise teacher.timeout_s, or lower the load of the server",
    "rate_limited": "wait, or lower teacher.concurrency",
    "unreachable": "start the server, or correct teacher.base_url (QWEN_BASE_URL)",
    "request_rejected": "choose a model that takes images; teacher.model (QWEN_MODEL) names it",
    "too_large": "lower teacher.max_side_px",
}
MAX_DETAIL_CHARS = 500
PART_CHARS = 12  # so many characters of a key in a row are masked wherever they stand


class TeacherError(UserError, RuntimeError):
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
    """The same text (or JSON value) with `secret` replaced by ***: whole, in base64 or URL-encoded, and any PART_CHARS characters of it.

    A part that short of nothing but the secret is no coincidence, and error messages like to show the beginning of a key.
    """
    if not secret:
        return value
    if isinstance(value, str):
        return _masked(value, secret)
    if isinstance(value, dict):
        return {redact(key, secret): redact(item, secret) for key, item in value.items()}
    if isinstance(value, list):
        return [redact(item, secret) for item in value]
    return value


def _masked(text: str, secret: str) -> str:
    spans: list[tuple[int, int]] = []
    for part in _telling_parts(secret):
        at = text.find(part)
        while at >= 0:
            spans.append((at, at + len(part)))
            at = text.find(part, at + 1)
    shown: list[str] = []
    end = 0
    for first, last in sorted(spans):
        if first > end or not shown:
            shown += [text[end:first], "***"]
        end = max(end, last)
    return "".join([*shown, text[end:]])


@lru_cache(maxsize=32)
def _telling_parts(secret: str) -> tuple[str, ...]:
    """Texts that give the secret away: its PART_CHARS-character parts in every spelling, and each spelling whole."""
    whole = {secret, quote(secret, safe=""), json.dumps(secret)[1:-1]}
    for shift in range(3):  # base64 of the secret inside a longer text looks different by where it starts
        coded = base64.b64encode(b"\0" * shift + secret.encode()).decode().rstrip("=")
        known = coded[-(-shift * 8 // 6) : len(coded) - (0 if (shift + len(secret.encode())) % 3 == 0 else 1)]
        whole |= {known, known.replace("+", "-").replace("/", "_")}
    parts = {text[at : at + PART_CHARS] for text in whole for at in range(len(text) - PART_CHARS + 1)}
    return tuple(sorted(parts | {text for text in whole if len(text) >= min(len(secret), PART_CHARS)}))
