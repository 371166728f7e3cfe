"""Two versions' label rows of the same photos become what changed: agreement, gains and losses by label, moves between labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vibe_assets.evaluate.align import Aligned, align
from vibe_assets.evaluate.compare import photo_scores
from vibe_assets.evaluate.intervals import cluster_bootstrap, weighted_share
from vibe_assets.evaluate.metrics import ABSTAINED, Confusion
from vibe_assets.questions import OneOf, Question, Questions, YesNo
from vibe_assets.records import Estimate

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray


@dataclass(frozen=True)
class LabelMove:
    """How often two versions say one label, on the photos that both have."""

    kind: str
    label: str
    a: int  # photos
    b: int
    gained: int  # b says it, a does not
    lost: int  # a says it, b does not
    flipped: int | None  # the other one says the opposite, or another label, rather than leaving it open; None where several may be named


@dataclass(frozen=True)
class Flow:
    """What is different in b, without asking who is right."""

    n: int  # photos that both have
    agreement: Mapping[
        str, Estimate
    ]  # kind -> share of the photos with the same answer (of several labels: mean Jaccard), both open included
    moves: tuple[LabelMove, ...]  # largest change first
    tables: Mapping[str, Confusion]  # kind with one answer -> rows: a's label, columns: b's
    differing: tuple[str, ...]  # image_ids to look at first
    n_differing: int


def label_flow(
    a: pl.DataFrame,
    b: pl.DataFrame,
    *,
    questions: Questions,
    kinds: Sequence[str] | None = None,
    groups: Mapping[str, str] | None = None,
    resamples: int = 500,
) -> Flow:
    """Compare label rows photo by photo on the photos of both. A photo twice in one side counts once. `kinds`: None for all questions."""
    a = a.unique("image_id", keep="first", maintain_order=True).join(b, on="image_id", how="semi", maintain_order="left")
    side = align(b, a, questions=questions, groups=groups, use_weights=False)
    asked = [question for question in questions if side.ids and (kinds is None or question.head in kinds)]
    parts = {question.head: _part(question, side, resamples) for question in asked}
    moves = [move for part in parts.values() for move in part.moves if move.gained or move.lost]
    unlike = sum((part.unlike for part in parts.values()), np.zeros(len(side.ids)))
    main = questions.main
    before, after = ([None] * len(side.ids) if main is None else rows[main.key].to_list() for rows in (side.truth, side.predicted))
    return Flow(
        n=len(side.ids),
        agreement={kind: part.agreement for kind, part in parts.items() if part.agreement is not None},
        moves=tuple(sorted(moves, key=lambda move: (-(move.gained + move.lost), move.label))),
        tables={kind: part.table for kind, part in parts.items() if part.table is not None},
        differing=_to_look_at(side.ids, unlike, before, after),
        n_differing=int((unlike > 0).sum()),
    )


@dataclass(frozen=True)
class _Part:
    """What is different in one question; `unlike`: how much of each photo is, one label weighing most."""

    unlike: NDArray[np.float64]
    moves: Sequence[LabelMove] = ()
    agreement: Estimate | None = None
    table: Confusion | None = None


def _part(question: Question, side: Aligned, resamples: int) -> _Part:
    before, after = side.truth, side.predicted
    if isinstance(question, OneOf):
        asked, unlike = side.asked(question.key), np.zeros(len(side.ids))
        if not asked.any():
            return _Part(unlike)
        one, other = (rows[question.key].filter(asked).to_list() for rows in (before, after))
        same = np.array([x == y for x, y in zip(one, other, strict=True)])
        contrary = np.array([x != y and x is not None and y is not None for x, y in zip(one, other, strict=True)])
        unlike[asked] = 10.0 * ~same + 5 * contrary
        moves = _one_of_moves(question.head, one, other)
        return _Part(unlike, moves, weighted_share(same, groups=side.groups[asked]), _table(one, other))
    if isinstance(question, YesNo):
        moves, same, seen = [], np.ones(len(side.ids), dtype=bool), np.zeros(len(side.ids), dtype=bool)
        for label in question.labels:
            asked = side.asked(label.word)
            one, other = (rows[label.word].filter(asked).to_list() for rows in (before, after))
            seen |= asked
            if not any(x is not None for x in one) or not any(x is not None for x in other):
                continue  # one side is never asked
            same[asked] &= np.array([x == y for x, y in zip(one, other, strict=True)])
            moves.append(_yes_no_move(question.head, label.key, one, other))
        return _Part(2.0 * ~same, moves, weighted_share(same[seen], groups=side.groups[seen]) if seen.any() else None)
    asked = side.asked(question.key)
    moves = _many_of_moves(question.head, *(rows[question.key].filter(asked).to_list() for rows in (before, after)))
    overlap = photo_scores(side, question.head)  # (n,) Jaccard, nan where a says nothing
    seen = np.isfinite(overlap) & asked
    if not seen.any():
        return _Part(np.zeros(len(side.ids)), moves)
    agreement = cluster_bootstrap(overlap[seen], side.groups[seen], resamples=resamples)
    return _Part(np.where(seen, 1 - np.nan_to_num(overlap, nan=1.0), 0), moves, agreement)


def _one_of_moves(kind: str, a: Sequence[str | None], b: Sequence[str | None]) -> list[LabelMove]:
    pairs = list(zip(a, b, strict=True))
    return [
        LabelMove(
            kind, label, sum(x == label for x in a), sum(y == label for y in b),
            gained=sum(y == label != x for x, y in pairs),
            lost=sum(x == label != y for x, y in pairs),
            flipped=sum(x is not None and y is not None and x != y and label in (x, y) for x, y in pairs),
        )
        for label in sorted({label for label in (*a, *b) if label is not None})
    ]  # fmt: skip


def _yes_no_move(kind: str, label: str, a: Sequence[bool | None], b: Sequence[bool | None]) -> LabelMove:
    pairs = list(zip(a, b, strict=True))
    return LabelMove(
        kind, label, sum(x is True for x in a), sum(y is True for y in b),
        gained=sum(y is True and x is not True for x, y in pairs),
        lost=sum(x is True and y is not True for x, y in pairs),
        flipped=sum(x is not None and y is not None and x != y for x, y in pairs),
    )  # fmt: skip


def _many_of_moves(kind: str, a: Sequence[Sequence[str] | None], b: Sequence[Sequence[str] | None]) -> list[LabelMove]:
    one, other = [set(labels or ()) for labels in a], [set(labels or ()) for labels in b]
    return [
        LabelMove(
            kind, label, sum(label in x for x in one), sum(label in y for y in other),
            gained=sum(label in y - x for x, y in zip(one, other, strict=True)),
            lost=sum(label in x - y for x, y in zip(one, other, strict=True)),
            flipped=None,
        )
        for label in sorted(set().union(*one, *other))
    ]  # fmt: skip


def _table(a: Sequence[str | None], b: Sequence[str | None]) -> Confusion:
    """a's labels as rows, b's as columns, both in the same order; photos left open come last."""
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
