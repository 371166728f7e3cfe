"""Predicted label rows and true label rows become an `Evaluation`: every figure with interval, n and baseline, and the list of errors.

A photo of the truth without a prediction counts as an abstention; an abstention is wrong in every accuracy except those "of the
answered". Photos whose truth is unknown leave the denominator, label by label.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from vibe_assets.evaluate import metrics
from vibe_assets.evaluate.align import Aligned, align
from vibe_assets.evaluate.combined import combined_share
from vibe_assets.evaluate.figures import Expand, expansion, headline_titles
from vibe_assets.evaluate.intervals import RESAMPLES, weighted_share
from vibe_assets.evaluate.metrics import Confusion, Curve, LabelScore, Reliability
from vibe_assets.evaluate.ordinal import Ordinal, ordinal
from vibe_assets.questions import ManyOf, OneOf, Question, Questions, Rating, YesNo
from vibe_assets.records import METRICS, Estimate

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

    from vibe_assets.evaluate.said import Said


@dataclass(frozen=True)
class Mistake:
    """One wrong or missing answer. `predicted` is None for an abstention, `confidence` None where the source gives none."""

    image_id: str
    what: str  # the kind of a question, or the label of a yes or no: scene | attr.blurred .. | object
    predicted: str | None
    truth: str
    confidence: float | None


@dataclass(frozen=True)
class SliceScore:
    """Accuracy of the main question within one part of the library."""

    by: str  # folder, camera, year ...
    value: str
    accuracy: Estimate


@dataclass(frozen=True)
class Evaluation:
    """How far labels are from the truth. Headline names are those of `headline_titles`; what has no denominator is absent."""

    subject: str  # teacher | student | trial
    truth_kind: str  # human | auto
    n: int  # photos with any truth
    n_groups: int
    n_missing: int  # photos of the truth without a prediction row
    weighted: bool
    headline: Mapping[str, Estimate]
    labels: tuple[LabelScore, ...]  # question by question
    confusions: Mapping[str, Confusion]  # kind -> table, of questions with one answer
    curves: Mapping[str, Curve]  # label of a yes or no -> curve, where confidences are known
    reliabilities: Mapping[str, Reliability]  # kind -> reliability, of questions with one answer
    abstained: Mapping[str, Estimate]  # column, or label of a yes or no: share left open
    mistakes: tuple[Mistake, ...] = field(repr=False)
    questions: Questions = field(repr=False, compare=False)
    slices: tuple[SliceScore, ...] = ()
    ordinals: Mapping[str, Ordinal] = field(default_factory=dict)  # kind -> how far ratings lie apart, of questions with a scale

    def table(self, kind: str) -> tuple[LabelScore, ...]:
        """The scores of one kind."""
        return tuple(score for score in self.labels if score.kind == kind)

    @property
    def confusion(self) -> Confusion | None:
        """Of the main question."""
        return None if self.questions.main is None else self.confusions.get(self.questions.main.head)

    @property
    def reliability(self) -> Reliability | None:
        """Of the main question."""
        return None if self.questions.main is None else self.reliabilities.get(self.questions.main.head)

    def metrics_rows(self, *, at: datetime, run_id: str, version: str) -> pl.DataFrame:
        """Rows of the METRICS table: headline figures (label '') and each label's precision, recall, F1 and average precision."""
        import polars as pl

        named = [(metric, "", estimate) for metric, estimate in self.headline.items()]
        for score in self.labels:
            named += [(metric, score.label, getattr(score, metric)) for metric in ("precision", "recall", "f1")]
        named += [("average_precision", label, curve.average_precision) for label, curve in self.curves.items()]
        named += [("abstained", label, estimate) for label, estimate in self.abstained.items()]
        named += [(metric, kind, estimate) for kind, found in self.ordinals.items() for metric, _, estimate in found.figures()]
        shared = {"at": at, "run_id": run_id, "subject": self.subject, "version": version, "truth": self.truth_kind}
        kept = ("value", "low", "high", "n", "baseline")
        rows = [
            {**shared, "metric": metric, "label": label, **{name: getattr(estimate, name) for name in kept}}
            for metric, label, estimate in named
            if estimate is not None
        ]
        return pl.DataFrame(rows, schema=METRICS.polars_schema())

    def to_json(self) -> str:
        """Everything but the mistakes as JSON; undefined figures are null."""
        names = ("subject", "truth_kind", "n", "n_groups", "n_missing", "weighted", "headline", "labels", "confusion", "curves")
        told = {name: getattr(self, name) for name in (*names, "reliability", "abstained", "slices")}
        further = {kind: table for kind, table in self.confusions.items() if table is not self.confusion}
        if further:
            told["further"] = {kind: {"confusion": table, "reliability": self.reliabilities.get(kind)} for kind, table in further.items()}
        if self.ordinals:
            told["ordinal"] = self.ordinals
        return json.dumps(_finite(told), ensure_ascii=False, indent=1)


def evaluate_labels(
    predicted: pl.DataFrame,
    truth: pl.DataFrame,
    *,
    questions: Questions,
    groups: Mapping[str, str] | pl.DataFrame | None = None,
    use_weights: bool = True,
    scores: pl.DataFrame | None = None,
    parents: bool = True,
    slices: pl.DataFrame | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
    subject: str = "student",
    truth_kind: str = "human",
    kinds: Collection[str] | None = None,
    finite: bool = False,
    said: Said | None = None,
) -> Evaluation:
    """Compare label rows with true label rows (both: image_id and the columns of the questions) on the photos of the truth.

    `groups`: image_id -> group, or PHOTO_GROUPS rows; photos not named are groups of their own. `use_weights`: weight by
    1 / inclusion_probability of the truth (null: 1). `scores`: rows with image_id and columns of confidences, where `predicted` lacks them.
    `parents`: parents of labels count as labels of their own; the main one is the first of a photo that is no parent, and only naming it
    itself finds it (top-1, top-3).
    `slices`: image_id and further columns; the accuracy of the main question is given for each of their values. `kinds`: what the
    predictions speak of (a single head knows one kind; the others would count as abstentions), None for all questions. `finite`: the
    figures are about the photos that the truth was drawn from (`weighted_share`), where all inclusion probabilities are known. `said`: what
    the judged source (first) and others say of every photo that could have been checked; accuracy, precision and recall are then of both
    (`combined_share`), where every photo of the truth is one of these.
    Raises ValueError on missing columns and repeated photos in the truth.
    """
    side = align(predicted, truth, questions=questions, groups=groups, use_weights=use_weights, scores=scores)
    options: dict[str, Any] = {"resamples": resamples, "seed": seed, "finite": finite and use_weights and side.known_chances}
    parts: dict[str, _Part] = {}
    for question in questions:
        if kinds is not None and question.head not in kinds:
            continue
        part = _part(question, side, expansion(questions, parents=parents), options)
        if said is not None and use_weights and side.known_chances and said.knows(side.ids):
            part = _with_models(part, question, side, said, parents, options["finite"])
        parts[question.head] = part
    every = parts.values()
    main = questions.main
    return Evaluation(
        subject=subject,
        truth_kind=truth_kind,
        n=len(side.ids),
        n_groups=len(set(side.groups.tolist())),
        n_missing=side.missing,
        weighted=bool(len(side.weights) and not np.allclose(side.weights, side.weights[0])),
        headline={name: found for name in headline_titles(questions) for part in every if (found := part.headline.get(name)) is not None},
        labels=tuple(score for part in every for score in part.labels),
        confusions={kind: part.confusion for kind, part in parts.items() if part.confusion is not None},
        curves={label: curve for part in every for label, curve in part.curves.items()},
        reliabilities={kind: part.reliability for kind, part in parts.items() if part.reliability is not None},
        ordinals={kind: part.ordinal for kind, part in parts.items() if part.ordinal is not None},
        abstained={name: share for part in every for name, share in part.abstained.items()},
        mistakes=_sorted_mistakes([mistake for part in every for mistake in part.mistakes]),
        questions=questions,
        slices=_slices(side, slices, main.key, finite=options["finite"]) if main is not None and main.head in parts else (),
    )


def _with_models(part: _Part, question: Question, side: Aligned, said: Said, parents: bool, finite: bool) -> _Part:
    """Accuracy, precision and recall with what models say of every photo (`combined_share`)."""
    shared: dict[str, Any] = {"weights": side.weights, "groups": side.groups, "finite": finite}
    headline = dict(part.headline)
    figure = f"{question.key}_accuracy"
    if accuracy := headline.get(figure):
        known = side.truth[question.key].is_not_null().to_numpy()
        right = (side.truth[question.key] == side.predicted[question.key]).fill_null(False).to_numpy()
        headline[figure] = combined_share(right, said.agreement(side.ids, question.key), among=known, baseline=accuracy.baseline, **shared)
    scores = []
    for score in part.labels:
        true, known = label_marks(side.truth, score.label, question, side.questions, parents=parents)
        guess = label_marks(side.predicted, score.label, question, side.questions, parents=parents)[0] & known
        if score.precision is not None and (models := said.of_label(side.ids, score.label, "precision")) is not None:
            found = combined_share(true & guess, models, among=guess, baseline=score.precision.baseline, **shared)
            score = replace(score, precision=found)
        if score.recall is not None and (models := said.of_label(side.ids, score.label, "recall")) is not None:
            score = replace(score, recall=combined_share(true & guess, models, among=true, **shared))
        scores.append(score)
    return replace(part, headline=headline, labels=scores)


def label_marks(
    rows: pl.DataFrame, label: str, question: Question, questions: Questions, *, parents: bool = True
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Of label rows: which have a label of the question (`parents` counted where asked for), and of which that is known, (n,)."""
    import polars as pl

    column = rows[label.partition(".")[2] if isinstance(question, YesNo) else question.key]
    known = column.is_not_null().to_numpy()
    if isinstance(question, YesNo):
        return column.fill_null(False).to_numpy(), known
    if isinstance(question, OneOf):
        return (column == label).fill_null(False).to_numpy(), known
    expand = expansion(questions, parents=parents)
    named = column.explode().drop_nulls().unique().to_list()
    covers = [key for key in named if label in expand([key])]
    has = column.list.eval(pl.element().is_in(covers)).list.any().fill_null(False)
    return has.to_numpy(), known


# -- one question, by its type --------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Part:
    headline: Mapping[str, Estimate | None] = field(default_factory=dict)
    labels: Sequence[LabelScore] = ()
    abstained: Mapping[str, Estimate] = field(default_factory=dict)
    mistakes: Sequence[Mistake] = ()
    confusion: Confusion | None = None
    reliability: Reliability | None = None
    ordinal: Ordinal | None = None
    curves: Mapping[str, Curve] = field(default_factory=dict)


def _part(question: Question, side: Aligned, expand: Expand, options: Mapping[str, Any]) -> _Part:
    if isinstance(question, OneOf):
        return _one_of_part(question, side, options)
    if isinstance(question, YesNo):
        return _yes_no_part(question, side, options)
    if isinstance(question, ManyOf):
        return _many_of_part(question, side, expand, options)
    raise TypeError(f"expected a question of a known type, got {question.type!r}")


def _one_of_part(question: OneOf, side: Aligned, options: Mapping[str, Any]) -> _Part:
    key, classes = question.key, question.keys
    known = side.truth[key].is_not_null().to_numpy()
    if not known.any():
        return _Part()
    at = np.flatnonzero(known)
    truth = [side.truth[key][int(k)] for k in at]
    guess = [side.predicted[key][int(k)] for k in at]
    shared: dict[str, Any] = {"groups": side.groups[at], "weights": side.weights[at]}
    finite = options["finite"]
    right = np.array([a == b for a, b in zip(guess, truth, strict=True)])
    answered = np.array([label is not None for label in guess])
    majority = max(metrics.prior_shares(truth, shared["weights"]).values())
    names = [*classes, *sorted({*truth, *(label for label in guess if label is not None)} - set(classes))]
    true_table = np.array([[label == name for name in names] for label in truth])
    guess_table = np.array([[label == name for name in names] for label in guess])
    scores, macro = metrics.label_scores(question.head, names, true_table, guess_table, **shared, **options)
    sure = side.confidence(key)[at]
    rated = answered & np.isfinite(sure)
    rated_shared = {name: values[rated] for name, values in shared.items()}
    calibrated = _one_of_calibration(key, sure[rated], right[rated], rated_shared, options) if rated.any() else _Part()
    answered_shared = {name: values[answered] for name, values in shared.items()}
    return _Part(
        headline={
            f"{key}_accuracy": weighted_share(right, **shared, baseline=majority, finite=finite),
            f"{key}_accuracy_answered": (
                weighted_share(right[answered], **answered_shared, baseline=majority, finite=finite) if answered.any() else None
            ),
            f"{key}_macro_f1": macro,
            **calibrated.headline,
        },
        labels=scores,
        abstained={key: weighted_share(~answered, **shared, finite=finite)},
        mistakes=[
            Mistake(side.ids[k], question.head, guess[i], truth[i], _number(sure[i]) if answered[i] else None)
            for i, k in enumerate(at) if not right[i]
        ],
        confusion=metrics.confusion(truth, guess, list(classes), shared["weights"]),
        ordinal=ordinal(question, truth, guess, **shared, **options) if isinstance(question, Rating) else None,
        reliability=calibrated.reliability,
    )  # fmt: skip


def _one_of_calibration(key: str, sure: NDArray[Any], right: NDArray[Any], shared: Mapping[str, Any], options: Mapping[str, Any]) -> _Part:
    accuracy = float((shared["weights"] * right).sum() / shared["weights"].sum())
    return _Part(
        headline={
            f"{key}_ece": metrics.calibration_error(sure, right, **shared),
            # a constant confidence, the accuracy itself, would reach this
            f"{key}_brier": metrics.brier(sure, right, **shared, **options, baseline=accuracy * (1 - accuracy)),
        },
        reliability=metrics.reliability(sure, right, **shared),
    )


def _yes_no_part(question: YesNo, side: Aligned, options: Mapping[str, Any]) -> _Part:
    columns, labels = [label.word for label in question.labels], list(question.keys)
    truth = side.truth.select(columns)
    known = np.stack([truth[name].is_not_null().to_numpy() for name in columns], axis=1)
    if not known.any():
        return _Part()
    true = np.stack([truth[name].fill_null(False).to_numpy() for name in columns], axis=1)
    given = np.stack([side.predicted[name].is_not_null().to_numpy() for name in columns], axis=1)
    guess = np.stack([side.predicted[name].fill_null(False).to_numpy() for name in columns], axis=1)
    scores, macro = metrics.label_scores(
        question.head, labels, true, guess, known=known, groups=side.groups, weights=side.weights, **options
    )  # fmt: skip
    curves, abstained, mistakes = {}, {}, []
    for k, (name, label) in enumerate(zip(columns, labels, strict=True)):
        seen = known[:, k]
        if not seen.any():
            continue
        sure = side.confidence(name)
        abstained[label] = weighted_share(~given[seen, k], weights=side.weights[seen], groups=side.groups[seen], finite=options["finite"])
        rated = seen & np.isfinite(sure)
        drawn = metrics.curve(label, true[rated, k], sure[rated], groups=side.groups[rated], weights=side.weights[rated], **options)
        if drawn is not None:
            curves[label] = drawn
        for at in np.flatnonzero(seen & (~given[:, k] | (guess[:, k] != true[:, k]))):
            said = bool(guess[at, k]) if given[at, k] else None
            confidence = None if said is None else _number(sure[at] if said else 1 - sure[at])
            mistakes.append(
                Mistake(side.ids[at], label, None if said is None else str(said).lower(), str(bool(true[at, k])).lower(), confidence)
            )
    return _Part(headline={f"{question.key}_macro_f1": macro}, labels=scores, abstained=abstained, mistakes=mistakes, curves=curves)


def _many_of_part(question: ManyOf, side: Aligned, expand: Expand, options: Mapping[str, Any]) -> _Part:
    key = question.key
    known = np.flatnonzero(side.truth[key].is_not_null().to_numpy())
    if len(known) == 0:
        return _Part()
    raw_truth: list[list[str]] = [side.truth[key][int(k)].to_list() for k in known]
    found = [side.predicted[key][int(k)] for k in known]
    guess: list[list[str]] = [[] if keys is None else keys.to_list() for keys in found]
    truth = [set(expand(labels)) for labels in raw_truth]
    wide = [set(expand(labels)) for labels in guess]
    groups, weights = side.groups[known], side.weights[known]
    labels = sorted(set().union(*truth, *wide))
    true_table = np.array([[label in has for label in labels] for has in truth], dtype=bool).reshape(len(known), len(labels))
    guess_table = np.array([[label in has for label in labels] for has in wide], dtype=bool).reshape(len(known), len(labels))
    scores, macro = metrics.label_scores(question.head, labels, true_table, guess_table, groups=groups, weights=weights, **options)
    some = np.array([bool(labels) for labels in raw_truth])
    headline: dict[str, Estimate | None] = {f"{key}_macro_f1": macro}
    if some.any():
        asked = np.flatnonzero(some)
        shared: dict[str, Any] = {"groups": groups[some], "weights": weights[some]}
        leaves, named = ([_leaves(rows[at], expand) for at in asked] for rows in (raw_truth, guess))
        main: list[set[str]] = [set(keys[:1]) for keys in leaves]
        for name, said, wanted, k in (
            (f"{key}_top1", named, main, 1),
            (f"{key}_top3", named, main, 3),
            (f"{key}_top1_with_parents", [guess[at] for at in asked], [truth[at] for at in asked], 1),
        ):
            constant = metrics.most_common(wanted, shared["weights"], k)
            always = metrics.top_k_hits([constant] * len(wanted), wanted, k)
            baseline = float((always * shared["weights"]).sum() / shared["weights"].sum())
            hits = metrics.top_k_hits(said, wanted, k)
            headline[name] = weighted_share(hits, **shared, baseline=baseline, finite=options["finite"])
    said_nothing = np.array([keys is None for keys in found])
    return _Part(
        headline=headline,
        labels=scores,
        abstained={key: weighted_share(said_nothing, groups=groups, weights=weights, finite=options["finite"])},
        mistakes=_many_of_mistakes(question, side, known, guess, raw_truth, truth),
    )


def _leaves(keys: Sequence[str], expand: Expand) -> list[str]:
    """The keys of a photo that are no parent of another one of it, in their order."""
    return [key for key in keys if not any(key != other and key in expand([other]) for other in keys)]


def _many_of_mistakes(
    question: ManyOf,
    side: Aligned,
    known: NDArray[Any],
    guess: Sequence[Sequence[str]],
    raw: Sequence[Sequence[str]],
    truth: Sequence[set[str]],
) -> list[Mistake]:
    """Photos with true labels whose main predicted one is none of them."""
    column = question.fields[0].confidence
    sure = side.predicted[column].to_list() if column in side.predicted.columns else [None] * len(side.ids)
    return [
        Mistake(side.ids[at], question.head, said[0] if said else None, ", ".join(raw[i]), _main_confidence(sure[at]) if said else None)
        for i, (at, said) in enumerate(zip(known, guess, strict=True))
        if raw[i] and not (said and said[0] in truth[i])
    ]


def _main_confidence(pairs: Sequence[str] | None) -> float | None:
    """The first of KEY=PROBABILITY."""
    if not pairs:
        return None
    try:
        return float(pairs[0].rpartition("=")[2])
    except ValueError:
        return None


def _slices(side: Aligned, slices: pl.DataFrame | None, key: str, *, finite: bool) -> tuple[SliceScore, ...]:
    """Accuracy by every value of every column besides image_id; null values are left out."""
    if slices is None:
        return ()
    import polars as pl

    at = dict(zip(side.ids, range(len(side.ids)), strict=True))
    truth, guess = side.truth[key].to_list(), side.predicted[key].to_list()
    scores = []
    once = slices.unique("image_id", keep="first", maintain_order=True).filter(pl.col("image_id").is_in(side.ids))
    for by in (name for name in slices.columns if name != "image_id"):
        for (value,), part in once.filter(pl.col(by).is_not_null()).group_by([by], maintain_order=True):
            photos = [k for image_id in part["image_id"] if truth[k := at[image_id]] is not None]
            if photos:
                hits = [truth[k] == guess[k] for k in photos]
                shared: dict[str, Any] = {"groups": side.groups[photos], "weights": side.weights[photos], "finite": finite}
                scores.append(SliceScore(by, str(value), weighted_share(hits, **shared)))
    return tuple(sorted(scores, key=lambda score: (slices.columns.index(score.by), -score.accuracy.n, score.value)))


def _sorted_mistakes(mistakes: Sequence[Mistake]) -> tuple[Mistake, ...]:
    """The surest first: a confident error teaches more than a hesitant one."""
    return tuple(sorted(mistakes, key=lambda m: (-(m.confidence if m.confidence is not None else -1.0), m.what, m.image_id)))


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _finite(value: Any) -> Any:
    """The same structure with null for nan, which JSON has no word for."""
    if isinstance(value, float):
        return _number(value)
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
