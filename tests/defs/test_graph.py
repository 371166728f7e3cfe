"""The graph as people meet it: names, groups, descriptions, schemas, gates, schedules."""

from __future__ import annotations

import dagster as dg
import pytest

from vibe_assets.definitions import defs
from vibe_assets.records import TABLES

GRAPH = defs.resolve_asset_graph()
GROUPS = {
    "embeddings": {"encoder", "image_embeddings", "prompt_embeddings"},
    "export": {"label_export"},
    "library": {"folder_listing", "folder_set", "photo_groups", "raw_photos"},
    "names": {"face_chips", "name_embeddings", "name_index", "name_probes", "name_shards", "name_splits", "name_vlm", "names_report"},
    "reports": {"drift_report", "published_warehouse", "student_report", "teacher_report"},
    "runtime": {"predictions"},
    "students": {"attribute_head", "deployed_heads", "object_head", "scene_head"},
    "tags": {"leaderboard", "tag_diagnostics", "tag_predictions", "tagged_photos"},
    "teacher": {"annotations", "teacher", "teacher_trial"},
    "triage": {"best_of_series", "image_quality", "photo_series", "series_heads", "series_preferences", "triage_report"},
    "truth": {"audit_sample", "audited_ground_truth", "audited_verdicts", "auto_ground_truth", "label_mapping"},
    "vlm": {"instruction_dataset", "lora_adapter"},
}
TAG_GATES = {
    "instruction_dataset.no_benchmark_photo",
    "instruction_dataset.records_valid",
    "leaderboard.no_photo_learnt_from",
    "tag_predictions.answers_sound",
    "tagged_photos.photos_reachable",
}
TAG_WARNINGS = {"lora_adapter.beats_base", *(f"tagged_photos.{check}" for check in ("enough_tags", "few_duplicates", "tags_diverse"))}
NAME_GATES = {"name_probes.control_at_chance", "name_splits.nobody_on_two_sides", "name_splits.shards_ready"}
NAME_WARNINGS = {"name_probes.predictions_not_skewed"}
BY_SHARD = {"face_chips", "name_embeddings", "name_index"}
TRIAGE_GATES = {
    "best_of_series.one_pick_at_most",
    "photo_series.series_in_one_split",
    "series_heads.series_order_ignored",
    "series_heads.series_scores_finite",
    "triage_report.beats_random",
    "triage_report.beats_rules",
}
BY_BATCH = {"tag_diagnostics", "tag_predictions", "tagged_photos"}
BY_FOLDER = {"annotations", "folder_listing", "image_embeddings", "predictions", "raw_photos"}


def test_the_assets_and_their_groups_are_these() -> None:
    found: dict[str, set[str]] = {}
    for key in GRAPH.get_all_asset_keys():
        found.setdefault(GRAPH.get(key).group_name or "", set()).add(key.to_user_string())
    assert found == GROUPS


def test_assets_by_folder_share_one_partitions_definition() -> None:
    partitioned = {key.to_user_string() for key in GRAPH.get_all_asset_keys() if GRAPH.get(key).partitions_def is not None}
    assert partitioned - BY_SHARD - BY_BATCH == BY_FOLDER
    assert {GRAPH.get(dg.AssetKey(name)).partitions_def.name for name in BY_SHARD} == {"name_shards"}
    assert {GRAPH.get(dg.AssetKey(name)).partitions_def.name for name in BY_FOLDER} == {"photo_folders"}


@pytest.mark.parametrize("key", sorted(GRAPH.get_all_asset_keys()), ids=lambda key: key.to_user_string())
def test_every_asset_says_what_it_is_and_whose(key: dg.AssetKey) -> None:
    node = GRAPH.get(key)
    assert node.description
    assert len(node.description) > 30
    assert node.owners
    assert node.kinds


def test_partitioned_assets_with_checks_have_no_backfill_policy() -> None:
    """A range of partitions in one run loses the partition of a partitioned check, and its gate never opens again."""
    for name in BY_FOLDER - {"folder_listing"}:
        assert GRAPH.get(dg.AssetKey(name)).backfill_policy is None


def test_every_table_of_the_lake_belongs_to_an_asset_or_remembers_metrics_splits_or_draws() -> None:
    assets = {key.to_user_string() for key in GRAPH.get_all_asset_keys()}
    assert set(TABLES) - assets == {"metrics", "series_members", "audit_draws"}


def test_the_gates_that_block_are_these() -> None:
    blocking, warning = set(), set()
    for key in GRAPH.asset_check_keys:
        (blocking if GRAPH.get(key).blocking else warning).add(f"{key.asset_key.to_user_string()}.{key.name}")
    heads = ("attribute_head", "object_head", "scene_head")
    assert blocking >= NAME_GATES
    assert warning >= NAME_WARNINGS
    assert warning - TAG_WARNINGS - NAME_WARNINGS == {
        "annotations.folder_annotated",
        "auto_ground_truth.labels_not_drifted",
        "raw_photos.photos_readable",
        "raw_photos.nothing_rejected",
        *(f"{head}.calibrated" for head in heads),
    }
    assert blocking >= TAG_GATES
    assert warning >= TAG_WARNINGS
    assert blocking >= TRIAGE_GATES
    assert blocking - TAG_GATES - NAME_GATES - TRIAGE_GATES == {
        "annotations.from_current_teacher",
        "audit_sample.sample_sound",
        "audited_ground_truth.audited_file_intact",
        "auto_ground_truth.known_labels_only",
        "auto_ground_truth.library_annotated",
        "auto_ground_truth.one_teacher_only",
        "deployed_heads.heads_fit",
        "image_embeddings.vectors_sound",
        "photo_groups.library_readable",
        "photo_groups.no_group_across_splits",
        "predictions.predictions_sound",
        "raw_photos.photos_listed_once",
        "teacher_report.teacher_agrees_with_people",
        *(f"{head}.{gate}" for head in heads for gate in ("beats_majority", "not_worse_than_deployed")),
    }


def test_jobs_sensors_and_schedules_are_on_by_default() -> None:
    repository = defs.get_repository_def()
    assert {job.name for job in repository.get_all_jobs()} >= {"refresh_library", "retrain_students", "evaluate", "try_candidate_teacher"}
    sensors = {sensor.name: sensor.default_status for sensor in repository.sensor_defs}
    assert sensors == dict.fromkeys(("automation", "folder_sensor", "source_sensor"), dg.DefaultSensorStatus.RUNNING)
    schedules = {schedule.name: schedule.default_status for schedule in repository.schedule_defs}
    assert schedules == dict.fromkeys(("nightly_refresh", "weekly_retrain"), dg.DefaultScheduleStatus.RUNNING)


def test_readme_lists_every_asset_and_every_gate() -> None:
    from pathlib import Path

    text = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    names = {key.to_user_string() for key in GRAPH.get_all_asset_keys()} | {key.name for key in GRAPH.asset_check_keys}
    assert not {name for name in names if f"`{name}`" not in text and f"`{name}*`" not in text}
