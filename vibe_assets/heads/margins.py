"""Heads and losses for many unbalanced classes: a `Method` goes in, logits and one differentiable number come out.

Imports torch: import it lazily. Vectors come as the encoder gave them; standardisation (linear) and centring (cosine) are folded into
the weights, so that no second copy of the vectors exists.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

SCALES = {"cosine": 16.0, "arcface": 30.0}  # logits per unit of cosine; the cosine head learns its own from there
Kind = Literal["linear", "cosine"]


@dataclass(frozen=True)
class Method:
    """One way to train a head. Everything at its default is plain softmax regression.

    `margin`: added to the angle of the true class in training (ArcFace, Deng et al. 2019), radians. `gamma`: focal loss
    (Lin et al. 2017). `beta`: class-balanced weights (Cui et al. 2019). `tau`: logit adjustment (Menon et al. 2021).
    """

    name: str
    kind: Kind = "linear"
    scale: float = SCALES["cosine"]
    learn_scale: bool = False
    margin: float = 0.0
    gamma: float = 0.0
    beta: float = 0.0
    tau: float = 0.0

    @property
    def balanced(self) -> bool:
        """Whether every class is meant to count alike, however rare."""
        return self.beta > 0 or self.tau > 0


class ClassHead(nn.Module):
    """Vectors (n, d) -> logits (n, c). `mean` and `std` (d,) are moments of the training vectors."""

    mean: Tensor
    std: Tensor

    def __init__(self, method: Method, mean: Tensor, std: Tensor, classes: int) -> None:
        super().__init__()
        self.kind = method.kind
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        if method.kind == "linear":
            self.weight = nn.Parameter(torch.zeros(classes, len(mean)))  # convex: zero is as good a start as any, and needs no seed
            self.bias = nn.Parameter(torch.zeros(classes))
        else:
            self.weight = nn.Parameter(torch.randn(classes, len(mean)) / len(mean) ** 0.5)
            self.log_scale = nn.Parameter(torch.tensor(method.scale).log(), requires_grad=method.learn_scale)

    def cosine(self, x: Tensor) -> Tensor:
        """Cosine (n, c) of centred vectors and class directions."""
        towards = functional.normalize(self.weight, dim=1)
        centred = x - self.mean
        return functional.normalize(centred, dim=1) @ towards.T

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "cosine":
            return self.log_scale.exp() * self.cosine(x)
        weight = self.weight / self.std
        return torch.addmm(self.bias - weight @ self.mean, x, weight.T)


def effective_number_weights(counts: Tensor, beta: float) -> Tensor:
    """Class weights (c,) with mean 1: (1 - beta) / (1 - beta^n) of Cui et al. 2019. A class without examples weighs like one with one."""
    weights = (1 - beta) / (1 - torch.pow(torch.tensor(beta, dtype=torch.float64), counts.clamp(min=1).double()))
    return (weights / weights.mean()).float()


@dataclass
class MarginLoss:
    """The training loss of a method; `counts` (c,) are the examples of each class in training."""

    method: Method
    counts: Tensor
    weights: Tensor | None = field(init=False)
    offsets: Tensor | None = field(init=False)

    def __post_init__(self) -> None:
        self.weights = effective_number_weights(self.counts, self.method.beta) if self.method.beta else None
        prior = self.counts.clamp(min=0.5).double()  # a class that was never seen must not have the prior zero
        self.offsets = (self.method.tau * (prior / prior.sum()).log()).float() if self.method.tau else None

    def __call__(self, head: ClassHead, x: Tensor, targets: Tensor) -> Tensor:
        """Mean over the rows: x (n, d), targets (n,) int64 -> scalar."""
        logits = head(x)
        if self.method.margin:
            logits = with_angular_margin(logits, targets, head.log_scale.exp(), self.method.margin)
        if self.offsets is not None:
            logits = logits + self.offsets
        if self.weights is None and not self.method.gamma:
            return functional.cross_entropy(logits, targets)
        each = functional.cross_entropy(logits, targets, reduction="none")  # (n,)
        if self.method.gamma:
            each = (1 - torch.exp(-each)).pow(self.method.gamma) * each
        return each.mean() if self.weights is None else (each * self.weights[targets]).mean()


def with_angular_margin(logits: Tensor, targets: Tensor, scale: Tensor, margin: float) -> Tensor:
    """Logits scale * cos(angle) with the margin added to the angle of each row's true class, as long as the sum stays below pi."""
    true = functional.one_hot(targets, logits.shape[1]).to(logits.dtype)  # gather and scatter are slow where they must be deterministic
    cosine = ((logits * true).sum(dim=1, keepdim=True) / scale).clamp(-1 + 1e-6, 1 - 1e-6)
    angle = torch.acos(cosine)
    pushed = torch.where(angle + margin < torch.pi, torch.cos(angle + margin), cosine - margin * torch.sin(torch.tensor(margin)))
    return logits + true * scale * (pushed - cosine)
