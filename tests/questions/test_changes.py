"""A label file that changes: which answers stay valid, which photos are asked, what it costs, and folders that are not asked a question."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner

from tests.teacher.conftest import make_library
from vibe_assets.cli import main
from vibe_assets.defs.metadata import stored
from vibe_assets.defs.truth import label_counts
from vibe_assets.questions import Questions, load
from vibe_assets.records import ANNOTATIONS, AUTO_GROUND_TRUTH, PREDICTIONS
from vibe_assets.settings import Settings
from vibe_assets.stages.labels import label_difference
from vibe_assets.stages.library import look_at_folders, scan_folder
from vibe_assets.stages.platform import Platform
from vibe_assets.stages.runtime import _asked_here
from vibe_assets.stages.status import library_status
from vibe_assets.stages.teacher import annotate_folder, half_answered, unanswered_folders
from vibe_assets.stages.truth import convert_library
from vibe_assets.teacher.kept import FIRST
from vibe_assets.teacher.replay import ReplayTeacher, running_replay

FILE = """
version: 1
languages: [en, de]
questions:
  kind:
    type: one_of
    ask: {en: what it is, de: was es ist}
    labels: {dog: {hint: {en: barks}}, cat: {}, bird: {}}
  facts: {type: yes_no, labels: {sharp: {}, dark: {}}}
  things: {type: many_of, labels: {bowl: {hint: of any size}, leash: {}}}
  appeal: {type: rating, scale: [1, 5]}
"""
ANSWER = {
    "kind": "bird", "sharp": True, "dark": False, "appeal": 4,
    "things": [{"name_free": "a bowl", "coarse_type": "bowl", "is_main": True, "confidence": 0.9}],
}  # fmt: skip


def read(folder: Path, *changes: tuple[str, str]) -> Questions:
    text = FILE
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    file = folder / "labels.yaml"
    file.write_text(text, encoding="utf-8")
    return load(file)


FEWER = [
    ("kind", "cat: {}, bird: {}", "cat: {}"),
    ("facts", "sharp: {}, dark: {}", "sharp: {}"),
    ("things", "bowl: {hint: of any size}, leash: {}", "leash: {}"),
    ("kind", "dog: {hint: {en: barks}}", "dog: {hint: {en: barks, de: bellt}}"),  # the teacher is asked in English
    ("kind", "{en: what it is, de: was es ist}", "{en: what it is}"),
    ("kind", "cat: {}", "cat: {name: Pussycat, aliases: [kitty]}"),
]
ANEW = [
    ("kind", "cat: {}", "cat: {}, fish: {}"),
    ("kind", "barks", "wags"),
    ("kind", "en: what it is,", "en: which animal,"),
    ("facts", "sharp: {}", "sharp: {hint: no blur}"),
    ("things", "of any size", "a big one"),
    ("things", "leash: {}", "leash: {}, ball: {}"),
    ("appeal", "[1, 5]", "[1, 4]"),
    ("appeal", "[1, 5]", "[1, 10]"),
]


@pytest.mark.parametrize(("question", "old", "new"), FEWER)
def test_answers_stay_valid_where_labels_are_only_taken_out_or_named_anew(tmp_path: Path, question: str, old: str, new: str) -> None:
    before = read(tmp_path)
    after = read(tmp_path, (old, new)).after(json.loads(json.dumps(list(before.asked_in_full.values()))))
    assert before.asked_fingerprints[question] in after.accepted[question]


@pytest.mark.parametrize(("question", "old", "new"), ANEW)
def test_answers_to_a_question_in_other_words_or_with_more_labels_do_not_count(tmp_path: Path, question: str, old: str, new: str) -> None:
    before = read(tmp_path)
    after = read(tmp_path, (old, new)).after(before.asked_in_full.values())
    assert before.asked_fingerprints[question] not in after.accepted[question]
    assert all(before.asked_fingerprints[key] in after.accepted[key] for key in after.asked_fingerprints if key != question)


def test_a_question_in_another_language_is_another_question(tmp_path: Path) -> None:
    before = read(tmp_path)
    after = read(tmp_path, ("[en, de]", "[de, en]")).after(before.asked_in_full.values())
    assert before.asked_fingerprints["kind"] not in after.accepted["kind"]


def test_the_packaged_questions_are_those_of_before_notes() -> None:
    assert load().asked_fingerprints == FIRST


# -- a library ---------------------------------------------------------------------------------------------------------
class Animals:
    """Answers what it is asked."""

    def __init__(self, more: Mapping[str, Any] | None = None) -> None:
        self.more, self.asked = more or {}, list[tuple[str, ...]]()

    def __call__(self, image: bytes, request: Mapping[str, Any]) -> Any:
        wanted = request["response_format"]["json_schema"]["schema"]["properties"]
        self.asked.append(tuple(wanted))
        return {key: value for key, value in {**ANSWER, **self.more}.items() if key in wanted}


def platform_of(home: Path, url: str = "", **teacher: Any) -> Platform:
    sections = {
        "library": {"root": home / "photos", "home": home / "data"}, "labels": {"taxonomy": home / "labels.yaml"},
        "teacher": {"base_url": url, "timeout_s": 5.0, "retries": 0, **teacher},
    }  # fmt: skip
    return Platform(Settings.model_validate(sections), progress=False)


def brought_up(home: Path, animals: Animals) -> Platform:
    """All folders annotated and converted."""
    with running_replay(ReplayTeacher(animals)) as url:
        platform = platform_of(home, url)
        look_at_folders(platform)
        for key in platform.lake.live_folders():
            scan_folder(platform, key)
            annotate_folder(platform, key)
    convert_library(platform)
    return platform


def truth(platform: Platform, column: str) -> list[Any]:
    return platform.lake.read(AUTO_GROUND_TRUTH)[column].to_list()


def test_a_label_that_is_taken_out_asks_nobody_and_is_gone_from_the_labels(tmp_path: Path) -> None:
    make_library(tmp_path / "photos", 3)
    animals = Animals()
    read(tmp_path)
    assert truth(brought_up(tmp_path, animals), "kind") == ["kind.bird"] * 3
    assert len(animals.asked) == 3
    read(tmp_path, ("cat: {}, bird: {}", "cat: {}"), ("sharp: {}, dark: {}", "sharp: {}"))
    lines = label_difference(platform_of(tmp_path), tmp_path / "labels.yaml").lines
    platform = brought_up(tmp_path, animals)
    assert len(animals.asked) == 3, "nobody was asked"
    assert truth(platform, "kind") == [None] * 3
    assert "dark" not in platform.lake.read(AUTO_GROUND_TRUTH).columns
    assert unanswered_folders(platform) == {}
    assert lines[-1] == "nothing moves", "it is in force already"
    read(tmp_path)
    assert truth(brought_up(tmp_path, animals), "kind") == ["kind.bird"] * 3, "the answers are still there"
    assert len(animals.asked) == 3


def test_what_a_change_would_cost_is_said_before(tmp_path: Path) -> None:
    make_library(tmp_path / "photos", 4)
    read(tmp_path)
    brought_up(tmp_path, Animals())
    platform = platform_of(tmp_path, input_price=1000.0, output_price=2000.0)
    other = tmp_path / "other"
    other.mkdir()
    read(other, ("cat: {}, bird: {}", "cat: {}"))
    found = label_difference(platform, other / "labels.yaml")
    assert (found.asked_anew, found.converted, found.photos, found.usd) == ((), ("kind",), 0, None)
    assert found.lines[-1] == "the teacher would be asked nothing"
    read(other, ("cat: {}", "cat: {}, fish: {}"))
    found = label_difference(platform, other / "labels.yaml")
    rows = platform.lake.read(ANNOTATIONS)
    prompt, completion = rows["prompt_tokens"].sum(), rows["completion_tokens"].sum()
    assert (found.asked_anew, found.photos) == (("kind",), 4)
    share = 1 / 5  # of the members of an answer
    assert found.usd == pytest.approx((1000 * prompt + 2000 * share * completion) / 1e6)
    assert re.fullmatch(r"4 photos would be asked, about [\d,]+ tokens, [\d.]+ US dollars", found.lines[-1])
    assert label_difference(platform_of(tmp_path), other / "labels.yaml").usd is None
    read(tmp_path, ("cat: {}", "cat: {}, fish: {}"))
    animals = Animals()
    brought_up(tmp_path, animals)
    assert animals.asked == [("kind",)] * found.photos, "as was said before"


OURS = [("  kind:", "  場面:"), ("  facts:", "  table:"), ("  things:", "  もの:"), ("  appeal:", "  platform:")]


def test_keys_of_any_script_and_of_any_word_are_answered_once_and_for_all(tmp_path: Path) -> None:
    make_library(tmp_path / "photos", 2)
    animals = Animals({"場面": "bird", "もの": ANSWER["things"], "platform": 4})
    questions = read(tmp_path, *OURS)
    platform = brought_up(tmp_path, animals)
    assert unanswered_folders(platform) == {}
    assert truth(platform, "場面") == ["場面.bird"] * 2
    assert library_status(platform).answered == 2
    result = stored(platform, AUTO_GROUND_TRUTH.of(questions), platform.lake.read(AUTO_GROUND_TRUTH), **label_counts(
        platform.lake.read(AUTO_GROUND_TRUTH), questions
    ))  # fmt: skip
    assert {"場面", "table", "もの", "platform"} <= {*(result.metadata or {})}
    brought_up(tmp_path, animals)
    assert len(animals.asked) == 2


# -- folders -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("folder", "path", "off"),
    [
        ("scans", "scans/a.jpg", True), ("scans", "scans/2024/a.jpg", True), ("scans", "scans2/a.jpg", False),
        ("scans", "a/scans/b.jpg", False), ("scans/", "scans/a.jpg", True), ("*/raw", "x/raw/a.jpg", True),
        ("*/raw", "x/y/raw/a.jpg", False), ("**/raw", "x/y/raw/a.jpg", True), ("20??", "2024/a.jpg", True),
        ("20??", "20/a.jpg", False), (".", "a.jpg", True), (".", "b/a.jpg", False), ("a.b", "axb/c.jpg", False),
        ("写真", "写真/a.jpg", True), ("(x)", "(x)/a.jpg", True), ("a+b", "a+b/a.jpg", True), ("scans", "scans", False),
    ],
)  # fmt: skip
def test_a_folder_is_named_by_its_path_and_patterns(tmp_path: Path, folder: str, path: str, off: bool) -> None:
    question = read(tmp_path, ("scale: [1, 5]", f"scale: [1, 5], not_in: ['{folder}']"))["appeal"]
    assert question.is_off(path) is off
    assert pl.Series([path]).str.contains(question.off).to_list() == [off], "polars reads the pattern alike"


def test_a_question_that_is_switched_off_for_a_folder_is_not_asked_there(tmp_path: Path) -> None:
    make_library(tmp_path / "photos" / "pets", 2)
    make_library(tmp_path / "photos" / "scans", 3)
    animals = Animals()
    everything = ("kind", "sharp", "dark", "things", "appeal")
    read(tmp_path, ("type: one_of", "type: one_of\n    not_in: [scans]"))
    platform = brought_up(tmp_path, animals)
    rows = platform.lake.read(ANNOTATIONS).select("image_id", "rel_path").rows()
    both = {photo for photo, path in rows if path.startswith("pets/")}  # copies of two of the three scans
    (alone,) = {photo for photo, _ in rows} - both
    assert sorted(animals.asked) == sorted([everything] * 2 + [everything[1:]])

    def kinds() -> dict[str, str | None]:
        return dict(platform.lake.read(AUTO_GROUND_TRUTH).select("image_id", "kind").iter_rows())

    expected = {alone: None, **dict.fromkeys(both, "kind.bird")}
    assert kinds() == expected
    assert unanswered_folders(platform) == {}
    read(tmp_path)  # switched on again: that question alone is asked
    platform = brought_up(tmp_path, animals)
    assert animals.asked[3:] == [("kind",)]
    assert kinds()[alone] == "kind.bird"
    read(tmp_path, ("type: one_of", "type: one_of\n    not_in: [scans]"))
    platform = brought_up(tmp_path, animals)
    assert kinds() == expected, "answered, and not asked any more"
    assert len(animals.asked) == 4


@pytest.mark.parametrize(
    ("question", "column"),
    [
        ("facts: {type: yes_no, labels: [sharp], not_in: ['**', '.']}", "sharp"),
        ("worth: {type: one_of, asked: people, labels: [print, frame]}", "worth"),
    ],
    ids=["switched off everywhere", "for people alone"],
)
def test_where_nothing_is_asked_of_the_teacher_nothing_waits_for_it(tmp_path: Path, question: str, column: str) -> None:
    make_library(tmp_path / "photos", 2)
    make_library(tmp_path / "photos" / "scans", 3)
    animals, file = Animals(), tmp_path / "labels.yaml"
    file.write_text(f"version: 1\nquestions:\n  {question}\n", encoding="utf-8")
    platform = brought_up(tmp_path, animals)
    assert animals.asked == []
    assert unanswered_folders(platform) == {}
    assert truth(platform, column) == [None] * 3, "two of the photos are copies"
    assert platform.lake.read(ANNOTATIONS).filter(half_answered(platform.questions)).is_empty()
    assert library_status(platform).answered == 3
    assert label_difference(platform, file).photos == 0


def test_predictions_leave_a_question_open_where_it_is_switched_off(tmp_path: Path) -> None:
    questions = read(tmp_path, ("type: one_of", "type: one_of\n    not_in: [scans]"))
    table = PREDICTIONS.of(questions)
    said = {"kind": "kind.cat", "kind_confidence": 0.9, "teacher_kind": "kind.dog", "sharp": True, "abstained": ["dark", "kind"]}
    paths = ("scans/a.jpg", "pets/a.jpg")
    rows = [dict.fromkeys(table.columns) | {"image_id": path, "rel_path": path, **said} for path in paths]
    scans, pets = _asked_here(pl.DataFrame(rows, schema=table.polars_schema()), questions).rows(named=True)
    assert (scans["kind"], scans["kind_confidence"], scans["teacher_kind"]) == (None, None, None)
    assert (scans["abstained"], scans["sharp"]) == (["dark"], True)
    assert (pets["kind"], pets["abstained"]) == ("kind.cat", ["dark", "kind"])


def test_the_command_says_the_price(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_library(tmp_path / "photos", 2)
    read(tmp_path)
    brought_up(tmp_path, Animals())
    config = tmp_path / "vibe.toml"
    config.write_text(
        '[library]\nroot = "photos"\nhome = "data"\n[labels]\ntaxonomy = "labels.yaml"\n[teacher]\ninput_price = 5000\n', encoding="utf-8"
    )
    monkeypatch.setenv("VIBE_CONFIG", str(config))
    other = tmp_path / "other"
    other.mkdir()
    read(other, ("cat: {}", "cat: {}, fish: {}"))
    result = CliRunner().invoke(main, ["labels", "diff", str(other / "labels.yaml")])
    assert result.exit_code == 0, result.output
    assert "kind: asked in other words" in result.output
    assert "US dollars" in result.output
