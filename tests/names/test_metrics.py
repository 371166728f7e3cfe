from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from vibe_assets.names.metrics import balanced_subset, chance_accuracy, choices, judge
from vibe_assets.names.similarity import by_likeness, letter_pairs, most_confused

NAMES = [f"name {at}" for at in range(40)]


def test_the_figures_of_a_small_table_are_those_by_hand() -> None:
    truth, said = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 1, 1, 0, 0])
    scores = judge(said, truth, ["a", "b", "c", "never"])
    head = scores.headline
    assert head["accuracy"].value == pytest.approx(3 / 6)
    assert head["accuracy"].baseline == pytest.approx(3 / 6)
    assert head["balanced_accuracy"].value == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert head["macro_f1"].value == pytest.approx((4 / 7 + 2 / 4 + 0) / 3)
    counts = np.array([4, 2, 0, 0])
    assert head["prediction_cv"].value == pytest.approx(counts.std() / counts.mean())
    assert head["max_recall"].value == pytest.approx(2 / 3)
    assert scores.loudest.name == "a"
    assert scores.chance == pytest.approx(4 / 6 * 3 / 6 + 2 / 6 * 2 / 6)


def test_unusable_answers_are_wrong_and_counted_apart_not_as_one_more_name() -> None:
    truth, said = np.array([0, 0, 1, 1, 2, 2]), np.array([0, 1, 1, 3, 3, 2])
    scores = judge(said, truth, ["a", "b", "c"])
    head = scores.headline
    assert [one.name for one in scores.names] == ["a", "b", "c"]
    assert (head["unusable"].value, head["accuracy"].value) == (pytest.approx(2 / 6), pytest.approx(3 / 6))
    counts = np.array([1, 2, 1])
    assert head["prediction_cv"].value == pytest.approx(counts.std() / counts.mean()), "three names, no fourth"
    assert most_confused(["a", "b", "c"], said, truth) == []
    assert "unusable" not in judge(truth, truth, ["a", "b", "c"]).headline
    none = judge(np.full(6, 3), truth, ["a", "b", "c"]).headline
    assert (none["accuracy"].value, none["unusable"].value) == (0, 1)


def test_top_30_accuracy_counts_answers_outside_the_30_as_wrong() -> None:
    truth = np.repeat(np.arange(40), 3)
    said = truth.copy()
    said[truth == 5] = 39
    scores = judge(said, truth, NAMES, most_frequent=list(range(30)))
    assert scores.headline["top30_accuracy"].value == pytest.approx(29 / 30)
    assert scores.headline["top30_accuracy"].n == 90


def test_chance_is_what_dealing_the_answers_out_gives() -> None:
    rng = np.random.default_rng(0)
    truth, said = rng.choice(5, 400, p=[0.5, 0.2, 0.1, 0.1, 0.1]), rng.choice(5, 400, p=[0.7, 0.3, 0, 0, 0])
    dealt = np.mean([(rng.permutation(said) == truth).mean() for _ in range(3000)])
    assert chance_accuracy(said, truth, 5) == pytest.approx(dealt, abs=0.002)


def test_choices_are_exact_over_all_draws_of_other_names() -> None:
    rng = np.random.default_rng(1)
    scores = rng.random((30, 6))
    truth = rng.integers(6, size=30)
    ranks = 1.0 + (scores > scores[np.arange(30), truth][:, None]).sum(axis=1)
    wins = [
        np.mean(
            [
                scores[row, truth[row]] > scores[row, list(others)].max()
                for others in combinations([c for c in range(6) if c != truth[row]], 3)
            ]
        )
        for row in range(30)
    ]
    expected = np.mean([np.mean(np.array(wins)[truth == name]) for name in np.unique(truth)])
    found = choices(ranks, truth, 6, resamples=20)["choice_4"]
    assert found.value == pytest.approx(expected)
    assert found.baseline == 0.25


def test_a_probe_that_never_looks_wins_a_choice_as_often_as_chance() -> None:
    truth = np.repeat(np.arange(40), np.arange(10, 50))
    prior = np.arange(40)[::-1]  # one order of names for every face
    ranks = 1.0 + np.array([int(np.flatnonzero(prior == name)[0]) for name in truth])
    for m, found in zip((2, 4, 5), choices(ranks, truth, 40, resamples=20).values(), strict=True):
        assert found.value == pytest.approx(1 / m)


def test_the_balanced_subset_has_as_many_faces_of_every_name() -> None:
    truth = np.repeat([0, 1, 3], [7, 4, 9])
    at = balanced_subset(truth, seed=3)
    assert np.bincount(truth[at]).tolist() == [4, 4, 0, 4]
    assert len(set(at.tolist())) == 12


def test_intervals_draw_the_faces_of_one_person_together() -> None:
    rng = np.random.default_rng(2)
    truth = np.repeat(rng.integers(4, size=60), 10)
    said = np.where(np.repeat(rng.random(60) < 0.5, 10), truth, (truth + 1) % 4)
    alone, together = judge(said, truth, NAMES[:4]), judge(said, truth, NAMES[:4], groups=np.repeat(np.arange(60), 10))
    for name in ("accuracy", "balanced_accuracy"):
        width = [one.headline[name].high - one.headline[name].low for one in (alone, together)]
        assert width[1] > 2 * width[0]


def test_names_that_are_spelled_alike_are_seen_to_be_confused() -> None:
    names = ["andrea", "andreas", "kim", "lou"]
    assert letter_pairs(names)[0, 1] > 0.7 > letter_pairs(names)[0, 2]
    truth = np.tile(np.arange(4), 50)
    said = np.where(truth < 2, 1 - truth, truth)
    said[2] = 3
    rows = {row.words: row.share for row in by_likeness(names, said, truth)}
    assert rows["nearly the same"].value > 0.98
    assert rows["nearly the same"].low > rows["nearly the same"].baseline
    assert {(pair.truth, pair.answer) for pair in most_confused(names, said, truth)} == {("andrea", "andreas"), ("andreas", "andrea")}


@pytest.mark.parametrize(("said", "truth"), [([], []), ([0], [0, 1]), ([4], [0]), ([-1], [0])])
def test_answers_that_do_not_fit_are_refused(said: list[int], truth: list[int]) -> None:
    with pytest.raises(ValueError, match="expected"):
        judge(np.array(said, np.int64), np.array(truth, np.int64), NAMES[:3])
