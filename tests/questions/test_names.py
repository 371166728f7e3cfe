"""Names of a label file, in whatever script and however hostile: people read them everywhere, machines read the keys."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import polars as pl
import pytest
import yaml

from tests.audit.examples import team
from tests.evaluate.rows import library
from tests.evaluate.test_drift import series
from tests.evaluate.test_report import Page
from tests.export.library import build
from tests.export.test_sidecar import packet
from tests.support.questions import PACKAGED
from vibe_assets.audit.figures import audit_figures
from vibe_assets.audit.label_studio import TaskPhoto, controls, labelling_config, read_export, tasks
from vibe_assets.audit.section import audit_markdown, audit_section
from vibe_assets.audit.vocabulary import vocabulary
from vibe_assets.cli.app import show
from vibe_assets.cli.status import _by_whom
from vibe_assets.cli.students import _labels_line
from vibe_assets.defs.truth import label_counts
from vibe_assets.evaluate.charts import short
from vibe_assets.evaluate.compare import compare_paired, label_shares
from vibe_assets.evaluate.drift import FolderDrift, render_drift, series_markdown
from vibe_assets.evaluate.flow import label_flow
from vibe_assets.evaluate.labels import evaluate_labels
from vibe_assets.evaluate.report import headline_markdown, render_report, worst_photos
from vibe_assets.evaluate.report_markdown import (
    calibration_markdown,
    changes_markdown,
    confusion_markdown,
    curves_markdown,
    labels_markdown,
    shares_markdown,
    slices_markdown,
)
from vibe_assets.evaluate.versus import Judged, render_comparison
from vibe_assets.export.contact_sheet import Shot, render_sheet
from vibe_assets.export.sidecar import Entry, merged, removed
from vibe_assets.labels.files import read_labels
from vibe_assets.questions import LabelFileError, Questions, YesNo, load
from vibe_assets.records import Estimate, Labels
from vibe_assets.settings import Settings
from vibe_assets.stages.export import NAMED, Selection, export_labels, formats, known_scenes
from vibe_assets.stages.platform import Platform, library_questions
from vibe_assets.stages.search import _in_words, _labels
from vibe_assets.stages.sidecars import _names

NASTY = '<b>"quoted" *md* | a,b $x$ {\\rtf1} [red]/'
SPOKEN = {"ja": "名前", "ar": "اسم", "odd": NASTY}
NOW = datetime(2026, 1, 2, tzinfo=UTC)


def label_file(folder: Path) -> Path:
    """The packaged questions, each with a name in every language, as each of their labels has one."""
    text = yaml.safe_load(files("vibe_assets.questions").joinpath("labels.yaml").read_text(encoding="utf-8"))
    text["languages"] = ["en", *SPOKEN]
    for key, question in text["questions"].items():
        question["name"] = {language: f"{name} {key}" for language, name in SPOKEN.items()}
        for at, (word, label) in enumerate(question["labels"].items()):
            question["labels"][word] = {**(label or {}), "name": {language: f"{name} {key} {at}" for language, name in SPOKEN.items()}}
    file = folder / "labels.yaml"
    file.write_text(yaml.safe_dump(text, allow_unicode=True, sort_keys=False), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return label_file(tmp_path_factory.mktemp("names"))


@pytest.fixture(params=SPOKEN, scope="module")
def questions(request: pytest.FixtureRequest, file: Path) -> Questions:
    return load(file).shown(request.param)


@pytest.fixture
def language(questions: Questions) -> str:
    return questions.language


@pytest.fixture
def platform(tmp_path: Path, file: Path, language: str) -> Platform:
    return in_language(build(tmp_path), file, language)


def in_language(home: Platform, file: Path, language: str) -> Platform:
    settings = home.settings.model_copy(update={"labels": home.settings.labels.model_copy(update={"taxonomy": file, "language": language})})
    return Platform(settings, progress=False)


def test_a_language_that_the_file_lacks_is_refused_with_those_it_has(file: Path) -> None:
    settings = Settings.model_validate({"labels": {"taxonomy": file, "language": "fr"}})
    with pytest.raises(LabelFileError, match=r"\[labels\] language: expected one of en, ja, ar, odd"):
        library_questions(settings)


# -- pages ---------------------------------------------------------------------------------------------------------------
def pages(questions: Questions) -> dict[str, str]:
    truth, said, groups = library(120)
    parts = truth.select("image_id", folder=pl.Series(["2021", "2022"] * 60))
    found = evaluate_labels(said, truth, groups=groups, slices=parts, resamples=20, questions=questions)
    rows = {"people": truth, "teacher": said, "students": said}
    by = {who: {row["image_id"]: row for row in table.iter_rows(named=True)} for who, table in rows.items()}
    beside = {image_id: {who: table[image_id] for who, table in by.items()} for image_id in worst_photos(found)}
    shares = {label: (Estimate(share, share, share, 120, share),) * 2 for label, share in label_shares(said, questions).items()}
    paired = [compare_paired(said, truth, truth, questions=questions, what=kind) for kind in questions.heads]
    shared: dict[str, Any] = {"title": "t", "shares": shares, "comparison": paired}
    flow = label_flow(said, truth, questions=questions, groups=groups, resamples=10)
    sides = [Judged(name, "", evaluate_labels(table, truth, questions=questions, resamples=5)) for name, table in rows.items()][:2]
    moves = [FolderDrift("2021", 10, (0.1, 0.4), 3, {"scene.food": 0.4, "scene.none": -0.4})]
    audit = audit_figures(*team(120)[:2], questions, groups=team(120)[2], resamples=20)
    row = by["students"][found.mistakes[0].image_id]
    return {
        "report": render_report(found, **shared, beside=beside),
        "report of mistakes": render_report(found, **shared, sections=[audit_section(audit, questions)]),
        "comparison": render_comparison(*sides, questions=questions, flow=flow, comparisons=paired, scope=""),
        "drift": render_drift([series(3)], moves, steps=["one", "two"], questions=questions),
        "sheet": render_sheet([Shot("a.jpg", 0.5, None, _labels(row, questions).shown)], title="t", subtitle="s", footer="f"),
    }


def test_pages_show_names_as_text(questions: Questions) -> None:
    for name, page in pages(questions).items():
        text = Page(page).text
        assert SPOKEN[questions.language] in text, name
        assert '<b>"quoted"' not in page, name
        assert "<b>&#34;quoted" not in page, name
        if questions.language == "ar" and name != "sheet":
            assert "<bdi>" in page, name
    report = pages(questions)["report of mistakes"]
    for key in ("scene", "attributes", "objects", "scene.food", "attr.has_text", "object.animals.dog"):
        assert questions.name(key) in Page(report).text
    assert not re.search(r">\s*(food|has text|dog|scenes?|Scenes|attributes|Objects)\s*<", report), "names stand in the place of the keys"
    assert 'title="scene.food"' in report, "the key is found again"


def test_markdown_holds_names_in_one_cell(questions: Questions) -> None:
    truth, said, groups = library(120)
    parts = truth.select("image_id", folder=pl.Series(["2021", "2022"] * 60))
    found = evaluate_labels(said, truth, groups=groups, slices=parts, resamples=20, questions=questions)
    shares = {label: (Estimate(share, share, share, 120, share),) * 2 for label, share in label_shares(said, questions).items()}
    paired = [compare_paired(said, truth, truth, questions=questions, what=kind) for kind in questions.heads]
    audit = audit_figures(*team(120)[:2], questions, groups=team(120)[2], resamples=20)
    counts = label_counts(said, questions)
    tables = {
        "headline": headline_markdown(found), "changes": changes_markdown(paired, questions), "labels": labels_markdown(found),
        "slices": slices_markdown(found), "shares": shares_markdown(shares, questions), "audit": audit_markdown(audit, questions),
        "drift": series_markdown([series(3)], questions), **{key: str(table.value) for key, table in counts.items()},
    }  # fmt: skip
    assert {"scene", "attributes", "objects"} <= tables.keys()
    for name, text in tables.items():
        assert SPOKEN[questions.language].split('"')[0].replace("<", "&#60;").replace(">", "&#62;") in text, name
        for block in text.split("\n\n"):
            assert len({line.count("|") for line in block.splitlines() if line.startswith("|")}) <= 1, name
        assert not re.search(r"<b>|\*md\*|\[red\]|(?<!\\)\|\s*a,b", text), name


@pytest.mark.filterwarnings("error")
def test_pictures_are_drawn_whatever_the_names(questions: Questions) -> None:
    """Without the letters in the font of the pictures the key stands there; a `$` is no formula."""
    truth, said, groups = library(120)
    found = evaluate_labels(said, truth, groups=groups, resamples=5, questions=questions)
    for draw in (confusion_markdown, curves_markdown):
        assert draw(found).startswith("![")
    assert calibration_markdown({kind: (None, one) for kind, one in found.reliabilities.items()}, questions).startswith("![")


# -- people at work ------------------------------------------------------------------------------------------------------
def test_the_audit_page_has_names_for_questions_and_labels(questions: Questions) -> None:
    for one, question in zip(vocabulary(questions), questions, strict=True):
        assert one["title"] == one["noun"] == one["label"] == questions.name(question.key)
        assert [label["name"] for label in one["labels"]] == [questions.name(key) for key in question.keys]
        assert [label["key"] for label in one["labels"]] == list(question.keys)
        if one["searched"]:
            assert set(question.labels[0].names.values()) <= set(one["labels"][0]["words"]), "of every language"


def test_label_studio_shows_names_and_hands_back_keys(questions: Questions, tmp_path: Path) -> None:
    view = ET.fromstring(labelling_config(questions))
    for box, control in zip(view.iter("Choices"), controls(questions), strict=True):
        question = control.question
        assert [choice.get("alias") for choice in box] == [label.word for label in question.labels]
        assert [choice.get("value") for choice in box] == [questions.name(key).replace("$", "＄") for key in question.keys]
    assert all(SPOKEN[questions.language].split("$")[0] in str(header.get("value")) for header in view.iter("Header"))
    values = {"scene": "scene.food", **dict.fromkeys(PACKAGED.columns[1:-1], False), "objects": ("object.animals.dog",)}
    labels = Labels("a" * 32, values)
    (task,) = tasks([TaskPhoto("a" * 32, b"a.jpg", "a.jpg", 0.5, labels)], questions, model_version="t")
    usual = {"id": 1, "was_cancelled": False, "lead_time": 1.0, "completed_by": 1, "updated_at": "2026-03-09T22:16:08Z"}
    done = {**task, "annotations": [{**usual, "result": task["predictions"][0]["result"]}]}
    (tmp_path / "done.json").write_text(json.dumps([done]), encoding="utf-8")
    (verdict,) = read_export(tmp_path / "done.json", questions=questions, known_ids={"a" * 32})
    assert verdict.labels == labels


def test_consoles_show_names_and_json_has_keys(questions: Questions, capsys: pytest.CaptureFixture[str]) -> None:
    row: dict[str, Any] = {name: None for field in PACKAGED.fields for name in (field.name, field.confidence)}
    row |= {"rel_path": "a.jpg", "reason": None, "source": "student", "scene": "scene.food", "scene_confidence": 0.5, "has_text": True}
    row |= {"objects": ["object.animals.dog"], "object_confidences": ["object.animals.dog=0.9300"]}
    line = _labels_line(row, questions)
    food, text, dog = (questions.name(key) for key in ("scene.food", "attr.has_text", "object.animals.dog"))
    assert line[1:4] == (f"{food} 0.50", text, f"{dog} 0.9300")
    show("Labels", [questions.name("scene")], [(line[1],)])
    assert " ".join(food.split()) in " ".join(capsys.readouterr().out.split()), "nothing of it is markup"
    assert _by_whom({"scene": {"student": 3}, "has_text": {"teacher": 1}}, questions) == (
        f"{questions.name('scene')}: 3 by student; {questions.name('has_text')}: 1 by teacher"
    )
    said = _labels(row, questions)
    assert said == (", ".join((food, text, dog)), "food, text, dog")
    assert said.keys == _labels(row, PACKAGED).keys == _labels(row, PACKAGED).shown


def test_a_photo_is_searched_and_chosen_by_any_word_of_a_label(questions: Questions, platform: Platform) -> None:
    class Encoder:
        def encode_text(self, texts: list[str]) -> np.ndarray:
            return np.array([[1.0, 0.0] if text in questions.labels["scene.food"].prompts else [0.0, 1.0] for text in texts], np.float32)

    encoder: Any = Encoder()
    food = questions.labels["scene.food"]
    for text in (*food.names.values(), "scene.food", food.words[-1]):
        assert _in_words(text, encoder, questions).tolist() == [1.0, 0.0]
        assert _in_words(text, encoder, PACKAGED).tolist() == [0.0, 1.0], "without names the words themselves are searched"
    assert known_scenes(platform, [questions.name("scene.food"), "scene.people", "other"]) == ["scene.food", "scene.people", "scene.other"]


# -- exports -------------------------------------------------------------------------------------------------------------
def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_what_machines_read_stays_as_it_is_without_names(platform: Platform, tmp_path: Path) -> None:
    plain = in_language(platform, Path(str(files("vibe_assets.questions").joinpath("labels.yaml"))), "")
    for name in sorted(formats(platform).keys() - set(NAMED)):
        sides = (("a", platform), ("b", plain))
        both = [export_labels(one, name, Selection(), into=tmp_path / side / "out", now=NOW).folder for side, one in sides]
        written, before = ({path: data for path, data in contents(folder).items() if "/" not in path} for folder in both)
        assert written.keys() == before.keys()
        for path in written.keys() - {"manifest.json", "export.json"}:
            if not path.startswith(".") and b"fingerprint" not in written[path]:
                assert written[path].replace(b"/a/out", b"/b/out") == before[path], (name, path)
    rows = read_labels(export_labels(platform, "jsonl", Selection(), into=tmp_path / "lines").folder / "labels.jsonl", platform.questions)
    assert set(rows["scene"].drop_nulls()) <= set(PACKAGED["scene"].keys)
    file = export_labels(platform, "csv", Selection(), into=tmp_path / "table").folder / "labels.csv"
    with file.open(newline="", encoding="utf-8") as table:
        assert {row["scene"] for row in csv.DictReader(table)} <= {"", *PACKAGED["scene"].keys}


def test_coco_has_names_with_their_keys_and_follows_a_change_of_them(platform: Platform, file: Path, tmp_path: Path) -> None:
    def categories(one: Platform) -> tuple[list[dict[str, Any]], bool]:
        done = export_labels(one, "coco", Selection(), into=tmp_path / "coco", now=NOW)
        found: list[dict[str, Any]] = json.loads((done.folder / "annotations.json").read_text(encoding="utf-8"))["categories"]
        return found, done.written

    found, written = categories(platform)
    assert [one["key"] for one in found] == list(PACKAGED.labels)
    assert [one["name"] for one in found] == [platform.questions.name(key) for key in PACKAGED.labels]
    assert {one["supercategory"] for one in found} == set(PACKAGED.heads)
    assert (written, categories(platform)[1]) == (True, False)
    other = in_language(platform, file, next(one for one in SPOKEN if one != platform.questions.language))
    assert categories(other)[1], "other names: written anew"


def test_names_that_two_labels_share_carry_the_key(tmp_path: Path) -> None:
    (tmp_path / "labels.yaml").write_text(
        "version: 1\nlanguages: [en]\nquestions:\n  a: {type: one_of, labels: {x: {name: Same}, y: {}}}\n"
        "  b: {type: one_of, labels: {x: {name: Same}, z: {name: a.y}}}\n",
        encoding="utf-8",
    )
    found = load(tmp_path / "labels.yaml")
    assert found.distinct(list(found.labels)) == {"a.x": "Same (a.x)", "b.x": "Same (b.x)", "b.z": "a.y (b.z)"}
    assert found.distinct(found["a"].keys) == {"a.x": "Same"}


# -- sidecars ------------------------------------------------------------------------------------------------------------
def entries(questions: Questions) -> list[Entry]:
    return [
        Entry(key, "people", "anna", None, None, None, None, question.head, isinstance(question, YesNo), _names(key, question, questions))
        for key, question in (
            ("scene.food", questions["scene"]), ("attr.has_person", questions["attributes"]), ("object.animals.dog", questions["objects"]),
        )
    ]  # fmt: skip


def keywords(data: bytes) -> dict[str, list[str]]:
    """Field -> its items, as another tool reads them."""
    root = ET.fromstring(data.decode().partition("?>\n")[2] if data.startswith("\ufeff".encode()) else data)
    fields = ("TagsList", "hierarchicalSubject", "subject")
    items = {name: [node for node in root.iter() if node.tag.endswith(f"}}{name}")] for name in fields}
    return {name: [str(item.text) for node in nodes for item in node.iter() if item.tag.endswith("}li")] for name, nodes in items.items()}


def write(existing: bytes | None, questions: Questions) -> bytes:
    found = merged(existing, entries(questions), min_precision=0.9, today="2026-11-22")
    assert found is not None
    return found


FOREIGN = packet("<dc:subject><rdf:Bag><rdf:li>holiday</rdf:li></rdf:Bag></dc:subject>")
SPEAKERS: dict[str, Callable[[Path], Questions]] = {
    "no names": lambda file: PACKAGED, **{one: lambda file, one=one: load(file).shown(one) for one in SPOKEN},
}  # type: ignore[misc]  # fmt: skip


def test_keywords_are_names_below_the_names_of_question_and_parents(questions: Questions) -> None:
    found = keywords(write(FOREIGN, questions))
    parts = ["objects", "object.animals", "object.animals.dog"]
    named = [" ".join(questions.name(part).split()).replace("/", "／").replace("|", "｜") for part in parts]
    assert "|".join(named) in found["hierarchicalSubject"]
    assert "/".join(named) in found["TagsList"]
    assert found["subject"][0] == "holiday"
    assert named[-1] in found["subject"]
    assert {path.count("|") for path in found["hierarchicalSubject"]} == {1, 2}, "a name brings no level of its own"
    assert b"<vibe:Label>object.animals.dog</vibe:Label>" in write(FOREIGN, questions)
    assert write(write(FOREIGN, questions), questions) == write(FOREIGN, questions)


@pytest.mark.parametrize("before", SPEAKERS)
@pytest.mark.parametrize("after", SPEAKERS)
def test_another_name_or_language_replaces_the_keywords(before: str, after: str, file: Path) -> None:
    one, other = SPEAKERS[before](file), SPEAKERS[after](file)
    moved = write(write(FOREIGN, one), other)
    assert keywords(moved) == keywords(write(FOREIGN, other))
    assert removed(moved) == FOREIGN


@pytest.mark.parametrize("before", SPEAKERS)
@pytest.mark.parametrize("after", SPEAKERS)
def test_a_keyword_that_somebody_took_out_stays_out_under_another_name(before: str, after: str, file: Path) -> None:
    one, other = SPEAKERS[before](file), SPEAKERS[after](file)
    written = write(FOREIGN, one)
    gone = written
    for path in (entries(one)[0].path, entries(one)[0].path.replace("/", "|")):
        item = ET.tostring(_li(path), encoding="unicode").encode()
        assert gone.count(item) == 2, "in the field and in our note of it"
        gone = gone.replace(item, b"", 1)
    last = write(write(gone, other), one)
    assert entries(other)[0].path not in keywords(write(gone, other))["TagsList"]
    assert entries(one)[0].path not in keywords(last)["TagsList"]
    assert entries(other)[2].path in keywords(write(gone, other))["TagsList"]


def _li(text: str) -> ET.Element:
    ET.register_namespace("rdf", "http://www.w3.org/1999/02/22-rdf-syntax-ns#")
    item = ET.Element("rdf:li")
    item.text = text
    return item


# -- without names -------------------------------------------------------------------------------------------------------
def test_the_packaged_file_gives_no_names() -> None:
    assert PACKAGED.names == {}
    assert all(PACKAGED.name(key) == key and PACKAGED.short(key) == short(key) for key in PACKAGED.labels)
    assert all(entry.names == () and entry.path == entry.key_path for entry in entries(PACKAGED))
    assert "alias" not in labelling_config(PACKAGED)
