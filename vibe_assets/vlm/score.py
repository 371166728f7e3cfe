"""Predicted and true tags become figures per model and batch, each with an interval, and paired differences between models.

Per photo: recall = hits / |truth|, precision = hits / |said|, F1 = 2 hits / (|truth| + |said|), Jaccard = hits / |union|; a figure is
their mean over photos. Photos without true tags are left out of all of them, answers without tags out of precision alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from vibe_assets.evaluate.intervals import RESAMPLES, cluster_bootstrap, paired_randomisation, percentile_estimate, ratio, resampled_totals
from vibe_assets.records import Estimate
from vibe_assets.vlm.match import Meaning

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

QUALITY = ("recall", "semantic_recall", "precision", "f1", "jaccard")
NO_ANSWER = ("invalid_answer", "teacher_refused")  # the model's own doing: it found no tag. Broken connections are left out instead.


@dataclass(frozen=True)
class Scores:
    """One model's photos, by image: quality figures 0..1 (nan where undefined), and what each answer took."""

    identity: str
    provider: str
    name: str
    adapter: str | None
    images: tuple[str, ...]
    batches: tuple[str, ...]  # of each photo
    groups: tuple[str, ...]
    quality: Mapping[str, Floats]  # figure -> (n,)
    latency_s: Floats
    cost_usd: Floats
    tokens: Floats
    invalid: Floats  # 1 where the answer was not as asked
    unanswered: int = 0  # photos without any answer, left out


@dataclass(frozen=True)
class Row:
    """One model on the leaderboard. `batches`: batch -> recall there; latencies in seconds, cost in US dollars per 1,000 photos."""

    scores: Scores
    figures: Mapping[str, Estimate]  # QUALITY and schema_failures
    batches: Mapping[str, Estimate]
    latency_mean_s: float
    latency_p50_s: float
    latency_p95_s: float
    cost_per_1000: float | None
    tokens_per_photo: float | None
    behind: Difference | None = None  # against the best model; None for the best itself


@dataclass(frozen=True)
class Difference:
    """Recall of this model minus that of another, on the photos both answered."""

    other: str
    delta: Estimate
    p_worse: float  # one-sided, randomisation test over groups


@dataclass(frozen=True)
class Board:
    """Rows by recall, best first, and the photos behind them."""

    rows: tuple[Row, ...]
    batches: tuple[str, ...]  # oldest first
    photos: int
    held_out: int  # photos left out because a model was trained on them or on near-duplicates
    no_truth: int
    groups: int = 0
    notes: tuple[str, ...] = field(default=())


def photo_figures(said: Sequence[str], true: Sequence[str], meaning: Meaning) -> dict[str, float]:
    """The five figures of one photo. Raises ValueError for empty truth: it has no recall."""
    if not true:
        raise ValueError("expected at least one true tag, got none")
    spoken, wanted = set(said), set(true)
    hits = len(spoken & wanted)
    return {
        "recall": hits / len(wanted),
        "semantic_recall": meaning.recalled(sorted(spoken), sorted(wanted)) / len(wanted),
        "precision": hits / len(spoken) if spoken else float("nan"),
        "f1": 2 * hits / (len(spoken) + len(wanted)),
        "jaccard": hits / len(spoken | wanted),
    }


def score_models(predictions: pl.DataFrame, photos: pl.DataFrame, meaning: Meaning, names: Mapping[str, str]) -> list[Scores]:
    """Score every model on the photos given (accepted TAGGED_PHOTOS rows with true tags).

    A model that was asked under two names is one: of each photo the answer that came first in the table counts. `names`: name to show
    by identity, where it is not the first of its names.
    """
    import polars as pl

    truth = photos.select("image_id", "batch", "group_id", true="tags").unique("image_id", keep="first", maintain_order=True)
    rows = predictions.join(truth, on=["image_id", "batch"], how="inner").sort("identity", "model", "batch", "image_id")
    rows = rows.unique(["identity", "image_id"], keep="first", maintain_order=True)
    answered = pl.col("reason").is_null() | pl.col("reason").is_in(NO_ANSWER)
    found = []
    for (identity,), part in rows.group_by("identity", maintain_order=True):
        said = part.filter(answered)
        if said.height:
            name = names.get(str(identity)) or str(part["model"].first())
            found.append(_scores(str(identity), name, said, part.height - said.height, meaning))
    return found


def _scores(identity: str, name: str, rows: pl.DataFrame, unanswered: int, meaning: Meaning) -> Scores:
    figures = [photo_figures(said, true, meaning) for said, true in rows.select("tags", "true").iter_rows()]
    tokens = rows["prompt_tokens"].cast(float) + rows["completion_tokens"].cast(float)
    return Scores(
        identity=identity,
        provider=rows["provider"][0],
        name=name,
        adapter=rows["adapter"][0],
        images=tuple(rows["image_id"]),
        batches=tuple(rows["batch"]),
        groups=tuple(group or image for group, image in rows.select("group_id", "image_id").iter_rows()),
        quality={figure: np.array([one[figure] for one in figures]) for figure in QUALITY},
        latency_s=_column(rows["latency_s"]),
        cost_usd=_column(rows["cost_usd"]),
        tokens=_column(tokens),
        invalid=np.array([valid is False for valid in rows["valid"]], dtype=np.float64),
        unanswered=unanswered,
    )


def _column(values: pl.Series) -> Floats:
    return np.array([float("nan") if value is None else float(value) for value in values])


def rank(scored: Sequence[Scores], batches: Sequence[str], *, resamples: int = RESAMPLES) -> list[Row]:
    """Rows sorted by recall over all photos, best first; each further one with its paired difference to the best."""
    ordered = sorted(scored, key=lambda one: (-float(one.quality["recall"].mean()), one.provider, one.name))
    return [
        _row(one, batches, None if at == 0 else paired(one, ordered[0], resamples=resamples), resamples) for at, one in enumerate(ordered)
    ]


def _row(one: Scores, batches: Sequence[str], behind: Difference | None, resamples: int) -> Row:
    figures = estimates({**one.quality, "schema_failures": one.invalid}, one.groups, resamples=resamples)
    held = np.array(one.batches)
    by_batch = {}
    for batch in batches:
        inside = held == batch
        if inside.any():
            groups = [group for group, here in zip(one.groups, inside, strict=True) if here]
            by_batch[batch] = estimates({"recall": one.quality["recall"][inside]}, groups, resamples=resamples)["recall"]
    waits, costs, tokens = (values[np.isfinite(values)] for values in (one.latency_s, one.cost_usd, one.tokens))
    nothing = float("nan")
    return Row(
        scores=one,
        figures=figures,
        batches=by_batch,
        latency_mean_s=float(waits.mean()) if len(waits) else nothing,
        latency_p50_s=float(np.quantile(waits, 0.5)) if len(waits) else nothing,
        latency_p95_s=float(np.quantile(waits, 0.95)) if len(waits) else nothing,
        cost_per_1000=float(costs.mean()) * 1000 if len(costs) else None,
        tokens_per_photo=float(tokens.mean()) if len(tokens) else None,
        behind=behind,
    )


def estimates(values: Mapping[str, Floats], groups: Sequence[str], *, resamples: int = RESAMPLES) -> dict[str, Estimate]:
    """Means of the defined values, with intervals from one set of resamples of whole groups. Undefined figures are left out."""
    terms: dict[str, Floats] = {}
    for name, column in values.items():
        known = np.isfinite(column)
        terms |= {f"{name} sum": np.where(known, column, 0.0), f"{name} n": known.astype(np.float64)}
    totals = resampled_totals(terms, groups=groups, resamples=resamples)
    count, found = len(set(groups)), {}
    for name, column in values.items():
        draws = ratio(totals[f"{name} sum"], totals[f"{name} n"])
        estimate = percentile_estimate(draws, n=int(np.isfinite(column).sum()), share_of=count)
        if estimate is not None:
            found[name] = estimate
    return found


def paired(one: Scores, other: Scores, *, figure: str = "recall", resamples: int = RESAMPLES) -> Difference | None:
    """Mean difference on the photos both answered; None where there is none."""
    place = {image: at for at, image in enumerate(other.images)}
    pairs = [(at, place[image]) for at, image in enumerate(one.images) if image in place]
    difference = np.array([one.quality[figure][a] - other.quality[figure][b] for a, b in pairs])
    groups = np.array([one.groups[a] for a, _ in pairs])
    known = np.isfinite(difference)
    if not known.any():
        return None
    delta = cluster_bootstrap(difference[known], groups[known], resamples=resamples, baseline=0.0)
    return Difference(other.name, delta, paired_randomisation(difference[known], groups[known], resamples=resamples))


def pareto(rows: Sequence[Row]) -> list[Row]:
    """Models that no other beats in both recall and median latency, fastest first."""
    known = sorted(
        (row for row in rows if np.isfinite(row.latency_p50_s)), key=lambda row: (row.latency_p50_s, -row.figures["recall"].value)
    )
    front: list[Row] = []
    for row in known:
        if not front or row.figures["recall"].value > front[-1].figures["recall"].value:
            front.append(row)
    return front


def deciles(values: Sequence[float]) -> list[int]:
    """Decile 0 to 9 of each value among all: the highest is in 9, the lowest in 0, equal ones share theirs; one value alone is in 9."""
    column = np.round(np.asarray(values, dtype=np.float64), 9)  # equal means must not differ by the order of their sums
    below, above = ((column[None, :] < column[:, None]).sum(axis=1), (column[None, :] > column[:, None]).sum(axis=1))
    place = np.where(below + above > 0, below / np.maximum(below + above, 1), 1.0)
    return [min(9, int(10 * share)) for share in place]
