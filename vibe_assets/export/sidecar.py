"""Labels go into an XMP sidecar, and out again: merged with what others wrote, remembered as ours, removed without a trace.

Fields as in the XMP specification part 1 (https://developer.adobe.com/xmp/docs/): dc:subject is flat, lr:hierarchicalSubject has '|',
digiKam:TagsList has '/'. What we added, and why, stands in properties of our own namespace, `vibe`:
`Added...` the values that were not there before, `Lists` the fields that we began, `Labels` label, source, version, precision.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

from vibe_assets.export.xmp_tree import RDF, Edit, Element, SidecarError, applied, attributes_of, before, parse, prefix_of

VIBE = "urn:vibe-assets:xmp:1.0/"
LAYOUT = "1"
META = "adobe:ns:meta/"


@dataclass(frozen=True)
class Field:
    """A keyword field that others write, too."""

    namespace: str
    prefix: str
    local: str
    container: str  # Seq or Bag
    added: str  # our note of what we put in

    @property
    def name(self) -> str:
        return f"{self.namespace} {self.local}"

    @property
    def qualified(self) -> str:
        return f"{self.prefix}:{self.local}"


TAGS_LIST = Field("http://www.digikam.org/ns/1.0/", "digiKam", "TagsList", "Seq", "AddedTagsList")
HIERARCHICAL = Field("http://ns.adobe.com/lightroom/1.0/", "lr", "hierarchicalSubject", "Bag", "AddedHierarchicalSubject")
SUBJECT = Field("http://purl.org/dc/elements/1.1/", "dc", "subject", "Bag", "AddedSubject")
FIELDS = (TAGS_LIST, HIERARCHICAL, SUBJECT)


@dataclass(frozen=True)
class Entry:
    """A label that may be written, with the evidence for it."""

    label: str  # taxonomy key
    source: str  # people | students | zero_shot | teacher
    version: str
    confidence: float | None
    precision: float | None  # None for people's own labels
    low: float | None  # lower end of the 95 % interval
    n: int | None  # audited photos behind it

    @property
    def path(self) -> str:
        """scene/food, attribute/has person, object/animals/dog."""
        kind, _, rest = self.label.partition(".")
        return "/".join(["attribute" if kind == "attr" else kind, *rest.split(".")]).replace("_", " ")

    def value(self, field: Field) -> str:
        """What the label is called in a field."""
        if field is TAGS_LIST:
            return self.path
        if field is HIERARCHICAL:
            return self.path.replace("/", "|")
        leaf = self.path.rpartition("/")[2]
        return leaf.removeprefix("has ").removeprefix("is ") if self.label.startswith("attr.") else leaf


@dataclass(frozen=True)
class Memory:
    """What an earlier run wrote into a sidecar."""

    date: str = ""
    created: bool = False  # the file is ours
    declined: tuple[str, ...] = ()  # paths that we wrote and somebody took out


def merged(existing: bytes | None, entries: Iterable[Entry], *, min_precision: float, today: str) -> bytes | None:
    """The sidecar with the labels in it; None where it need not exist. Equal labels give equal bytes: the date is that of the change.

    Values that are there already stay whose they are. A tag of ours that somebody took out is not put in again. Raises SidecarError.
    """
    base, memory = (None, Memory(created=True)) if existing is None else _without_ours(existing)
    chosen = [entry for entry in dict.fromkeys(entries) if entry.path not in memory.declined]
    if not chosen and not memory.declined:
        return base

    def written(date: str) -> bytes:
        return _with_ours(_empty() if base is None else base, chosen, memory, created=base is None, min_precision=min_precision, date=date)

    again = written(memory.date or today)
    return again if again == existing else written(today)


def removed(existing: bytes) -> bytes | None:
    """The sidecar without anything of ours; None where nothing else was in a file that we made. Raises SidecarError."""
    return _without_ours(existing)[0]


def is_ours(data: bytes) -> bool:
    """Whether a sidecar holds something of ours, without parsing it."""
    return VIBE.encode() in data


# -- taking out --------------------------------------------------------------------------------------------------------
def _without_ours(data: bytes) -> tuple[bytes | None, Memory]:
    """The bytes as others left them, and what we had noted. Other tools may have turned our simple notes into attributes."""
    rdf = _rdf(data)
    abouts = [about for about in _descriptions(rdf) if any(map(_own, about.children)) or any(map(_own_name, about.attributes))]
    if not abouts:
        return data, Memory()
    notes = {child.name.partition(" ")[2]: child for about in abouts for child in about.children if _own(child)}
    simple = {name: note.text for name, note in notes.items()}
    simple |= {name.partition(" ")[2]: value for about in abouts for name, value in about.attributes.items() if _own_name(name)}
    ours = {field: _listed(notes.get(field.added)) for field in FIELDS}
    begun = _listed(notes.get("Lists"))
    gone: list[Element] = list(notes.values())
    for about in _descriptions(rdf):
        for field in FIELDS:
            for prop in about.all(field.name):
                gone += _of_us(prop, ours[field], whole=field.qualified in begun)
    emptied = [about for about in abouts if not _rest(about, gone)]
    gone = [*emptied, *(element for element in gone if not any(about.start < element.start < about.end for about in emptied))]
    memory = Memory(simple.get("Date", ""), "CreatedSidecar" in simple, _declined(rdf, ours, _listed(notes.get("Declined"))))
    if memory.created and not [child for child in rdf.children if child not in emptied]:
        return None, memory
    edits = [Edit(before(data, element.start), element.end) for element in gone]
    for about in abouts:
        edits += [] if about in emptied else _own_attributes(data, about)
    return applied(data, edits), memory


def _own_attributes(data: bytes, about: Element) -> list[Edit]:
    """Our notes and our namespace out of a start tag that others need."""
    found = list(attributes_of(data, about))
    prefixes = {name.removeprefix("xmlns:") for name, value, _, _ in found if value == VIBE}
    return [Edit(start, end) for name, value, start, end in found if value == VIBE or (":" in name and name.partition(":")[0] in prefixes)]


def _of_us(prop: Element, values: Sequence[str], *, whole: bool) -> list[Element]:
    """The items of a field that we added; the field itself where we began it and nothing else is in it."""
    items = [item for container in prop.children for item in container.children]
    mine, wanted = [], list(values)
    for item in items:
        if item.text in wanted:
            wanted.remove(item.text)
            mine.append(item)
    return [prop] if whole and len(mine) == len(items) else mine


def _declined(rdf: Element, ours: dict[Field, tuple[str, ...]], before_now: tuple[str, ...]) -> tuple[str, ...]:
    """Paths of ours that are in neither hierarchical field any more: somebody took them out, and not a tool that drops one field."""
    tags, subjects = (_present(rdf, field) for field in (TAGS_LIST, HIERARCHICAL))
    noted = dict.fromkeys([*ours[TAGS_LIST], *(path.replace("|", "/") for path in ours[HIERARCHICAL])])
    missing = [path for path in noted if path not in tags and path.replace("/", "|") not in subjects]
    return tuple(sorted({*before_now, *missing}))


def _rest(about: Element, gone: Sequence[Element]) -> bool:
    """Whether a description still says something once `gone` is out."""
    spoken = [name for name in about.attributes if name not in (f"{RDF} about", "about") and not _own_name(name)]
    return bool(spoken) or any(child not in gone for child in about.children)


# -- putting in --------------------------------------------------------------------------------------------------------
def _with_ours(data: bytes, entries: Sequence[Entry], memory: Memory, *, created: bool, min_precision: float, date: str) -> bytes:
    rdf = _rdf(data)
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
    block = _block(data, rdf, entries, added, begun, memory, created=created, min_precision=min_precision, date=date)
    edits.append(_inside(data, rdf, block))
    return applied(data, edits)


def _into(data: bytes, container: Element, values: Sequence[str]) -> Edit:
    """New items behind the last, led in by the same white space."""
    prefix = prefix_of(data, container)
    last = container.children[-1] if container.children else None
    lead = data[before(data, last.start) : last.start] if last else b""
    items = b"".join(lead + f"<{prefix}li>{escape(value)}</{prefix}li>".encode() for value in values)
    return Edit(last.end, last.end, items) if last else _inside(data, container, items)


def _inside(data: bytes, element: Element, content: bytes) -> Edit:
    """Content at the end of an element's children; `<a/>` is opened for it."""
    if element.closed:
        name = data[element.start + 1 : element.inner].split(None, 1)[0].rstrip(b"/>")
        return Edit(element.inner - 2, element.inner, b">" + content + b"</" + name + b">")
    at = element.children[-1].end if element.children else element.inner
    return Edit(at, at, content)


def _block(
    data: bytes, rdf: Element, entries: Sequence[Entry], added: dict[Field, list[str]], begun: Sequence[Field], memory: Memory, *,
    created: bool, min_precision: float, date: str,
) -> bytes:  # fmt: skip
    """A description of our own: the fields that nobody had begun, and our notes."""
    abouts = [about.attributes.get(f"{RDF} about", about.attributes.get("about", "")) for about in _descriptions(rdf)]
    spaces = [f"xmlns:{field.prefix}={quoteattr(field.namespace)}" for field in begun]
    start = f"<rdf:Description xmlns:rdf={quoteattr(RDF)} rdf:about={quoteattr(abouts[0] if abouts else '')}"
    lines = [" ".join([start, f"xmlns:vibe={quoteattr(VIBE)}", *spaces]) + ">"]
    for field in begun:
        lines += _list(field.qualified, field.container, added[field])
    lines += [
        f" <vibe:Layout>{LAYOUT}</vibe:Layout>",
        f" <vibe:Date>{date}</vibe:Date>",
        f" <vibe:MinPrecision>{min_precision:g}</vibe:MinPrecision>",
    ]
    if created:
        lines.append(" <vibe:CreatedSidecar>True</vibe:CreatedSidecar>")
    notes = {"Lists": [field.qualified for field in begun], **{field.added: added[field] for field in FIELDS}, "Declined": memory.declined}
    for name, values in notes.items():
        lines += _list(f"vibe:{name}", "Bag", values)
    lines += _evidence(entries)
    return "".join(f"\n  {line}" for line in [*lines, "</rdf:Description>"]).encode()


def _list(name: str, container: str, values: Sequence[str]) -> list[str]:
    if not values:
        return []
    items = [f"   <rdf:li>{escape(value)}</rdf:li>" for value in values]
    return [f" <{name}>", f"  <rdf:{container}>", *items, f"  </rdf:{container}>", f" </{name}>"]


def _evidence(entries: Sequence[Entry]) -> Iterator[str]:
    if not entries:
        return
    yield " <vibe:Labels>"
    yield "  <rdf:Bag>"
    for entry in entries:
        facts = {
            "Label": entry.label,
            "Source": entry.source,
            "Version": entry.version,
            "Confidence": None if entry.confidence is None else f"{entry.confidence:.4f}",
            "Precision": None if entry.precision is None else f"{entry.precision:.4f}",
            "PrecisionLow": None if entry.low is None else f"{entry.low:.4f}",
            "Audited": entry.n,
        }
        yield '   <rdf:li rdf:parseType="Resource">'
        yield from (f"    <vibe:{name}>{escape(str(value))}</vibe:{name}>" for name, value in facts.items() if value not in (None, ""))
        yield "   </rdf:li>"
    yield "  </rdf:Bag>"
    yield " </vibe:Labels>"


def _empty() -> bytes:
    """A packet that says nothing yet."""
    return (
        f'<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n<x:xmpmeta xmlns:x="{META}" x:xmptk="vibe_assets">\n'
        f' <rdf:RDF xmlns:rdf="{RDF}">\n </rdf:RDF>\n</x:xmpmeta>\n<?xpacket end="w"?>\n'
    ).encode()


# -- reading -----------------------------------------------------------------------------------------------------------
def _rdf(data: bytes) -> Element:
    root = parse(data)
    found = root if root.name == f"{RDF} RDF" else root.first(f"{RDF} RDF")
    if found is None:
        raise SidecarError("not_xmp", "there is no rdf:RDF in it")
    return found


def _descriptions(rdf: Element) -> list[Element]:
    return list(rdf.all(f"{RDF} Description"))


def _own(element: Element) -> bool:
    return _own_name(element.name)


def _own_name(name: str) -> bool:
    return name.startswith(f"{VIBE} ")


def _container(rdf: Element, field: Field) -> Element | None:
    """The Bag or Seq of a field; None where nobody began it. Raises SidecarError where the field is no list."""
    for about in _descriptions(rdf):
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


def _listed(note: Element | None) -> tuple[str, ...]:
    """The items of a list of ours."""
    return () if note is None else tuple(item.text for container in note.children for item in container.children)
