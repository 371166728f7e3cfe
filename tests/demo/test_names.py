from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from vibe_assets.definitions import defs
from vibe_assets.defs.drive import Driver
from vibe_assets.demo.names import NAMES, SETTINGS, render_faces, run_names_study
from vibe_assets.names.study import planned_shards
from vibe_assets.stages.platform import Platform


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """An installation whose settings hold the study's section."""
    (tmp_path / "vibe.toml").write_text(
        '[library]\nroot = "photos"\nhome = "data"\n\n' + SETTINGS.replace("control_runs = 3", "control_runs = 1\nmax_epochs = 5")
    )
    (tmp_path / "dagster_home").mkdir()
    shutil.copy(Path(__file__).parents[2] / "dagster_home" / "dagster.yaml", tmp_path / "dagster_home")
    before = dict(os.environ)
    os.environ |= {"VIBE_CONFIG": str(tmp_path / "vibe.toml"), "DAGSTER_HOME": str(tmp_path / "dagster_home")}
    yield tmp_path
    os.environ.clear()
    os.environ |= before


def test_faces_are_drawn_once_and_the_same_each_time(tmp_path: Path) -> None:
    first, second = (render_faces(tmp_path / where, names=NAMES[:2], faces=4) for where in ("a", "b"))
    photos = sorted(path.relative_to(first) for path in first.rglob("*.jpg"))
    assert len(photos) == 6
    assert all((first / path).read_bytes() == (second / path).read_bytes() for path in photos)
    index = json.loads((first / f"index_{NAMES[0]}.json").read_text())
    assert index["counts"] == {"good": 7, "rejected": 1, "multi_face": 1, "not_found": 0}
    stamp = (first / photos[0]).stat().st_mtime_ns
    render_faces(first, names=NAMES[:2], faces=4)
    assert (first / photos[0]).stat().st_mtime_ns == stamp


def test_the_study_runs_through_dagster_and_ends_in_a_page(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vibe_assets.demo.names.render_faces", lambda root: render_faces(root, names=NAMES[:4], faces=18))
    with dg.DagsterInstance.get() as instance:
        platform = Platform.open(run_id="test", progress=False)
        driver = Driver(instance, defs, progress=False)
        assert run_names_study(platform, driver), driver.tally
        assert not driver.tally.failed
        assert [line for line in driver.tally.not_passed if not line.startswith("WARN")] == []
        assert sorted(instance.get_dynamic_partitions("name_shards")) == planned_shards(platform)
        event = instance.get_latest_materialization_event(dg.AssetKey("names_report"))
        assert event is not None
        assert event.asset_materialization is not None
        assert "![said over true" in str(event.asset_materialization.metadata["skew"].value)
    assert (platform.settings.reports_dir / "names_report.html").exists()
