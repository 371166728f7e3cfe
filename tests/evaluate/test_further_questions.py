"""A label file with questions of its own: each has figures, tables and pages beside the first ones, which stay as they were."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.evaluate.rows import PACKAGED, library
from tests.evaluate.test_report import Page
from vibe_assets.evaluate.compare import compare_paired, estimate_shares, label_drift, label_shares
from vibe_assets.evaluate.drift import folder_drift, render_drift
from vibe_assets.evaluate.figures import headline_titles, kinds_of
from vibe_assets.evaluate.flow import label_flow
from vibe_assets.evaluate.labels import evaluate_labels
from vibe_assets.evaluate.report import error_lists, render_report, worst_photos
from vibe_assets.evaluate.report_markdown import labels_markdown
from vibe_assets.evaluate.said import Said
from vibe_assets.evaluate.versus import Judged, render_comparison
from vibe_assets.questions import Questions, load

FURTHER = """
  film: {type: one_of, ask: what it was taken with, labels: {phone: {}, slide: {}, negative: {}}}
  state: {type: yes_no, ask: what state it is in, labels: {is_sharp: {}, is_dark: {}}}
  colours: {type: many_of, ask: the colours that matter, labels: {red: {}, blue: {}, blue.sky: {}}}
"""
FILMS, COLOURS = ("film.phone", "film.slide", "film.negative"), ("colours.red", "colours.blue", "colours.blue.sky")


@pytest.fixture(scope="module")
def six(tmp_path_factory: pytest.TempPathFactory) -> Questions:
    """The packaged questions, and one more of each type."""
    from importlib.resources import files

    packaged = files("vibe_assets.questions").joinpath("labels.yaml").read_text(encoding="utf-8")
    path = tmp_path_factory.mktemp("labels") / "labels.yaml"
    before, rules, after = packaged.partition("\nrules:")
    path.write_text(before + FURTHER + rules + after, encoding="utf-8")
    return load(path)


def with_further(rows: pl.DataFrame, *, seed: int) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    return rows.with_columns(
        film=pl.Series([FILMS[k] if k < 3 else None for k in rng.integers(0, 4, rows.height)], dtype=pl.String),
        film_confidence=pl.Series(rng.uniform(0.3, 1, rows.height)),
        is_sharp=pl.Series(rng.random(rows.height) < 0.5),
        is_dark=pl.Series(rng.random(rows.height) < 0.2),
        colours=pl.Series([[COLOURS[k]] for k in rng.integers(0, 3, rows.height)], dtype=pl.List(pl.String)),
    )


def both(seed: int = 1) -> tuple[pl.DataFrame, pl.DataFrame, dict[str, str]]:
    truth, said, groups = library(160)
    said = with_further(said, seed=seed)
    mixed = pl.int_range(pl.len()) % 2 == 0
    truth = said.select("image_id", "film", "is_sharp", "is_dark", "colours").join(truth, on="image_id")
    other = with_further(said, seed=seed + 1)
    return truth.with_columns(pl.when(mixed).then(other["film"]).otherwise("film").alias("film")), said, groups


def test_further_figures_come_after_those_of_the_packaged_questions(six: Questions) -> None:
    truth, said, groups = both()
    found = evaluate_labels(said, truth, questions=six, groups=groups, resamples=20)
    plain = evaluate_labels(said, truth, questions=PACKAGED, groups=groups, resamples=20)
    names = list(found.headline)
    assert names[: len(plain.headline)] == list(plain.headline)
    assert {name: found.headline[name] for name in plain.headline} == plain.headline
    assert names[len(plain.headline) :] == [
        "film_accuracy", "film_accuracy_answered", "film_macro_f1", "film_ece", "film_brier", "state_macro_f1",
        "colours_top1", "colours_top3", "colours_top1_with_parents", "colours_macro_f1",
    ]  # fmt: skip
    assert headline_titles(six)["film_accuracy"] == "Film accuracy"
    right = (truth["film"] == said["film"]).fill_null(False).to_numpy()[truth["film"].is_not_null().to_numpy()]
    weights = 1 / truth.filter(pl.col("film").is_not_null())["inclusion_probability"].to_numpy()
    assert found.headline["film_accuracy"].value == pytest.approx(np.average(right, weights=weights))
    assert found.headline["state_macro_f1"].value == 1.0
    assert "colours.blue" in {score.label for score in found.table("colours")}, "a parent counts with its child"
    assert [score for score in found.labels if score.kind == "scene"] == list(plain.table("scene"))
    assert set(json.loads(found.to_json())["further"]) == {"film"}
    assert "further" not in json.loads(plain.to_json())


def test_models_speak_of_further_questions_too(six: Questions) -> None:
    truth, said, _ = both()
    models = Said(truth["image_id"].to_list(), [said, truth.drop("inclusion_probability")], questions=six)
    checked = truth.gather_every(2)
    found = evaluate_labels(said, checked, questions=six, resamples=20, said=models)
    assert found.headline["film_accuracy"].low <= 1
    assert models.shares([truth["image_id"][0]], "colours.blue").said.shape == (1, 2)
    shares = estimate_shares(checked, questions=six, said=models)
    assert {"film.phone", "attr.has_text", "state.is_dark", "colours.red"} <= set(shares)


def test_versions_are_compared_question_by_question(six: Questions) -> None:
    truth, said, groups = both()
    other = with_further(said, seed=9)
    assert compare_paired(other, said, truth, questions=six, what="film").n == truth["film"].drop_nulls().len()
    assert compare_paired(other, said, truth, questions=six).what == "scene"
    drift = label_drift(label_shares(said, six), label_shares(other, six), six)
    assert set(drift.by_kind) == set(kinds_of(six))
    assert drift.by_kind["scene"] == 0 < drift.by_kind["film"]
    flow = label_flow(said, other, questions=six, groups=groups, resamples=10)
    assert set(flow.tables) == {"scene", "film"}
    sides = [Judged(name, "", evaluate_labels(rows, truth, questions=six, resamples=5)) for name, rows in (("a", said), ("b", other))]
    page = render_comparison(
        *sides, questions=six, flow=flow, comparisons=[compare_paired(said, other, truth, questions=six, what="film")], scope=""
    )
    text = Page(page).text
    for expected in ("Where the films went", "Same film", "Same colours", "Against people, films: "):
        assert expected in text


def test_a_report_has_a_section_for_every_question(six: Questions, tmp_path: Path) -> None:
    truth, said, groups = both()
    found = evaluate_labels(said, truth, questions=six, groups=groups, resamples=20)
    answers = {row["image_id"]: row for row in said.iter_rows(named=True)}
    people = {row["image_id"]: row for row in truth.iter_rows(named=True)}
    beside = {image_id: {"people": people[image_id], "students": answers[image_id]} for image_id in worst_photos(found)}
    page = render_report(found, title="t", beside=beside, shares={}, generated_at=datetime(2026, 1, 2, tzinfo=UTC))
    Page(page)
    for expected in (
        "<h2>Films</h2>",
        "What it was taken with, exactly one each.",
        "<h2>State</h2>",
        "<h2>Colours</h2>",
        "Film accuracy",
        "film.slide",
    ):
        assert expected in page
    assert "film.phone" in labels_markdown(found)
    assert [path.name for path in error_lists(found, tmp_path)] == [f"{kind}_errors.jsonl" for kind in kinds_of(six)]
    assert (tmp_path / "film_errors.jsonl").stat().st_size


def test_a_file_without_a_question_of_one_label_has_no_main_figure(tmp_path: Path) -> None:
    file = tmp_path / "labels.yaml"
    file.write_text("version: 1\nquestions:\n  state: {type: yes_no, labels: {is_sharp: {}}}\n", encoding="utf-8")
    questions = load(file)
    rows = pl.DataFrame({"image_id": ["a", "b"], "is_sharp": [True, False]})
    found = evaluate_labels(rows, rows, questions=questions, slices=rows.select("image_id", folder="image_id"), resamples=5)
    assert (list(found.headline), found.confusion, found.slices) == (["state_macro_f1"], None, ())
    Page(render_report(found, title="t"))
    Page(render_drift([], [], questions=questions))
    assert folder_drift([rows, rows], {"a": "x"}, questions) == []
    assert label_flow(rows, rows, questions=questions).agreement["state"].value == 1.0
    assert compare_paired(rows, rows, rows, questions=questions).what == "state"
