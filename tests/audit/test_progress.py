"""How many more photos a wanted precision costs: the answer is enough, one fewer is not, and people read it in one sentence."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from vibe_assets.audit.progress import half_width, photos_needed, photos_to_go, sample_progress
from vibe_assets.evaluate.intervals import weighted_share, wilson


@settings(deadline=None)
@given(st.integers(0, 400), st.integers(1, 400), st.floats(0.005, 0.3))
def test_so_many_more_photos_are_enough_and_one_fewer_is_not(hits: int, n: int, target: float) -> None:
    assume(hits <= n)
    progress = photos_to_go(hits, n, target)
    share = hits / n
    assert half_width(share, n + progress.more) <= target + 1e-9
    if progress.more:
        assert half_width(share, n + progress.more - 1) > target - 1e-6
    assert progress.more <= progress.more_at_most


@settings(deadline=None)
@given(st.integers(0, 60), st.integers(1, 60))
def test_the_half_width_is_that_of_wilsons_interval(hits: int, n: int) -> None:
    assume(hits <= n)
    low, high = wilson(hits, n)
    assert half_width(hits / n, n) == pytest.approx((high - low) / 2)
    assert photos_to_go(hits, n).half_width == pytest.approx((high - low) / 2)


@settings(deadline=None)
@given(st.floats(0, 1), st.floats(0.005, 0.45))
def test_needed_photos_give_the_target_exactly(share: float, target: float) -> None:
    n = photos_needed(share, target)
    assert half_width(share, n) == pytest.approx(target) if n else half_width(share, 0) <= target


def test_a_known_case_agrees_with_the_textbook() -> None:
    # z^2 p (1 - p) / t^2 = 1067 for a half at three points; Wilson's interval needs z^2 = 4 fewer
    assert photos_to_go(0, 0, 0.03).more == 1064
    assert photos_needed(0.5, 0.03) == pytest.approx(1.959964**2 * 0.25 / 0.03**2 - 1.959964**2, rel=1e-6)


def test_copies_and_unequal_weights_cost_more_photos() -> None:
    rng = np.random.default_rng(0)
    right = (rng.random(200) < 0.85).astype(float)
    plain = photos_to_go(right.sum(), 200)
    alike = sample_progress(right)
    assert (alike.more, alike.more_at_most, alike.share) == (plain.more, plain.more_at_most, plain.share)
    assert (alike.low, alike.high, alike.effective_n) == pytest.approx((plain.low, plain.high, 200))
    copied = sample_progress(np.repeat(right, 3), groups=np.repeat(np.arange(200), 3))
    assert copied.n == 600
    assert copied.effective_n == pytest.approx(200, rel=0.05)
    assert copied.more == pytest.approx(3 * plain.more, rel=0.1), "every further photo is worth a third"
    weighted = sample_progress(right, weights=np.where(np.arange(200) % 2, 1, 9))
    assert weighted.effective_n < 140
    assert weighted.more > plain.more


def test_the_interval_is_the_one_that_reports_show() -> None:
    right, weights, groups = [1, 1, 0, 1, 1, 1], [1, 2, 3, 1, 1, 1], [0, 0, 1, 2, 3, 4]
    estimate = weighted_share(right, weights=weights, groups=groups)
    progress = sample_progress(right, weights=weights, groups=groups)
    assert (progress.share, progress.low, progress.high) == (estimate.value, estimate.low, estimate.high)


def test_the_promise_is_kept_on_average() -> None:
    rng = np.random.default_rng(1)
    halves = []
    for _ in range(200):
        seen = rng.random(100) < 0.8
        more = photos_to_go(seen.sum(), 100, 0.04).more
        after = np.concatenate([seen, rng.random(more) < 0.8])
        halves.append(photos_to_go(after.sum(), len(after)).half_width)
    assert np.mean(halves) == pytest.approx(0.04, abs=0.003)


def test_people_read_one_sentence() -> None:
    assert photos_to_go(270, 300).sentence() == "88 more photos bring scene accuracy to ±3 points."
    assert photos_to_go(475, 500).sentence() == "Scene accuracy is known to ±3 points."
    assert "No photo yet; 1,064 photos" in photos_to_go(0, 0).sentence()
    few = photos_to_go(3, 3).sentence()
    assert few == "58 to 1,061 more photos bring scene accuracy to ±3 points.", "three right of three promise nothing"
    short = photos_to_go(180, 200, left=100).sentence()
    assert short.startswith("The 100 left in the sample bring scene accuracy to about ±3.4 points; 188 more photos bring scene accuracy to")
    assert short.endswith(": draw a larger sample.")
    assert photos_to_go(180, 200, left=0).sentence() == "188 more photos bring scene accuracy to ±3 points: draw a larger sample."
    told = [photos_to_go(k, 300, left=left).sentence() for k in (30, 150, 270) for left in (None, 0, 40)]
    assert not any("%" in one for one in told), "the share would lean on the next answer"


@pytest.mark.parametrize("target", [0, 0.5, -1])
def test_an_impossible_target_is_refused(target: float) -> None:
    with pytest.raises(ValueError, match="half-width"):
        photos_to_go(1, 2, target)


def test_nobody_is_asked_for_more_photos_than_the_library_has() -> None:
    right = np.array([1.0] * 51 + [0.0] * 9)
    done = sample_progress(right, weights=np.ones(60), left=0, population=60)
    assert (done.more, done.half_width) == (0, 0.0)
    assert done.sentence() == "All 60 photos are checked: scene accuracy is known."
    assert sample_progress(right, left=0).more > 400, "of a library without end many more would be needed"
    part = sample_progress(right[20:], weights=np.full(40, 1.5), left=20, population=60)
    assert 0 < part.more <= 20
    assert part.after(20) == 0.0


def test_nobody_is_asked_for_photos_that_no_sample_can_hold() -> None:
    """Sixty bursts of ten: a sample holds one photo of each."""
    right = np.array([1.0] * 51 + [0.0] * 9)
    done = sample_progress(right, weights=np.full(60, 10.0), left=0, population=600, supply=0)
    assert done.more > 0
    assert done.sentence() == "All photos that a sample can hold, one of each burst, are checked: ±8.5 points."
    part = sample_progress(right[10:], weights=np.full(50, 10.0), left=4, population=600, supply=6)
    assert part.sentence().startswith("The 10 left, one of each burst, bring scene accuracy to about ±")
    assert part.sentence().endswith("draw a larger sample.")
