from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from vibe_assets.names.results import ResultsError, Track, comparison_rows, find_tracks, read_track, write_track


@pytest.fixture(scope="module")
def track() -> Track:
    rng = np.random.default_rng(0)
    truth = rng.integers(6, size=300)
    said = np.where(rng.random(300) < 0.3, truth, rng.integers(6, size=300))
    names = ("anna", "bela", "c|ra", "dan", "eva", "finn")
    return Track(
        "linear",
        names,
        said,
        truth,
        {"kind": "probe", "seconds": 1.5},
        np.arange(300) // 2,
        rng.integers(1, 7, 300).astype(float),
        ({"epoch": 1},),
    )


def test_a_track_that_was_written_is_read_back_with_the_same_figures(track: Track, tmp_path: Path) -> None:
    write_track(tmp_path / "linear", track)
    assert {file.name for file in (tmp_path / "linear").iterdir()} == {
        "config.json", "predictions.npy", "true_labels.npy", "names.json", "results.csv", "training_log.json", "summary.md",
        "groups.npy", "ranks.npy",
    }  # fmt: skip
    back = read_track(tmp_path / "linear")
    assert back.scores.headline == track.scores.headline
    assert (back.names, back.kind, list(back.log)) == (track.names, "probe", [{"epoch": 1}])
    assert "c&#124;ra" in (tmp_path / "linear" / "summary.md").read_text()


def test_the_figures_of_the_published_study_are_reproduced(real_data: Path) -> None:
    if not (real_data / "names").is_dir():
        pytest.skip(f"no published predictions at {real_data / 'names'}")
    tracks = {one.name: one for one in find_tracks(real_data / "names")}
    clip, permuted = tracks["clip_linear"].scores, tracks["permuted_labels"].scores
    assert clip.n == 14_805
    assert round(clip.headline["accuracy"].value, 4) == 0.1395
    assert round(clip.headline["prediction_cv"].value, 3) == 0.400
    assert round(clip.headline["max_recall"].value, 3) == 0.514
    assert clip.loudest.name == "william"
    assert round(permuted.headline["accuracy"].value, 4) == 0.0360
    assert tracks["permuted_labels"].kind == "control"
    assert permuted.headline["accuracy"].low <= permuted.chance <= permuted.headline["accuracy"].high


def test_names_of_a_foreign_folder_come_from_the_counts_of_its_table(track: Track, tmp_path: Path) -> None:
    write_track(tmp_path, track)
    (tmp_path / "names.json").unlink()
    (tmp_path / "results.csv").rename(tmp_path / "precision_recall_metrics.csv")
    assert read_track(tmp_path).names == track.names
    (tmp_path / "precision_recall_metrics.csv").unlink()
    assert read_track(tmp_path).names[:2] == ("class 0", "class 1")


def test_tracks_are_compared_the_most_accurate_first(track: Track) -> None:
    worse = Track("random", track.names, np.roll(track.predictions, 1), track.truth)
    rows = comparison_rows([worse, track])
    assert [row[0] for row in rows] == ["linear", "random"]
    assert rows[0][1:3] == ("300", "6")


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("predictions.npy", b"no array", "not a plain numpy array"),
        ("names.json", b'["one"]', "1 names, but classes up to 5"),
        ("names.json", b"{}", "expected a JSON list"),
        ("config.json", b"{", "config.json"),
    ],
)
def test_a_damaged_folder_is_refused_by_file(track: Track, tmp_path: Path, file: str, content: bytes, said: str) -> None:
    write_track(tmp_path, track)
    (tmp_path / file).write_bytes(content)
    with pytest.raises(ResultsError, match=said):
        read_track(tmp_path)


def test_pickled_predictions_are_not_run(track: Track, tmp_path: Path) -> None:
    write_track(tmp_path, track)
    np.save(tmp_path / "predictions.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ResultsError, match=r"predictions\.npy"):
        read_track(tmp_path)


def test_a_folder_without_results_says_so(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="no results here"):
        find_tracks(tmp_path)


def test_the_config_is_plain_json(track: Track, tmp_path: Path) -> None:
    assert json.loads(write_track(tmp_path, track).read_text())["kind"] == "probe"
