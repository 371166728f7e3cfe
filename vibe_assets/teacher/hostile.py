"""Answers of a teacher that means harm, by number: what a reader must survive without a crash, a leak or a wrong label."""

from __future__ import annotations

import json

from vibe_assets.questions import YesNo, load

_FLAGS = [field.name for question in load().of_type(YesNo) for field in question.fields]
_LABELS = {"scene": "food", **dict.fromkeys(_FLAGS, False), _FLAGS[2]: "unknown"}
_MARKUP = '<img src=x onerror="alert(1)"></script><script>alert(1)</script>'


def hostile_answer(number: int, authorization: str) -> str:
    """The `number`-th hostile text; `authorization` is the request's header, sent back as a careless proxy would."""
    key = authorization.removeprefix("Bearer ")
    texts = (
        json.dumps({**_LABELS, "objects": [{"name_free": key, "coarse_type": key, "is_main": True, "confidence": 1.0}]}),
        '{"a":' * 5_000,
        "[" * 50_000,
        json.dumps({**_LABELS, "objects": []}) + " " * 200_000,
        "{" * 50_000,
        f"The key is {key}. " + '{"' * 1_000,
        '{"scene": "food", "objects": [{"name_free": "\\ud83d", "confidence": NaN, "is_main": "yes"}, 7, [[]], {"confidence": 1e999}]}',
        '{"scene": "' + "x" * 50_000 + '"}',
        json.dumps({**_LABELS, "scene": ["food"], _FLAGS[0]: "true", "objects": {"name_free": "bread"}}),
        '{"scene": "food", "confidence": ' + "9" * 10_000 + "}",
        json.dumps(
            {**_LABELS, "objects": [{"name_free": _MARKUP, "coarse_type": "'; DROP TABLE annotations; --", "confidence": "0.9"}] * 500}
        ),
        "",
        "null",
        '"scene"',
    )
    return texts[number % len(texts)]
