"""Rows and a module go in; fitted weights come out: L-BFGS along a path of L2 strengths, held-out rows choose strength and iteration.

With the spectrum of the rows, a linear layer is fitted in coordinates where the objective curves about alike in all directions: the same
optimum in a fraction of the passes, because embeddings vary a hundred times more along some directions than along others (`_Whitened`).

Imports torch: import it lazily.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import OptimizeResult, minimize
from torch import Tensor, nn
from tqdm import tqdm

from vibe_assets.heads import picked
from vibe_assets.heads.losses import Loss
from vibe_assets.heads.picked import PickedRows, Spectrum

STRENGTHS = (10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 1e-3, 1e-4, 1e-5, 1e-6)  # of 0.5 * strength * |weights|^2 beside a mean loss
WEAK = 1e-4  # tried with however few rows
PATIENCE = 10  # iterations without a better held-out loss that end a strength
WHITENED_PATIENCE = 4  # the same in whitened coordinates, where few iterations go a long way
STRENGTH_PATIENCE = 2  # strengths without a better held-out loss that end the path
MIN_GAIN = 5e-3  # relative fall of the held-out loss that counts as better when the path is to go on
TOLERANCE = 1e-5  # relative fall of the objective below which a strength has converged

State = dict[str, Tensor]


@dataclass(frozen=True)
class Rows:
    """What any module reads as x, with targets and mask as the loss wants them. A linear layer is fitted on `PickedRows` instead."""

    x: Tensor
    targets: Tensor
    mask: Tensor


@dataclass(frozen=True)
class Stop:
    """Best state of one strength: the held-out loss there and the iteration (1-based; 0 is the warm start itself)."""

    strength: float
    iteration: int
    loss: float
    state: State


@dataclass(frozen=True)
class Path:
    """All strengths that were tried, and one history entry per iteration."""

    stops: tuple[Stop, ...]
    history: tuple[dict[str, Any], ...]

    @property
    def best(self) -> Stop:
        return min(self.stops, key=lambda stop: stop.loss)

    @property
    def strongest(self) -> Stop:
        """The stop of the strongest penalty whose loss is as good as the best, but for MIN_GAIN."""
        return max((stop for stop in self.stops if stop.loss * (1 - MIN_GAIN) <= self.best.loss), key=lambda stop: stop.strength)


@contextmanager
def deterministic(*, seed: int, threads: int) -> Iterator[None]:
    """Repeatable torch inside the block: seeded, deterministic kernels, fixed threads; all settings are put back afterwards.

    The thread count is fixed because sums are split among threads: another count gives other last bits.
    """
    # use_deterministic_algorithms does the same and imports torch's compiler for it: 3.7 s in every process
    was, had = torch.get_deterministic_debug_mode(), torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        try:
            torch.set_deterministic_debug_mode("error")
            torch.set_num_threads(threads)
            torch.manual_seed(seed)
            yield
        finally:
            torch.set_deterministic_debug_mode(was)
            torch.set_num_threads(had)


def linear(dim: int, classes: int) -> nn.Linear:
    """A linear layer at zero: the problem is convex, and zero makes the start independent of any seed."""
    layer = nn.Linear(dim, classes)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def strengths_of(rows: int) -> tuple[float, ...]:
    """The STRENGTHS to try on so many rows. 1 / rows is scikit-learn's default (C = 1); a tenth of it is the weakest that may help."""
    return tuple(strength for strength in STRENGTHS if strength >= min(WEAK, 0.1 / max(rows, 1)))


def fit_path(
    model: nn.Module, train: Rows | PickedRows, held_out: Rows | PickedRows | None, loss: Loss, *,
    strengths: Sequence[float], max_iterations: int,
    budgets: Sequence[int] | None = None, patient: bool = False, spectrum: Spectrum | None = None, progress: bool = False,
) -> Path:  # fmt: skip
    """Fit `model` in place from the strongest L2 to the weakest, each from the best state of the one before.

    With `held_out`, its loss picks the state of every strength, a strength ends after PATIENCE iterations without gain, and the path
    after STRENGTH_PATIENCE strengths without gain (`patient=True`: never). `budgets` gives the iterations of each strength
    instead, and then the last state counts. `spectrum`: of the rows, or of many rows like them; for a linear layer on PickedRows.
    A non-finite loss raises FloatingPointError.
    """
    stops: list[Stop] = []
    history: list[dict[str, Any]] = []
    wait = 0
    for index, strength in enumerate(tqdm(strengths, desc="strengths", unit="", disable=None if progress else True)):
        limit = max_iterations if budgets is None else budgets[index]
        stop = _fit_strength(
            model, train, held_out, loss, strength=strength, max_iterations=limit, exact=budgets is not None, history=history,
            spectrum=spectrum,
        )  # fmt: skip
        gained = not stops or stop.loss < (1 - MIN_GAIN) * min(earlier.loss for earlier in stops)
        wait = 0 if gained else wait + 1
        stops.append(stop)
        model.load_state_dict(stop.state)
        if budgets is None and not patient and wait >= STRENGTH_PATIENCE:
            break
    model.load_state_dict(Path(tuple(stops), ()).best.state if budgets is None else stops[-1].state)
    return Path(tuple(stops), tuple(history))


def nearest(strengths: Sequence[float], wanted: float) -> float:
    """The one of `strengths` with the smallest ratio to `wanted`."""
    return min(strengths, key=lambda strength: abs(math.log(strength / wanted)))


def fit_around(
    model: nn.Module, train: Rows | PickedRows, held_out: Rows | PickedRows, loss: Loss, *, strengths: Sequence[float], begin: float,
    max_iterations: int, spectrum: Spectrum | None = None, progress: bool = False,
) -> Path:  # fmt: skip
    """As `fit_path` from the strength `begin` to weaker ones; where that is the best, to stronger ones as long as they gain."""

    def fitted(some: Sequence[float]) -> Path:
        return fit_path(model, train, held_out, loss, strengths=some, max_iterations=max_iterations, spectrum=spectrum, progress=progress)

    path = fitted([strength for strength in strengths if strength <= begin])
    for stronger in sorted(strength for strength in strengths if strength > begin):
        if path.best.strength < max(stop.strength for stop in path.stops):
            break
        more, before = fitted([stronger]), path.best.loss
        path = Path((*path.stops, *more.stops), (*path.history, *more.history))
        if more.best.loss > (1 - MIN_GAIN) * before:
            break
    model.load_state_dict(path.best.state)
    return path


def _fit_strength(
    model: nn.Module, train: Rows | PickedRows, held_out: Rows | PickedRows | None, loss: Loss, *, strength: float, max_iterations: int,
    exact: bool, history: list[dict[str, Any]], spectrum: Spectrum | None,
) -> Stop:  # fmt: skip
    """One strength, from the state that the model is in; leaves the model where the last iteration ended."""
    variables = _Variables(model) if spectrum is None else _Whitened(_layer(model), _picked(train), spectrum, strength)
    patience = PATIENCE if spectrum is None else WHITENED_PATIENCE
    begin, iteration = variables.point(), 0
    objective = _objective(model, train, loss, strength)
    first: list[tuple[float, NDArray[np.float64]]] = [(objective, variables.gradient())]  # of `begin`, which scipy asks for first
    best = Stop(strength, 0, _held_out_loss(model, held_out, loss, objective), _copy(model.state_dict()))

    def at(point: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        if first:
            return first.pop()
        variables.put(point)
        return _objective(model, train, loss, strength), variables.gradient()

    def look(intermediate_result: OptimizeResult) -> None:
        nonlocal best, iteration, objective
        iteration, previous, objective = iteration + 1, objective, float(intermediate_result.fun)
        variables.put(intermediate_result.x)
        seen = _held_out_loss(model, held_out, loss, objective)
        plain = objective - 0.5 * strength * sum(float(weight.detach().double().square().sum()) for weight in _weights(model))
        shown = None if held_out is None else round(seen, 8)
        history.append({"strength": strength, "iteration": iteration, "train_loss": round(plain, 8), "val_loss": shown})
        if exact or seen < best.loss:
            best = Stop(strength, iteration, seen, _copy(model.state_dict()))
        converged = previous - objective <= TOLERANCE * max(abs(objective), 1e-3)
        if not exact and (converged or iteration - best.iteration >= patience):
            raise StopIteration

    # scipy's, because torch.optim imports torch's compiler with the first step: 3.5 s in every process
    options = {"maxcor": 10, "maxiter": max_iterations, "maxfun": 1_000_000, "ftol": 0.0, "gtol": 0.0}
    minimize(at, begin, jac=True, method="L-BFGS-B", callback=look, options=options)
    return best


class _Variables:
    """What L-BFGS moves: the parameters of the model, one after the other."""

    def __init__(self, model: nn.Module) -> None:
        self.parameters = list(model.parameters())

    def point(self) -> NDArray[np.float64]:
        return np.concatenate([parameter.detach().double().reshape(-1).numpy() for parameter in self.parameters])

    @torch.no_grad()
    def put(self, point: NDArray[np.float64]) -> None:
        """Bring a point into the model."""
        start = 0
        for parameter in self.parameters:
            parameter.copy_(torch.from_numpy(point[start : start + parameter.numel()]).view_as(parameter))
            start += parameter.numel()

    def gradient(self) -> NDArray[np.float64]:
        """Of the objective last computed; a parameter that it does not depend on has none."""
        gradients = [torch.zeros_like(parameter) if parameter.grad is None else parameter.grad for parameter in self.parameters]
        return np.concatenate([gradient.detach().double().reshape(-1).numpy() for gradient in gradients])


class _Whitened(_Variables):
    """weight = v m and bias = a b, with m the inverse root of the Hessian as covariance and mean slope tell it: v has a Hessian near one.

    A change of variables, so the objective and its optimum stay what they are.
    """

    def __init__(self, layer: nn.Linear, rows: PickedRows, spectrum: Spectrum, strength: float) -> None:
        super().__init__(layer)
        slope = picked.curvature(layer, rows)
        root = (slope * spectrum.values + strength).sqrt()
        self.layer, self.factor = layer, slope**-0.5
        self.to_weight = spectrum.vectors.T / root[:, None]  # m (d, d) float64
        self.from_weight = spectrum.vectors * root

    def point(self) -> NDArray[np.float64]:
        weight, bias = self.layer.weight.detach().double(), self.layer.bias.detach().double()
        return np.concatenate([(weight @ self.from_weight).reshape(-1).numpy(), (bias / self.factor).numpy()])

    def put(self, point: NDArray[np.float64]) -> None:
        split = self.layer.weight.numel()
        weight = torch.from_numpy(point[:split]).view_as(self.layer.weight) @ self.to_weight
        super().put(np.concatenate([weight.reshape(-1).numpy(), point[split:] * self.factor]))

    def gradient(self) -> NDArray[np.float64]:
        found, split = super().gradient(), self.layer.weight.numel()
        weight = torch.from_numpy(found[:split]).view_as(self.layer.weight) @ self.to_weight.T
        return np.concatenate([weight.reshape(-1).numpy(), found[split:] * self.factor])


def _objective(model: nn.Module, rows: Rows | PickedRows, loss: Loss, strength: float) -> float:
    """Loss and penalty where the model is; the gradient lies at the parameters afterwards. FloatingPointError where they are not finite."""
    model.zero_grad()
    penalty = torch.stack([weight.double().square().sum() for weight in _weights(model)]).sum()
    if isinstance(rows, PickedRows):
        plain, *by_parameter = picked.loss_and_gradient(_layer(model), rows, loss)
        value = plain + 0.5 * strength * penalty
        value.backward()
        for at, gradient in zip((_layer(model).weight, _layer(model).bias), by_parameter, strict=True):
            at.grad = gradient if at.grad is None else at.grad + gradient
    else:
        value = loss(model(rows.x), rows.targets, rows.mask) + 0.5 * strength * penalty
        value.backward()
    found = float(value.detach())
    if not math.isfinite(found):  # an optimiser that is told so ends where it is, as if that were the optimum
        raise FloatingPointError(f"expected a finite loss, got {found} at strength {strength}")
    return found


def _weights(model: nn.Module) -> list[Tensor]:
    """What L2 holds down: matrices, not biases."""
    return [parameter for parameter in model.parameters() if parameter.ndim > 1]


def _picked(rows: Rows | PickedRows) -> PickedRows:
    if not isinstance(rows, PickedRows):
        raise TypeError(f"rows: expected PickedRows with a spectrum, got {type(rows).__name__}")
    return rows


def _layer(model: nn.Module) -> nn.Linear:
    if not isinstance(model, nn.Linear):
        raise TypeError(f"model: expected a linear layer for picked rows, got {type(model).__name__}")
    return model


@torch.no_grad()
def _held_out_loss(model: nn.Module, rows: Rows | PickedRows | None, loss: Loss, otherwise: float) -> float:
    if isinstance(rows, PickedRows):
        return float(picked.mean_loss(_layer(model), rows, loss))
    return otherwise if rows is None else float(loss(model(rows.x), rows.targets, rows.mask))


def _copy(state: Mapping[str, Tensor]) -> State:
    return {name: tensor.detach().clone() for name, tensor in state.items()}
