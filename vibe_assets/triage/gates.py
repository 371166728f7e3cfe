"""Gates of the triage study: no leak, sound scores, better than chance and than rules."""

from __future__ import annotations

import numpy as np

from vibe_assets.records import PHOTO_GROUPS
from vibe_assets.records.series import BEST_OF_SERIES, PHOTO_SERIES
from vibe_assets.stages.gates import Gate
from vibe_assets.stages.platform import Platform, StageError
from vibe_assets.triage.learn import chosen_head, latest_heads, study_set
from vibe_assets.triage.report import Judged, judge
from vibe_assets.triage.splits import ASIDE

MAX_P = 0.05
SHUFFLES = 3
TOLERANCE = 1e-3  # scores of float32 models; matrix products round differently in another order


def series_in_one_split(platform: Platform) -> Gate:
    """No series, and no group of near-duplicates, lies in two splits of the study."""
    import polars as pl

    rows = platform.lake.read(PHOTO_SERIES)
    groups = platform.lake.read(PHOTO_GROUPS).select("image_id", "group_id")
    grouped = rows.join(groups, on="image_id", how="left").with_columns(pl.col("group_id").fill_null(pl.col("image_id")))
    judged = grouped.filter(pl.col("split") != ASIDE)
    across = {
        key: judged.group_by(key).agg(pl.col("split").n_unique()).filter(pl.col("split") > 1).height for key in ("series_id", "group_id")
    }
    return Gate(
        not any(across.values()),
        {
            "series": rows["series_id"].n_unique(),
            "series across splits": across["series_id"],
            "photo groups across splits": across["group_id"],
            "splits": dict(rows.unique("series_id")["split"].value_counts().iter_rows()),
            "set aside": rows.filter(split=ASIDE)["series_id"].n_unique(),
        },
        "`vibe triage series`; if it stays, remove the import that shares photos with the library",
    )


def series_scores_finite(platform: Platform) -> Gate:
    """Every head scores every photo of the study with a finite number, and minus infinity only where there is no photo."""
    from vibe_assets.heads.series_head import score_set

    study = study_set(platform)
    broken = {}
    for name, head in latest_heads(platform).items():
        scores, margins = score_set(head, study.data)
        broken[name] = int((~np.isfinite(scores[study.data.mask])).sum() + (~np.isfinite(margins)).sum())
    return Gate(
        bool(broken) and not any(broken.values()),
        {"scores that are not finite": broken},
        "train the series heads again (`vibe triage train`)",
    )


def series_order_ignored(platform: Platform) -> Gate:
    """Shuffling the photos of a series shuffles the scores and changes none: the order, which often tells the winner, cannot leak."""
    study = study_set(platform)
    data = study.data.split("test")
    rng = np.random.default_rng(0)
    worst = {}
    for name, head in latest_heads(platform).items():
        differences = [0.0]
        for row, members in enumerate(data.members):
            x = data.x[row, : len(members)]
            scores = head.scores(x)
            for order in (rng.permutation(len(members)) for _ in range(SHUFFLES)):
                differences.append(float(np.abs(head.scores(x[order]) - scores[order]).max()))
        worst[name] = max(differences)
    return Gate(
        bool(worst) and max(worst.values()) <= TOLERANCE,
        {"series shuffled": len(data), "largest change of a score": {name: f"{value:.2g}" for name, value in worst.items()}},
        "a head depends on the order of the photos: its scores cannot be used; train again and report the recipe",
    )


def beats_random(platform: Platform, judged: Judged | None = None) -> Gate:
    """On the test series the chosen head picks better than chance: permutation test of its scores within each series."""
    judged = judged or judge(platform)
    top1 = judged.best.figures["top1"]
    return Gate(
        judged.best.p_random < MAX_P and judged.best.points.value > 0,
        {
            "head": judged.chosen,
            "top-1": top1.value,
            "interval": f"{top1.low:.3f} to {top1.high:.3f}",
            "random (mean of 1/n)": top1.baseline,
            "points over random": judged.best.points.value,
            "p of shuffled scores": judged.best.p_random,
            "series": top1.n,
        },
        "compare more series (`vibe triage review`), or choose a stronger encoder ([encoder] name)",
    )


def beats_rules(platform: Platform, judged: Judged | None = None) -> Gate:
    """On the test series the chosen head has a higher top-1 than the best rule; where both are equal, more pairs in the right order."""
    judged = judged or judge(platform)
    mine, rule = (
        [score.figures[name].value for name in ("top1", "pairs") if name in score.figures] for score in (judged.best, judged.rule)
    )
    against = next((c for c in judged.comparisons if c.first == judged.rule.name), None)
    return Gate(
        mine > rule,
        {
            "head": judged.chosen,
            "top-1, pairs": mine,
            "best rule": judged.rule.name,
            "its top-1, pairs": rule,
            "p, two-sided": against.p_two_sided if against else None,
            "series": len(judged.data),
        },
        "compare more series, or choose a stronger encoder; until then the rule picks as well as the head does",
    )


def caution(platform: Platform) -> str:
    """What to say of picks by the head in use: '' where it passes its gates, or where rules pick; else one sentence."""
    head = chosen_head(platform)
    if head is None:
        return ""
    try:
        judged = judge(platform)
        gates = {
            "series_scores_finite": series_scores_finite(platform),
            "series_order_ignored": series_order_ignored(platform),
            "beats_random": beats_random(platform, judged),
            "beats_rules": beats_rules(platform, judged),
        }
    except StageError as error:
        return f"The head in use, {head.version}, was not judged: {error}."
    failed = [name for name, gate in gates.items() if not gate.passed]
    if not failed:
        return ""
    top1, rule = judged.best.figures["top1"], judged.rule.figures["top1"]
    return (
        f"The head in use, {head.version}, did not pass {', '.join(failed)}: top-1 {top1.value:.1%} [{top1.low:.1%}, {top1.high:.1%}] on "
        f"{top1.n} test series, chance {top1.baseline or 0:.1%}, best rule ({judged.rule.name}) {rule.value:.1%}. "
        "Do not rely on its picks; `vibe triage report` has the details."
    )


def one_pick_at_most(platform: Platform) -> Gate:
    """Every series of the library has one pick or is left open, and its probabilities sum to one."""
    import polars as pl

    rows = platform.lake.read(BEST_OF_SERIES)
    per_series = rows.group_by("series_id").agg(
        pl.col("pick").sum(),
        pl.col("probability").sum(),
        pl.col("probability").null_count().alias("by_rule"),
        pl.col("score").is_finite().all(),
    )
    several = per_series.filter(pl.col("pick") > 1).height
    unsound = per_series.filter((pl.col("by_rule") == 0) & ((pl.col("probability") - 1).abs() > 1e-6) | ~pl.col("score")).height
    return Gate(
        several == 0 and unsound == 0,
        {"series": per_series.height, "picked": int(rows["pick"].sum() or 0), "with several picks": several, "unsound scores": unsound},
        "`vibe triage best`; if it stays, train the series heads anew",
    )
