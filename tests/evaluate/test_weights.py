"""Every reported figure is weighted by 1 / inclusion_probability: a photo of weight 3 counts as three photos would."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import polars as pl
import pytest

from tests.evaluate.rows import PACKAGED, library
from vibe_assets.evaluate.compare import compare_paired, estimate_shares
from vibe_assets.evaluate.labels import evaluate_labels

COUNTS = (1, 2, 4)


def weighted_and_repeated() -> tuple[pl.DataFrame, ...]:
    """Truth with inclusion probabilities 1, 1/2, 1/4, and truth and predictions with every photo that many times."""
    truth, said, _ = library(90, seed=5)
    times = pl.DataFrame({"image_id": truth["image_id"], "times": [COUNTS[at % 3] for at in range(len(truth))]})
    weighted = truth.join(times, on="image_id").with_columns(inclusion_probability=1 / pl.col("times")).drop("times")

    def repeat(rows: pl.DataFrame) -> pl.DataFrame:
        copies = rows.join(times, on="image_id").with_columns(copy=pl.int_ranges("times")).explode("copy")
        named = copies.with_columns(image_id=pl.format("{}-{}", "image_id", "copy"))
        return named.drop("times", "copy", "inclusion_probability", strict=False)

    return weighted, said, repeat(truth), repeat(said)


def points(value: Any) -> Any:
    """The figures without intervals, counts and lists of photos, which must differ."""
    if isinstance(value, dict):
        hidden = ("low", "high", "n", "support", "predicted", "photos", "mistakes", "n_groups", "n_missing", "weighted")
        return {key: points(item) for key, item in value.items() if key not in hidden}
    if isinstance(value, list | tuple):
        return [points(item) for item in value]
    return round(value, 9) if isinstance(value, float) else value


def test_every_figure_of_an_evaluation_counts_a_photo_as_often_as_its_weight() -> None:
    weighted, said, truth_copies, said_copies = weighted_and_repeated()
    folders = weighted.select("image_id", folder=pl.col("image_id").str.slice(-1))
    copied_folders = truth_copies.select("image_id", folder=pl.col("image_id").str.extract("(.)-"))
    one = evaluate_labels(said, weighted, slices=folders, resamples=5, questions=PACKAGED)
    copies = {image_id: image_id.rsplit("-", 1)[0] for image_id in truth_copies["image_id"]}  # no copy tells the sign of another's gap
    many = evaluate_labels(said_copies, truth_copies, groups=copies, slices=copied_folders, resamples=5, questions=PACKAGED)
    assert one.weighted
    assert not many.weighted
    a, b = points(asdict(one)), points(asdict(many))
    a["slices"], b["slices"] = (sorted(map(str, side["slices"])) for side in (a, b))
    for part in a:
        assert a[part] == b[part], part
    assert points(asdict(one)) != points(
        asdict(evaluate_labels(said, weighted, slices=folders, resamples=5, use_weights=False, questions=PACKAGED))
    )


def test_shares_and_differences_count_a_photo_as_often_as_its_weight() -> None:
    weighted, said, truth_copies, said_copies = weighted_and_repeated()
    shares, copied = estimate_shares(weighted, questions=PACKAGED), estimate_shares(truth_copies, questions=PACKAGED)
    assert {label: e.value for label, e in shares.items()} == pytest.approx({label: e.value for label, e in copied.items()})
    shuffled = said.with_columns(pl.exclude("image_id").reverse())
    keys = said_copies.select("image_id", key=pl.col("image_id").str.extract("^(.*)-"))
    shuffled_copies = keys.join(shuffled.rename({"image_id": "key"}), on="key").drop("key")
    for what in ("scene", "attribute", "object"):
        one = compare_paired(said, shuffled, weighted, what=what, questions=PACKAGED).delta
        many = compare_paired(said_copies, shuffled_copies, truth_copies, what=what, questions=PACKAGED).delta
        assert one is not None
        assert many is not None
        assert one.value == pytest.approx(many.value)
