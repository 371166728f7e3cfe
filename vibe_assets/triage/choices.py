"""What people chose of a series goes in and is on disk when `append` returns; the choice in force per series and person comes out."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import combinations
from typing import Any

from vibe_assets.errors import UserError
from vibe_assets.heads.series_data import Preference
from vibe_assets.storage import Place
from vibe_assets.teacher.failures import TeacherError
from vibe_assets.teacher.journal import Journal

KINDS = ("pick", "tie", "none", "undo")


class ChoiceError(UserError, ValueError):
    """A choice that cannot be taken; the message says what is wrong with it."""


@dataclass(frozen=True)
class Choice:
    """One answer to "which would you keep?". A tie names several winners; none and undo name no one."""

    choice_id: str
    series_id: str
    members: tuple[str, ...]  # image_ids as they were shown
    winners: tuple[str, ...]
    kind: str  # pick | tie | none (nothing worth keeping, or no opinion) | undo (takes the choice before it back)
    reviewer: str
    at: str  # ISO 8601, UTC

    def __post_init__(self) -> None:
        wanted = {"pick": len(self.winners) == 1, "tie": len(self.winners) > 1, "none": not self.winners, "undo": not self.winners}
        if not wanted.get(self.kind, False):
            raise ChoiceError(f"expected one of {KINDS} with fitting winners, got {self.kind!r} with {len(self.winners)}")
        if len(set(self.members)) < 2 or not set(self.winners) <= set(self.members):
            raise ChoiceError(f"winners must be among the {len(self.members)} photos of the series")

    @classmethod
    def now(cls, series_id: str, members: Iterable[str], winners: Iterable[str], kind: str, reviewer: str) -> Choice:
        return cls(secrets.token_hex(8), series_id, tuple(members), tuple(winners), kind, reviewer, datetime.now(UTC).isoformat())

    def line(self) -> dict[str, Any]:
        return {"image_id": self.members[0], **asdict(self)}

    @classmethod
    def from_line(cls, line: dict[str, Any]) -> Choice:
        """Raises KeyError, TypeError or ValueError for a line that is no choice."""
        values = {name: line[name] for name in cls.__dataclass_fields__}
        datetime.fromisoformat(values["at"])
        texts = [value for name, value in values.items() if name not in ("members", "winners")]
        if not all(isinstance(text, str) for text in (*texts, *values["members"], *values["winners"])):
            raise TypeError("a text is none")
        return cls(**{**values, "members": tuple(values["members"]), "winners": tuple(values["winners"])})

    def preferences(self) -> list[Preference]:
        """Every winner beats every photo that is none; winners among themselves are ties."""
        losers = [photo for photo in self.members if photo not in self.winners]
        won = [Preference(winner, loser, 1.0, 0.0) for winner in self.winners for loser in losers]
        return won + [Preference(a, b, 0.5, 0.5) for a, b in combinations(self.winners, 2)]


class ChoiceLog:
    """Append-only JSON lines, one file per writing process, under the rules of the teacher's journal: whole lines, synced."""

    def __init__(self, folder: Place, *, writer: str | None = None) -> None:
        self.folder = folder
        self._journal = Journal(folder, writer or f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{os.getpid()}-{secrets.token_hex(3)}")

    def append(self, *choices: Choice) -> None:
        """Keep the choices: when this returns, they are on disk. Raises ChoiceError when the disk refuses.

        Where the clock went back, a choice is dated just after the newest one of its series and person: what is said later stands later.
        """
        newest = {(choice.series_id, choice.reviewer): choice.at for choice in self.choices()}
        lines = []
        for choice in choices:
            before = newest.get((choice.series_id, choice.reviewer), "")
            if choice.at <= before:
                choice = replace(choice, at=(datetime.fromisoformat(before) + timedelta(microseconds=1)).isoformat())
            newest[choice.series_id, choice.reviewer] = choice.at
            lines.append(choice.line())
        try:
            self._journal.append_many(lines)
        except TeacherError as error:
            raise ChoiceError(f"not kept: {error}") from error

    def choices(self) -> list[Choice]:
        """Every intact choice of every writer, oldest first; lines that are none are passed over (and counted by `vibe doctor`)."""
        found: dict[str, Choice] = {}
        for line in self._journal.records():
            try:
                choice = Choice.from_line(line)
            except (KeyError, TypeError, ValueError):
                continue
            found.setdefault(choice.choice_id, choice)
        return sorted(found.values(), key=lambda choice: (choice.at, choice.choice_id))

    def standing(self) -> dict[tuple[str, str], Choice]:
        """(series_id, reviewer) -> the choice in force. An undo takes back the newest one that still stands."""
        stacks: dict[tuple[str, str], list[Choice]] = {}
        for choice in self.choices():
            stack = stacks.setdefault((choice.series_id, choice.reviewer), [])
            if choice.kind != "undo":
                stack.append(choice)
            elif stack:
                stack.pop()
        return {key: stack[-1] for key, stack in stacks.items() if stack}

    def close(self) -> None:
        self._journal.close()
