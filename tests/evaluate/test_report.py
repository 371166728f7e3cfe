"""A report is one file that loads nothing, runs nothing, escapes everything, and shows the figures."""

from __future__ import annotations

import base64
import dataclasses
import json
import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from tests.evaluate.rows import KINDS, PACKAGED, labels, library
from vibe_assets.evaluate import metrics
from vibe_assets.evaluate.compare import compare_paired, estimate_shares, label_shares
from vibe_assets.evaluate.gallery import thumbnails
from vibe_assets.evaluate.labels import Evaluation, evaluate_labels
from vibe_assets.evaluate.report import confusion_markdown, error_lists, headline_markdown, render_index, render_report, worst_photos
from vibe_assets.evaluate.report_parts import card
from vibe_assets.records import Estimate

HOSTILE = "\"><script>alert(1)</script>{{ 7 * 7 }}'&.jpg"
VOID = {"meta", "img", "br", "wbr", "link", "input", "hr"}


class Page(HTMLParser):
    """Tags, attributes and text of a page; fails on tags that do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.text += data


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    truth, said, groups = library(120)
    slices = truth.select("image_id", folder=pl.Series(["2021/sea & <sun>", "2022/snow"] * 60))
    return evaluate_labels(said, truth, groups=groups, slices=slices, resamples=50, questions=PACKAGED)


@pytest.fixture(scope="module")
def page(evaluation: Evaluation, tmp_path_factory: pytest.TempPathFactory) -> str:
    truth, said, groups = library(120)
    photo = tmp_path_factory.mktemp("photos") / "photo.png"
    Image.new("RGB", (640, 480), "teal").save(photo)
    worst = worst_photos(evaluation)
    spoilt = said.with_columns(pl.col("scene").shuffle(seed=1))
    return render_report(
        [
            evaluation,
            evaluate_labels(said.drop("scene_confidence"), truth, subject="student", truth_kind="auto", resamples=50, questions=PACKAGED),
        ],
        title=f"Report {HOSTILE}",
        subtitle=HOSTILE,
        footer={"teacher": HOSTILE, HOSTILE: "value"},
        thumbnails=thumbnails(dict.fromkeys(worst[:3], photo)),
        names=dict.fromkeys(worst, HOSTILE),
        comparison=[compare_paired(spoilt, said, truth, groups=groups, what=what, questions=PACKAGED) for what in KINDS],
        previous=evaluation.headline,
        shares={
            label: (one, one)
            for label, one in estimate_shares(truth, groups=groups, raw=label_shares(said, questions=PACKAGED), questions=PACKAGED).items()
        },
        calibration={"scene": (metrics.reliability([0.9, 0.8], [1, 0]), evaluation.reliability)},
        generated_at=datetime(2026, 1, 2, 3, 4, tzinfo=UTC),
    )


def test_the_page_loads_nothing_and_runs_nothing(page: str) -> None:
    parsed = Page(page)
    assert not {"script", "link", "iframe", "object", "embed", "base", "form"} & set(parsed.tags)
    for tag, name, value in parsed.attributes:
        assert not name.startswith("on"), f"event handler on {tag}"
        if name in ("src", "href", "srcset", "action", "poster"):
            assert value.startswith(("data:image/", "#")), f"{tag} {name}={value[:60]}"
    assert "http://" not in page
    assert "https://" not in page
    assert "@import" not in page
    assert all(target.startswith(("#", "data:")) for target in re.findall(r"url\(([^)]*)\)", page))


def test_hostile_names_and_labels_are_text(page: str) -> None:
    assert "<script" not in page
    assert "{{" not in page.replace("{{ 7 * 7 }}", ""), "only the hostile name's own braces"
    assert HOSTILE in Page(page).text
    row = {"image_id": "a", "scene": f"scene.{HOSTILE}", "objects": [f"object.{HOSTILE}"], "has_text": True}
    said = {"image_id": "a", "scene": "scene.other", "objects": [f"object.x{HOSTILE}"], "has_text": False}
    assert "<script" not in render_report(evaluate_labels(labels([said]), labels([row]), resamples=20, questions=PACKAGED), title="t")


def test_the_page_shows_headline_interval_comparison_and_lineage(page: str, evaluation: Evaluation) -> None:
    text = Page(page).text
    accuracy = evaluation.headline["scene_accuracy"]
    figures = (f"{100 * accuracy.value:.1f}", f"{100 * accuracy.low:.1f}", f"n {accuracy.n}", "Scene macro-F1", "Better by")
    sections = ("What changed", "What was taken for what", "Calibration", "Where it works", "Worst mistakes", "Made from")
    for expected in (*figures, *sections, "2026-01-02 03:04 UTC"):
        assert expected in text
    assert page.count("<svg") == 2 * len(evaluation.curves) + 1
    assert (
        len([1 for tag, name, value in Page(page).attributes if (tag, name) == ("img", "src") and value.startswith("data:image/jpeg")]) >= 3
    )


def test_charts_take_their_colours_from_the_page(page: str) -> None:
    charts = "".join(re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL))
    assert "var(--accent)" in charts
    assert not re.search(r"(stroke|fill): ?#", charts), "a fixed colour would vanish on one of the two backgrounds"


def test_the_same_inputs_give_the_same_page(evaluation: Evaluation) -> None:
    assert render_report(evaluation, title="t") == render_report(evaluation, title="t")


def test_a_report_without_any_figure_still_opens() -> None:
    Page(render_report(evaluate_labels(labels([]), labels([]), questions=PACKAGED), title="empty"))


def test_thumbnails_must_be_inline_pictures(evaluation: Evaluation) -> None:
    with pytest.raises(ValueError, match="data URL"):
        render_report(evaluation, title="t", thumbnails={"a": "https://example.com/a.jpg"})
    with pytest.raises(ValueError, match="at least one"):
        render_report([], title="t")


def test_unreadable_photos_have_no_thumbnail(tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xffnot a photo")
    assert thumbnails({"a": tmp_path / "broken.jpg", "b": tmp_path / "absent.jpg"}) == {}


def test_markdown_carries_the_same_figures(evaluation: Evaluation) -> None:
    lines = headline_markdown(evaluation).splitlines()
    assert len(lines) == 2 + len(evaluation.headline) + 2
    assert f"{100 * evaluation.headline['scene_accuracy'].value:.1f}" in lines[2]
    picture = re.fullmatch(r"!\[confusion matrix\]\(data:image/png;base64,([A-Za-z0-9+/=]+)\)", confusion_markdown(evaluation))
    assert picture is not None
    assert len(base64.b64decode(picture[1])) < 60_000
    assert confusion_markdown(evaluate_labels(labels([]), labels([]), questions=PACKAGED)) == ""


def test_error_lists_hold_every_mistake_once(evaluation: Evaluation, tmp_path: Path) -> None:
    files = error_lists(evaluation, tmp_path)
    assert [path.name for path in files] == ["scene_errors.jsonl", "attribute_errors.jsonl", "object_errors.jsonl"]
    rows = [json.loads(line) for path in files for line in path.read_text(encoding="utf-8").splitlines()]
    assert len(rows) == len(evaluation.mistakes)
    assert set(rows[0]) == {"image_id", "what", "predicted", "truth", "confidence"}


def test_wrong_scenes_come_before_other_mistakes(evaluation: Evaluation) -> None:
    wrong_scene = {m.image_id for m in evaluation.mistakes if m.what == "scene" and m.predicted is not None}
    order = worst_photos(evaluation, limit=1000)
    assert set(order[: len(wrong_scene)]) == wrong_scene
    assert len(order) == len({m.image_id for m in evaluation.mistakes})


def test_the_gallery_shows_what_people_teacher_and_students_say_of_a_photo() -> None:
    truth = {"image_id": "a", "scene": "scene.people", "has_person": True, "has_text": False, "objects": ["object.food.pizza"]}
    said = {
        "image_id": "a",
        "scene": "scene.food",
        "has_person": None,
        "has_text": True,
        "objects": ["object.food"],
        "scene_confidence": 0.91,
    }
    evaluation = evaluate_labels(labels([said], scene_confidence=pl.Float64), labels([truth]), resamples=20, questions=PACKAGED)
    page = render_report(evaluation, title="t", beside={"a": {"people": truth, "teacher": truth, "students": said}})
    voices = page[page.index('<dl class="voices">') :]
    states = re.findall(r'<span class="word ([a-z ]*?) ?(?:scene)?" title="([^"]*)">', voices)
    assert ("wrong", "scene.food") in states
    assert ("open", "attr.has_person") in states
    assert ("wrong", "attr.has_text") in states
    assert ("right", "object.food") in states, "a parent of a true object is right"
    assert [voices.index(who) for who in (">people<", ">teacher<", ">students<")] == sorted(
        voices.index(who) for who in (">people<", ">teacher<", ">students<")
    )
    assert "91" in Page(page).text


def test_answered_and_forced_accuracy_are_told_apart_in_words(evaluation: Evaluation) -> None:
    forced = dataclasses.replace(evaluation.headline["scene_accuracy"], value=0.5, low=0.4, high=0.6)
    judged = dataclasses.replace(evaluation, headline={**evaluation.headline, "scene_accuracy_forced": forced})
    text = Page(render_report(judged, title="t")).text
    answered = 100 * (1 - judged.abstained["scene"].value)
    assert "for 50\u202f% of the photos (95 % interval 40\u202f% to 60\u202f%" in text
    assert f"they answer {answered:.0f}\u202f%" in text
    assert "Scene accuracy with every photo answered" in text
    assert "leaves a label open instead of guessing" in text


def test_slices_too_small_to_say_anything_are_counted_but_not_shown() -> None:
    truth, said, groups = library(60)
    parts = truth.select("image_id", folder=pl.Series(["large"] * 29 + ["second"] * 29 + ["tiny"] * 2))
    page = Page(render_report(evaluate_labels(said, truth, groups=groups, slices=parts, resamples=20, questions=PACKAGED), title="t"))
    assert "large" in page.text
    assert "second" in page.text
    assert "tiny" not in page.text
    assert "1 more" in page.text


def test_the_index_leads_to_reports_trials_and_files_as_text() -> None:
    at = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    figures = [{"name": "Scene accuracy", "value": "75 %", "interval": HOSTILE}]
    page = render_index(
        [{"href": "teacher_report.html", "title": HOSTILE, "at": at, "summary": HOSTILE, "figures": figures}],
        [{"candidate": HOSTILE, "verdict": "Better by +3 points", "allowed": True, "at": at}],
        [{"href": "predictions.csv", "name": "predictions.csv", "about": HOSTILE}],
    )
    parsed = Page(page)
    assert "<script" not in page
    assert [value for tag, name, value in parsed.attributes if name == "href"] == ["teacher_report.html", "predictions.csv"]
    for expected in ("2026-01-02 03:04 UTC", "75 %", "Better by +3 points", "may become the teacher"):
        assert expected in parsed.text
    assert "No report yet" in Page(render_index([], [], [])).text


@pytest.mark.parametrize(("subject", "sure", "wanted"), [
    ("student", 0.7, "too modest; it is set on folders that did not train"), ("teacher", 0.7, "too modest"), ("student", 0.99, "too sure"),
    ("student", 0.9, ""),
])  # fmt: skip
def test_the_card_of_the_calibration_error_says_which_way(subject: str, sure: float, wanted: str, evaluation: Evaluation) -> None:
    right = np.arange(400) % 10 != 0
    found = metrics.reliability(np.full(400, sure), right)
    judged = dataclasses.replace(evaluation, subject=subject, reliabilities={"scene": found})
    judged = dataclasses.replace(judged, headline={**judged.headline, "scene_ece": Estimate(found.error, found.error / 2, 1.0, 400)})
    about = card("scene_ece", judged, None)["about"]
    assert wanted in about
    assert ("on average" in about) == bool(wanted)
