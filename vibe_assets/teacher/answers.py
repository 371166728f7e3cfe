"""The body of a chat completion becomes the annotation and the token counts."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from vibe_assets.teacher.failures import TeacherFailure
from vibe_assets.teacher.schema import InvalidAnswer


def read_answer(
    body: bytes, *, redact: Callable[[Any], Any], parse: Callable[[str], dict[str, Any]]
) -> tuple[dict[str, Any], dict[str, int]]:
    """(annotation, usage) of a response body; `redact` takes the key out of whatever a careless server echoes.

    Raises TeacherFailure(teacher_refused), or InvalidAnswer when the body is no chat completion or the text no annotation.
    """
    try:
        completion = json.loads(body)
        choice = completion["choices"][0]
        message = choice["message"]
        refusal, content, finish = message.get("refusal"), message.get("content"), choice.get("finish_reason")
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        shown = redact(body.decode("utf-8", "replace"))[:200]
        raise InvalidAnswer(f"not a chat completion: {shown!r}") from None
    if refusal or finish == "content_filter":
        raise TeacherFailure("teacher_refused", redact(str(refusal or "stopped by the server's content filter")))
    try:
        annotation = parse(redact(_text(content)))
    except InvalidAnswer as error:
        if finish == "length":
            raise InvalidAnswer(f"cut off at teacher.max_tokens, raise it; {error}") from None
        raise
    return redact(annotation), _usage(completion.get("usage"))


def _text(content: Any) -> str:
    """The answer's text; some servers send it as a list of parts."""
    if isinstance(content, list):
        content = "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
    if not isinstance(content, str) or not content.strip():
        raise InvalidAnswer("the answer is empty")
    return content


def _usage(usage: Any) -> dict[str, int]:
    found = usage if isinstance(usage, dict) else {}
    names = ("prompt_tokens", "completion_tokens", "total_tokens")
    return {name: found[name] for name in names if isinstance(found.get(name), int) and 0 <= found[name] < 2**53}
