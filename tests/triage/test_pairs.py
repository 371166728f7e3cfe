"""Files of comparisons: names, votes, ties, what counts; and the published figures of the real file."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from vibe_assets.settings import TriageSettings
from vibe_assets.triage.pairs import PairFileError, normalised, read_pairs, series_of, to_lines
from vibe_assets.triage.splits import ASIDE, blocks_of, draw_splits

SETTINGS = TriageSettings()
HEADER = "series_id,compareFile1,compareFile2,LEFT,RIGHT\n"


def written(folder: Path, text: str, name: str = "pairs.csv") -> Path:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("name", "stored"),
    [("1-1.JPG", "000001-01.JPG"), ("4986-12.jpg", "004986-12.JPG"), ("000001-01.JPG", "000001-01.JPG"), ("me.jpg", "me.jpg")],
)
def test_names_of_the_votes_become_names_of_the_photos(name, stored):
    assert normalised(name) == stored


def test_the_real_file_gives_the_published_figures(real_data):
    file = real_data / "phototriage" / "pairs.csv"
    if not file.exists():
        pytest.skip(f"no comparisons at {file}")
    comparisons = read_pairs(file, settings=SETTINGS)
    counted = [one for one in comparisons if one.reason is None]
    series = series_of(comparisons)
    assert (len(counted), len(series)) == (12_073, 4_333)
    chance = sum(1 / len(files) for files in series.values()) / len(series)
    assert round(100 * chance, 1) == 41.8
    assert chance != pytest.approx(len(series) / sum(map(len, series.values())), abs=0.02), "not 1 / mean n, 37.9 %"
    assert not [one for one in counted if one.votes_a == one.votes_b]
    splits = draw_splits(blocks_of(series, {}), previous={}, settings=SETTINGS)
    assert Counter(splits.values()) == {"train": 3467, "val": 433, "test": 433}


def test_a_tied_vote_is_a_tie_and_neither_side_wins(tmp_path):
    one, other = read_pairs(
        written(tmp_path, HEADER + "1,1-1.JPG,1-2.JPG,2,2\n1,1-1.JPG,1-3.JPG,3,1\n"), settings=TriageSettings(min_agreement=0.5)
    )
    assert (one.agreement, one.reason) == (0.5, None)
    assert other.agreement == 0.75


def test_what_does_not_count_says_why(tmp_path):
    text = HEADER + "1,1-1.JPG,1-2.JPG,1,0\n1,1-1.JPG,1-3.JPG,3,2\n1,1-1.JPG,1-1.JPG,3,0\n1,1-2.JPG,1-3.JPG,4,0\n1,1-2.JPG,1-3.JPG,4,0\n"
    reasons = [one.reason for one in read_pairs(written(tmp_path, text), settings=SETTINGS)]
    assert reasons == ["few_reviewers", "low_agreement", "same_photo", None, "twice"]


def test_json_lines_and_what_was_kept_read_the_same(tmp_path):
    rows = [{"series": "a", "file_a": "x.jpg", "file_b": "y.jpg", "votes_a": 3, "votes_b": 0}]
    first = read_pairs(written(tmp_path, "".join(json.dumps(row) + "\n" for row in rows), "a.jsonl"), settings=SETTINGS)
    assert read_pairs(written(tmp_path, to_lines(first), "b.jsonl"), settings=SETTINGS) == first


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no comparison"),
        ("a,b\n1,2\n", "line 2: no series_id"),
        (HEADER + "1,1-1.JPG,1-2.JPG,two,1\n", "whole numbers"),
        (HEADER + "1,1-1.JPG,1-2.JPG,-2,1\n", "negative"),
        ('{"series": 1\n', "not JSON"),
    ],
)
def test_a_file_that_is_none_is_refused_with_its_line(tmp_path, text, said):
    with pytest.raises(PairFileError, match=said):
        read_pairs(written(tmp_path, text), settings=SETTINGS)


# -- splits ------------------------------------------------------------------------------------------------------------
def test_series_that_share_a_photo_or_a_group_share_a_block_and_a_split():
    series = {"a": ("1", "2"), "b": ("2", "3"), "c": ("4", "5"), "d": ("6", "7")}
    blocks = blocks_of(series, {"5": "g", "6": "g"})
    assert blocks["a"] == blocks["b"]
    assert blocks["c"] == blocks["d"] != blocks["a"]
    splits = draw_splits(blocks, previous={}, settings=SETTINGS)
    assert splits["a"] == splits["b"]
    assert splits["c"] == splits["d"]


def test_a_split_once_drawn_stays_and_a_link_between_two_is_set_aside():
    old = {f"s{n}": (f"{n}a", f"{n}b") for n in range(40)}
    before = draw_splits(blocks_of(old, {}), previous={}, settings=SETTINGS)
    train, test = (next(name for name, split in before.items() if split == wanted) for wanted in ("train", "test"))
    new = old | {"new": (old[train][0], old[test][0]), "fresh": ("x", "y")}
    after = draw_splits(blocks_of(new, {}), previous=before, settings=SETTINGS)
    assert {name: after[name] for name in old} == before
    assert after["new"] == ASIDE
    assert after["fresh"] in ("train", "val", "test")
