"""Photo vectors, deployed heads and prompts go in; labels with confidence come out, left open where the evidence is thin."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vibe_assets.heads.dataset import vectors
from vibe_assets.heads.models import KINDS, HeadError, TrainedHead
from vibe_assets.heads.zeroshot import Prompts, read_prompts
from vibe_assets.records import ATTRIBUTES
from vibe_assets.records.answers import DERIVED, source_text

if TYPE_CHECKING:
    import polars as pl

# Without held-out truth there is nothing to choose thresholds on: more likely than all else together, and a wide open band.
ZERO_SHOT_THRESHOLD = 0.5
ZERO_SHOT_BAND = (0.7, 0.3)  # attribute true from, false up to

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _Scores:
    """Probabilities (n, labels) and the thresholds they are held against."""

    labels: tuple[str, ...]
    p: Floats
    upper: Floats
    lower: Floats
    source: str  # student | zero_shot


def classify(embeddings_rows: pl.DataFrame, heads: Mapping[str, TrainedHead], *, prompts_rows: pl.DataFrame | None = None) -> pl.DataFrame:
    """Label every row of IMAGE_EMBEDDINGS, in order: the label, confidence and provenance columns of PREDICTIONS, and image_id.

    `heads` maps kinds to deployed heads; what has no head is answered from `prompts_rows` (PROMPT_EMBEDDINGS), else left null.
    - A scene below the head's confidence threshold is null and named in `abstained`, its confidence stays to be seen.
    - An attribute is true from the upper threshold on, false up to the lower one, null and in `abstained` in between.
    - is_document and is_screenshot follow from the scene, whatever an attribute head says; an open scene leaves them open.
    - Objects are sorted by confidence, the more specific first among equals; a child brings its parents, at least as likely.
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
    columns, sources = _label_columns(x, heads, prompts) if len(x) else _label_columns(x, {}, None)
    used = " ".join(sorted(head.version for head in heads.values()))
    told = pl.DataFrame(columns, schema=_schema(columns)).with_columns(
        source=pl.lit(source_text(sources)), heads=pl.lit(used), at=np.flatnonzero(readable.to_numpy())
    )
    rows = embeddings_rows.select("image_id", "encoder").with_columns(at=pl.int_range(pl.len(), dtype=pl.Int64))
    joined = rows.join(told, on="at", how="left", maintain_order="left").drop("at")
    return joined.with_columns(
        pl.col("source").fill_null("none"),
        pl.col("heads").fill_null(""),
        pl.col("abstained").fill_null(pl.lit([], dtype=pl.List(pl.String))),
    )


def _refuse_foreign(encoders: Sequence[str], heads: Mapping[str, TrainedHead], prompts: Prompts | None) -> None:
    for kind, head in heads.items():
        if kind not in KINDS or head.kind != kind:
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
def _head_scores(head: TrainedHead, x: NDArray[np.float32]) -> _Scores:
    """What a head says; labels that its card leaves open are absent, as if it had none of them."""
    upper, p = head.thresholds("upper"), head.probabilities(x)
    lower = upper if head.kind != "attribute" else head.thresholds("lower")
    if not head.card.open:
        return _Scores(head.labels, p, upper, lower, "student")
    kept = [at for at, label in enumerate(head.labels) if label not in head.card.open]
    return _Scores(tuple(head.labels[at] for at in kept), p[:, kept], upper[kept], lower[kept], "student")


def _scene_scores(x: NDArray[np.float32], heads: Mapping[str, TrainedHead], prompts: Prompts | None) -> _Scores | None:
    if "scene" in heads:
        return _head_scores(heads["scene"], x)
    if prompts is None or not (labels := prompts.having("scene.")):
        return None
    threshold = np.array([ZERO_SHOT_THRESHOLD])
    return _Scores(labels, prompts.exclusive(x, labels), threshold, threshold, "zero_shot")


def _attribute_scores(
    x: NDArray[np.float32], heads: Mapping[str, TrainedHead], prompts: Prompts | None
) -> Iterator[tuple[str, str, Floats, float, float]]:
    """name, source, probabilities (n,), upper and lower threshold of each attribute that anything can be said about."""
    trained = _head_scores(heads["attribute"], x) if "attribute" in heads else None
    for name in ATTRIBUTES:
        if trained and name in trained.labels:
            at = trained.labels.index(name)
            yield name, trained.source, trained.p[:, at], float(trained.upper[at]), float(trained.lower[at])
        elif prompts and (p := prompts.attribute(x, f"attr.{name}")) is not None:
            yield name, "zero_shot", p, *ZERO_SHOT_BAND


def _object_scores(x: NDArray[np.float32], heads: Mapping[str, TrainedHead], prompts: Prompts | None) -> _Scores | None:
    if "object" in heads and (said := _head_scores(heads["object"], x)).labels:
        return said
    if prompts is None or not (labels := prompts.having("object.")):
        return None
    threshold = np.full(len(labels), ZERO_SHOT_THRESHOLD)
    return _Scores(labels, prompts.objects(x, labels), threshold, threshold, "zero_shot")


# -- rules -------------------------------------------------------------------------------------------------------------
def _label_columns(
    x: NDArray[np.float32], heads: Mapping[str, TrainedHead], prompts: Prompts | None
) -> tuple[dict[str, list[Any]], dict[str, str]]:
    """The columns, and the source of every question that anybody answers."""
    n = len(x)
    columns: dict[str, list[Any]] = {
        "scene": [None] * n,
        "scene_confidence": [None] * n,
        "objects": [None] * n,
        "object_confidences": [None] * n,
    }
    columns |= {name: [None] * n for name in ATTRIBUTES} | {f"{name}_confidence": [None] * n for name in ATTRIBUTES}
    abstained: list[list[str]] = [[] for _ in range(n)]
    sources: dict[str, str] = {}
    if scene := _scene_scores(x, heads, prompts):
        columns |= _decide_scene(scene, abstained)
        sources["scene"] = scene.source
    for name, source, p, upper, lower in _attribute_scores(x, heads, prompts):
        if name in DERIVED and (scene is None or DERIVED[name] in scene.labels):
            continue
        sources[name] = source
        columns[f"{name}_confidence"] = p.tolist()
        columns[name] = [True if value >= upper else False if value <= lower else None for value in p.tolist()]
        _note(name, columns[name], abstained)
    for name, key in DERIVED.items():
        if scene and key in scene.labels:
            sources[name] = scene.source
            columns[f"{name}_confidence"] = scene.p[:, scene.labels.index(key)].tolist()
            columns[name] = [None if said is None else said == key for said in columns["scene"]]
            _note(name, columns[name], abstained)
    if objects := _object_scores(x, heads, prompts):
        columns["objects"], columns["object_confidences"] = _decide_objects(objects)
        sources["objects"] = objects.source
    columns["abstained"] = abstained
    return columns, sources


def _decide_scene(scene: _Scores, abstained: list[list[str]]) -> dict[str, list[Any]]:
    confidence = scene.p.max(axis=1, initial=0.0)
    said = [
        scene.labels[at] if sure else None for at, sure in zip(scene.p.argmax(axis=1), confidence >= scene.upper[0], strict=True)
    ]  # fmt: skip
    _note("scene", said, abstained)
    return {"scene": said, "scene_confidence": confidence.tolist()}


def _note(name: str, said: Sequence[Any], abstained: list[list[str]]) -> None:
    for value, open_names in zip(said, abstained, strict=True):
        if value is None:
            open_names.append(name)


def parents_of(key: str) -> tuple[str, ...]:
    """Object keys that a key implies, nearest first: the taxonomy's keys spell their own path."""
    parts = key.split(".")
    return tuple(".".join(parts[:end]) for end in range(len(parts) - 1, 1, -1))


def _decide_objects(scores: _Scores) -> tuple[list[list[str]], list[list[str]]]:
    """Accepted objects with all their parents, and "KEY=0.9312" beside each, per photo."""
    keys = sorted({implied for label in scores.labels for implied in (label, *parents_of(label))}, key=lambda key: (-key.count("."), key))
    place = {key: at for at, key in enumerate(keys)}  # deepest first: a parent is settled after its children
    p, accepted = np.zeros((len(scores.p), len(keys))), np.zeros((len(scores.p), len(keys)), dtype=bool)
    own = [place[label] for label in scores.labels]
    p[:, own], accepted[:, own] = scores.p, scores.p >= scores.upper
    for key in keys:
        if above := parents_of(key)[:1]:
            child, parent = place[key], place[above[0]]
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


def _schema(columns: Mapping[str, Any]) -> dict[str, Any]:
    from vibe_assets.records import PREDICTIONS

    types = PREDICTIONS.polars_schema()
    return {name: types[name] for name in columns}
