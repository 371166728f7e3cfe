"""Trained series heads and rules on the test series -> one page, its figures, and rows in the history of metrics."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vibe_assets.evaluate.page import percent
from vibe_assets.evaluate.series import (
    ModelScores,
    Paired,
    SeriesScore,
    best_rule,
    compare_models,
    counted,
    evaluate_series,
    scores_json,
)
from vibe_assets.lake import write_text
from vibe_assets.records import METRICS, fingerprint
from vibe_assets.records.series import PHOTO_SERIES, SERIES_PREFERENCES
from vibe_assets.stages.platform import Platform, StageError
from vibe_assets.triage.learn import StudySet, chosen_head, latest_heads, study_set
from vibe_assets.triage.pages import pictures, render
from vibe_assets.triage.rules import rule_baselines

if TYPE_CHECKING:
    from vibe_assets.heads.series_data import SeriesSet
    from vibe_assets.heads.series_head import SeriesHead

SHEETS = 8  # series on each contact sheet
NAME = "triage_report"


@dataclass(frozen=True)
class Judged:
    """Every model on the test series, the chosen one, and what it was compared with."""

    scores: tuple[SeriesScore, ...]
    models: Mapping[str, ModelScores]
    comparisons: tuple[Paired, ...]
    chosen: str
    data: SeriesSet  # the test series that count
    n_tied: int  # test series whose winners tie, kept out
    answered: tuple[float, float]  # share of the series that the chosen head does not leave open, and its top-1 there

    @property
    def best(self) -> SeriesScore:
        return next(score for score in self.scores if score.name == self.chosen)

    @property
    def rule(self) -> SeriesScore:
        rule = best_rule(self.scores)
        assert rule is not None
        return rule


@dataclass(frozen=True)
class TriageReport:
    """The written page and what the asset shows of it."""

    judged: Judged
    path: Path
    version: str
    markdown: str


def judge(platform: Platform, study: StudySet | None = None) -> Judged:
    """Score the test series with every head of the last training and every rule. Raises StageError before the first training."""
    from vibe_assets.heads.series_head import score_set

    heads, chosen = latest_heads(platform), chosen_head(platform)
    if chosen is None:
        raise StageError("no series head was trained yet: `vibe triage train`")
    study = study or study_set(platform)
    if study.encoder != chosen.card.encoder:
        raise StageError(
            f"the series heads read vectors of encoder {chosen.card.encoder}, the photos have {study.encoder}: "
            "train again (`vibe triage train`)"
        )
    test = study.data.split("test")
    data = counted(test)
    if not len(data):
        raise StageError("no series of the test split has a winner: compare more series, or import comparisons")
    models = {name: ModelScores(name, *score_set(head, data)) for name, head in heads.items()}
    models |= {name: ModelScores.by_rule(name, scores) for name, scores in rule_baselines(data, study.quality).items()}
    scores = tuple(evaluate_series(model, data) for model in models.values())
    rule = best_rule(scores)
    assert rule is not None
    against = dict.fromkeys(name for name in (rule.name, "linear") if name != chosen.card.recipe)
    comparisons = [compare_models(models[first], models[chosen.card.recipe], data) for first in against]
    comparisons += [compare_models(models["linear"], models[name], data) for name in heads if name not in ("linear", chosen.card.recipe)]
    return Judged(
        scores, models, tuple(comparisons), chosen.card.recipe, data, len(test) - len(data),
        _answered(chosen, models[chosen.card.recipe].scores, data, platform.settings.triage.min_margin),
    )  # fmt: skip


def _answered(head: SeriesHead, scores: NDArray[np.float64], data: SeriesSet, margin: float) -> tuple[float, float]:
    chances = np.sort(head.probabilities(scores), axis=1)[:, ::-1]
    clear = chances[:, 0] - chances[:, 1] >= margin
    right = scores.argmax(axis=1) == data.target.argmax(axis=1)
    return float(clear.mean()), float(right[clear].mean()) if clear.any() else float("nan")


def report_triage(platform: Platform, *, now: datetime | None = None) -> TriageReport:
    """Write triage_report.html with its figures beside it, and add them to the history."""
    from vibe_assets.stages.reports import write_index

    now = now or datetime.now(UTC)
    study = study_set(platform)
    judged = judge(platform, study)
    folder = platform.settings.reports_dir
    path = write_text(folder / f"{NAME}.html", _page(platform, study, judged, now))
    figures = scores_json(judged.scores)
    card = {
        "title": "Which photo of a series is the best?",
        "at": now.isoformat(),
        "summary": _summary(judged),
        "figures": _card_figures(judged),
    }
    write_text(folder / f"{NAME}.json", json.dumps({**card, "models": figures}, indent=1, ensure_ascii=False))
    write_index(platform)
    _remember(platform, judged, now)
    return TriageReport(judged, path, fingerprint({"figures": figures}), markdown(judged))


def markdown(judged: Judged) -> str:
    """The table of models for asset metadata."""
    lines = ["| model | top-1 | 95 % interval | over random | MRR | pairs | n |", "|---|---:|---|---:|---:|---:|---:|"]
    for score in judged.scores:
        top1, pairs = score.figures["top1"], score.figures.get("pairs")
        name = f"**{score.name}**" if score.name == judged.chosen else score.name
        lines.append(
            f"| {name} | {percent(top1.value)} | {percent(top1.low)} to {percent(top1.high)} | {score.points.value:+.1f} "
            f"| {score.figures['mrr'].value:.3f} | {percent(pairs.value if pairs else None)} | {top1.n} |"
        )
    return "\n".join(
        [*lines, f"\nRandom: {percent(judged.best.figures['top1'].baseline)}, the mean of 1/n over {len(judged.data)} series."]
    )


def _remember(platform: Platform, judged: Judged, now: datetime) -> None:
    import polars as pl

    version = {head.card.recipe: head.version for head in latest_heads(platform).values()}
    rows = [
        {"at": now, "run_id": platform.run_id, "subject": "triage", "version": version.get(score.name, score.name), "metric": name,
         "label": score.name, "truth": "human", **asdict(estimate)}
        for score in judged.scores
        for name, estimate in score.figures.items()
    ]  # fmt: skip
    platform.lake.append(METRICS, pl.DataFrame(rows, schema=METRICS.polars_schema(), orient="row"), commit=platform.commit)


# -- the page ----------------------------------------------------------------------------------------------------------
def _summary(judged: Judged) -> str:
    top1, rule = judged.best.figures["top1"], judged.rule
    return (
        f"The chosen model picks the photo that people picked in {percent(top1.value, 0)} of the series (95 % interval "
        f"{percent(top1.low, 0)} to {percent(top1.high, 0)}, {top1.n:,} series). Guessing would be right in {percent(top1.baseline, 0)}, "
        f"the best rule ({rule.name}) in {percent(rule.figures['top1'].value, 0)}."
    )


def _card_figures(judged: Judged) -> list[dict[str, str]]:
    wanted = {"top1": "Top-1", "pairs": "Pairs ordered like people"}
    found = {about: judged.best.figures[name] for name, about in wanted.items() if name in judged.best.figures}
    return [
        {"name": about, "value": percent(e.value), "interval": f"{percent(e.low)} – {percent(e.high)}, n {e.n:,}"}
        for about, e in found.items()
    ]


def _page(platform: Platform, study: StudySet, judged: Judged, now: datetime) -> str:
    figures = judged.best.figures
    about = {
        "top1": ("Top-1", "of the series: its first photo is the one that people picked"),
        "top2": ("Top-2", "of the series: the people's pick is among its first two"),
        "pairs": ("Pairs", "of the comparisons that people decided are decided alike"),
    }
    cards = [{"name": name, "about": text, "estimate": figures[key]} for key, (name, text) in about.items() if key in figures]
    share, right = judged.answered
    series = platform.lake.read(PHOTO_SERIES)
    wins, misses = _sheets(platform, judged)
    shown = [photo for at in (*wins, *misses) for photo in judged.data.members[at]]
    images = pictures(platform, series, shown)
    names = dict(series.unique("image_id").select("image_id", "rel_path").iter_rows())
    margin, blocks = platform.settings.triage.min_margin, len(np.unique(judged.data.blocks))
    return render(
        f"{NAME}.html",
        title="Which photo of a series is the best?",
        subtitle="Learned picks against people's, on series that no model has seen",
        summary=_summary(judged),
        note=f"{len(judged.data):,} test series with one winner in {blocks:,} blocks; {judged.n_tied:,} whose winners tie are kept out"
        f" · {now:%Y-%m-%d %H:%M %Z}",
        cards=cards,
        scores=judged.scores,
        chosen=judged.chosen,
        comparisons=judged.comparisons,
        lengths=judged.best.by_length,
        abstention=f"A series whose two best photos differ by less than {margin:g} in probability is left open (triage.min_margin). "
        f"{judged.chosen} then answers {percent(share, 0)} of the test series, and is right on {percent(right, 0)} of those.",
        wins=[_strip(platform, judged, at, images, names) for at in wins],
        misses=[_strip(platform, judged, at, images, names) for at in misses],
        footer=_made_from(platform, study),
    )


def _sheets(platform: Platform, judged: Judged) -> tuple[list[int], list[int]]:
    """Rows of the series to show: wins, the longest first; misses, the surest first."""
    head = latest_heads(platform)[judged.chosen]
    scores = judged.models[judged.chosen].scores
    chances = head.probabilities(scores)
    right = scores.argmax(axis=1) == judged.data.target.argmax(axis=1)
    order = np.argsort(-chances.max(axis=1), kind="stable")
    misses = [int(at) for at in order if not right[at]][:SHEETS]
    wins = sorted((int(at) for at in order if right[at]), key=lambda at: -int(judged.data.sizes[at]))[:SHEETS]
    return wins, misses


def _strip(platform: Platform, judged: Judged, at: int, images: Mapping[str, str], names: Mapping[str, str]) -> dict[str, Any]:
    data = judged.data
    chances = latest_heads(platform)[judged.chosen].probabilities(judged.models[judged.chosen].scores[at])
    people, model = int(data.target[at].argmax()), int(chances.argmax())
    takes = []
    for place in np.argsort(-chances, kind="stable"):
        if not data.mask[at, place]:
            continue
        state, badge = "other", ""
        if place == people:
            state, badge = ("pick", "both") if people == model else ("people", "people")
        elif place == model:
            state, badge = "wrong", "model"
        photo = data.members[at][place]
        takes.append(
            {
                "picture": images.get(photo),
                "name": PurePosixPath(names[photo]).name,
                "chance": float(chances[place]),
                "state": state,
                "badge": badge,
            }
        )
    return {
        "title": data.ids[at] if ":" in data.ids[at] else str(PurePosixPath(names[data.members[at][0]]).parent),
        "note": f"{len(takes)} photos",
        "takes": takes,
    }


def _made_from(platform: Platform, study: StudySet) -> dict[str, Any]:
    lake = platform.lake
    rejected: Sequence[tuple[Any, ...]] = lake.read(SERIES_PREFERENCES)["reason"].drop_nulls().value_counts(sort=True).rows()
    splits = {name: int((study.data.splits == name).sum()) for name in ("train", "val", "test")}
    return {
        "series compared": ", ".join(f"{count:,} {name}" for name, count in splits.items()),
        "comparisons that do not count": ", ".join(f"{count:,} {reason}" for reason, count in rejected) or "none",
        "encoder": f"{platform.settings.encoder.name} ({study.encoder})",
        "heads": ", ".join(head.version for head in latest_heads(platform).values()),
        "tables": ", ".join(f"{table.name} {lake.version(table)}" for table in (PHOTO_SERIES, SERIES_PREFERENCES)),
        "run": platform.run_id,
    }
