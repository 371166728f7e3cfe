"""Two versions' label rows of the same photos become what changed: agreement, gains and losses by label, moves between scenes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vibe_assets.evaluate.align import align
from vibe_assets.evaluate.compare import photo_scores
from vibe_assets.evaluate.intervals import cluster_bootstrap, weighted_share
from vibe_assets.evaluate.metrics import ABSTAINED, Confusion
from vibe_assets.records import ATTRIBUTES, Estimate

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class LabelMove:
    """How often two versions say one label, on the photos that both have."""

    kind: str  # scene | attribute | object
    label: str
    a: int  # photos
    b: int
    gained: int  # b says it, a does not
    lost: int  # a says it, b does not
    flipped: int  # the other one says the opposite, or another scene, rather than leaving it open; 0 for objects


@dataclass(frozen=True)
class Flow:
    """What is different in b, without asking who is right."""

    n: int  # photos that both have
    agreement: Mapping[str, Estimate]  # kind -> share of the photos with the same answer (objects: mean Jaccard), both open included
    moves: tuple[LabelMove, ...]  # largest change first
    scenes: Confusion | None  # rows: a's scene, columns: b's
    differing: tuple[str, ...]  # image_ids to look at first
    n_differing: int


def label_flow(
    a: pl.DataFrame, b: pl.DataFrame, *, kinds: Sequence[str], groups: Mapping[str, str] | None = None, resamples: int = 500
) -> Flow:
    """Compare label rows photo by photo on the photos of both. A photo twice in one side counts once."""
    a = a.unique("image_id", keep="first", maintain_order=True).join(b, on="image_id", how="semi", maintain_order="left")
    side = align(b, a, groups=groups, use_weights=False)
    before, after = side.truth, side.predicted
    moves: list[LabelMove] = []
    agreement: dict[str, Estimate] = {}
    unlike = np.zeros(len(side.ids))  # how much of a photo is different, scenes first
    if "scene" in kinds and side.ids:
        one, other = before["scene"].to_list(), after["scene"].to_list()
        same = np.array([x == y for x, y in zip(one, other, strict=True)])
        agreement["scene"] = weighted_share(same, groups=side.groups)
        unlike += 10 * ~same + 5 * np.array([x != y and x is not None and y is not None for x, y in zip(one, other, strict=True)])
        moves += _scene_moves(one, other)
    if "attribute" in kinds and side.ids:
        same_all = np.ones(len(side.ids), dtype=bool)
        for name in ATTRIBUTES:
            one_of, other_of = before[name].to_list(), after[name].to_list()
            if not any(x is not None for x in one_of) or not any(x is not None for x in other_of):
                continue  # one side is never asked
            same_all &= np.array([x == y for x, y in zip(one_of, other_of, strict=True)])
            moves.append(_attribute_move(f"attr.{name}", one_of, other_of))
        agreement["attribute"] = weighted_share(same_all, groups=side.groups)
        unlike += 2 * ~same_all
    if "object" in kinds and side.ids:
        overlap = photo_scores(side, "object")  # (n,) Jaccard, nan where a says nothing
        seen = np.isfinite(overlap)
        if seen.any():
            agreement["object"] = cluster_bootstrap(overlap[seen], side.groups[seen], resamples=resamples)
            unlike += np.where(seen, 1 - np.nan_to_num(overlap, nan=1.0), 0)
        moves += _object_moves(before["objects"].to_list(), after["objects"].to_list())
    moves = [move for move in moves if move.gained or move.lost]
    return Flow(
        n=len(side.ids),
        agreement=agreement,
        moves=tuple(sorted(moves, key=lambda move: (-(move.gained + move.lost), move.label))),
        scenes=_scene_table(before["scene"].to_list(), after["scene"].to_list()) if "scene" in kinds and side.ids else None,
        differing=_to_look_at(side.ids, unlike, before["scene"].to_list(), after["scene"].to_list()),
        n_differing=int((unlike > 0).sum()),
    )


def _scene_moves(a: Sequence[str | None], b: Sequence[str | None]) -> list[LabelMove]:
    pairs = list(zip(a, b, strict=True))
    return [
        LabelMove(
            "scene", label, sum(x == label for x in a), sum(y == label for y in b),
            gained=sum(y == label != x for x, y in pairs),
            lost=sum(x == label != y for x, y in pairs),
            flipped=sum(x is not None and y is not None and x != y and label in (x, y) for x, y in pairs),
        )
        for label in sorted({label for label in (*a, *b) if label is not None})
    ]  # fmt: skip


def _attribute_move(label: str, a: Sequence[bool | None], b: Sequence[bool | None]) -> LabelMove:
    pairs = list(zip(a, b, strict=True))
    return LabelMove(
        "attribute", label, sum(x is True for x in a), sum(y is True for y in b),
        gained=sum(y is True and x is not True for x, y in pairs),
        lost=sum(x is True and y is not True for x, y in pairs),
        flipped=sum(x is not None and y is not None and x != y for x, y in pairs),
    )  # fmt: skip


def _object_moves(a: Sequence[Sequence[str] | None], b: Sequence[Sequence[str] | None]) -> list[LabelMove]:
    one, other = [set(labels or ()) for labels in a], [set(labels or ()) for labels in b]
    return [
        LabelMove(
            "object", label, sum(label in x for x in one), sum(label in y for y in other),
            gained=sum(label in y - x for x, y in zip(one, other, strict=True)),
            lost=sum(label in x - y for x, y in zip(one, other, strict=True)),
            flipped=0,
        )
        for label in sorted(set().union(*one, *other))
    ]  # fmt: skip


def _scene_table(a: Sequence[str | None], b: Sequence[str | None]) -> Confusion:
    """a's scenes as rows, b's as columns, both in the same order; photos left open come last."""
    names = sorted({label or ABSTAINED for label in (*a, *b)}, key=lambda label: (label == ABSTAINED, label))
    place = {label: at for at, label in enumerate(names)}
    photos = np.zeros((len(names), len(names)), dtype=int)
    for x, y in zip(a, b, strict=True):
        photos[place[x or ABSTAINED], place[y or ABSTAINED]] += 1
    counts = tuple(tuple(int(count) for count in row) for row in photos)
    return Confusion(tuple(names), tuple(names), counts, tuple(tuple(float(count) for count in row) for row in counts))


def _to_look_at(
    ids: Sequence[str], unlike: np.ndarray, a: Sequence[str | None], b: Sequence[str | None], *, most: int = 200
) -> tuple[str, ...]:
    """Photos that differ, the most different first, every kind of move in turn: one frequent move must not fill the gallery."""
    waiting: dict[tuple[float, str, str], list[str]] = {}
    for at in np.argsort(-unlike, kind="stable"):
        if unlike[at] > 0:
            waiting.setdefault((-float(np.floor(unlike[at] / 5)), a[at] or "", b[at] or ""), []).append(ids[at])
    found: list[str] = []
    for rank in sorted({key[0] for key in waiting}):
        queues = [waiting[key] for key in sorted(waiting) if key[0] == rank]
        for turn in range(max(map(len, queues))):
            found += [queue[turn] for queue in queues if turn < len(queue)]
    return tuple(found[:most])
