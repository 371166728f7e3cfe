"""Losses over series: scores or margins, what people prefer and a mask go in, one differentiable number comes out.

Imports torch: import it lazily. Sums are float64, as in losses.py.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def series_softmax_loss(scores: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean cross-entropy between the softmax over a series and the shares of its winners (a tie is shared).

    scores (b, n) with -inf where masked, target (b, n) rows that sum to one, or to zero where nothing is known (left out), mask (b, n).
    """
    log_p = functional.log_softmax(scores.masked_fill(~mask, -1e9), dim=1)
    each = -(target * log_p.masked_fill(~mask, 0.0)).sum(dim=1).double()  # (b,)
    return each.sum() / (target.sum(dim=1) > 0).double().sum().clamp(min=1)


def bradley_terry_loss(margins: Tensor, votes: Tensor) -> Tensor:
    """Mean negative log-likelihood of the votes, -log sigmoid(margin), every series counting alike.

    margins (b, n, n) antisymmetric, votes (b, n, n) [i, j] for i against j; half a vote each is a tie. Bradley and Terry 1952.
    """
    each = -(votes * functional.logsigmoid(margins)).double().sum(dim=(1, 2))  # (b,)
    total = votes.double().sum(dim=(1, 2))
    known = total > 0
    return (each / total.clamp(min=1e-9) * known).sum() / known.double().sum().clamp(min=1)
