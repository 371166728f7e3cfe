"""Predicted and true names of faces go in; accuracy, balance, skew and choice figures with intervals and baselines come out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vibe_assets.evaluate.intervals import percentile_estimate, weighted_share
from vibe_assets.records import Estimate

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Codes = NDArray[np.int64]
    Floats = NDArray[np.float64]

RESAMPLES = 500
TOP = 30
CHOICES = (2, 4, 5)  # names offered at once; people were given 4 or 5 (Zwebner et al. 2017)


@dataclass(frozen=True)
class NameScore:
    """One name: how often it is true, how often it was said, and how often both."""

    name: str
    support: int
    predicted: int
    hits: int

    @property
    def precision(self) -> float:
        return self.hits / self.predicted if self.predicted else 0.0

    @property
    def recall(self) -> float:
        return self.hits / self.support if self.support else 0.0

    @property
    def f1(self) -> float:
        return 2 * self.hits / (self.support + self.predicted) if self.support + self.predicted else 0.0


@dataclass(frozen=True)
class Scores:
    """The figures of one track. `chance` is the accuracy of its own answers dealt out to the faces at random."""

    headline: dict[str, Estimate]
    names: tuple[NameScore, ...]  # in the order of the classes
    chance: float
    loudest: NameScore  # the name with the highest recall
    n: int

    def ranked(self) -> list[NameScore]:
        """Names that occur, by F1, the best first."""
        return sorted((one for one in self.names if one.support), key=lambda one: (-one.f1, -one.support, one.name))


HEADLINE = {
    "accuracy": "accuracy",
    "unusable": "unusable answers (none of the names, or several)",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro-F1",
    "top5": "top-5 accuracy",
    "top30_accuracy": "accuracy on the 30 most frequent names",
    "balanced_subset": "accuracy on equally many faces of each name",
    "prediction_cv": "prediction CV",
    "max_recall": "highest recall of a name",
    "choice_2": "choice of 2 names",
    "choice_4": "choice of 4 names",
    "choice_5": "choice of 5 names",
}
NOT_SHARES = ("prediction_cv",)


def chance_accuracy(predictions: Codes, truth: Codes, classes: int) -> float:
    """Expected accuracy of these answers if they were dealt out to the faces at random: sum over names of true share x said share.

    This, neither 1 / names nor the share of the most frequent name, is what labels that have nothing to do with the faces reach.
    """
    said, true = np.bincount(predictions, minlength=classes), np.bincount(truth, minlength=classes)
    return float(np.dot(said[:classes] / len(truth), true[:classes] / len(truth)))


def judge(
    predictions: Codes, truth: Codes, names: Sequence[str], *, groups: NDArray[Any] | None = None, ranks: Floats | None = None,
    most_frequent: Sequence[int] | None = None, majority: int | None = None, resamples: int = RESAMPLES, seed: int = 0,
) -> Scores:  # fmt: skip
    """Judge answers (n,) against true names (n,), both as positions in `names`; an answer len(names) is none of them.

    Such unusable answers are wrong, have a share of their own, and are no further name in any other figure.
    `groups` (n,): faces of one person or near-duplicates, drawn together by the intervals. `ranks` (n,): rank of the true name, for the
    top-5 and the choices; without them those are left out. `most_frequent`: the names that top-30 counts, most frequent in training first
    (default: by support). `majority`: the name most frequent in training (default: in the truth). Raises ValueError for no faces.
    """
    classes, n = len(names), len(truth)
    if n == 0 or len(predictions) != n:
        raise ValueError(f"expected as many answers as true names and at least one, got {len(predictions)} and {n}")
    if min(predictions.min(), truth.min()) < 0 or truth.max() >= classes or predictions.max() > classes:
        raise ValueError(f"expected names 0..{classes - 1}, got {truth.min()}..{truth.max()} and answers up to {predictions.max()}")
    support, said = np.bincount(truth, minlength=classes), np.bincount(predictions, minlength=classes)[:classes]
    hit = predictions == truth
    hits = np.bincount(truth[hit], minlength=classes)
    rows = tuple(NameScore(name, int(support[at]), int(said[at]), int(hits[at])) for at, name in enumerate(names))
    frequent = int(support.argmax()) if majority is None else majority
    chance = chance_accuracy(predictions, truth, classes)
    loudest = max(rows, key=lambda one: (one.recall, one.support))
    headline = {"accuracy": weighted_share(hit, groups=groups, baseline=float(support[frequent] / n))}
    if (unusable := predictions == classes).any():
        headline["unusable"] = weighted_share(unusable, groups=groups)
    headline |= _resampled(predictions, truth, classes, groups, resamples=resamples, seed=seed)
    if ranks is not None and classes > 5:
        headline["top5"] = weighted_share(ranks <= 5, groups=groups, baseline=5 / classes)
    order = list(most_frequent) if most_frequent is not None else np.argsort(-support, kind="stable").tolist()
    inside = np.isin(truth, order[:TOP])
    if classes >= TOP and inside.any():
        headline["top30_accuracy"] = weighted_share(hit[inside], groups=None if groups is None else groups[inside], baseline=1 / TOP)
    at = balanced_subset(truth, seed=seed)
    if len(at):
        headline["balanced_subset"] = weighted_share(
            hit[at], groups=None if groups is None else groups[at], baseline=1 / int((support > 0).sum())
        )
    headline["max_recall"] = _highest(loudest, hit, truth, groups)
    if ranks is not None:
        headline |= choices(ranks, truth, classes, groups=groups, resamples=resamples, seed=seed)
    return Scores({name: headline[name] for name in HEADLINE if name in headline}, rows, chance, loudest, n)


def balanced_subset(truth: Codes, *, seed: int = 0) -> Codes:
    """Positions of equally many faces of every name that occurs: as many as the rarest has, drawn by `seed`."""
    support = np.bincount(truth)
    each = int(support[support > 0].min())
    order = np.random.default_rng(seed).permutation(len(truth))
    by_name = order[np.argsort(truth[order], kind="stable")]
    starts = np.cumsum(support) - support
    return np.sort(np.concatenate([by_name[start : start + each] for start, count in zip(starts, support, strict=True) if count]))


def choices(
    ranks: Floats, truth: Codes, classes: int, *, groups: NDArray[Any] | None = None, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Estimate]:
    """How often the true name wins against m - 1 other names drawn at random: exact over all draws, every name counting alike.

    With every name counting alike, an answer that does not look at the face reaches exactly 1 / m, however skewed it is.
    """
    below = classes - ranks  # names that the true one beats; a tie counts half
    offered = [m for m in CHOICES if m <= classes]
    wins = [np.prod([np.clip(below - drawn, 0, None) / (classes - 1 - drawn) for drawn in range(m - 1)], axis=0) for m in offered]
    draws = []
    for weight in _weights(len(truth), groups, resamples, seed):
        support = np.bincount(truth, weight, classes)
        there = support > 0
        draws.append([(np.bincount(truth, weight * won, classes)[there] / support[there]).mean() for won in wins])
    table = np.array(draws)
    found = {m: percentile_estimate(table[:, at], n=len(truth), baseline=1 / m) for at, m in enumerate(offered)}
    return {f"choice_{m}": one for m, one in found.items() if one is not None}


def _resampled(
    predictions: Codes, truth: Codes, classes: int, groups: NDArray[Any] | None, *, resamples: int, seed: int
) -> dict[str, Estimate]:
    """Balanced accuracy, macro-F1 and prediction CV, each with the interval of resampled groups."""
    present = np.bincount(truth, minlength=classes) > 0
    hit = predictions == truth
    draws = []
    for weight in _weights(len(truth), groups, resamples, seed):
        support = np.bincount(truth, weight, classes)
        said = np.bincount(predictions, weight, classes)[:classes]
        hits = np.bincount(truth, weight * hit, classes)
        recall = np.divide(hits, support, out=np.full(classes, np.nan), where=support > 0)
        f1 = np.divide(2 * hits, support + said, out=np.zeros(classes), where=support + said > 0)
        draws.append((np.nanmean(recall[present]), f1[present].mean()))
    table = np.array(draws)
    n, share_of = len(truth), float(len(truth) if groups is None else len(np.unique(groups)))
    balanced = percentile_estimate(table[:, 0], n=n, baseline=1 / int(present.sum()), share_of=share_of)
    macro = percentile_estimate(table[:, 1], n=n, share_of=share_of)
    assert balanced is not None
    assert macro is not None
    return {"balanced_accuracy": balanced, "macro_f1": macro, "prediction_cv": _spread(predictions, classes, groups, resamples, seed)}


def _spread(predictions: Codes, classes: int, groups: NDArray[Any] | None, resamples: int, seed: int) -> Estimate:
    """CV of how often names are said; its interval is without the counting noise that lifts it: from pairs of answers of different groups.

    CV squared is names x (chance that two answers are the same name) - 1; pairs within a group, or of a group with its own copy in a
    resample, say nothing of that chance (Simpson 1949 for single answers). 0 where chance explains all.
    """
    n, skewest = len(predictions), float(np.sqrt(classes - 1))  # of all answers on one name; nothing that can be used is no better
    usable = predictions < classes
    if not usable.any():
        return Estimate(skewest, 0.0, skewest, n)
    predictions = predictions[usable]
    codes = np.arange(len(predictions)) if groups is None else np.unique(groups[usable], return_inverse=True)[1]
    cells, counts = np.unique(codes * classes + predictions, return_counts=True)
    group, name, sizes = cells // classes, cells % classes, np.bincount(codes)
    count, rng, draws = len(sizes), np.random.default_rng(seed), []
    for at in range(resamples + 1):
        times = np.ones(count) if at == 0 else np.bincount(rng.integers(count, size=count), minlength=count).astype(np.float64)
        said = times[group] * counts
        same = np.square(np.bincount(name, said, classes)).sum() - np.square(said).sum()
        pairs = np.square((times * sizes).sum()) - np.square(times * sizes).sum()
        draws.append(np.sqrt(max(0.0, classes * same / pairs - 1)) if pairs > 0 else np.nan)
    plain = np.bincount(predictions, minlength=classes)
    value = float(plain.std() / plain.mean())  # as published, with its noise: the interval reaches down to where none is
    found = percentile_estimate(np.array(draws), n=n)
    low, high = (0.0, skewest) if found is None else (found.low, found.high)
    return Estimate(value, min(low, value), max(high, value), n)


def _highest(loudest: NameScore, hit: NDArray[np.bool_], truth: Codes, groups: NDArray[Any] | None) -> Estimate:
    """The highest recall, between the highest of all lower and the highest of all upper ends, each at 0.05 over the number of names.

    The highest of many shares is high by luck too; only an interval that holds for all names at once holds for it (Bonferroni).
    """
    there = np.unique(truth)
    each = [
        weighted_share(hit[truth == at], groups=None if groups is None else groups[truth == at], level=1 - 0.05 / len(there))
        for at in there
    ]
    return Estimate(loudest.recall, max(one.low for one in each), max(one.high for one in each), loudest.support)


def _weights(n: int, groups: NDArray[Any] | None, resamples: int, seed: int) -> Any:
    """Weights (n,) of the sample itself, then of `resamples` draws of whole groups."""
    yield np.ones(n)
    codes = np.arange(n) if groups is None else np.unique(groups, return_inverse=True)[1]
    count = int(codes.max()) + 1
    rng = np.random.default_rng(seed)
    for _ in range(resamples):
        yield np.bincount(rng.integers(count, size=count), minlength=count).astype(np.float64)[codes]
