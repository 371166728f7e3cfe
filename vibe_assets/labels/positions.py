"""A JSON list or JSONL text becomes its elements, each able to say in which line of the file any of its values stands."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

from vibe_assets.strangers import plain_json

MAX_DEPTH = 3  # labels lie no deeper; what does is not walked
_SPACE = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder(object_pairs_hook=lambda pairs: _without_repeats(pairs))

Place = tuple[str | int, ...]  # keys and indices from the element down to a value


class FileFault(NamedTuple):
    """What is wrong in a line (counted from 1). `entry`: which one of the list (from 1), where a line holds several; else 0."""

    line: int
    message: str
    entry: int = 0

    @property
    def where(self) -> str:
        """Line, and entry where the line alone says too little."""
        return f"line {self.line}" + (f", entry {self.entry}" if self.entry else "")


@dataclass(frozen=True)
class Element:
    """One value of the list, or one line of JSONL, and where its text begins in the file."""

    value: Any
    text: str
    first_line: int
    entry: int = 0  # see FileFault

    def fault(self, place: Place, message: str) -> FileFault:
        """What is wrong with the value at `place`."""
        return FileFault(self.line(place), message, self.entry)

    def line(self, place: Place = ()) -> int:
        """Line of the value at `place`; of the nearest value around it where there is none."""
        while place and place not in self._offsets:
            place = place[:-1]
        return self.first_line + self.text.count("\n", 0, self._offsets.get(place, 0))

    @cached_property
    def _offsets(self) -> dict[Place, int]:
        offsets: dict[Place, int] = {}
        _walk(self.text, 0, (), offsets)
        return offsets


def split_elements(text: str) -> tuple[list[Element], list[FileFault]]:
    """The elements that could be read, and a fault for each that could not. Lines end with LF, CR LF or CR."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return _of_list(text) if text.lstrip().startswith("[") else _of_lines(text)


def _of_lines(text: str) -> tuple[list[Element], list[FileFault]]:
    elements, faults = [], []
    for number, line in enumerate(text.split("\n"), start=1):
        if not (line := line.strip()):
            continue
        try:
            elements.append(Element(_decode(line), line, number))
        except ValueError as error:
            faults.append(FileFault(number, _worded(error)))
    if not elements and not faults:
        faults.append(FileFault(1, "the file is empty"))
    return elements, faults


def _of_list(text: str) -> tuple[list[Element], list[FileFault]]:
    """Element by element. A syntax error ends the list: what follows it cannot be told apart."""
    elements: list[Element] = []
    line, counted = 1, 0
    at = _skip(text, text.index("[") + 1)
    try:
        while text[at : at + 1] != "]" or elements:
            value, end = _decode_at(text, at)
            line, counted = line + text.count("\n", counted, at), at
            elements.append(Element(value, text[at:end], line))
            at = _skip(text, end)
            if text[at : at + 1] == "]":
                break
            if text[at : at + 1] != ",":
                raise json.JSONDecodeError("expected ',' or ']' after an element", text, at)
            at = _skip(text, at + 1)
        if text[at + 1 :].strip():
            raise json.JSONDecodeError("text after the end of the list", text, _skip(text, at + 1))
    except ValueError as error:
        offset = error.pos if isinstance(error, json.JSONDecodeError) else at
        line = text.count("\n", 0, offset) + 1
        crowded = bool(elements) and elements[-1].first_line == line
        return _numbered(elements), [FileFault(line, _worded(error), len(elements) + 1 if crowded else 0)]
    return _numbered(elements), []


def _numbered(elements: list[Element]) -> list[Element]:
    """The elements, with their number where several begin in one line."""
    begin = Counter(element.first_line for element in elements)
    return [replace(element, entry=at) if begin[element.first_line] > 1 else element for at, element in enumerate(elements, 1)]


def _decode(text: str) -> Any:
    value, end = _decode_at(text, 0)
    if text[end:].strip():
        raise json.JSONDecodeError("text after the end of the value", text, end)
    return value


def _decode_at(text: str, at: int) -> tuple[Any, int]:
    try:
        value, end = _DECODER.raw_decode(text, at)
    except RecursionError as error:
        raise json.JSONDecodeError("nested too deeply", text, at) from error
    return plain_json(value), end


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A field given twice is a slip of the editor: JSON would silently keep the last."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        repeated = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the field {repeated!r} is given twice in one object; keep one")
    return fields


def _worded(error: ValueError) -> str:
    return f"not valid JSON: {error.msg}" if isinstance(error, json.JSONDecodeError) else str(error)


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _walk(text: str, at: int, place: Place, offsets: dict[Place, int]) -> int:
    """Note where each value below `at` begins (a field begins at its name); return the end. The text is known to be valid."""
    at = _skip(text, at)
    opening = text[at]
    offsets.setdefault(place, at)
    if opening not in "[{" or len(place) >= MAX_DEPTH:
        return _DECODER.raw_decode(text, at)[1]
    at, index = _skip(text, at + 1), 0
    while text[at] not in "]}":
        part: str | int = index
        if opening == "{":
            part, end = _DECODER.raw_decode(text, at)
            offsets[(*place, part)] = at
            at = _skip(text, end) + 1
        at = _skip(text, _walk(text, at, (*place, part), offsets))
        at, index = (_skip(text, at + 1) if text[at] == "," else at), index + 1
    return at + 1
