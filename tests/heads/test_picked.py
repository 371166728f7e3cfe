"""Rows read block by block give the loss, gradient and moments of the whole matrix; a sample that goes first loses nothing."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.heads.examples import PROVENANCE, SCENES, SETTINGS, label_set, scene_set
from vibe_assets.heads import fit, picked, train
from vibe_assets.heads.dataset import TrainingSet
from vibe_assets.heads.losses import Loss, sigmoid_loss, softmax_loss
from vibe_assets.heads.picked import PickedRows


def rows_of(kind: str, *, threads: int = 1) -> PickedRows:
    data = scene_set(700) if kind == "scene" else label_set(700)
    mask = np.random.default_rng(5).random(data.mask.shape) < 0.8
    return train._standardised(replace(data, mask=mask), data.rows("train"), threads)


@pytest.mark.parametrize(("kind", "loss"), [("scene", softmax_loss()), ("object", sigmoid_loss(torch.tensor([1.0, 3.0, 2.0])))])
@pytest.mark.parametrize("threads", [1, 2])
def test_blocks_give_the_loss_and_gradient_that_autograd_finds(
    kind: str, loss: Loss, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(picked, "BLOCK", 12 * 70)
    monkeypatch.setattr(picked, "PART", 150)
    rows = rows_of(kind, threads=threads)
    layer = fit.linear(rows.x.shape[1], 3)
    torch.nn.init.normal_(layer.weight, generator=torch.Generator().manual_seed(1))
    x = (rows.x[rows.at] - rows.mean) / rows.std
    expected = loss(layer(x), rows.targets, rows.mask)
    expected.backward()
    value, by_weight, by_bias = picked.loss_and_gradient(layer, rows, loss)
    assert float(value) == pytest.approx(float(expected.detach()), rel=1e-6)
    torch.testing.assert_close(by_weight, layer.weight.grad, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(by_bias, layer.bias.grad, rtol=1e-4, atol=1e-6)
    assert float(picked.mean_loss(layer, rows, loss)) == float(value)
    torch.testing.assert_close(picked.logits(layer, rows), layer(x).detach(), rtol=1e-4, atol=1e-4)


def test_moments_are_those_of_the_rows_and_a_constant_column_stays_harmless(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picked, "BLOCK", 12 * 70)
    data = scene_set(500)
    x = data.x.copy()
    x[:, 3], x[:, 4] = 0.25, x[:, 4] + 40
    at = data.rows("train")[::3]
    rows = train._standardised(replace(data, x=x), at, 1)
    np.testing.assert_allclose(rows.mean.numpy(), x[at].mean(axis=0, dtype=np.float64), rtol=1e-5, atol=1e-7)
    wanted = x[at].std(axis=0, dtype=np.float64)
    wanted[3] = 1.0
    np.testing.assert_allclose(rows.std.numpy(), wanted, rtol=1e-3)


def test_threads_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picked, "PART", 40)
    few = SETTINGS.model_copy(update={"max_epochs": 3})
    one, two = (
        train.train_head("scene", scene_set(), labels=SCENES, settings=few, provenance=PROVENANCE, threads=threads) for threads in (1, 2)
    )
    assert one.version == two.version


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_samples_that_go_first_cost_less_validation_loss_than_counts_as_a_gain(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    data = scene_set(6000, dim=24, noise=8.0, seed=seed)
    whole = train.train_head("scene", data, labels=SCENES, settings=SETTINGS, provenance=PROVENANCE)
    monkeypatch.setattr(train, "LARGE", 1000)
    monkeypatch.setattr(train, "SAMPLES", (200, 800, 3000))
    sampled = train.train_head("scene", data, labels=SCENES, settings=SETTINGS, provenance=PROVENANCE)
    assert [sample["n"] for sample in sampled.card.selection["samples"]] == [200, 800], "the next is at least four times as large"
    assert "samples" not in whole.card.selection
    assert whole.card.selection["loss"] > 0.1, "there is something to lose"
    assert sampled.card.selection["loss"] <= whole.card.selection["loss"] * (1 + fit.MIN_GAIN)


def stretched() -> tuple[picked.PickedRows, picked.PickedRows, TrainingSet]:
    """Columns that nearly repeat each other: long narrow valleys for a descent that knows nothing of them."""
    data = scene_set(3000, dim=24, noise=3.0)
    turn = np.linalg.qr(np.random.default_rng(3).standard_normal((24, 24)))[0] * np.geomspace(1, 0.01, 24)
    data = replace(data, x=(data.x @ turn @ np.linalg.qr(np.ones((24, 24)) + np.eye(24))[0]).astype(np.float32))
    rows = train._standardised(data, data.rows("train"), 1)
    return rows, train._picked(data, data.rows("val"), rows), data


@pytest.mark.parametrize("strength", [1.0, 1e-2, 1e-4])
def test_whitened_coordinates_find_the_same_optimum_in_fewer_iterations(strength: float) -> None:
    rows, held, _ = stretched()

    def reached(iterations: int, spectrum: picked.Spectrum | None) -> float:
        model = fit.linear(24, len(SCENES))
        fit.fit_path(
            model, rows, held, softmax_loss(), strengths=[strength], max_iterations=iterations, budgets=[iterations], spectrum=spectrum
        )  # fmt: skip
        return fit._objective(model, rows, softmax_loss(), strength)

    optimum, whitened, plain = reached(3000, None), reached(25, picked.spectrum(rows)), reached(25, None)
    assert whitened == pytest.approx(optimum, rel=2e-3)
    assert whitened < plain


def test_the_spectrum_is_that_of_the_standardised_rows() -> None:
    rows, _, data = stretched()
    x = (data.x[data.rows("train")] - rows.mean.numpy()) / rows.std.numpy()
    spectrum = picked.spectrum(rows)
    whole = spectrum.vectors @ torch.diag(spectrum.values) @ spectrum.vectors.T
    np.testing.assert_allclose(whole.numpy(), x.T @ x / len(x), atol=1e-4)


def test_from_a_strength_that_is_too_weak_the_fit_goes_back_to_stronger_ones() -> None:
    data = scene_set(300, dim=24, noise=30.0)  # nearly nothing to learn: the strongest penalty is right
    rows = train._standardised(data, data.rows("train"), 1)
    held, strengths = train._picked(data, data.rows("val"), rows), fit.strengths_of(len(rows))
    around = fit.fit_around(
        fit.linear(24, len(SCENES)), rows, held, softmax_loss(), strengths=strengths, begin=0.1, max_iterations=100
    )  # fmt: skip
    assert around.best.strength > 0.1
    assert around.best.loss < min(stop.loss for stop in around.stops if stop.strength <= 0.1)


@pytest.mark.parametrize("whitened", [False, True])
@pytest.mark.parametrize("after", [0, 3])
def test_a_loss_that_is_not_finite_ends_the_fit_with_an_error(after: int, whitened: bool) -> None:
    rows, held, _ = stretched()
    asked, plain = 0, softmax_loss()

    def breaking(*arguments: torch.Tensor) -> torch.Tensor:
        nonlocal asked
        asked += 1
        return plain(*arguments) * (torch.nan if asked > after else 1.0)

    spectrum = picked.spectrum(rows) if whitened else None
    with pytest.raises(FloatingPointError, match=r"finite loss, got nan at strength 0\.1"):
        fit.fit_path(fit.linear(24, len(SCENES)), rows, held, breaking, strengths=[0.1], max_iterations=50, spectrum=spectrum)


@pytest.mark.parametrize(("rows", "weakest"), [(1, 1e-4), (900, 1e-4), (20_000, 1e-5), (1_000_000, 1e-6)])
def test_weaker_penalties_are_tried_with_more_rows(rows: int, weakest: float) -> None:
    tried = fit.strengths_of(rows)
    assert tried == fit.STRENGTHS[: len(tried)]
    assert tried[-1] == weakest


def test_training_does_not_import_torchs_compiler() -> None:
    code = (
        "import sys; from tests.heads.examples import *; from vibe_assets.heads.train import train_head; "
        "train_head('scene', scene_set(), labels=SCENES, settings=SETTINGS, provenance=PROVENANCE); "
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0, "importing it takes seconds in every process"


def test_training_makes_no_copy_of_the_vectors() -> None:
    data = scene_set(20_000, dim=128)
    tracemalloc.start()
    settings = SETTINGS.model_copy(update={"max_epochs": 2})
    train.train_head("scene", data, labels=SCENES, settings=settings, provenance=PROVENANCE)
    _, peak = tracemalloc.get_traced_memory()  # numpy's arrays; torch's are at most a block
    tracemalloc.stop()
    assert peak < data.x.nbytes / 2
