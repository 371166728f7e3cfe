"""Label files: written, read back, and refused with the line that is wrong."""

from __future__ import annotations

import json
import time

import polars as pl
import pytest

from vibe_assets.labels.files import AuditedFileError, read_audited, read_labels, write_audited, write_labels
from vibe_assets.labels.sample import write_sample
from vibe_assets.questions import load
from vibe_assets.records import AUDIT_SAMPLE, AUDITED_GROUND_TRUTH

PACKAGED = load()
IDS = ["aa", "bb", "cc"]


@pytest.fixture
def sample():
    rows = [
        {**dict.fromkeys(AUDIT_SAMPLE.columns), "image_id": image_id, "rel_path": f"{image_id}.jpg", "inclusion_probability": 0.25,
         "stratum": "rest/all", "scene": "scene.food", "objects": ["object.food", "object.drink"], "has_person": False}
        for image_id in IDS
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=AUDIT_SAMPLE.polars_schema())


@pytest.fixture
def sample_file(sample, tmp_path):
    return write_sample(sample, tmp_path / "sample.json", PACKAGED)


def audited(path, sample=None, **options):
    return read_audited(path, questions=PACKAGED, known_ids=[*IDS, "dd"], sample_rows=sample, **options)


def edited(path, old, new, count=1):
    """Replace text as a person would in an editor; return the file and the line of the first change."""
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, count), encoding="utf-8")
    return text[: text.index(old)].count("\n") + 1


def faults(path, sample=None):
    with pytest.raises(AuditedFileError) as caught:
        audited(path, sample)
    assert str(path) in str(caught.value)
    assert "nothing was taken over" in str(caught.value)
    return caught.value.faults


def test_labels_written_as_jsonl_are_read_back(sample, tmp_path):
    path = write_labels(sample, tmp_path / "truth.jsonl", PACKAGED)
    first = json.loads(path.read_text(encoding="utf-8").splitlines()[0])
    assert first == {
        "image_id": "aa",
        "scene": ["scene.food"],
        "attributes": {"attr.has_person": False},
        "objects": ["object.food", "object.drink"],
    }
    rows = read_labels(path, PACKAGED)
    assert rows.equals(sample.select(rows.columns))


def test_a_json_list_and_jsonl_with_a_byte_order_mark_and_windows_lines_are_both_read(sample, sample_file, tmp_path):
    photos = json.loads(sample_file.read_text(encoding="utf-8"))
    lines = tmp_path / "sample.jsonl"
    lines.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(json.dumps(photo) for photo in photos).encode() + b"\r\n\r\n")
    assert read_labels(lines, PACKAGED).equals(read_labels(sample_file, PACKAGED))
    assert audited(lines, sample).equals(audited(sample_file, sample))


def test_an_untouched_sample_is_accepted_with_the_probabilities_of_the_sample(sample, sample_file):
    edited(sample_file, '"inclusion_probability": 0.25', '"inclusion_probability": 1.0', count=3)
    rows = audited(sample_file, sample, annotator="Kim")
    assert rows.schema == pl.Schema(AUDITED_GROUND_TRUTH.polars_schema())
    assert rows["inclusion_probability"].to_list() == [0.25] * 3
    assert rows["annotator"].to_list() == ["Kim"] * 3


def test_photos_that_people_left_unknown_are_fine(sample, sample_file):
    photos = json.loads(sample_file.read_text(encoding="utf-8"))
    photos[0].update(scene=None, attributes=None, objects=None)
    photos[1].update(scene="unknown", attributes={"attr.has_text": "unknown"}, objects=[])
    photos[2] = {"image_id": "cc", "scene": "scene.people", "annotator": "Lee"}
    sample_file.write_text(json.dumps(photos), encoding="utf-8")
    rows = audited(sample_file, sample)
    assert rows["scene"].to_list() == [None, None, "scene.people"]
    assert rows["objects"].to_list() == [[], [], None], "the last photo's line says nothing of objects: nobody was asked"
    assert [set(names or ()) for names in rows["unasked"].to_list()] == [set(), set(), {*PACKAGED.columns} - {"scene"}]
    assert rows["has_text"].null_count() == 3
    assert rows["annotator"].to_list() == [None, None, "Lee"]


def test_an_accepted_file_reads_back_without_the_sample(sample, sample_file, tmp_path):
    rows = audited(sample_file, sample, annotator="Kim")
    assert audited(write_audited(rows, tmp_path / "audited.json", PACKAGED)).equals(rows)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"object.drink"', '"object.drinks"', "objects: \"object.drinks\" is no label of the taxonomy; did you mean 'object.drink'?"),
        ('"object.drink"', '"mug"', "did you mean 'object.dailystuff.mug'?"),
        ('"object.drink"', "3", "objects: 3 is no label of the taxonomy"),
        ('"scene.food"', '"food"', "scene: \"food\" is no label of the taxonomy; did you mean 'scene.food'?"),
        ('"attr.has_person": false', '"attr.has_person": "no"', 'attr.has_person: expected true, false or null, got "no"'),
        ('"attr.has_person": false', '"attr.has_people": false', "did you mean 'attr.has_person'?"),
        ('"objects": [', '"objekts": [', "no field 'objekts'; did you mean 'objects'?"),
        ('"image_id": "bb"', '"image_id": "zz"', "'zz' is no photo of this library"),
        ('"image_id": "bb"', '"image_id": "dd"', "'dd' is not in the sample"),
        ('"image_id": "bb"', '"image_id": 5', "expected the photo's image_id, got 5"),
        ('"image_id": "bb"', '"image_id": "aa"', "'aa' stands in line 3 already"),
        ('"rel_path": "bb.jpg",', '"rel_path": "bb.jpg"', "not valid JSON"),
        ('"objects": [', '"objects": {}, "more": [', "objects: expected a list of object keys, got {}"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_line(sample, sample_file, old, new, message):
    line = edited(sample_file, old, new)
    found = faults(sample_file, sample)
    hits = [fault for fault in found if message in fault.message]
    assert len(hits) == 1, found
    assert hits[0].line == line + ("not valid" in message)  # a missing comma is only noticed in the next line


def test_very_many_fields_of_another_tool_cost_no_time(sample, sample_file):
    photos = json.loads(sample_file.read_text(encoding="utf-8"))
    photos[0]["objekts"] = photos[0].pop("objects")
    photos[0] = {"objekts": [], **{f"inclusion_{number:06}": 1 for number in range(100_000)}, **photos[0]}
    sample_file.write_text(json.dumps(photos), encoding="utf-8")
    began = time.process_time()
    found = faults(sample_file, sample)
    assert time.process_time() - began < 5
    assert any("no field 'objekts'; did you mean 'objects'?" in fault.message for fault in found)


def test_a_field_given_twice_is_refused_at_its_photo(sample, sample_file):
    edited(sample_file, '"attr.has_person": false,', '"attr.has_text": false,')
    assert faults(sample_file, sample) == [(2, "the field 'attr.has_text' is given twice in one object; keep one", 0)]


def test_every_fault_is_listed_and_nothing_is_accepted(sample, sample_file):
    lines = [edited(sample_file, '"scene.food"', '"scene.feast"'), edited(sample_file, '"image_id": "cc"', '"image_id": "zz"')]
    found = faults(sample_file, sample)
    assert [fault.line for fault in found[:2]] == lines
    assert "photo 'cc' of the sample is missing" in found[-1].message
    assert len(found) == 3


def test_a_shortened_file_names_each_missing_photo(sample, tmp_path):
    path = write_sample(sample.head(1), tmp_path / "short.json", PACKAGED)
    assert [fault.message.split("'")[1] for fault in faults(path, sample)] == ["bb", "cc"]


def test_in_a_list_on_one_line_the_entry_is_named(sample, sample_file):
    photos = json.loads(sample_file.read_text(encoding="utf-8"))
    photos[1]["scene"] = ["scene.foood"]
    photos[2]["image_id"] = "aa"
    sample_file.write_text(json.dumps(photos), encoding="utf-8")
    found = faults(sample_file, sample)
    assert [(fault.line, fault.entry) for fault in found if fault.entry] == [(1, 2), (1, 3)]
    with pytest.raises(AuditedFileError, match=r"line 1, entry 2: scene: .*foood") as caught:
        audited(sample_file, sample)
    assert "line 1, entry 3: 'aa' stands in line 1, entry 1 already" in str(caught.value)


def test_a_syntax_error_in_a_list_on_one_line_names_the_entry(sample_file):
    text = json.dumps(json.loads(sample_file.read_text(encoding="utf-8")))
    sample_file.write_text(text.replace('"image_id": "cc"', '"image_id" "cc"'), encoding="utf-8")
    (fault,) = faults(sample_file)
    assert (fault.line, fault.entry) == (1, 3)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_the_line_is_the_editors_whatever_ends_it(sample, sample_file, end):
    line = edited(sample_file, "scene.food", "scene.foood")
    text = sample_file.read_text(encoding="utf-8")
    sample_file.write_bytes(text.replace("\n", end).encode())
    (fault,) = faults(sample_file, sample)
    assert (fault.line, fault.entry) == (line, 0)


def test_in_jsonl_the_line_of_the_photo_is_named_and_good_lines_are_still_checked(sample, tmp_path):
    path = write_labels(sample, tmp_path / "truth.jsonl", PACKAGED)
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([lines[0], "{broken", "", lines[2].replace("scene.food", "scene.feast")]), encoding="utf-8")
    found = faults(path, sample)
    assert [fault.line for fault in found] == [2, 4]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"), (b"[", "not valid JSON"), (b'[{"image_id": "aa"},]', "not valid JSON"), 
        (b"[] []", "text after the end"),
        (b'{"image_id": "aa"} x', "text after the end"), (b"\xff\xfe", "not UTF-8"), (b'["aa"]', "expected an object"),
        (b'[{"image_id": "aa"} {"image_id": "bb"}]', "expected ',' or ']'"), (b"[" * 100_000, "nested too deeply"),
        (b'[{"image_id": "aa", "scene": ["scene.food", "scene.people"]}]', "expected one scene key"),
        (b'[{"image_id": "aa", "attributes": [1]}]', "attributes: expected an object"),
        (b'[{"image_id": "aa", "annotator": 3}]', "annotator: expected a name"),
        (b'[{"image_id": "aa", "inclusion_probability": 0}]', "inclusion_probability: expected a number above 0"),
        (b'[{"image_id": "aa", "inclusion_probability": NaN}]', "inclusion_probability: expected a number above 0"),
    ],
)  # fmt: skip
def test_files_of_the_wrong_shape_are_refused(tmp_path, content, message):
    path = tmp_path / "odd.json"
    path.write_bytes(content)
    found = faults(path)
    assert message in found[0].message
    assert found[0].line == 1


def test_an_absent_file_is_refused(tmp_path):
    assert "cannot be read" in faults(tmp_path / "absent.json")[0].message
