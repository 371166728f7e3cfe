"""Series and the groups their photos belong to go in; blocks and splits come out: no photo group, and so no leak, crosses a split."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence

from vibe_assets.records import SPLITS
from vibe_assets.settings import TriageSettings

ASIDE = "aside"


def blocks_of(series: Mapping[str, Sequence[str]], groups: Mapping[str, str]) -> dict[str, str]:
    """series_id -> block: series that share a photo, or photos of one group, share a block (named after its first series by id).

    `groups`: image_id -> group_id of PHOTO_GROUPS; a photo without one is its own group.
    """
    root = {name: name for name in series}

    def find(name: str) -> str:
        while root[name] != name:
            root[name] = root[root[name]]
            name = root[name]
        return name

    seen: dict[str, str] = {}
    for name in sorted(series):
        for image_id in series[name]:
            one, other = sorted((find(seen.setdefault(groups.get(image_id, image_id), name)), find(name)))
            root[other] = one
    return {name: find(name) for name in series}


def draw_splits(blocks: Mapping[str, str], *, previous: Mapping[str, str], settings: TriageSettings) -> dict[str, str]:
    """series_id -> train | val | test, whole blocks at a time; `previous` (series_id -> split) is never overruled.

    A block with known series takes their split; new series of a block that joins several splits are set `aside`. New blocks are
    drawn in an order that only the seed and their names decide, each for the split that is furthest below its share.
    """
    splits = {name: previous[name] for name in blocks if name in previous}
    members: dict[str, list[str]] = {}
    for name, block in blocks.items():
        members.setdefault(block, []).append(name)
    counts = Counter(split for split in splits.values() if split != ASIDE)
    fresh = []
    for block, names in sorted(members.items()):
        known = {splits[name] for name in names if name in splits} - {ASIDE}
        if known:
            side = known.pop() if len(known) == 1 else ASIDE
            splits |= {name: side for name in names if name not in splits}
        elif new := [name for name in names if name not in splits]:
            fresh.append((hashlib.sha256(f"{settings.seed}/{block}".encode()).hexdigest(), new))
    targets = {"train": 1 - settings.val - settings.test, "val": settings.val, "test": settings.test}
    for _, names in sorted(fresh):
        total = counts.total() + len(names)
        side = max(SPLITS, key=lambda split: targets[split] * total - counts[split])
        counts[side] += len(names)
        splits |= dict.fromkeys(names, side)
    return splits
