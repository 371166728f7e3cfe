"""Verdicts go in and are on disk when `append` returns; what every writer of the folder kept comes out in order of time.

The rules are the teacher's journal's: one file per writing process, whole lines, synced, torn lines passed over.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from vibe_assets.audit.settle import moment
from vibe_assets.audit.verdicts import Verdict
from vibe_assets.errors import UserError
from vibe_assets.storage import Place
from vibe_assets.teacher.failures import TeacherError
from vibe_assets.teacher.journal import Journal

if TYPE_CHECKING:
    from vibe_assets.questions import Questions


def read_verdict(line: dict[str, Any]) -> Verdict:
    """The verdict of a journal's record. Raises ValueError for one that is none, or has no time."""
    verdict = Verdict.from_line(line)
    moment(verdict)
    return verdict


class AuditError(UserError, RuntimeError):
    """The audit cannot go on; the message says why and what to do."""


class VerdictLog:
    """Append-only log of verdicts: `folder` holds one JSONL file per writing process, readers see all of them.

    Nothing is created before the first append. Threads share one VerdictLog; processes open one each.
    """

    def __init__(self, folder: Place, questions: Questions, *, writer: str | None = None) -> None:
        """`questions`: what is said of each photo. `writer` names this process' file; drawn at random by default: no two share one."""
        self.folder, self.questions = folder, questions
        self._newest: datetime | None = None  # of all verdicts seen, whoever wrote them
        self._journal = Journal(self.folder, writer or f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{os.getpid()}-{secrets.token_hex(3)}")

    def append(self, verdict: Verdict) -> None:
        """Keep one verdict: when this returns, it is on disk. Raises AuditError."""
        self.append_many([verdict])

    def append_many(self, verdicts: Iterable[Verdict]) -> None:
        """Keep several with one sync. Raises AuditError when the disk is full or cannot be written."""
        verdicts = list(verdicts)
        try:
            self._journal.append_many(verdict.line(self.questions) for verdict in verdicts)
        except TeacherError as error:
            raise AuditError(f"verdict not kept: {error}") from error
        self._saw(verdicts)

    def next_moment(self, now: datetime) -> datetime:
        """`now`, or just after the newest verdict of the log where the clock went back: what is said later has to stand later."""
        if self._newest is None:
            self.verdicts()
        return now if self._newest is None or now > self._newest else self._newest + timedelta(microseconds=1)

    def verdicts(self) -> list[Verdict]:
        """Every intact verdict of every writer, oldest first, each id once; lines that are no verdicts are passed over."""
        found: dict[str, Verdict] = {}
        for line in self._journal.records():
            try:
                verdict = read_verdict(line)
            except ValueError:
                continue  # torn and patched up, or another tool's line; `vibe doctor` counts them
            found.setdefault(verdict.verdict_id, verdict)
        ordered = sorted(found.values(), key=moment)
        self._saw(ordered[-1:])
        return ordered

    def _saw(self, verdicts: Iterable[Verdict]) -> None:
        self._newest = max([moment(verdict) for verdict in verdicts] + ([self._newest] if self._newest else []), default=None)

    def close(self) -> None:
        """Let go of the file; a later append opens it again."""
        self._journal.close()
