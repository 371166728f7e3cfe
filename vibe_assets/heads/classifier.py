"""Photo vectors, deployed heads and prompts go in; labels with confidence come out, left open where the evidence is thin."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vibe_assets.heads.dataset import vectors
from vibe_assets.heads.models import HeadError, TrainedHead
from vibe_assets.heads.zeroshot import Prompts, read_prompts
from vibe_assets.questions import Field, ManyOf, OneOf, Question, Questions, YesNo
from vibe_assets.questions.rules import said, settle
from vibe_assets.questions.types import implied
from vibe_assets.records.answers import source_text

if TYPE_CHECKING:
    import polars as pl

# Without held-out truth there is nothing to choose thresholds on: more likely than all else together, and a wide open band.
ZERO_SHOT_THRESHOLD = 0.5
ZERO_SHOT_BAND = (0.7, 0.3)  # attribute true from, false up to

ZERO_SHOT = "zero_shot"  # source of what prompts tell

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _Scores:
    """Probabilities (n, labels) and the thresholds they are held against."""

    labels: tuple[str, ...]
    p: Floats
    upper: Floats
    lower: Floats
    source: str  # student | zero_shot


def classify(
    embeddings_rows: pl.DataFrame, heads: Mapping[str, TrainedHead], *, questions: Questions, prompts_rows: pl.DataFrame | None = None
) -> pl.DataFrame:
    """Label every row of IMAGE_EMBEDDINGS, in order: the label, confidence and provenance columns of PREDICTIONS, and image_id.

    `heads` maps kinds to deployed heads; what has no head is answered from `prompts_rows` (PROMPT_EMBEDDINGS), else left null.
    - A one_of label below the head's confidence threshold is null and named in `abstained`, its confidence stays to be seen.
    - A yes_no label is true from the upper threshold on, false up to the lower one, null and in `abstained` in between.
    - A label with a rule follows from the other question, whatever its own head says; where that is open it is open, too. Rules of other
      forms come last. `overruled` keeps what head or prompts said of all labels that rules decided.
    - `margins` has the margin of the cosine for each label that prompts told.
    - Labels of many_of are sorted by confidence, the more specific first among equals; a child brings its parents, at least as likely.
    - What the card of a head leaves open is answered as if there were no head for it.
    - `source` is one word, or QUESTION=SOURCE for each where they differ; what has neither head nor prompt is null and has none.
    - A row without a vector gets nulls and the source `none`.
    Raises HeadError when a head or the prompts belong to another encoder.
    """
    import polars as pl

    prompts = read_prompts(prompts_rows)
    readable = embeddings_rows["embedding"].is_not_null()
    usable = embeddings_rows.filter(readable)
    _refuse_foreign(sorted(usable["encoder"].unique().to_list()), heads, prompts)
    x = vectors(usable["embedding"])
    columns, sources = _label_columns(x, heads, prompts, questions) if len(x) else _label_columns(x, {}, None, questions)
    used = " ".join(sorted(head.version for head in heads.values()))
    told = pl.DataFrame(columns, schema=_schema(columns, questions)).with_columns(
        source=pl.lit(source_text(sources, questions)), heads=pl.lit(used), at=np.flatnonzero(readable.to_numpy())
    )
    rows = embeddings_rows.select("image_id", "encoder").with_columns(at=pl.int_range(pl.len(), dtype=pl.Int64))
    joined = rows.join(told, on="at", how="left", maintain_order="left").drop("at")
    return joined.with_columns(
        pl.col("source").fill_null("none"),
        pl.col("heads").fill_null(""),
        pl.col("abstained", "overruled", "margins").fill_null(pl.lit([], dtype=pl.List(pl.String))),
    )


def _refuse_foreign(encoders: Sequence[str], heads: Mapping[str, TrainedHead], prompts: Prompts | None) -> None:
    for kind, head in heads.items():
        if head.kind != kind:
            raise ValueError(f"heads: expected a {kind} head under {kind!r}, got {head.kind!r}")
    readers = [(f"head {head.version}", head.card.encoder, f"retrain the {kind} head on these vectors") for kind, head in heads.items()]
    if prompts:
        readers.append(("the prompt embeddings", prompts.encoder, "embed the prompts again"))
    for what, reads, remedy in readers:
        if foreign := [encoder for encoder in encoders if encoder != reads]:
            raise HeadError(
                f"{what} reads vectors of encoder {reads}, the photos have {foreign[0]}: {remedy}, or set encoder.name back and embed again"
            )


# -- scores ------------------------------------------------------------------------------------------------------------
def _head_scores(question: Question, head: TrainedHead, x: NDArray[np.float32]) -> _Scores:
    """What a head says; labels that its card leaves open, or that the label file has no more, are absent, as if it had none of them."""
    upper, p = head.thresholds("upper"), head.probabilities(x)
    lower = upper if head.qtype != "yes_no" else head.thresholds("lower")
    known = {field.name for field in question.fields} if isinstance(question, YesNo) else {*question.keys}
    kept = [at for at, label in enumerate(head.labels) if label in known and label not in head.card.open]
    if len(kept) == len(head.labels):
        return _Scores(head.labels, p, upper, lower, "student")
    if not isinstance(question, OneOf):  # a question with one answer has one threshold
        upper, lower = upper[kept], lower[kept]
    return _Scores(tuple(head.labels[at] for at in kept), p[:, kept], upper, lower, "student")


def _one_of_scores(question: OneOf, x: NDArray[np.float32], head: TrainedHead | None, prompts: Prompts | None) -> _Scores | None:
    if head is not None:
        return _head_scores(question, head, x)
    if prompts is None or not (labels := prompts.having(question.prefix)):
        return None
    threshold = np.array([ZERO_SHOT_THRESHOLD])
    return _Scores(labels, prompts.exclusive(x, labels), threshold, threshold, ZERO_SHOT)


def _yes_no_scores(
    question: YesNo, x: NDArray[np.float32], head: TrainedHead | None, prompts: Prompts | None
) -> Iterator[tuple[Field, str, Floats, float, float]]:
    """Column, source, probabilities (n,), upper and lower threshold of each label that anything can be said about."""
    trained = None if head is None else _head_scores(question, head, x)
    for field, label in zip(question.fields, question.labels, strict=True):
        if trained and field.name in trained.labels:
            at = trained.labels.index(field.name)
            yield field, trained.source, trained.p[:, at], float(trained.upper[at]), float(trained.lower[at])
        elif prompts and (p := prompts.alone(x, label.key)) is not None:
            yield field, ZERO_SHOT, p, *ZERO_SHOT_BAND


def _many_of_scores(question: ManyOf, x: NDArray[np.float32], head: TrainedHead | None, prompts: Prompts | None) -> _Scores | None:
    if head is not None and (said := _head_scores(question, head, x)).labels:
        return said
    if prompts is None or not (labels := prompts.having(question.prefix)):
        return None
    threshold = np.full(len(labels), ZERO_SHOT_THRESHOLD)
    return _Scores(labels, prompts.several(x, labels), threshold, threshold, ZERO_SHOT)


# -- rules -------------------------------------------------------------------------------------------------------------
def _label_columns(
    x: NDArray[np.float32], heads: Mapping[str, TrainedHead], prompts: Prompts | None, questions: Questions
) -> tuple[dict[str, list[Any]], dict[str, str]]:
    """The columns, and the source of every column that anybody answers."""
    n = len(x)
    columns: dict[str, list[Any]] = {name: [None] * n for field in questions.fields for name in (field.name, field.confidence)}
    abstained: list[list[str]] = [[] for _ in range(n)]
    sources: dict[str, str] = {}
    one_of: dict[str, _Scores] = {}
    for question in questions.of_type(OneOf):
        if scores := _one_of_scores(question, x, heads.get(question.head), prompts):
            columns |= _decide_one_of(question, scores, abstained)
            sources[question.key], one_of[question.key] = scores.source, scores
    overruled: list[list[str]] = [[] for _ in range(n)]
    following = {
        column: (one_of[rule.question], rule)
        for column, rule in questions.follows.items()
        if rule.question in one_of and set(rule.keys) <= set(one_of[rule.question].labels)
    }
    for each in questions.of_type(YesNo):
        for field, source, p, upper, lower in _yes_no_scores(each, x, heads.get(each.head), prompts):
            told = [True if value >= upper else False if value <= lower else None for value in p.tolist()]
            if field.name in questions.follows:
                for notes, value, chance in zip(overruled, told, p.tolist(), strict=True):
                    notes.append(f"{field.name}={said(value, chance)} by {questions.follows[field.name].question}")
                continue
            sources[field.name] = source
            columns[field.confidence], columns[field.name] = p.tolist(), told
            _note(field.name, told, abstained)
    for field in questions.fields:
        if field.name in following:
            scores, rule = following[field.name]
            sources[field.name] = scores.source
            columns[field.confidence] = scores.p[:, [scores.labels.index(key) for key in rule.keys]].sum(axis=1).tolist()
            columns[field.name] = [None if key is None else key in rule.keys for key in columns[rule.question]]
            _note(field.name, columns[field.name], abstained)
    for several in questions.of_type(ManyOf):
        if scores := _many_of_scores(several, x, heads.get(several.head), prompts):
            field = several.fields[0]
            columns[field.name], columns[field.confidence] = _decide_many_of(scores)
            sources[field.name] = scores.source
    _settle(columns, overruled, abstained, questions)
    for general in questions.general:
        by = next((sources[read] for read in general.reads if read in sources), None)
        sources |= {column: by for column in general.decides if by and column not in sources}
    columns |= {"abstained": abstained, "overruled": overruled, "margins": _margins(x, sources, prompts, questions)}
    return columns, sources


def _settle(columns: dict[str, list[Any]], overruled: list[list[str]], abstained: list[list[str]], questions: Questions) -> None:
    """Apply the rules that may overrule anything, photo by photo."""
    if not questions.general:
        return
    names = [name for field in questions.fields for name in (field.name, field.confidence)]
    decided = {column for rule in questions.general for column in rule.decides}
    for at, notes in enumerate(overruled):
        row = {name: columns[name][at] for name in names}
        if not (more := settle(row, questions.general, questions.confidences)):
            continue
        notes += more
        for name in names:
            columns[name][at] = row[name]
        left = {column for column in decided if row[column] is None and any(note.startswith(f"{column}=") for note in more)}
        abstained[at] = [column for column in questions.columns if column in left or (column in abstained[at] and row[column] is None)]


def _margins(x: NDArray[np.float32], sources: Mapping[str, str], prompts: Prompts | None, questions: Questions) -> list[list[str]]:
    """ "KEY=MARGIN" of the labels that prompts told, per photo: of the best label of one_of against the next, of each of yes_no against its
    opposite, of those of many_of the best."""
    margins: list[list[str]] = [[] for _ in range(len(x))]
    if prompts is None:
        return margins
    for question in questions:
        told = [field.name for field in question.fields if sources.get(field.name) == ZERO_SHOT]
        if not told:
            continue
        if isinstance(question, YesNo):
            pairs = [(label.key, prompts.margin(x, label.key)) for label in question.labels if label.word in told]
            found = [[f"{key}={margin[at]:.4f}" for key, margin in pairs if margin is not None] for at in range(len(x))]
        else:
            labels = prompts.having(question.prefix)
            cosines = prompts.cosines(x, labels)
            order = np.argsort(-cosines, axis=1)[:, :2]
            best = np.take_along_axis(cosines, order, axis=1)
            found = [[f"{labels[order[at, 0]]}={best[at, 0] - best[at, -1]:.4f}"] for at in range(len(x))]
        for notes, more in zip(margins, found, strict=True):
            notes += more
    return margins


def _decide_one_of(question: OneOf, scores: _Scores, abstained: list[list[str]]) -> dict[str, list[Any]]:
    confidence = scores.p.max(axis=1, initial=0.0)
    best = zip(scores.p.argmax(axis=1), confidence >= scores.upper[0], strict=True)
    told = [scores.labels[at] if sure else None for at, sure in best]
    _note(question.key, told, abstained)
    return {question.key: told, question.fields[0].confidence: confidence.tolist()}


def _note(name: str, told: Sequence[Any], abstained: list[list[str]]) -> None:
    for value, open_names in zip(told, abstained, strict=True):
        if value is None:
            open_names.append(name)


def _decide_many_of(scores: _Scores) -> tuple[list[list[str]], list[list[str]]]:
    """Accepted labels with all their parents, and "KEY=0.9312" beside each, per photo."""
    keys = sorted({each for label in scores.labels for each in (label, *implied(label))}, key=lambda key: (-key.count("."), key))
    place = {key: at for at, key in enumerate(keys)}  # deepest first: a parent is settled after its children
    p, accepted = np.zeros((len(scores.p), len(keys))), np.zeros((len(scores.p), len(keys)), dtype=bool)
    own = [place[label] for label in scores.labels]
    p[:, own], accepted[:, own] = scores.p, scores.p >= scores.upper
    for key in keys:
        if above := next(iter(implied(key)), None):
            child, parent = place[key], place[above]
            p[:, parent] = np.where(accepted[:, child], np.maximum(p[:, parent], p[:, child]), p[:, parent])
            accepted[:, parent] |= accepted[:, child]
    photo, label = np.nonzero(accepted)
    order = np.lexsort((label, -p[photo, label], photo))  # `label` counts from the most specific
    objects: list[list[str]] = [[] for _ in range(len(p))]
    confidences: list[list[str]] = [[] for _ in range(len(p))]
    for row, at in zip(photo[order].tolist(), label[order].tolist(), strict=True):
        objects[row].append(keys[at])
        confidences[row].append(f"{keys[at]}={p[row, at]:.4f}")
    return objects, confidences


def _schema(columns: Mapping[str, Any], questions: Questions) -> dict[str, Any]:
    from vibe_assets.records import PREDICTIONS

    types = PREDICTIONS.of(questions).polars_schema()
    return {name: types[name] for name in columns}
