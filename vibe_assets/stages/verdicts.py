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
    that says no more but leaves out a question: a file of before there was that question takes no answer to it away. A row that only
    answers a question that was open so far speaks of that one, and of what its person said before: other answers stay as they were given.
    """
    log, questions = verdict_log(platform), platform.questions
    said = log.verdicts()
    settled = {row["image_id"]: row for row in truth_rows(said, questions).iter_rows(named=True)}
    own = {(verdict.image_id, verdict.annotator): verdict.labels for verdict in said}
    sample = platform.lake.read(AUDIT_SAMPLE)
    filled = {row["image_id"]: Labels.from_row(row, questions.columns) for row in sample.iter_rows(named=True)}
    recorded = {"inclusion_probability": None} if platform.lake.exists(AUDIT_DRAWS) else {}  # the chance is known without the file
    now = log.next_moment(datetime.now(UTC)).isoformat()
    verdicts = []
    for row in rows.iter_rows(named=True):
        unsaid = recorded if row["annotator"] else {**recorded, "annotator": None}  # a sample as it was written names nobody
        row["annotator"] = row["annotator"] or UNNAMED
        asked = [name for name in questions.columns if name not in (row["unasked"] or ())]
        if row["image_id"] in settled:
            first = _asked_first(row, settled[row["image_id"]], questions)
            if _else_the_same(row, settled[row["image_id"]], {**unsaid, **dict.fromkeys(first)}):
                if not first:
                    continue
                before = own.get((row["image_id"], row["annotator"]))
                asked = [name for name in asked if name in first or (before is not None and name in before.values)]
        labels = Labels.from_row(row, asked)
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


def _asked_first(row: Mapping[str, Any], settled: Mapping[str, Any], questions: Questions) -> list[str]:
    """Columns of questions that a file's row answers and nobody was asked so far; "unknown" is an answer, too."""
    answered = set(unasked_questions(settled, questions)) - set(unasked_questions(row, questions))
    return [field.name for key in answered for field in questions[key].fields]


def _else_the_same(row: Mapping[str, Any], settled: Mapping[str, Any], apart: Mapping[str, Any]) -> bool:
    """Whether a file's row says what is settled already, as far as it speaks of it, but for some columns."""
    apart = {**apart, **dict.fromkeys([*(row["unasked"] or ()), "unasked"])}
    return {**row, **apart} == {**settled, **apart}


def _done_file(platform: Platform) -> Path:
    return platform.settings.audit_dir / "done"
