"""Vectors, quality measures and preferences of series go in; padded arrays with masks, shared ties and splits come out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

AUXILIARY = ("sharpness", "exposure", "clipped_shadows", "clipped_highlights", "colourfulness", "contrast", "noise")
SKEWED = ("sharpness", "noise")  # spread over orders of magnitude: their logarithm is what a linear head can use


@dataclass(frozen=True, eq=False)
class Preference:
    """Who won between two photos of a series: votes for each, a tie being half a vote for both."""

    a: str
    b: str
    votes_a: float
    votes_b: float


@dataclass(frozen=True, eq=False)
class SeriesSet:
    """b series of at most n photos with d features each; rows beyond a series' length are zero and masked."""

    ids: tuple[str, ...]
    members: tuple[tuple[str, ...], ...]  # image_ids
    x: NDArray[np.float32]  # (b, n, d) vectors, auxiliary features behind them, not standardised
    mask: NDArray[np.bool_]  # (b, n)
    target: NDArray[np.float32]  # (b, n) chance to be the one people pick; winners that tie share it; zeros where nothing is known
    votes: NDArray[np.float32]  # (b, n, n) [i, j]: votes for i against j
    splits: NDArray[np.str_]  # (b,)
    blocks: NDArray[np.str_]  # (b,) series that are won and lost together

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def sizes(self) -> NDArray[np.int64]:
        return self.mask.sum(axis=1)

    @property
    def sole_winner(self) -> NDArray[np.bool_]:
        """Series with exactly one winner: those that count for top-1."""
        return (self.target > 0).sum(axis=1) == 1

    def only(self, rows: NDArray[np.bool_] | NDArray[np.intp]) -> SeriesSet:
        """Some of the series."""
        at = np.arange(len(self))[rows]
        return SeriesSet(
            tuple(self.ids[i] for i in at), tuple(self.members[i] for i in at), self.x[at], self.mask[at], self.target[at], self.votes[at],
            self.splits[at], self.blocks[at],
        )  # fmt: skip

    def split(self, name: str) -> SeriesSet:
        return self.only(self.splits == name)


def series_set(
    series: Mapping[str, Sequence[str]],
    features: Mapping[str, NDArray[np.float32]],
    preferences: Mapping[str, Sequence[Preference]],
    *,
    splits: Mapping[str, str],
    blocks: Mapping[str, str],
) -> SeriesSet:
    """Series with at least two photos that were compared and have features; photos that nobody compared are no candidates."""
    kept: dict[str, tuple[str, ...]] = {}
    for name in sorted(series):
        compared = {photo for one in preferences.get(name, ()) for photo in (one.a, one.b)}
        members = tuple(photo for photo in series[name] if photo in compared and photo in features)
        if len(members) > 1:
            kept[name] = members
    n = max((len(members) for members in kept.values()), default=0)
    d = len(next(iter(features.values()))) if features else 0
    x, mask = np.zeros((len(kept), n, d), np.float32), np.zeros((len(kept), n), bool)
    votes, target = np.zeros((len(kept), n, n), np.float32), np.zeros((len(kept), n), np.float32)
    for row, (name, members) in enumerate(kept.items()):
        place = {photo: at for at, photo in enumerate(members)}
        x[row, : len(members)] = [features[photo] for photo in members]
        mask[row, : len(members)] = True
        for one in preferences[name]:
            if one.a in place and one.b in place:
                votes[row, place[one.a], place[one.b]] += one.votes_a
                votes[row, place[one.b], place[one.a]] += one.votes_b
        target[row] = shared_win(votes[row], mask[row])
    return SeriesSet(
        tuple(kept), tuple(kept.values()), x, mask, target, votes,
        np.array([splits[name] for name in kept], dtype=np.str_), np.array([blocks[name] for name in kept], dtype=np.str_),
    )  # fmt: skip


def shared_win(votes: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(n,) chance to be the winner from votes (n, n): the highest Copeland score (duels won minus duels lost), shared by equals.

    Zeros where no duel was fought at all: a series without a preference has no winner.
    """
    score = np.where(mask, np.sign(votes - votes.T).sum(axis=1), -np.inf)
    if not votes.any():
        return np.zeros(len(mask), np.float32)
    best = score == score.max()
    return (best / best.sum()).astype(np.float32)


def auxiliary(quality: Mapping[str, float]) -> NDArray[np.float32]:
    """(7,) the measures of one photo as features, the skewed ones as log(1 + value)."""
    return np.array([np.log1p(quality[name]) if name in SKEWED else quality[name] for name in AUXILIARY], dtype=np.float32)
