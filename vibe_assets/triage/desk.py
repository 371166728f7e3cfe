"""Series and the log of choices -> the series a person sees next; and what the person says -> a checked choice in the log. No web here."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from vibe_assets.stages.platform import Platform, StageError
from vibe_assets.triage.choices import Choice, ChoiceError, ChoiceLog
from vibe_assets.triage.learn import members_of
from vibe_assets.triage.study import LIBRARY, choice_log, series_in_place

REVIEWER = re.compile(r"[\w .@-]{1,40}")


@dataclass(frozen=True)
class DeskSeries:
    """One series as it is shown: image_ids in order, and where each photo lies."""

    series_id: str
    members: tuple[str, ...]
    title: str
    imported: bool = False


class TriageDesk:
    """The library's series, then the imported ones, each in the order of a hash, the same for everybody: who stops half-way has judged a
    random part. Threads may share it.
    """

    def __init__(self, series: Sequence[DeskSeries], paths: Mapping[str, bytes], log: ChoiceLog) -> None:
        self.series = tuple(sorted(series, key=lambda one: (one.imported, hashlib.sha256(one.series_id.encode()).hexdigest())))
        self.paths, self.log = dict(paths), log
        self._by_id = {one.series_id: one for one in self.series}
        self._lock = threading.Lock()

    def state(self, reviewer: str, at: str | None = None) -> dict[str, Any]:
        """What the page shows: the series asked for, else the first without a choice; how many are done."""
        name = checked_reviewer(reviewer)
        standing = {series: choice for (series, who), choice in self.log.standing().items() if who == name}
        done = sum(one.series_id in standing for one in self.series)
        open_ones = [one for one in self.series if one.series_id not in standing]
        shown = self._by_id.get(at or "") or (open_ones[0] if open_ones else None)
        choice = standing.get(shown.series_id) if shown else None
        return {
            "done": done,
            "total": len(self.series),
            "series": None if shown is None else {"series_id": shown.series_id, "members": list(shown.members), "title": shown.title},
            "choice": None if choice is None else {"kind": choice.kind, "winners": list(choice.winners)},
        }

    def choose(self, reviewer: str, series_id: str, kind: str, winners: Sequence[str]) -> dict[str, Any]:
        """Keep a choice and return the next state. Raises ChoiceError for a series or photos that are not on the desk."""
        shown = self._known(series_id)
        if kind == "undo":
            raise ChoiceError("undo has its own request")
        with self._lock:
            self.log.append(Choice.now(series_id, shown.members, winners, kind, checked_reviewer(reviewer)))
        return self.state(reviewer)

    def undo(self, reviewer: str) -> dict[str, Any]:
        """Take back this person's newest choice and show its series again."""
        name = checked_reviewer(reviewer)
        with self._lock:
            standing = [choice for (_, who), choice in self.log.standing().items() if who == name and choice.series_id in self._by_id]
            if not standing:
                raise ChoiceError("nothing to undo")
            newest = max(standing, key=lambda choice: choice.at)
            self.log.append(Choice.now(newest.series_id, newest.members, (), "undo", name))
        return self.state(reviewer, at=newest.series_id)

    def _known(self, series_id: str) -> DeskSeries:
        shown = self._by_id.get(series_id)
        if shown is None:
            raise ChoiceError("no such series here; reload the page")
        return shown


def checked_reviewer(name: object) -> str:
    """A name for the log. Raises ChoiceError for anything else."""
    if not isinstance(name, str) or not REVIEWER.fullmatch(name.strip()):
        raise ChoiceError("a reviewer's name has 1 to 40 letters, digits, spaces or . @ -")
    return name.strip()


def open_desk(platform: Platform) -> TriageDesk:
    """The desk over every series of the library and of the imports. Raises StageError where there is none."""
    rows = series_in_place(platform)
    if rows.is_empty():
        raise StageError("no series yet: `vibe triage series`")
    once = rows.unique("image_id", keep="first")
    names = dict(once.select("image_id", "rel_path").iter_rows())
    imported = set(rows.filter(rows["source"] != LIBRARY)["series_id"])
    series = [
        DeskSeries(name, members, name if name in imported else _folder(names[members[0]]), name in imported)
        for name, members in members_of(rows).items()
    ]
    return TriageDesk(series, {ref.image_id: ref.path for ref in platform.photo_refs(once)}, choice_log(platform))


def _folder(rel_path: str) -> str:
    folder = str(PurePosixPath(rel_path).parent)
    return "photo root" if folder == "." else folder
