"""Annotations that were made elsewhere come home, each teacher's apart, and nothing is lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.teacher.conftest import ANNOTATION, always
from vibe_assets.questions import load
from vibe_assets.records import PhotoRef
from vibe_assets.settings import TeacherSettings
from vibe_assets.teacher.annotate import ImportSummary, annotate, import_annotations, teacher_fingerprint
from vibe_assets.teacher.failures import TeacherError
from vibe_assets.teacher.journal import Journal
from vibe_assets.teacher.replay import running_replay


def bring(file: Path, root: Path, **options: Any) -> ImportSummary:
    return import_annotations(file, root, questions=load(), **options)


MINE, OTHER = "a" * 16, "b" * 16


def record(number: int, *, teacher: str | None = MINE, scene: str = "food", **fields: Any) -> dict[str, Any]:
    return {
        "image_id": f"{number:032x}", "server_path": "/gpu/1.jpg", "image_path": "/gpu/1.jpg", "rel_path": "1.jpg",
        "annotation": {**ANNOTATION, "scene": scene}, "teacher": teacher, "latency_s": 1.5, "usage": {"prompt_tokens": 9}, **fields,
    }  # fmt: skip


def write(file: Path, *lines: Any) -> Path:
    file.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return file


def known(root: Path, teacher: str = MINE) -> dict[str, Any]:
    return Journal(root / teacher, "reader").known()


def test_what_a_gpu_machine_answered_is_not_asked_again_at_home(
    library: list[PhotoRef], settings: Callable[..., TeacherSettings], tmp_path: Path
) -> None:
    with running_replay(always) as url, Journal(tmp_path / "gpu", "out") as away:
        annotate(library, settings=settings(url), journal=away, progress=False)
    summary = bring(away.path, tmp_path / "home")
    teacher = teacher_fingerprint(settings("http://elsewhere/v1"))
    assert (summary.kept, summary.by_teacher, summary.rejected_file) == (12, {teacher: 12}, None)
    home = Journal(tmp_path / "home" / teacher, "run")
    assert home.known() == away.known()
    assert len(annotate(library, settings=settings(""), journal=home, progress=False)) == 12


def test_importing_twice_changes_nothing(tmp_path: Path) -> None:
    file = write(tmp_path / "in.jsonl", record(1, scene="other"), record(1, scene="food"), record(2))
    first = bring(file, tmp_path / "j")
    before = (tmp_path / "j" / MINE / "imported.jsonl").read_bytes()
    second = bring(file, tmp_path / "j")
    assert (first.kept, first.duplicates, second.kept, second.duplicates) == (2, 1, 0, 3)
    assert known(tmp_path / "j")[f"{1:032x}"]["annotation"]["scene"] == "food", "the last line of a file is its newest"
    assert (tmp_path / "j" / MINE / "imported.jsonl").read_bytes() == before


def test_the_newest_answer_wins_whichever_way_it_came(tmp_path: Path) -> None:
    with Journal(tmp_path / "j" / MINE, "run") as journal:
        journal.append(record(1, scene="people", at="2026-05-01T00:00:00+00:00"))
    times = (("2026-04-01T00:00:00Z", "people"), ("2026-05-01T02:00:00+01:00", "animals"))
    for at, expected in times:
        bring(write(tmp_path / "in.jsonl", record(1, scene="animals", at=at)), tmp_path / "j")
        assert known(tmp_path / "j")[f"{1:032x}"]["annotation"]["scene"] == expected


def test_teachers_are_kept_apart(tmp_path: Path) -> None:
    file = write(tmp_path / "in.jsonl", record(1), record(1, teacher=OTHER, scene="people"), record(2, teacher=OTHER))
    assert bring(file, tmp_path / "j").by_teacher == {MINE: 1, OTHER: 2}
    assert known(tmp_path / "j")[f"{1:032x}"]["annotation"]["scene"] == "food"
    assert known(tmp_path / "j", OTHER)[f"{1:032x}"]["annotation"]["scene"] == "people"


def test_a_model_name_instead_of_a_fingerprint_needs_someone_to_say_whose_it_is(tmp_path: Path) -> None:
    file = write(tmp_path / "in.jsonl", record(1, teacher="Qwen/Qwen3-VL-32B-Instruct"), record(2, teacher=None), record(3, teacher=OTHER))
    summary = bring(file, tmp_path / "j")
    assert [line.line for line in summary.rejected] == [1, 2]
    assert "as_teacher" in summary.rejected[0].reason
    assert bring(file, tmp_path / "j", as_teacher=MINE).by_teacher == {MINE: 2}
    assert known(tmp_path / "j")[f"{1:032x}"]["model"] == "Qwen/Qwen3-VL-32B-Instruct"
    with pytest.raises(ValueError, match="16 hex"):
        bring(file, tmp_path / "j", as_teacher="../../etc")


def test_rejected_lines_are_set_aside_with_number_reason_and_text(tmp_path: Path) -> None:
    bad = [
        "{not json", "[1, 2]", json.dumps(record(1, image_id="../../x")), json.dumps(record(1, annotation={"objects": []})),
        json.dumps(record(1, annotation="food")), json.dumps(record(1, annotation=None)), json.dumps(record(1, teacher="../up")),
    ]  # fmt: skip
    file = write(tmp_path / "in.jsonl", record(7), "", *bad)
    summary = bring(file, tmp_path / "j", known_ids={"0" * 32})
    assert (summary.kept, summary.unknown_photos, len(summary.rejected)) == (1, 1, len(bad))
    assert [line.line for line in summary.rejected] == list(range(3, 3 + len(bad)))
    assert summary.rejected_file is not None
    aside = [json.loads(line) for line in summary.rejected_file.read_text().splitlines()]
    assert [line["text"] for line in aside] == bad
    assert all(line["reason"] for line in aside)
    assert "1 records kept" in str(summary)
    assert f"line 3: {summary.rejected[0].reason}" in str(summary)
    assert sorted(path.name for path in (tmp_path / "j").iterdir()) == sorted([MINE, summary.rejected_file.name])


def test_failures_come_home_too_but_never_over_an_answer(tmp_path: Path) -> None:
    failed = record(1, annotation=None, reason="timeout", detail="no answer", at="2999-01-01T00:00:00+00:00")
    assert bring(write(tmp_path / "in.jsonl", failed), tmp_path / "j").failures == 1
    bring(write(tmp_path / "in.jsonl", record(1)), tmp_path / "j")
    assert bring(write(tmp_path / "in.jsonl", failed), tmp_path / "j").kept == 0
    assert known(tmp_path / "j")[f"{1:032x}"]["annotation"]["scene"] == "food"


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TeacherError, match=r"absent\.jsonl"):
        bring(tmp_path / "absent.jsonl", tmp_path / "j")
