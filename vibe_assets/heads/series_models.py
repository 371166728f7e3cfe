"""Photos of a series go in as padded rows with a mask; one score per photo comes out, and the margin of every pair.

Imports torch: import it lazily. Whatever the model: padding never changes a score, permuting a series permutes its scores, and the
margin of (a, b) is minus that of (b, a).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn


class SeriesModel(nn.Module):
    """x (b, n, d) float32 standardised, mask (b, n) bool -> scores (b, n), -inf where masked."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.scores(x * mask[..., None], mask).masked_fill(~mask, -torch.inf)

    @abstractmethod
    def scores(self, x: Tensor, mask: Tensor) -> Tensor:
        """(b, n), anything where masked."""

    def margins(self, x: Tensor, mask: Tensor) -> Tensor:
        """(b, n, n) log-odds that i is preferred to j, 0 where masked; here the difference of scores (Bradley and Terry 1952)."""
        scores = self.scores(x * mask[..., None], mask)
        return (scores[:, :, None] - scores[:, None, :]) * (mask[:, :, None] & mask[:, None, :])


class LinearScorer(SeriesModel):
    """w . x; a bias would cancel within a series. Starts at zero: the problem is convex, no seed decides."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1, dim))

    def scores(self, x: Tensor, mask: Tensor) -> Tensor:
        return (x @ self.weight.T)[..., 0]


class MLPScorer(SeriesModel):
    """Each photo by itself through hidden layers; with `context` it also sees how far it is from the mean of its series."""

    def __init__(self, dim: int, hidden: Sequence[int] = (256, 128), *, dropout: float = 0.2, context: bool = False) -> None:
        super().__init__()
        self.context = context
        self.layers = stack(2 * dim if context else dim, hidden, 1, dropout)

    def scores(self, x: Tensor, mask: Tensor) -> Tensor:
        if self.context:
            mean = x.sum(dim=1, keepdim=True) / mask.sum(dim=1, keepdim=True).clamp(min=1)[..., None]
            x = torch.cat([x, x - mean], dim=-1)
        return self.layers(x)[..., 0]


class TransformerScorer(SeriesModel):
    """The photos of a series look at each other (Vaswani et al. 2017). Without position encoding the order cannot leak."""

    def __init__(self, dim: int, *, width: int = 64, layers: int = 2, heads: int = 8, dropout: float = 0.1) -> None:
        super().__init__()
        self.enter = nn.Linear(dim, width)
        block = nn.TransformerEncoderLayer(width, heads, 2 * width, dropout, activation="gelu", batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(block, layers, norm=nn.LayerNorm(width), enable_nested_tensor=False)
        self.leave = nn.Linear(width, 1)

    def scores(self, x: Tensor, mask: Tensor) -> Tensor:
        # an empty row would leave attention nothing to look at, and nan comes back
        hidden = ~mask & mask.any(dim=1, keepdim=True)
        return self.leave(self.encoder(self.enter(x), src_key_padding_mask=hidden))[..., 0]


class PairScorer(SeriesModel):
    """A network g over two photos side by side, made antisymmetric: margin(a, b) = g(a, b) - g(b, a).

    A photo's score is its mean margin against the others of its series (Borda), which is what ranks them.
    """

    def __init__(self, dim: int, hidden: Sequence[int] = (128,), *, dropout: float = 0.2) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(dim, hidden[0]), nn.Linear(dim, hidden[0], bias=False)  # g's first layer, one half per photo
        self.layers = nn.Sequential(nn.ReLU(), nn.Dropout(dropout), stack(hidden[0], hidden[1:], 1, dropout))

    def margins(self, x: Tensor, mask: Tensor) -> Tensor:
        x = x * mask[..., None]
        each = self.layers(self.left(x)[:, :, None] + self.right(x)[:, None, :])[..., 0]  # (b, n, n)
        return (each - each.transpose(1, 2)) * (mask[:, :, None] & mask[:, None, :])

    def scores(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.margins(x, mask).sum(dim=2) / (mask.sum(dim=1, keepdim=True) - 1).clamp(min=1)


def stack(dim: int, hidden: Sequence[int], out: int, dropout: float) -> nn.Sequential:
    """Linear layers with ReLU and dropout between them."""
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(dim, width), nn.ReLU(), nn.Dropout(dropout)]
        dim = width
    return nn.Sequential(*layers, nn.Linear(dim, out))


def build(architecture: str, dim: int) -> SeriesModel:
    """The model of one of ARCHITECTURES. Raises ValueError for another name."""
    if architecture not in ARCHITECTURES:
        raise ValueError(f"expected one of {tuple(ARCHITECTURES)}, got {architecture!r}")
    return ARCHITECTURES[architecture](dim)


ARCHITECTURES: dict[str, Callable[[int], SeriesModel]] = {
    "linear": LinearScorer,
    "mlp": MLPScorer,
    "mlp_context": lambda dim: MLPScorer(dim, context=True),
    "transformer": TransformerScorer,
    "pair": PairScorer,
}
