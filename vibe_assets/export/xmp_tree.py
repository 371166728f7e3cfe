"""The bytes of an XMP packet go in; its elements with their places in the bytes come out, so that text can be put in and taken out
without touching anything else.

A parser that writes the document anew would change prefixes, quotes, comments and white space of fields that are not ours.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from xml.parsers import expat

from vibe_assets.errors import UserError

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
MAX_BYTES = 20_000_000
WHITE = b" \t\r\n"
_TAG = re.compile(rb"""<(?:[^"'>]++|"[^"]*+"|'[^']*+')*+>""")
_ATTRIBUTE = re.compile(rb"""(?<!\s)\s++([^\s=/>"']++)\s*+=\s*+("[^"]*+"|'[^']*+')""")  # linear, whatever the white space


class SidecarError(UserError, ValueError):
    """A sidecar that must be left alone. `reason` is a short code, `detail` is for people."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


@dataclass(eq=False)
class Element:
    """An element and where it stands: [start, inner) is its start tag, [close, end) its end tag (equal to `inner` if it has none)."""

    name: str  # "namespace local"
    attributes: dict[str, str]
    start: int
    inner: int
    close: int = 0
    end: int = 0
    closed: bool = False  # <a/>
    children: list[Element] = field(default_factory=list)
    pieces: list[str] = field(default_factory=list)  # of its text, as the parser gave them

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    def all(self, name: str) -> Iterator[Element]:
        return (child for child in self.children if child.name == name)

    def first(self, name: str) -> Element | None:
        return next(self.all(name), None)


def parse(data: bytes) -> Element:
    """The root element. Raises SidecarError: too_large, not_utf8, doctype (refused before anything in it is read), malformed."""
    if len(data) > MAX_BYTES:
        raise SidecarError("too_large", f"{len(data)} bytes, at most {MAX_BYTES} are read")
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise SidecarError("not_utf8", "only UTF-8 sidecars are written to") from error
    reader = _Reader(data)
    try:
        reader.parser.Parse(data, True)
    except expat.ExpatError as error:
        raise SidecarError("malformed", str(error)) from error
    if reader.root is None:
        raise SidecarError("malformed", "no element")
    return reader.root


class _Reader:
    """Expat's events as a tree with byte offsets."""

    def __init__(self, data: bytes) -> None:
        self.data, self.open, self.root = data, [], None  # type: bytes, list[Element], Element | None
        self.parser = expat.ParserCreate(namespace_separator=" ")
        self.parser.buffer_text = True
        self.parser.StartDoctypeDeclHandler = self._refuse_doctype
        self.parser.XmlDeclHandler = self._declared
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text

    def _refuse_doctype(self, *_: object) -> None:
        raise SidecarError("doctype", "a sidecar with a document type declaration is not read: entities could stand in it")

    def _declared(self, version: str, encoding: str | None, standalone: int) -> None:
        if encoding and encoding.lower().replace("-", "") != "utf8":
            raise SidecarError("not_utf8", f"encoding {encoding}: only UTF-8 sidecars are written to")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        start = self.parser.CurrentByteIndex
        inner = tag_end(self.data, start)
        element = Element(name, attributes, start, inner, closed=self.data[inner - 2 : inner] == b"/>")
        if self.open:
            self.open[-1].children.append(element)
        else:
            self.root = element
        self.open.append(element)

    def _end(self, _: str) -> None:
        element = self.open.pop()
        if element.closed:
            element.close = element.end = element.inner
        else:
            element.close = self.parser.CurrentByteIndex
            element.end = self.data.index(b">", element.close) + 1

    def _text(self, text: str) -> None:
        if self.open:
            self.open[-1].pieces.append(text)


def tag_end(data: bytes, start: int) -> int:
    """Offset after the '>' of the tag that begins at `start`; one within quotes does not end it."""
    if data[start : start + 1] != b"<":
        raise SidecarError("malformed", f"no tag at byte {start}")
    if found := _TAG.match(data, start):
        return found.end()
    raise SidecarError("malformed", "a tag does not end")


def before(data: bytes, at: int) -> int:
    """Where the white space that leads to `at` begins."""
    while at > 0 and data[at - 1] in WHITE:
        at -= 1
    return at


def prefix_of(data: bytes, element: Element) -> str:
    """The prefix as the document spells it, with its colon; '' for the default namespace."""
    name = data[element.start + 1 : element.inner].split(None, 1)[0].rstrip(b"/>").decode("utf-8")
    return name[: name.index(":") + 1] if ":" in name else ""


def attributes_of(data: bytes, element: Element) -> Iterator[tuple[str, str, int, int]]:
    """Attributes as the document spells them: prefixed name, value, and their place, with the white space before them."""
    for found in _ATTRIBUTE.finditer(data, element.start, element.inner):
        yield found[1].decode("utf-8"), found[2][1:-1].decode("utf-8"), found.start(), found.end()


@dataclass(frozen=True)
class Edit:
    """Bytes [start, end) become `text`."""

    start: int
    end: int
    text: bytes = b""


def applied(data: bytes, edits: Sequence[Edit]) -> bytes:
    """The data with edits that do not overlap; those at one place keep their order."""
    parts, at = [], 0
    for edit in sorted(edits, key=lambda edit: (edit.start, edit.end)):
        if edit.start < at:
            raise ValueError(f"edits overlap at byte {edit.start}")
        parts += [data[at : edit.start], edit.text]
        at = edit.end
    return b"".join([*parts, data[at:]])
