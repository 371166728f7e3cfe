"""What an evaluation counts, what it leaves out, and that each figure says so."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest

from tests.evaluate.rows import PACKAGED, labels, library
from vibe_assets.evaluate.figures import headline_titles
from vibe_assets.evaluate.labels import evaluate_labels
from vibe_assets.lake import conform
from vibe_assets.records import METRICS

QUICK = {"resamples": 100}


def test_scene_figures_read_as_worked_by_hand() -> None:
    truth = labels(
        [{"image_id": i, "scene": s} for i, s in zip("abcdef", [*["scene.people"] * 3, "scene.food", "scene.food", None], strict=True)]
    )
    said = labels(
        [
            {"image_id": i, "scene": s}
            for i, s in zip("abcdf", ["scene.people", "scene.food", None, "scene.food", "scene.food"], strict=True)
        ]
    )
    result = evaluate_labels(said, truth, **QUICK, questions=PACKAGED)
    accuracy, answered = result.headline["scene_accuracy"], result.headline["scene_accuracy_answered"]
    assert (accuracy.value, accuracy.n, accuracy.baseline) == (pytest.approx(2 / 5), 5, pytest.approx(3 / 5)), "f has no true scene"
    assert (answered.value, answered.n) == (pytest.approx(2 / 3), 3)
    assert result.abstained["scene"].value == pytest.approx(2 / 5), "c was left open, e has no prediction"
    assert (result.n, result.n_missing) == (6, 1)
    people = next(score for score in result.table("scene") if score.label == "scene.people")
    assert (people.support, people.predicted) == (3, 1)
    assert people.recall is not None
    assert people.recall.value == pytest.approx(1 / 3)


def test_attribute_nulls_leave_the_denominator_and_open_answers_are_counted() -> None:
    truth = labels([{"image_id": i, "has_person": v} for i, v in zip("abcd", [True, True, False, None], strict=True)])
    said = labels([{"image_id": i, "has_person": v} for i, v in zip("abcd", [True, None, True, True], strict=True)])
    result = evaluate_labels(said, truth, **QUICK, questions=PACKAGED)
    person = next(score for score in result.labels if score.label == "attr.has_person")
    assert person.precision is not None
    assert person.recall is not None
    assert (person.precision.value, person.precision.n, person.recall.value) == (0.5, 2, 0.5)
    assert result.abstained["attr.has_person"].value == pytest.approx(1 / 3)
    assert "attr.has_text" not in result.abstained, "no photo's truth knows has_text"
    assert {(m.image_id, m.predicted, m.truth) for m in result.mistakes} == {("b", None, "true"), ("c", "true", "false")}


def test_the_main_object_is_found_by_its_own_name_not_by_a_parent_or_a_lesser_object() -> None:
    truth = labels([{"image_id": i, "objects": ["object.food", "object.food.dessert", "object.drink"]} for i in "abcd"])
    answers = {
        "a": ["object.food"],
        "b": ["object.drink"],
        "c": ["object.food", "object.food.dessert"],
        "d": ["object.drink", "object.food.dessert"],
    }
    said = labels([{"image_id": image_id, "objects": objects} for image_id, objects in answers.items()])
    found = evaluate_labels(said, truth, **QUICK, questions=PACKAGED).headline
    assert (found["objects_top1"].value, found["objects_top3"].value) == (0.25, 0.5)
    assert found["objects_top1_with_parents"].value == 1.0
    assert found["objects_top1"].baseline == 1.0, "dessert, of every photo"


def test_objects_top_k_counts_photos_with_objects_and_parents_only_where_asked() -> None:
    truth = labels(
        [{"image_id": "a", "objects": ["object.food.dessert"]}, {"image_id": "b", "objects": ["object.drink"]}, {"image_id": "c"}]
    )
    answers = {"a": ["object.food"], "b": ["object.food", "object.phone", "object.drink"], "c": ["object.food"]}
    said = labels([{"image_id": image_id, "objects": objects} for image_id, objects in answers.items()])
    strict = evaluate_labels(said, truth, parents=False, **QUICK, questions=PACKAGED)
    assert (strict.headline["objects_top1"].value, strict.headline["objects_top1"].n) == (0.0, 2)
    assert strict.headline["objects_top3"].value == 0.5
    kind = evaluate_labels(said, truth, **QUICK, questions=PACKAGED)
    assert (kind.headline["objects_top1"].value, kind.headline["objects_top1_with_parents"].value) == (0.0, 0.5)
    assert [(m.image_id, m.predicted, m.truth) for m in kind.mistakes if m.what == "object"] == [("b", "object.food", "object.drink")]


def test_weights_undo_unequal_sampling() -> None:
    truth = labels(
        [{"image_id": i, "scene": "scene.food", "inclusion_probability": p} for i, p in zip("abc", [0.1, 0.5, None], strict=True)],
        inclusion_probability=pl.Float64,
    )
    said = labels(
        [{"image_id": "a", "scene": "scene.food"}, {"image_id": "b", "scene": "scene.other"}, {"image_id": "c", "scene": "scene.other"}]
    )
    assert evaluate_labels(said, truth, **QUICK, questions=PACKAGED).headline["scene_accuracy"].value == pytest.approx(10 / 13)
    assert evaluate_labels(said, truth, use_weights=False, **QUICK, questions=PACKAGED).headline["scene_accuracy"].value == pytest.approx(
        1 / 3
    )
    with pytest.raises(ValueError, match="inclusion probabilities"):
        evaluate_labels(said, truth.with_columns(inclusion_probability=0.0), **QUICK, questions=PACKAGED)


def test_every_figure_has_an_interval_around_it_and_a_denominator() -> None:
    truth, said, groups = library()
    result = evaluate_labels(said, truth, groups=groups, **QUICK, questions=PACKAGED)
    assert set(result.headline) == set(headline_titles(PACKAGED)) - {
        "scene_accuracy_forced",
        "scene_accuracy_blind",
    }  # a head asked again without abstaining; the audit's blind share
    assert result.n_groups == 120
    assert result.weighted
    figures = [*result.headline.values(), *result.abstained.values(), *(curve.average_precision for curve in result.curves.values())]
    figures += [estimate for score in result.labels for estimate in (score.precision, score.recall, score.f1) if estimate is not None]
    for estimate in figures:
        assert estimate.low - 1e-9 <= estimate.value <= estimate.high + 1e-9
        assert estimate.low < estimate.high
        assert estimate.n > 0


def test_the_same_seed_gives_the_same_evaluation_in_any_row_order_of_predictions() -> None:
    truth, said, groups = library(80)
    once = evaluate_labels(said, truth, groups=groups, seed=3, **QUICK, questions=PACKAGED)
    assert evaluate_labels(said.reverse(), truth, groups=groups, seed=3, **QUICK, questions=PACKAGED) == once
    assert evaluate_labels(said, truth, groups=groups, seed=4, **QUICK, questions=PACKAGED).headline != once.headline
    rows = pl.DataFrame({"image_id": list(groups), "group_id": list(groups.values()), "split": "test"})
    assert evaluate_labels(said, truth, groups=rows, seed=3, **QUICK, questions=PACKAGED) == once


def test_a_photo_in_two_places_counts_once_and_a_repeated_truth_is_refused() -> None:
    truth, said, _ = library(40)
    assert evaluate_labels(pl.concat([said, said]), truth, **QUICK, questions=PACKAGED) == evaluate_labels(
        said, truth, **QUICK, questions=PACKAGED
    )
    with pytest.raises(ValueError, match="each photo once"):
        evaluate_labels(said, pl.concat([truth, truth]), **QUICK, questions=PACKAGED)
    with pytest.raises(ValueError, match=r"missing \['objects'\]"):
        evaluate_labels(said.drop("objects"), truth, **QUICK, questions=PACKAGED)


def test_confidences_may_come_in_rows_of_their_own() -> None:
    truth, said, _ = library(60)
    confidences = [name for name in said.columns if name.endswith("_confidence")]
    apart = evaluate_labels(
        said.drop(confidences), truth, scores=said.select("image_id", *confidences).reverse(), **QUICK, questions=PACKAGED
    )
    assert apart == evaluate_labels(said, truth, **QUICK, questions=PACKAGED)
    without = evaluate_labels(said.drop(confidences), truth, **QUICK, questions=PACKAGED)
    assert without.curves == {}
    assert without.reliability is None
    assert "scene_ece" not in without.headline


def test_the_surest_mistakes_come_first() -> None:
    truth, said, _ = library(60)
    sure = [m.confidence for m in evaluate_labels(said, truth, **QUICK, questions=PACKAGED).mistakes]
    known = [value for value in sure if value is not None]
    assert sure[: len(known)] == sorted(known, reverse=True)
    assert set(sure[len(known) :]) == {None}


def test_nothing_to_judge_gives_no_figures() -> None:
    empty = evaluate_labels(labels([]), labels([]), questions=PACKAGED)
    assert (empty.n, dict(empty.headline), empty.confusion) == (0, {}, None)
    unknown = evaluate_labels(labels([{"image_id": "a"}]), labels([{"image_id": "a"}]), questions=PACKAGED)
    assert "scene_accuracy" not in unknown.headline


def test_one_kind_may_be_judged_alone() -> None:
    truth, said, _ = library(60)
    result = evaluate_labels(said, truth, kinds=("object",), **QUICK, questions=PACKAGED)
    assert set(result.headline) == {"objects_top1", "objects_top3", "objects_top1_with_parents", "objects_macro_f1"}
    assert {m.what for m in result.mistakes} <= {"object"}


def test_slices_give_accuracy_of_every_part() -> None:
    truth, said, _ = library(60)
    parts = truth.select("image_id", year=pl.Series(["2021"] * 40 + ["2022"] * 19 + [None]))
    result = evaluate_labels(said, truth, slices=parts, **QUICK, questions=PACKAGED)
    assert [(part.by, part.value) for part in result.slices] == [("year", "2021"), ("year", "2022")]
    both = truth.join(said, on="image_id", suffix="_said").head(40).filter(pl.col("scene").is_not_null())
    right = (both["scene"] == both["scene_said"]).fill_null(False).to_numpy()
    assert result.slices[0].accuracy.n == len(both)
    assert result.slices[0].accuracy.value == pytest.approx(np.average(right, weights=1 / both["inclusion_probability"].to_numpy()))


def test_metrics_rows_fit_the_table_and_json_has_no_nan() -> None:
    truth, said, _ = library(60)
    result = evaluate_labels(said, truth, **QUICK, questions=PACKAGED)
    rows = conform(result.metrics_rows(at=datetime(2026, 1, 1, tzinfo=UTC), run_id="cli", version="v1"), METRICS)
    accuracy = rows.row(by_predicate=(pl.col("metric") == "scene_accuracy"), named=True)
    assert (accuracy["label"], accuracy["value"]) == ("", result.headline["scene_accuracy"].value)
    assert {"precision", "recall", "f1", "average_precision", "abstained"} <= set(rows["metric"])
    read = json.loads(result.to_json(), parse_constant=lambda name: pytest.fail(f"{name} in JSON"))
    assert read["headline"]["scene_accuracy"]["n"] == result.headline["scene_accuracy"].n
    assert "mistakes" not in read
