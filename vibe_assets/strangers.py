"""Strangers' words (file names, teachers' answers, servers' messages) go in; text that is shown and not obeyed comes out."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import urlsplit

MAX_CELL_CHARS = 200
FORMULA = ("=", "+", "-", "@")  # what a spreadsheet takes for a formula when a cell begins with it
# Moves the cursor, colours, rings, or turns the reading direction: C0 and C1 but for tab and newline, and Unicode's bidi controls.
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, section 2.2: no document may hold these
_MARKDOWN = re.compile(r"[\\`*\[\]<>|]|&(?=#?\w+;)")
_ADDRESS = re.compile(r"(?<=://)(?=\S)|(?<=\bwww\.)(?=\S)", re.IGNORECASE)


MAX_DEPTH = 64  # of JSON; nothing that is read here nests deeper than ten


def json_value(text: str | bytes) -> Any:
    """The value of a JSON text. Raises ValueError for what is none, or nests so deep that whoever walks or writes it would break off."""
    try:
        return plain_json(json.loads(text))
    except RecursionError as error:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels") from error


def plain_json(value: Any) -> Any:
    """A decoded value, half a surrogate pair in its texts replaced: neither UTF-8 nor a table holds one. Raises ValueError: too deep."""
    return _plain(value, MAX_DEPTH)


def _plain(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-8", "replace").decode("utf-8")
    if not isinstance(value, dict | list):
        return value
    if not depth:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, list):
        return [_plain(item, depth - 1) for item in value]
    return {_plain(name, depth): _plain(item, depth - 1) for name, item in value.items()}


def web_address(text: object) -> str | None:
    """The text where a page may link to it: an http or https address of a host, without white space; None for anything else."""
    if not isinstance(text, str) or re.search(r"\s", text) or _UNSEEN.search(text):
        return None
    try:
        parts = urlsplit(text)
    except ValueError:
        return None
    return text if parts.scheme in ("http", "https") and parts.hostname else None


def shortened(text: str, most: int = MAX_CELL_CHARS) -> str:
    """The text without its middle where it has more than `most` characters: a path's ends tell it apart."""
    return text if len(text) <= most else f"{text[: most // 2 - 2]} ... {text[-(most // 2 - 3) :]}"


def visible(text: object) -> str:
    r"""The text for a terminal: control and direction characters as \x1b, \u202e; tabs and line ends stay."""
    return _UNSEEN.sub(lambda found: ascii(found[0])[1:-1], str("" if text is None else text))


def xml_text(text: object) -> str:
    """The text for an XML document, not yet escaped: what no document may hold is written as Python would."""
    return _NOT_XML.sub(lambda found: ascii(found[0])[1:-1], str(text))


def markdown_cell(text: object) -> str:
    """The text for a cell of a Markdown table: no markup, no picture, no link, not even from a bare address."""
    plain = " ".join(visible(text).split())[:MAX_CELL_CHARS]
    escaped = _MARKDOWN.sub(lambda found: f"&#{ord(found[0])};", plain)
    return _ADDRESS.sub("\u200b", escaped)  # renderers look for addresses after entities are read


def spreadsheet_cell(value: Any) -> str:
    """A cell that no spreadsheet runs: text that begins like a formula, or with a control character, gets a ' before it."""
    text = "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    risky = text.lstrip(" ").startswith(FORMULA) or (text and (ord(text[0]) < 0x20 or ord(text[0]) == 0x7F))
    return f"'{text}" if risky else text
