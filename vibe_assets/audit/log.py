"""Verdicts go in and are on disk when `append` returns; what every writer of the folder kept comes out in order of time.

The rules are the teacher's journal's: one file per writing process, whole lines, synced, torn lines passed over.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from vibe_assets.audit.settle import moment
from vibe_assets.audit.verdicts import Verdict
from vibe_assets.teacher.failures import TeacherError
from vibe_assets.teacher.journal import Journal


class AuditError(RuntimeError):
    """The audit cannot go on; the message says why and what to do."""


class VerdictLog:
    """Append-only log of verdicts: `folder` holds one JSONL file per writing process, readers see all of them.

    Nothing is created before the first append. Threads share one VerdictLog; processes open one each.
    """

    def __init__(self, folder: Path, *, writer: str | None = None) -> None:
        """`writer` names this process' file; drawn at random by default, so that no two ever share one."""
        self.folder = Path(folder)
        self._journal = Journal(self.folder, writer or f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{os.getpid()}-{secrets.token_hex(3)}")

    def append(self, verdict: Verdict) -> None:
        """Keep one verdict: when this returns, it is on disk. Raises AuditError."""
        self.append_many([verdict])

    def append_many(self, verdicts: Iterable[Verdict]) -> None:
        """Keep several with one sync. Raises AuditError when the disk is full or cannot be written."""
        try:
            self._journal.append_many(verdict.line() for verdict in verdicts)
        except TeacherError as error:
            raise AuditError(f"verdict not kept: {error}") from error

    def verdicts(self) -> list[Verdict]:
        """Every intact verdict of every writer, oldest first, each id once; lines that are no verdicts are passed over."""
        found: dict[str, Verdict] = {}
        for line in self._journal.records():
            try:
                verdict = Verdict.from_line(line)
                moment(verdict)
            except ValueError:
                continue  # torn and patched up, or another tool's line
            found.setdefault(verdict.verdict_id, verdict)
        return sorted(found.values(), key=moment)

    def close(self) -> None:
        """Let go of the file; a later append opens it again."""
        self._journal.close()
