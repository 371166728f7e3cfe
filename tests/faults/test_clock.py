"""The clock steps backwards: what was said, chosen or answered last still counts last, and nothing waits for the clock to catch up."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.questions import PACKAGED
from vibe_assets.audit.desk import Desk, DeskPhoto
from vibe_assets.audit.log import VerdictLog
from vibe_assets.audit.settle import settled_part, truth_rows
from vibe_assets.teacher.journal import Journal
from vibe_assets.triage import choices
from vibe_assets.triage.choices import Choice, ChoiceLog

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
PHOTO = DeskPhoto("0" * 32, b"/nowhere.jpg", "nowhere.jpg", 4, 3, 0.5)
HOUR = timedelta(hours=1)


def desk(folder: Path) -> Desk:
    """A fresh process' desk on the same log."""
    return Desk([PHOTO], PACKAGED, VerdictLog(folder, PACKAGED), blind_share=0.0, seed=1)


def say(at: Desk, scene: str, now: datetime, number: int) -> str:
    said = {"verdict_id": f"verdict-{number}", "image_id": PHOTO.image_id, "annotator": "ann", "spent_ms": 1, "act": "label"}
    return at.take({**said, "labels": {"scene": scene}}, now=now).verdict_id


def scene_in_force(folder: Path) -> str | None:
    rows = truth_rows(VerdictLog(folder, PACKAGED).verdicts(), PACKAGED)
    return rows["scene"].item() if rows.height else None


@pytest.mark.parametrize("restarted", [False, True])
def test_a_correction_after_a_step_backwards_counts(tmp_path: Path, restarted: bool) -> None:
    first = desk(tmp_path)
    say(first, "scene.food", NOON, 1)
    second = desk(tmp_path) if restarted else first
    say(second, "scene.people", NOON - HOUR, 2)
    assert scene_in_force(tmp_path) == "scene.people"
    assert second.held("ann")[PHOTO.image_id].verdict_id == "verdict-2"
    second.take(
        {"verdict_id": "verdict-3", "image_id": PHOTO.image_id, "annotator": "ann", "spent_ms": 1, "act": "undo", "undoes": "verdict-2"},
        now=NOON - 2 * HOUR,
    )
    assert scene_in_force(tmp_path) == "scene.food"
    assert [verdict.verdict_id for verdict in VerdictLog(tmp_path, PACKAGED).verdicts()] == ["verdict-1", "verdict-2", "verdict-3"]


def test_verdicts_from_before_a_step_backwards_are_not_waited_for(tmp_path: Path) -> None:
    say(desk(tmp_path), "scene.food", NOON, 1)
    log = VerdictLog(tmp_path, PACKAGED)
    verdicts = log.verdicts()
    assert settled_part(verdicts, now=NOON - 24 * HOUR, quiet_s=60) == verdicts
    assert settled_part(verdicts, now=NOON + timedelta(seconds=5), quiet_s=60) == []
    done = log.next_moment(NOON - timedelta(seconds=5))
    assert settled_part(verdicts, now=NOON - timedelta(seconds=5), quiet_s=60, done_at=done) == verdicts


def test_a_choice_after_a_step_backwards_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            return moments.pop(0)

    moments = [NOON, NOON - HOUR, NOON - 2 * HOUR]
    log = ChoiceLog(tmp_path, writer="page")
    monkeypatch.setattr(choices, "datetime", Clock)
    for winners, kind in ((("a",), "pick"), (("b",), "pick")):
        log.append(Choice.now("series", ("a", "b"), winners, kind, "ann"))
    assert log.standing()["series", "ann"].winners == ("b",)
    log.append(Choice.now("series", ("a", "b"), (), "undo", "ann"))
    assert log.standing()["series", "ann"].winners == ("a",)


def test_an_answer_after_a_step_backwards_replaces_the_failure_before_it(tmp_path: Path) -> None:
    with Journal(tmp_path, "w") as journal:
        journal.append({"image_id": "1", "annotation": None, "reason": "timeout", "at": NOON.isoformat()})
        journal.append({"image_id": "1", "annotation": {"scene": "food"}, "at": (NOON - HOUR).isoformat()})
    assert journal.known()["1"]["annotation"] == {"scene": "food"}
