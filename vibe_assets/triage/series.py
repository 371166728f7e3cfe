"""Photos with time, hash and vector go in; series (single links within a diameter cap) come out, under ids that stay."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vibe_assets.photos.hashes import informative
from vibe_assets.settings import TriageSettings

WINDOW = 12  # a photo is compared with this many of the camera's next ones: odd frames must not cut a series in two
COPY_BITS = 4  # hashes this close are the same picture, whatever an encoder makes of it
UNDATED_SPAN = 24  # names that a series of undated photos may stretch over, in place of seconds


@dataclass(frozen=True)
class Take:
    """One photo as the grouping sees it."""

    image_id: str
    folder_key: str
    name: str  # path, orders takes of the same second
    taken_at: datetime | None
    camera: str | None
    phash: int | None
    vector: NDArray[np.float32] | None  # unit, of one encoder

    @property
    def place(self) -> tuple[Any, ...]:
        """Order in time; takes of one second and undated ones by name, as people count: 2 comes before 10."""
        return (self.taken_at is None, self.taken_at or datetime.min, natural(self.name), self.name)


def natural(name: str) -> tuple[str | int, ...]:
    """A name with its numbers as numbers, for sorting."""
    return tuple(int(part) if at % 2 else part.casefold() for at, part in enumerate(re.split(r"(\d+)", name)))


def find_series(takes: Sequence[Take], *, previous: Mapping[str, str], settings: TriageSettings) -> dict[str, tuple[str, ...]]:
    """series_id -> image_ids in order, every series with at least two photos.

    Two takes are linked when one camera took them in one folder at most `gap_s` apart and they look alike: hashes within `max_bits`,
    or a cosine of at least `min_cosine`. Links join series, closest first, as long as any two members stay within `max_span_s` and
    reach `min_cosine_any` (or nearly agree in hash): a chain of small steps does not glue an afternoon together.
    Takes without a time stand in the order of their names instead (with `undated`): neighbours of one folder are linked by hashes within
    `undated_bits` and a cosine of `undated_cosine`, both at once, or as copies. Any two members reach `min_cosine` and lie within
    UNDATED_SPAN names.
    `previous` (image_id -> series_id) is never overruled: a known series keeps its id and its members, new takes may join it, and two
    known series never merge.
    """
    ordered = sorted({take.image_id: take for take in takes}.values(), key=lambda take: take.place)
    sets = _Sets(ordered, previous, settings)
    for _, one, other in sorted(_links(ordered, settings)):
        sets.join(one, other)
    return sets.series()


def _links(takes: Sequence[Take], settings: TriageSettings) -> list[tuple[float, int, int]]:
    """(distance, earlier, later), closest first when sorted."""
    lanes: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for index, take in enumerate(takes):
        if take.taken_at is not None:
            lanes[(take.folder_key, take.camera or "")].append(index)
    found = []
    for lane in lanes.values():
        for place, one in enumerate(lane):
            for other in lane[place + 1 : place + 1 + WINDOW]:
                a, b = takes[one], takes[other]
                assert a.taken_at is not None
                assert b.taken_at is not None
                if (b.taken_at - a.taken_at).total_seconds() > settings.gap_s:
                    break
                if alike(a, b, bits=settings.max_bits, cosine=settings.min_cosine):
                    found.append((distance(a, b), one, other))
    return found + (_undated_links(takes, settings) if settings.undated else [])


def _undated_links(takes: Sequence[Take], settings: TriageSettings) -> list[tuple[float, int, int]]:
    """Links by name. Without a time hash and vector have to agree: each alone takes one receipt for another."""
    found = []
    for folder in _undated(takes).values():
        for one, other in pairwise(folder):
            a, b = takes[one], takes[other]
            near = alike(a, b, bits=settings.undated_bits, cosine=2.0) and alike_vectors(a, b, settings.undated_cosine)
            if near or alike(a, b, bits=COPY_BITS, cosine=2.0):
                found.append((distance(a, b), one, other))
    return found


def _undated(takes: Sequence[Take]) -> dict[str, list[int]]:
    """folder -> its takes without a time, in order."""
    folders: defaultdict[str, list[int]] = defaultdict(list)
    for index, take in enumerate(takes):
        if take.taken_at is None:
            folders[take.folder_key].append(index)
    return folders


def alike(a: Take, b: Take, *, bits: int, cosine: float) -> bool:
    """Whether two takes show the same: by their hashes, where those say much, or by their vectors."""
    if (
        a.phash is not None
        and b.phash is not None
        and informative(a.phash)
        and informative(b.phash)
        and (a.phash ^ b.phash).bit_count() <= bits
    ):
        return True
    return alike_vectors(a, b, cosine)


def alike_vectors(a: Take, b: Take, cosine: float) -> bool:
    return a.vector is not None and b.vector is not None and float(a.vector @ b.vector) >= cosine


def distance(a: Take, b: Take) -> float:
    """1 - cosine where both have a vector, else the share of hash bits that differ; 1 where neither is known."""
    if a.vector is not None and b.vector is not None:
        return 1.0 - float(a.vector @ b.vector)
    return (a.phash ^ b.phash).bit_count() / 64 if a.phash is not None and b.phash is not None else 1.0


class _Sets:
    """Disjoint sets of takes; `names` holds the ids of the series known before."""

    def __init__(self, takes: Sequence[Take], previous: Mapping[str, str], settings: TriageSettings) -> None:
        self.takes, self.settings = takes, settings
        self.members = {index: [index] for index in range(len(takes))}
        self.root = list(range(len(takes)))
        self.names = [previous.get(take.image_id) for take in takes]
        self.ranks = {index: rank for folder in _undated(takes).values() for rank, index in enumerate(folder)}
        first: dict[str, int] = {}
        for index, name in enumerate(self.names):
            if name is not None and (root := first.setdefault(name, index)) != index:
                self._merge(root, index)

    def join(self, one: int, other: int) -> None:
        a, b = self.root[one], self.root[other]
        if a == b or (self.names[a] is not None and self.names[b] is not None):
            return
        if all(self._fits(i, j) for i in self.members[a] for j in self.members[b]):
            self._merge(a, b)

    def _fits(self, one: int, other: int) -> bool:
        a, b = self.takes[one], self.takes[other]
        if one in self.ranks and other in self.ranks:
            close = abs(self.ranks[one] - self.ranks[other]) < UNDATED_SPAN
            return close and alike(a, b, bits=COPY_BITS, cosine=self.settings.min_cosine)
        if a.taken_at and b.taken_at and abs((b.taken_at - a.taken_at).total_seconds()) > self.settings.max_span_s:
            return False
        if a.vector is None or b.vector is None:
            return alike(a, b, bits=self.settings.max_bits, cosine=1.0)
        return alike(a, b, bits=COPY_BITS, cosine=self.settings.min_cosine_any)

    def _merge(self, a: int, b: int) -> None:
        self.members[a] = sorted(self.members[a] + self.members.pop(b))
        self.names[a] = self.names[a] or self.names[b]
        for index in self.members[a]:
            self.root[index] = a

    def series(self) -> dict[str, tuple[str, ...]]:
        return {
            self.names[root] or self.takes[members[0]].image_id: tuple(self.takes[index].image_id for index in members)
            for root, members in self.members.items()
            if len(members) > 1
        }
