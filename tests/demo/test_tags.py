"""The tag study walks from audited labels to a leaderboard with a fine-tuned model on it, as runs of a Dagster instance."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from PIL import Image

from vibe_assets.defs import tag_jobs
from vibe_assets.demo.tags import ADAPTER, BATCH, KNOBS, TAGGERS, TINY, TagStudy, run_tag_study, said
from vibe_assets.records import AUDITED_GROUND_TRUTH, RAW_PHOTOS
from vibe_assets.records.tags import LEADERBOARD, TAG_PREDICTIONS
from vibe_assets.stages.library import group_library, look_at_folders, scan_folder
from vibe_assets.stages.platform import Platform

LABELS = {
    "food": ((200, 120, 40), ["object.food.dessert"]), "animals": ((60, 140, 60), ["object.animals.dog"]),
    "document": ((230, 230, 225), ["object.document.book"]), "landscape": ((60, 110, 220), ["object.dailystuff.vehicle"]),
}  # fmt: skip


def library(folder: Path, photos: int = 36) -> Path:
    """Flat pictures whose colour says what people call them, scanned, grouped and audited; the settings file's path."""
    rng = random.Random(3)
    (folder / "photos" / "all").mkdir(parents=True)
    for at in range(photos):
        scene = list(LABELS)[at % len(LABELS)]
        colour = tuple(max(0, min(255, part + rng.randint(-25, 25))) for part in LABELS[scene][0])
        Image.new("RGB", (64, 64), colour).save(folder / "photos" / "all" / f"{at:02d}-{scene}.png")
    config = folder / "vibe.toml"
    config.write_text('[library]\nroot = "photos"\nhome = "data"\nscan_workers = 1\n')
    platform = Platform.open(config=config, progress=False)
    for key in look_at_folders(platform).listings:
        scan_folder(platform, key)
    group_library(platform)
    names = platform.lake.read(RAW_PHOTOS).select("image_id", "rel_path").iter_rows()
    rows = [{"image_id": image, "scene": f"scene.{scene}", "objects": LABELS[scene][1], "has_person": False}
            for image, path in names for scene in [path.rpartition("-")[2].removesuffix(".png")]]  # fmt: skip
    platform.lake.replace(AUDITED_GROUND_TRUTH, pl.DataFrame(rows, schema=AUDITED_GROUND_TRUTH.polars_schema()))
    return config


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Platform, dg.DagsterInstance, TagStudy]]:
    config = library(tmp_path_factory.mktemp("study"))
    before = os.environ.get("VIBE_CONFIG")
    os.environ["VIBE_CONFIG"] = str(config)
    try:
        with dg.DagsterInstance.ephemeral() as instance:
            study = run_tag_study(Platform.open(progress=False), instance)
            yield Platform.open(progress=False), instance, study
    finally:
        if before is None:
            del os.environ["VIBE_CONFIG"]
        else:
            os.environ["VIBE_CONFIG"] = before


def test_every_run_succeeds_and_the_adapter_beats_its_base(walked: tuple[Platform, dg.DagsterInstance, TagStudy]) -> None:
    platform, instance, study = walked
    assert study.failed == ()
    assert "it beats its base" in study.verdict
    assert study.page.is_file()
    status = dict(platform.lake.read(LEADERBOARD).select("model", "status").unique().iter_rows())
    assert status == {"demo-tagger": "vendor", "demo-small-tagger": "vendor", TINY: "local", ADAPTER: "promoted"}
    for name in ("tagged_photos", "tag_diagnostics", "tag_predictions", "leaderboard", "instruction_dataset", "lora_adapter"):
        assert instance.get_latest_materialization_event(dg.AssetKey(name)) is not None


def test_the_leaderboard_ranks_the_models_as_good_as_they_were_made(walked: tuple[Platform, dg.DagsterInstance, TagStudy]) -> None:
    platform, _, _ = walked
    recall = dict(platform.lake.read(LEADERBOARD).filter(metric="recall", batch="").select("model", "value").iter_rows())
    assert recall["demo-tagger"] > recall["demo-small-tagger"] > recall[TINY] == 0.0
    assert recall[ADAPTER] > 0.5
    rows = platform.lake.read(TAG_PREDICTIONS).filter(model=ADAPTER)
    assert rows["adapter"].null_count() == 0


def test_a_second_study_asks_and_trains_nothing_again(walked: tuple[Platform, dg.DagsterInstance, TagStudy]) -> None:
    platform, instance, _ = walked
    answers = {file: file.stat().st_mtime_ns for file in (platform.settings.tags_dir / "answers").rglob("*.jsonl")}
    again = run_tag_study(platform, instance)
    assert again.failed == ()
    assert {file: file.stat().st_mtime_ns for file in (platform.settings.tags_dir / "answers").rglob("*.jsonl")} == answers
    event = instance.get_latest_materialization_event(dg.AssetKey("lora_adapter"))
    assert event is not None
    assert event.asset_materialization is not None
    assert event.asset_materialization.metadata["trained"].value is False


def test_the_factory_job_walks_from_labels_to_the_leaderboard_without_training_what_is_trained(
    walked: tuple[Platform, dg.DagsterInstance, TagStudy],
) -> None:
    platform, instance, _ = walked
    config = {
        "build_instructions": {"config": {"min_tags": 2}},
        "finetune_model": {"config": {"name": ADAPTER, "base": TINY, **KNOBS}},
    }
    result = tag_jobs.vlm_factory.execute_in_process(instance=instance, run_config={"ops": config}, raise_on_error=False)
    assert result.success, [str(event.step_failure_data.error)[:500] for event in result.get_step_failure_events()]
    event = instance.get_latest_materialization_event(dg.AssetKey("lora_adapter"))
    assert event is not None
    assert event.asset_materialization is not None
    assert event.asset_materialization.metadata["trained"].value is False
    assert ADAPTER in platform.lake.read(LEADERBOARD)["model"].to_list()


def test_the_job_says_which_run_failed_and_why(walked: tuple[Platform, dg.DagsterInstance, TagStudy], tmp_path: Path) -> None:
    _, instance, _ = walked
    config = {"ops": {"ingest_batch": {"config": {"batch": "b2", "file": str(tmp_path)}}}}
    result = tag_jobs.tag_benchmark.execute_in_process(instance=instance, run_config=config, raise_on_error=False)
    assert not result.success
    assert "metadata.jsonl" in str(result.get_step_failure_events()[0].step_failure_data.error)
    assert not instance.has_dynamic_partition("tag_batches", "b2")


def test_a_batch_that_may_be_empty_stops_nothing(walked: tuple[Platform, dg.DagsterInstance, TagStudy]) -> None:
    _, instance, _ = walked
    source = {"batch": "b0", "library": "audited", "allow_nothing_new": True}
    result = tag_jobs.tag_benchmark.execute_in_process(
        instance=instance, run_config={"ops": {"ingest_batch": {"config": source}}}, raise_on_error=False
    )
    assert result.success, [str(event.step_failure_data.error)[:500] for event in result.get_step_failure_events()]


def test_the_job_walks_from_a_folder_of_tags_to_the_leaderboard(
    walked: tuple[Platform, dg.DagsterInstance, TagStudy], tmp_path: Path
) -> None:
    platform, instance, _ = walked
    Image.new("RGB", (40, 40), (1, 2, 3)).save(tmp_path / "x.png")
    (tmp_path / "metadata.jsonl").write_text(json.dumps({"file_name": "x.png", "tags": ["night", "dark", "sky", "black", "empty"]}))
    config = {"ops": {"ingest_batch": {"config": {"batch": "b2", "file": str(tmp_path)}}, "ask_models": {"config": {"models": [TINY]}}}}
    result = tag_jobs.tag_benchmark.execute_in_process(instance=instance, run_config=config, raise_on_error=False)
    assert result.success, [str(event.step_failure_data.error)[:500] for event in result.get_step_failure_events()]
    assert set(platform.lake.read(TAG_PREDICTIONS)["batch"]) == {BATCH, "b2"}


def test_a_simulated_tagger_always_says_the_same_and_errs_as_often_as_asked() -> None:
    true = ["dog", "grass", "ball", "garden", "summer"]
    answers = [said(str(at), true, "demo-tagger", *TAGGERS["demo-tagger"]) for at in range(200)]
    assert answers == [said(str(at), true, "demo-tagger", *TAGGERS["demo-tagger"]) for at in range(200)]
    hits = sum(len(set(answer) & set(true)) for answer in answers) / (200 * len(true))
    assert hits == pytest.approx(0.8, abs=0.06)
