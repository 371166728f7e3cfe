"""Photos that look alike share a group and a side, and no photo ever changes its side."""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.photos.library import image_id, measured, moment, raw_rows
from vibe_assets.lake import Lake
from vibe_assets.photos.groups import group_photos
from vibe_assets.records import PHOTO_GROUPS
from vibe_assets.settings import SplitSettings

SPLIT = SplitSettings()
BASE = 0x5A5A_3C3C_A5A5_C3C3


def flipped(value: int, *bits: int) -> int:
    for bit in bits:
        value ^= 1 << bit
    return value


def telling_hash(seed: int) -> int:
    """A random hash with half of its bits set, as those of real photos have."""
    return sum(1 << int(bit) for bit in np.random.default_rng(seed).permutation(64)[:32])


def grouped(photos: list[dict[str, Any]], previous: pl.DataFrame | None = None, split: SplitSettings = SPLIT) -> dict[str, dict[str, Any]]:
    """Rows by name."""
    rows = group_photos(raw_rows(photos), previous_rows=previous, settings=split)
    by_id = {row["image_id"]: row for row in rows.iter_rows(named=True)}
    return {photo["name"]: by_id[image_id(photo["name"])] for photo in photos if image_id(photo["name"]) in by_id}


def frame(rows: dict[str, dict[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame(list(rows.values()), schema=PHOTO_GROUPS.polars_schema())


def photo(name: str, phash: int | None, **more: Any) -> dict[str, Any]:
    return {"name": name, "phash": phash, **more}


def test_near_duplicates_form_a_group_named_after_its_first_member() -> None:
    rows = grouped([photo("b", flipped(BASE, 1, 2, 3)), photo("a", BASE), photo("c", flipped(BASE, *range(10, 30)))])
    assert rows["a"]["group_id"] == rows["b"]["group_id"] == image_id("a")
    assert rows["c"] == {
        "image_id": image_id("c"),
        "group_id": image_id("c"),
        "split": rows["c"]["split"],
        "link": "single",
        "group_size": 1,
    }
    assert (rows["a"]["link"], rows["a"]["group_size"]) == ("near_duplicate", 2)
    assert rows["a"]["split"] == rows["b"]["split"]


def test_rejected_rows_and_second_paths_have_no_row_of_their_own() -> None:
    photos = [photo("a", BASE), photo("bad", BASE, reason="unreadable"), photo("unread", None, image_id=None, reason="io_error")]
    rows = raw_rows([*photos, photo("copy", BASE, image_id=image_id("a"))])
    assert group_photos(rows, previous_rows=None, settings=SPLIT)["image_id"].to_list() == [image_id("a")]


def test_no_photos_give_no_rows(tmp_path: Path) -> None:
    rows = group_photos(raw_rows([]), previous_rows=None, settings=SPLIT)
    Lake(tmp_path).replace(PHOTO_GROUPS, rows)
    assert rows.is_empty()


def burst(second: float, **more: Any) -> dict[str, Any]:
    return {"taken_at": moment(second), "camera": "Canon", **more}


def test_a_burst_needs_one_camera_a_short_gap_and_some_likeness() -> None:
    near, far = flipped(BASE, *range(12)), flipped(BASE, *range(30))
    rows = grouped(
        [
            photo("a", BASE, **burst(0)), photo("b", near, **burst(2)), photo("later", flipped(near, *range(20, 30)), **burst(9)),
            photo("unlike", far, **burst(1)), photo("other", flipped(BASE, *range(40, 50)), **burst(1, camera="Nikon")),
            photo("unknown", flipped(BASE, *range(50, 60)), taken_at=moment(1)),
        ]
    )  # fmt: skip
    assert rows["a"]["group_id"] == rows["b"]["group_id"]
    assert rows["a"]["link"] == "burst"
    assert {name for name, row in rows.items() if row["group_size"] == 1} == {"later", "unlike", "other", "unknown"}


def test_flat_pictures_are_not_near_duplicates_of_each_other() -> None:
    rows = grouped([photo("black", 0), photo("white", 1 << 63), photo("navy", 1 << 63 | 1), photo("unhashed", None)])
    assert all(row["group_size"] == 1 for row in rows.values())


def test_a_chain_of_small_steps_is_cut_into_groups_but_stays_on_one_side() -> None:
    chain = [BASE]
    for step in range(30):
        chain.append(flipped(chain[-1], 2 * step, 2 * step + 1))
    rows = grouped([photo(f"{place:02}", value) for place, value in enumerate(chain)])
    hashes = defaultdict(list)
    for place, value in enumerate(chain):
        hashes[rows[f"{place:02}"]["group_id"]].append(value)
    assert len(hashes) > 2
    assert all((x ^ y).bit_count() <= 2 * SPLIT.near_duplicate_bits for members in hashes.values() for x in members for y in members)
    assert len({row["split"] for row in rows.values()}) == 1


def _two_sides() -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """Two photos 8 bits apart that lie in different splits."""
    photos = [photo("a", BASE), photo("b", flipped(BASE, *range(8)))]
    rows = grouped(photos)
    rows["a"]["split"], rows["b"]["split"] = "train", "test"
    return photos, rows


def test_a_new_photo_between_two_sides_is_set_aside() -> None:
    photos, before = _two_sides()
    rows = grouped([*photos, photo("between", flipped(BASE, 0, 1, 2, 3))], frame(before))
    assert rows["between"]["split"] == "aside"
    assert rows["between"]["group_id"] == image_id("between")
    assert (rows["a"], rows["b"]) == (before["a"], before["b"])


def test_a_chain_of_new_photos_between_two_sides_is_parted() -> None:
    photos, before = _two_sides()
    photos[1]["phash"] = flipped(BASE, *range(20))
    chain = [photo(f"c{bits:02}", flipped(BASE, *range(bits))) for bits in range(4, 20, 4)]
    rows = grouped([*photos, *chain], frame(before))
    assert [rows[name]["split"] for name in ("c04", "c08", "c12", "c16")] == ["train", "train", "aside", "test"]


def test_a_new_photo_joins_the_side_and_the_group_of_its_likes() -> None:
    photos, before = _two_sides()
    rows = grouped([*photos, photo("0", flipped(BASE, 40, 41))], frame(before))
    assert (rows["0"]["split"], rows["0"]["group_id"]) == ("train", image_id("a"))
    assert (rows["a"]["group_size"], rows["a"]["link"]) == (2, "near_duplicate")


def test_a_photo_that_returns_keeps_its_side_when_its_old_row_is_handed_in() -> None:
    photos = [photo(str(seed), telling_hash(seed)) for seed in range(40)]
    first = grouped(photos)
    without = grouped(photos[1:], frame(first))
    assert "0" not in without
    assert grouped(photos, frame(without | {"0": first["0"]})) == first


def test_a_group_keeps_its_name_when_its_first_member_goes() -> None:
    photos = [photo("a", BASE), photo("b", flipped(BASE, 1)), photo("c", flipped(BASE, 2))]
    rows = grouped(photos[1:], frame(grouped(photos)))
    assert {row["group_id"] for row in rows.values()} == {image_id("a")}
    assert {row["group_size"] for row in rows.values()} == {2}
    (alone,) = grouped(photos[2:], frame(grouped(photos))).values()
    assert (alone["link"], alone["group_size"]) == ("single", 1)


def test_every_folder_and_the_library_come_near_the_targets() -> None:
    sizes = {f"f{place:02}-00000000": size for place, size in enumerate([1] * 40 + [2] * 20 + [3] * 20 + [7] * 8 + [60, 200])}
    photos = [
        photo(f"{key}/{n}", telling_hash(1000 * place + n), folder_key=key)
        for place, (key, size) in enumerate(sizes.items())
        for n in range(size)
    ]
    rows = grouped(photos)
    targets = {"train": 1 - SPLIT.val - SPLIT.test, "val": SPLIT.val, "test": SPLIT.test}
    counts = Counter(row["split"] for row in rows.values())
    for name, target in targets.items():
        assert counts[name] == pytest.approx(target * len(photos), abs=3)
    for key, size in sizes.items():
        inside = Counter(rows[photo["name"]]["split"] for photo in photos if photo["folder_key"] == key)
        for name, target in targets.items():
            assert inside[name] == pytest.approx(target * size, abs=3)


def test_the_seed_draws_and_repeats() -> None:
    photos = [photo(str(seed), telling_hash(seed)) for seed in range(200)]
    assert grouped(photos) == grouped(photos[::-1])
    other = grouped(photos, split=SplitSettings(seed=1))
    assert sum(row["split"] != other[name]["split"] for name, row in grouped(photos).items()) > 40


libraries = st.lists(
    st.tuples(st.integers(0, 5), st.sets(st.integers(0, 63), max_size=9), st.integers(0, 3), st.integers(0, 12)), min_size=1, max_size=40
)


@settings(max_examples=120)
@given(libraries, st.randoms(use_true_random=False), st.integers(1, 5))
def test_additions_in_any_order_move_no_photo_and_leak_nothing(library: Any, random: Any, batches: int) -> None:
    photos = [
        photo(f"p{place}", flipped(telling_hash(centre), *bits), folder_key=f"f{folder}-00000000", **burst(second))
        for place, (centre, bits, folder, second) in enumerate(library)
    ]
    random.shuffle(photos)
    here: list[dict[str, Any]] = []
    rows: dict[str, dict[str, Any]] = {}
    for batch in range(batches):
        here += photos[batch::batches]
        later = grouped(here, frame(rows))
        for name, row in rows.items():
            assert (later[name]["split"], later[name]["group_id"]) == (row["split"], row["group_id"])
        rows = later
    assert len(rows) == len(photos)
    sides = defaultdict(set)
    for row in rows.values():
        sides[row["group_id"]].add(row["split"])
    assert all(len(side) == 1 for side in sides.values())
    _assert_no_link_joins_two_sides(photos, rows)


def _assert_no_link_joins_two_sides(photos: list[dict[str, Any]], rows: dict[str, dict[str, Any]]) -> None:
    for one in photos:
        for other in photos:
            near = (one["phash"] ^ other["phash"]).bit_count() <= SPLIT.near_duplicate_bits
            telling = all(16 <= x["phash"].bit_count() <= 48 for x in (one, other))
            splits = {rows[one["name"]]["split"], rows[other["name"]]["split"]} - {"aside"}
            assert not (near and telling) or len(splits) < 2
    in_time = sorted(photos, key=lambda photo: (photo["taken_at"], photo["folder_key"], f"{photo['folder_key']}/{photo['name']}"))
    for one, other in pairwise(in_time):
        alike = (one["phash"] ^ other["phash"]).bit_count() <= SPLIT.burst_bits
        close = (other["taken_at"] - one["taken_at"]).total_seconds() <= SPLIT.burst_gap_s
        assert not (alike and close) or len({rows[one["name"]]["split"], rows[other["name"]]["split"]} - {"aside"}) < 2


def test_thirty_thousand_photos_take_seconds() -> None:
    rng = np.random.default_rng(0)
    count = 30_000
    base = rng.integers(0, 2**64, count, dtype=np.uint64)
    base[: count // 2] = base[count // 2 :] ^ (np.uint64(1) << rng.integers(0, 64, count // 2, dtype=np.uint64))
    base[-5000:] = BASE  # copies under other bytes
    rows = raw_rows([]).clear(n=count).with_columns(
        folder_key=pl.Series([f"f{place % 100:03}-00000000" for place in range(count)]),
        path_bytes=pl.Series([b"%06d" % place for place in range(count)]),
        image_id=pl.Series([f"{place:032x}" for place in range(count)]),
        phash=pl.Series([f"{int(value):016x}" for value in base]),
    )  # fmt: skip
    started = time.monotonic()
    first = group_photos(rows.head(count - 300), previous_rows=None, settings=SPLIT)
    assert time.monotonic() - started < 20
    assert group_photos(rows, previous_rows=first, settings=SPLIT).filter(pl.col("group_size") == 5000).height == 5000
    assert first.filter(pl.col("group_size") == 2).height >= 0.9 * 20_000


def test_series_of_the_same_object_are_found_without_joining_different_objects(real_data: Path) -> None:
    root = real_data / "series"
    rows = measured(root, sorted(path.name for path in root.iterdir()))
    groups = rows.join(group_photos(rows, previous_rows=None, settings=SPLIT), on="image_id")
    shared = groups.filter(pl.col("group_size") > 1)
    assert shared.height >= 20
    assert shared.group_by("group_id").agg(pl.col("folder_key").n_unique())["folder_key"].max() == 1


def test_a_real_library_is_not_glued_together(real_data: Path) -> None:
    """On the folders where it is hardest: same table, same paper, same apps."""
    rows = measured(real_data / "library", ["2024/kitchen", "scans", "2023/trip north"])
    groups = rows.join(group_photos(rows, previous_rows=None, settings=SPLIT), on="image_id")
    with (real_data / "labels.jsonl").open(encoding="utf-8") as lines:
        scenes = {label["path"].removeprefix("library/"): label["scene"] for label in map(json.loads, lines)}
    shared = groups.filter(pl.col("group_size") > 1).with_columns(scene=pl.col("rel_path").replace_strict(scenes))
    assert shared.height > 0
    assert groups["group_size"].max() <= 10
    assert shared.height <= 0.1 * groups.height
    assert shared.group_by("group_id").agg(pl.col("scene").n_unique())["scene"].max() == 1
