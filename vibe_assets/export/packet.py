"""An XMP packet goes in; where our own notes stand in it, what is left without them, and where new ones go come out.

Several parts of the project keep notes in one sidecar, each in a namespace of its own, and none reads or touches those of another.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from xml.sax.saxutils import escape

from vibe_assets.export.xmp_tree import RDF, Edit, Element, SidecarError, applied, attributes_of, before, parse

META = "adobe:ns:meta/"
LABELS = "urn:vibe-assets:xmp:1.0/"
PICKS = "urn:vibe-assets:picks:1.0/"
CREATED = "CreatedSidecar"  # note of every part that the file would not be there without us


@dataclass(frozen=True)
class Property:
    """A field of a sidecar by its namespace; `qualified` is how it is written in the file."""

    namespace: str
    prefix: str
    local: str

    @property
    def name(self) -> str:
        return f"{self.namespace} {self.local}"

    @property
    def qualified(self) -> str:
        return f"{self.prefix}:{self.local}"


def is_ours(data: bytes, namespace: str) -> bool:
    """Whether a sidecar holds notes of a namespace, without parsing it."""
    return namespace.encode() in data


def rdf_of(data: bytes) -> Element:
    root = parse(data)
    found = root if root.name == f"{RDF} RDF" else root.first(f"{RDF} RDF")
    if found is None:
        raise SidecarError("not_xmp", "there is no rdf:RDF in it")
    return found


def descriptions(rdf: Element) -> list[Element]:
    return list(rdf.all(f"{RDF} Description"))


def about_of(rdf: Element) -> str:
    """What the descriptions are about: all of a packet say the same."""
    abouts = [found.attributes.get(f"{RDF} about", found.attributes.get("about", "")) for found in descriptions(rdf)]
    return abouts[0] if abouts else ""


def noted(rdf: Element, namespace: str) -> list[Element]:
    """The descriptions with notes of a namespace."""
    return [about for about in descriptions(rdf) if any(name.startswith(f"{namespace} ") for name in _names(about))]


def notes_of(rdf: Element, namespace: str) -> tuple[dict[str, Element], dict[str, str]]:
    """Our notes as elements by local name, and the simple ones as text: other tools may have turned them into attributes."""
    lead = f"{namespace} "
    notes = {child.name.removeprefix(lead): child for about in descriptions(rdf) for child in about.children if child.name.startswith(lead)}
    simple = {name: note.text for name, note in notes.items()}
    for about in descriptions(rdf):
        simple |= {name.removeprefix(lead): value for name, value in about.attributes.items() if name.startswith(lead)}
    return notes, simple


def created(rdf: Element) -> bool:
    """Whether any part of ours has noted that it began the file."""
    return any(name in (f"{LABELS} {CREATED}", f"{PICKS} {CREATED}") for about in descriptions(rdf) for name in _names(about))


def listed(note: Element | None) -> tuple[str, ...]:
    """The items of a list of ours."""
    return () if note is None else tuple(item.text for container in note.children for item in container.children)


def without(
    data: bytes, rdf: Element, namespace: str, gone: Sequence[Element], *, ours: bool, attributes: Sequence[tuple[Element, str]] = ()
) -> bytes | None:
    """The bytes without `gone` and `attributes` (description, "namespace local"), without the notes and the namespace, and without
    descriptions that say nothing any more. None where nothing is left in a file of ours.
    """
    abouts, out = noted(rdf, namespace), frozenset(gone)
    dropped: dict[Element, set[str]] = {about: set() for about in abouts}
    for about, name in attributes:
        dropped.setdefault(about, set()).add(name)
    touched = [about for about in descriptions(rdf) if about in dropped or not out.isdisjoint(about.children)]
    emptied = dict.fromkeys(about for about in touched if not _rest(about, out, dropped.get(about, set()), namespace))
    if ours and all(child in emptied for child in rdf.children):
        return None
    ends = {about.start: about.end for about in emptied}
    starts = sorted(ends)

    def lies_in_emptied(element: Element) -> bool:
        at = bisect_left(starts, element.start)
        return at > 0 and element.start < ends[starts[at - 1]]

    taken = [*emptied, *(element for element in gone if element not in emptied and not lies_in_emptied(element))]
    edits = [Edit(before(data, element.start), element.end) for element in taken]
    for about in abouts:
        edits += [] if about in emptied else _own_attributes(data, about, namespace)
    spelled = {name: _spelled(data, name) for name in {name for _, name in attributes}}
    edits += [_attribute(data, about, spelled[name]) for about, name in attributes if about not in emptied]
    return applied(data, edits)


def _names(about: Element) -> Iterator[str]:
    yield from about.attributes
    yield from (child.name for child in about.children)


def _rest(about: Element, gone: AbstractSet[Element], attributes: AbstractSet[str], namespace: str) -> bool:
    """Whether a description still says something once `gone` and `attributes` are out."""
    silent = {f"{RDF} about", "about", *attributes}
    spoken = [name for name in about.attributes if name not in silent and not name.startswith(f"{namespace} ")]
    return bool(spoken) or any(child not in gone for child in about.children)


def _own_attributes(data: bytes, about: Element, namespace: str) -> list[Edit]:
    """Our notes and our namespace out of a start tag that others need."""
    found = list(attributes_of(data, about))
    prefixes = {name.removeprefix("xmlns:") for name, value, _, _ in found if value == namespace}
    return [
        Edit(start, end) for name, value, start, end in found if value == namespace or (":" in name and name.partition(":")[0] in prefixes)
    ]


def _spelled(data: bytes, name: str) -> frozenset[str]:
    """How the document may write a resolved name: with each prefix that it binds to the namespace."""
    namespace, _, local = name.partition(" ")
    bound = re.findall(rb"""xmlns:([^\s=]++)\s*+=\s*+["']""" + re.escape(namespace.encode()) + rb"""["']""", data)
    return frozenset(f"{prefix.decode()}:{local}" for prefix in bound)


def _attribute(data: bytes, about: Element, spelled: AbstractSet[str]) -> Edit:
    """One attribute, by the ways to write its name, out of a start tag."""
    return next(Edit(start, end) for found, _, start, end in attributes_of(data, about) if found in spelled)


# -- putting in --------------------------------------------------------------------------------------------------------
def inside(data: bytes, element: Element, content: bytes) -> Edit:
    """Content at the end of an element's children; `<a/>` is opened for it."""
    if element.closed:
        name = data[element.start + 1 : element.inner].split(None, 1)[0].rstrip(b"/>")
        return Edit(element.inner - 2, element.inner, b">" + content + b"</" + name + b">")
    at = element.children[-1].end if element.children else element.inner
    return Edit(at, at, content)


def ahead(data: bytes, rdf: Element, content: bytes, namespace: str) -> Edit:
    """Content behind everything but the blocks of a namespace: two parts of ours keep their order, whichever of them writes last."""
    later = frozenset(noted(rdf, namespace))
    if not later:
        return inside(data, rdf, content)
    others = [child for child in rdf.children if child not in later]
    at = others[-1].end if others else rdf.inner
    return Edit(at, at, content)


def bag(name: str, container: str, values: Sequence[str]) -> list[str]:
    """Lines of a list; none for an empty one."""
    if not values:
        return []
    items = [f"   <rdf:li>{escape(value)}</rdf:li>" for value in values]
    return [f" <{name}>", f"  <rdf:{container}>", *items, f"  </rdf:{container}>", f" </{name}>"]


def empty() -> bytes:
    """A packet that says nothing yet."""
    return (
        f'<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n<x:xmpmeta xmlns:x="{META}" x:xmptk="vibe_assets">\n'
        f' <rdf:RDF xmlns:rdf="{RDF}">\n </rdf:RDF>\n</x:xmpmeta>\n<?xpacket end="w"?>\n'
    ).encode()
