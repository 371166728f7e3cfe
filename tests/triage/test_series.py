"""Series from time and likeness: links, the diameter cap, and ids that stay when photos come."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from vibe_assets.settings import TriageSettings
from vibe_assets.triage.series import Take, find_series

SETTINGS = TriageSettings(gap_s=10, max_span_s=60)
START = datetime(2026, 5, 1, 12)


def take(name: str, second: float, angle: float = 0.0, *, camera: str = "F-24", folder: str = "a") -> Take:
    """A photo whose vector lies at an angle in degrees: 25.8 degrees are a cosine of 0.9, 41.4 one of 0.75."""
    vector = np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))], dtype=np.float32)
    return Take(name, folder, name, START + timedelta(seconds=second), camera, None, vector)


def found(takes, previous=None) -> dict[str, tuple[str, ...]]:
    return find_series(takes, previous=previous or {}, settings=SETTINGS)


def test_photos_close_in_time_and_alike_are_a_series_and_the_rest_is_not():
    takes = [take("a", 0), take("b", 5), take("late", 30), take("other", 6, 80), take("cam", 1, camera="L7"), take("far", 2, folder="b")]
    assert found(takes) == {"a": ("a", "b")}


def test_an_odd_frame_does_not_cut_a_series_in_two():
    assert found([take("a", 0), take("odd", 1, 90), take("b", 2)]) == {"a": ("a", "b")}


def test_a_chain_of_small_steps_ends_at_the_diameter():
    series = found([take(f"{n}", n, 20 * n) for n in range(6)])  # neighbours alike, ends at right angles
    assert max(map(len, series.values())) <= 3
    assert sum(map(len, series.values())) >= 5


def test_a_series_does_not_last_longer_than_its_span():
    series = found([take(f"{n:02d}", 8 * n) for n in range(12)])
    assert all(len(members) <= 8 for members in series.values())


def test_equal_hashes_are_enough_without_vectors_and_flat_hashes_say_nothing():
    at = START
    telling, flat = 0x0F0F0F0F0F0F0F0F, 0x1
    pair = [
        Take(f"{kind}{n}", "f", f"{n}", at + timedelta(seconds=n), kind, bits, None)
        for kind, bits in (("t", telling), ("x", flat))
        for n in (0, 1)
    ]
    assert find_series(pair, previous={}, settings=SETTINGS) == {"t0": ("t0", "t1")}


def test_photos_without_a_time_are_no_series():
    assert found([Take(name, "f", name, None, None, 0x0F0F0F0F0F0F0F0F, None) for name in "ab"]) == {}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 80), st.integers(0, 90)), min_size=1, max_size=14), st.integers(0, 13))
def test_ids_and_members_stay_when_photos_are_added(photos, known):
    takes = [take(f"{n:02d}", second, angle) for n, (second, angle) in enumerate(photos)]
    before = found(takes[:known])
    previous = {photo: name for name, members in before.items() for photo in members}
    after = found(takes, previous)
    assert before.keys() <= after.keys()
    assert all(set(members) <= set(after[name]) for name, members in before.items())
    assert all(len(members) > 1 for members in after.values())
    everything = [photo for members in after.values() for photo in members]
    assert len(everything) == len(set(everything))
