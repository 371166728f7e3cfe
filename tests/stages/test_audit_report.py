"""The teacher's report says how the audit itself went, once people have judged photos on the page."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

from tests.stages.rows import photo_id, scene_of
from tests.support.questions import ATTRIBUTES
from vibe_assets.audit.verdicts import Verdict
from vibe_assets.records import AUDIT_SAMPLE, Labels
from vibe_assets.stages.audit_report import figures_of_audit
from vibe_assets.stages.reports import report_teacher
from vibe_assets.stages.verdicts import verdict_log

AT = datetime(2026, 1, 1, tzinfo=UTC).isoformat()


def judge(platform, photos, people=("ana", "ben")):
    """Verdicts of two people; ana sees every other photo pre-filled and is faster there."""
    verdicts = []
    for at in photos:
        for person in people:
            blind = person == "ben" or at % 2 == 0
            labels = Labels(photo_id(at), {"scene": scene_of(at), **dict.fromkeys(ATTRIBUTES, at % 3 == 0)})
            act, spent_ms = ("labelled", 4000) if blind else ("accepted", 2000)
            verdicts.append(Verdict(uuid.uuid4().hex, AT, photo_id(at), person, act, labels, blind, spent_ms, shown={"view": "all"}))
    log = verdict_log(platform)
    log.append_many(verdicts)
    log.close()


def test_a_report_without_verdicts_has_no_such_section(platform):
    assert figures_of_audit(platform) is None
    report = report_teacher(platform)
    assert 'id="audit"' not in report.path.read_text(encoding="utf-8")


def test_the_report_has_the_section_and_its_markdown(platform):
    judge(platform, range(40))
    figures = figures_of_audit(platform)
    assert figures.people == {"ana": 40, "ben": 40}
    assert figures.alpha[0].estimate.value == 1.0
    assert figures.left == len(set(platform.lake.read(AUDIT_SAMPLE)["image_id"]) - {photo_id(at) for at in range(40)})
    report = report_teacher(platform)
    page = report.path.read_text(encoding="utf-8")
    assert '<section id="audit">' in page
    assert "2 people labelled 40 photos" in page
    assert "2 people labelled 40 photos" in report.tables["the audit itself"]
