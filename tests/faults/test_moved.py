"""A log that is deleted, moved or replaced under its writer: what was acknowledged is in the file that readers find."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.faults import writers
from tests.support.questions import PACKAGED
from vibe_assets.audit.log import VerdictLog
from vibe_assets.heads.models import HeadError
from vibe_assets.heads.store import Deployments, save_head
from vibe_assets.teacher.failures import TeacherError
from vibe_assets.teacher.journal import Journal
from vibe_assets.triage.choices import Choice, ChoiceLog


def choice(number: int) -> Choice:
    return Choice(f"id-{number}", f"series-{number}", ("a", "b"), ("a",), "pick", "ann", writers.AT.isoformat())


def journal_of(folder: Path) -> tuple[Callable[[int], object], Callable[[], set[str]]]:
    journal = Journal(folder, "w")
    return lambda n: journal.append({"image_id": f"id-{n}", "annotation": {}, "at": ""}), lambda: set(Journal(folder, "r").known())


def verdicts_of(folder: Path) -> tuple[Callable[[int], object], Callable[[], set[str]]]:
    log = VerdictLog(folder, PACKAGED, writer="w")
    return lambda n: log.append(writers.said(f"id-{n}", second=n)), lambda: {
        one.verdict_id for one in VerdictLog(folder, PACKAGED).verdicts()
    }


def choices_of(folder: Path) -> tuple[Callable[[int], object], Callable[[], set[str]]]:
    log = ChoiceLog(folder, writer="w")
    return lambda n: log.append(choice(n)), lambda: {one.choice_id for one in ChoiceLog(folder).choices()}


def delete(file: Path) -> None:
    file.unlink()


def delete_the_folder(file: Path) -> None:
    shutil.rmtree(file.parent)


def move(file: Path) -> None:
    file.rename(file.with_name("elsewhere.txt"))


def restore_an_older_copy(file: Path) -> None:
    old = file.with_name("copy")
    old.write_bytes(file.read_bytes().splitlines(keepends=True)[0])
    old.replace(file)


@pytest.mark.parametrize("harm", [delete, delete_the_folder, move, restore_an_older_copy], ids=lambda harm: harm.__name__)
@pytest.mark.parametrize("log", [journal_of, verdicts_of, choices_of], ids=lambda log: log.__name__)
def test_a_log_that_was_moved_under_its_writer_is_written_anew_with_all_that_was_acknowledged(
    tmp_path: Path, log: Callable[[Path], Any], harm: Callable[[Path], None]
) -> None:
    append, known = log(tmp_path / "log")
    append(1)
    append(2)
    harm(tmp_path / "log" / "w.jsonl")
    append(3)
    assert known() == {"id-1", "id-2", "id-3"}
    append(4)
    assert known() == {"id-1", "id-2", "id-3", "id-4"}


def test_a_log_that_never_stays_refuses_to_acknowledge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal, sync = Journal(tmp_path, "w"), os.fsync

    def sync_and_lose(descriptor: int) -> None:
        sync(descriptor)
        (tmp_path / "w.jsonl").unlink(missing_ok=True)

    monkeypatch.setattr(os, "fsync", sync_and_lose)
    with pytest.raises(TeacherError, match=r"w\.jsonl was deleted or replaced 5 times while it was written to; stop what does that"):
        journal.append({"image_id": "1", "annotation": {}, "at": ""})


def test_a_deployment_into_a_log_that_was_replaced_is_refused_and_the_next_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for head in writers.HEADS:
        save_head(head, tmp_path)
    log, sync = Deployments(tmp_path), os.fsync
    log.deploy("scene", writers.HEADS[0].version, at="")

    def sync_and_replace(descriptor: int) -> None:
        sync(descriptor)
        shutil.copy(log.path, tmp_path / "copy")
        (tmp_path / "copy").replace(log.path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", sync_and_replace)
        with pytest.raises(HeadError, match=r"deployments\.jsonl: the file was deleted or replaced .*; the heads in force stay: stop what"):
            log.deploy("scene", writers.HEADS[1].version, at="")
    log.deploy("scene", writers.HEADS[1].version, at="")
    assert log.current()["scene"] == writers.HEADS[1].version
