"""What commands leave to do, on a library of a few photos without a teacher: heard once, carried out in runs with their gates."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from click.testing import CliRunner

from tests.teacher.conftest import make_library
from vibe_assets.cli import main
from vibe_assets.definitions import defs
from vibe_assets.defs.drive import Driver
from vibe_assets.defs.history import graph_of, look
from vibe_assets.defs.orders import AS_IT_IS, forget_lost, known_version, open_orders, standing_version
from vibe_assets.defs.plan import HEAD_GATES, Cell, plan
from vibe_assets.defs.standing import graph_status
from vibe_assets.records import AUDIT_SAMPLE, FOLDER_SET, PREDICTIONS, RAW_PHOTOS, TABLES
from vibe_assets.stages.notes import leave_note
from vibe_assets.stages.platform import Platform
from vibe_assets.stages.truth import sample_file

GRAPH = defs.resolve_asset_graph()
PHOTOS = 12


@dataclass
class Small:
    folder: Path
    instance: dg.DagsterInstance

    @property
    def platform(self) -> Platform:
        return Platform.open(run_id="test", progress=False)

    @property
    def command(self) -> Platform:
        return replace(self.platform, by="vibe sample")

    @property
    def driver(self) -> Driver:
        return Driver(self.instance, defs, progress=False)

    def accepted(self) -> int:
        return self.platform.lake.read_live(RAW_PHOTOS).filter(pl.col("reason").is_null()).height


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Small]:
    make_library(tmp_path / "photos" / "a", PHOTOS)
    (tmp_path / "vibe.toml").write_text('[library]\nroot = "photos"\nscan_workers = 1\n')
    monkeypatch.setenv("VIBE_CONFIG", str(tmp_path / "vibe.toml"))
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    with dg.DagsterInstance.ephemeral() as instance:
        yield Small(tmp_path, instance)


def a_sample(rows: int, small: Small) -> pl.DataFrame:
    """AUDIT_SAMPLE rows that pass for a sample."""
    schema = AUDIT_SAMPLE.polars_schema()
    full = [dict.fromkeys(schema) | {"image_id": f"{at:032x}", "inclusion_probability": 0.5, "stratum": "s"} for at in range(rows)]
    return pl.DataFrame(full, schema=schema, orient="row")


def test_a_sample_that_a_command_drew_is_taken_over_as_it_is_in_one_run_with_its_gate(small: Small) -> None:
    rows = a_sample(3, small)
    small.command.lake.replace(AUDIT_SAMPLE, rows)
    (order,) = open_orders(small.platform, small.instance, GRAPH)
    assert (order.asset, order.partition, order.tags[AS_IT_IS], order.checks) == ("audit_sample", None, "vibe sample", ("sample_sound",))
    assert open_orders(small.platform, small.instance, GRAPH) == [order]  # nobody has carried it out
    small.driver.look(small.platform)
    assert known_version(small.instance, "audit_sample") == standing_version(small.platform, "audit_sample")
    assert small.platform.lake.read(AUDIT_SAMPLE).equals(rows)
    assert not sample_file(small.platform).exists()  # nothing was drawn
    (judged,) = small.instance.event_log_storage.get_latest_asset_check_execution_by_key(
        [dg.AssetCheckKey(dg.AssetKey("audit_sample"), "sample_sound")]
    ).values()
    assert judged.evaluation is not None
    assert open_orders(small.platform, small.instance, GRAPH) == []
    leave_note(small.command, "audit_sample")  # said again of what is known
    assert open_orders(small.platform, small.instance, GRAPH) == []


def test_an_instance_that_is_new_keeps_the_sample_and_a_person_draws_a_new_one(small: Small) -> None:
    rows = a_sample(3, small)
    small.platform.lake.replace(AUDIT_SAMPLE, rows)
    small.driver.run([dg.AssetKey("audit_sample")])  # as the plan asks for what the instance has never seen
    assert small.platform.lake.read(AUDIT_SAMPLE).equals(rows)
    assert CliRunner().invoke(main, ["sample"]).exit_code == 1  # a draw of its own: there are no labels here to draw from


def test_a_head_that_failed_its_gate_is_no_gate_that_something_waits_for(small: Small) -> None:
    """It is not put in force, and the status says why at the heads; a shut gate of labels or of the teacher holds everything up."""
    for asset, gate in (("object_head", "beats_majority"), ("teacher_report", "teacher_agrees_with_people")):
        assert dg.AssetCheckKey(dg.AssetKey(asset), gate) in GRAPH.asset_check_keys
        evaluation = dg.AssetCheckEvaluation(check_name=gate, passed=False, metadata={}, asset_key=dg.AssetKey(asset))
        small.instance.report_runless_asset_event(evaluation)
    assert [(gate.asset, gate.gate) for gate in graph_status(small.instance, defs).gates] == [
        ("teacher_report", "teacher_agrees_with_people"),
    ]


def test_a_head_whose_gate_is_shut_is_weighed_once(small: Small) -> None:
    """What was decided with a shut gate is not decided again while that stays shut; that it opens is news."""

    def judged(passed: bool) -> None:
        for gate in HEAD_GATES:
            said = dg.AssetCheckEvaluation(check_name=gate, passed=passed, metadata={}, asset_key=dg.AssetKey("object_head"))
            small.instance.report_runless_asset_event(said)

    def wanted() -> str:
        return plan(graph_of(GRAPH), look(small.instance, graph_of(GRAPH), {}))[Cell("deployed_heads")].why

    for name in ("scene_head", "attribute_head", "object_head", "audited_ground_truth"):
        small.instance.report_runless_asset_event(dg.AssetMaterialization(name, tags={"dagster/data_version": f"{name}-1"}))
    judged(False)
    assert small.driver.run([dg.AssetKey("deployed_heads")])
    assert wanted() == ""
    judged(True)
    assert "object_head" in wanted()
    assert small.driver.run([dg.AssetKey("deployed_heads")])
    assert wanted() == ""


def test_a_run_that_is_asked_for_without_end_is_said(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = []
    monkeypatch.setattr(
        Driver, "wanted", lambda self: [dg.RunRequest(asset_selection=[dg.AssetKey("deployed_heads")], tags={"asked": "same"})]
    )
    monkeypatch.setattr(Driver, "carry_out", lambda self, requests: ran.append(requests) or {})
    with pytest.raises(RuntimeError, match=r"asked for 5 times .*deployed_heads"):
        small.driver.drain()
    assert len(ran) == 5


def test_photos_that_are_gone_for_good_are_accepted_by_the_graph(small: Small) -> None:
    driver = small.driver
    driver.look(small.platform)
    (key,) = small.instance.get_dynamic_partitions("photo_folders")
    assert driver.run([dg.AssetKey("raw_photos")], key)
    assert small.accepted() == PHOTOS
    for photo in sorted((small.folder / "photos" / "a").iterdir())[1:]:
        photo.unlink()
    driver.look(small.platform)
    assert not driver.run([dg.AssetKey("raw_photos")], key)  # is the disk mounted?
    said = CliRunner().invoke(main, ["folders", "--accept-missing"])
    assert said.exit_code == 0, said.output
    assert key in said.output
    assert small.accepted() == PHOTOS  # the command left an order and wrote nothing
    driver.look(small.platform)
    assert small.accepted() == 1
    made = len(small.instance.fetch_materializations(dg.AssetKey("raw_photos"), limit=10).records)
    driver.look(small.platform)
    assert len(small.instance.fetch_materializations(dg.AssetKey("raw_photos"), limit=10).records) == made == 2
    shutil.rmtree(small.folder / "photos" / "a")  # what was accepted is not a licence for the next loss
    (small.folder / "photos" / "a").mkdir()
    assert not driver.run([dg.AssetKey("raw_photos")], key) or small.accepted() == 1


def test_an_asset_whose_table_went_back_or_is_gone_is_forgotten_and_so_made_again(small: Small) -> None:
    lake, rows = small.platform.lake, pl.DataFrame(schema=PREDICTIONS.polars_schema())
    small.instance.add_dynamic_partitions("photo_folders", ["a-1"])
    for name in ("predictions", "audit_sample"):
        small.instance.report_runless_asset_event(dg.AssetMaterialization(name, partition="a-1" if name == "predictions" else None))
    lake.replace(PREDICTIONS, rows, folder_key="a-1")
    lake.replace(AUDIT_SAMPLE, a_sample(2, small))
    backup = shutil.copytree(Path(str(lake.path(PREDICTIONS))), small.folder / "backup")
    lake.replace(PREDICTIONS, rows, folder_key="a-1")
    assert forget_lost(small.platform, small.instance, GRAPH) == []
    assert forget_lost(small.platform, small.instance, GRAPH) == []
    shutil.rmtree(Path(str(lake.path(PREDICTIONS))))
    shutil.copytree(backup, Path(str(lake.path(PREDICTIONS))))
    assert forget_lost(small.platform, small.instance, GRAPH) == ["predictions"]
    assert small.instance.get_latest_materialization_event(dg.AssetKey("predictions")) is None
    assert small.instance.get_latest_materialization_event(dg.AssetKey("audit_sample")) is not None
    assert forget_lost(small.platform, small.instance, GRAPH) == []


def to_make(small: Small) -> set[str]:
    return set(graph_status(small.instance, defs, small.platform).to_make)


def test_the_status_knows_what_a_look_would_find_and_looking_writes_nothing(small: Small) -> None:
    """A source, a setting, a folder and a command's note, each unheard by the instance."""
    small.driver.look(small.platform)
    rest = to_make(small)
    assert rest == {"raw_photos of 1 folder: it is not there yet", "prompt_embeddings: it is not there yet"}
    settings = small.folder / "vibe.toml"
    settings.write_text(settings.read_text() + '[teacher]\nmodel = "another"\n')
    (small.folder / "photos" / "b").mkdir()
    shutil.copy(next((small.folder / "photos" / "a").iterdir()), small.folder / "photos" / "b")
    small.command.lake.replace(AUDIT_SAMPLE, a_sample(3, small))
    files = {file: file.stat().st_mtime_ns for file in small.folder.rglob("*")}
    newest = small.instance.event_log_storage.get_maximum_record_id()
    for _ in range(2):
        assert to_make(small) - rest == {"teacher moved", "1 folder moved", "audit_sample was left to do by a command"}
    assert {file: file.stat().st_mtime_ns for file in small.folder.rglob("*")} == files
    assert small.instance.event_log_storage.get_maximum_record_id() == newest
    small.driver.look(small.platform)
    assert to_make(small) == {"raw_photos of 2 folders: it is not there yet", "prompt_embeddings: it is not there yet"}
    shutil.rmtree(small.folder / "photos" / "b")
    assert "1 folder gone" in to_make(small)


def test_the_status_says_that_far_too_many_folders_are_missing(small: Small) -> None:
    for name in ("b", "c", "d"):
        (small.folder / "photos" / name).mkdir()
        shutil.copy(next((small.folder / "photos" / "a").iterdir()), small.folder / "photos" / name)
    small.driver.look(small.platform)
    before = small.platform.lake.version(FOLDER_SET)
    for name in ("b", "c", "d"):
        shutil.rmtree(small.folder / "photos" / name)
    found = graph_status(small.instance, defs, small.platform)
    assert "3 of 4 known folders are missing" in found.refused
    assert "vibe folders --accept-missing" in found.refused
    assert small.platform.lake.version(FOLDER_SET) == before


def test_what_a_study_wrote_is_an_event_with_its_partition(small: Small) -> None:
    table = TABLES["tag_predictions"]
    row = dict.fromkeys(table.polars_schema()) | {"cell": "holidays--gpt", "batch": "holidays", "model": "gpt", "image_id": "i1"}
    small.command.lake.replace(table, pl.DataFrame([row], schema=table.polars_schema(), orient="row"), folder_key="holidays--gpt")
    assert open_orders(small.platform, small.instance, GRAPH) == []
    assert small.instance.get_dynamic_partitions("tag_batches") == ["holidays"]
    assert small.instance.get_dynamic_partitions("tag_models") == ["gpt"]
    event = small.instance.get_latest_materialization_event(dg.AssetKey("tag_predictions"))
    assert event is not None
    assert event.asset_materialization is not None
    assert event.asset_materialization.partition == dg.MultiPartitionKey({"batch": "holidays", "model": "gpt"})
