"""Some rows of a large matrix and a linear layer go in; logits, or the mean loss and its gradient, come out, without a copy of the matrix.

Rows are standardised by folding mean and deviation into the layer, and read block by block: a pass over a million vectors needs a few
megabytes beside them. Imports torch: import it lazily.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor, nn

from vibe_assets.heads.losses import Loss, known

BLOCK = 1 << 20  # numbers of x that are read at a time: 4 MB, what a core holds in its share of the cache
PART = 1 << 14  # rows that one thread sums up; fixed, so that the sums do not depend on the number of threads
SPECTRUM_ROWS = 1 << 14  # enough for the covariance of a thousand columns as a guess of the curvature
CURVATURE_ROWS = 1 << 12

T = TypeVar("T")


@dataclass(frozen=True)
class PickedRows:
    """Rows `at` (n,) of x (all, d) float32; targets and mask (n,) or (n, c), targets of any integer type; mean and std (d,)."""

    x: Tensor
    at: Tensor
    mean: Tensor
    std: Tensor
    targets: Tensor
    mask: Tensor
    threads: int = 1

    def __len__(self) -> int:
        return len(self.at)

    def only(self, places: Tensor) -> PickedRows:
        """Some of these rows, by their place among them."""
        return replace(self, at=self.at[places], targets=self.targets[places], mask=self.mask[places])

    def copied(self) -> PickedRows:
        """The same rows lying one after the other: worth its memory where few are read often."""
        return replace(self, x=self.x[self.at], at=torch.arange(len(self)))

    def read(self, start: int, stop: int) -> Tensor:
        """Rows start..stop as they are, not standardised; a view where they lie one after the other."""
        at = self.at[start:stop]
        if int(at[-1]) - int(at[0]) == len(at) - 1 and bool((at.diff() == 1).all()):
            return self.x[int(at[0]) : int(at[-1]) + 1]
        return self.x[at]

    def parts(self, work: Callable[[int, int], T]) -> list[T]:
        """`work(start, stop)` of every PART, in order; at most `threads` at a time."""
        starts = range(0, len(self), PART)
        edges = [(start, min(start + PART, len(self))) for start in starts]
        if self.threads == 1 or len(edges) < 2:
            return [work(*edge) for edge in edges]
        with ThreadPoolExecutor(self.threads) as pool:
            return list(pool.map(lambda edge: work(*edge), edges))

    def blocks(self, start: int, stop: int) -> list[tuple[int, int]]:
        step = max(64, BLOCK // self.x.shape[1])
        return [(at, min(at + step, stop)) for at in range(start, stop, step)]


@torch.no_grad()
def logits(model: nn.Linear, rows: PickedRows) -> Tensor:
    """(n, c) float32."""
    weight, bias = _folded(model, rows)
    found = torch.empty(len(rows), len(bias))

    def part(start: int, stop: int) -> None:
        for low, high in rows.blocks(start, stop):
            found[low:high] = _scores(rows.read(low, high), weight, bias)

    rows.parts(part)
    return found


def mean_loss(model: nn.Linear, rows: PickedRows, loss: Loss) -> Tensor:
    """The loss over all rows, float64."""
    return _pass(model, rows, loss, gradient=False)[0]


def loss_and_gradient(model: nn.Linear, rows: PickedRows, loss: Loss) -> tuple[Tensor, Tensor, Tensor]:
    """The loss over all rows (float64) and its gradient with respect to weight (c, d) and bias (c,), as autograd would find it."""
    return _pass(model, rows, loss, gradient=True)


def _pass(model: nn.Linear, rows: PickedRows, loss: Loss, *, gradient: bool) -> tuple[Tensor, Tensor, Tensor]:
    weight, bias = _folded(model, rows)
    total = known(rows.mask)

    def part(start: int, stop: int) -> tuple[Tensor, Tensor, Tensor]:
        value, by_weight, by_bias = torch.zeros((), dtype=torch.float64), weight.new_zeros(weight.shape).double(), bias.double() * 0
        for low, high in rows.blocks(start, stop):
            x = rows.read(low, high)  # (b, d)
            with torch.enable_grad():
                scores = _scores(x, weight, bias).requires_grad_(gradient)
                each = loss(scores, rows.targets[low:high], rows.mask[low:high], total)
            value += each.detach()
            if gradient:
                (slope,) = torch.autograd.grad(each, scores)  # (b, c)
                by_weight += slope.T @ x
                by_bias += slope.sum(dim=0, dtype=torch.float64)
        return value, by_weight, by_bias

    found = rows.parts(part)
    value, by_weight, by_bias = (torch.stack(each).sum(dim=0) for each in zip(*found, strict=True))
    by_weight = (by_weight - by_bias[:, None] * rows.mean) / rows.std
    return value, by_weight.float(), by_bias.float()


def _scores(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x (b, d) -> (b, c). A few classes times many rows is the faster order of the two, by up to a third."""
    return (weight @ x.T).T.contiguous().add_(bias)


def _folded(model: nn.Linear, rows: PickedRows) -> tuple[Tensor, Tensor]:
    """The layer on vectors that are not standardised: ((x - mean) / std) W' + b = x (W / std)' + (b - W (mean / std))."""
    weight = model.weight.detach().double() / rows.std
    bias = model.bias.detach().double() - weight @ rows.mean.double()
    return weight.float(), bias.float()


def moments(rows: PickedRows) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (d,) float32 of the rows, whatever `mean` and `std` they have; a constant column gets deviation 1.

    Blocks are combined by Chan, Golub and LeVeque 1983, in float64.
    """

    def part(start: int, stop: int) -> list[tuple[int, Tensor, Tensor]]:
        found = []
        for low, high in rows.blocks(start, stop):
            variance, mean = torch.var_mean(rows.read(low, high), dim=0, correction=0)
            found.append((high - low, mean.double(), variance.double() * (high - low)))
        return found

    count, mean, squares = 0, torch.zeros(rows.x.shape[1], dtype=torch.float64), torch.zeros(rows.x.shape[1], dtype=torch.float64)
    for size, block_mean, block_squares in (block for blocks in rows.parts(part) for block in blocks):
        shift, count = block_mean - mean, count + size
        mean = mean + shift * (size / count)
        squares = squares + block_squares + shift.square() * (size * (count - size) / count)
    std = (squares / count).sqrt()
    return mean.float(), torch.where(std < 1e-6, 1.0, std).float()


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues (d,) and eigenvectors (d, d), by column, of the covariance of standardised rows; float64."""

    values: Tensor
    vectors: Tensor


def spectrum(rows: PickedRows) -> Spectrum:
    """That of at most SPECTRUM_ROWS rows, evenly spread."""
    sample = replace(rows, at=rows.at[:: -(-len(rows) // SPECTRUM_ROWS)])
    x = (sample.read(0, len(sample.at)) - rows.mean) / rows.std
    values, vectors = torch.linalg.eigh((x.T @ x).double() / len(x))
    return Spectrum(values.clamp(min=0), vectors)


@torch.no_grad()
def curvature(model: nn.Linear, rows: PickedRows) -> float:
    """Mean of p (1 - p) over the first CURVATURE_ROWS rows and the labels: how much of the covariance is the Hessian of the mean loss."""
    count = min(len(rows), CURVATURE_ROWS)
    scores = _scores(rows.read(0, count), *_folded(model, rows))
    p = scores.softmax(dim=1) if rows.targets.ndim == 1 else scores.sigmoid()
    return max(float((p * (1 - p)).mean()), 1e-6)
