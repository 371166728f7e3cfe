"""Series models whatever their weights: no order leak, antisymmetric margins, padding that changes nothing; and what they learn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vibe_assets.heads.models import HeadError
from vibe_assets.heads.series_data import Preference, SeriesSet, series_set, shared_win
from vibe_assets.heads.series_head import RECIPES, load_series_head, score_set
from vibe_assets.heads.series_losses import bradley_terry_loss, series_softmax_loss
from vibe_assets.heads.series_models import ARCHITECTURES, LinearScorer, build
from vibe_assets.heads.series_train import top1, train_series_head
from vibe_assets.settings import TriageSettings

DIM = 10
NAMES = sorted(ARCHITECTURES)
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def model(name: str, seed: int = 0):
    torch.manual_seed(seed)
    built = build(name, DIM).eval()
    if isinstance(built, LinearScorer):
        torch.nn.init.normal_(built.weight)
    return built.requires_grad_(False)


MODELS = {name: model(name) for name in NAMES}
sizes = st.integers(2, 9)
seeds = st.integers(0, 10_000)


def photos(seed: int, n: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(1, n, DIM)).astype(np.float32))


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=15)
@given(seeds, sizes)
def test_permuting_a_series_permutes_its_scores(name, seed, n):
    x, order = photos(seed, n), torch.from_numpy(np.random.default_rng(seed).permutation(n))
    mask = torch.ones(1, n, dtype=torch.bool)
    torch.testing.assert_close(MODELS[name](x[:, order], mask), MODELS[name](x, mask)[:, order], **CLOSE)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=15)
@given(seeds, sizes)
def test_the_margin_of_a_and_b_is_minus_that_of_b_and_a(name, seed, n):
    margins = MODELS[name].margins(photos(seed, n), torch.ones(1, n, dtype=torch.bool))
    assert torch.equal(margins, -margins.transpose(1, 2))


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=15)
@given(seeds, sizes, st.integers(1, 6))
def test_padding_never_changes_a_score(name, seed, n, padding):
    x, rubbish = photos(seed, n), 1e3 * photos(seed + 1, padding)
    mask = torch.tensor([[True] * n + [False] * padding])
    scores = MODELS[name](torch.cat([x, rubbish], dim=1), mask)
    torch.testing.assert_close(scores[:, :n], MODELS[name](x, mask[:, :n]), **CLOSE)
    assert torch.isneginf(scores[:, n:]).all()


def test_a_linear_scorer_is_bradley_terry_and_cannot_see_the_series():
    x, mask = photos(1, 4), torch.ones(1, 4, dtype=torch.bool)
    torch.testing.assert_close(MODELS["linear"](x, mask)[0, 0], MODELS["linear"](x[:, :1], mask[:, :1])[0, 0])
    alone = MODELS["transformer"](x[:, :1], mask[:, :1])[0, 0]
    assert not torch.isclose(MODELS["transformer"](x, mask)[0, 0], alone)


# -- losses ------------------------------------------------------------------------------------------------------------
def test_a_shared_tie_costs_least_when_both_winners_score_alike():
    target, mask = torch.tensor([[0.5, 0.5, 0.0]]), torch.ones(1, 3, dtype=torch.bool)
    alike = series_softmax_loss(torch.tensor([[3.0, 3.0, -9.0]]), target, mask)
    assert float(alike) == pytest.approx(np.log(2), abs=1e-4)
    assert alike < series_softmax_loss(torch.tensor([[4.0, 2.0, -9.0]]), target, mask)


def test_series_without_a_winner_and_padding_add_nothing_to_the_loss():
    scores, mask = torch.tensor([[1.0, 0.0, -torch.inf], [2.0, 1.0, 0.0]]), torch.tensor([[True, True, False], [True, True, True]])
    target = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    assert float(series_softmax_loss(scores, target, mask)) == pytest.approx(np.log(1 + np.exp(-1)))


def test_bradley_terry_loss_is_the_mean_negative_log_likelihood_of_the_votes():
    margins, votes = torch.zeros(1, 2, 2), torch.zeros(1, 2, 2)
    margins[0, 0, 1], margins[0, 1, 0] = 1.2, -1.2
    votes[0, 0, 1], votes[0, 1, 0] = 3, 1
    wanted = -(3 * np.log(1 / (1 + np.exp(-1.2))) + np.log(1 / (1 + np.exp(1.2)))) / 4
    assert float(bradley_terry_loss(margins, votes)) == pytest.approx(wanted)


# -- data --------------------------------------------------------------------------------------------------------------
def test_winners_have_the_most_duels_won_and_ties_share():
    votes = np.zeros((3, 3), np.float32)
    votes[0, 1], votes[1, 2], votes[2, 0] = 2, 2, 2  # a circle
    assert shared_win(votes, np.ones(3, bool)).tolist() == pytest.approx([1 / 3] * 3)
    votes[0, 1] = 0
    assert shared_win(votes, np.ones(3, bool)).tolist() == [0, 1, 0]  # scores -1, 1, 0
    assert shared_win(np.zeros((2, 2), np.float32), np.ones(2, bool)).tolist() == [0, 0]


def test_photos_that_nobody_compared_are_no_candidates():
    features = {name: np.zeros(2, np.float32) for name in "abc"}
    data = series_set({"s": "abc", "t": "ab"}, features, {"s": [Preference("a", "b", 0.5, 0.5)]}, splits={"s": "train"}, blocks={"s": "s"})
    assert data.members == (("a", "b"),)
    assert data.target.tolist() == [[0.5, 0.5]]
    assert not data.sole_winner.any()


# -- training ----------------------------------------------------------------------------------------------------------
SETTINGS = TriageSettings(max_epochs=25, patience=8)


def planted(features: np.ndarray, context: float, *, series: int = 320, window: int = 400, seed: int = 0) -> SeriesSet:
    """Simulated Bradley-Terry votes: worth = a direction of the features, and how far a photo is from the middle of its own series."""
    rng = np.random.default_rng(seed)
    direction = rng.normal(size=features.shape[1]) / np.sqrt(features.shape[1])
    order = np.argsort(features @ direction)  # a series' photos are neighbours: series differ more than the photos within one
    ids, rows, preferences, splits = {}, {}, {}, {}
    for number in range(series):
        start = int(rng.integers(len(order) - window))
        members = [f"{number}-{n}" for n in range(int(rng.integers(3, 6)))]
        x = features[order[start + rng.choice(window, len(members), replace=False)]]
        along = x @ direction
        worth = (1 - context) * along + context * 6 * np.abs(along - along.mean())
        rows |= dict(zip(members, x.astype(np.float32), strict=True))
        odds = 1 / (1 + np.exp(-4 * (worth[:, None] - worth[None, :])))
        preferences[str(number)] = [
            Preference(members[a], members[b], float(won := rng.binomial(5, odds[a, b])), float(5 - won))
            for a in range(len(members))
            for b in range(a + 1, len(members))
        ]
        ids[str(number)] = members
        splits[str(number)] = "train" if number % 10 < 7 else "val" if number % 10 == 7 else "test"
    return series_set(ids, rows, preferences, splits=splits, blocks={name: name for name in ids})


@pytest.fixture(scope="module")
def noise() -> SeriesSet:
    return planted(np.random.default_rng(1).normal(size=(2000, 6)), 0.0, series=120)


@pytest.mark.parametrize("recipe", ["linear", "bradley_terry"])
def test_training_repeats_bit_for_bit_and_survives_its_file(noise, tmp_path, recipe):
    first, second = (train_series_head(recipe, noise, settings=SETTINGS, encoder="e") for _ in range(2))
    assert first.version == second.version
    back = load_series_head(first.save(tmp_path))
    assert back.card == first.card
    np.testing.assert_array_equal(score_set(back, noise)[0], score_set(first, noise)[0])


def test_an_epoch_trained_head_repeats_bit_for_bit_and_its_probabilities_sum_to_one(noise):
    first, second = (train_series_head("transformer", noise, settings=TriageSettings(max_epochs=2), encoder="e") for _ in range(2))
    assert first.version == second.version
    p = first.probabilities(score_set(first, noise)[0])
    np.testing.assert_allclose(p.sum(axis=1), 1)
    assert (p[~noise.mask] == 0).all()


def test_a_damaged_or_renamed_file_is_refused(noise, tmp_path):
    path = train_series_head("linear", noise, settings=SETTINGS, encoder="e").save(tmp_path)
    other = path.rename(path.with_name("linear-000000000000.safetensors"))
    with pytest.raises(HeadError, match="content belongs to"):
        load_series_head(other)
    other.write_bytes(other.read_bytes()[:50])
    with pytest.raises(HeadError, match="not a series head"):
        load_series_head(other)


def test_too_few_series_are_refused_with_the_remedy(noise):
    few = noise.only(noise.splits != "val")
    with pytest.raises(HeadError, match="vibe triage review"):
        train_series_head("linear", few, settings=SETTINGS, encoder="e")
    broken = replace(noise, x=np.where(noise.x > 2, np.nan, noise.x))
    with pytest.raises(ValueError, match="finite"):
        train_series_head("linear", broken, settings=SETTINGS, encoder="e")
    with pytest.raises(ValueError, match=next(iter(RECIPES))):
        train_series_head("oracle", noise, settings=SETTINGS, encoder="e")


def test_models_that_see_the_series_recover_a_planted_context_effect_that_independent_ones_cannot(real_data):
    """Votes simulated over real MobileNet vectors: the photo that stands out from its own series is preferred, whatever it shows."""
    file = real_data / "mobilenet_v2_features.npz"
    if not file.exists():
        pytest.skip(f"no features at {file}")
    vectors = np.load(file)["X"][::4].astype(np.float32)
    vectors -= vectors.mean(axis=0)
    _, _, axes = np.linalg.svd(vectors[:800], full_matrices=False)
    x = vectors @ axes[:4].T
    x /= x.std(axis=0)
    data = planted(x, 1.0, series=700, window=700)
    test = data.split("test").only(data.split("test").sole_winner)
    found = {
        recipe: top1(
            score_set(train_series_head(recipe, data, settings=TriageSettings(max_epochs=40, patience=8), encoder="e"), test)[0], test
        )
        for recipe in ("linear", "mlp", "mlp_context", "transformer")
    }
    chance = float((1 / test.sizes).mean())
    assert max(found["linear"], found["mlp"]) < chance + 0.15, found
    assert min(found["mlp_context"], found["transformer"]) > max(found["linear"], found["mlp"]) + 0.12, found
