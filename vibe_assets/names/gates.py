"""What may not go wrong in the names study: its tables and results in, gates with numbers and remedies out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vibe_assets.evaluate.intervals import weighted_share
from vibe_assets.names.results import Track
from vibe_assets.names.study import primary_scores, study_tracks
from vibe_assets.records import Estimate
from vibe_assets.records.first_names import NAME_EMBEDDINGS, NAME_SHARDS, NAME_SPLITS
from vibe_assets.stages.gates import Gate
from vibe_assets.stages.platform import Platform

LEVEL = 0.999  # of the control's interval: at 95 % one sound study in twenty would be stopped


def shards_ready(platform: Platform) -> Gate:
    """Every planned shard has vectors, all of one encoder."""
    import polars as pl

    planned = platform.lake.read(NAME_SHARDS).filter(pl.col("listed") > 0)["shard"].unique()
    rows = platform.lake.scan(NAME_EMBEDDINGS).select("shard", "encoder").unique().collect()
    missing = sorted(set(planned) - set(rows["shard"]))
    encoders = rows.filter(pl.col("shard").is_in(planned.to_list()))["encoder"].n_unique()
    return Gate(
        not missing and encoders <= 1,
        {"planned shards": len(planned), "without vectors": ", ".join(missing) or "none", "encoders": encoders},
        "`vibe names index --shard SHARD` for the shards that are missing, or `vibe names index` for all after a change of the encoder",
    )


def nobody_on_two_sides(platform: Platform) -> Gate:
    """No person, no photo and no group of near-duplicates is on two sides of the split."""
    import polars as pl

    rows = platform.lake.read(NAME_SPLITS)
    across = {
        what: rows.filter(pl.col(column).is_not_null()).group_by(column).agg(pl.col("split").n_unique()).filter(pl.col("split") > 1).height
        for what, column in (("people", "identity"), ("groups", "group_id"), ("pictures", "image_id"))
    }
    known = rows.height - rows["identity"].null_count()
    return Gate(
        rows.height > 0 and not any(across.values()),
        {**{f"{what} on two sides": count for what, count in across.items()}, "faces": rows.height, "faces with a known person": known},
        "`vibe names index` draws the split again; a person on two sides lets a probe recognise people instead of names",
    )


def control_excess(tracks: Sequence[Track], level: float = LEVEL) -> tuple[Estimate, float]:
    """Accuracy of all controls together with its interval, and the accuracy of the same answers dealt out at random."""
    controls = [track for track in tracks if track.kind == "control"]
    if not controls:
        raise ValueError("expected at least one control, got 0")
    hits = np.concatenate([track.predictions == track.truth for track in controls])
    groups = [track.groups if track.groups is not None else np.arange(len(track.truth)) for track in controls]
    starts = np.cumsum([0, *(int(one.max()) + 1 for one in groups[:-1])])
    faces = np.concatenate([one + start for one, start in zip(groups, starts, strict=True)])  # every run dealt its names out anew
    chance = float(np.average([track.chance for track in controls], weights=[len(track.truth) for track in controls]))
    return weighted_share(hits, groups=faces, baseline=chance, level=level), chance


def control_at_chance(platform: Platform) -> Gate:
    """Trained on names dealt out at random, the probe finds nothing: its interval covers chance."""
    tracks = study_tracks(platform)
    accuracy, chance = control_excess(tracks)
    return Gate(
        accuracy.low <= chance <= accuracy.high,
        {
            "accuracy of the controls": accuracy.value,
            f"{LEVEL:.1%} interval": f"{accuracy.low:.4f} to {accuracy.high:.4f}",
            "chance (true share x said share, summed)": chance,
            "controls": sum(track.kind == "control" for track in tracks),
            "faces": accuracy.n,
        },
        "no figure of this study can be believed: look for faces of train on the test side (name_splits) and for labels in the file names",
    )


def predictions_not_skewed(platform: Platform) -> Gate:
    """The probe spreads its answers over the names: the prediction CV is below names.max_prediction_cv."""
    scores = primary_scores(platform)
    cv = scores.headline["prediction_cv"]
    wanted = platform.settings.names.max_prediction_cv
    return Gate(
        cv.value < wanted,
        {
            "prediction CV": cv.value,
            "95 % interval": f"{cv.low:.3f} to {cv.high:.3f}",
            "wanted below": wanted,
            "highest recall": f"{scores.loudest.name} {scores.loudest.recall:.3f}",
        },
        "read balanced accuracy rather than accuracy; class_balanced and logit_adjusted spread their answers more evenly",
    )
