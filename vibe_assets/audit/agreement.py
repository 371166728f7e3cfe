"""Verdict rows become how far people agree beyond chance: Cohen's kappa for pairs, Krippendorff's alpha for all of them.

Rows are those of `judgement_rows`, one per photo and person. Photos count alike: the figures are about people, not the library.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vibe_assets.evaluate.intervals import RESAMPLES, cluster_bootstrap, ratio, wilson
from vibe_assets.records import Estimate

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

MIN_PHOTOS = 10  # below it an interval spans nearly everything
MIN_OTHERS = 5  # photos with another answer than the most frequent: with fewer, 1 resample in 100 or more has none and no kappa


@dataclass(frozen=True)
class Concord:
    """How far people agree on one question. Either `estimate`, or `reason` says why there is none."""

    question: str  # the column
    people: tuple[str, ...]
    n: int  # photos that at least two of them answered
    blind: int  # of these, photos on which none of them was shown labels
    observed: float | None  # share of pairs of answers that are the same
    estimate: Estimate | None  # kappa (two people) or alpha (all): 1 is perfect, the baseline 0 is chance
    reason: str | None = None


def cohen_kappa(
    labelled: pl.DataFrame,
    pair: tuple[str, str],
    question: str,
    *,
    groups: Mapping[str, str] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Concord:
    """Cohen's kappa (1960) of two people on one question, over the photos that both answered; cluster-bootstrap interval by group."""
    table = _answers(labelled, question, pair)
    k, n = table.categories, len(table.photos)
    cells = np.zeros((n, k * k))
    cells[np.arange(n), table.codes[:, 0] * k + table.codes[:, 1]] = 1
    observed = float((table.codes[:, 0] == table.codes[:, 1]).mean()) if n else None
    expected = float(_chance_disagreement_of_pair(cells.sum(axis=0).reshape(k, k))) if n else 0.0

    def kappa(sums: Floats) -> Floats:
        counts = sums.reshape(*sums.shape[:-1], k, k)
        disagreed = 1 - ratio(np.einsum("...ii->...", counts), counts.sum(axis=(-2, -1)))
        return 1 - ratio(disagreed, _chance_disagreement_of_pair(counts))

    return _concord(table, cells, kappa, observed, expected, groups, resamples, seed)


def krippendorff_alpha(
    labelled: pl.DataFrame, question: str, *, groups: Mapping[str, str] | None = None, resamples: int = RESAMPLES, seed: int = 0
) -> Concord:
    """Krippendorff's alpha for nominal data (2011): any number of people, missing answers allowed; cluster-bootstrap interval by group.

    A photo with m >= 2 answers gives m (m - 1) ordered pairs, each of weight 1 / (m - 1). alpha = 1 - (n - 1) D / (n^2 - sum n_c^2):
    D the weight of unequal pairs, n_c the answers c in photos with two or more, n their sum.
    """
    table = _answers(labelled, question, tuple(sorted(labelled["annotator"].unique().to_list())))
    counts = (table.codes[:, :, None] == np.arange(table.categories)).sum(axis=1).astype(np.float64)  # (photos, answers)
    m = counts.sum(axis=1)
    unequal = (np.square(m) - np.square(counts).sum(axis=1)) / (m - 1)
    observed = float(1 - unequal.sum() / m.sum()) if len(m) else None
    expected = float(_chance_disagreement_of_all(counts.sum(axis=0))) if len(m) else 0.0

    def alpha(sums: Floats) -> Floats:
        return 1 - ratio(ratio(sums[..., 0], sums[..., 1:].sum(axis=-1)), _chance_disagreement_of_all(sums[..., 1:]))

    return _concord(table, np.concatenate([unequal[:, None], counts], axis=1), alpha, observed, expected, groups, resamples, seed)


def _chance_disagreement_of_pair(counts: Floats) -> Floats:
    """(..., k, k) photos by both answers -> share of unequal answers if each person kept their habits and drew at random."""
    total = counts.sum(axis=(-2, -1))
    return 1 - ratio((counts.sum(axis=-1) * counts.sum(axis=-2)).sum(axis=-1), np.square(total))


def _chance_disagreement_of_all(answers: Floats) -> Floats:
    """(..., k) answers of everybody -> share of unequal pairs if all answers were dealt out anew, none twice."""
    total = answers.sum(axis=-1)
    return ratio(np.square(total) - np.square(answers).sum(axis=-1), total * (total - 1))


@dataclass(frozen=True)
class _Answers:
    """One question's answers on the photos that at least two people answered."""

    question: str
    people: tuple[str, ...]
    photos: list[str]
    codes: NDArray[np.intp]  # (photos, people), -1 where there is no answer
    categories: int
    blind: int

    def others(self) -> int:
        """Photos on which somebody gave another answer than the most frequent."""
        given = self.codes[self.codes >= 0]
        most_frequent = int(np.bincount(given).argmax())
        return int(((self.codes >= 0) & (self.codes != most_frequent)).any(axis=1).sum())


def _answers(labelled: pl.DataFrame, question: str, people: Sequence[str]) -> _Answers:
    import polars as pl

    known = labelled.filter(pl.col(question).is_not_null() & pl.col("annotator").is_in(people))
    known = known.filter(pl.len().over("image_id") >= 2).sort("image_id", "annotator")
    photos = known["image_id"].unique().sort().to_list()
    values = known[question].cast(pl.String)
    categories = sorted(values.unique().to_list())
    codes = np.full((len(photos), len(people)), -1, dtype=np.intp)
    row_of, column_of, code_of = ({name: at for at, name in enumerate(names)} for names in (photos, people, categories))
    for image_id, person, value in zip(known["image_id"], known["annotator"], values, strict=True):
        codes[row_of[image_id], column_of[person]] = code_of[value]
    blind = known.group_by("image_id").agg(pl.col("blind").all())["blind"].sum()
    return _Answers(question, tuple(people), photos, codes, len(categories), int(blind))


def _concord(
    table: _Answers, terms: Floats, statistic: Any, observed: float | None, expected: float, groups: Mapping[str, str] | None,
    resamples: int, seed: int,
) -> Concord:  # fmt: skip
    """`terms` (photos, t) add up to the statistic; `expected` is the disagreement by chance."""
    n = len(table.photos)

    def without(reason: str) -> Concord:
        return Concord(table.question, table.people, n, table.blind, observed, None, reason)

    if n < MIN_PHOTOS:
        return without(f"{n} photos answered by two people, at least {MIN_PHOTOS} are needed" if n else "no photo answered by two people")
    if np.isclose(expected, 0):
        return without("everybody gave one and the same answer to every photo: chance alone would agree as well")
    if (others := table.others()) < MIN_OTHERS:
        return without(f"{others} photos got another answer than the most frequent one, at least {MIN_OTHERS} are needed")
    codes = np.array([(groups or {}).get(image_id, image_id) for image_id in table.photos])
    estimate = cluster_bootstrap(terms, codes, statistic=statistic, resamples=resamples, seed=seed, baseline=0.0)
    if observed == 1.0:  # nothing to resample: Wilson's end for that many groups without a disagreement
        groups_n = len(np.unique(codes))
        estimate = Estimate(1.0, max(-1.0, 1 - (1 - wilson(groups_n, groups_n).low) / expected), 1.0, n, 0.0)
    return Concord(table.question, table.people, n, table.blind, observed, estimate)
