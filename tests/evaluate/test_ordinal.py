"""Ratings: how many points they lie apart, and kappa with squared weights, against sklearn, by hand, and in every report."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import cohen_kappa_score

from vibe_assets.eval.labels import main
from vibe_assets.evaluate.labels import Evaluation, evaluate_labels
from vibe_assets.evaluate.ordinal import ordinal
from vibe_assets.evaluate.report import headline_markdown, render_report
from vibe_assets.questions import Questions, Rating, load
from vibe_assets.settings import CONFIG_ENV

FILE = """
version: 1
questions:
  appeal: {type: rating, scale: [1, 5], ask: how much one would want to keep it}
  kind: {type: one_of, labels: {film: {}, phone: {}}}
"""


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Questions:
    file = tmp_path_factory.mktemp("rating") / "labels.yaml"
    file.write_text(FILE, encoding="utf-8")
    return load(file)


@pytest.fixture(scope="module")
def appeal(questions: Questions) -> Rating:
    (rating,) = questions.of_type(Rating)
    return rating


def keys(points: list[int | None]) -> list[str | None]:
    return [None if point is None else f"appeal.{point}" for point in points]


def test_figures_are_those_of_a_hand_worked_example(appeal: Rating) -> None:
    truth, said = [1, 2, 3, 4, 5, 3, None], [1, 3, 3, 2, 5, None, 4]
    found = ordinal(appeal, keys(truth), keys(said), groups=np.arange(7), weights=np.array([1, 2, 1, 1, 1, 1, 1.0]), resamples=50)
    assert found is not None
    # answered: |0| once, |1| twice (weight 2), |0|, |2|, |0| of weight 6 in all; always 2 (or 3) would be (1 + 0 + 1 + 2 + 3) / 6 off
    assert found.distance.value == pytest.approx(4 / 6)
    assert found.distance.baseline == pytest.approx(7 / 6)
    assert (found.distance.n, found.kappa) == (5, None), "too few photos for a kappa"
    assert 0 <= found.distance.low < found.distance.value < found.distance.high <= 4
    assert ordinal(appeal, keys([1]), keys([None]), groups=np.arange(1), weights=np.ones(1)) is None


def test_kappa_is_that_of_another_implementation(appeal: Rating) -> None:
    rng = np.random.default_rng(3)
    truth = rng.integers(1, 6, 200)
    said = np.clip(truth + rng.integers(-1, 2, 200), 1, 5)
    weights = rng.integers(1, 4, 200).astype(float)
    found = ordinal(appeal, keys(truth.tolist()), keys(said.tolist()), groups=np.arange(200), weights=weights, resamples=500)
    assert found is not None
    assert found.kappa is not None
    assert found.kappa.value == pytest.approx(cohen_kappa_score(truth, said, weights="quadratic", sample_weight=weights))
    assert found.distance.value == pytest.approx(np.average(np.abs(truth - said), weights=weights))
    assert -1 < found.kappa.low < found.kappa.value < found.kappa.high < 1


def test_without_a_difference_nothing_is_known_for_certain_and_without_variety_there_is_no_kappa(appeal: Rating) -> None:
    shared = {"groups": np.arange(20), "weights": np.ones(20), "resamples": 50}
    same = ordinal(appeal, keys([1, 5] * 10), keys([1, 5] * 10), **shared)
    assert same is not None
    assert same.kappa is not None
    assert (same.distance.value, same.kappa.value) == (0, 1)
    assert same.distance.high > 0.3
    assert same.kappa.low < 0.9
    one = ordinal(appeal, keys([3] * 20), keys([3] * 20), **shared)
    assert one is not None
    assert one.kappa is None


@pytest.mark.parametrize("photos", [20, 60])
def test_intervals_hold_the_truth_as_often_as_they_say(appeal: Rating, photos: int) -> None:
    """Of 200 samples in bursts of two; the truth is that of 200,000 photos. 95 % less three standard errors is 0.90."""
    rng = np.random.default_rng(1)

    def drawn(bursts: int) -> tuple[np.ndarray, np.ndarray]:
        truth = np.clip(np.round(rng.normal(3.2, 1.1, bursts)), 1, 5).repeat(2)
        said = np.clip(truth + np.round(rng.normal(0, 0.8, bursts)).repeat(2), 1, 5)
        return truth.astype(int), said.astype(int)

    truth, said = drawn(100_000)
    distance, kappa = np.abs(truth - said).mean(), cohen_kappa_score(truth, said, weights="quadratic")
    held = np.zeros(2)
    for seed in range(200):
        found = ordinal(
            appeal, *(keys(points.tolist()) for points in drawn(photos // 2)), groups=np.arange(photos // 2).repeat(2),
            weights=np.ones(photos), resamples=300, seed=seed,
        )  # fmt: skip
        assert found is not None
        assert found.kappa is not None
        held += (found.distance.low <= distance <= found.distance.high, found.kappa.low <= kappa <= found.kappa.high)
    assert (held / 200 >= 0.90).all(), held / 200


def judged(questions: Questions, *, rated: bool = True) -> Evaluation:
    rng = np.random.default_rng(0)
    points = rng.integers(1, 6, 40)
    said = np.clip(points + rng.integers(-1, 2, 40), 1, 5)
    rows = pl.DataFrame({"image_id": [f"{at:032x}" for at in range(40)], "kind": ["kind.film"] * 40})
    none = pl.lit(None, pl.String).alias("appeal")
    truth = rows.with_columns(pl.Series("appeal", keys(points.tolist())) if rated else none)
    return evaluate_labels(
        rows.with_columns(pl.Series("appeal", keys(said.tolist()))), truth, questions=questions, resamples=50, subject="teacher"
    )


def test_reports_show_them_for_ratings_alone(questions: Questions, tmp_path: Path) -> None:
    found = judged(questions)
    assert list(found.ordinals) == ["appeal"]
    told = json.loads(found.to_json())["ordinal"]["appeal"]
    assert told["distance"]["n"] == told["kappa"]["n"] == 40
    markdown = headline_markdown(found)
    assert "Appeal mean difference in points" in markdown
    assert "Appeal quadratic weighted kappa" in markdown
    page = render_report([found], title="Teacher", subtitle="", footer={}, generated_at=datetime(2026, 1, 1, tzinfo=UTC))
    assert f"{found.ordinals['appeal'].distance.value:.2f}" in page
    assert page.count("How far apart") == 1
    rows = found.metrics_rows(at=datetime(2026, 1, 1, tzinfo=UTC), run_id="r", version="v")
    assert set(rows.filter(pl.col("label") == "appeal")["metric"]) >= {"distance", "weighted_kappa"}
    without = judged(questions, rated=False)
    assert not without.ordinals
    assert "ordinal" not in json.loads(without.to_json())


def test_the_command_shows_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv(CONFIG_ENV, raising=False)
    monkeypatch.setenv("VIBE_LIBRARY__HOME", str(tmp_path / "home"))
    monkeypatch.setenv("VIBE_LABELS__TAXONOMY", str(tmp_path / "labels.yaml"))
    monkeypatch.setenv("COLUMNS", "120")
    (tmp_path / "labels.yaml").write_text(FILE, encoding="utf-8")
    for name, shift in (("human.json", 0), ("auto.json", 1)):
        photos = [{"image_id": f"{at:032x}", "appeal": f"appeal.{1 + (at + shift) % 4}"} for at in range(20)]
        (tmp_path / name).write_text(json.dumps(photos), encoding="utf-8")
    assert main(["--gt", str(tmp_path / "human.json"), "--auto", str(tmp_path / "auto.json"), "--resamples", "20"]) == 0
    shown = capsys.readouterr().out
    assert "1.50" in next(line for line in shown.splitlines() if "Appeal mean difference in points" in line)
    assert "Appeal quadratic weighted kappa" in shown
