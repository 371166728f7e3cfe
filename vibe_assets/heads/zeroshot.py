"""Photo vectors and prompt vectors of one space go in, probabilities of labels that nobody trained come out (Radford et al. 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vibe_assets.heads.dataset import vectors
from vibe_assets.heads.models import HeadError, sigmoid, softmax

if TYPE_CHECKING:
    import polars as pl

OPPOSITE = "not "  # label of prompts that say the opposite of a label: "not attr.blurred"


@dataclass(frozen=True, eq=False)
class Prompts:
    """One unit vector per label (several texts of a label are averaged) and the model's own scale and bias of the cosine.

    A bias other than zero marks a model trained with a sigmoid per pair (SigLIP): its logits are probabilities label by label.
    Without one (CLIP) only a softmax over labels that exclude each other means anything.
    """

    labels: tuple[str, ...]
    matrix: NDArray[np.float32]  # (labels, d) unit rows
    encoder: str
    scale: float
    bias: float

    def having(self, prefix: str) -> tuple[str, ...]:
        return tuple(label for label in self.labels if label.startswith(f"{prefix}."))

    def logits(self, x: NDArray[np.float32], labels: Sequence[str]) -> NDArray[np.float64]:
        """scale * cosine + bias, (n, labels) for unit rows x (n, d)."""
        return self.scale * self.cosines(x, labels) + self.bias

    def exclusive(self, x: NDArray[np.float32], labels: Sequence[str]) -> NDArray[np.float64]:
        """Probabilities (n, labels) of labels of which exactly one holds."""
        return softmax(self.logits(x, labels))

    def alone(self, x: NDArray[np.float32], label: str) -> NDArray[np.float64] | None:
        """Probability (n,) that a label is true: against its opposite where that has prompts, else a SigLIP logit; None: neither helps."""
        if label not in self.labels:
            return None
        if OPPOSITE + label in self.labels:
            return self.exclusive(x, (label, OPPOSITE + label))[:, 0]
        return sigmoid(self.logits(x, (label,)))[:, 0] if self.bias else None

    def cosines(self, x: NDArray[np.float32], labels: Sequence[str]) -> NDArray[np.float64]:
        """Cosine (n, labels) of photos and prompts."""
        return (x @ self.matrix[[self.labels.index(label) for label in labels]].T).astype(np.float64)

    def margin(self, x: NDArray[np.float32], label: str) -> NDArray[np.float64] | None:
        """Cosine (n,) to a label less that to its opposite; None where the opposite has no prompts."""
        if label not in self.labels or OPPOSITE + label not in self.labels:
            return None
        pair = self.cosines(x, (label, OPPOSITE + label))
        return pair[:, 0] - pair[:, 1]

    def several(self, x: NDArray[np.float32], labels: Sequence[str]) -> NDArray[np.float64]:
        """Probabilities (n, labels): each by itself with SigLIP; otherwise shares of one whole, a parent's including its children's."""
        if self.bias:
            return sigmoid(self.logits(x, labels))
        own = self.exclusive(x, labels)
        below = np.array([[other == label or other.startswith(label + ".") for label in labels] for other in labels], dtype=np.float64)
        return np.minimum(own @ below, 1.0)


def read_prompts(rows: pl.DataFrame | None) -> Prompts | None:
    """PROMPT_EMBEDDINGS rows as prompts; None where there are none. Raises HeadError when they are of several encoders."""
    if rows is None or rows.is_empty():
        return None
    for column in ("encoder", "logit_scale", "logit_bias"):
        if rows[column].n_unique() > 1:
            raise HeadError(
                f"prompt_embeddings: {rows[column].n_unique()} different values of {column}; embed the prompts again with one encoder"
            )
    labels = tuple(sorted(rows["label"].unique().to_list()))
    matrix = vectors(rows["embedding"])
    of = rows["label"].to_numpy()
    means = np.stack([matrix[of == label].mean(axis=0) for label in labels])
    means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
    scale, bias = rows["logit_scale"][0], rows["logit_bias"][0]
    if scale is None:
        raise HeadError(
            "prompt_embeddings: logit_scale is empty: without the model's own temperature no probability follows; embed the prompts again"
        )
    return Prompts(labels, means, rows["encoder"][0], float(scale), float(bias or 0.0))
