"""Labels go into an XMP sidecar, and out again: merged with what others wrote, remembered as ours, removed without a trace.

Fields as in the XMP specification part 1 (https://developer.adobe.com/xmp/docs/): dc:subject is flat, lr:hierarchicalSubject has '|',
digiKam:TagsList has '/'. What we added, and why, stands in properties of our own namespace, `vibe`:
`Added...` the values that were not there before, `Lists` the fields that we began, `Labels` label, source, version, precision. Labels stand
there by key; `Keyword` is the path that one was written as where the label file names it, so that a tag which somebody took out stays out
under another name or in another language.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

from vibe_assets.export.packet import (
    CREATED,
    LABELS,
    PICKS,
    Property,
    about_of,
    ahead,
    bag,
    created,
    descriptions,
    empty,
    inside,
    listed,
    noted,
    notes_of,
    rdf_of,
    without,
)
from vibe_assets.export.xmp_tree import RDF, Edit, Element, SidecarError, applied, before, prefix_of
from vibe_assets.strangers import xml_text

LAYOUT = "1"


@dataclass(frozen=True)
class Field(Property):
    """A keyword field that others write, too."""

    container: str  # Seq or Bag
    added: str  # our note of what we put in


TAGS_LIST = Field("http://www.digikam.org/ns/1.0/", "digiKam", "TagsList", "Seq", "AddedTagsList")
HIERARCHICAL = Field("http://ns.adobe.com/lightroom/1.0/", "lr", "hierarchicalSubject", "Bag", "AddedHierarchicalSubject")
SUBJECT = Field("http://purl.org/dc/elements/1.1/", "dc", "subject", "Bag", "AddedSubject")
FIELDS = (TAGS_LIST, HIERARCHICAL, SUBJECT)


@dataclass(frozen=True)
class Entry:
    """A label that may be written, with the evidence for it."""

    label: str  # label key
    source: str  # people | students | zero_shot | teacher
    version: str
    confidence: float | None
    precision: float | None  # None for people's own labels
    low: float | None  # lower end of the 95 % interval
    n: int | None  # audited photos behind it
    kind: str = ""  # what people call the question's labels, where it is not the beginning of the key
    yes_no: bool = False
    names: tuple[str, ...] = ()  # what people call the question and each part of the label; none: as the key has it

    @property
    def key_path(self) -> str:
        """scene/food, attribute/has person, object/animals/dog."""
        kind, _, rest = self.label.partition(".")
        return "/".join([self.kind or kind, *rest.split(".")]).replace("_", " ")

    @property
    def path(self) -> str:
        """What the label is called, below its question and its parents: シーン/料理. Separators within a name become their wide twins."""
        return "/".join(_part(name) for name in self.names) or self.key_path

    def value(self, field: Field) -> str:
        """What the label is called in a field."""
        if field is TAGS_LIST:
            return self.path
        if field is HIERARCHICAL:
            return self.path.replace("/", "|")
        leaf = self.path.rpartition("/")[2]
        as_key = self.yes_no and leaf == self.key_path.rpartition("/")[2]
        return leaf.removeprefix("has ").removeprefix("is ") if as_key else leaf


def _part(name: str) -> str:
    return xml_text(" ".join(name.split())).replace("/", "\N{FULLWIDTH SOLIDUS}").replace("|", "\N{FULLWIDTH VERTICAL LINE}")


@dataclass(frozen=True)
class Memory:
    """What an earlier run wrote into a sidecar."""

    date: str = ""
    created: bool = False  # the file is ours
    declined: tuple[str, ...] = ()  # what we wrote and somebody took out: labels by key where they had names, else paths


def merged(existing: bytes | None, entries: Iterable[Entry], *, min_precision: float, today: str) -> bytes | None:
    """The sidecar with the labels in it; None where it need not exist. Equal labels give equal bytes: the date is that of the change.

    Values that are there already stay whose they are. A tag of ours that somebody took out is not put in again. Raises SidecarError.
    """
    base, memory = (None, Memory(created=True)) if existing is None else _without_ours(existing)
    declined = frozenset(memory.declined)
    chosen = [entry for entry in dict.fromkeys(entries) if declined.isdisjoint((entry.label, entry.key_path, entry.path))]
    if not chosen and not memory.declined:
        return base

    def written(date: str) -> bytes:
        return _with_ours(empty() if base is None else base, chosen, memory, began=base is None, min_precision=min_precision, date=date)

    again = written(memory.date or today)
    return again if again == existing else written(today)


def removed(existing: bytes) -> bytes | None:
    """The sidecar without anything of ours; None where nothing else was in a file that we made. Raises SidecarError."""
    return _without_ours(existing)[0]


# -- taking out --------------------------------------------------------------------------------------------------------
def _without_ours(data: bytes) -> tuple[bytes | None, Memory]:
    """The bytes as others left them, and what we had noted. Other tools may have turned our simple notes into attributes."""
    rdf = rdf_of(data)
    if not noted(rdf, LABELS):
        return data, Memory()
    notes, simple = notes_of(rdf, LABELS)
    ours = {field: listed(notes.get(field.added)) for field in FIELDS}
    begun = listed(notes.get("Lists"))
    gone: list[Element] = list(notes.values())
    for about in descriptions(rdf):
        for field in FIELDS:
            for prop in about.all(field.name):
                gone += _of_us(prop, ours[field], whole=field.qualified in begun)
    declined = _declined(rdf, ours, listed(notes.get("Declined")), _keywords(notes.get("Labels")))
    memory = Memory(simple.get("Date", ""), CREATED in simple, declined)
    return without(data, rdf, LABELS, gone, ours=memory.created), memory


def _of_us(prop: Element, values: Sequence[str], *, whole: bool) -> list[Element]:
    """The items of a field that we added; the field itself where we began it and nothing else is in it."""
    items = [item for container in prop.children for item in container.children]
    mine, wanted = [], Counter(values)
    for item in items:
        if wanted[item.text] > 0:
            wanted[item.text] -= 1
            mine.append(item)
    return [prop] if whole and len(mine) == len(items) else mine


def _keywords(labels: Element | None) -> dict[str, str]:
    """Path -> key, of labels that were written by name; other tools may have turned our simple facts into attributes."""
    found = {}
    for item in (item for container in (labels.children if labels else ()) for item in container.children):
        facts: dict[str, str] = {}
        for about in (item, *item.all(f"{RDF} Description")):
            facts |= about.attributes | {child.name: child.text for child in about.children}
        if (path := facts.get(f"{LABELS} Keyword")) and (key := facts.get(f"{LABELS} Label")):
            found[path] = key
    return found


def _declined(
    rdf: Element, ours: dict[Field, tuple[str, ...]], before_now: tuple[str, ...], keywords: Mapping[str, str]
) -> tuple[str, ...]:
    """Paths of ours that are in neither hierarchical field any more: somebody took them out, and not a tool that drops one field."""
    tags, subjects = (_present(rdf, field) for field in (TAGS_LIST, HIERARCHICAL))
    noted = dict.fromkeys([*ours[TAGS_LIST], *(path.replace("|", "/") for path in ours[HIERARCHICAL])])
    missing = [path for path in noted if path not in tags and path.replace("/", "|") not in subjects]
    return tuple(sorted({*before_now, *(keywords.get(path, path) for path in missing)}))


# -- putting in --------------------------------------------------------------------------------------------------------
def _with_ours(data: bytes, entries: Sequence[Entry], memory: Memory, *, began: bool, min_precision: float, date: str) -> bytes:
    rdf = rdf_of(data)
    edits: list[Edit] = []
    added: dict[Field, list[str]] = {}
    begun: list[Field] = []
    for field in FIELDS:
        there = _present(rdf, field)
        added[field] = [value for value in dict.fromkeys(entry.value(field) for entry in entries) if value not in there]
        container = _container(rdf, field)
        if container is None:
            begun.append(field)
        elif added[field]:
            edits.append(_into(data, container, added[field]))
    begun = [field for field in begun if added[field]]
    block = _block(data, rdf, entries, added, begun, memory, began=began or created(rdf), min_precision=min_precision, date=date)
    edits.append(ahead(data, rdf, block, PICKS))
    return applied(data, edits)


def _into(data: bytes, container: Element, values: Sequence[str]) -> Edit:
    """New items behind the last, led in by the same white space."""
    prefix = prefix_of(data, container)
    last = container.children[-1] if container.children else None
    lead = data[before(data, last.start) : last.start] if last else b""
    items = b"".join(lead + f"<{prefix}li>{escape(value)}</{prefix}li>".encode() for value in values)
    return Edit(last.end, last.end, items) if last else inside(data, container, items)


def _block(
    data: bytes, rdf: Element, entries: Sequence[Entry], added: dict[Field, list[str]], begun: Sequence[Field], memory: Memory, *,
    began: bool, min_precision: float, date: str,
) -> bytes:  # fmt: skip
    """A description of our own: the fields that nobody had begun, and our notes."""
    spaces = [f"xmlns:{field.prefix}={quoteattr(field.namespace)}" for field in begun]
    start = f"<rdf:Description xmlns:rdf={quoteattr(RDF)} rdf:about={quoteattr(about_of(rdf))}"
    lines = [" ".join([start, f"xmlns:vibe={quoteattr(LABELS)}", *spaces]) + ">"]
    for field in begun:
        lines += bag(field.qualified, field.container, added[field])
    lines += [
        f" <vibe:Layout>{LAYOUT}</vibe:Layout>",
        f" <vibe:Date>{date}</vibe:Date>",
        f" <vibe:MinPrecision>{min_precision:g}</vibe:MinPrecision>",
    ]
    if began:
        lines.append(f" <vibe:{CREATED}>True</vibe:{CREATED}>")
    notes = {"Lists": [field.qualified for field in begun], **{field.added: added[field] for field in FIELDS}, "Declined": memory.declined}
    for name, values in notes.items():
        lines += bag(f"vibe:{name}", "Bag", values)
    lines += _evidence(entries)
    return "".join(f"\n  {line}" for line in [*lines, "</rdf:Description>"]).encode()


def _evidence(entries: Sequence[Entry]) -> Iterator[str]:
    if not entries:
        return
    yield " <vibe:Labels>"
    yield "  <rdf:Bag>"
    for entry in entries:
        facts = {
            "Label": entry.label,
            "Keyword": entry.path if entry.names else None,
            "Source": entry.source,
            "Version": entry.version,
            "Confidence": None if entry.confidence is None else f"{entry.confidence:.4f}",
            "Precision": None if entry.precision is None else f"{entry.precision:.4f}",
            "PrecisionLow": None if entry.low is None else f"{entry.low:.4f}",
            "Audited": entry.n,
        }
        yield '   <rdf:li rdf:parseType="Resource">'
        yield from (f"    <vibe:{name}>{escape(xml_text(value))}</vibe:{name}>" for name, value in facts.items() if value not in (None, ""))
        yield "   </rdf:li>"
    yield "  </rdf:Bag>"
    yield " </vibe:Labels>"


# -- reading -----------------------------------------------------------------------------------------------------------
def _container(rdf: Element, field: Field) -> Element | None:
    """The Bag or Seq of a field; None where nobody began it. Raises SidecarError where the field is no list."""
    for about in descriptions(rdf):
        if field.name in about.attributes:
            raise SidecarError("odd_field", f"{field.qualified} is an attribute, not a list")
        for prop in about.all(field.name):
            lists = [child for child in prop.children if child.name in (f"{RDF} Bag", f"{RDF} Seq", f"{RDF} Alt")]
            if len(lists) != 1 or len(prop.children) != 1:
                raise SidecarError("odd_field", f"{field.qualified} is not a list")
            return lists[0]
    return None


def _present(rdf: Element, field: Field) -> frozenset[str]:
    container = _container(rdf, field)
    return frozenset() if container is None else frozenset(item.text for item in container.children)
