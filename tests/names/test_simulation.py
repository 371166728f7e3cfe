"""Is a signal found where one is, at its strength, and none where there is none?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.conftest import REAL_DATA
from vibe_assets.evaluate.intervals import weighted_share
from vibe_assets.names.gates import control_excess
from vibe_assets.names.probes import METHODS, permuted, recipes, run_probes
from vibe_assets.names.results import Track
from vibe_assets.names.simulate import Planted, gaussian_features, plant
from vibe_assets.sections import NameSettings

SETTINGS = NameSettings(max_epochs=10, control_runs=2)
STRENGTH = 1.2


def features(kind: str = "gaussian") -> np.ndarray:
    """Rows of 48 numbers: of a normal distribution, or of real photos where they are there."""
    if kind == "gaussian":
        return gaussian_features(10_000, 48)
    file = REAL_DATA / "mobilenet_v2_features.npz"
    if not file.exists():
        pytest.skip(f"no real features at {file} (set VIBE_TEST_DATA)")
    with np.load(file) as stored:
        return stored["X"][:5000, :48].astype(np.float32)


def studied(planted: Planted, **options: object) -> dict[str, Track]:
    return {track.name: track for track in run_probes(planted.data, SETTINGS, **options)}  # type: ignore[arg-type]


@pytest.fixture(scope="module", params=["gaussian", "photos"])
def planted(request: pytest.FixtureRequest) -> Planted:
    return plant(features(request.param), names=12, strength=STRENGTH, imbalance=4, seed=1)


@pytest.fixture(scope="module")
def tracks(planted: Planted) -> dict[str, Track]:
    return studied(planted)


def test_a_planted_signal_is_found_at_its_strength(planted: Planted, tracks: dict[str, Track]) -> None:
    accuracy = tracks["linear"].scores.headline["accuracy"]
    chance = tracks["linear"].chance
    share = (accuracy.value - chance) / (planted.ceiling() - chance)
    assert accuracy.low > 1.5 * chance
    assert share > 0.75, f"found {accuracy}, chance {chance:.3f}, to be had {planted.ceiling():.3f}"
    assert accuracy.low < planted.ceiling() + 0.01


def test_where_nothing_is_planted_nothing_is_found() -> None:
    nothing = studied(plant(features(), names=12, strength=0.0, imbalance=4, seed=2), methods=("linear",), ablated=())
    accuracy, chance = nothing["linear"].scores.headline["accuracy"], nothing["linear"].chance
    assert accuracy.low <= chance <= accuracy.high
    for choice in ("choice_2", "choice_5"):
        found = nothing["linear"].scores.headline[choice]
        assert found.low <= (found.baseline or 0) <= found.high


def test_the_control_is_at_chance_although_one_out_of_all_names_and_the_majority_are_elsewhere(tracks: dict[str, Track]) -> None:
    accuracy, chance = control_excess(list(tracks.values()), level=0.99)
    assert accuracy.low <= chance <= accuracy.high
    assert chance > 1 / 12 + 0.01
    assert chance < (tracks["permuted_1"].scores.headline["accuracy"].baseline or 0) - 0.01


def test_every_method_runs_and_balanced_ones_are_less_skewed(tracks: dict[str, Track]) -> None:
    assert set(METHODS) < set(tracks)
    cv = {name: track.scores.headline["prediction_cv"].value for name, track in tracks.items()}
    assert cv["logit_adjusted"] < 0.7 * cv["linear"]
    assert cv["class_balanced"] < cv["linear"]
    assert all(track.chance < track.scores.headline["accuracy"].low for name, track in tracks.items() if not name.startswith("permuted"))


def test_names_taken_out_are_the_best_recalled_on_val_and_the_rest_is_judged_anew(tracks: dict[str, Track]) -> None:
    track = tracks["without_3"]
    assert len(track.names) == 9
    assert len(track.config["removed"]) == 3
    assert not set(track.names) & set(track.config["removed"])
    assert track.truth.max() < 9
    assert track.scores.headline["accuracy"].low > track.chance


def test_permuted_names_keep_counts_splits_and_groups() -> None:
    data = plant(gaussian_features(900, 4), names=5, strength=0.0, seed=0).data
    grouped = replace(data, groups=np.arange(900) // 3, splits=np.repeat(["train", "val", "test"], 300))
    same = replace(grouped, y=np.repeat(grouped.y[::3], 3))  # one name per group, as for one person
    y = permuted(same, seed=1)
    assert (y.reshape(-1, 3) == y.reshape(-1, 3)[:, :1]).all()
    for split in ("train", "val", "test"):
        rows = same.rows(split)
        assert np.bincount(y[rows]).tolist() == np.bincount(same.y[rows]).tolist()
    assert (y != same.y).mean() > 0.5
    assert (permuted(same, seed=1) == y).all()


def test_the_simulators_best_rule_knows_its_signal() -> None:
    """Two names a known distance apart: the best rule is right as often as the normal distribution says."""
    from scipy.stats import norm

    made = plant(gaussian_features(20_000, 8), names=2, strength=1.0, seed=4)
    between = np.linalg.norm(np.diff(made.directions, axis=0))
    assert made.ceiling("train") == pytest.approx(norm.cdf(between / 2), abs=0.01)
    assert weighted_share(made.best == made.data.y).low < norm.cdf(between / 2) < weighted_share(made.best == made.data.y).high + 0.01


def test_an_unknown_method_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="expected one of linear"):
        recipes("magic", 3)
