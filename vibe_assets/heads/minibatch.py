"""Many vectors, many classes and a method go in; the head of the best epoch comes out: AdamW on mini-batches, held-out rows choose.

For sizes where a full pass per step (fit.py) costs too much: half a million vectors, hundreds of classes. Imports torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from vibe_assets.heads.fit import deterministic
from vibe_assets.heads.margins import ClassHead, MarginLoss, Method

BLOCK = 8192  # rows scored at once: 16 MB of logits for 500 classes
MOST_ROWS = 4096  # of a mini-batch
STEPS = 40  # of an epoch at least: a small set gets smaller batches
FEWEST_ROWS = 32
PATIENCE = 3  # epochs without a better held-out rank that end the training


@dataclass(frozen=True)
class Recipe:
    """How one training runs. `weight_decay` is AdamW's, per unit of learning rate; the rate falls along a cosine to zero."""

    method: Method
    lr: float = 1e-3
    weight_decay: float = 0.1
    epochs: int = 20


@dataclass(frozen=True, eq=False)
class Fitted:
    """The head at its best epoch, how good its held-out ranks were there, and one entry per epoch."""

    head: ClassHead
    recipe: Recipe
    val_score: float
    best_epoch: int
    history: tuple[dict[str, Any], ...]

    def score(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits (n, c) of vectors (n, d), block by block."""
        return np.concatenate([block.numpy() for block in _logits(self.head, torch.from_numpy(x))])


def train_classes(
    x: NDArray[np.float32], y: NDArray[np.int64], val_x: NDArray[np.float32], val_y: NDArray[np.int64], *, classes: int, recipe: Recipe,
    seed: int, threads: int | None = None, progress: bool = False,
) -> Fitted:  # fmt: skip
    """Train on x (n, d), y (n,) in 0..classes-1; the epoch with the best mean reciprocal rank on the val rows is kept.

    The rank of the true class is less coarse than top-1, and unlike a loss it compares methods whose logits mean different things;
    balanced methods average it over classes. Repeats bit for bit for equal seed, threads and library versions.
    Raises ValueError on shapes that do not fit or empty splits, FloatingPointError on a loss that is not finite.
    """
    _check(x, y, val_x, val_y, classes)
    threads = threads or (1 if x.size < 20_000_000 else min(torch.get_num_threads(), 16))
    with deterministic(seed=seed, threads=threads):
        data, targets = torch.from_numpy(x), torch.from_numpy(y)
        mean, std = moments(data)
        head = ClassHead(recipe.method, mean, std, classes)
        loss = MarginLoss(recipe.method, torch.bincount(targets, minlength=classes))
        batch = int(np.clip(len(y) // STEPS, FEWEST_ROWS, MOST_ROWS))
        steps = math.ceil(len(y) / batch)
        optimiser = torch.optim.AdamW([p for p in head.parameters() if p.requires_grad], lr=recipe.lr, weight_decay=recipe.weight_decay)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimiser, lambda step: 0.5 * (1 + math.cos(math.pi * min(1.0, step / (steps * recipe.epochs))))
        )
        best, state, history = (-1.0, 0), {name: value.clone() for name, value in head.state_dict().items()}, []
        for epoch in tqdm(range(1, recipe.epochs + 1), desc=recipe.method.name, unit="epoch", disable=None if progress else True):
            seen = 0.0
            for rows in torch.randperm(len(y)).split(batch):
                optimiser.zero_grad()
                value = loss(head, data[rows], targets[rows])
                value.backward()
                optimiser.step()
                schedule.step()
                seen += value.item() * len(rows)
            if not math.isfinite(seen):
                raise FloatingPointError(f"{recipe.method.name}: expected a finite loss, got {seen} in epoch {epoch}")
            rank = reciprocal_rank(true_ranks(head, val_x, val_y), val_y, balanced=recipe.method.balanced)
            history.append({"epoch": epoch, "train_loss": round(seen / len(y), 6), "val_mrr": round(rank, 6)})
            if rank > best[0]:
                best, state = (rank, epoch), {name: value.clone() for name, value in head.state_dict().items()}
            elif epoch - best[1] >= PATIENCE:
                break
        head.load_state_dict(state)
    return Fitted(head, recipe, best[0], best[1], tuple(history))


def choose(
    x: NDArray[np.float32], y: NDArray[np.int64], val_x: NDArray[np.float32], val_y: NDArray[np.int64], *, classes: int,
    recipes: list[Recipe], seed: int, threads: int | None = None, progress: bool = False,
) -> tuple[Fitted, list[dict[str, Any]]]:  # fmt: skip
    """Train every recipe and keep the one with the best held-out rank; also one line per recipe that was tried."""
    fitted = [
        train_classes(x, y, val_x, val_y, classes=classes, recipe=recipe, seed=seed, threads=threads, progress=progress)
        for recipe in recipes
    ]
    tried = [
        {
            "lr": one.recipe.lr, "weight_decay": one.recipe.weight_decay, "margin": one.recipe.method.margin,
            "gamma": one.recipe.method.gamma, "val_mrr": round(one.val_score, 6), "best_epoch": one.best_epoch,
        }
        for one in fitted
    ]  # fmt: skip
    return max(fitted, key=lambda one: one.val_score), tried


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (d,) in float64 sums, block by block; a constant number has deviation 1."""
    total = torch.zeros(x.shape[1], dtype=torch.float64)
    squares = torch.zeros_like(total)
    for block in x.split(BLOCK):
        wide = block.double()
        total += wide.sum(dim=0)
        squares += wide.square().sum(dim=0)
    mean = total / len(x)
    std = (squares / len(x) - mean.square()).clamp(min=0).sqrt()
    return mean.float(), torch.where(std < 1e-6, torch.ones_like(std), std).float()


def true_ranks(head: ClassHead, x: NDArray[np.float32], y: NDArray[np.int64]) -> NDArray[np.float64]:
    """Rank (n,) of the true class among all, 1 is best; a tie counts half."""
    ranks, start = [], 0
    for logits in _logits(head, torch.from_numpy(x)):
        true = logits.gather(1, torch.from_numpy(y[start : start + len(logits)])[:, None])
        ranks.append(1.0 + (logits > true).sum(dim=1).double() + ((logits == true).sum(dim=1).double() - 1) / 2)
        start += len(logits)
    return torch.cat(ranks).numpy()


def reciprocal_rank(ranks: NDArray[np.float64], y: NDArray[np.int64], *, balanced: bool = False) -> float:
    """Mean reciprocal rank; `balanced`: the mean over classes of their means."""
    if not balanced:
        return float((1 / ranks).mean())
    support = np.bincount(y)
    sums = np.bincount(y, weights=1 / ranks)
    return float((sums[support > 0] / support[support > 0]).mean())


@torch.no_grad()
def _logits(head: ClassHead, x: Tensor) -> Any:
    for block in x.split(BLOCK):
        yield head(block)


def _check(x: NDArray[Any], y: NDArray[Any], val_x: NDArray[Any], val_y: NDArray[Any], classes: int) -> None:
    for part, vectors, targets in (("train", x, y), ("val", val_x, val_y)):
        if not len(targets):
            raise ValueError(f"{part}: expected at least one row, got 0")
        if vectors.shape != (len(targets), x.shape[1]) or vectors.dtype != np.float32:
            raise ValueError(f"{part}: expected float32 {(len(targets), x.shape[1])}, got {vectors.dtype} {vectors.shape}")
        if targets.min() < 0 or targets.max() >= classes:
            raise ValueError(f"{part}: expected classes 0..{classes - 1}, got {targets.min()}..{targets.max()}")
