"""A vision tower goes in; the same tower comes out, with its linear layers multiplying 8-bit integers on a CPU that has VNNI.

Weights: one symmetric scale for each output channel, fixed when the model is loaded. Activations: one symmetric scale for each row, taken
from the row itself, so that a photo's vector does not depend on the photos beside it; a scale for the whole batch, as torch's own
`quantize_dynamic` has, would. Sums are exact in int32. Attention, norms, embeddings, CLIP's projection into the space shared with
texts and the text tower keep the precision of the rest: texts are few, and small errors of theirs would move every photo's score.
"""

from __future__ import annotations

import torch
from torch import nn

from vibe_assets.encoders.rewire import BatchFirstAttention, exact_gelu

ROWS = 512  # computed at once: their int32 sums and float32 copies stay in the cache
KEPT = ("text", "embed", "projection")  # layers with such a word in a part of their path stay as they are


class Int8Linear(nn.Module):
    """`nn.Linear` over 8-bit weights: (..., n) -> (..., m) of the input's dtype. A row that is not finite stays so."""

    weight8: torch.Tensor  # (n, m) int8
    weight_scale: torch.Tensor  # (m,) float32
    bias: torch.Tensor | None

    def __init__(self, original: nn.Linear) -> None:
        super().__init__()
        weight = original.weight.detach().float()  # (m, n)
        scale = _scale(weight)
        self.register_buffer("weight8", weight.div(scale).round_().to(torch.int8).t().contiguous(), persistent=False)
        self.register_buffer("weight_scale", scale.flatten(), persistent=False)
        self.register_buffer("bias", None if original.bias is None else original.bias.detach().float(), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = x.reshape(-1, x.shape[-1])
        out = torch.empty(len(rows), self.weight8.shape[1], dtype=x.dtype)
        for part, into in zip(rows.split(ROWS), out.split(ROWS), strict=True):
            scale = _scale(part)
            sums = torch._int_mm(part.div(scale).round_().to(torch.int8), self.weight8).float()
            sums.mul_(self.weight_scale).mul_(scale)
            into.copy_(sums if self.bias is None else sums.add_(self.bias))
        return out.view(*x.shape[:-1], -1)


def _scale(rows: torch.Tensor) -> torch.Tensor:
    """(n, 1) float32: the worth of one step where the largest value of a row takes 127; a row of zeros gets a step, too."""
    return rows.abs().amax(1, keepdim=True).float().clamp_min(1e-20) / 127


def eight_bit(tower: nn.Module) -> nn.Module:
    """The tower, changed in place. Raises ValueError where nothing in it can be changed."""
    if not sum(_replaced(tower, name, child) for name, child in list(tower.named_children())):
        raise ValueError("it has no linear layers to compute in 8 bits")
    exact_gelu(tower)
    return tower


def _replaced(parent: nn.Module, name: str, layer: nn.Module) -> int:
    """How many layers changed at `parent.name` and below it."""
    if any(word in name for word in KEPT):
        return 0
    if isinstance(layer, nn.MultiheadAttention):
        if not BatchFirstAttention.fits(layer):
            return 0  # it reads the weights of its parts itself
        layer = BatchFirstAttention(layer)
        setattr(parent, name, layer)
    if isinstance(layer, nn.Linear):
        setattr(parent, name, Int8Linear(layer))
        return 1
    return sum(_replaced(layer, below, child) for below, child in list(layer.named_children()))
