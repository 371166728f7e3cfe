"""The whole lineage on real photos: what must be true of it, whatever the figures are."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from tests.defs.world import HEADS, World, ran
from tests.support.real_teacher import known_labels, write_answers
from vibe_assets.definitions import defs
from vibe_assets.defs.history import REBUILT
from vibe_assets.records import (
    ANNOTATIONS,
    AUDITED_GROUND_TRUTH,
    AUTO_GROUND_TRUTH,
    METRICS,
    PHOTO_GROUPS,
    PREDICTIONS,
    RAW_PHOTOS,
)
from vibe_assets.stages.reports import evaluate_students, evaluate_teacher
from vibe_assets.stages.students import deployments
from vibe_assets.stages.truth import accept_audited, groups_of, sample_file
from vibe_assets.teacher.annotate import teacher_fingerprint
from vibe_assets.teacher.replay import ReplayTeacher, running_replay

pytestmark = [pytest.mark.slow, pytest.mark.e2e, pytest.mark.timeout(900)]  # the first test waits for the whole build

SETTINGS = """\
[library]
root = {root}
home = "data"

[audit]
sample_size = 300
"""
ONCE = {
    *HEADS, "photo_groups", "auto_ground_truth", "audit_sample", "audited_ground_truth", "teacher_report", "deployed_heads",
    "prompt_embeddings", "student_report", "published_warehouse", "drift_report",
}  # fmt: skip


@pytest.fixture(scope="module")
def library(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, list[dict[str, int]]]]:
    """An installation over the real library after its first full build, and what ran before and after people had checked the sample."""
    folder = tmp_path_factory.mktemp("real")
    (folder / "vibe.toml").write_text(SETTINGS.format(root=json.dumps(str(real_data / "library"))), encoding="utf-8")
    (folder / "dagster_home").mkdir()
    shutil.copy(Path(__file__).parents[2] / "dagster_home" / "dagster.yaml", folder / "dagster_home")
    replay = ReplayTeacher(write_answers(real_data, folder / "answers.jsonl"), real_data / "library")
    before = dict(os.environ)
    with running_replay(replay) as base_url:
        os.environ |= {"VIBE_CONFIG": str(folder / "vibe.toml"), "QWEN_BASE_URL": base_url, "DAGSTER_HOME": str(folder / "dagster_home")}
        try:
            with dg.DagsterInstance.get() as instance:
                world = World(folder, instance, replay)
                first = ran(world.settle())
                _people_check(world, real_data)
                yield world, [first, ran(world.settle())]
        finally:
            os.environ.clear()
            os.environ |= before


def _people_check(world: World, real_data: Path) -> None:
    """People who know the truth correct the drawn sample."""
    truth = {line["path"]: line for line in known_labels(real_data)}
    sample = json.loads(sample_file(world.platform).read_text(encoding="utf-8"))
    for photo in sample:
        line = truth[photo["rel_path"]]
        photo["scene"], photo["attributes"] = [line["scene"]], line["attributes"]
        photo["objects"] = [name for name in line["objects"].split(",") if name]
    file = world.folder / "people.json"
    file.write_text(json.dumps(sample), encoding="utf-8")
    accept_audited(world.platform, file)


@pytest.fixture
def world(library: tuple[World, list[dict[str, int]]]) -> World:
    return library[0]


def test_every_asset_is_built_and_only_figures_of_a_head_shut_a_gate(library: tuple[World, list[dict[str, int]]], real_data: Path) -> None:
    from vibe_assets.stages.students import deployed

    world, (first, second) = library
    folders = len({str(Path(line["path"]).parent) for line in known_labels(real_data)})
    counts = {name: first.get(name, 0) + second.get(name, 0) for name in first | second}
    by_folder = {**dict.fromkeys(("raw_photos", "annotations", "image_embeddings"), folders), "predictions": 2 * folders}
    assert counts == {**dict.fromkeys(ONCE, 1), **by_folder}  # predictions: the teacher's labels first, the students' after the audit
    runs = world.instance.get_runs()
    gates = [
        record.event_log_entry.get_dagster_event().asset_check_evaluation_data
        for run in runs
        for record in world.instance.get_records_for_run(run.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION).records
    ]
    graph = defs.resolve_asset_graph()
    declared = {key for key in graph.asset_check_keys if REBUILT in graph.get(key.asset_key).tags}  # studies run when asked
    assert {gate.asset_check_key for gate in gates} == declared
    shut = [gate for gate in gates if not gate.passed]  # the packaged vectors tell little of folders never seen: these heads may be refused
    assert {gate.check_name for gate in shut} <= {"beats_majority", "calibrated"}
    assert all("what to do" in gate.metadata for gate in shut)
    refused = {gate.asset_key.to_user_string() for gate in shut if gate.check_name == "beats_majority"}
    assert set(HEADS) - refused == {f"{kind}_head" for kind in deployed(world.platform)}
    failed = [run for run in runs if run.status != dg.DagsterRunStatus.SUCCESS]
    assert all(refused & {key.to_user_string() for key in run.asset_selection or ()} for run in failed)


def test_nothing_is_wanted_once_everything_is_built(world: World) -> None:
    asked = world.replay.counts()["requests"]
    assert world.settle() == []
    assert world.replay.counts()["requests"] == asked


def test_every_photo_is_read_annotated_and_labelled(world: World, real_data: Path) -> None:
    lake = world.platform.lake
    photos = lake.read_live(RAW_PHOTOS)
    assert set(photos["rel_path"]) == {line["path"] for line in known_labels(real_data)}
    assert photos["reason"].is_null().all()
    ids = set(photos["image_id"])
    assert set(lake.read_live(ANNOTATIONS).filter(pl.col("reason").is_null())["image_id"]) == ids
    predictions = lake.read_live(PREDICTIONS)
    assert set(predictions["image_id"]) == ids
    assert predictions["source"].str.contains("(^|scene=)student").all()
    assert predictions["teacher_scene"].is_not_null().all()


def test_all_labels_come_from_one_teacher_and_the_heads_say_so(world: World) -> None:
    from vibe_assets.stages.students import deployed

    teacher = teacher_fingerprint(world.platform.settings.teacher)
    assert set(world.platform.lake.read(AUTO_GROUND_TRUTH)["teacher"]) == {teacher}
    heads = deployed(world.platform)
    assert set(heads) >= {"scene", "attribute"}
    assert {head.card.teacher for head in heads.values()} == {teacher}


def test_no_group_lies_on_two_sides_and_every_side_has_photos(world: World) -> None:
    rows = world.platform.lake.read(PHOTO_GROUPS)
    assert rows.filter(pl.col("split") != "aside").group_by("group_id").agg(pl.col("split").n_unique())["split"].max() == 1
    assert set(rows["split"]) >= {"train", "val", "test"}
    assert (rows["group_size"] > 1).any(), "a library of this size holds near-duplicates"


def test_photos_with_the_same_pixels_in_other_bytes_share_a_side(world: World) -> None:
    """Near-duplicates found by hash alone, whatever the grouping says."""
    lake = world.platform.lake
    hashes = lake.read_live(RAW_PHOTOS).select("image_id", "phash").unique("image_id")
    sides = hashes.join(lake.read(PHOTO_GROUPS).filter(pl.col("split") != "aside"), on="image_id").group_by("phash")
    assert sides.agg(pl.col("split").n_unique())["split"].max() == 1


def test_the_teacher_is_what_it_was_given_to_say(world: World) -> None:
    """Truth, teacher and people come from the same labels here: any disagreement would be the platform's own doing."""
    agreement = evaluate_teacher(world.platform).headline["scene_accuracy"]
    assert agreement.value == 1.0
    assert agreement.n == world.platform.lake.read(AUDITED_GROUND_TRUTH).height == 300


@pytest.mark.parametrize("truth", ["human", "auto"])
def test_students_beat_the_majority_with_the_whole_interval(world: World, truth: str) -> None:
    evaluation = next(found for found in evaluate_students(world.platform) if found.truth_kind == truth)
    for name in ("scene_accuracy", "scene_accuracy_forced", "scene_accuracy_answered", "attributes_macro_f1"):
        figure = evaluation.headline[name]
        assert figure.baseline is not None
        assert figure.low > figure.baseline, f"{name}: {figure} against {figure.baseline:.3f}"
    assert evaluation.headline["scene_accuracy_forced"].value >= evaluation.headline["scene_accuracy"].value
    assert evaluation.headline["scene_accuracy_answered"].value >= evaluation.headline["scene_accuracy_forced"].value


def test_students_are_judged_on_photos_no_head_has_seen(world: World) -> None:
    lake = world.platform.lake
    test = set(lake.read(PHOTO_GROUPS).filter(pl.col("split") == "test")["image_id"])
    for evaluation in evaluate_students(world.platform):
        assert {mistake.image_id for mistake in evaluation.mistakes} <= test
        assert evaluation.n <= len(test)
        assert evaluation.n_missing == 0


def test_the_history_holds_every_headline_figure_with_interval_and_version(world: World) -> None:
    history = world.platform.lake.read(METRICS).filter(pl.col("label") == "")
    assert set(history.select("subject", "truth").iter_rows()) == {("teacher", "human"), ("student", "human"), ("student", "auto")}
    assert history.select((pl.col("low") <= pl.col("value")) & (pl.col("value") <= pl.col("high"))).to_series().all()
    assert (history["n"] > 0).all()
    assert set(history.filter(subject="student")["version"]) == {"+".join(sorted(deployments(world.platform).values()))}


def test_reports_show_the_figures_that_the_lake_holds(world: World) -> None:
    reports = world.platform.settings.reports_dir
    history = world.platform.lake.read(METRICS).filter(pl.col("label") == "", pl.col("metric") == "scene_accuracy_forced", truth="human")
    page = (reports / "student_report.html").read_text(encoding="utf-8")
    assert f"{100 * history['value'][0]:.1f}" in page
    assert "data:image/jpeg;base64," in page
    assert "student_report.html" in (reports / "index.html").read_text(encoding="utf-8")


def test_groups_in_the_figures_are_those_of_the_split(world: World) -> None:
    groups = groups_of(world.platform)
    for evaluation in evaluate_students(world.platform):
        assert 0 < evaluation.n_groups <= len(set(groups.values()))


def test_the_labels_lie_beside_the_reports_one_row_a_photo(world: World) -> None:
    predictions, reports = world.platform.lake.read_live(PREDICTIONS), world.platform.settings.reports_dir
    lines = [json.loads(line) for line in (reports / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]
    sheet = pl.read_csv(reports / "predictions.csv")
    assert [line["rel_path"] for line in lines] == sheet["rel_path"].to_list() == sorted(predictions["rel_path"])
    assert [line["scene"] for line in lines] == sheet["scene"].to_list()
