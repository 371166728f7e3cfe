"""Predicted label rows and true label rows become an `Evaluation`: every figure with interval, n and baseline, and the list of errors.

A photo of the truth without a prediction counts as an abstention; an abstention is wrong in every accuracy except those "of the
answered". Photos whose truth is unknown leave the denominator, label by label.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from vibe_assets.evaluate import metrics
from vibe_assets.evaluate.align import Aligned, align
from vibe_assets.evaluate.combined import combined_share
from vibe_assets.evaluate.intervals import RESAMPLES, weighted_share
from vibe_assets.evaluate.metrics import Confusion, Curve, LabelScore, Reliability
from vibe_assets.records import ATTRIBUTES, METRICS, Estimate

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

    from vibe_assets.evaluate.said import Said

KINDS = ("scene", "attribute", "object")
Closure = Callable[[Sequence[str]], Iterable[str]]


@dataclass(frozen=True)
class Mistake:
    """One wrong or missing answer. `predicted` is None for an abstention, `confidence` None where the source gives none."""

    image_id: str
    what: str  # scene | attr.has_person .. | object
    predicted: str | None
    truth: str
    confidence: float | None


@dataclass(frozen=True)
class SliceScore:
    """Scene accuracy within one part of the library."""

    by: str  # folder, camera, year ...
    value: str
    accuracy: Estimate


@dataclass(frozen=True)
class Evaluation:
    """How far labels are from the truth. Headline names are listed in `HEADLINE`; what has no denominator is absent."""

    subject: str  # teacher | student | trial
    truth_kind: str  # human | auto
    n: int  # photos with any truth
    n_groups: int
    n_missing: int  # photos of the truth without a prediction row
    weighted: bool
    headline: Mapping[str, Estimate]
    labels: tuple[LabelScore, ...]  # scenes, attributes, objects, in this order
    confusion: Confusion | None
    curves: Mapping[str, Curve]  # attr.* -> curve, where confidences are known
    reliability: Reliability | None  # of the scene
    abstained: Mapping[str, Estimate]  # scene, attr.* , objects: share left open
    mistakes: tuple[Mistake, ...] = field(repr=False)
    slices: tuple[SliceScore, ...] = ()

    def table(self, kind: str) -> tuple[LabelScore, ...]:
        """The scores of one kind: scene | attribute | object."""
        return tuple(score for score in self.labels if score.kind == kind)

    def metrics_rows(self, *, at: datetime, run_id: str, version: str) -> pl.DataFrame:
        """Rows of the METRICS table: headline figures (label '') and each label's precision, recall, F1 and average precision."""
        import polars as pl

        named = [(metric, "", estimate) for metric, estimate in self.headline.items()]
        for score in self.labels:
            named += [(metric, score.label, getattr(score, metric)) for metric in ("precision", "recall", "f1")]
        named += [("average_precision", label, curve.average_precision) for label, curve in self.curves.items()]
        named += [("abstained", label, estimate) for label, estimate in self.abstained.items()]
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
        fields = {name: value for name, value in asdict(self).items() if name != "mistakes"}
        return json.dumps(_finite(fields), ensure_ascii=False, indent=1)


HEADLINE = {
    "scene_accuracy_blind": "Scene accuracy by blind answers",
    "scene_accuracy": "Scene accuracy",
    "scene_accuracy_answered": "Scene accuracy of the answered",
    "scene_accuracy_forced": "Scene accuracy with every photo answered",
    "scene_macro_f1": "Scene macro-F1",
    "attributes_macro_f1": "Attributes macro-F1",
    "objects_top1": "Main object found (top-1)",
    "objects_top3": "Main object in the first three (top-3)",
    "objects_top1_with_parents": "First object is true, or a parent of a true one",
    "objects_macro_f1": "Objects macro-F1",
    "scene_ece": "Scene calibration error",
    "scene_brier": "Scene Brier score",
}
LOWER_IS_BETTER = frozenset({"scene_ece", "scene_brier"})


def evaluate_labels(
    predicted: pl.DataFrame,
    truth: pl.DataFrame,
    *,
    groups: Mapping[str, str] | pl.DataFrame | None = None,
    use_weights: bool = True,
    scores: pl.DataFrame | None = None,
    scenes: Sequence[str] = (),
    closure: Closure | None = None,
    slices: pl.DataFrame | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
    subject: str = "student",
    truth_kind: str = "human",
    kinds: Collection[str] = KINDS,
    finite: bool = False,
    said: Said | None = None,
) -> Evaluation:
    """Compare label rows with true label rows (both: image_id, scene, ATTRIBUTES, objects) on the photos of the truth.

    `groups`: image_id -> group, or PHOTO_GROUPS rows; photos not named are groups of their own. `use_weights`: weight by
    1 / inclusion_probability of the truth (null: 1). `scores`: rows with image_id and *_confidence columns, where `predicted` lacks them.
    `scenes`: order of the classes. `closure` (Taxonomy.closure): parents of objects then count as labels of their own; the main object is
    the first of a photo that is no parent, and only naming it itself finds it (top-1, top-3).
    `slices`: image_id and further columns; scene accuracy is given for each of their values. `kinds`: what the predictions speak of
    (a single head knows one kind; the others would count as abstentions). `finite`: the figures are about the photos that the truth was
    drawn from (`weighted_share`), where all inclusion probabilities are known. `said`: what the judged source (first) and others say of
    every photo that could have been checked; scene accuracy, precision and recall are then of both (`combined_share`), where every photo
    of the truth is one of these. Raises ValueError on missing columns and repeated photos in the truth.
    """
    side = align(predicted, truth, groups=groups, use_weights=use_weights, scores=scores)
    options: dict[str, Any] = {"resamples": resamples, "seed": seed, "finite": finite and use_weights and side.known_chances}
    scene = _scene_part(side, scenes, options) if "scene" in kinds else _Part()
    attributes = _attribute_part(side, options) if "attribute" in kinds else _Part()
    objects = _object_part(side, closure, options) if "object" in kinds else _Part()
    parts: tuple[_Part, ...] = (scene, attributes, objects)
    if said is not None and use_weights and side.known_chances and said.knows(side.ids):
        parts = tuple(_with_models(part, side, said, closure, options["finite"]) for part in parts)
    return Evaluation(
        subject=subject,
        truth_kind=truth_kind,
        n=len(side.ids),
        n_groups=len(set(side.groups.tolist())),
        n_missing=side.missing,
        weighted=bool(len(side.weights) and not np.allclose(side.weights, side.weights[0])),
        headline={name: estimate for name in HEADLINE for part in parts if (estimate := part.headline.get(name)) is not None},
        labels=tuple(score for part in parts for score in part.labels),
        confusion=scene.confusion,
        curves=attributes.curves,
        reliability=scene.reliability,
        abstained={name: share for part in parts for name, share in part.abstained.items()},
        mistakes=_sorted_mistakes([mistake for part in parts for mistake in part.mistakes]),
        slices=_slices(side, slices, finite=options["finite"]) if "scene" in kinds else (),
    )


def _with_models(part: _Part, side: Aligned, said: Said, closure: Closure | None, finite: bool) -> _Part:
    """Scene accuracy, precision and recall with what models say of every photo (`combined_share`)."""
    shared: dict[str, Any] = {"weights": side.weights, "groups": side.groups, "finite": finite}
    headline = dict(part.headline)
    if accuracy := headline.get("scene_accuracy"):
        known = side.truth["scene"].is_not_null().to_numpy()
        right = (side.truth["scene"] == side.predicted["scene"]).fill_null(False).to_numpy()
        headline["scene_accuracy"] = combined_share(right, said.agreement(side.ids), among=known, baseline=accuracy.baseline, **shared)
    scores = []
    for score in part.labels:
        true, known = label_marks(side.truth, score.label, closure)
        guess = label_marks(side.predicted, score.label, closure)[0] & known
        if score.precision is not None and (models := said.of_label(side.ids, score.label, "precision")) is not None:
            found = combined_share(true & guess, models, among=guess, baseline=score.precision.baseline, **shared)
            score = replace(score, precision=found)
        if score.recall is not None and (models := said.of_label(side.ids, score.label, "recall")) is not None:
            score = replace(score, recall=combined_share(true & guess, models, among=true, **shared))
        scores.append(score)
    return replace(part, headline=headline, labels=scores)


def label_marks(rows: pl.DataFrame, label: str, closure: Closure | None = None) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Of label rows: which have a label (scene.*, attr.*, or an object, parents counted by `closure`), and of which that is known, (n,)."""
    import polars as pl

    if label.startswith("scene."):
        column = rows["scene"]
        return (column == label).fill_null(False).to_numpy(), column.is_not_null().to_numpy()
    if label.startswith("attr."):
        column = rows[label.removeprefix("attr.")]
        return column.fill_null(False).to_numpy(), column.is_not_null().to_numpy()
    column = rows["objects"]
    named = column.explode().drop_nulls().unique().to_list()
    covers = [key for key in named if label in (closure([key]) if closure else (key,))]
    has = column.list.eval(pl.element().is_in(covers)).list.any().fill_null(False)
    return has.to_numpy(), column.is_not_null().to_numpy()


# -- scene, attributes, objects --------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Part:
    headline: Mapping[str, Estimate | None] = field(default_factory=dict)
    labels: Sequence[LabelScore] = ()
    abstained: Mapping[str, Estimate] = field(default_factory=dict)
    mistakes: Sequence[Mistake] = ()
    confusion: Confusion | None = None
    reliability: Reliability | None = None
    curves: Mapping[str, Curve] = field(default_factory=dict)


def _scene_part(side: Aligned, scenes: Sequence[str], options: Mapping[str, Any]) -> _Part:
    known = side.truth["scene"].is_not_null().to_numpy()
    if not known.any():
        return _Part()
    at = np.flatnonzero(known)
    truth = [side.truth["scene"][int(k)] for k in at]
    guess = [side.predicted["scene"][int(k)] for k in at]
    shared: dict[str, Any] = {"groups": side.groups[at], "weights": side.weights[at]}
    finite = options["finite"]
    right = np.array([a == b for a, b in zip(guess, truth, strict=True)])
    answered = np.array([label is not None for label in guess])
    majority = max(metrics.prior_shares(truth, shared["weights"]).values())
    names = [*scenes, *sorted({*truth, *(label for label in guess if label is not None)} - set(scenes))]
    true_table = np.array([[label == name for name in names] for label in truth])
    guess_table = np.array([[label == name for name in names] for label in guess])
    scores, macro = metrics.label_scores("scene", names, true_table, guess_table, **shared, **options)
    sure = side.confidence("scene")[at]
    rated = answered & np.isfinite(sure)
    rated_shared = {name: values[rated] for name, values in shared.items()}
    calibrated = _scene_calibration(sure[rated], right[rated], rated_shared, options) if rated.any() else _Part()
    answered_shared = {name: values[answered] for name, values in shared.items()}
    return _Part(
        headline={
            "scene_accuracy": weighted_share(right, **shared, baseline=majority, finite=finite),
            "scene_accuracy_answered": (
                weighted_share(right[answered], **answered_shared, baseline=majority, finite=finite) if answered.any() else None
            ),
            "scene_macro_f1": macro,
            **calibrated.headline,
        },
        labels=scores,
        abstained={"scene": weighted_share(~answered, **shared, finite=finite)},
        mistakes=[
            Mistake(side.ids[k], "scene", guess[i], truth[i], _number(sure[i]) if answered[i] else None)
            for i, k in enumerate(at) if not right[i]
        ],
        confusion=metrics.confusion(truth, guess, list(scenes) or names, shared["weights"]),
        reliability=calibrated.reliability,
    )  # fmt: skip


def _scene_calibration(sure: NDArray[Any], right: NDArray[Any], shared: Mapping[str, Any], options: Mapping[str, Any]) -> _Part:
    accuracy = float((shared["weights"] * right).sum() / shared["weights"].sum())
    return _Part(
        headline={
            "scene_ece": metrics.calibration_error(sure, right, **shared),
            # a constant confidence, the accuracy itself, would reach this
            "scene_brier": metrics.brier(sure, right, **shared, **options, baseline=accuracy * (1 - accuracy)),
        },
        reliability=metrics.reliability(sure, right, **shared),
    )


def _attribute_part(side: Aligned, options: Mapping[str, Any]) -> _Part:
    truth = side.truth.select(ATTRIBUTES)
    known = np.stack([truth[name].is_not_null().to_numpy() for name in ATTRIBUTES], axis=1)
    if not known.any():
        return _Part()
    true = np.stack([truth[name].fill_null(False).to_numpy() for name in ATTRIBUTES], axis=1)
    given = np.stack([side.predicted[name].is_not_null().to_numpy() for name in ATTRIBUTES], axis=1)
    guess = np.stack([side.predicted[name].fill_null(False).to_numpy() for name in ATTRIBUTES], axis=1)
    labels = [f"attr.{name}" for name in ATTRIBUTES]
    scores, macro = metrics.label_scores(
        "attribute", labels, true, guess, known=known, groups=side.groups, weights=side.weights, **options
    )  # fmt: skip
    curves, abstained, mistakes = {}, {}, []
    for k, (name, label) in enumerate(zip(ATTRIBUTES, labels, strict=True)):
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
    return _Part(headline={"attributes_macro_f1": macro}, labels=scores, abstained=abstained, mistakes=mistakes, curves=curves)


def _object_part(side: Aligned, closure: Closure | None, options: Mapping[str, Any]) -> _Part:
    known = np.flatnonzero(side.truth["objects"].is_not_null().to_numpy())
    if len(known) == 0:
        return _Part()
    raw_truth: list[list[str]] = [side.truth["objects"][int(k)].to_list() for k in known]
    found = [side.predicted["objects"][int(k)] for k in known]
    guess: list[list[str]] = [[] if objects is None else objects.to_list() for objects in found]
    expand: Closure = closure or (lambda keys: keys)
    truth = [set(expand(labels)) for labels in raw_truth]
    wide = [set(expand(labels)) for labels in guess]
    groups, weights = side.groups[known], side.weights[known]
    labels = sorted(set().union(*truth, *wide))
    true_table = np.array([[label in has for label in labels] for has in truth], dtype=bool).reshape(len(known), len(labels))
    guess_table = np.array([[label in has for label in labels] for has in wide], dtype=bool).reshape(len(known), len(labels))
    scores, macro = metrics.label_scores("object", labels, true_table, guess_table, groups=groups, weights=weights, **options)
    some = np.array([bool(labels) for labels in raw_truth])
    headline: dict[str, Estimate | None] = {"objects_macro_f1": macro}
    if some.any():
        asked = np.flatnonzero(some)
        shared: dict[str, Any] = {"groups": groups[some], "weights": weights[some]}
        leaves, named = ([_leaves(rows[at], expand) for at in asked] for rows in (raw_truth, guess))
        main: list[set[str]] = [set(keys[:1]) for keys in leaves]
        for name, said, wanted, k in (
            ("objects_top1", named, main, 1),
            ("objects_top3", named, main, 3),
            ("objects_top1_with_parents", [guess[at] for at in asked], [truth[at] for at in asked], 1),
        ):
            constant = metrics.most_common(wanted, shared["weights"], k)
            always = metrics.top_k_hits([constant] * len(wanted), wanted, k)
            baseline = float((always * shared["weights"]).sum() / shared["weights"].sum())
            hits = metrics.top_k_hits(said, wanted, k)
            headline[name] = weighted_share(hits, **shared, baseline=baseline, finite=options["finite"])
    said_nothing = np.array([objects is None for objects in found])
    return _Part(
        headline=headline,
        labels=scores,
        abstained={"objects": weighted_share(said_nothing, groups=groups, weights=weights, finite=options["finite"])},
        mistakes=_object_mistakes(side, known, guess, raw_truth, truth),
    )


def _leaves(keys: Sequence[str], closure: Closure) -> list[str]:
    """The keys of a photo that are no parent of another one of it, in their order."""
    return [key for key in keys if not any(key != other and key in closure([other]) for other in keys)]


def _object_mistakes(
    side: Aligned, known: NDArray[Any], guess: Sequence[Sequence[str]], raw: Sequence[Sequence[str]], truth: Sequence[set[str]]
) -> list[Mistake]:
    """Photos with true objects whose main predicted object is none of them."""
    sure = side.predicted["object_confidences"].to_list() if "object_confidences" in side.predicted.columns else [None] * len(side.ids)
    return [
        Mistake(side.ids[at], "object", said[0] if said else None, ", ".join(raw[i]), _main_confidence(sure[at]) if said else None)
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


def _slices(side: Aligned, slices: pl.DataFrame | None, *, finite: bool) -> tuple[SliceScore, ...]:
    """Scene accuracy by every value of every column besides image_id; null values are left out."""
    if slices is None:
        return ()
    import polars as pl

    at = dict(zip(side.ids, range(len(side.ids)), strict=True))
    truth, guess = side.truth["scene"].to_list(), side.predicted["scene"].to_list()
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
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
