"""XMP text: merged with what others wrote, the same bytes the second time, and gone without a trace."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from vibe_assets.export.sidecar import FIELDS, Entry, merged, removed
from vibe_assets.export.xmp_tree import SidecarError

DAY, LATER = "2026-11-22", "2027-05-01"
DOG = Entry("object.animals.dog", "teacher", "t-1", None, 0.98, 0.93, 60)
FOOD = Entry("scene.food", "students", "scene-1", 0.97, 0.97, 0.92, 80)
PERSON = Entry("attr.has_person", "people", "anna", None, None, None, None, kind="attribute", yes_no=True)
ALL = (FOOD, DOG, PERSON)
RDF = 'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"'
NAMESPACES = (
    'xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:lr="http://ns.adobe.com/lightroom/1.0/" '
    'xmlns:digiKam="http://www.digikam.org/ns/1.0/" xmlns:xmp="http://ns.adobe.com/xap/1.0/"'
)


def packet(content: str = "", *, about: str = "", before: str = "") -> bytes:
    """A sidecar with one description, as tools write it."""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n{before}<x:xmpmeta xmlns:x="adobe:ns:meta/">\n<rdf:RDF {RDF}>\n'
        f'  <rdf:Description rdf:about="{about}" {NAMESPACES} xmp:Rating="4">\n{content}  </rdf:Description>\n</rdf:RDF>\n</x:xmpmeta>\n'
    ).encode()


def write(existing: bytes | None, entries: tuple[Entry, ...] = ALL, *, day: str = DAY) -> bytes:
    found = merged(existing, entries, min_precision=0.9, today=day)
    assert found is not None
    return found


FOREIGN = {
    "no keywords": packet(),
    "keywords": packet(
        "   <dc:subject>\n    <rdf:Bag>\n     <rdf:li>holiday</rdf:li>\n     <rdf:li>dog</rdf:li>\n    </rdf:Bag>\n   </dc:subject>\n"
    ),
    "one line": packet("<dc:subject><rdf:Bag><rdf:li>holiday</rdf:li></rdf:Bag></dc:subject>"),
    "empty bag": packet("<dc:subject><rdf:Bag></rdf:Bag></dc:subject>"),
    "comment and entities": packet(
        "<!-- mine: <dog> --><dc:subject><rdf:Bag><rdf:li>R&amp;B &lt;3</rdf:li><!-- x --></rdf:Bag></dc:subject>"
    ),
    "an odd quote": packet('<dc:title>a > b</dc:title><dc:source dc:note="x>y" dc:other=\'"\'/>'),
    "its own id": packet(about="uuid:1234"),
    "no wrapper": f'<rdf:RDF {RDF}><rdf:Description rdf:about=""/></rdf:RDF>'.encode(),
    "no description": f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF {RDF}></rdf:RDF></x:xmpmeta>'.encode(),
    "byte order mark": b"\xef\xbb\xbf" + packet("<dc:subject><rdf:Bag><rdf:li>Gr\u00fc\u00dfe</rdf:li></rdf:Bag></dc:subject>"),
    "other prefixes": (
        b'<r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><r:Description r:about="" xmlns:k="http://purl.org/dc/elements/1.1/">'
        b"<k:subject><r:Bag>\r\n\t<r:li>holiday</r:li>\r\n</r:Bag></k:subject></r:Description></r:RDF>"
    ),
}  # fmt: skip


@pytest.mark.parametrize("existing", FOREIGN.values(), ids=FOREIGN)
def test_what_others_wrote_comes_back_byte_for_byte(existing: bytes) -> None:
    written = write(existing)
    assert written != existing
    assert write(written, day=LATER) == written, "a second run changes no byte, whatever the day"
    assert removed(written) == existing


@pytest.mark.parametrize("existing", FOREIGN.values(), ids=FOREIGN)
def test_any_order_of_label_sets_ends_where_it_would_have_begun(existing: bytes) -> None:
    text = write(write(write(existing, (DOG,)), ALL), (FOOD,))
    assert removed(text) == existing
    assert merged(text, (), min_precision=0.9, today=DAY) == existing


def test_a_new_sidecar_is_taken_away_whole() -> None:
    written = write(None)
    assert write(written, day=LATER) == written
    assert removed(written) is None
    assert merged(written, (), min_precision=0.9, today=DAY) is None


def test_a_sidecar_of_ours_with_something_added_stays() -> None:
    more = write(None).replace(b"</rdf:RDF>", f'<rdf:Description rdf:about="" {NAMESPACES} xmp:Rating="5"/></rdf:RDF>'.encode())
    kept = removed(more)
    assert kept is not None
    assert b'xmp:Rating="5"' in kept
    assert b"vibe" not in kept.replace(b"vibe_assets", b"")


def test_the_date_is_that_of_the_change() -> None:
    first = write(None, (FOOD,))
    assert DAY.encode() in write(first, (FOOD,), day=LATER)
    assert LATER.encode() in write(first, ALL, day=LATER)


def test_a_keyword_that_was_there_before_stays_when_ours_go() -> None:
    existing = FOREIGN["keywords"]
    written = write(existing, (DOG,))
    assert written.count(b"<rdf:li>dog</rdf:li>") == 1
    assert removed(written) == existing


def test_a_tag_that_somebody_took_out_is_not_written_again() -> None:
    written = write(FOREIGN["keywords"])
    by_hand = written
    for value in ("object/animals/dog", "object|animals|dog"):
        first = f"     <rdf:li>{value}</rdf:li>\n".encode()
        by_hand = by_hand.replace(first, b"", 1)
    again = write(by_hand, day=LATER)
    assert b"<rdf:li>scene/food</rdf:li>" in again
    assert again.count(b"object/animals/dog") == 1, "only in our note of what was declined"
    assert b"object.animals.dog" not in again
    assert write(again, day=LATER) == again
    assert removed(again) == FOREIGN["keywords"]


def test_a_tool_that_drops_one_field_has_not_declined_anything() -> None:
    written = write(None)
    dropped = re.sub(rb"\s*<digiKam:TagsList>.*?</digiKam:TagsList>", b"", written, flags=re.DOTALL)
    assert b"object/animals/dog</rdf:li>\n     <rdf:li>attribute" in write(dropped)


def test_notes_that_another_tool_turned_into_attributes_are_still_ours() -> None:
    """Adobe's toolkit, which exiv2 and so digiKam use, writes simple properties as attributes of one description."""
    written = write(packet()).decode()
    notes = dict(re.findall(r"<vibe:(Layout|Date|MinPrecision)>([^<]*)</vibe:\1>", written))
    bag = re.compile(r"<((?:vibe|lr|dc|digiKam):\w+)>\s*<rdf:(?:Bag|Seq)>.*?</\1>", re.DOTALL)
    lists = "".join(found[0] for found in bag.finditer(written))
    spelt = " ".join(['xmlns:vibe="urn:vibe-assets:xmp:1.0/"', *(f'vibe:{name}="{value}"' for name, value in notes.items())])
    compact = packet(lists).replace(b'xmp:Rating="4"', f'{spelt} xmp:Rating="4"'.encode())
    kept = removed(compact)
    assert kept is not None
    assert b"vibe" not in kept
    assert b'xmp:Rating="4"' in kept
    assert b"scene" not in kept
    again = write(compact)
    assert write(again, day=LATER) == again


REFUSED = {
    "doctype": packet(before='<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>\n'),
    "malformed": b"<x:xmpmeta",
    "not_xmp": b"<html><body/></html>",
    "odd_field": packet("<dc:subject>dog, holiday</dc:subject>"),
    "not_utf8": packet().decode().encode("utf-16"),
}


@pytest.mark.parametrize("reason", sorted(REFUSED))
def test_a_sidecar_that_cannot_be_merged_is_left_alone_with_a_reason(reason: str) -> None:
    with pytest.raises(SidecarError) as refusal:
        merged(REFUSED[reason], ALL, min_precision=0.9, today=DAY)
    assert refusal.value.reason == reason
    assert refusal.value.detail


def test_latin1_and_a_declared_encoding_are_not_guessed_at() -> None:
    for data in (b'<?xml version="1.0" encoding="ISO-8859-1"?><a/>', packet("<dc:title>\xfc</dc:title>").decode("utf-8").encode("latin-1")):
        with pytest.raises(SidecarError, match="not_utf8"):
            removed(data)


def test_names_of_labels_are_escaped() -> None:
    odd = Entry("object.r&b.<x>", "people", 'a "b" & c', None, None, None, None)
    written = write(FOREIGN["comment and entities"], (odd,))
    assert b"object/r&amp;b/&lt;x&gt;" in written
    assert removed(written) == FOREIGN["comment and entities"]


# -- exiftool ----------------------------------------------------------------------------------------------------------
needs_exiftool = pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed")


def exiftool(*arguments: str | Path) -> str:
    done = subprocess.run(["exiftool", *map(str, arguments)], capture_output=True, text=True, check=True)
    return done.stdout


def seen(path: Path) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(exiftool("-j", "-G1", "-struct", path))[0]
    return fields


@needs_exiftool
def test_exiftool_reads_the_keywords_and_the_provenance(tmp_path: Path) -> None:
    path = tmp_path / "IMG 1.jpg.xmp"
    path.write_bytes(write(None))
    fields = seen(path)
    assert fields["XMP-digiKam:TagsList"] == ["scene/food", "object/animals/dog", "attribute/has person"]
    assert fields["XMP-lr:HierarchicalSubject"] == ["scene|food", "object|animals|dog", "attribute|has person"]
    assert fields["XMP-dc:Subject"] == ["food", "dog", "person"]
    assert fields["XMP-vibe:Labels"][0] | {} == {
        "Label": "scene.food", "Source": "students", "Version": "scene-1", "Confidence": 0.97, "Precision": 0.97,
        "PrecisionLow": 0.92, "Audited": 80,
    }  # fmt: skip
    assert fields["XMP-vibe:MinPrecision"] == 0.9
    assert "Warning" not in " ".join(fields)


@needs_exiftool
def test_a_sidecar_that_exiftool_made_survives_merge_its_own_edits_and_removal(tmp_path: Path) -> None:
    path = tmp_path / "a.xmp"
    exiftool(
        "-q", "-o", path, "-XMP-dc:Subject=holiday", "-XMP-dc:Subject=food", "-XMP:Rating=4", "-XMP-lr:HierarchicalSubject=Places|Lake",
        "-XMP-dc:Title=Grüße & <b>", "-XMP-exif:GPSLatitude=48.1", "-XMP-mwg-rs:RegionAppliedToDimensionsW=10",
    )  # fmt: skip
    before = path.read_bytes()
    path.write_bytes(write(before))
    fields = seen(path)
    assert fields["XMP-dc:Subject"] == ["holiday", "food", "dog", "person"]
    assert fields["XMP-lr:HierarchicalSubject"][0] == "Places|Lake"
    assert fields["XMP-dc:Title"] == "Grüße & <b>"
    assert removed(path.read_bytes()) == before
    exiftool("-q", "-overwrite_original", "-XMP:Rating=5", "-XMP-dc:Subject+=mine", path)  # writes the whole file anew
    again = write(path.read_bytes())
    assert write(again, day=LATER) == again
    path.write_bytes(removed(again) or b"")
    left = seen(path)
    assert left["XMP-dc:Subject"] == ["holiday", "food", "mine"]
    assert (left["XMP-xmp:Rating"], left["XMP-dc:Title"]) == (5, "Grüße & <b>")
    assert left["XMP-lr:HierarchicalSubject"] == "Places|Lake" or left["XMP-lr:HierarchicalSubject"] == ["Places|Lake"]
    assert not [name for name in left if "vibe" in name or "digiKam" in name]


def test_the_fields_are_those_that_digikam_and_lightroom_read() -> None:
    assert [(field.qualified, field.container) for field in FIELDS] == [
        ("digiKam:TagsList", "Seq"), ("lr:hierarchicalSubject", "Bag"), ("dc:subject", "Bag"),
    ]  # fmt: skip
