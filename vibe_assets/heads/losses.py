"""Training losses: logits, targets and a mask of what is known go in, one differentiable number comes out.

Imports torch: import it lazily.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional

# (logits (n, c), targets, mask) -> scalar, float64; a fourth argument, known(mask) of all rows, makes it the share of these rows in a mean
Loss = Callable[..., Tensor]
POS_WEIGHT_CAP = 10.0


def known(mask: Tensor) -> Tensor:
    """What a mean is divided by: known rows, () for scenes or (c,) per label; at least 1."""
    return mask.sum(dim=0).clamp(min=1)


def softmax_loss(class_weights: Tensor | None = None) -> Loss:
    """Mean cross-entropy over the known rows; targets (n,) int64, mask (n,) bool; `class_weights` (c,) for imbalanced classes."""

    def loss(logits: Tensor, targets: Tensor, mask: Tensor, total: Tensor | None = None) -> Tensor:
        each = functional.cross_entropy(logits, targets.long().clamp(min=0), weight=class_weights, reduction="none")  # (n,)
        # float64 sums: a float32 mean over many rows is too coarse for the line search near the optimum
        return (each.double() * mask).sum() / (known(mask) if total is None else total)

    return loss


def sigmoid_loss(pos_weight: Tensor | None = None) -> Loss:
    """Sum over labels of the mean binary cross-entropy over the rows known for that label; targets and mask (n, c).

    Each label is averaged over its own known rows, so a label that is rarely known weighs as much as the others, and one L2
    strength means the same for each of them.
    """

    def loss(logits: Tensor, targets: Tensor, mask: Tensor, total: Tensor | None = None) -> Tensor:
        each = functional.binary_cross_entropy_with_logits(logits, targets.float(), pos_weight=pos_weight, reduction="none")  # (n, c)
        return ((each.double() * mask).sum(dim=0) / (known(mask) if total is None else total)).sum()

    return loss


def positive_weights(positives: Tensor, negatives: Tensor) -> Tensor:
    """Weight of each label's positives (c,): sqrt(negatives / positives), within 1..10.

    The full ratio lets a handful of noisy positives rule the label; its square root is the usual middle way.
    """
    return (negatives / positives.clamp(min=1)).sqrt().clamp(1.0, POS_WEIGHT_CAP).float()
