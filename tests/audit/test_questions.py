"""Questions beside the packaged ones: people are asked them, the log keeps them under their keys, and every figure has them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import polars as pl
import pytest
from starlette.testclient import TestClient

from tests.audit.library import log_lines, open_at
from tests.audit.says import said
from tests.support.questions import PACKAGED
from vibe_assets.audit.blind import scene_agreement
from vibe_assets.audit.desk import Desk
from vibe_assets.audit.figures import audit_figures
from vibe_assets.audit.judgements import judgement_rows
from vibe_assets.audit.label_studio import TaskPhoto, labelling_config, read_export, tasks
from vibe_assets.audit.log import VerdictLog
from vibe_assets.audit.settle import truth_rows, verdict_rows
from vibe_assets.audit.vocabulary import vocabulary
from vibe_assets.evaluate.compare import estimate_shares
from vibe_assets.evaluate.flow import label_flow
from vibe_assets.export.choice import choose
from vibe_assets.questions import Questions, load
from vibe_assets.records import AUTO_GROUND_TRUTH, Labels
from vibe_assets.stages.audit import desk_app, open_desk
from vibe_assets.stages.truth import accept_audited, audited_version, draw_audit_sample, export_audited, sample_file, settle_audit
from vibe_assets.stages.verdicts import mark_done

MORE = """
version: 1
questions:
  film:
    type: one_of
    ask: what it was taken with
    labels: {phone: {name: {en: Telephone}}, analogue: {}, drone: {hotkey: x}}
  print:
    type: yes_no
    ask: Is it worth a print?
    asked: people
    labels: {worth_it: {}, wall: {}}
  themes:
    type: many_of
    labels: {sea: {}, sea.beach: {}, family: {aliases: [kin]}}
"""


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Questions:
    """The packaged questions and three more, one of each type."""
    return load(labels_file(tmp_path_factory.mktemp("questions")))


def labels_file(folder: Path) -> Path:
    from importlib.resources import files

    text = files("vibe_assets.questions").joinpath("labels.yaml").read_text(encoding="utf-8")
    more = MORE.partition("questions:\n")[2]
    at = text.index("\n# A label that follows")
    (folder / "labels.yaml").write_text(text[:at] + more + text[at:], encoding="utf-8")
    return folder / "labels.yaml"


def film(key: str = "film.phone", **more: Any) -> dict[str, Any]:
    return {"film": key, "worth_it": True, "wall": None, "themes": ("themes.sea",), **more}


def test_a_line_holds_further_questions_under_their_keys_and_older_lines_are_read(tmp_path: Path, questions: Questions) -> None:
    VerdictLog(tmp_path, PACKAGED, writer="old").append(said("verdict-1", attributes={"has_text": True}))
    VerdictLog(tmp_path, questions, writer="new").append(said("verdict-2", second=1, values=film()))
    old, new = (json.loads((tmp_path / f"{name}.jsonl").read_text())["labels"] for name in ("old", "new"))
    assert list(old) == ["scene", "attributes", "objects"]
    assert old["attributes"] == {"has_person": None, "has_animal": None, "has_text": True, "is_document": None, "is_screenshot": None}
    assert {key: new[key] for key in ("film", "print", "themes")} == {
        "film": "film.phone", "print": {"worth_it": True, "wall": None}, "themes": ["themes.sea"],
    }  # fmt: skip
    first, second = VerdictLog(tmp_path, questions).verdicts()
    assert (first.labels.values["scene"], first.labels.values["has_text"], "film" in first.labels.values) == ("scene.food", True, False)
    assert {**second.labels.values, **film()} == second.labels.values
    assert verdict_rows([first], questions).select("film", "worth_it", "themes").row(0) == (None, None, None)
    assert truth_rows([second], PACKAGED).columns[:3] == ["image_id", "scene", "has_person"], "a question that is asked no more"


def test_further_questions_settle_and_agree_by_their_type(questions: Questions) -> None:
    verdicts = [
        said("v1", by="ann", values=film(themes=("themes.sea", "themes.family"))),
        said("v2", by="ben", values=film(wall=False)),
        said("v3", by="cleo", values=film("film.drone", worth_it=False, themes=("themes.family",))),
        said("v4", by="dan"),  # of before the questions were asked
    ]
    (row,) = truth_rows(verdicts, questions).iter_rows(named=True)
    assert (row["film"], row["worth_it"], row["wall"], row["themes"]) == ("film.phone", True, False, ["themes.sea", "themes.family"])
    further = ["film", "worth_it", "wall", "themes"]
    assert not {*further} & {*row["unasked"]}, "somebody was asked"
    assert truth_rows(verdicts[3:], questions)["unasked"][0].to_list()[-4:] == further
    teacher = pl.DataFrame({"image_id": [verdicts[0].image_id]}, schema={"image_id": pl.String}).with_columns(
        pl.lit(None, pl.String).alias(name) for name in questions.columns
    )
    figures = audit_figures(judgement_rows(verdicts, questions), teacher, questions, resamples=10)
    columns = [*PACKAGED.columns[:-1], "film", "worth_it", "wall"]
    assert [concord.question for concord in figures.alpha] == [pull.question for pull in figures.anchoring] == columns


def test_without_a_question_of_one_answer_its_figures_are_left_out(tmp_path: Path) -> None:
    file = tmp_path / "labels.yaml"
    file.write_text("version: 1\nquestions:\n  shows: {type: yes_no, labels: {snow: {}}}\n")
    only, verdicts = load(file), [said("v1", values={"snow": True})]
    truth = truth_rows(verdicts, only)
    assert scene_agreement(verdicts, truth, truth, only).is_empty()
    assert audit_figures(judgement_rows(verdicts, only), truth, only).main is None
    assert [(label["name"], label["hotkey"]) for label in vocabulary(only)[0]["labels"]] == [("Snow", "s")]


def test_every_label_has_a_key_of_its_own_or_none(questions: Questions, tmp_path: Path) -> None:
    many = "".join(f"      l{at}: {{}}\n" for at in range(60))
    (tmp_path / "many.yaml").write_text(f"version: 1\nquestions:\n  place:\n    type: one_of\n    labels:\n{many}")
    for asked in (PACKAGED, questions, load(tmp_path / "many.yaml")):
        drawn = vocabulary(asked)
        keys = [one["hotkey"] for question in drawn for one in (question, *question["labels"]) if one["hotkey"]]
        assert len(keys) == len(set(keys))
        assert not {key for key in keys if len(key) == 1} & {key[0] for key in keys if len(key) == 2}, "no key waits for another"
        assert not set(keys) & set("nkuzf")
    found = {question["key"]: question for question in vocabulary(questions)}
    assert [label["hotkey"] for label in found["scene"]["labels"]] == list("123456789")
    assert [label["hotkey"] for label in found["attributes"]["labels"]] == list("patds")
    assert [(label["name"], label["hotkey"]) for label in found["film"]["labels"]] == [
        ("Telephone", "i1"),
        ("analogue", "i2"),
        ("drone", "x"),
    ]
    assert (found["film"]["hotkey"], found["objects"]["hotkey"], len(found["themes"]["hotkey"])) == ("i0", "o", 1)
    (place,) = vocabulary(load(tmp_path / "many.yaml"))
    assert place["searched"], "more than there are keys for: they are found by searching"
    assert [label["hotkey"] for label in place["labels"]][:11] == [*"123456789", "p1", "p2"]
    assert place["labels"][-1]["hotkey"] == ""


def test_the_page_asks_and_keeps_further_questions(built: Path, tmp_path: Path) -> None:
    home = Path(shutil.copytree(built, tmp_path / "home"))
    labels_file(home)
    (home / "vibe.toml").write_text((home / "vibe.toml").read_text() + '\n[labels]\ntaxonomy = "labels.yaml"\n')
    platform = open_at(home)
    client = TestClient(desk_app(platform, host="127.0.0.1", port=3001), base_url="http://127.0.0.1:3001")
    page = client.get("/").text
    assert all(f'data-question="{key}"' in page for key in ("scene", "attributes", "objects", "film", "print", "themes"))
    assert [question["key"] for question in client.get("/api/desk").json()["vocabulary"]] == [q.key for q in platform.questions]
    item = next(one for one in client.get("/api/queue?annotator=ann").json()["items"] if not one["blind"])
    assert (item["teacher"]["film"], item["teacher"]["print"], item["teacher"]["themes"]) == (None, {"worth_it": None, "wall": None}, [])
    labels = {**item["teacher"], "film": "film.drone", "print": {"worth_it": True}, "themes": ["themes.family"]}
    told = {
        "verdict_id": "verdict-1", "image_id": item["image_id"], "annotator": "ann", "act": "label", "spent_ms": 1, "seen": item["seen"],
    }  # fmt: skip
    for wrong in ({"film": "film.none"}, {"print": {"wall": 1}}, {"print": {"door": True}}, {"themes": ["object.food"]}):
        refused = client.post("/api/verdicts", json={**told, "labels": {**labels, **wrong}})
        assert (refused.status_code, refused.text.startswith(f"labels.{next(iter(wrong))}:")) == (422, True)
    assert client.post("/api/verdicts", json={**told, "labels": labels}).json()["act"] == "corrected"
    (line,) = log_lines(platform)
    assert line["labels"] == {**labels, "print": {"worth_it": True, "wall": None}}
    schema = client.get("/api/openapi.json").json()["components"]["schemas"]["Labels"]["properties"]
    assert schema["film"] == {"enum": ["film.phone", "film.analogue", "film.drone", None]}


def test_label_studio_has_a_control_for_each_and_brings_its_answers_back(questions: Questions, tmp_path: Path) -> None:
    boxes = {box.get("name"): box for box in ET.fromstring(labelling_config(questions)).iter("Choices")}
    assert list(boxes) == ["scene", "attributes", "cannot_tell", "objects", "film", "print", "print_cannot_tell", "themes"]
    assert [name for name, box in boxes.items() if box.get("required")] == ["scene"]
    image_id = "a" * 32
    known = dict.fromkeys(questions.columns) | {"scene": "scene.food", "objects": ()}
    labels = Labels(image_id, known | film(themes=("themes.sea.beach", "themes.family")))
    (task,) = tasks([TaskPhoto(image_id, b"a.jpg", "a.jpg", 0.5, labels)], questions, model_version="t1")
    annotation = {"id": 1, "result": task["predictions"][0]["result"], "completed_by": 1, "updated_at": "2026-01-01T10:00:00Z"}
    file = tmp_path / "export.json"
    file.write_text(json.dumps([{**task, "annotations": [annotation]}]))
    (verdict,) = read_export(file, questions=questions, known_ids=[image_id])
    assert (verdict.act, verdict.labels) == ("accepted", labels)
    (older,) = tasks([TaskPhoto(image_id, b"a.jpg", "a.jpg", 0.5, labels)], PACKAGED, model_version="t1")
    annotation["result"] = older["predictions"][0]["result"]
    file.write_text(json.dumps([{**older, "annotations": [annotation]}]))
    (verdict,) = read_export(file, questions=questions, known_ids=[image_id])
    assert verdict.act == "accepted"
    assert not {"worth_it", "film", "themes"} & verdict.labels.values.keys(), "nobody was asked"


def test_a_photo_says_which_questions_are_switched_off_where_it_lies(built: Path, tmp_path: Path) -> None:
    home = Path(shutil.copytree(built, tmp_path / "home"))
    folder = next(iter(open_desk(open_at(home)).photos.values())).name.partition("/")[0]
    file = labels_file(home)
    file.write_text(
        file.read_text(encoding="utf-8").replace("type: yes_no", f"type: yes_no\n    not_in: ['{folder}']", 1), encoding="utf-8"
    )
    (home / "vibe.toml").write_text((home / "vibe.toml").read_text() + '\n[labels]\ntaxonomy = "labels.yaml"\n')
    desk = open_desk(open_at(home))
    for photo in desk.photos.values():
        assert desk.item(photo, "ann").get("off") == (["attributes"] if photo.name.startswith(f"{folder}/") else None)


def test_what_people_were_never_asked_is_told_apart_from_what_they_could_not_tell(built: Path, tmp_path: Path) -> None:
    """Two photos were checked before there was `film`, a third after it; its person could not tell."""
    home = Path(shutil.copytree(built, tmp_path / "home"))
    before = open_at(home)
    desk = open_desk(before)
    first, second, third = list(desk.photos)[:3]

    def judge(desk: Desk, at: int, image_id: str, **more: object) -> None:
        labels = {"scene": "scene.food", "attributes": {}, "objects": [], **more}
        said = {"verdict_id": f"verdict-{at}", "image_id": image_id, "annotator": "ann", "act": "label", "spent_ms": 1, "labels": labels}
        desk.take(said)

    judge(desk, 1, first)
    judge(desk, 2, second)
    mark_done(before)
    version = audited_version(before)
    assert settle_audit(before)["unasked"].to_list() == [None, None]
    labels_file(home)
    (home / "vibe.toml").write_text((home / "vibe.toml").read_text() + '\n[labels]\ntaxonomy = "labels.yaml"\n')
    platform = open_at(home)
    auto = platform.lake.read(AUTO_GROUND_TRUTH).with_columns(film=pl.lit("film.drone"), themes=pl.lit(["themes.sea"]))
    platform.lake.replace(platform.lake.of(AUTO_GROUND_TRUTH), auto)
    stale = open_desk(platform)
    judge(stale, 3, third, film=None, print={}, themes=[])
    mark_done(platform)
    assert audited_version(platform) != version, "the table is made anew from the log"
    people = settle_audit(platform)
    unasked = dict(people.select("image_id", "unasked").iter_rows())
    assert unasked == {first: ["film", "worth_it", "wall", "themes"], second: ["film", "worth_it", "wall", "themes"], third: None}

    best = choose("best", {"people": people, "teacher": auto}, platform.questions)
    chosen = {row["image_id"]: row for row in best.iter_rows(named=True)}
    assert [(chosen[photo]["film"], chosen[photo]["film_source"]) for photo in (first, third)] == [("film.drone", "teacher"), (None, None)]
    assert (chosen[first]["themes"], chosen[third]["themes"]) == (["themes.sea"], [])
    assert chosen[first]["scene_source"] == "people"
    shares = estimate_shares(
        people.with_columns(themes=pl.when(pl.col("image_id") == third).then(["themes.sea"])), questions=platform.questions
    )
    assert (shares["themes.sea"].value, shares["themes.sea"].n) == (1.0, 1), "of those who were asked"
    flow = label_flow(people, auto, questions=platform.questions, resamples=10)
    assert (flow.agreement["film"].value, flow.agreement["film"].n, flow.agreement["themes"].n) == (0.0, 1, 1)

    draw_audit_sample(platform)
    drawn = {photo["image_id"]: photo for photo in json.loads(sample_file(platform).read_text(encoding="utf-8"))}
    assert (drawn[first]["film"], drawn[third]["film"]) == ("film.drone", None), "only who was asked left it open"
    assert drawn[first]["scene"] == ["scene.food"]
    file = tmp_path / "people.json"
    export_audited(platform, file)
    photos = json.loads(file.read_text(encoding="utf-8"))
    assert ["film" in photo for photo in sorted(photos, key=lambda photo: [first, second, third].index(photo["image_id"]))] == [
        False, False, True,
    ]  # fmt: skip
    accept_audited(platform, file, part=True)
    assert len(log_lines(platform)) == 3, "nothing new is said"
    for photo in photos:
        photo |= {"film": None} if photo["image_id"] == second else {}
        del photo["attributes"]
    file.write_text(json.dumps(photos), encoding="utf-8")
    accept_audited(platform, file, part=True)
    assert len(log_lines(platform)) == 4, "that it cannot be told is new; a question left out takes nothing away"
    unasked = dict(settle_audit(platform).select("image_id", "unasked").iter_rows())
    assert "film" not in unasked[second]
