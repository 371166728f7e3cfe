"""Photos that were deleted and folders that were moved: no figure, view or list speaks of them, and nothing counts twice."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest

from tests.stages.rows import FOLDERS, PHOTOS, open_platform, photo_id, table_rows
from vibe_assets.audit.verdicts import Verdict
from vibe_assets.records import (
    AUDITED_GROUND_TRUTH,
    AUTO_GROUND_TRUTH,
    FOLDER_SET,
    IMAGE_EMBEDDINGS,
    PHOTO_GROUPS,
    PREDICTIONS,
    RAW_PHOTOS,
    Labels,
)
from vibe_assets.stages import gates
from vibe_assets.stages.audit_report import figures_of_audit
from vibe_assets.stages.drift import distinct_versions, photo_folders
from vibe_assets.stages.export import Selection, select_rows, voices
from vibe_assets.stages.judging import evaluate_students, evaluate_teacher
from vibe_assets.stages.model_gates import teacher_agrees
from vibe_assets.stages.platform import Platform
from vibe_assets.stages.reports import library_shares, warehouse_tables, who_answers
from vibe_assets.stages.search import _blocks
from vibe_assets.stages.sidecars import qualify
from vibe_assets.stages.students import embedded_photos, training_truth
from vibe_assets.stages.truth import draw_audit_sample
from vibe_assets.stages.verdicts import mark_done, verdict_log
from vibe_assets.stages.versions import label_version

GONE = frozenset(photo_id(at) for at in range(0, 40, 2))  # of the first folder; all of them audited
LEFT = PHOTOS - len(GONE)


@pytest.fixture
def after(platform: Platform) -> Platform:
    """Twenty photos of a folder were deleted: its scan knows, and the labels were made anew; nothing else has run yet."""
    for table, key in ((RAW_PHOTOS, FOLDERS[0]), (AUTO_GROUND_TRUTH, None)):
        rows = platform.lake.read(table, folder_key=key)
        platform.lake.replace(table, rows.filter(~pl.col("image_id").is_in(GONE)), folder_key=key)
    return platform


def test_audited_photos_that_were_deleted_do_not_lower_the_accuracy(platform: Platform, after: Platform) -> None:
    found = evaluate_teacher(after)
    assert found.n == PHOTOS // 2 - len(GONE)
    accuracy = found.headline["scene_accuracy"]
    assert (accuracy.value, accuracy.n) == (1.0, PHOTOS // 2 - len(GONE))
    human, auto = evaluate_students(after)
    for evaluation in (human, auto):
        figure = evaluation.headline["scene_accuracy"]
        assert figure.value == 1.0
    assert human.n == 20 - sum(int(image_id, 16) % 8 == 4 for image_id in GONE)
    assert teacher_agrees(after).facts["audited"] == PHOTOS // 2 - len(GONE)
    shares = library_shares(after, after.lake.read_live(AUTO_GROUND_TRUTH))
    assert {share.n for share, _ in shares.values()} == {PHOTOS // 2 - len(GONE)}


READERS: dict[str, Callable[[Platform], pl.DataFrame]] = {
    "teacher": lambda home: voices(home)["teacher"], "people": lambda home: voices(home)["people"],
    "students": lambda home: voices(home)["students"], "export": lambda home: select_rows(home, Selection("best")),
    "training": training_truth, "vectors": embedded_photos, "sample": draw_audit_sample,
    "drift": lambda home: distinct_versions(home)[1][0], "folders": lambda home: pl.DataFrame({"image_id": list(photo_folders(home))}),
    "search": lambda home: pl.DataFrame({"image_id": [one for ids, _ in _blocks(home, "e-1", set()) for one in ids]}),
    **{f"label version {name}": lambda home, name=name: label_version(home, name).rows for name in
       ("audited_ground_truth", "auto_ground_truth", "auto_ground_truth@-1", "predictions", "predictions@-1")},
    **{f"warehouse {name}": lambda home, name=name: pl.DataFrame(warehouse_tables(home)[name]) for name in
       ("photos", "photo_groups", "auto_ground_truth", "audited_ground_truth", "predictions")},
    **{f"sql {name}": lambda home, name=name: home.lake.connect().sql(f"select image_id from {name}").pl() for name in
       ("raw_photos", "photo_groups", "annotations", "auto_ground_truth", "audit_sample", "audited_ground_truth", "image_embeddings",
        "predictions")},
}  # fmt: skip


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_nobody_reads_of_photos_that_were_deleted(after: Platform, read: Callable[[Platform], pl.DataFrame]) -> None:
    found = read(after)["image_id"].to_list()
    assert found
    assert not GONE & set(found)


def test_what_stays_of_them_can_be_asked_for_by_name_and_comes_back_with_the_photo(after: Platform) -> None:
    count = "select count(*) from audited_ground_truth"
    assert after.lake.connect().sql(count).fetchall() == [(PHOTOS // 2 - len(GONE),)]
    assert after.lake.connect().sql(f"{count}_with_gone").fetchall() == [(PHOTOS // 2,)]
    back = [{"folder_key": FOLDERS[0], "image_id": image_id, "rel_path": "x", "path_bytes": b"x"} for image_id in sorted(GONE)]
    rows = after.lake.read(RAW_PHOTOS, folder_key=FOLDERS[0])
    after.lake.replace(RAW_PHOTOS, pl.concat([rows, table_rows(RAW_PHOTOS, back)]), folder_key=FOLDERS[0])
    assert after.lake.read_live(AUDITED_GROUND_TRUTH).height == PHOTOS // 2


def test_gates_count_what_is_there_and_a_deleted_folder_is_no_drift(after: Platform) -> None:
    found = gates.groups_sound(after)
    assert found.passed
    assert found.facts["groups"] == LEFT
    rows = after.lake.read(AUTO_GROUND_TRUTH)
    gone = rows.filter(pl.col("scene") == "scene.food")["image_id"]
    for key in FOLDERS:
        photos = after.lake.read(RAW_PHOTOS, folder_key=key)
        after.lake.replace(RAW_PHOTOS, photos.filter(~pl.col("image_id").is_in(gone.to_list())), folder_key=key)
    after.lake.replace(AUTO_GROUND_TRUTH, rows.filter(pl.col("scene") != "scene.food"))
    assert gates.labels_not_drifted(after).facts["total variation distance"] == 0.0


def test_a_label_qualifies_for_sidecars_by_the_photos_that_are_there(after: Platform) -> None:
    judged = [one.precision for one in qualify(after, Selection("teacher")) if one.precision and one.label.startswith("scene.")]
    assert sum(precision.n for precision in judged) == PHOTOS // 2 - len(GONE)


def test_the_audit_of_itself_is_over_the_photos_that_are_there(after: Platform) -> None:
    log = verdict_log(after)
    at = datetime(2026, 1, 1, tzinfo=UTC).isoformat()
    for number, image_id in enumerate((sorted(GONE)[0], photo_id(1), photo_id(3))):
        labels = Labels(image_id, {"scene": "scene.food"})
        log.append(Verdict(f"v{number}", at, image_id, "anna", "labelled", labels, True, 1000))
    log.close()
    mark_done(after)
    figures = figures_of_audit(after)
    assert figures is not None
    assert dict(figures.people) == {"anna": 2}


def test_a_moved_folder_counts_once(home: Any) -> None:
    platform = open_platform(home)
    lake, old, new = platform.lake, FOLDERS[0], "moved-3"
    folders = lake.read(FOLDER_SET)
    moved = table_rows(FOLDER_SET, [{"folder_key": new, "rel_path": new, "path_bytes": new.encode(), "files": 1}])
    gone_at = pl.when(pl.col("folder_key") == old).then(datetime(2026, 1, 1, tzinfo=UTC)).otherwise("gone_at")
    lake.replace(FOLDER_SET, pl.concat([folders.with_columns(gone_at=gone_at), moved]))
    for table in (RAW_PHOTOS, IMAGE_EMBEDDINGS, PREDICTIONS):
        rows = lake.read(table, folder_key=old).with_columns(folder_key=pl.lit(new))
        if "rel_path" in table.columns:
            rows = rows.with_columns(pl.col("rel_path").str.replace(old, new))
        lake.replace(table, rows, folder_key=new)
    ask = lake.connect().sql
    for name in ("raw_photos", "predictions", "image_embeddings", "photo_groups"):
        assert ask(f"select count(*), count(distinct image_id) from {name}").fetchall() == [(PHOTOS, PHOTOS)], name
    assert ask("select count(*) from raw_photos_with_gone").fetchall() == [(PHOTOS + PHOTOS // 2,)]
    assert set(photo_folders(platform).values()) == {FOLDERS[1], new}
    assert {name: rows.num_rows for name, rows in warehouse_tables(platform).items() if name in ("photos", "predictions")} == {
        "photos": PHOTOS, "predictions": PHOTOS,
    }  # fmt: skip
    file = lake.read(RAW_PHOTOS, folder_key=new).head(1)
    lake.replace(RAW_PHOTOS, lake.read(RAW_PHOTOS, folder_key=new).tail(-1), folder_key=new)
    other = file.with_columns(folder_key=pl.lit(FOLDERS[1]))
    lake.replace(RAW_PHOTOS, pl.concat([lake.read(RAW_PHOTOS, folder_key=FOLDERS[1]), other]), folder_key=FOLDERS[1])
    assert lake.read_live(PREDICTIONS).height == PHOTOS - 1, "a photo that moved to another folder counts there, once it is predicted there"
    assert lake.read_live(PHOTO_GROUPS).height == PHOTOS


def test_a_photo_that_lies_in_two_folders_is_answered_once(home: Any) -> None:
    platform = open_platform(home)
    for table in (RAW_PHOTOS, PREDICTIONS):
        copy = platform.lake.read(table, folder_key=FOLDERS[0]).sort("image_id").head(1).with_columns(folder_key=pl.lit(FOLDERS[1]))
        platform.lake.replace(table, pl.concat([platform.lake.read(table, folder_key=FOLDERS[1]), copy]), folder_key=FOLDERS[1])
    assert platform.lake.read_live(PREDICTIONS).height == PHOTOS + 1
    said = re.findall(r"<td>[^<]* (\d+)</td></tr>", who_answers(platform).html)
    assert set(said) == {str(PHOTOS)}
