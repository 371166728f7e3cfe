"""A library of five photos in the graph: from the audit to predictions and reports every run succeeds, and says what there is not."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from tests.stages.rows import open_platform
from tests.stages.test_small_libraries import KEY, library, rows_of
from vibe_assets.definitions import defs
from vibe_assets.defs.drive import Driver
from vibe_assets.records import PREDICTIONS

HEADS = ("attribute_head", "object_head", "scene_head")


def last(instance: dg.DagsterInstance, name: str) -> tuple[dict[str, object], str]:
    """Metadata and data version of the last materialisation."""
    event = instance.get_latest_materialization_event(dg.AssetKey(name))
    assert event is not None
    assert event.asset_materialization is not None
    found = event.asset_materialization
    return {key: value.value for key, value in found.metadata.items()}, (found.tags or {})["dagster/data_version"]


def test_five_photos_come_home_with_the_teachers_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "vibe.toml").write_text('[library]\nroot = "photos"\nhome = "data"\n[teacher]\nmodel = "teacher-1"\n')
    monkeypatch.setenv("VIBE_CONFIG", str(tmp_path / "vibe.toml"))
    library(tmp_path, rows_of(5))
    with dg.instance_for_test() as instance:
        instance.add_dynamic_partitions("photo_folders", [KEY])
        driver = Driver(instance, defs, progress=False)
        versions = set()
        for names in (("teacher_report",), HEADS, HEADS, ("deployed_heads",), ("predictions",), ("student_report",)):
            partition = KEY if names == ("predictions",) else None
            assert driver.run([dg.AssetKey(name) for name in names], partition), driver.tally
            assert driver.tally.not_passed == []
            if names == HEADS:
                versions.add(last(instance, "object_head")[1])
        metadata, version = last(instance, "object_head")
        assert str(metadata["result"]).startswith("nothing to train: object head: no label has at least 8 photos")
        assert version.startswith("none-")
        assert versions == {version}
        decisions, version = last(instance, "deployed_heads")
        assert version == "none+none+none"
        assert "| object | none | none | object head: no label" in str(decisions["decisions"])
    assert set(open_platform(tmp_path).lake.read(PREDICTIONS)["source"]) == {"teacher"}
