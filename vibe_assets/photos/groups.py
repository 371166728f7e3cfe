"""RAW_PHOTOS rows go in; groups of near-duplicates and bursts, each with the split that every student shares, come out.

Two photos are linked when their perceptual hashes nearly agree, or when one camera took them within seconds and they look alike.
Links decide two things. Groups are what samples and bootstraps draw: linked photos whose hashes all stay close to each other, so that
a chain of small steps does not glue a library together. Splits follow the links themselves, group or not: no link joins two of
train, val and test.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from vibe_assets.photos.hashes import informative, near_pairs
from vibe_assets.records import PHOTO_GROUPS, SPLITS
from vibe_assets.settings import SplitSettings

if TYPE_CHECKING:
    import polars as pl

ASIDE = "aside"
BURST_WINDOW = 4  # a photo is compared with this many of the camera's next ones: an odd frame must not cut a burst in two


@dataclass
class Photo:
    """One photo by content; the first of its paths stands for it."""

    image_id: str
    folder_key: str
    phash: int | None
    taken_at: Any
    camera: str | None
    split: str | None = None  # decided here, once and for ever
    group_id: str | None = None
    link: str = "single"
    known: bool = False  # had its split before this call


class Link(NamedTuple):
    bits: int
    first: int  # index of the cell that comes first
    second: int
    kind: str  # near_duplicate | burst


def group_photos(raw_photos_rows: pl.DataFrame, *, previous_rows: pl.DataFrame | None, settings: SplitSettings) -> pl.DataFrame:
    """PHOTO_GROUPS rows, one per accepted photo (by content), sorted by image_id.

    `previous_rows` are never overruled: a photo keeps its split and its group_id. A new photo linked to photos of one split joins it;
    linked to several, it is set `aside`. Photos linked only among themselves share a split, drawn within the folder so that its shares
    (and the library's) come near the targets. A photo that vanished has no row; hand its old row in again (rows of older versions may
    be appended: the first row of an image_id counts) and it returns to the side it had.
    """
    import polars as pl

    photos = _photos(raw_photos_rows, previous_rows)
    cells = _cells(photos)
    links = _links(photos, cells, settings)
    _draw_splits(photos, cells, links, settings)
    _form_groups(photos, cells, links, settings)
    sizes = Counter(photo.group_id for photo in photos)
    rows = [
        {"image_id": photo.image_id, "group_id": photo.group_id, "split": photo.split, "group_size": sizes[photo.group_id],
         "link": photo.link if sizes[photo.group_id] > 1 else "single"}
        for photo in photos
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=PHOTO_GROUPS.polars_schema()).sort("image_id")


def _photos(raw_photos_rows: pl.DataFrame, previous_rows: pl.DataFrame | None) -> list[Photo]:
    import polars as pl

    rows = (
        raw_photos_rows.filter(pl.col("reason").is_null() & pl.col("image_id").is_not_null())
        .sort("folder_key", "path_bytes")
        .unique("image_id", keep="first", maintain_order=True)
    )
    photos = [
        Photo(row["image_id"], row["folder_key"], int(row["phash"], 16) if row["phash"] else None, row["taken_at"], row["camera"])
        for row in rows.select("image_id", "folder_key", "phash", "taken_at", "camera").iter_rows(named=True)
    ]
    if previous_rows is not None:
        previous = {row["image_id"]: row for row in previous_rows.reverse().iter_rows(named=True)}
        for photo in photos:
            row = previous.get(photo.image_id)
            if row is not None:
                photo.split, photo.group_id, photo.link, photo.known = row["split"], row["group_id"], row["link"], True
    return photos


# -- links ---------------------------------------------------------------------------------------------------------------
def _cells(photos: Sequence[Photo]) -> list[list[int]]:
    """Photos of equal hash, known ones first: they share all their near-duplicates, so a thousand copies cost no million links.

    Flat pictures have a cell each: their hashes agree although they show nothing in common.
    """
    cells: dict[int, list[int]] = {}
    for index, photo in sorted(enumerate(photos), key=lambda item: not item[1].known):
        telling = photo.phash is not None and informative(photo.phash)
        cells.setdefault(photo.phash if telling and photo.phash is not None else -1 - index, []).append(index)
    return sorted(cells.values(), key=min)


def _links(photos: Sequence[Photo], cells: Sequence[list[int]], settings: SplitSettings) -> list[Link]:
    """Near-duplicate and burst links between cells with something new, closest first; the library's past is not looked at again."""
    links = {(link.first, link.second): link for link in _bursts(photos, cells, settings)}
    links |= {(link.first, link.second): link for link in _near_duplicates(photos, cells, settings)}  # the stronger tie gives the name
    return sorted(links.values())


def _near_duplicates(photos: Sequence[Photo], cells: Sequence[list[int]], settings: SplitSettings) -> Iterable[Link]:
    hashed = [place for place, cell in enumerate(cells) if photos[cell[0]].phash is not None and informative(photos[cell[0]].phash or 0)]
    hashes = np.array([photos[cells[place][0]].phash for place in hashed], dtype=np.uint64)  # (n,)
    new = np.array([not all(photos[index].known for index in cells[place]) for place in hashed], dtype=bool)
    pairs = near_pairs(hashes, settings.near_duplicate_bits, new=new)
    bits = np.bitwise_count(hashes[pairs[:, 0]] ^ hashes[pairs[:, 1]])
    for (first, second), distance in zip(pairs.tolist(), bits.tolist(), strict=True):
        yield Link(distance, hashed[first], hashed[second], "near_duplicate")


def _bursts(photos: Sequence[Photo], cells: Sequence[list[int]], settings: SplitSettings) -> Iterable[Link]:
    cell_of = {index: place for place, cell in enumerate(cells) for index in cell}
    cameras: defaultdict[str, list[int]] = defaultdict(list)
    for index, photo in enumerate(photos):
        if photo.camera is not None and photo.taken_at is not None and photo.phash is not None:
            cameras[photo.camera].append(index)
    gap = timedelta(seconds=settings.burst_gap_s)
    for indices in cameras.values():
        indices.sort(key=lambda index: (photos[index].taken_at, index))
        for place, one in enumerate(indices):
            for other in indices[place + 1 : place + 1 + BURST_WINDOW]:
                a, b = photos[one], photos[other]
                if b.taken_at - a.taken_at > gap:
                    break
                first, second = sorted((cell_of[one], cell_of[other]))
                bits = _distance(a.phash, b.phash)
                if bits <= settings.burst_bits and first != second and not (a.known and b.known):
                    yield Link(bits, first, second, "burst")


def _distance(a: int | None, b: int | None) -> int:
    return 64 if a is None or b is None else (a ^ b).bit_count()


# -- splits --------------------------------------------------------------------------------------------------------------
def _draw_splits(photos: Sequence[Photo], cells: Sequence[list[int]], links: Sequence[Link], settings: SplitSettings) -> None:
    """Give every new photo its split. Each decision sees all that was decided before: no link can come to join two splits."""
    neighbours: defaultdict[int, list[int]] = defaultdict(list)
    for link in links:
        neighbours[link.first].append(link.second)
        neighbours[link.second].append(link.first)
    sides: list[set[str]] = [{split for index in cell if (split := photos[index].split) not in (None, ASIDE)} for cell in cells]
    waiting = {place for place, cell in enumerate(cells) if any(photos[index].split is None for index in cell)}
    frontier = [place for place, side in enumerate(sides) if side]
    while frontier:  # outwards from what has a split
        reached = sorted({other for place in frontier for other in (place, *neighbours[place])} & waiting)
        for place in reached:
            touched = sides[place].union(*(sides[other] for other in neighbours[place]))
            _decide(photos, cells[place], touched.pop() if len(touched) == 1 else ASIDE, sides[place])
        waiting.difference_update(reached)
        frontier = [place for place in reached if sides[place]]
    _Draw(photos, settings).assign(_components(cells, neighbours, waiting))


def _decide(photos: Sequence[Photo], cell: Iterable[int], split: str, sides: set[str]) -> None:
    for index in cell:
        if photos[index].split is None:
            photos[index].split = split
    if split != ASIDE:
        sides.add(split)


def _components(cells: Sequence[list[int]], neighbours: dict[int, list[int]], waiting: set[int]) -> list[list[int]]:
    """Undecided photos that are linked, directly or through each other; members in order."""
    found = []
    for start in sorted(waiting):
        if start not in waiting:
            continue
        waiting.remove(start)
        members, places = [], [start]
        while places:
            place = places.pop()
            members += cells[place]
            inner = waiting.intersection(neighbours.get(place, ()))
            waiting -= inner
            places += inner
        found.append(sorted(members))
    return found


class _Draw:
    """Splits for linked sets, one after the other, so that each folder and the library as a whole come near the targets."""

    def __init__(self, photos: Sequence[Photo], settings: SplitSettings) -> None:
        self.photos, self.seed = photos, settings.seed
        self.targets = {"train": 1 - settings.val - settings.test, "val": settings.val, "test": settings.test}
        self.folders: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.library: Counter[str] = Counter()
        for photo in photos:
            if photo.split in self.targets:
                self._count(photo.folder_key, str(photo.split), 1)

    def assign(self, components: Iterable[list[int]]) -> None:
        for component in sorted(components, key=self._lot):
            folder_key = self.photos[component[0]].folder_key
            split = self._choice(folder_key, len(component))
            self._count(folder_key, split, len(component))
            for index in component:
                self.photos[index].split = split

    def _count(self, folder_key: str, split: str, size: int) -> None:
        self.folders[folder_key][split] += size
        self.library[split] += size

    def _lot(self, component: list[int]) -> str:
        """Place in the queue: a seeded hash, so that neither names nor dates decide."""
        return hashlib.sha256(f"{self.seed}/{self.photos[component[0]].image_id}".encode()).hexdigest()

    def _choice(self, folder_key: str, size: int) -> str:
        """Of the splits that still have room in the folder (rounded up), the one the library lacks most.

        The library breaks the tie because rounding would otherwise send every folder of one photo to train.
        """
        counts = self.folders[folder_key]
        total = counts.total() + size
        room = [split for split in SPLITS if counts[split] + size <= math.ceil(self.targets[split] * total - 1e-9)]
        if room:
            return max(room, key=lambda split: self._deficit(self.library, split, size))
        return max(SPLITS, key=lambda split: self._deficit(counts, split, size))

    def _deficit(self, counts: Counter[str], split: str, size: int) -> float:
        return self.targets[split] * (counts.total() + size) - counts[split]


# -- groups --------------------------------------------------------------------------------------------------------------
def _form_groups(photos: Sequence[Photo], cells: Sequence[list[int]], links: Sequence[Link], settings: SplitSettings) -> None:
    """Join along links, closest first, within a split and as long as all hashes of the group stay close. Known groups never merge."""
    groups = _Groups(photos)
    widest = {"near_duplicate": 2 * settings.near_duplicate_bits, "burst": settings.near_duplicate_bits + settings.burst_bits}
    heads: list[dict[str | None, int]] = []  # of every cell: its first photo in each split
    for cell in cells:
        heads.append({photos[index].split: index for index in reversed(cell)})
        for index in cell:
            groups.join(heads[-1][photos[index].split], index, 0, "near_duplicate")
    for link in links:
        for split in heads[link.first].keys() & heads[link.second].keys():
            groups.join(heads[link.first][split], heads[link.second][split], widest[link.kind], link.kind)
    for index, photo in enumerate(photos):
        photo.group_id = groups.group_id(index)


class _Groups:
    """Disjoint sets with the hashes of their members and, for known groups, their name."""

    def __init__(self, photos: Sequence[Photo]) -> None:
        self.photos = photos
        self.root = list(range(len(photos)))
        self.hashes = [{photo.phash} - {None} for photo in photos]
        self.names: list[str | None] = [photo.group_id for photo in photos]
        self.first = list(range(len(photos)))  # lowest index of the set, for the name of new groups
        firsts: dict[str, int] = {}
        for index, photo in enumerate(photos):
            if photo.group_id is not None:
                self._merge(firsts.setdefault(photo.group_id, index), index)

    def find(self, index: int) -> int:
        while self.root[index] != index:
            self.root[index] = self.root[self.root[index]]
            index = self.root[index]
        return index

    def join(self, one: int, other: int, widest: int, kind: str) -> None:
        """Join the two sets unless both have names already or two hashes would lie more than `widest` bits apart."""
        a, b = self.find(one), self.find(other)
        if a != b:
            if self.names[a] is not None and self.names[b] is not None:
                return
            if any(_distance(x, y) > widest for x in self.hashes[a] for y in self.hashes[b]):
                return
            self._merge(a, b)
        for photo in (self.photos[one], self.photos[other]):
            if photo.link == "single" and one != other:
                photo.link = kind

    def _merge(self, one: int, other: int) -> None:
        a, b = self.find(one), self.find(other)
        if a == b:
            return
        if len(self.hashes[a]) < len(self.hashes[b]):
            a, b = b, a
        self.root[b] = a
        self.hashes[a] |= self.hashes[b]
        self.hashes[b] = set()
        self.names[a] = self.names[a] or self.names[b]
        self.first[a] = min(self.first[a], self.first[b])

    def group_id(self, index: int) -> str:
        root = self.find(index)
        return self.names[root] or self.photos[self.first[root]].image_id
