"""A new head is judged by what the library would lose, and many small losses do not add up unseen."""

from __future__ import annotations

import numpy as np
import pytest

from vibe_assets.evaluate.intervals import mcnemar_exact
from vibe_assets.evaluate.paired import WORST_LEVEL, best_of, loses_too_much, weighted_difference


def refused(difference: np.ndarray, weights: np.ndarray | None = None) -> bool:
    worst = weighted_difference(difference, weights=weights, level=WORST_LEVEL).low
    return loses_too_much(weighted_difference(difference, weights=weights), worst, 0.05)


def test_photos_that_were_drawn_more_often_do_not_refuse_a_head_that_is_better_for_the_library() -> None:
    """30 photos of a rare scene are lost, 20 of a frequent one, which stand for eight times as many, are won."""
    difference = np.repeat([-1.0, 1.0, 0.0], [30, 10, 460])
    weights = np.repeat([1.0, 8.0, 4.0], [30, 10, 460])
    assert mcnemar_exact(30, 10).p_second_worse < 0.01
    assert weighted_difference(difference, weights=weights).value > 0
    assert not refused(difference, weights)


def test_a_burst_is_won_and_lost_as_one() -> None:
    difference = np.repeat([-1.0, 0.0], [30, 270])
    alone, bursts = (weighted_difference(difference, groups=groups) for groups in (None, np.arange(300) // 30))
    assert alone.value == bursts.value == pytest.approx(-0.1)
    assert bursts.low < alone.low < alone.high < bursts.high


def test_photos_without_a_difference_are_no_proof_that_there_is_none() -> None:
    few, many = weighted_difference(np.zeros(20)), weighted_difference(np.zeros(2000))
    assert few.low < -0.1 < many.low < 0 < many.high < 0.1 < few.high


def test_a_small_loss_of_a_well_known_size_is_borne_and_an_unclear_one_is_not() -> None:
    lost = np.repeat([-1.0, 1.0, 0.0], [40, 30, 930])
    assert not refused(lost)
    assert refused(np.repeat([-1.0, 1.0, 0.0], [2, 1, 47]))
    assert refused(np.repeat([-1.0, 1.0, 0.0], [40, 20, 4940])), "clearly worse"
    assert not refused(np.zeros(5))


def test_the_record_is_held_until_somebody_is_clearly_better() -> None:
    rng = np.random.default_rng(0)
    skill = rng.random(500)
    falling = [(skill < 0.9 - 0.005 * week).astype(float) for week in range(40)]
    assert best_of(falling) == 0
    assert best_of(falling[::-1]) > 30
    alike = [np.where(rng.random(500) < 0.05, 1 - falling[0], falling[0]) for _ in range(30)]
    assert best_of([falling[1], *falling[:1] * 5]) == 0, "half a point is luck"
    assert best_of([falling[30], *alike]) > 0
