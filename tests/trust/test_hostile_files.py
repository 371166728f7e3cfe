"""Files of strangers: nested without end, huge, from the year 9999. Each is read or refused in words, and in time that grows with its size.

Sizes are such that work growing with the square of them would take many minutes; no clock is looked at.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.questions import PACKAGED
from vibe_assets.audit.label_studio import read_export
from vibe_assets.export import pick_sidecar, sidecar
from vibe_assets.export.packet import LABELS, PICKS
from vibe_assets.export.sidecar import FIELDS, Entry
from vibe_assets.export.xmp_tree import RDF, Element, parse
from vibe_assets.heads.models import HeadCard
from vibe_assets.labels.convert import convert
from vibe_assets.labels.files import MAX_FAULTS, AuditedFileError, read_audited, read_labels
from vibe_assets.names.index import NameIndexError, _read
from vibe_assets.names.results import ResultsError, read_track
from vibe_assets.records import ANNOTATIONS
from vibe_assets.settings import TriageSettings
from vibe_assets.strangers import json_value, web_address
from vibe_assets.teacher.interchange import import_annotations
from vibe_assets.teacher.journal import Journal
from vibe_assets.triage.pairs import PairFileError, read_pairs
from vibe_assets.vlm.failures import VlmError
from vibe_assets.vlm.sources import read_tag_file

TEACHER, PHOTO = "a" * 16, "b" * 32


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


# -- JSON --------------------------------------------------------------------------------------------------------------
def labels(file: Path) -> Any:
    return read_labels(file, PACKAGED)


def audited(file: Path) -> Any:
    return read_audited(file, questions=PACKAGED, known_ids=[PHOTO])


def exported(file: Path) -> Any:
    return read_export(file, questions=PACKAGED, known_ids=[PHOTO])


def answers(file: Path) -> Any:
    (rejected,) = import_annotations(file, file.parent / "journals", questions=PACKAGED).rejected
    raise ValueError(rejected.reason)


def pairs(file: Path) -> Any:
    return read_pairs(file, settings=TriageSettings())


def results(file: Path) -> Any:
    (file.parent / "config.json").write_bytes(file.read_bytes())
    return read_track(file.parent)


def converted(file: Path) -> Any:
    import polars as pl

    row = {**dict.fromkeys(ANNOTATIONS.columns), "image_id": PHOTO, "annotation": file.read_text()}
    return convert(pl.DataFrame([row], schema=ANNOTATIONS.polars_schema()), PACKAGED, min_object_confidence=0.5, include_non_main=True)


def card(file: Path) -> Any:
    return HeadCard.from_json(file.read_text())


READERS: dict[Callable[[Path], Any], tuple[type[Exception], str]] = {
    labels: (AuditedFileError, '{"image_id": "%s", "scene": %s}'), audited: (AuditedFileError, '{"image_id": "%s", "objects": %s}'),
    exported: (AuditedFileError, '{"image_id": "%s", "annotation_id": 1, "scene": %s}'),
    answers: (ValueError, '{"image_id": "%s", "teacher": "aaaaaaaaaaaaaaaa", "annotation": {"scene": %s}}'),
    pairs: (PairFileError, '{"series_id": "%s", "votes_a": %s, "votes_b": 1, "file_a": "a", "file_b": "b"}'),
    read_tag_file: (VlmError, '{"file_name": "%s", "tags": %s}'), _read: (NameIndexError, '{"%s": %s}'),
    results: (ResultsError, '{"%s": %s}'), converted: (ValueError, '{"%s": %s'), card: (ValueError, '{"%s": %s}'),
}  # fmt: skip


@pytest.mark.parametrize("read", READERS, ids=lambda read: read.__name__)
@pytest.mark.parametrize("depth", [70, 300, 480, 900, 5_000, 200_000])
def test_json_nested_without_end_is_refused_in_words(read: Callable[[Any], Any], depth: int, tmp_path: Path) -> None:
    error, shape = READERS[read]
    file = tmp_path / "in.jsonl"
    file.write_text(shape % (PHOTO, nested(depth)))
    with pytest.raises(error, match=r"nested|JSON"):
        read(file)


def test_half_a_surrogate_pair_is_no_text_that_a_table_could_hold() -> None:
    assert json_value('{"a\\ud800": ["\\udc00x", "\\ud83d\\ude00", 1, null, "\u00fc"]}') == {"a?": ["?x", "\U0001f600", 1, None, "\u00fc"]}


def test_a_field_given_twice_is_found_in_a_huge_object(tmp_path: Path) -> None:
    file = tmp_path / "in.jsonl"
    fields = ", ".join(f'"k{at}": 0' for at in range(200_000))
    file.write_text(f'{{{fields}, "k199999": 1}}\n')
    with pytest.raises(AuditedFileError, match="'k199999' is given twice"):
        labels(file)


def test_a_file_of_nothing_but_faults_is_refused_without_reading_on(tmp_path: Path) -> None:
    file = tmp_path / "in.jsonl"
    file.write_text(json.dumps({"image_id": PHOTO, "objects": [f"object.{at}" for at in range(50_000)]}))
    with pytest.raises(AuditedFileError, match=f"at least {MAX_FAULTS} to correct") as caught:
        audited(file)
    assert len(caught.value.faults) == MAX_FAULTS
    tasks = {"data": {"image_id": PHOTO}, "annotations": [{}] * 50_000}
    file.write_text(json.dumps(tasks))
    with pytest.raises(AuditedFileError, match=f"at least {MAX_FAULTS} to correct"):
        exported(file)


def test_wrong_shapes_of_comparisons_are_refused_with_their_line(tmp_path: Path) -> None:
    file = tmp_path / "pairs.csv"
    for votes in ("[1]", "1e999", "1" + "0" * 400, "{}"):
        file.write_text(f'{{"series_id": "1", "file_a": "a.jpg", "file_b": "b.jpg", "votes_a": {votes}, "votes_b": 1}}')
        with pytest.raises(PairFileError, match=r"line 1: .*votes"):
            pairs(file)
    file.write_text("series_id,file_a,file_b,votes_a,votes_b\n1," + "x" * 200_000 + ",b.jpg,1,1\n")
    with pytest.raises(PairFileError, match="line 2: not CSV"):
        pairs(file)
    file.write_text("series_id,file_a,file_b,votes_a,votes_b\n1," + "1" * 5000 + "-1.jpg,b.jpg,4,1\n")
    assert pairs(file)[0].file_a == "1" * 5000 + "-1.jpg"


def test_a_wide_csv_of_tags_is_refused_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "tags.csv"
    file.write_text("file_name,tags\na.jpg," + "x" * 200_000 + "\n")
    with pytest.raises(VlmError, match="line 2: not CSV"):
        read_tag_file(file)


@pytest.mark.parametrize(
    ("given", "kept"),
    [("https://unsplash.com/@anna?x=1", True), ("http://127.0.0.1:80/a", True), ("javascript:alert(1)", False),
     ("JavaScript:alert(1)", False), ("https://", False), ("//unsplash.com/@anna", False), (" https://a.b/", False), 
     ("https://a.b/\nx", False), ("data:text/html,x", False),
     ("https://[", False), (7, False), (None, False), ("", False)],
)  # fmt: skip
def test_a_page_to_link_to_is_one_of_the_web(given: object, kept: bool, tmp_path: Path) -> None:
    assert web_address(given) == (given if kept else None)
    (tmp_path / "metadata.jsonl").write_text(json.dumps({"file_name": "a.jpg", "tags": ["dog"], "credit_url": given}))
    assert read_tag_file(tmp_path)[0].credit_url == (given if kept else None)


# -- times -------------------------------------------------------------------------------------------------------------
def answer(at: Any, scene: str) -> str:
    said = {"scene": scene, "objects": [], **dict.fromkeys(("has_person", "has_animal", "has_text", "is_document", "is_screenshot"), False)}
    return json.dumps({"image_id": PHOTO, "teacher": TEACHER, "annotation": said, "at": at})


@pytest.mark.parametrize(
    "at", ["9999-12-31T23:59:59+00:00", "9999-12-31T23:59:59.999999-14:00", "2999-01-01T00:00:00", "0001-01-01T00:00:00+14:00"]
)
def test_an_answer_from_the_future_can_be_replaced_by_a_newer_one(at: str, tmp_path: Path) -> None:
    file = tmp_path / "in.jsonl"
    for text in (answer(at, "food"), answer((datetime.now(UTC) + timedelta(seconds=5)).isoformat(), "people")):
        file.write_text(text)
        assert import_annotations(file, tmp_path / "journals", questions=PACKAGED).kept == 1
    assert Journal(tmp_path / "journals" / TEACHER, "reader").known()[PHOTO]["annotation"]["scene"] == "people"


def task(**annotation: Any) -> str:
    said = {"id": 1, "result": [], "completed_by": 1, "updated_at": "2026-03-09T22:16:08Z", **annotation}
    return json.dumps({"data": {"image_id": PHOTO}, "annotations": [said]})


def test_a_task_saved_in_the_future_is_refused_it_would_win_for_ever(tmp_path: Path) -> None:
    file = tmp_path / "export.json"
    for at in ("9999-12-31T23:59:59Z", (datetime.now(UTC) + timedelta(days=2)).isoformat()):
        file.write_text(task(updated_at=at))
        with pytest.raises(AuditedFileError, match="is yet to come"):
            exported(file)
    file.write_text(task(updated_at=(datetime.now(UTC) + timedelta(hours=2)).isoformat()))
    assert len(exported(file)) == 1, "clocks of two machines differ"


def test_odd_fields_of_a_task_are_passed_over_or_refused(tmp_path: Path) -> None:
    file = tmp_path / "export.json"
    file.write_text(task(result=[{"type": "choices", "from_name": ["scene"], "value": {"choices": ["food"]}}]))
    assert exported(file)[0].labels is None
    for seconds in (1e300, 10**400, 1e9):
        file.write_text(task(lead_time=seconds))
        with pytest.raises(AuditedFileError, match="lead_time: expected seconds"):
            exported(file)


# -- XMP ---------------------------------------------------------------------------------------------------------------
ENTRY = Entry("scene.food", "people", "anna", None, None, None, None)


def packet(inside: str, attributes: str = "") -> bytes:
    spaces = " ".join(f'xmlns:{field.prefix}="{field.namespace}"' for field in FIELDS)
    return (
        f'<rdf:RDF xmlns:rdf="{RDF}" xmlns:vibe="{LABELS}" xmlns:vibePick="{PICKS}" xmlns:xmp="http://ns.adobe.com/xap/1.0/" {spaces}>'
        f'<rdf:Description rdf:about=""{attributes}>{inside}</rdf:Description></rdf:RDF>'
    ).encode()


def items(values: list[str], kind: str = "Bag") -> str:
    return f"<rdf:{kind}>" + "".join(f"<rdf:li>{value}</rdf:li>" for value in values) + f"</rdf:{kind}>"


def test_tags_of_ours_are_told_from_those_of_others_among_hundreds_of_thousands() -> None:
    ours = [f"t{at}" for at in range(150_000)]
    container = Element("Bag", {}, 0, 0, children=[Element("li", {}, 0, 0, pieces=[text]) for text in ["mine", *ours, "t1"]])
    prop = Element("dc:subject", {}, 0, 0, children=[container])
    assert sidecar._of_us(prop, ours[::-1], whole=True) == container.children[1:-1], "one of two alike is somebody's"
    assert sidecar._of_us(prop, [*ours[::-1], "t1", "mine"], whole=True) == [prop]


def test_a_sidecar_with_thirty_thousand_descriptions_of_ours_is_cleaned_up() -> None:
    note = f"<vibePick:Fields>{items(['xmp:Rating=5'])}</vibePick:Fields>"
    about = '<rdf:Description rdf:about="" xmp:Rating="5" vibePick:Date="x"/>'
    data = packet(note).replace(b"</rdf:RDF>", (about * 30_000).encode() + b"</rdf:RDF>")
    cleaned = pick_sidecar.removed(data)
    assert cleaned is not None
    assert b"Rating" not in cleaned
    assert sidecar.removed(data.replace(b"vibePick:", b"vibe:")) is not None


def test_white_space_and_comments_without_end_cost_what_they_are_long() -> None:
    blank = packet("<xmp:A>x</xmp:A>", attributes=f' xmlns:vibe="{LABELS}" vibe:Date="x"' + " " * 600_000)
    cleaned = sidecar.removed(blank)
    assert cleaned is not None
    assert b"vibe:Date" not in cleaned
    text = parse(packet("<xmp:A>" + "a<!---->" * 1_000_000 + "</xmp:A>")).children[0].children[0].text
    assert text == "a" * 1_000_000
