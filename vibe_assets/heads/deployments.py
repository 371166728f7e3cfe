"""Deploy and roll-back entries go in; which head of each kind is in force comes out: an append-only, fsynced log of JSON lines."""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from vibe_assets.heads.models import KIND, HeadError
from vibe_assets.storage.disk import still_named, to_disk
from vibe_assets.strangers import json_value

LOG_NAME = "deployments.jsonl"


@dataclass(frozen=True)
class Deployment:
    """One line of the log. `action` is deploy, rollback or withdraw; `version` "": none is in force any more; `at` is ISO 8601."""

    kind: str
    version: str
    action: str
    at: str
    reason: str = ""
    by: str = ""


@dataclass(frozen=True)
class Deployments:
    """The log of one heads folder. Writers take turns by a file lock; a torn last line, left by a crash, is ignored and cut off."""

    heads_dir: Path

    @property
    def path(self) -> Path:
        return self.heads_dir / LOG_NAME

    def history(self, kind: str | None = None) -> list[Deployment]:
        """Entries in order of writing. Raises HeadError when a complete line is not an entry."""
        if not self.path.exists():
            return []
        entries = self._parse(self.path.read_bytes())
        return [entry for entry in entries if kind is None or entry.kind == kind]

    def current(self) -> dict[str, str]:
        """kind -> version in force; kinds that were never deployed, or of which none is in force any more, are absent."""
        last = {entry.kind: entry.version for entry in self.history()}
        return {kind: version for kind, version in last.items() if version}

    def withdrawn(self, kind: str) -> set[str]:
        """Versions that a roll-back took out of force and nobody put back: an automatic gate must not deploy these again."""
        entries = self.history(kind)
        return {entry.version for entry in entries if entry.version} - set(_stack(entries))

    def by_hand(self, kind: str) -> Deployment | None:
        """The last entry of a kind, when a person deployed that head: a head from before then must not replace it by itself."""
        entries = self.history(kind)
        return entries[-1] if entries and (entries[-1].by, entries[-1].action) == ("cli", "deploy") else None

    def deploy(self, kind: str, version: str, *, at: str, reason: str = "", by: str = "") -> Deployment:
        """Put a saved head in force. A version that is in force already adds no line. Raises HeadError when it is not there."""
        if not KIND.fullmatch(kind) or not version.startswith(f"{kind}-"):
            raise ValueError(f"expected a version of the kind, got kind {kind!r} and version {version!r}")
        self._require_saved(version)
        with self._locked() as log:
            entries = self._parse(_whole_lines(log))
            if (last := next((entry for entry in reversed(entries) if entry.kind == kind), None)) and last.version == version:
                return last
            return self._append(log, Deployment(kind, version, "deploy", at, reason, by))

    def before(self, kind: str) -> str:
        """The version that a roll-back puts in force; "" where the current head was the first. Raises HeadError when none is in force."""
        return self._before(kind, self.history(kind))

    def rollback(self, kind: str, *, at: str, reason: str = "", by: str = "") -> Deployment:
        """Put the head in force that was there before the current one, or none where there was none. Raises HeadError when it is gone.

        A second roll-back goes one further back: heads that were rolled back do not return.
        """
        with self._locked() as log:
            entries = [entry for entry in self._parse(_whole_lines(log)) if entry.kind == kind]
            target = self._before(kind, entries)
            if target:
                self._require_saved(target)
            return self._append(log, Deployment(kind, target, "rollback", at, reason or f"back from {_stack(entries)[-1]}", by))

    def withdraw(self, kind: str, *, at: str, reason: str, by: str = "") -> Deployment:
        """Take the head of a kind out of force without another in its place; unlike a roll-back, it may be deployed again by itself."""
        with self._locked() as log:
            return self._append(log, Deployment(kind, "", "withdraw", at, reason, by))

    def _before(self, kind: str, entries: list[Deployment]) -> str:
        stack = _stack(entries)
        if not entries or not entries[-1].version:
            state = f"{stack[-1]} was the last and is out of force" if stack else "none was ever deployed"
            raise HeadError(f"{self.path}: no {kind} head is in force, so there is nothing to go back from: {state}; `vibe train --deploy`")
        return stack[-2] if len(stack) > 1 else ""

    # -- the file ------------------------------------------------------------------------------------------------------
    def _require_saved(self, version: str) -> None:
        if not (self.heads_dir / version / "card.json").is_file():
            raise HeadError(f"{self.heads_dir / version}: no such head; `vibe heads list` lists the saved ones")

    @contextmanager
    def _locked(self) -> Iterator[BinaryIO]:
        new = not self.path.exists()
        while True:
            try:
                self.heads_dir.mkdir(parents=True, exist_ok=True)
                opened = self.path.open("a+b", buffering=0)
            except OSError as error:
                raise HeadError(f"{self.path}: {error.strerror}; the heads in force stay: repair access, then deploy again") from error
            with opened as log:
                fcntl.flock(log, fcntl.LOCK_EX)
                if not still_named(self.path, log.fileno()):
                    continue  # deleted or replaced while we waited for our turn
                yield log
            break
        if new:
            to_disk(self.heads_dir)

    def _append(self, log: BinaryIO, entry: Deployment) -> Deployment:
        # what a crash left after the last newline goes first: the next line would be glued to it
        whole = len(_whole_lines(log))
        line = (json.dumps(asdict(entry), ensure_ascii=False) + "\n").encode()
        try:
            log.truncate(whole)
            if (written := log.write(line)) != len(line):
                raise OSError(errno.ENOSPC, f"wrote {written} of {len(line)} bytes")
            os.fsync(log.fileno())
            if not still_named(self.path, log.fileno()):
                raise OSError(errno.ESTALE, "the file was deleted or replaced while it was written to")
        except OSError as error:
            with suppress(OSError):
                log.truncate(whole)
            remedy = "stop what does that" if error.errno == errno.ESTALE else "free some space"
            raise HeadError(f"{self.path}: {error.strerror}; the heads in force stay: {remedy}, then deploy again") from error
        return entry

    def _parse(self, content: bytes) -> list[Deployment]:
        whole = content[: content.rfind(b"\n") + 1]
        entries = []
        for number, line in enumerate(whole.splitlines(), start=1):
            try:
                entries.append(_entry(line))
            except (ValueError, TypeError) as error:
                raise HeadError(f"{self.path}, line {number}: not a deployment ({error}); `vibe repair` sets this line aside") from error
        return entries


def is_entry(line: bytes) -> bool:
    """Whether a line of the log is a deployment: not the last one of a crash, nor one that `history` refuses."""
    try:
        return bool(_entry(line))
    except (ValueError, TypeError):
        return False


def _entry(line: bytes) -> Deployment:
    """Raises ValueError or TypeError for a line that is no deployment."""
    entry = Deployment(**json_value(line))
    if wrong := [name for name, value in asdict(entry).items() if not isinstance(value, str)]:
        raise TypeError(f"{', '.join(wrong)}: expected text")
    return entry


def _whole_lines(log: BinaryIO) -> bytes:
    log.seek(0)
    content = log.read()
    return content[: content.rfind(b"\n") + 1]


def _stack(entries: list[Deployment]) -> list[str]:
    """Versions one below the other: a deployment lies on top, a roll-back takes the top away, a withdrawal leaves them as they are."""
    stack: list[str] = []
    for entry in entries:
        if entry.action == "rollback":
            while stack and stack[-1] != entry.version:
                stack.pop()
        if entry.version and (not stack or stack[-1] != entry.version):
            stack.append(entry.version)
    return stack
