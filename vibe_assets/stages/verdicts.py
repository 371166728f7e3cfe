"""The verdict log of an installation, and what of it counts now: the part that people have finished with, settled per photo."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from vibe_assets.audit.log import VerdictLog
from vibe_assets.audit.settle import settled_part, truth_rows
from vibe_assets.audit.verdicts import Act, Verdict
from vibe_assets.records import AUDIT_DRAWS, AUDIT_SAMPLE, Labels
from vibe_assets.records.answers import unasked_questions
from vibe_assets.stages.platform import Platform

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import polars as pl

    from vibe_assets.questions import Questions

UNNAMED = "file"  # who said it, where an accepted file names nobody


def verdict_log(platform: Platform) -> VerdictLog:
    """The log in `audit/verdicts/`, or where `library.journal` says; every process opens its own."""
    return VerdictLog(platform.settings.verdicts_dir, platform.questions)


def counted_verdicts(platform: Platform, *, now: datetime | None = None) -> list[Verdict]:
    """The verdicts that count: up to the last pause of `audit.settle_after_s`, or up to the last Done. Oldest first."""
    return settled_part(
        verdict_log(platform).verdicts(),
        now=now or datetime.now(UTC),
        quiet_s=platform.settings.audit.settle_after_s,
        done_at=done_at(platform),
    )


def mark_done(platform: Platform, now: datetime | None = None) -> datetime:
    """All that was said up to now counts, without waiting for a pause."""
    from vibe_assets.lake import write_text

    at = verdict_log(platform).next_moment(now or datetime.now(UTC))
    write_text(_done_file(platform), f"{at.isoformat()}\n")
    return at


def done_at(platform: Platform) -> datetime | None:
    """When somebody last said Done; None before the first time."""
    path = _done_file(platform)
    try:
        return datetime.fromisoformat(path.read_text(encoding="utf-8").strip())
    except (FileNotFoundError, ValueError):
        return None


def log_file_rows(platform: Platform, rows: pl.DataFrame, *, file: str) -> int:
    """Keep AUDITED_GROUND_TRUTH rows of an accepted file as verdicts; how many said something new.

    A row that says what is settled already is left out: exporting, correcting three photos and handing in logs three verdicts. So is one
    that says no more but leaves out a question: a file of before there was that question takes no answer to it away.
    """
    log, questions = verdict_log(platform), platform.questions
    settled = {row["image_id"]: row for row in truth_rows(log.verdicts(), questions).iter_rows(named=True)}
    sample = platform.lake.read(AUDIT_SAMPLE)
    filled = {row["image_id"]: Labels.from_row(row, questions.columns) for row in sample.iter_rows(named=True)}
    recorded = {"inclusion_probability": None} if platform.lake.exists(AUDIT_DRAWS) else {}  # the chance is known without the file
    now = log.next_moment(datetime.now(UTC)).isoformat()
    verdicts = []
    for row in rows.iter_rows(named=True):
        unsaid = recorded if row["annotator"] else {**recorded, "annotator": None}  # a sample as it was written names nobody
        row["annotator"] = row["annotator"] or UNNAMED
        if row["image_id"] in settled and _nothing_new(row, settled[row["image_id"]], unsaid, questions):
            continue
        labels = Labels.from_row(row, [name for name in questions.columns if name not in (row["unasked"] or ())])
        act: Act = "accepted" if labels == filled.get(labels.image_id) else "corrected"
        shown = {"file": file, "inclusion_probability": row["inclusion_probability"]}
        verdicts.append(
            Verdict(
                uuid.uuid4().hex, now, labels.image_id, row["annotator"], act, labels, blind=False, spent_ms=0, shown=shown, source="file"
            )
        )
    log.append_many(verdicts)
    log.close()
    return len(verdicts)


def _nothing_new(row: Mapping[str, Any], settled: Mapping[str, Any], unsaid: Mapping[str, Any], questions: Questions) -> bool:
    """Whether a file's row says what is settled already, as far as it speaks of it; of a question that was open "unknown" is new, too."""
    unsaid = {**unsaid, **dict.fromkeys([*(row["unasked"] or ()), "unasked"])}
    asked_first = set(unasked_questions(settled, questions)) - set(unasked_questions(row, questions))
    return not asked_first and {**row, **unsaid} == {**settled, **unsaid}


def _done_file(platform: Platform) -> Path:
    return platform.settings.audit_dir / "done"
