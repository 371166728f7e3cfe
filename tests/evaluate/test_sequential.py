"""A bound that is asked again and again opens no more often than it says, by weight and by group, and says what it still needs."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from vibe_assets.evaluate.combined import Models
from vibe_assets.evaluate.intervals import weighted_share
from vibe_assets.evaluate.sequential import ALPHA, checks_until, evidence, lower_bound

SURE = math.log(1 / ALPHA)


def test_a_teacher_at_the_threshold_is_let_through_in_one_library_of_twenty_however_often_it_is_asked() -> None:
    rng = np.random.default_rng(0)
    opened, by_interval = 0, 0
    for _ in range(150):
        hits, weights = rng.random(200) < 0.6, rng.choice([1.0, 2.0, 8.0], 200)
        looks = range(30, 201, 10)
        opened += any(evidence(hits[:n], 0.6, weights=weights[:n], largest=8.0) >= SURE for n in looks)
        by_interval += any(weighted_share(hits[:n], weights=weights[:n]).low >= 0.6 for n in looks[::2])
    assert opened / 150 < ALPHA
    assert by_interval / 150 > 2 * ALPHA, "the interval for one look does not hold"


@pytest.mark.parametrize("knows", [True, False])
def test_what_students_say_opens_it_sooner_and_never_too_often(knows: bool) -> None:
    rng = np.random.default_rng(3)
    opened, needed = 0, {"with": [], "without": []}
    for _ in range(150):
        for share in (0.6, 0.75):
            hits = rng.random(250) < share
            sure = np.clip(np.where(hits if knows else rng.random(250) < 0.7, 0.8, 0.4) + rng.normal(0, 0.1, 250), 0, 1)
            models = Models(sure[:, None], np.array([0.4 + 0.4 * (share if knows else 0.7)]), 10_000)
            looks = range(20, 251, 10)
            found = {
                name: [n for n in looks if evidence(hits[:n], 0.6, models=one and replace(one, said=one.said[:n])) >= SURE]
                for name, one in (("with", models), ("without", None))
            }
            if share == 0.6:
                opened += bool(found["with"])
            else:
                for name, looks_of in found.items():
                    needed[name].append(looks_of[0] if looks_of else 300)
    assert opened / 150 < ALPHA + 0.02
    assert np.median(needed["with"]) < (0.8 if knows else 1.15) * np.median(needed["without"])


def test_the_order_of_the_photos_does_not_matter() -> None:
    rng = np.random.default_rng(1)
    hits, weights, order = rng.random(60) < 0.8, rng.choice([1.0, 3.0], 60), rng.permutation(60)
    shuffled = lower_bound(hits[order], weights=weights[order])
    assert lower_bound(hits, weights=weights) == pytest.approx(shuffled)


def test_a_burst_is_one_look_at_the_teacher() -> None:
    ones = np.ones(60)
    assert lower_bound(ones, groups=np.arange(60) // 10) == pytest.approx(lower_bound(np.ones(6)))
    assert lower_bound(ones) > 0.9


@pytest.mark.parametrize(("share", "at_most"), [(1.0, 10), (0.9, 40), (0.8, 80), (0.7, 350)])
def test_a_good_teacher_is_let_through_soon(share: float, at_most: int) -> None:
    hits = np.arange(at_most) % 10 < 10 * share
    assert evidence(hits, 0.6) >= SURE


def test_the_checks_that_are_missing_are_those_that_open_it() -> None:
    hits = np.arange(40) % 10 < 7
    more = checks_until(hits, 0.6)
    assert more is not None
    assert more > 0
    times = (40 + more) / 40
    assert evidence(hits, 0.6, more=times) >= SURE > evidence(hits, 0.6, more=times - 2 / 40)
    assert checks_until(np.ones(40), 0.6) == 0
    assert checks_until(np.arange(40) % 2, 0.6) is None
