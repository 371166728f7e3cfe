"""A label file with a question more: it is in every export, in sidecars and searches, and what was there before stays as it was."""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.export.library import FOLDER, NAMES, build
from tests.stages.rows import table_rows
from tests.support.questions import styled, with_style
from vibe_assets.export.choice import choose, provenance
from vibe_assets.export.training import request
from vibe_assets.labels.files import read_labels
from vibe_assets.questions import Questions, load
from vibe_assets.records import AUDITED_GROUND_TRUTH, AUTO_GROUND_TRUTH, PREDICTIONS, TABLES
from vibe_assets.settings import Settings
from vibe_assets.stages.export import Selection, export_labels, known_scenes, select_rows
from vibe_assets.stages.platform import Platform, StageError
from vibe_assets.stages.search import _labels
from vibe_assets.stages.sidecars import qualify, write_sidecars
from vibe_assets.vlm.match import Meaning
from vibe_assets.vlm.sources import label_tags

NOW = datetime(2026, 11, 22, tzinfo=UTC)
FORMATS = ("csv", "jsonl", "parquet", "imagefolder", "webdataset", "coco", "fiftyone", "messages", "label-studio")
OTHERS = """
version: 1
questions:
  light: {type: yes_no, labels: {is_night: {}, is_lit_up: {}}}
  plants: {type: many_of, head: plant, labels: {tree: {}, tree.oak: {}, moss: {}}}
  place: {type: one_of, unexpected: elsewhere, labels: {wood: {aliases: [forest]}, elsewhere: {}}}
"""


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Platform:
    return build(tmp_path_factory.mktemp("before"))


@pytest.fixture(scope="module")
def library(before: Platform, tmp_path_factory: pytest.TempPathFactory) -> Platform:
    """The same library with `style`: the teacher says film, students are sure of phone on half of the photos."""
    folder = tmp_path_factory.mktemp("styled")
    settings = Settings.model_validate({
        "library": {"root": before.settings.root, "home": folder / "data"},
        "labels": {"taxonomy": with_style(folder)},
        "export": {"min_precision": 0.0, "min_audited": 1},
    })  # fmt: skip
    platform, lake = Platform(settings, progress=False), before.lake
    for name in lake.register.made():
        table = TABLES[name]
        rows = lake.read(table)
        if table is AUTO_GROUND_TRUTH:
            rows = rows.with_columns(style=pl.lit("style.film"))
        if table is AUDITED_GROUND_TRUTH:
            rows = rows.with_columns(style=pl.lit("style.drone"))
        if table is PREDICTIONS:
            sure = pl.when(pl.int_range(pl.len()) % 2 == 0).then(0.9)
            rows = rows.with_columns(
                style=pl.when(sure.is_not_null()).then(pl.lit("style.phone")), style_confidence=sure, teacher_style=pl.lit("style.film")
            )
        platform.lake.replace(table, rows, folder_key=FOLDER if table.partitioned else None)
    return platform


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def without(value: Any) -> Any:
    """JSON without what speaks of the further question."""
    if isinstance(value, dict):
        return {key: without(one) for key, one in value.items() if not key.startswith("style")}
    if isinstance(value, list):
        return [without(one) for one in value if not (isinstance(one, dict) and str(one.get("label")).startswith("style."))]
    return value


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_writes_it(library: Platform, tmp_path: Path, name: str) -> None:
    done = export_labels(library, name, Selection(), into=tmp_path / "out", now=NOW)
    assert done.photos + len(done.left_out) == len(NAMES)
    texts = [file.read_bytes() for file in done.folder.rglob("*") if file.is_file() and file.suffix != ".jpg"]
    assert any(b"drone" in text for text in texts)


def test_what_was_exported_before_stays_as_it_was_and_the_question_comes_after_it(
    before: Platform, library: Platform, tmp_path: Path
) -> None:
    old, new = (
        [export_labels(platform, name, Selection(), into=tmp_path / side / name, now=NOW).folder for name in ("jsonl", "csv", "parquet")]
        for side, platform in (("old", before), ("new", library))
    )
    jsonl = lines(new[0] / "labels.jsonl")
    assert without(jsonl) == lines(old[0] / "labels.jsonl")
    assert list(jsonl[0])[:5] == ["image_id", "scene", "attributes", "objects", "style"]
    assert {line["style"] for line in jsonl} == {"style.drone", "style.phone", "style.film"}
    sides = []
    for folder in (old[1], new[1]):
        with (folder / "labels.csv").open(encoding="utf-8", newline="") as file:
            sides.append(list(csv.reader(file)))
    assert [row[: len(sides[0][0])] for row in sides[1]] == sides[0]
    assert sides[1][0][len(sides[0][0]) :] == ["style", "style_source", "style_version", "style_confidence"]
    tables = [pl.read_parquet(folder / "labels.parquet") for folder in (old[2], new[2])]
    assert tables[1].drop("style", "provenance").equals(tables[0].drop("provenance"))


def test_its_labels_are_read_back_from_the_files(library: Platform, tmp_path: Path) -> None:
    folder = export_labels(library, "jsonl", Selection(), into=tmp_path / "out").folder
    rows = read_labels(folder / "labels.jsonl", library.questions)
    wanted = select_rows(library, Selection())
    assert dict(rows.select("image_id", "style").iter_rows()) == dict(wanted.select("image_id", "style").iter_rows())


def test_coco_has_its_labels_as_categories_of_its_own(library: Platform, tmp_path: Path) -> None:
    folder = export_labels(library, "coco", Selection(), into=tmp_path / "out").folder
    categories = json.loads((folder / "annotations.json").read_text(encoding="utf-8"))["categories"]
    assert [one["name"] for one in categories if one["supercategory"] == "style"] == ["style.film", "style.phone", "style.drone"]
    assert categories[-1]["name"] == "style.drone"


def test_messages_ask_for_it(tmp_path: Path) -> None:
    packaged = request(load())
    assert packaged == (
        "Label this photo. Answer with one JSON object: scene (a list with one scene.* key, or empty), attributes (attr.* keys that are "
        "known, true or false), objects (object.* keys, the main object first)."
    )
    assert request(styled(tmp_path)) == f"{packaged[:-1]}, style (one style.* key, or null)."


def test_sidecars_name_it_where_people_vouch_for_it(library: Platform, tmp_path: Path) -> None:
    found = {(one.source, one.label): one for one in qualify(library, Selection())}
    assert found["people", "style.drone"].qualifies
    assert not found["students", "style.phone"].qualifies, "people say drone"
    list(write_sidecars(library, Selection("people"), qualify(library, Selection("people")), into=tmp_path / "xmp", now=NOW))
    written = b"".join(file.read_bytes() for file in (tmp_path / "xmp").rglob("*.xmp"))
    assert b"style/drone" in written
    assert b"attribute/has person" in written


def test_photos_are_still_chosen_by_the_main_question(library: Platform) -> None:
    assert known_scenes(library, ["food", "scene.people"]) == ["scene.food", "scene.people"]
    with pytest.raises(StageError, match=r"no scene scene\.film; there are landscape, "):
        known_scenes(library, ["film"])


# -- a file that has nothing of the packaged one -----------------------------------------------------------------------
@pytest.fixture
def others(tmp_path: Path) -> Questions:
    file = tmp_path / "labels.yaml"
    file.write_text(OTHERS, encoding="utf-8")
    return load(file)


def row_of(questions: Questions) -> dict[str, Any]:
    said = {
        "image_id": "p", "is_night": True, "is_night_confidence": 0.9, "is_lit_up": False, "is_lit_up_confidence": 0.2,
        "plants": ["plants.tree.oak", "plants.moss"], "plants_confidences": ["plants.tree.oak=0.9", "plants.moss=0.4"],
        "place": "place.wood", "place_confidence": 0.7, "source": "student", "heads": "light-1 plant-2 place-3", "encoder": "e",
    }  # fmt: skip
    return table_rows(PREDICTIONS.of(questions), [said]).row(0, named=True)


def test_any_questions_are_chosen_with_their_own_heads_and_confidences(others: Questions) -> None:
    rows = table_rows(PREDICTIONS.of(others), [row_of(others)])
    (row,) = choose("students", {"students": rows}, others, min_confidence=0.5).iter_rows(named=True)
    found = [(one.label, one.value, one.version, one.confidence, one.column) for one in provenance(row, others)]
    assert found == [
        ("light.is_night", True, "light-1", 0.9, "is_night"), ("light.is_lit_up", False, "light-1", 0.8, "is_lit_up"),
        ("plants.tree.oak", True, "plant-2", 0.9, "plants"), ("place.wood", True, "place-3", 0.7, "place"),
    ]  # fmt: skip


def test_labels_of_any_questions_are_words_and_tags(others: Questions) -> None:
    row = row_of(others)
    assert _labels(row, others).shown == "night, oak, moss, wood"
    assert label_tags(row, others) == ("oak", "tree", "moss", "wood", "night")
    assert label_tags({**row, "place": "place.elsewhere"}, others) == ("oak", "tree", "moss", "night"), "elsewhere says nothing"
    meaning = Meaning(others)
    assert meaning.satisfies("oak", "trees")
    assert meaning.satisfies("forests", "wood")
    assert not meaning.satisfies("elsewhere", "wood")
    assert not meaning.satisfies("trees", "oak")


def test_without_a_question_of_one_label_photos_cannot_be_chosen_by_it(tmp_path: Path, before: Platform) -> None:
    file = tmp_path / "labels.yaml"
    file.write_text(OTHERS[: OTHERS.index("  place")], encoding="utf-8")
    library = {"root": before.settings.root, "home": tmp_path / "data"}
    platform = Platform(Settings.model_validate({"library": library, "labels": {"taxonomy": file}}), progress=False)
    assert known_scenes(platform, []) == []
    with pytest.raises(StageError, match="has no question of type one_of: leave --scene out"):
        known_scenes(platform, ["food"])
