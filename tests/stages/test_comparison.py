"""Any two versions of labels can be compared by name; a wrong name is answered with the names that exist."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner

from tests.stages.rows import FOLDERS, PHOTOS, SCENES, damage, open_platform, photo_id, scene_of
from tests.support.questions import with_style
from vibe_assets.cli import main
from vibe_assets.labels.files import write_labels
from vibe_assets.records import AUDITED_GROUND_TRUTH, AUTO_GROUND_TRUTH, IMAGE_EMBEDDINGS, PHOTO_GROUPS, PREDICTIONS
from vibe_assets.stages.comparison import compare_versions, page_name
from vibe_assets.stages.index import write_index
from vibe_assets.stages.platform import Platform, StageError
from vibe_assets.stages.students import deployments, untrained_photos
from vibe_assets.stages.versions import label_version
from vibe_assets.teacher.journal import Journal

NOW = datetime(2026, 1, 2, tzinfo=UTC)
OTHER_TEACHER = "0123456789abcdef"


def answer(scene: str) -> dict[str, Any]:
    unasked = dict.fromkeys(("has_person", "has_animal", "has_text", "is_document", "is_screenshot"), False)
    return {"scene": scene, **unasked, "objects": []}


def wrong(every: int) -> pl.Expr:
    """Every n-th photo gets the next scene."""
    turned = dict(zip(SCENES, (*SCENES[1:], SCENES[0]), strict=True))
    return pl.when(pl.int_range(pl.len()) % every == 0).then(pl.col("scene").replace(turned)).otherwise(pl.col("scene"))


@pytest.fixture
def changed(platform: Platform) -> Platform:
    """Two versions of the automatic labels: the sound ones, and one with every fifth scene wrong."""
    damage(platform, AUTO_GROUND_TRUTH, lambda rows: rows.with_columns(scene=wrong(5)))
    return platform


def newest(platform: Platform) -> int:
    version = platform.lake.version(AUTO_GROUND_TRUTH)
    assert version is not None
    return version


# -- names -------------------------------------------------------------------------------------------------------------
def test_a_table_is_named_with_or_without_its_version(changed: Platform) -> None:
    last = newest(changed)
    assert label_version(changed, "auto_ground_truth").name == f"auto_ground_truth@{last}"
    assert label_version(changed, "auto_ground_truth@-1").rows["scene"].to_list() == [scene_of(at) for at in range(PHOTOS)]
    assert label_version(changed, f"auto_ground_truth@{last}").rows["scene"][0] != scene_of(0)


def test_a_teacher_speaks_through_its_journal_under_the_mapping_in_force(platform: Platform) -> None:
    with Journal(platform.settings.journal_dir / OTHER_TEACHER, writer="w") as journal:
        journal.append_many([{"image_id": photo_id(at), "annotation": answer("food"), "model": "m-2"} for at in range(10)])
    found = label_version(platform, OTHER_TEACHER[:6])
    assert (found.name, found.rows.height, set(found.rows["scene"])) == (OTHER_TEACHER, 10, {"scene.food"})
    assert not (platform.settings.journal_dir / OTHER_TEACHER / "reader.jsonl").exists()
    assert compare_versions(platform, OTHER_TEACHER, "auto_ground_truth", what="scene").flow.n == 10


def test_a_head_predicts_again_from_the_vectors_in_the_lake(settled: Platform) -> None:
    scene = deployments(settled)["scene"]
    found = label_version(settled, scene[:-4])
    assert (found.name, found.kinds, found.learned, found.rows.height) == (scene, ("scene",), True, PHOTOS)


def test_a_head_of_another_encoder_is_refused_with_the_remedy(settled: Platform) -> None:
    for key in FOLDERS:
        rows = settled.lake.read(IMAGE_EMBEDDINGS, folder_key=key)
        settled.lake.replace(IMAGE_EMBEDDINGS, rows.with_columns(encoder=pl.lit("e-2")), folder_key=key)
    with pytest.raises(StageError, match=r"reads vectors of encoder e-1, the library has e-2: set encoder\.name back"):
        label_version(settled, deployments(settled)["scene"])


def test_a_file_of_labels_is_a_version_too(platform: Platform, tmp_path: Path) -> None:
    file = write_labels(platform.lake.read(AUTO_GROUND_TRUTH).head(30), tmp_path / "mine.jsonl", platform.questions)
    assert compare_versions(platform, str(file), "auto_ground_truth").flow.n == 30


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "nobody",
            r"is called 'nobody'. There are:\n  tables: .*auto_ground_truth.*\n  teachers: none\n  heads: none",
        ),
        ("auto_ground_truth@99", "auto_ground_truth has no version 99: there are 0 to"),
        ("auto_ground_truth@new", "expected a number after '@'"),
        ("annotations", "no version of labels is called 'annotations'"),
        ("absent.jsonl", "absent.jsonl: no such file"),
        ("../../etc/passwd", "no version of labels is called"),
    ],
)
def test_an_unknown_name_is_answered_with_those_that_exist(platform: Platform, name: str, message: str) -> None:
    with pytest.raises(StageError, match=message):
        compare_versions(platform, name, "auto_ground_truth")


def test_a_beginning_that_several_versions_share_is_refused(settled: Platform) -> None:
    for twin in ("abcd1", "abcd2"):
        Journal(settled.settings.journal_dir / twin, writer="w").append({"image_id": photo_id(0), "annotation": answer("food")})
    with pytest.raises(StageError, match="'abcd' stands for 2 versions: abcd1, abcd2; give more characters"):
        label_version(settled, "abcd")


def test_versions_that_speak_of_different_things_are_not_compared(settled: Platform) -> None:
    heads = deployments(settled)
    with pytest.raises(StageError, match=r"nothing to compare: scene-\w+ speaks of scene; object-\w+ speaks of object"):
        compare_versions(settled, heads["scene"], heads["object"])
    with pytest.raises(StageError, match="nothing to compare in objects"):
        compare_versions(settled, heads["scene"], "auto_ground_truth", what="objects")


# -- pages -------------------------------------------------------------------------------------------------------------
def test_the_page_says_what_changed_and_who_is_nearer_to_people(changed: Platform) -> None:
    last = newest(changed)
    written = compare_versions(changed, f"auto_ground_truth@{last - 1}", "auto_ground_truth", now=NOW)
    assert written.path == changed.settings.reports_dir / "compare" / f"auto_ground_truth@{last - 1}-vs-auto_ground_truth@{last}.html"
    assert written.flow.agreement["scene"].value == pytest.approx(0.8)
    (scene, attribute, object_) = written.comparisons
    assert (scene.n, scene.n_only_a_right, scene.n_only_b_right) == (PHOTOS // 2, 16, 0)
    assert scene.verdict.startswith("Worse by -20.0 points")
    assert attribute.n_only_a_right == object_.n_only_a_right == 0
    assert "the same scene on 80" in written.verdict


def test_students_are_held_against_people_on_the_test_split_only(changed: Platform) -> None:
    (scene, *_) = compare_versions(changed, "predictions", "auto_ground_truth").comparisons
    tested = sum(1 for at in range(PHOTOS // 2) if at % 8 in (4, 7))
    assert scene.n == tested


def test_students_beside_people_agree_on_the_test_split_only(changed: Platform) -> None:
    written = compare_versions(changed, "predictions", "audited_ground_truth", what="scene")
    tested = sum(1 for at in range(PHOTOS // 2) if at % 8 in (4, 7))
    assert written.flow.n == tested, "agreement with people is a figure about students too"
    page = written.path.read_text(encoding="utf-8")
    assert f"{tested} photos of the test split" in page
    assert "Audited photos of the test split only" in page


def test_a_burst_mate_of_a_training_photo_judges_no_student(changed: Platform) -> None:
    before = compare_versions(changed, "predictions", "audited_ground_truth", what="scene").flow.n
    groups = changed.lake.read(PHOTO_GROUPS)
    tested, trained = (groups.filter(split=split)["image_id"][0] for split in ("test", "train"))
    mate = groups.filter(image_id=trained)["group_id"][0]
    moved = pl.when(pl.col("image_id") == tested).then(pl.lit(mate)).otherwise("group_id").alias("group_id")
    changed.lake.replace(PHOTO_GROUPS, groups.with_columns(moved))
    assert tested not in untrained_photos(changed.lake.read(PHOTO_GROUPS))["image_id"]
    assert compare_versions(changed, "predictions", "audited_ground_truth", what="scene").flow.n == before - 1


def test_people_are_compared_but_not_judged_against_themselves(changed: Platform) -> None:
    written = compare_versions(changed, "audited_ground_truth", "auto_ground_truth", what="scene")
    assert written.comparisons == ()
    assert written.flow.n == PHOTOS // 2
    assert "Against people" in written.path.read_text(encoding="utf-8"), "the other side still is"


def test_without_an_audit_the_two_are_still_compared(changed: Platform) -> None:
    damage(changed, AUDITED_GROUND_TRUTH, lambda rows: rows.clear())
    written = compare_versions(changed, "auto_ground_truth@-1", "auto_ground_truth")
    assert written.comparisons == ()
    assert written.flow.n == PHOTOS


def test_derived_attributes_that_a_head_is_never_asked_do_not_count_against_it(settled: Platform) -> None:
    head = deployments(settled)["attribute"]
    written = compare_versions(settled, head, "auto_ground_truth", what="attributes")
    assert not {move.label for move in written.flow.moves} & {"attr.is_document", "attr.is_screenshot"}
    (comparison,) = written.comparisons
    assert comparison.delta is not None
    assert comparison.delta.value < 0.1


def test_the_index_leads_to_every_comparison(changed: Platform) -> None:
    written = compare_versions(changed, "auto_ground_truth@-1", "predictions", now=NOW)
    page = write_index(changed).read_text(encoding="utf-8")
    assert f'href="compare/{written.path.name}"' in page
    assert json.loads(written.path.with_suffix(".json").read_text(encoding="utf-8"))["summary"] in page


@pytest.mark.parametrize("name", ["../../x", "a b", "ä.json", ".hidden", "x" * 300])
def test_a_page_has_a_name_that_every_file_system_takes(name: str) -> None:
    made = page_name(name, "predictions@1")
    assert set(made) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._@-")
    assert not made.startswith(".")
    assert len(made) < 180
    assert made != page_name(f"{name}!", "predictions@1")


def test_a_version_of_the_predictions_is_read_as_it_was(platform: Platform) -> None:
    before = platform.lake.version(PREDICTIONS)
    damage(platform, PREDICTIONS, lambda rows: rows.with_columns(scene=pl.lit("scene.food")))
    tested = set(untrained_photos(platform.lake.read(PHOTO_GROUPS))["image_id"])
    other = sum(1 for at in range(0, PHOTOS, len(FOLDERS)) if scene_of(at) != "scene.food" and photo_id(at) in tested)
    assert other
    assert compare_versions(platform, f"predictions@{before}", "predictions", what="scene").flow.n_differing == other


# -- the commands ------------------------------------------------------------------------------------------------------
@pytest.fixture
def opened(changed: Platform, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Addresses that the browser was asked to show; the commands work on `changed`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VIBE_LIBRARY__ROOT", str(changed.settings.library.root))
    monkeypatch.setenv("VIBE_LIBRARY__HOME", str(changed.settings.home))
    found: list[str] = []
    monkeypatch.setattr("click.launch", found.append)
    return found


def test_the_command_says_the_verdict_and_opens_the_page(opened: list[str]) -> None:
    result = CliRunner().invoke(main, ["compare", "auto_ground_truth@-1", "auto_ground_truth", "--what", "scene", "--open"])
    assert result.exit_code == 0, result.output
    assert "scene: Worse by -20.0 points" in result.output
    (address,) = opened
    assert address.startswith("file://")
    assert address.endswith("-scene.html")


def test_the_command_words_its_refusals(opened: list[str]) -> None:
    result = CliRunner().invoke(main, ["compare", "nobody", "auto_ground_truth"])
    assert (result.exit_code, "Traceback" in result.output) == (1, False)
    assert "Error: no version of labels is called 'nobody'" in result.output


def test_reports_open_in_the_browser(opened: list[str], changed: Platform) -> None:
    assert CliRunner().invoke(main, ["report", "--open"]).exit_code == 0
    assert opened == [(changed.settings.reports_dir / "index.html").as_uri()]
    missing = CliRunner().invoke(main, ["report", "drift"])
    assert missing.exit_code == 1
    assert "not written yet" in missing.output


def test_a_further_question_is_compared_by_its_key_and_an_unknown_one_is_refused(home: Path, tmp_path: Path) -> None:
    platform = open_platform(home, labels={"taxonomy": str(with_style(tmp_path))})
    for name, style in (("a", "style.film"), ("b", "style.phone")):
        lines = [json.dumps({"image_id": photo_id(at), "style": style if at % 2 else "style.drone"}) for at in range(20)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    names = (str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl"))
    written = compare_versions(platform, *names, what="style")
    assert (set(written.flow.tables), written.flow.agreement["style"].value) == ({"style"}, 0.5)
    assert "Where the styles went" in written.path.read_text(encoding="utf-8")
    with pytest.raises(StageError, match="'faces' is no question; there are scene, attributes, objects, style"):
        compare_versions(platform, *names, what="faces")
