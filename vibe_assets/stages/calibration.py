"""Deployed heads on the test split -> how well their confidence is meant, before and after calibration, and their thresholds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vibe_assets.records import AUTO_GROUND_TRUTH
from vibe_assets.records.answers import DERIVED
from vibe_assets.stages.platform import Platform
from vibe_assets.stages.students import deployed, library_vectors, test_rows

if TYPE_CHECKING:
    import polars as pl

    from vibe_assets.evaluate.metrics import Reliability
    from vibe_assets.heads.models import TrainedHead

Pairs = dict[str, "tuple[Reliability | None, Reliability | None]"]


def calibration_pairs(platform: Platform) -> Pairs:
    """Label -> reliability (before, after) of the deployed scene and attribute heads, against the teacher's labels."""
    heads = deployed(platform)
    truth = test_rows(platform, platform.lake.read_live(AUTO_GROUND_TRUTH))
    rows = library_vectors(platform).join(truth, on="image_id", how="inner") if heads else truth.head(0)
    if rows.is_empty():
        return {}
    fitting = {kind: head for kind, head in heads.items() if rows["encoder"][0] == head.card.encoder}
    pairs = _scene_pair(fitting["scene"], rows) if "scene" in fitting else {}
    return pairs | (_attribute_pairs(fitting["attribute"], rows) if "attribute" in fitting else {})


def _scene_pair(head: TrainedHead, rows: pl.DataFrame) -> Pairs:
    import numpy as np
    import polars as pl

    from vibe_assets.evaluate.metrics import reliability
    from vibe_assets.heads.dataset import vectors
    from vibe_assets.heads.models import softmax

    known = rows.filter(pl.col("scene").is_not_null())
    if known.is_empty():
        return {}
    x = vectors(known["embedding"])  # (n, d)
    scenes, labels = np.array(known["scene"].to_list()), np.array(head.labels)
    before, after = (
        reliability(p.max(axis=1), labels[p.argmax(axis=1)] == scenes)
        for p in (softmax(head.logits(x).astype(np.float64)), head.probabilities(x))  # (n, scenes)
    )
    return {"scene": (before, after)}


def _attribute_pairs(head: TrainedHead, rows: pl.DataFrame) -> Pairs:
    """How often "yes" was right over how likely it was said to be; attributes that follow from the scene are left out."""
    import numpy as np
    from scipy.special import expit

    from vibe_assets.evaluate.metrics import reliability
    from vibe_assets.heads.dataset import vectors

    x = vectors(rows["embedding"])  # (n, d)
    before, after = expit(head.logits(x).astype(np.float64)), head.probabilities(x)  # (n, attributes)
    pairs: Pairs = {}
    for at, name in enumerate(head.labels):
        known = rows[name].is_not_null().to_numpy()
        if name not in DERIVED and known.any():
            true = rows[name].fill_null(False).to_numpy()[known]
            pairs[f"attr.{name}"] = (reliability(before[known, at], true), reliability(after[known, at], true))
    return pairs


def attribute_thresholds(platform: Platform) -> dict[str, float]:
    """attr.* -> the probability from which on the deployed attribute head says yes."""
    head = deployed(platform).get("attribute")
    if head is None:
        return {}
    return {f"attr.{name}": float(at) for name, at in zip(head.labels, head.thresholds("upper"), strict=True) if name not in DERIVED}
