"""A trained linear head as plain arrays and its card: unit vectors go in, logits and calibrated probabilities come out (numpy only)."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vibe_assets.errors import UserError
from vibe_assets.strangers import json_value

TYPES = ("one_of", "yes_no", "many_of")  # of questions: exactly one label, each true or false or open, any number
EARLIER = {"scene": "one_of", "attribute": "yes_no", "object": "many_of"}  # kinds of cards that do not name their question's type
KIND = re.compile(r"[^\W\d_][^\W_]*(?:_[^\W_]+)*")  # what a question may name its head
FORMAT = 1  # layout of head.safetensors and card.json
LATER = ("open", "carry_over", "distance", "qtype")  # fields that cards of earlier versions lack


class HeadError(UserError, RuntimeError):
    """A head cannot be trained, read or used; the message names the file or setting and the remedy."""


class TooLittleToLearn(HeadError):
    """The labels do not hold enough to train a head on: a result, which more photos change."""


@dataclass(frozen=True)
class HeadCard:
    """All that is known of a head besides its weights; everything in it survives JSON unchanged.

    `kind` is the head's name, `qtype` one of TYPES. `thresholds` has one entry per label, {"upper", "lower", "rule"}; a one_of head has one
    under its kind. `calibration` is {"temperature": T} for one_of and {"platt": {label: [a, b]}} otherwise, with probability =
    sigmoid(a * logit + b).
    """

    kind: str
    labels: tuple[str, ...]
    dim: int
    encoder: str  # fingerprint of the encoder whose vectors the head reads
    left_out: Mapping[str, int] = field(default_factory=dict)  # label -> positives in the train split, too few to learn from
    teacher: str = ""
    mapping: str = ""
    data_versions: Mapping[str, int | None] = field(default_factory=dict)  # table -> version that was read
    code_version: str = ""
    seed: int = 0
    created_at: str = ""
    n_train: int = 0
    n_val: int = 0
    positives: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # label -> split -> known positives
    selection: Mapping[str, Any] = field(default_factory=dict)  # how strength and iteration were chosen, and what was chosen
    calibration: Mapping[str, Any] = field(default_factory=dict)
    thresholds: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    metrics: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # split -> figures, each split with its n
    history: tuple[Mapping[str, Any], ...] = ()  # one entry per iteration: strength, iteration, train_loss, val_loss
    open: Mapping[str, str] = field(default_factory=dict)  # label that is left open -> why: not shown to be better than a constant answer
    carry_over: Mapping[str, Any] = field(default_factory=dict)  # what held-out folders tell of photos from a folder never seen
    distance: bool = False  # logits are divided by how far a vector lies from those that trained (`farness`); one_of heads only
    qtype: str = ""  # "" in a card of before: EARLIER has it
    format: int = FORMAT

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> HeadCard:
        """Raises ValueError on anything that is not a card of this format."""
        values = json_value(text)
        if not isinstance(values, dict) or values.get("format") != FORMAT:
            found = values.get("format") if isinstance(values, dict) else type(values).__name__
            raise ValueError(f"expected a head card of format {FORMAT}, got {found!r}")
        known = {item.name for item in fields(cls)}
        if wrong := sorted((known - set(LATER) - set(values)) | (set(values) - known)):
            raise ValueError(f"missing or unexpected fields {wrong}")
        return cls(**{**values, "labels": tuple(values["labels"]), "history": tuple(values["history"])})


@dataclass(frozen=True, eq=False)
class TrainedHead:
    """A linear head on standardised vectors: logits = ((x - mean) / std) @ weight.T + bias, over `farness` where the card says so.

    weight (c, d), bias (c,), mean (d,), std (d,), all float32. Raises ValueError when shapes and card disagree.
    """

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    mean: NDArray[np.float32]
    std: NDArray[np.float32]
    card: HeadCard

    def __post_init__(self) -> None:
        classes, dim = len(self.card.labels), self.card.dim
        expected = {"weight": (classes, dim), "bias": (classes,), "mean": (dim,), "std": (dim,)}
        for name, shape in expected.items():
            array = getattr(self, name)
            if array.shape != shape or array.dtype != np.float32:
                raise ValueError(f"{name}: expected float32 {shape}, got {array.dtype} {array.shape}")
            if not np.isfinite(array).all():
                raise ValueError(f"{name}: expected finite values")
        if not KIND.fullmatch(self.card.kind) or self.qtype not in TYPES:
            raise ValueError(f"kind: expected a name and a type in {TYPES}, got {self.card.kind!r}, {self.card.qtype!r}")

    @property
    def kind(self) -> str:
        return self.card.kind

    @property
    def qtype(self) -> str:
        """The type of the question that it answers."""
        return self.card.qtype or EARLIER.get(self.card.kind, "")

    @property
    def labels(self) -> tuple[str, ...]:
        return self.card.labels

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        return {"weight": self.weight, "bias": self.bias, "mean": self.mean, "std": self.std}

    @cached_property
    def version(self) -> str:
        """Kind and 12 hex digits over weights and card, the time of making excepted: the same content has the same version."""
        digest = hashlib.sha256()
        for name, array in sorted(self.arrays().items()):
            digest.update(f"{name}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array, dtype="<f4").tobytes())
        card = {key: value for key, value in asdict(self.card).items() if key != "created_at" and (value or key not in LATER)}
        digest.update(json.dumps(card, sort_keys=True, ensure_ascii=False).encode())
        return f"{self.kind}-{digest.hexdigest()[:12]}"

    def logits(self, x: NDArray[np.floating]) -> NDArray[np.float32]:
        """Uncalibrated scores (n, c) of vectors (n, d). Raises ValueError on another dimension."""
        if x.ndim != 2 or x.shape[1] != self.card.dim:
            raise ValueError(f"expected vectors (n, {self.card.dim}), got {x.shape}")
        standardised: NDArray[np.float32] = (np.asarray(x, dtype=np.float32) - self.mean) / self.std
        scores: NDArray[np.float32] = standardised @ self.weight.T + self.bias
        return scores / farness(standardised)[:, None] if self.card.distance else scores

    def probabilities(self, x: NDArray[np.floating]) -> NDArray[np.float64]:
        """Calibrated probabilities (n, c): rows sum to one for one_of, independent otherwise."""
        return calibrated(self.logits(x), self.card.labels, self.card.calibration)

    def thresholds(self, which: str = "upper", labels: Sequence[str] | None = None) -> NDArray[np.float64]:
        """The `upper` or `lower` threshold of every label (c,); one value for one_of."""
        names = labels or ((self.kind,) if self.qtype == "one_of" else self.labels)
        return np.array([float(self.card.thresholds.get(name, {}).get(which, 0.5)) for name in names])


def farness(standardised: NDArray[np.float32]) -> NDArray[np.float32]:
    """How far vectors (n, d), standardised by the rows that trained, lie from those: the mean square (n,), there 1 on average; at least 1.

    A linear head extrapolates: the further a photo is from all that trained, the surer its answer. Divided by this, it is not.
    """
    square: NDArray[np.float32] = np.einsum("nd,nd->n", standardised, standardised)
    return np.maximum(square / standardised.shape[1], np.float32(1))


def calibrated(logits: NDArray[np.floating], labels: Sequence[str], calibration: Mapping[str, Any]) -> NDArray[np.float64]:
    """Logits (n, c) -> probabilities (n, c), with the temperature or the Platt pairs of a card."""
    scores = logits.astype(np.float64)
    if "temperature" in calibration:
        return softmax(scores / float(calibration["temperature"]))
    pairs = np.array([calibration["platt"][label] for label in labels], dtype=np.float64).reshape(len(labels), 2)
    return sigmoid(scores * pairs[:, 0] + pairs[:, 1])


def softmax(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows that sum to one; scipy.special.softmax without the cost of importing scipy on the prediction path."""
    exp = np.exp(scores - scores.max(axis=1, keepdims=True))
    return exp / exp.sum(axis=1, keepdims=True)


def sigmoid(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 / (1 + exp(-scores)), without overflow at either end."""
    return 0.5 * (1.0 + np.tanh(0.5 * scores))
