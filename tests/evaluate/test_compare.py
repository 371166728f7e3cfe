"""Paired comparisons see real losses, do not cry wolf, and count near-duplicates once."""

from __future__ import annotations

import polars as pl
import pytest

from tests.evaluate.rows import KINDS, PACKAGED, labels, library
from vibe_assets.evaluate.compare import compare_paired, estimate_shares, label_drift, label_shares, may_deploy
from vibe_assets.evaluate.intervals import mcnemar_exact

FOOD = "scene.food"


def scenes(text: str) -> pl.DataFrame:
    """One photo a letter: f food, o other, - left open."""
    return labels([{"image_id": f"{at:03}", "scene": {"f": FOOD, "o": "scene.other", "-": None}[letter]} for at, letter in enumerate(text)])


def test_scene_comparison_is_mcnemar_on_single_photos() -> None:
    truth, a, b = scenes("ffffffffff"), scenes("ffffffffoo"), scenes("foo-oofffo")
    result = compare_paired(a, b, truth, questions=PACKAGED)
    assert (result.n, result.n_only_a_right, result.n_only_b_right) == (10, 5, 1)
    expected = mcnemar_exact(5, 1)
    assert (result.p_worse, result.p_two_sided, result.test) == (expected.p_second_worse, expected.p_two_sided, "exact McNemar")
    assert result.delta is not None
    assert result.delta.value == pytest.approx(-0.4)


def test_near_duplicates_are_one_piece_of_evidence() -> None:
    truth, a, b = scenes("f" * 24), scenes("f" * 24), scenes("o" * 12 + "f" * 12)
    assert compare_paired(a, b, truth, questions=PACKAGED).p_worse < 0.001
    bursts = {f"{at:03}": str(at // 6) for at in range(24)}
    grouped = compare_paired(a, b, truth, groups=bursts, questions=PACKAGED)
    assert grouped.p_worse == mcnemar_exact(2, 0).p_second_worse
    assert grouped.test == "exact sign test over groups"


@pytest.mark.parametrize("what", KINDS)
def test_a_version_is_not_worse_than_itself(what: str) -> None:
    truth, said, groups = library(60)
    result = compare_paired(said, said, truth, groups=groups, what=what, questions=PACKAGED)
    assert (result.n_only_a_right, result.n_only_b_right, result.p_worse) == (0, 0, 1.0)
    assert may_deploy(result, 0.05).allowed
    assert "No difference" in result.verdict


@pytest.mark.parametrize("what", KINDS)
def test_a_spoilt_version_is_refused_and_the_better_one_allowed(what: str) -> None:
    truth, said, groups = library(240, accuracy=0.9)
    shuffled = said.with_columns(pl.exclude("image_id").shuffle(seed=1))
    worse = compare_paired(said, shuffled, truth, groups=groups, what=what, questions=PACKAGED)
    assert worse.p_worse < 0.01
    assert not may_deploy(worse, 0.05).allowed
    assert "Worse by" in worse.verdict
    better = compare_paired(shuffled, said, truth, groups=groups, what=what, questions=PACKAGED)
    assert may_deploy(better, 0.05).allowed
    assert better.p_worse > 0.9
    assert better.delta is not None
    assert worse.delta is not None
    assert better.delta.value == pytest.approx(-worse.delta.value)


def test_missing_and_open_answers_score_nothing() -> None:
    truth = scenes("fff")
    result = compare_paired(scenes("fff"), scenes("f-"), truth, questions=PACKAGED)
    assert (result.n_only_a_right, result.n_only_b_right) == (2, 0)


def test_without_evidence_only_the_first_version_may_be_deployed() -> None:
    nothing = compare_paired(scenes("f"), scenes("f"), scenes("-"), questions=PACKAGED)
    assert (nothing.n, nothing.delta) == (0, None)
    refused = may_deploy(nothing, 0.05)
    assert not refused.allowed
    assert "audit" in refused.reason
    first = may_deploy(None, 0.05)
    assert first.allowed
    assert first.warn


def test_an_unknown_kind_is_named() -> None:
    with pytest.raises(ValueError, match="'faces'"):
        compare_paired(scenes("f"), scenes("f"), scenes("f"), what="faces", questions=PACKAGED)


def test_label_shares_and_drift_read_as_worked_by_hand() -> None:
    rows = labels(
        [
            {"image_id": "a", "scene": FOOD, "has_text": True, "objects": ["object.drink", "object.drink"]},
            {"image_id": "b", "scene": FOOD, "has_text": False},
            {"image_id": "c", "scene": "scene.other"},
            {"image_id": "d"},
            {"image_id": "d"},
        ]
    )
    shares = label_shares(rows, questions=PACKAGED)
    assert shares == {FOOD: 0.5, "scene.other": 0.25, "scene.none": 0.25, "attr.has_text": 0.5, "object.drink": 0.25}
    moved = label_drift(shares, {**shares, FOOD: 0.3, "scene.other": 0.45}, questions=PACKAGED)
    assert moved.by_kind["scene"] == pytest.approx(0.2)
    assert (moved.distance, moved.by_kind["attribute"], moved.by_kind["object"]) == (pytest.approx(0.2), 0.0, 0.0)
    assert dict(moved.largest[:2]) == pytest.approx({FOOD: -0.2, "scene.other": 0.2})
    assert label_drift(shares, shares, questions=PACKAGED).distance == 0
    assert label_drift({}, shares, questions=PACKAGED).distance == 0
    assert label_shares(rows.head(0), questions=PACKAGED) == {}


def test_shares_of_the_library_are_weighted_and_stand_beside_the_claim() -> None:
    truth = labels(
        [
            {"image_id": "a", "scene": FOOD, "inclusion_probability": 0.1},
            {"image_id": "b", "scene": "scene.other", "inclusion_probability": 1.0},
        ],
        inclusion_probability=pl.Float64,
    )
    share = estimate_shares(truth, raw={FOOD: 0.5}, questions=PACKAGED)[FOOD]
    assert (share.value, share.baseline, share.n) == (pytest.approx(10 / 11), 0.5, 2)


def test_a_head_that_is_not_behind_on_a_few_photos_is_not_said_to_lose_little() -> None:
    truth = scenes("ff")
    found = may_deploy(compare_paired(truth, truth, truth, questions=PACKAGED), 0.05)
    assert found.allowed
    assert "loses at most" not in found.reason
    assert "2 audited photos tell little" in found.reason


def test_labels_of_other_photos_are_no_help_in_a_comparison() -> None:
    truth, said, _ = library(400)
    other = said.with_columns(pl.exclude("image_id").shuffle(seed=1))
    checked, alone = truth.head(200), compare_paired(said, other, truth.head(200), questions=PACKAGED).delta
    assert compare_paired(said, other, checked, others=truth, questions=PACKAGED).delta != alone
    assert compare_paired(said, other, checked, others=truth.tail(390), questions=PACKAGED).delta == alone
