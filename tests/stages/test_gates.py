"""Each gate on the library's data passes on sound rows, and names the numbers of the fault that was planted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.stages.rows import FOLDERS, PHOTOS, damage, first_row_twice, in_first_row, open_platform, photo_id, without_first_row
from vibe_assets.records import (
    ANNOTATIONS,
    AUDIT_SAMPLE,
    AUDITED_GROUND_TRUTH,
    AUTO_GROUND_TRUTH,
    IMAGE_EMBEDDINGS,
    PHOTO_GROUPS,
    PREDICTIONS,
    RAW_PHOTOS,
    Table,
)
from vibe_assets.stages import gates
from vibe_assets.stages.gates import Gate
from vibe_assets.stages.platform import Platform

KEY = FOLDERS[0]
IN_FOLDER = PHOTOS // 2
Change = Callable[[pl.DataFrame], pl.DataFrame]
OF_A_FOLDER = [
    gates.photos_listed_once,
    gates.photos_readable,
    gates.nothing_rejected,
    gates.folder_annotated,
    gates.from_current_teacher,
    gates.vectors_sound,
    gates.predictions_sound,
]
OF_THE_LIBRARY = [
    gates.library_readable,
    gates.library_annotated,
    gates.groups_sound,
    gates.one_teacher_only,
    gates.known_labels_only,
    gates.labels_not_drifted,
    gates.sample_sound,
    gates.audited_file_intact,
]


def judged(gate: Callable[..., Gate], platform: Platform) -> Gate:
    return gate(platform, KEY) if gate in OF_A_FOLDER else gate(platform)


@pytest.mark.parametrize("gate", [*OF_A_FOLDER, *OF_THE_LIBRARY], ids=lambda gate: gate.__name__)
def test_every_gate_passes_on_sound_data(platform: Platform, gate: Callable[..., Gate]) -> None:
    found = judged(gate, platform)
    assert found.passed, found
    assert found.facts


def rejected(count: int, reason: str = "corrupt") -> Change:
    """The first rows turned into rejects."""
    first = pl.int_range(pl.len()) < count
    return lambda rows: rows.with_columns(reason=pl.when(first).then(pl.lit(reason)), image_id=pl.when(~first).then(pl.col("image_id")))


def failed(count: int, reason: str = "refused") -> Change:
    return lambda rows: rows.with_columns(reason=pl.when(pl.int_range(pl.len()) < count).then(pl.lit(reason)))


def without_first_rows(count: int) -> Change:
    return lambda rows: rows.filter(pl.int_range(pl.len()) >= count)


def scaled(rows: pl.DataFrame) -> pl.DataFrame:
    long = pl.col("embedding").list.eval(pl.element() * 1.01)
    return rows.with_columns(embedding=pl.when(pl.int_range(pl.len()) < 2).then(long).otherwise(pl.col("embedding")))


def other_group(rows: pl.DataFrame) -> pl.DataFrame:
    """Two photos of different splits in one group."""
    assert rows["split"][0] != rows["split"][3]
    return rows.with_columns(group_id=pl.when(pl.int_range(pl.len()) == 3).then(pl.lit(rows["group_id"][0])).otherwise(pl.col("group_id")))


def as_people(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(scene=pl.lit("scene.people"))


FAULTS: list[tuple[Callable[..., Gate], Table, Change, dict[str, Any]]] = [
    (gates.photos_readable, RAW_PHOTOS, rejected(41), {"photos": IN_FOLDER, "readable": IN_FOLDER - 41, "readable share": 39 / 80}),
    (gates.photos_listed_once, RAW_PHOTOS, first_row_twice, {"paths listed twice": 1}),
    (gates.photos_listed_once, RAW_PHOTOS, in_first_row(image_id=None), {"without id": 1}),
    (gates.nothing_rejected, RAW_PHOTOS, rejected(1), {"rejected": 1, "files": {f"{KEY}/0.jpg": "corrupt"}}),
    (gates.groups_sound, PHOTO_GROUPS, other_group, {"groups across splits": 1}),
    (gates.groups_sound, PHOTO_GROUPS, without_first_row, {"photos without a group": 1}),
    (gates.groups_sound, PHOTO_GROUPS, first_row_twice, {"photos twice": 1}),
    (gates.folder_annotated, ANNOTATIONS, failed(17), {"answered": IN_FOLDER - 17, "coverage": 63 / 80, "reasons": {"refused": 17}}),
    (gates.folder_annotated, ANNOTATIONS, failed(17, "not_asked"), {"coverage": 63 / 80, "failure share": 0.0}),
    (gates.library_annotated, ANNOTATIONS, failed(33), {"answered": PHOTOS - 33, "reasons": {"refused": 33}}),
    (gates.library_annotated, ANNOTATIONS, without_first_rows(33), {"answered": PHOTOS - 33, "failure share": 0.0}),
    (gates.from_current_teacher, ANNOTATIONS, in_first_row(teacher="f" * 16), {}),
    (gates.one_teacher_only, AUTO_GROUND_TRUTH, in_first_row(teacher="f" * 16), {}),
    (gates.known_labels_only, AUTO_GROUND_TRUTH, in_first_row(scene="scene.sauna"), {"unknown": ["scene.sauna"]}),
    (gates.known_labels_only, AUTO_GROUND_TRUTH, in_first_row(objects=["object.food", "object.ufo"]), {"unknown": ["object.ufo"]}),
    (gates.labels_not_drifted, AUTO_GROUND_TRUTH, as_people, {"allowed at most": 0.1}),
    (gates.sample_sound, AUDIT_SAMPLE, first_row_twice, {"photos twice": 1, "groups drawn twice": 1}),
    (gates.sample_sound, AUDIT_SAMPLE, in_first_row(inclusion_probability=0.0), {"probabilities outside (0, 1]": 1}),
    (gates.sample_sound, AUDIT_SAMPLE, in_first_row(inclusion_probability=1.5), {"probabilities outside (0, 1]": 1}),
    (gates.sample_sound, AUDIT_SAMPLE, in_first_row(inclusion_probability=float("nan")), {"probabilities outside (0, 1]": 1}),
    (gates.sample_sound, AUDIT_SAMPLE, in_first_row(inclusion_probability=None), {"probabilities outside (0, 1]": 1}),
    (gates.sample_sound, AUDIT_SAMPLE, lambda rows: rows.clear(), {"photos": 0}),
    (gates.audited_file_intact, AUDITED_GROUND_TRUTH, in_first_row(scene="scene.sauna"), {"unknown labels": ["scene.sauna"]}),
    (gates.audited_file_intact, AUDITED_GROUND_TRUTH, first_row_twice, {"photos twice": 1}),
    (gates.audited_file_intact, AUDITED_GROUND_TRUTH, lambda rows: rows.clear(), {"photos": 0}),
    (gates.vectors_sound, IMAGE_EMBEDDINGS, scaled, {"not finite or not unit": 2}),
    (gates.vectors_sound, IMAGE_EMBEDDINGS, in_first_row(embedding=[float("nan")] * 12), {"not finite or not unit": 1}),
    (gates.vectors_sound, IMAGE_EMBEDDINGS, in_first_row(embedding=[1.0, 0.0]), {}),
    (gates.vectors_sound, IMAGE_EMBEDDINGS, without_first_row, {"missing": 1}),
    (gates.vectors_sound, IMAGE_EMBEDDINGS, in_first_row(encoder="e-2"), {"encoders": ["e-1", "e-2"]}),
    (gates.predictions_sound, PREDICTIONS, without_first_row, {"missing": 1}),
    (gates.predictions_sound, PREDICTIONS, in_first_row(scene="scene.sauna"), {"unknown labels": ["scene.sauna"]}),
    (gates.predictions_sound, PREDICTIONS, in_first_row(scene_confidence=1.2), {"confidences outside 0..1": 1}),
    (gates.predictions_sound, PREDICTIONS, in_first_row(scene_confidence=float("nan")), {"confidences outside 0..1": 1}),
    (gates.predictions_sound, PREDICTIONS, in_first_row(has_text_confidence=-0.1), {"confidences outside 0..1": 1}),
    (gates.predictions_sound, PREDICTIONS, in_first_row(scene_confidence=None), {"rule breaks": {"scene without confidence": 1}}),
    (
        gates.predictions_sound,
        PREDICTIONS,
        in_first_row(scene="scene.food", is_document=True),
        {"rule breaks": {"is_document without scene.document": 1}},
    ),
    (
        gates.predictions_sound,
        PREDICTIONS,
        in_first_row(scene=None, is_screenshot=True),
        {"rule breaks": {"is_screenshot without scene.screenshot": 1}},
    ),
    (gates.predictions_sound, PREDICTIONS, first_row_twice, {"photos twice": 1}),
]


@pytest.mark.parametrize(("gate", "table", "change", "facts"), FAULTS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_planted_fault_shuts_the_gate_and_is_named(
    platform: Platform, gate: Callable[..., Gate], table: Table, change: Change, facts: dict[str, Any]
) -> None:
    damage(platform, table, change)
    found = judged(gate, platform)
    assert not found.passed, found
    assert {name: found.facts[name] for name in facts} == facts
    assert found.remedy


def test_a_mixture_of_teachers_is_counted(platform: Platform) -> None:
    damage(platform, AUTO_GROUND_TRUTH, in_first_row(teacher="f" * 16))
    facts = gates.one_teacher_only(platform).facts
    assert facts["photos by teacher"] == {facts["current"]: PHOTOS - 1, "f" * 16: 1}


def test_an_audit_of_a_photo_that_never_was_in_the_library_is_named(platform: Platform) -> None:
    rows = platform.lake.read(AUDITED_GROUND_TRUTH)
    damage(platform, RAW_PHOTOS, lambda rows: rows.filter(pl.col("image_id") != photo_id(0)))
    damage(platform, AUDIT_SAMPLE, without_first_row)
    assert rows["image_id"][0] == photo_id(0)
    assert gates.audited_file_intact(platform).passed  # it was in the library when it was audited


def test_files_that_are_no_photos_and_deleted_ones_do_not_count_against_a_folder(platform: Platform) -> None:
    damage(platform, RAW_PHOTOS, rejected(40, "unsupported_format"))
    assert gates.photos_readable(platform, KEY).facts["photos"] == IN_FOLDER - 40
    assert gates.photos_readable(platform, KEY).passed
    assert gates.nothing_rejected(platform, KEY).passed


@pytest.mark.parametrize(("gate", "table"), [(gates.photos_readable, RAW_PHOTOS), (gates.folder_annotated, ANNOTATIONS)])
def test_the_threshold_of_the_settings_decides(home: Path, gate: Callable[..., Gate], table: Table) -> None:
    lenient = open_platform(home, gates={"min_readable_share": 0.5, "min_annotated_share": 0.5, "max_failure_share": 0.5})
    damage(lenient, table, (rejected if table is RAW_PHOTOS else failed)(30))
    assert gate(lenient, KEY).passed
    strict = open_platform(home, gates={"min_readable_share": 0.9, "min_annotated_share": 0.9, "max_failure_share": 0.1})
    assert not gate(strict, KEY).passed


def test_a_library_of_which_too_little_is_readable_shuts_the_gate(home: Path) -> None:
    strict = open_platform(home, gates={"min_readable_share": 0.9})
    damage(strict, RAW_PHOTOS, rejected(17))
    found = gates.library_readable(strict)
    assert not found.passed
    assert found.facts == {"photos": PHOTOS, "readable": PHOTOS - 17, "readable share": 143 / 160, "wanted at least": 0.9}


def test_a_bad_folder_is_not_a_bad_library(platform: Platform) -> None:
    """Two photos of a folder of three are no reason to stop hundreds of others."""
    damage(platform, ANNOTATIONS, failed(20))
    assert not gates.folder_annotated(platform, KEY).passed
    assert gates.library_annotated(platform).passed
    damage(platform, RAW_PHOTOS, rejected(60))
    assert not gates.photos_readable(platform, KEY).passed
    assert gates.library_readable(platform).passed


def test_photos_that_cannot_be_embedded_are_rows_with_a_reason_and_hold_up_nobody(platform: Platform) -> None:
    damage(platform, IMAGE_EMBEDDINGS, lambda rows: in_first_row(embedding=None)(in_first_row(reason="unreadable_photo")(rows)))
    assert gates.vectors_sound(platform, KEY).passed


def test_the_first_version_of_the_labels_has_drifted_from_nothing(platform: Platform) -> None:
    assert "first version" in gates.labels_not_drifted(platform).facts["note"]


def test_the_same_labels_again_have_not_drifted(platform: Platform) -> None:
    damage(platform, AUTO_GROUND_TRUTH, lambda rows: rows)
    found = gates.labels_not_drifted(platform)
    assert found.passed
    assert found.facts["total variation distance"] == 0


def test_without_an_audit_the_gate_opens_only_where_the_settings_allow_it(home: Path) -> None:
    relaxed = open_platform(home, gates={"require_audit": False})
    damage(relaxed, AUDITED_GROUND_TRUTH, lambda rows: rows.clear())
    assert gates.audited_file_intact(relaxed).passed
    assert not gates.audited_file_intact(open_platform(home)).passed


@pytest.mark.parametrize("gate", OF_A_FOLDER, ids=lambda gate: gate.__name__)
def test_a_folder_without_photos_shuts_no_gate(platform: Platform, gate: Callable[..., Gate]) -> None:
    for table in (RAW_PHOTOS, ANNOTATIONS, IMAGE_EMBEDDINGS, PREDICTIONS):
        damage(platform, table, lambda rows: rows.clear())
    assert gate(platform, KEY).passed
