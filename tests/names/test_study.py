"""From faces on disk to a page, stage by stage, and the gates in between; no Dagster."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner

from tests.names.faces import GOOD, open_names, picture, write_index
from tests.support.checkers import accessibility_faults, html_errors
from vibe_assets.cli import main
from vibe_assets.names import gates, study
from vibe_assets.names.dataset import load_names
from vibe_assets.names.report import MET, MISSED, NOT_TRIED, OPEN, render_names, targets
from vibe_assets.names.results import Track, read_track, write_track
from vibe_assets.records.first_names import NAME_EMBEDDINGS, NAME_PROBES, NAME_SPLITS
from vibe_assets.stages.platform import Platform, StageError

KNOBS = {"max_epochs": 6, "control_runs": 2}
NAMES = ("anna", "bela", "cora", "dan", "eva", "finn")


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six names with 30 down to 15 faces; the redness of a face leans on its name."""
    root = tmp_path_factory.mktemp("faces")
    for number, name in enumerate(NAMES):
        listed = {}
        for at in range(30 - 3 * number):
            file = f"{name}/{at}.jpg"
            picture(root / file, 1000 * number + at, tint=number / 8)
            listed[file] = {**GOOD, **({"identity": f"person {at // 2}"} if at < 8 else {})}
        write_index(root, name, {**listed, f"{name}/gone.jpg": GOOD}, multi_face=[f"{name}/two.jpg"])
    return root


@pytest.fixture(scope="module")
def done(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Platform:
    platform = open_names(tmp_path_factory.mktemp("home"), faces, **KNOBS)
    study.plan_study(platform)
    for shard in study.planned_shards(platform):
        for stage in (study.index_faces, study.cut_faces, study.embed_faces):
            stage(platform, shard)
    study.split_names(platform)
    study.probe_names(platform, ("cosine", "logit_adjusted"))
    study.report_names(platform)
    return platform


@pytest.fixture
def platform(done: Platform, faces: Path, tmp_path: Path) -> Platform:
    """A copy to damage."""
    return open_names(Path(shutil.copytree(done.settings.home, tmp_path / "home")), faces, **KNOBS)


def test_the_study_runs_from_faces_to_a_page(done: Platform) -> None:
    data = load_names(done)
    assert data.names[0] == "anna"
    assert len(data.x) == sum(30 - 3 * number for number in range(6))
    assert np.allclose(np.linalg.norm(data.x, axis=1), 1, atol=1e-3)
    tracks = [track.name for track in study.study_tracks(done)]
    assert tracks == ["linear", "cosine", "logit_adjusted", "permuted_1", "permuted_2", "without_1", "without_3"]
    table = done.lake.read(NAME_PROBES)
    assert set(table["track"]) == set(tracks)
    page = (done.settings.reports_dir / "names_report.html").read_text()
    assert "identifies nobody" in page
    assert "<script" not in page
    assert (done.settings.reports_dir / "names_report.json").exists()


@pytest.mark.browser
@pytest.mark.slow
def test_the_page_can_be_used_by_everybody(done: Platform) -> None:
    assert accessibility_faults(done.settings.reports_dir / "names_report.html") == []


def test_the_page_is_valid_html(done: Platform) -> None:
    assert html_errors(done.settings.reports_dir / "names_report.html") == []


def test_a_sound_study_passes_its_gates(done: Platform) -> None:
    for gate in (gates.shards_ready, gates.nobody_on_two_sides, gates.control_at_chance):
        assert gate(done).passed, gate(done)
    assert gates.nobody_on_two_sides(done).facts["faces with a known person"] == 48


def test_the_cache_and_the_chips_make_a_second_pass_cheap(platform: Platform) -> None:
    shard = study.planned_shards(platform)[0]
    before = platform.lake.read(NAME_EMBEDDINGS, folder_key=shard)
    after = study.embed_faces(platform, shard)
    assert after.sort("image_id").equals(before.sort("image_id"))


def test_a_person_on_two_sides_closes_the_gate(platform: Platform) -> None:
    rows = platform.lake.read(NAME_SPLITS)
    known = rows.filter(pl.col("identity").is_not_null())["image_id"][0]
    other = pl.when(pl.col("split") == "train").then(pl.lit("test")).otherwise(pl.lit("train"))
    platform.lake.replace(NAME_SPLITS, rows.with_columns(split=pl.when(pl.col("image_id") == known).then(other).otherwise("split")))
    gate = gates.nobody_on_two_sides(platform)
    assert not gate.passed
    assert gate.facts["people on two sides"] == 1


def test_a_shard_without_vectors_closes_the_gate(platform: Platform) -> None:
    shard = study.planned_shards(platform)[0]
    platform.lake.replace(NAME_EMBEDDINGS, platform.lake.read(NAME_EMBEDDINGS, folder_key=shard).head(0), folder_key=shard)
    assert gates.shards_ready(platform).facts["without vectors"] == shard


def test_a_control_that_finds_something_closes_the_gate(platform: Platform) -> None:
    folder = study.results_dir(platform) / "permuted_1"
    track = read_track(folder)
    write_track(folder, dataclasses.replace(track, predictions=track.truth))
    assert not gates.control_at_chance(platform).passed


def test_skew_warns(platform: Platform) -> None:
    folder = study.results_dir(platform) / "linear"
    write_track(folder, dataclasses.replace(read_track(folder), predictions=np.zeros(len(read_track(folder).truth), np.int64)))
    gate = gates.predictions_not_skewed(platform)
    assert not gate.passed
    assert gate.facts["prediction CV"] == pytest.approx(np.sqrt(5))


def test_a_new_study_removes_the_tracks_it_no_longer_has_and_no_others(platform: Platform) -> None:
    folder = study.results_dir(platform)
    track = read_track(folder / "linear")
    write_track(folder / "qwen", dataclasses.replace(track, config={"kind": "vlm"}))
    study.probe_names(platform, ("linear",))
    assert {inner.name for inner in folder.iterdir()} == {"linear", "permuted_1", "permuted_2", "without_1", "without_3", "qwen"}


def test_fewer_names_and_faces_are_studied_when_asked(done: Platform, faces: Path) -> None:
    data = load_names(open_names(done.settings.home, faces, top_names=3, max_per_name=5))
    assert len(data.names) == 3
    assert np.bincount(data.y[data.rows("train")]).max() <= 5


def test_a_study_without_results_or_faces_says_what_makes_them(tmp_path: Path, faces: Path) -> None:
    empty = open_names(tmp_path, faces)
    for stage, said in (
        (study.study_tracks, "vibe names probe"),
        (load_names, "vibe names index"),
        (study.planned_shards, "vibe names index"),
    ):
        with pytest.raises(StageError, match=said):
            stage(empty)


def test_a_goal_is_met_only_with_its_whole_interval() -> None:
    def reached(share: float, n: int, classes: int = 30) -> dict[str, str]:
        truth = np.arange(n) % classes
        said = np.where(np.arange(n) < share * n, truth, (truth + 1) % classes)
        return {
            goal.text.split(":")[0]: goal.verdict for goal in targets(Track("t", tuple(f"n{at}" for at in range(classes)), said, truth))
        }

    assert reached(0.5, 6000)["30 names"] == MET
    assert reached(0.19, 600)["30 names"] == OPEN
    assert reached(0.05, 6000)["30 names"] == MISSED
    assert reached(0.5, 600)["500 names"] == NOT_TRIED
    assert reached(0.2, 5000, 500)["500 names"] == MET


def test_names_are_shown_as_text(done: Platform) -> None:
    track = study.study_tracks(done)[0]
    odd = dataclasses.replace(track, names=("<b>anna</b>", *track.names[1:]))
    assert "<b>anna</b>" not in render_names([odd])


def test_the_commands_do_the_same(done: Platform, faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Path(shutil.copytree(done.settings.home, tmp_path / "data"))
    config = tmp_path / "vibe.toml"
    knobs = ("shards = 3", "chip_px = 48", "val = 0.25", "test = 0.25", "max_epochs = 3", "control_runs = 1")
    config.write_text("\n".join([f'[library]\nhome = "{home}"\n[names]\nroot = "{faces}"', *knobs]))
    monkeypatch.setenv("VIBE_CONFIG", str(config))
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str | Path, code: int = 0) -> str:
        result = CliRunner().invoke(main, ["names", *map(str, arguments)])
        assert result.exit_code == code, (result.output, result.exception)
        return result.output

    assert "shard-0" in run("index", "--plan")
    assert "multi_face" in run("index")
    assert "permuted_1" in run("probe", "cosine", "logit_adjusted")
    assert "names_report.html" in run("report").replace("\n", "")
    listed = run("compare", home / "names" / "results", "--csv").splitlines()
    assert listed[0].startswith("track,faces,names,accuracy")
    assert [line.split(",")[0] for line in sorted(listed[1:])] == [
        "cosine",
        "linear",
        "logit_adjusted",
        "permuted_1",
        "without_1",
        "without_3",
    ]
    run("report", home / "names" / "results", "--to", tmp_path / "page.html")
    assert (tmp_path / "page.html").stat().st_size > 20_000
    assert "no such method" in run("probe", "magic", code=2)
    assert "no such shard" in run("index", "--shard", "shard-99", code=2)
    assert "no results here" in run("compare", tmp_path / "data" / "lake", code=1)
