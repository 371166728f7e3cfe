from __future__ import annotations

from pathlib import Path

import pytest

from tests.names.faces import GOOD, picture, write_index
from vibe_assets.names.index import NameIndexError, find_sources, index_shard, plan, shard_of
from vibe_assets.sections import NameSettings

SETTINGS = NameSettings(shards=1)


def rows_of(root: Path, settings: NameSettings = SETTINGS) -> dict[str, dict[str, object]]:
    return {row["rel_path"]: row for row in index_shard(root, "shard-00", settings).iter_rows(named=True)}


def test_every_face_of_an_index_is_a_row_and_what_is_ruled_out_says_why(tmp_path: Path) -> None:
    for at in range(5):
        picture(tmp_path / f"{at}.jpg", at)
    write_index(
        tmp_path,
        "Anna",
        {
            "0.jpg": GOOD,
            "1.jpg": {**GOOD, "score": 0.8},
            "2.jpg": {**GOOD, "bbox_xyxy": [0, 0, 60, 31]},
            "3.jpg": {**GOOD, "src_hw": [4000, 4000]},
            "4.jpg": {},
            "gone.jpg": GOOD,
        },
        rejected=["r.jpg", "s.jpg"],
        rejected_no_face=["r.jpg"],
        multi_face=["m.jpg"],
        not_found=["n.jpg"],
    )
    rows = rows_of(tmp_path)
    assert {path: row["reason"] for path, row in rows.items()} == {
        "0.jpg": None, "1.jpg": "low_score", "2.jpg": "small_box", "3.jpg": "small_area", "4.jpg": "unmeasured", "gone.jpg": "missing_file",
        "r.jpg": "no_face", "s.jpg": "rejected", "m.jpg": "multi_face", "n.jpg": "not_found",
    }  # fmt: skip
    assert rows["0.jpg"]["name"] == "anna"
    assert rows["0.jpg"]["area_share"] == pytest.approx(40 * 44 / 64**2)


def test_a_listed_chip_is_used_or_its_source_is_cut_anew(tmp_path: Path) -> None:
    picture(tmp_path / "chip.jpg", 0)
    picture(tmp_path / "photo.jpg", 1)
    write_index(tmp_path, "anna", {"chip.jpg": {**GOOD, "src_path": "photo.jpg"}})
    assert rows_of(tmp_path)["chip.jpg"]["is_chip"]
    source = rows_of(tmp_path, NameSettings(shards=1, use="source"))["photo.jpg"]
    assert not source["is_chip"]
    assert source["x0"] == 10


def test_an_index_that_cannot_be_read_is_a_row_and_the_others_go_on(tmp_path: Path) -> None:
    picture(tmp_path / "0.jpg", 0)
    write_index(tmp_path, "anna", {"0.jpg": GOOD})
    (tmp_path / "index_bela.json").write_text('{"good": [')
    (tmp_path / "index_cora.json").write_text('{"good": [1]}')
    rows = index_shard(tmp_path, "shard-00", SETTINGS)
    assert rows["reason"].to_list() == [None, "unreadable_index", "unreadable_index"]
    assert plan(tmp_path, SETTINGS)["reason"].to_list() == [None, "unreadable_index", "unreadable_index"]


def test_one_folder_per_name_needs_no_index_and_folders_in_it_are_people(tmp_path: Path) -> None:
    for at, file in enumerate(
        ("anna/0.jpg", "anna/who-1/1.jpg", "anna/who-1/2.jpg", "bela/who-1/3.jpg", "bela/.hidden/4.jpg", "bela/notes.txt")
    ):
        picture(tmp_path / file, at) if file.endswith("jpg") else (tmp_path / file).write_text("no picture")
    rows = index_shard(tmp_path, "shard-00", SETTINGS)
    assert rows["name"].to_list() == ["anna", "anna", "anna", "bela"]
    nobody, first, again, other = rows["identity"].to_list()
    assert nobody is None
    assert first == again != other
    assert "who" not in first
    assert rows["x0"].null_count() == 4


def test_shards_are_buckets_of_the_name_and_stay_when_names_come() -> None:
    names = [f"name{at}" for at in range(500)]
    shards = [shard_of(name, 16) for name in names]
    assert len(set(shards)) == 16
    assert max(shards.count(shard) for shard in set(shards)) < 60
    assert shard_of("anna", 16) == shard_of("anna", 16)


def test_a_folder_without_faces_and_a_name_twice_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NameIndexError, match="no such folder"):
        find_sources(tmp_path / "nowhere")
    with pytest.raises(NameIndexError, match="neither"):
        find_sources(tmp_path)
    write_index(tmp_path, "Anna", {})
    write_index(tmp_path, "anna", {})
    with pytest.raises(NameIndexError, match="same name"):
        find_sources(tmp_path)
