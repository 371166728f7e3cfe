"""The settled audit of an installation: page and file together, at rest while people are at it, out as a file and in again."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from vibe_assets.audit.desk import Desk
from vibe_assets.records import AUDIT_DRAWS, AUDIT_SAMPLE, AUDITED_GROUND_TRUTH, AUTO_GROUND_TRUTH
from vibe_assets.stages.audit import open_desk
from vibe_assets.stages.gates import audited_file_intact
from vibe_assets.stages.platform import Platform
from vibe_assets.stages.truth import (
    accept_audited,
    audited_population,
    audited_version,
    draw_audit_sample,
    export_audited,
    sample_file,
    settle_audit,
)
from vibe_assets.stages.verdicts import mark_done, verdict_log

LATER = timedelta(minutes=5)


def judge(desk: Desk, at: int, *, by: str = "ann", scene: str = "scene.food", **more: object) -> str:
    """Label the photo at a place of the queue; its id."""
    image_id = list(desk.photos)[at]
    labels = {"scene": scene, "attributes": {"has_text": True}, "objects": []}
    said = {"verdict_id": f"{by}-{at:08}-{scene[6:]}", "image_id": image_id, "annotator": by, "act": "label", "labels": labels}
    desk.take({**said, "spent_ms": 5, **more})
    return image_id


def test_nothing_moves_while_people_are_at_it_and_everything_after_a_pause(platform: Platform) -> None:
    assert audited_version(platform) is None
    desk = open_desk(platform)
    judge(desk, 0)
    judge(desk, 1)
    now = datetime.now(UTC)
    assert audited_version(platform, now=now) is None
    first = audited_version(platform, now=now + LATER)
    assert first is not None
    assert settle_audit(platform, now=now + LATER).height == 2
    assert audited_file_intact(platform).passed
    judge(desk, 2)
    mark_done(platform)
    assert audited_version(platform) not in (None, first)
    assert settle_audit(platform).height == 3


def test_the_same_answer_again_and_an_undone_slip_move_nothing(platform: Platform) -> None:
    desk = open_desk(platform)
    image_id = judge(desk, 0)
    mark_done(platform)
    before = audited_version(platform)
    judge(desk, 0, scene="scene.people")  # a slip
    undo = {"verdict_id": "undo-0000-1", "image_id": image_id, "annotator": "ann", "act": "undo"}
    desk.take({**undo, "undoes": desk.held("ann")[image_id].verdict_id, "spent_ms": 0})
    mark_done(platform)
    assert audited_version(platform) == before


def test_a_file_and_the_page_settle_together_and_an_export_comes_back(platform: Platform, tmp_path: Path) -> None:
    accept_audited(platform, sample_file(platform))
    photos = settle_audit(platform).height
    version = audited_version(platform)
    accept_audited(platform, sample_file(platform))
    assert audited_version(platform) == version  # handed in again, nothing new in it
    desk = open_desk(platform)
    image_id = judge(desk, 3, scene="scene.screenshot")
    judge(desk, 3, scene="scene.people", by="ben")
    out = tmp_path / "export.json"
    assert export_audited(platform, out).height == photos  # at once, without a pause
    rows = json.loads(out.read_text())
    (tied,) = [row for row in rows if row["image_id"] == image_id]
    assert (tied["scene"], tied["annotator"]) == ([], "ann + ben")
    assert 0 < tied["inclusion_probability"] <= 1
    tied |= {"scene": ["scene.screenshot"], "annotator": "cleo"}
    out.write_text(json.dumps([tied]))
    lines = len(verdict_log(platform).verdicts())
    accept_audited(platform, out, part=True)
    assert len(verdict_log(platform).verdicts()) == lines + 1
    settled = settle_audit(platform)
    assert settled.height == photos
    assert dict(settled.select("image_id", "scene").iter_rows())[image_id] == "scene.screenshot"
    assert platform.lake.read(AUDITED_GROUND_TRUTH).equals(settled)


def test_an_audited_file_from_before_the_log_still_counts(platform: Platform) -> None:
    file = platform.settings.audited_file
    file.write_text(sample_file(platform).read_text())
    old = audited_version(platform)
    assert settle_audit(platform).height == len(json.loads(file.read_text()))
    desk = open_desk(platform)
    image_id = judge(desk, 0, scene="scene.screenshot")
    assert audited_version(platform) == old
    mark_done(platform)
    assert audited_version(platform) != old
    assert dict(settle_audit(platform).select("image_id", "scene").iter_rows())[image_id] == "scene.screenshot"


def test_a_sample_drawn_again_keeps_what_was_checked_and_says_of_which_photos_figures_speak(platform: Platform) -> None:
    lake = platform.lake
    sample = lake.read(AUDIT_SAMPLE)
    draw_audit_sample(platform)
    draws = lake.read(AUDIT_DRAWS)
    draw_audit_sample(platform)
    assert lake.read(AUDIT_DRAWS).equals(draws), "the same draw once more is no other draw"
    assert audited_population(platform) is None, "nobody checked anything"
    accept_audited(platform, sample_file(platform))
    settled = settle_audit(platform)
    assert settled["inclusion_probability"].is_between(0, 1, closed="right").all()
    known = audited_population(platform)
    assert known is not None
    assert known.new == 0
    assert "photos that the library had" in known.words()
    truth = lake.read(AUTO_GROUND_TRUTH)
    older = draws.filter(draws["image_id"] != truth["image_id"][0])
    lake.replace(AUDIT_DRAWS, older)
    grown = audited_population(platform)
    assert grown is not None
    assert (grown.photos, grown.new) == (known.photos - 1, 1)
    assert "`vibe sample`" in grown.words()
    assert sample.height
