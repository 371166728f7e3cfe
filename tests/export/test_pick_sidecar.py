"""Picks in sidecars: beside labels and what others wrote, the same bytes the second time, gone without a trace."""

from __future__ import annotations

import json
import shutil
import subprocess
from itertools import permutations
from pathlib import Path

import pytest

from tests.export.test_sidecar import ALL, DAY, FOREIGN, LATER, RDF
from vibe_assets.export import pick_sidecar, sidecar
from vibe_assets.export.pick_sidecar import Pick
from vibe_assets.export.sidecar_files import JUDGED, NO_PICK, REFUSED, WRITTEN, remove_pick, remove_sidecar, write_pick, write_sidecar

PICK = Pick("s" * 32, "linear-1", 0.81, 5)
UNRATED = {name: text.replace(b' xmp:Rating="4"', b"") for name, text in FOREIGN.items()}
needs_exiftool = pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed")


def picked(existing: bytes | None, pick: Pick | None = PICK, *, day: str = DAY) -> bytes | None:
    return pick_sidecar.merged(existing, pick, today=day).data


def labelled(existing: bytes | None, *, day: str = DAY) -> bytes:
    found = sidecar.merged(existing, ALL, min_precision=0.9, today=day)
    assert found is not None
    return found


def packet(attributes: str = "", content: str = "") -> bytes:
    return (
        f'<rdf:RDF {RDF}><rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" '
        f'xmlns:digiKam="http://www.digikam.org/ns/1.0/" {attributes}>{content}</rdf:Description></rdf:RDF>'
    ).encode()


@pytest.mark.parametrize("existing", UNRATED.values(), ids=UNRATED)
def test_what_others_wrote_comes_back_byte_for_byte(existing: bytes) -> None:
    written = picked(existing)
    assert written is not None
    assert b"<xmp:Rating>5</xmp:Rating>" in written
    assert picked(written, day=LATER) == written, "a second run changes no byte, whatever the day"
    assert pick_sidecar.removed(written) == existing
    assert picked(written, None) == existing, "a photo that is not the pick any more"


@pytest.mark.parametrize("existing", [None, *UNRATED.values()], ids=["no sidecar", *UNRATED])
def test_labels_and_picks_do_not_touch_each_other(existing: bytes | None) -> None:
    only_labels, only_pick = labelled(existing), picked(existing)
    assert only_pick is not None
    both = picked(only_labels)
    assert both == labelled(only_pick), "the same bytes, whichever was written first"
    assert labelled(both, day=LATER) == both == picked(both, day=LATER)
    assert sidecar.removed(both) == only_pick
    assert pick_sidecar.removed(both) == only_labels
    assert pick_sidecar.removed(only_pick) == existing


@pytest.mark.parametrize("order", permutations(["label", "pick", "unlabel", "unpick"]))
def test_any_order_of_steps_ends_without_a_trace(order: tuple[str, ...]) -> None:
    data: bytes | None = None
    for step in (*order, "unlabel", "unpick"):
        if step == "label":
            data = labelled(data)
        elif step == "pick":
            data = picked(data)
        elif data is not None:
            data = sidecar.removed(data) if step == "unlabel" else pick_sidecar.removed(data)
    assert data is None


@pytest.mark.parametrize(
    ("existing", "said"),
    [
        (packet('xmp:Rating="4"'), "xmp:Rating is 4"),
        (packet('xmp:Rating="-1"'), "xmp:Rating is -1"),
        (packet(content="<xmp:Label>Red</xmp:Label>"), "xmp:Label is Red"),
        (packet('digiKam:PickLabel="1"'), "digiKam:PickLabel is 1"),
    ],
)
def test_what_somebody_said_about_the_photo_is_left_alone_with_a_reason(existing: bytes, said: str) -> None:
    found = pick_sidecar.merged(existing, PICK, today=DAY)
    assert (found.data, found.kept) == (existing, said)


def test_a_zero_is_no_rating_and_stays_as_it_is() -> None:
    existing = packet('xmp:Rating="0" digiKam:PickLabel="0"')
    written = picked(existing)
    assert written is not None
    assert written.count(b"Rating") == existing.count(b"Rating") + 0
    assert b"<xmp:Label>Pick</xmp:Label>" in written
    assert pick_sidecar.removed(written) == existing


def test_a_rating_that_somebody_changed_is_theirs_and_the_rest_of_ours_goes() -> None:
    changed = (picked(packet()) or b"").replace(b">5</xmp:Rating>", b">3</xmp:Rating>")
    found = pick_sidecar.merged(changed, PICK, today=LATER)
    assert found.kept == "xmp:Rating is 3"
    assert found.data is not None
    assert b">3</xmp:Rating>" in found.data
    assert b"Pick" not in found.data
    assert pick_sidecar.removed(changed) == found.data
    assert pick_sidecar.merged(found.data, PICK, today=LATER).data == found.data


def test_a_pick_that_somebody_took_out_is_not_written_again() -> None:
    declined = (picked(None) or b"").replace(b"\n   <xmp:Rating>5</xmp:Rating>", b"").replace(b"\n   <xmp:Label>Pick</xmp:Label>", b"")
    found = pick_sidecar.merged(declined, PICK, today=LATER)
    assert found.kept == "somebody took our pick out"
    assert found.data is not None
    assert b"digiKam" not in found.data
    assert pick_sidecar.merged(found.data, PICK, today=LATER).data == found.data
    assert picked(found.data, None) == found.data, "remembered until it is removed"
    assert pick_sidecar.removed(found.data) is None


def test_no_stars_are_written_where_none_are_wanted() -> None:
    written = picked(None, Pick("s", "rules", None, 0)) or b""
    assert b"Rating" not in written
    assert b"<digiKam:PickLabel>3</digiKam:PickLabel>" in written


def test_files_say_what_became_of_them(tmp_path: Path) -> None:
    place = tmp_path / "IMG 1.jpg.xmp"
    assert write_pick(place, None, root=place.parent, today=DAY, dry_run=False).what == NO_PICK
    assert write_pick(place, PICK, root=place.parent, today=DAY, dry_run=True).what == WRITTEN
    assert not place.exists()
    inside = write_pick(place, PICK, root=place.parent, today=DAY, dry_run=False, embedded="rated 2 within the photo")
    assert (inside.what, inside.reason, inside.detail, place.exists()) == (REFUSED, JUDGED, "rated 2 within the photo", False)
    place.write_bytes(packet('xmp:Rating="4"'))
    kept = write_pick(place, PICK, root=place.parent, today=DAY, dry_run=False)
    assert (kept.what, kept.reason, kept.detail) == (REFUSED, JUDGED, "xmp:Rating is 4")
    assert place.read_bytes() == packet('xmp:Rating="4"')
    assert remove_pick(place, root=place.parent, dry_run=False) is None
    place.unlink()
    write_pick(place, PICK, root=place.parent, today=DAY, dry_run=False)
    assert remove_sidecar(place, root=place.parent, dry_run=False) is None, "no labels of ours are in it"
    write_sidecar(place, ALL, root=place.parent, min_precision=0.9, today=DAY, dry_run=False)
    assert remove_sidecar(place, root=place.parent, dry_run=False) is not None
    assert place.read_bytes() == picked(None)
    assert remove_pick(place, root=place.parent, dry_run=False) is not None
    assert list(tmp_path.iterdir()) == []


# -- as other tools read and write it ----------------------------------------------------------------------------------
def exiftool(*arguments: object) -> str:
    return subprocess.run(["exiftool", *map(str, arguments)], capture_output=True, text=True, check=True).stdout


def seen(path: Path) -> dict[str, object]:
    fields: dict[str, object] = json.loads(exiftool("-j", "-G1", "-n", path))[0]
    return fields


@needs_exiftool
def test_exiftool_reads_the_pick_beside_the_labels_and_may_rewrite_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.xmp"
    exiftool("-q", "-o", path, "-XMP-dc:Subject=holiday", "-XMP-dc:Title=Grüße")
    before = path.read_bytes()
    path.write_bytes(picked(labelled(before)) or b"")
    fields = seen(path)
    assert (fields["XMP-xmp:Rating"], fields["XMP-xmp:Label"], fields["XMP-digiKam:PickLabel"]) == (5, "Pick", 3)
    assert (fields["XMP-vibePick:Model"], fields["XMP-vibePick:Probability"]) == ("linear-1", 0.81)
    assert fields["XMP-dc:Subject"] == ["holiday", "food", "dog", "person"]
    for mode in ("NoPadding", "Shorthand"):  # writes the whole file anew, the second time with attributes for simple values
        exiftool("-q", "-overwrite_original", "-api", f"compact={mode}", "-XMP-dc:Creator=me", path)
        again = picked(path.read_bytes())
        assert again is not None
        assert picked(again, day=LATER) == again
        path.write_bytes(pick_sidecar.removed(path.read_bytes()) or b"")
        left = seen(path)
        assert not [name for name in left if "vibePick" in name or "PickLabel" in name or name.startswith("XMP-xmp:")]
        assert left["XMP-digiKam:TagsList"] == ["scene/food", "object/animals/dog", "attribute/has person"]
        path.write_bytes(picked(path.read_bytes()) or b"")
    path.write_bytes(sidecar.removed(path.read_bytes()) or b"")
    fields = seen(path)
    assert (fields["XMP-xmp:Rating"], fields["XMP-dc:Subject"], fields["XMP-dc:Creator"]) == (5, "holiday", "me")


@needs_exiftool
def test_stars_given_with_exiftool_stay(tmp_path: Path) -> None:
    path = tmp_path / "a.xmp"
    exiftool("-q", "-o", path, "-XMP:Rating=2")
    before = path.read_bytes()
    found = write_pick(path, PICK, root=path.parent, today=DAY, dry_run=False)
    assert (found.detail, path.read_bytes()) == ("xmp:Rating is 2", before)
