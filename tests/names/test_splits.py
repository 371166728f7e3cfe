from __future__ import annotations

import numpy as np
import polars as pl

from vibe_assets.names.splits import split_faces
from vibe_assets.records.first_names import FACE_CHIPS
from vibe_assets.sections import NameSettings

SETTINGS = NameSettings(val=0.2, test=0.2)


def chips(count: int, *, start: int = 0, **columns: object) -> pl.DataFrame:
    rng = np.random.default_rng(start)
    hashes = [f"{int(value):016x}" for value in rng.integers(0, 2**63, count)]
    made = {
        "shard": ["shard-00"] * count, "name": ["anna"] * count, "image_id": [f"{start + at:032x}" for at in range(count)],
        "rel_path": [f"{at}.jpg" for at in range(count)], "path": [f"{at}.jpg" for at in range(count)],
        "source_id": [f"{start + at:032x}" for at in range(count)], "phash": hashes, "identity": [None] * count,
        "reason": [None] * count, "detail": [None] * count,
    }  # fmt: skip
    return pl.DataFrame({**made, **columns}, schema=FACE_CHIPS.polars_schema())


def test_sides_have_their_shares_and_new_faces_move_no_others() -> None:
    rows = split_faces(chips(2000), SETTINGS)
    shares = dict(rows["split"].value_counts(normalize=True).iter_rows())
    assert abs(shares["test"] - 0.2) < 0.03
    assert abs(shares["val"] - 0.2) < 0.03
    more = split_faces(pl.concat([chips(2000), chips(500, start=9000)]), SETTINGS)
    both = rows.join(more, on="image_id", suffix="_after")
    assert (both["split"] == both["split_after"]).all()


def test_a_person_and_a_photo_stay_on_one_side() -> None:
    who = [f"person {at % 40}" if at < 200 else None for at in range(400)]
    photo = [f"{at // 2:032x}" for at in range(400)]
    rows = split_faces(chips(400, identity=who, source_id=photo), SETTINGS)
    for column in ("identity", "group_id"):
        assert rows.filter(pl.col(column).is_not_null()).group_by(column).agg(pl.col("split").n_unique())["split"].max() == 1
    assert rows["group_size"].max() == 10  # five faces each of two people who share photos


def test_near_duplicates_are_one_group_and_flat_pictures_are_not() -> None:
    base = int("5a3c96e1d20f8b47", 16)
    hashes = [f"{base:016x}", f"{base ^ 0b101:016x}", f"{base ^ (2**40 - 2**20):016x}", "0" * 16, "0" * 16]
    rows = split_faces(chips(5, phash=hashes), SETTINGS)
    assert rows["group_id"].n_unique() == 4
    assert rows["group_size"].to_list() == [2, 2, 1, 1, 1]


def test_one_picture_under_two_names_takes_no_part() -> None:
    rows = split_faces(
        chips(4, image_id=["a", "a", "b", "b"], source_id=["a", "a", "b", "b"], name=["anna", "bela", "anna", "anna"]), SETTINGS
    )
    assert rows.select("image_id", "name", "reason").rows() == [("a", "anna", "two_names"), ("a", "bela", "two_names"), ("b", "anna", None)]


def test_no_faces_are_no_rows() -> None:
    assert split_faces(chips(0), SETTINGS).is_empty()
