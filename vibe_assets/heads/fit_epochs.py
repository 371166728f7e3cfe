"""Batches and a module that is not convex go in; the weights of the best epoch on held-out rows come out (AdamW, early stopping).

Imports torch: import it lazily. `fit.py` fits what is convex; both share `deterministic`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vibe_assets.heads.fit import State

Judge = Callable[[], tuple[float, float]]  # held-out score (higher is better) and loss (breaks ties)


@dataclass(frozen=True)
class Epochs:
    """The epoch that was kept (1-based), its held-out score and loss, and one history entry per epoch."""

    epoch: int
    score: float
    loss: float
    history: tuple[dict[str, Any], ...]


def fit_epochs(
    model: nn.Module, groups: list[dict[str, Any]], batches: Callable[[], Iterable[Any]], loss: Callable[[Any], Tensor], judge: Judge, *,
    max_epochs: int, patience: int, clip: float = 1.0,
) -> Epochs:  # fmt: skip
    """Train `model` in place and leave it at its best epoch by (held-out score, then loss); stop after `patience` without a better one.

    `groups`: parameter groups of AdamW (params, lr, weight_decay); `batches` gives an epoch's batches anew. A non-finite loss raises
    FloatingPointError.
    """
    optimiser = torch.optim.AdamW(groups)
    best: tuple[float, float] | None = None
    kept, state = 0, copied(model)
    history: list[dict[str, Any]] = []
    for epoch in range(1, max_epochs + 1):
        model.train()
        losses = []
        for batch in batches():
            optimiser.zero_grad()
            value = loss(batch)
            if not math.isfinite(float(value.detach())):
                raise FloatingPointError(f"expected a finite loss, got {float(value.detach())} in epoch {epoch}")
            value.backward()
            nn.utils.clip_grad_norm_([p for group in groups for p in group["params"]], clip)
            optimiser.step()
            losses.append(float(value.detach()))
        model.eval()
        with torch.no_grad():
            score, held = judge()
        history.append(
            {"epoch": epoch, "train_loss": round(sum(losses) / len(losses), 6), "val_loss": round(held, 6), "val_top1": round(score, 6)}
        )
        if best is None or (score, -held) > best:
            best, kept, state = (score, -held), epoch, copied(model)
        elif epoch - kept >= patience:
            break
    model.load_state_dict(state)
    assert best is not None
    return Epochs(kept, best[0], -best[1], tuple(history))


def copied(model: nn.Module) -> State:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
