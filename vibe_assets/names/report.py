"""The tracks of a study become one self-contained page, its card for the index of reports, and Markdown for asset metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from vibe_assets.evaluate.page import bar, percent, render
from vibe_assets.lake import write_text
from vibe_assets.names.gates import control_excess
from vibe_assets.names.metrics import HEADLINE, TOP, Scores
from vibe_assets.names.pictures import skew_markdown
from vibe_assets.names.results import Track, figure_lines, shown
from vibe_assets.names.similarity import by_likeness, most_confused
from vibe_assets.records import Estimate, fingerprint

if TYPE_CHECKING:
    from vibe_assets.names.study import NamesReport
    from vibe_assets.stages.platform import Platform

TITLE = "Faces and first names"
MET, OPEN, MISSED, NOT_TRIED = "met", "not shown", "not met", "not tried"
LABELLED = 6  # names written beside their dot in the plot of skew
KINDS = {
    "probe": "probes",
    "vlm": "vision-language models",
    "control": "controls: names dealt out at random",
    "ablation": "without the loudest names",
}
CARDS = {
    "accuracy": "of the faces get the right name out of all",
    "balanced_accuracy": "every name counts alike, however rare",
    "macro_f1": "every name counts alike: found where it is, not claimed where it is not",
    "top5": "of the faces have the right name among the first five",
    "prediction_cv": "how unevenly the answers spread over the names: 0 is even, the dotted line is the target",
    "max_recall": "recall of the most recalled name: the dotted line is the target",
}


@dataclass(frozen=True)
class Target:
    """A goal set beforehand, and what came of it."""

    text: str
    estimate: Estimate | None
    figure: str
    verdict: str


def write_report(platform: Platform, tracks: Sequence[Track]) -> NamesReport:
    """Write `names_report.html` beside the other reports."""
    from vibe_assets.names.study import NamesReport

    primary, path = tracks[0], platform.settings.reports_dir / "names_report.html"
    at = datetime.now(UTC)
    version = fingerprint({track.name: {name: one.value for name, one in track.scores.headline.items()} for track in tracks})
    footer = {
        "encoder": primary.config.get("encoder", ""), "tables read": primary.config.get("data_versions", {}),
        "seed": primary.config.get("seed", ""), "run": platform.run_id, "code": platform.commit.get("commit", ""),
    }  # fmt: skip
    write_text(path, render_names(tracks, footer=footer, generated_at=at, target_cv=platform.settings.names.max_prediction_cv))
    figures = [
        {"name": HEADLINE[name], "value": shown(name, one.value), "interval": f"{shown(name, one.low)} to {shown(name, one.high)}"}
        for name, one in primary.scores.headline.items()
        if name in CARDS
    ]
    card = {"title": TITLE, "summary": summary(tracks), "figures": figures, "at": at.isoformat()}
    write_text(path.with_suffix(".json"), json.dumps(card, ensure_ascii=False, indent=1))
    markdown = "\n".join([summary(tracks), "", *figure_lines(primary.scores), "", *target_lines(targets(primary))])
    return NamesReport(path, markdown, skew_markdown(primary.scores), version)


def render_names(
    tracks: Sequence[Track], *, footer: Mapping[str, Any] | None = None, generated_at: datetime | None = None, target_cv: float = 0.35
) -> str:
    """One HTML page, the first track on top. Loads nothing, runs nothing; light, dark, paper, any width."""
    primary = tracks[0]
    scores, ranked = primary.scores, primary.scores.ranked()
    controls = [track for track in tracks if track.kind == "control"]
    control = control_excess(tracks, 0.95)[0] if controls else None
    head = scores.headline
    scale = min(1.0, 1.25 * max(track.scores.headline[name].high for track in tracks for name in ("accuracy", "balanced_accuracy")))
    return render(
        "names.html",
        title=TITLE,
        subtitle="How much of a first name can be told from a face, and how much of that is skew",
        summary=summary(tracks),
        generated_at=generated_at,
        n=scores.n,
        classes=len(primary.names),
        cards=[
            {
                "name": HEADLINE[name],
                "about": about,
                "shown": shown(name, head[name].value),
                "low": shown(name, head[name].low),
                "high": shown(name, head[name].high),
                "bar": bar(*_on_track(name, head[name], scale, target_cv)),
                "estimate": head[name],
                "baseline": None if head[name].baseline is None else shown(name, head[name].baseline or 0.0),
            }
            for name, about in CARDS.items()
            if name in head
        ],
        baselines=_baselines(primary, control, scale),
        control=control,
        controls=len(controls),
        choices=[(int(name.removeprefix("choice_")), one) for name, one in head.items() if name.startswith("choice_")],
        targets=targets(primary),
        kinds=[(words, [_track_row(track, scale) for track in tracks if track.kind == kind]) for kind, words in KINDS.items()],
        dots=_dots(scores),
        best=ranked[:5],
        worst=ranked[-5:][::-1],
        likeness=by_likeness(primary.names, primary.predictions, primary.truth),
        confused=most_confused(primary.names, primary.predictions, primary.truth),
        seconds=sum(float(track.config.get("seconds", 0)) for track in tracks),
        memory=max((int(track.config.get("peak_memory_mb", 0)) for track in tracks), default=0),
        footer={name: value for name, value in (footer or {}).items() if value},
    )


def summary(tracks: Sequence[Track]) -> str:
    """The study in two sentences."""
    primary = tracks[0]
    accuracy, chance = primary.scores.headline["accuracy"], primary.scores.chance
    verdict = "above" if accuracy.low > chance else "not distinguishable from"
    text = (
        f"Shown a face that it was not trained on, the {primary.name.replace('_', ' ')} probe picks the right one of "
        f"{len(primary.names)} first names for {percent(accuracy.value)} "
        f"(95 % interval {percent(accuracy.low)} to {percent(accuracy.high)}, {accuracy.n:,} faces), "
        f"{verdict} the {percent(chance)} that the same answers reach when they are dealt out at random."
    )
    if any(track.kind == "control" for track in tracks):
        control, expected = control_excess(tracks, 0.95)
        text += f" Trained on names that belong to other faces it reaches {percent(control.value)}, where {percent(expected)} is chance."
    return text


def targets(track: Track) -> list[Target]:
    """The goals that were set for the study: met only where the whole interval is on the right side."""
    head, classes = track.scores.headline, len(track.names)
    goals = [
        ("500 names: accuracy above 5 %", "accuracy" if classes >= 500 else None, 0.05, True),
        (f"{TOP} names: accuracy above 18 %", "top30_accuracy", 0.18, True),
        ("prediction CV below 0.35", "prediction_cv", 0.35, False),
        ("no name with a recall of 40 % or more", "max_recall", 0.40, False),
    ]
    return [_target(text, figure, goal, above, head) for text, figure, goal, above in goals]


def _target(text: str, figure: str | None, goal: float, above: bool, head: Mapping[str, Estimate]) -> Target:
    one = head.get(figure) if figure else None
    if one is None or figure is None:
        return Target(text, None, "", NOT_TRIED)
    worst, right = (one.low, one.value > goal) if above else (one.high, one.value < goal)
    sure = worst > goal if above else worst < goal
    return Target(
        text,
        one,
        f"{shown(figure, one.value)} ({shown(figure, one.low)} to {shown(figure, one.high)})",
        MET if sure else OPEN if right else MISSED,
    )


def target_lines(found: Sequence[Target]) -> list[str]:
    """Markdown table of the goals."""
    return ["| goal | reached | |", "|---|---|---|", *(f"| {one.text} | {one.figure or '–'} | {one.verdict} |" for one in found)]


def _on_track(name: str, one: Estimate, scale: float, target_cv: float) -> tuple[Estimate, float]:
    """What the card's track shows, and the value at its right end."""
    if name == "prediction_cv":
        return Estimate(one.value, one.low, one.high, one.n, target_cv), max(1.0, one.high)
    if name == "max_recall":
        return Estimate(one.value, one.low, one.high, one.n, 0.40), 1.0
    return one, min(1.0, max(scale, 1.1 * one.high))


def _baselines(primary: Track, control: Estimate | None, scale: float) -> list[dict[str, Any]]:
    """The accuracy beside everything that does not look at the face."""
    accuracy, chance = primary.scores.headline["accuracy"], primary.scores.chance
    fixed = [
        ("a name drawn at random", 1 / len(primary.names), "one out of all names"),
        ("always the most frequent name", accuracy.baseline or 0.0, "most frequent in training"),
        ("the probe's own answers, dealt out at random", chance, "what no knowledge of the face reaches"),
    ]
    rows = [{"name": "the probe", "about": primary.name.replace("_", " "), "estimate": accuracy, "bar": bar(_bare(accuracy), scale)}]
    if control is not None:
        rows.append(
            {"name": "trained on permuted names", "about": "all controls together", "estimate": control, "bar": bar(control, scale)}
        )
    for name, value, about in fixed:
        one = Estimate(value, value, value, accuracy.n)
        rows.append({"name": name, "about": about, "estimate": one, "bar": bar(one, scale)})
    return rows


def _bare(one: Estimate) -> Estimate:
    return Estimate(one.value, one.low, one.high, one.n)


def _track_row(track: Track, scale: float) -> dict[str, Any]:
    head = track.scores.headline
    accuracy = head["accuracy"]
    return {
        "name": track.name.replace("_", " "), "classes": len(track.names), "n": track.scores.n, "chance": track.chance,
        "accuracy": accuracy, "bar": bar(Estimate(accuracy.value, accuracy.low, accuracy.high, accuracy.n, track.chance), scale),
        "balanced": head["balanced_accuracy"], "cv": head["prediction_cv"], "recall": head["max_recall"],
        "loudest": track.scores.loudest.name,
        "removed": ", ".join(track.config.get("removed", ())), "seconds": track.config.get("seconds"),
    }  # fmt: skip


def _dots(scores: Scores) -> dict[str, Any]:
    """The plot of skew in a square of 100 by 100: said over true, the furthest from the line with their names where there is room."""
    most = 1.08 * max(max(one.support, one.predicted) for one in scores.names) or 1.0
    points: list[dict[str, Any]] = [
        {"x": round(100 * one.support / most, 2), "y": round(100 - 100 * one.predicted / most, 2), "name": one.name, "true": one.support,
         "said": one.predicted, "off": abs(one.predicted - one.support), "shown": False, "left": one.support / most > 0.72}
        for one in scores.names
    ]  # fmt: skip
    written: list[dict[str, Any]] = []
    for dot in sorted(points, key=lambda dot: -dot["off"])[: 2 * LABELLED]:
        near = any(abs(dot["y"] - other["y"]) < 4.5 and abs(dot["x"] - other["x"]) < 25 for other in written)
        if not near and len(written) < LABELLED:
            dot["shown"] = True
            written.append(dot)
    return {"most": most, "points": points}
