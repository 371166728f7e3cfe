"""Two versions' label rows beside one truth become a paired comparison and a decision to deploy; label shares become a drift."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vibe_assets.evaluate.align import Aligned, align
from vibe_assets.evaluate.combined import Models, combined_share
from vibe_assets.evaluate.figures import kinds_of, left_open
from vibe_assets.evaluate.intervals import mcnemar_exact, paired_randomisation, weighted_share
from vibe_assets.evaluate.paired import WORST_LEVEL, loses_too_much, weighted_difference
from vibe_assets.questions import OneOf, Questions, YesNo
from vibe_assets.records import Estimate

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

    from vibe_assets.evaluate.said import Said


@dataclass(frozen=True)
class Comparison:
    """Version b (new) against version a (in force) on the same photos."""

    what: str  # kind of the question: scene | attribute | object
    n: int  # photos compared
    n_only_a_right: int  # of several labels: photos where a scores higher
    n_only_b_right: int
    delta: Estimate | None  # mean score of b minus a, weighted; baseline 0; None for no photos
    p_worse: float  # one-sided: b is worse than a
    p_two_sided: float
    test: str  # what the p-values come from
    verdict: str
    worst: float = -1.0  # lower end of the difference at WORST_LEVEL: what may be lost


@dataclass(frozen=True)
class Decision:
    """Whether a version may be deployed, and why. `warn`: allowed, but on no evidence."""

    allowed: bool
    reason: str
    warn: bool = False


def compare_paired(
    a: pl.DataFrame,
    b: pl.DataFrame,
    truth: pl.DataFrame,
    *,
    questions: Questions,
    groups: Mapping[str, str] | pl.DataFrame | None = None,
    weights: bool = True,
    what: str | None = None,
    seed: int = 0,
    others: pl.DataFrame | None = None,
) -> Comparison:
    """Score both versions photo by photo: one label right or wrong, yes or no right among the known, Jaccard of sets of labels.

    An abstention or a missing row scores 0 for what it leaves open. The difference and its interval are weighted by 1 / inclusion
    probability when `weights`, and made over groups: near-duplicates are won and lost together. p-values: randomisation test by group;
    where all groups that differ weigh alike and are won or lost as a whole, that is the exact McNemar (or sign) test. `others`: a less
    sure truth (the teacher's labels) of many more photos that both versions speak of; what the versions differ by on those narrows the
    interval (`moved`). `what`: kind of a question, None for that on which teachers are compared.
    """
    what = questions.judged.head if what is None else what
    question = questions.of_head(what)
    if question is None:
        raise ValueError(f"expected one of {kinds_of(questions)}, got {what!r}")
    side_a = align(a, truth, questions=questions, groups=groups, use_weights=weights)
    side_b = align(b, truth, questions=questions, groups=groups, use_weights=weights)
    score_a, score_b = photo_scores(side_a, what), photo_scores(side_b, what)
    seen = np.isfinite(score_a)
    difference, group, weight = (score_b - score_a)[seen], side_a.groups[seen], side_a.weights[seen]
    only_a, only_b = int((difference < 0).sum()), int((difference > 0).sum())
    if len(difference) == 0:
        return Comparison(what, 0, 0, 0, None, 1.0, 1.0, "none", "No photo with a known answer: nothing can be compared.")
    models = None if others is None else _differences(a, b, others, what, questions, [side_a.ids[at] for at in np.flatnonzero(seen)])
    delta = weighted_difference(difference, weights=weight, groups=group, models=models)
    net = np.bincount(np.unique(group, return_inverse=True)[1], difference * weight)
    moved = np.abs(net[net != 0])
    if isinstance(question, OneOf) and np.allclose(moved, moved[:1]):
        p_two_sided, p_worse = mcnemar_exact(int((net < 0).sum()), int((net > 0).sum()))
        test = "exact McNemar" if len(net) == len(group) else "exact sign test over groups"
    else:
        p_worse = paired_randomisation(net, seed=seed)
        p_two_sided = min(1.0, 2 * min(p_worse, paired_randomisation(-net, seed=seed)))
        test = "randomisation test over groups"
    worst = weighted_difference(difference, weights=weight, groups=group, level=WORST_LEVEL, models=models).low
    verdict = _verdict(delta, only_a, only_b, p_worse)
    return Comparison(what, len(difference), only_a, only_b, delta, p_worse, p_two_sided, test, verdict, worst)


def _differences(a: pl.DataFrame, b: pl.DataFrame, truth: pl.DataFrame, what: str, questions: Questions, ids: list[str]) -> Models | None:
    """What b scores above a by another truth, of these photos and on the mean of all its photos; 0 where it is unknown.

    None where it has not all of these photos: they are no sample of its photos then.
    """
    if set(ids) - set(truth["image_id"]):
        return None
    side_a, side_b = (align(rows, truth, questions=questions) for rows in (a, b))
    difference = np.nan_to_num(photo_scores(side_b, what) - photo_scores(side_a, what))
    of_photo = dict(zip(side_a.ids, difference.tolist(), strict=True))
    return Models(np.array([[of_photo[image_id]] for image_id in ids]), np.array([difference.mean()]), len(difference))


def photo_scores(side: Aligned, what: str) -> NDArray[np.float64]:
    """(n,) score of every photo for a kind of question, 0..1; nan where the truth is unknown."""
    question = side.questions.of_head(what)
    if question is None:
        raise ValueError(f"expected one of {kinds_of(side.questions)}, got {what!r}")
    columns = [field.name for field in question.fields]
    if isinstance(question, YesNo):
        true, guess = ([rows[name].to_list() for name in columns] for rows in (side.truth, side.predicted))
        known = [[k for k in range(len(columns)) if true[k][at] is not None] for at in range(len(side.ids))]
        return np.array([np.mean([true[k][at] == guess[k][at] for k in ks]) if ks else np.nan for at, ks in enumerate(known)])
    pairs = zip(side.truth[columns[0]].to_list(), side.predicted[columns[0]].to_list(), strict=True)
    if isinstance(question, OneOf):
        return np.array([np.nan if one is None else float(one == other) for one, other in pairs])
    return np.array([np.nan if one is None else 0.0 if other is None else _jaccard(set(one), set(other)) for one, other in pairs])


def _jaccard(a: set[str], b: set[str]) -> float:
    return len(a & b) / len(a | b) if a | b else 1.0


def _verdict(delta: Estimate, only_a: int, only_b: int, p_worse: float) -> str:
    points = f"{100 * delta.value:+.1f} points [{100 * delta.low:+.1f}, {100 * delta.high:+.1f}]"
    evidence = f"on {delta.n} photos, {only_b} better and {only_a} worse"
    if only_a + only_b == 0:
        return f"No difference: both versions do the same on all {delta.n} photos."
    if delta.low > 0:
        return f"Better by {points} {evidence}."
    if delta.high < 0:
        return f"Worse by {points} {evidence} (one-sided p = {p_worse:.3g})."
    return f"No clear difference: {points} {evidence} (one-sided p of being worse = {p_worse:.3g})."


def may_deploy(comparison: Comparison | None, max_loss: float = 0.05) -> Decision:
    """Allow a new version unless it is worse or may lose more than `max_loss` against the one it is compared with (`loses_too_much`).

    `comparison` is None when there is none to compare with.
    """
    if comparison is None:
        return Decision(True, "nothing is deployed yet, so there is nothing to lose to; no comparison was made", warn=True)
    if comparison.delta is None:
        return Decision(
            False, "a version is in force and no photo with a known answer can tell the two apart: audit photos of the test split first"
        )
    if not loses_too_much(comparison.delta, comparison.worst, max_loss):
        if comparison.worst < -max_loss:  # ahead or level, on so few photos that it proves little
            few = f"not behind, though up to {-100 * comparison.worst:.0f} points may be lost: {comparison.n} audited photos tell little"
            return Decision(True, f"{few}. {comparison.verdict}")
        return Decision(True, f"loses at most {100 * max_loss:g} points. {comparison.verdict}")
    if comparison.delta.high < 0:
        return Decision(False, f"worse. {comparison.verdict}")
    return Decision(
        False, f"may lose more than {100 * max_loss:g} points: {comparison.verdict} More audited photos of the test split would tell"
    )


# -- label shares ----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Drift:
    """How far label shares moved between two sets of rows."""

    distance: float  # largest of `by_kind`, 0..1
    by_kind: Mapping[str, float]  # kind -> total variation distance; of yes or no the largest change of a share
    deltas: Mapping[str, float]  # label -> new share minus old, largest change first

    @property
    def largest(self) -> tuple[tuple[str, float], ...]:
        """The eight largest changes."""
        return tuple(self.deltas.items())[:8]


def label_shares(rows: pl.DataFrame, questions: Questions) -> dict[str, float]:
    """Share of photos by label; {} for no rows.

    Labels of one_of sum to 1 with `left_open` (scene.none); a yes counts among the known, labels of many_of among all.
    """
    once = rows.unique("image_id", keep="first", maintain_order=True)
    n = len(once)
    if n == 0:
        return {}
    shares: dict[str, float] = {}
    for question in questions:
        if isinstance(question, YesNo):
            means = {label.key: once[label.word].mean() for label in question.labels}
            shares |= {label: share for label, share in means.items() if isinstance(share, float)}
            continue
        column = once[question.key]
        if isinstance(question, OneOf):
            counted = column.fill_null(left_open(question)).value_counts(sort=True, name="photos").rows()
        else:
            named = column.list.unique().explode().drop_nulls().value_counts(sort=True, name="photos")
            counted = sorted(named.iter_rows(), key=lambda item: (-item[1], item[0]))
        shares |= {label: photos / n for label, photos in counted}
    return shares


def label_drift(old_shares: Mapping[str, float], new_shares: Mapping[str, float], questions: Questions) -> Drift:
    """Total variation distance of each question's labels (as shares of all mentions), of yes_no ones the largest change.

    Against an empty side nothing has drifted: distance 0.
    """
    if not old_shares or not new_shares:
        return Drift(0.0, {}, {})
    labels = {*old_shares, *new_shares}
    deltas = {label: new_shares.get(label, 0.0) - old_shares.get(label, 0.0) for label in labels}
    by_kind = {}
    for question in questions:
        mine = [label for label in labels if label.startswith(f"{question.prefix}.")]
        largest = max((abs(deltas[label]) for label in mine), default=0.0)
        by_kind[question.head] = largest if isinstance(question, YesNo) else _distance(old_shares, new_shares, f"{question.prefix}.")
    ordered = dict(sorted(deltas.items(), key=lambda item: (-abs(item[1]), item[0])))
    return Drift(max(by_kind.values()), by_kind, ordered)


def _distance(old: Mapping[str, float], new: Mapping[str, float], prefix: str) -> float:
    """Half the sum of absolute differences of two distributions; a side without any such label is a distribution of its own."""
    labels = sorted(label for label in {*old, *new} if label.startswith(prefix))
    p, q = (np.array([shares.get(label, 0.0) for label in labels]) for shares in (old, new))
    if not p.sum() or not q.sum():
        return float(bool(p.sum()) != bool(q.sum()))
    return float(np.abs(p / p.sum() - q / q.sum()).sum() / 2)


def estimate_shares(
    truth: pl.DataFrame,
    *,
    questions: Questions,
    groups: Mapping[str, str] | pl.DataFrame | None = None,
    raw: Mapping[str, float] | None = None,
    finite: bool = False,
    said: Said | None = None,
) -> dict[str, Estimate]:
    """Label shares of the photos that the audited rows were drawn from, estimated by inclusion probability (Hajek).

    `raw`: the shares that the labels in use claim (`label_shares`), given as the baseline to compare with. `finite` as in
    `weighted_share`. `said`: what teacher and students say of all those photos, which then is counted in (`combined_share`).
    """
    side = align(truth, truth, questions=questions, groups=groups)
    marks: dict[str, tuple[NDArray[np.bool_], NDArray[np.bool_]]] = {}  # label -> (has it, is known)
    for question in questions:
        if isinstance(question, YesNo):
            for yes in question.labels:
                column = side.truth[yes.word]
                marks[yes.key] = (column.fill_null(False).to_numpy(), column.is_not_null().to_numpy())
        elif isinstance(question, OneOf):
            one = np.array([key or "" for key in side.truth[question.key].to_list()])
            marks |= {key: (one == key, one != "") for key in sorted(set(one.tolist()) - {""})}
        else:
            many = [set(keys or ()) for keys in side.truth[question.key].to_list()]
            asked = side.truth[question.key].is_not_null().to_numpy()
            marks |= {key: (np.array([key in has for has in many]), asked) for key in sorted(set().union(*many))}
    shared: dict[str, Any] = {"weights": side.weights, "groups": side.groups, "finite": finite and side.known_chances}
    found = {}
    for label, (has, known) in marks.items():
        baseline = (raw or {}).get(label)
        if said is not None and side.known_chances and known.any() and said.knows(side.ids):
            found[label] = combined_share(has, said.shares(side.ids, label), among=known, baseline=baseline, **shared)
        elif known.any():
            parts = {"weights": side.weights[known], "groups": side.groups[known], "finite": shared["finite"]}
            found[label] = weighted_share(has[known], baseline=baseline, **parts)
    return found
