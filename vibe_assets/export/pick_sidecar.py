"""A pick goes into an XMP sidecar, and out again: beside the labels, never over what somebody said about the photo.

xmp:Rating and xmp:Label as in the XMP specification part 1, digiKam:PickLabel as in digiKam (0 none, 1 rejected, 2 pending, 3 accepted).
What we wrote stands in properties of a namespace of its own, `vibePick`; the labels' notes are in another, and neither touches the other's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

from vibe_assets.export.packet import (
    CREATED,
    PICKS,
    Property,
    about_of,
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
from vibe_assets.export.xmp_tree import RDF, Element, applied

LAYOUT = "1"
XMP = "http://ns.adobe.com/xap/1.0/"


@dataclass(frozen=True)
class Single(Property):
    """A field with one value, and the values of it by which nobody has said anything."""

    silent: tuple[str, ...]


RATING = Single(XMP, "xmp", "Rating", ("", "0"))
LABEL = Single(XMP, "xmp", "Label", ("",))
PICK_LABEL = Single("http://www.digikam.org/ns/1.0/", "digiKam", "PickLabel", ("", "0"))
FIELDS = (RATING, LABEL, PICK_LABEL)


@dataclass(frozen=True)
class Pick:
    """The photo to keep of a series, and who says so."""

    series_id: str
    model: str  # version of the series head, or rules
    probability: float | None  # None by rule
    rating: int  # stars, 0: none are written

    @property
    def values(self) -> dict[Single, str]:
        return {**({RATING: str(self.rating)} if self.rating else {}), LABEL: "Pick", PICK_LABEL: "3"}


@dataclass(frozen=True)
class Merged:
    """The sidecar (None: it need not exist), and why a pick is not in it ('' where it is, or where there is none)."""

    data: bytes | None
    kept: str = ""


@dataclass(frozen=True)
class Memory:
    """What an earlier run wrote."""

    date: str = ""
    created: bool = False
    declined: bool = False  # somebody took a pick of ours out


def merged(existing: bytes | None, pick: Pick | None, *, today: str) -> Merged:
    """The sidecar with the pick in it, or without the one that an earlier run wrote. Equal picks give equal bytes: the date is that of the
    change. Where somebody rated, labelled or flagged the photo, or took our pick out, nothing is written. Raises SidecarError.
    """
    base, memory = (None, Memory(created=True)) if existing is None else _without_ours(existing)
    said = [] if base is None else _said(rdf_of(base))
    judged = [f"{field.qualified} is {value}" for field, value, _ in said if value not in field.silent]
    kept = ", ".join(judged) or ("somebody took our pick out" if memory.declined else "")
    if pick is None or kept:
        return Merged(_put(base, existing, None, (), memory, today) if memory.declined and not judged else base, kept if pick else "")
    there = {field for field, _, _ in said}
    fields = [field for field in pick.values if field not in there]
    silent = ", ".join(f"{field.qualified} is {value}" for field, value, _ in said)
    return Merged(_put(base, existing, pick, fields, memory, today), "") if fields else Merged(base, silent)


def removed(existing: bytes) -> bytes | None:
    """The sidecar without our pick; None where nothing else was in a file that we made. Raises SidecarError."""
    return _without_ours(existing)[0]


# -- taking out --------------------------------------------------------------------------------------------------------
def _without_ours(data: bytes) -> tuple[bytes | None, Memory]:
    """The bytes as others left them, and what we had noted. A value that was changed since is somebody's."""
    rdf = rdf_of(data)
    if not noted(rdf, PICKS):
        return data, Memory()
    notes, simple = notes_of(rdf, PICKS)
    ours = dict(item.partition("=")[::2] for item in listed(notes.get("Fields")))
    said = _said(rdf)
    mine = [(field, place) for field, value, place in said if ours.get(field.qualified) == value]
    now = {field.qualified: value for field, value, _ in said if value not in field.silent}
    declined = "Declined" in simple or any(name not in now for name in ours)
    gone = [*notes.values(), *(place for field, place in mine if place.name == field.name)]
    attributes = [(place, field.name) for field, place in mine if place.name != field.name]
    memory = Memory(simple.get("Date", ""), CREATED in simple, declined)
    return without(data, rdf, PICKS, gone, ours=memory.created, attributes=attributes), memory


def _said(rdf: Element) -> list[tuple[Single, str, Element]]:
    """Every value of our fields that stands in a packet, with its element, or with the description that it is an attribute of."""
    found = []
    for about in descriptions(rdf):
        for field in FIELDS:
            if field.name in about.attributes:
                found.append((field, about.attributes[field.name].strip(), about))
            found += [(field, prop.text.strip(), prop) for prop in about.all(field.name)]
    return found


# -- putting in --------------------------------------------------------------------------------------------------------
def _put(base: bytes | None, existing: bytes | None, pick: Pick | None, fields: Sequence[Single], memory: Memory, today: str) -> bytes:
    """The block at the end of the packet, under the date it had if nothing else changes."""
    data = empty() if base is None else base
    rdf = rdf_of(data)
    began = base is None or created(rdf)

    def written(date: str) -> bytes:
        return applied(data, [inside(data, rdf, _block(about_of(rdf), pick, fields, began=began, declined=memory.declined, date=date))])

    again = written(memory.date or today)
    return again if again == existing else written(today)


def _block(about: str, pick: Pick | None, fields: Sequence[Single], *, began: bool, declined: bool, date: str) -> bytes:
    spaces = [f"xmlns:{prefix}={quoteattr(space)}" for prefix, space in dict.fromkeys((one.prefix, one.namespace) for one in fields)]
    start = f"<rdf:Description xmlns:rdf={quoteattr(RDF)} rdf:about={quoteattr(about)}"
    lines = [" ".join([start, f"xmlns:vibePick={quoteattr(PICKS)}", *spaces]) + ">"]
    if pick is not None:
        lines += [f" <{field.qualified}>{pick.values[field]}</{field.qualified}>" for field in fields]
    chance = None if pick is None or pick.probability is None else f"{pick.probability:.4f}"
    facts = {
        "Layout": LAYOUT, "Date": date, CREATED: "True" if began else None, "Declined": "True" if declined else None,
        "Series": pick and pick.series_id, "Model": pick and pick.model, "Probability": chance,
    }  # fmt: skip
    lines += [f" <vibePick:{name}>{escape(value)}</vibePick:{name}>" for name, value in facts.items() if value]
    lines += bag("vibePick:Fields", "Bag", [f"{field.qualified}={pick.values[field]}" for field in fields] if pick else [])
    return "".join(f"\n  {line}" for line in [*lines, "</rdf:Description>"]).encode()
