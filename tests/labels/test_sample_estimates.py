"""Whatever the strategy, estimates weighted by 1 / inclusion_probability find the truth of the library; unweighted ones do not."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from vibe_assets.evaluate.compare import estimate_shares
from vibe_assets.evaluate.labels import evaluate_labels
from vibe_assets.labels.sample import BANDS, draw_sample
from vibe_assets.questions import load
from vibe_assets.records import AUTO_GROUND_TRUTH, PHOTO_GROUPS
from vibe_assets.settings import AuditSettings

STRATEGIES = ("random", "stratified", "disagreement", "uncertainty")
DRAWS = 200
SIZE = 40
SCENES = ("scene.food", "scene.people", "scene.document")


@pytest.fixture(scope="module")
def population():
    """160 groups whose teacher errs more on rare scenes, where the student differs, and where it is unsure; and who is right."""
    rng = np.random.default_rng(3)
    truth, placed, predicted, right = [], [], [], {}
    for number in range(160):
        scene = SCENES[(0, 0, 0, 0, 0, 0, 0, 1, 1, 2)[number // 4 % 10]]
        sure = float(1 - rng.random() ** 2)
        split = ("test", "train", "train", "val")[number % 4]
        for shot in range((1, 1, 1, 2)[number // 40]):
            image_id = f"{number:03d}-{shot}"
            good = bool(rng.random() < {"scene.food": 1.0, "scene.people": 0.7, "scene.document": 0.2}[scene] * (0.3 + 0.7 * sure))
            student = scene if rng.random() < (0.9 if good else 0.3) else "scene.other"
            truth.append({**dict.fromkeys(AUTO_GROUND_TRUTH.columns), "image_id": image_id, "scene": scene, "objects": []})
            placed.append({"image_id": image_id, "group_id": f"{number:03d}", "split": split, "link": "burst", "group_size": 1})
            predicted.append({"image_id": image_id, "scene": student, "scene_confidence": sure})
            right[image_id] = good
    return (
        pl.DataFrame(truth, schema=AUTO_GROUND_TRUTH.polars_schema()),
        pl.DataFrame(placed, schema=PHOTO_GROUPS.polars_schema()),
        pl.DataFrame(predicted),
        right,
    )


@pytest.fixture(scope="module")
def draws(population):
    """Strategy -> 200 samples by different seeds."""
    truth, groups, predicted, _ = population
    paths = truth.select("image_id", rel_path="image_id")

    def draw(strategy, seed):
        settings = AuditSettings(sample_size=SIZE, seed=seed, strategy=strategy)
        return draw_sample(truth, groups, paths=paths, settings=settings, predictions=predicted)

    return {strategy: [draw(strategy, seed) for seed in range(DRAWS)] for strategy in STRATEGIES}


def z_score(values, truth):
    """How many standard errors the mean of the draws lies from the truth."""
    return (np.mean(values) - truth) / (np.std(values, ddof=1) / np.sqrt(len(values)))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_horvitz_thompson_totals_are_unbiased(strategy, population, draws):
    right = population[3]
    totals = [sum(right[i] / p for i, p in sample.select("image_id", "inclusion_probability").iter_rows()) for sample in draws[strategy]]
    assert abs(z_score(totals, sum(right.values()))) < 3
    sizes = [float((1 / sample["inclusion_probability"]).sum()) for sample in draws[strategy]]
    assert abs(z_score(sizes, len(right))) < 3, "the weights add up to the library"


@pytest.mark.parametrize("strategy", ["stratified", "disagreement", "uncertainty"])
def test_unweighted_shares_are_biased_where_photos_are_not_drawn_alike(strategy, population, draws):
    right = population[3]
    share = np.mean(list(right.values()))
    naive = [np.mean([right[i] for i in sample["image_id"]]) for sample in draws[strategy]]
    assert z_score(naive, share) < -5, "errors are drawn more often, so the teacher looks worse than it is"


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_reported_figures_find_the_truth_of_the_library(strategy, population, draws):
    teacher, groups, _, right = population
    people = teacher.with_columns(
        scene=pl.when(pl.col("image_id").is_in([i for i, good in right.items() if good])).then("scene").otherwise(pl.lit("scene.other"))
    )
    accuracy, share, covered = [], [], []
    wanted = float((people["scene"] == "scene.other").mean())
    for sample in draws[strategy][:50]:
        truth = people.join(sample.select("image_id", "inclusion_probability"), on="image_id").select(
            "image_id", *load().columns, "inclusion_probability"
        )
        found = evaluate_labels(teacher, truth, questions=load(), groups=groups, resamples=2, kinds=("scene",)).headline["scene_accuracy"]
        accuracy.append(found.value)
        covered.append(found.low <= 1 - wanted <= found.high)
        shares = estimate_shares(truth, questions=load(), groups=groups)
        share.append(shares["scene.other"].value if "scene.other" in shares else 0.0)
    assert abs(z_score(accuracy, 1 - wanted)) < 3
    assert abs(z_score(share, wanted)) < 3
    assert np.mean(covered) > 0.9


def test_photos_the_student_is_unsure_of_are_drawn_at_a_higher_rate(population, draws):
    strata = {name: [] for name, _, _ in BANDS}
    confidence = dict(population[2].select("image_id", "scene_confidence").iter_rows())
    for row in draws["uncertainty"][0].iter_rows(named=True):
        side, band = row["stratum"].split("/")
        strata[band].append(confidence[row["image_id"]])
        assert side in ("test", "rest")
    low = 0.0
    for name, below, _ in BANDS:
        assert all(low <= sure < below for sure in strata[name])
        low = below
    chance = pl.concat(draws["uncertainty"]).filter(pl.col("stratum").str.starts_with("rest/")).group_by("stratum").agg(
        pl.col("inclusion_probability").max()  # of groups of one
    )  # fmt: skip
    rate = dict(chance.iter_rows())
    assert rate["rest/50_to_70"] > 2 * rate["rest/above_97"]


def test_uncertainty_before_there_are_students_is_a_random_sample(population):
    truth, groups, *_ = population
    settings = AuditSettings(sample_size=SIZE, strategy="uncertainty")
    sample = draw_sample(truth, groups, paths=truth.select("image_id", rel_path="image_id"), settings=settings)
    assert set(sample["stratum"]) == {"test/unjudged", "rest/unjudged"}


def test_the_better_strategy_is_worth_more_photos(population, draws):
    """Uncertainty sampling is there for smaller errors of the students' accuracy: it must beat the random draw of the same size."""
    confidence = dict(population[2].select("image_id", "scene_confidence").iter_rows())
    rng = np.random.default_rng(0)
    wrong = {i: float(rng.random() > sure) for i, sure in confidence.items()}  # a calibrated student
    spread = {}
    for strategy in ("random", "uncertainty"):
        weights = [(sample["image_id"].to_list(), (1 / sample["inclusion_probability"]).to_numpy()) for sample in draws[strategy]]
        spread[strategy] = np.std([np.dot([wrong[i] for i in ids], w) / w.sum() for ids, w in weights])
    assert spread["uncertainty"] < spread["random"]
