"""Series from time and likeness: links, the diameter cap, and ids that stay when photos come."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from vibe_assets.settings import TriageSettings
from vibe_assets.triage.series import UNDATED_SPAN, Take, find_series

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


# -- photos without a time ---------------------------------------------------------------------------------------------
TELLING = 0x0F0F0F0F0F0F0F0F


def undated(name: str, angle: float = 0.0, bits: int = TELLING, *, folder: str = "f") -> Take:
    vector = np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))], dtype=np.float32)
    return Take(name, folder, name, None, None, bits, vector)


def test_undated_neighbours_by_name_are_a_series_where_hash_and_vector_agree():
    turned = TELLING ^ 0xFF00FF  # 16 bits away
    takes = [undated("IMG_9"), undated("IMG_10", 5, turned), undated("IMG_11", 80, turned), undated("IMG_12", 5, ~TELLING & (2**64 - 1))]
    assert found(takes) == {"IMG_9": ("IMG_9", "IMG_10")}, "9 comes before 10; a hash or a vector alone says too little"


def test_undated_photos_far_apart_by_name_or_in_other_folders_are_no_series():
    between = [undated(f"b{n}", 90, (2**64 - 1) ^ TELLING ^ n * 0x111) for n in range(3)]
    series = found([undated("a"), *between, undated("c"), undated("a2", folder="g")])
    assert "a" not in {photo for members in series.values() for photo in members}


def test_a_folder_of_frames_does_not_become_one_series():
    series = found([undated(f"frame{n}") for n in range(60)])
    assert max(map(len, series.values())) <= UNDATED_SPAN


def test_undated_and_dated_photos_stay_apart_and_the_setting_turns_undated_series_off():
    takes = [undated("a"), undated("b"), Take("c", "f", "c", START, None, TELLING, None)]
    assert found(takes) == {"a": ("a", "b")}
    assert find_series(takes, previous={}, settings=TriageSettings(undated=False)) == {}


@settings(max_examples=40)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=14), st.integers(0, 13), st.randoms(use_true_random=False))
def test_undated_series_keep_ids_and_members_when_photos_are_added(angles, known, random):
    takes = [undated(f"IMG_{n}", angle) for n, angle in enumerate(angles)]
    random.shuffle(takes)
    before = found(takes[:known])
    after = found(takes, {photo: name for name, members in before.items() for photo in members})
    assert all(set(members) <= set(after[name]) for name, members in before.items())


# -- stability ---------------------------------------------------------------------------------------------------------


@settings(max_examples=60)
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
