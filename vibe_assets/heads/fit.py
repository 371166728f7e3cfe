"""Rows and a module go in; fitted weights come out: L-BFGS along a path of L2 strengths, held-out rows choose strength and iteration.

Imports torch: import it lazily.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from vibe_assets.heads import picked
from vibe_assets.heads.losses import Loss
from vibe_assets.heads.picked import PickedRows

STRENGTHS = (10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 1e-3, 1e-4)  # of 0.5 * strength * |weights|^2 beside a mean loss
PATIENCE = 10  # iterations without a better held-out loss that end a strength
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


@contextmanager
def deterministic(*, seed: int, threads: int) -> Iterator[None]:
    """Repeatable torch inside the block: seeded, deterministic kernels, fixed threads; all settings are put back afterwards.

    The thread count is fixed because sums are split among threads: another count gives other last bits.
    """
    was, warn_only, had = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.get_num_threads(),
    )
    with torch.random.fork_rng(devices=[]):
        try:
            torch.use_deterministic_algorithms(True)
            torch.set_num_threads(threads)
            torch.manual_seed(seed)
            yield
        finally:
            torch.use_deterministic_algorithms(was, warn_only=warn_only)
            torch.set_num_threads(had)


def linear(dim: int, classes: int) -> nn.Linear:
    """A linear layer at zero: the problem is convex, and zero makes the start independent of any seed."""
    layer = nn.Linear(dim, classes)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def fit_path(
    model: nn.Module, train: Rows | PickedRows, held_out: Rows | PickedRows | None, loss: Loss, *,
    strengths: Sequence[float] = STRENGTHS, max_iterations: int,
    budgets: Sequence[int] | None = None, patient: bool = False, progress: bool = False,
) -> Path:  # fmt: skip
    """Fit `model` in place from the strongest L2 to the weakest, each from the best state of the one before.

    With `held_out`, its loss picks the state of every strength, a strength ends after PATIENCE iterations without gain, and the path
    after STRENGTH_PATIENCE strengths without gain (`patient=True`: never). `budgets` gives the iterations of each strength
    instead, and then the last state counts. A non-finite loss raises FloatingPointError.
    """
    stops: list[Stop] = []
    history: list[dict[str, Any]] = []
    wait = 0
    for index, strength in enumerate(tqdm(strengths, desc="strengths", unit="", disable=None if progress else True)):
        limit = max_iterations if budgets is None else budgets[index]
        stop = _fit_strength(
            model, train, held_out, loss, strength=strength, max_iterations=limit, exact=budgets is not None, history=history
        )
        gained = not stops or stop.loss < (1 - MIN_GAIN) * min(earlier.loss for earlier in stops)
        wait = 0 if gained else wait + 1
        stops.append(stop)
        model.load_state_dict(stop.state)
        if budgets is None and not patient and wait >= STRENGTH_PATIENCE:
            break
    model.load_state_dict(Path(tuple(stops), ()).best.state if budgets is None else stops[-1].state)
    return Path(tuple(stops), tuple(history))


def _fit_strength(
    model: nn.Module, train: Rows | PickedRows, held_out: Rows | PickedRows | None, loss: Loss, *, strength: float, max_iterations: int,
    exact: bool,
    history: list[dict[str, Any]],
) -> Stop:  # fmt: skip
    optimiser = torch.optim.LBFGS(
        model.parameters(), max_iter=1, history_size=10, line_search_fn="strong_wolfe", tolerance_grad=1e-7, tolerance_change=0.0
    )
    closure = _objective(model, train, loss, strength)
    previous = float(closure())
    best = Stop(strength, 0, _held_out_loss(model, held_out, loss, previous), _copy(model.state_dict()))
    for iteration in range(1, max_iterations + 1):
        optimiser.step(closure)
        objective = float(closure())
        if not math.isfinite(objective):
            raise FloatingPointError(f"expected a finite loss, got {objective} at strength {strength}, iteration {iteration}")
        seen = _held_out_loss(model, held_out, loss, objective)
        plain = objective - 0.5 * strength * sum(float(weight.detach().double().square().sum()) for weight in _weights(model))
        history.append(
            {"strength": strength, "iteration": iteration, "train_loss": round(plain, 8), "val_loss": round(seen, 8) if held_out else None}
        )
        if exact or seen < best.loss:
            best = Stop(strength, iteration, seen, _copy(model.state_dict()))
        converged = previous - objective <= TOLERANCE * max(abs(objective), 1e-3)
        if not exact and (converged or iteration - best.iteration >= PATIENCE):
            break
        previous = objective
    return best


def _objective(model: nn.Module, rows: Rows | PickedRows, loss: Loss, strength: float) -> Callable[[], Tensor]:
    """Closure for L-BFGS that remembers its last points: a step begins where the line search ended, already evaluated."""
    parameters = list(model.parameters())
    known: deque[tuple[Tensor, Tensor, list[Tensor]]] = deque(maxlen=4)

    def closure() -> Tensor:
        point = torch.cat([parameter.detach().reshape(-1) for parameter in parameters])
        for seen, value, gradients in known:
            if torch.equal(seen, point):
                for parameter, gradient in zip(parameters, gradients, strict=True):
                    parameter.grad = gradient.clone()
                return value
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
        value = value.detach()
        known.append((point, value, [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in parameters]))
        return value

    return closure


def _weights(model: nn.Module) -> list[Tensor]:
    """What L2 holds down: matrices, not biases."""
    return [parameter for parameter in model.parameters() if parameter.ndim > 1]


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
