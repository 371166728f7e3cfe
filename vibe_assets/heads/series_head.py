"""A trained series head: vectors of the photos of one series go in, scores and calibrated probabilities come out; kept as one file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vibe_assets.heads.models import HeadError, softmax
from vibe_assets.strangers import json_value

if TYPE_CHECKING:
    from vibe_assets.heads.series_data import SeriesSet
    from vibe_assets.heads.series_models import SeriesModel

FORMAT = 1
SUFFIX = ".safetensors"
RECIPES = {  # name -> architecture, what it learns from; the simplest first
    "linear": ("linear", "series"),
    "bradley_terry": ("linear", "pairs"),
    "pair": ("pair", "pairs"),
    "mlp": ("mlp", "series"),
    "mlp_context": ("mlp_context", "series"),
    "transformer": ("transformer", "series"),
}


@dataclass(frozen=True)
class SeriesCard:
    """All that is known of a series head besides its weights."""

    recipe: str
    dim: int  # features of a photo: the encoder's vector and the auxiliary ones
    encoder: str  # fingerprint
    auxiliary: tuple[str, ...] = ()
    temperature: float = 1.0
    seed: int = 0
    n_train: int = 0  # series
    n_val: int = 0
    selection: Mapping[str, Any] = field(default_factory=dict)
    history: tuple[Mapping[str, Any], ...] = ()
    data_versions: Mapping[str, int | None] = field(default_factory=dict)
    code_version: str = ""
    created_at: str = ""
    format: int = FORMAT


@dataclass(frozen=True, eq=False)
class SeriesHead:
    """Weights, standardisation (mean, std: (d,)) and card. Raises HeadError on features of another length."""

    state: Mapping[str, NDArray[np.float32]]
    mean: NDArray[np.float32]
    std: NDArray[np.float32]
    card: SeriesCard

    @cached_property
    def version(self) -> str:
        """Recipe and 12 hex digits over weights and card, the time of making excepted."""
        digest = hashlib.sha256()
        for name, array in sorted(self._arrays().items()):
            digest.update(f"{name}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array, dtype="<f4").tobytes())
        card = {name: value for name, value in asdict(self.card).items() if name != "created_at"}
        digest.update(json.dumps(card, sort_keys=True).encode())
        return f"{self.card.recipe}-{digest.hexdigest()[:12]}"

    @cached_property
    def model(self) -> SeriesModel:
        """The torch model, ready to score."""
        import torch

        from vibe_assets.heads.series_models import build

        model = build(RECIPES[self.card.recipe][0], self.card.dim)
        model.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in self.state.items()})
        return model.eval().requires_grad_(False)

    def scores(self, x: NDArray[np.float32], mask: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
        """(b, n) of features (b, n, d), or (n,) of one series (n, d); -inf where masked."""
        import torch

        batch, valid = self._batch(x, mask)
        found: NDArray[np.float64] = self.model(batch, torch.from_numpy(valid)).double().numpy()
        return found if x.ndim == 3 else found[0]

    def margins(self, x: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.float64]:
        """(b, n, n) log-odds that photo i is preferred to photo j, antisymmetric."""
        import torch

        batch, valid = self._batch(x, mask)
        found: NDArray[np.float64] = self.model.margins(batch, torch.from_numpy(valid)).double().numpy()
        return found

    def probabilities(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Chance to be the pick, of scores (b, n) or (n,): softmax over the series at the temperature that validation chose."""
        rows = np.atleast_2d(scores) / self.card.temperature
        found = softmax(rows)
        return found if scores.ndim == 2 else found[0]

    def _batch(self, x: NDArray[np.float32], mask: NDArray[np.bool_] | None) -> tuple[Any, NDArray[np.bool_]]:
        import torch

        if x.shape[-1] != self.card.dim:
            raise HeadError(f"series head {self.version} reads {self.card.dim} features a photo, got {x.shape[-1]}: train it again")
        rows = x if x.ndim == 3 else x[None]
        valid = np.ones(rows.shape[:2], bool) if mask is None else mask
        return torch.from_numpy(((rows - self.mean) / self.std).astype(np.float32)), valid

    def _arrays(self) -> dict[str, NDArray[np.float32]]:
        return {**{f"model.{name}": array for name, array in self.state.items()}, "mean": self.mean, "std": self.std}

    def save(self, folder: Path) -> Path:
        """Write FOLDER/VERSION.safetensors, the card in its header: one file cannot be torn from its card."""
        from safetensors.numpy import save

        from vibe_assets.lake import atomic_file

        path = folder / f"{self.version}{SUFFIX}"
        content = save(
            {name: np.ascontiguousarray(array) for name, array in self._arrays().items()}, {"card": json.dumps(asdict(self.card))}
        )
        with atomic_file(path) as temporary:
            temporary.write_bytes(content)
        return path


def load_series_head(path: Path) -> SeriesHead:
    """Read a head and check that content and name agree. Raises HeadError naming the file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
            card = _card(json_value((file.metadata() or {})["card"]))
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise HeadError(f"{path}: not a series head ({error}); train again or restore the file") from error
    state = {name.removeprefix("model."): array for name, array in arrays.items() if name.startswith("model.")}
    head = SeriesHead(state, arrays["mean"], arrays["std"], card)
    if head.version != path.name.removesuffix(SUFFIX):
        raise HeadError(f"{path}: content belongs to {head.version}: changed after training; train again or restore the file")
    return head


def _card(values: dict[str, Any]) -> SeriesCard:
    if values.get("format") != FORMAT or set(values) != {item.name for item in fields(SeriesCard)}:
        raise ValueError(f"expected a card of format {FORMAT}, got {values.get('format')!r}")
    return SeriesCard(**{**values, "auxiliary": tuple(values["auxiliary"]), "history": tuple(values["history"])})


def score_set(head: SeriesHead, data: SeriesSet, *, at_once: int = 256) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scores (b, n) and margins (b, n, n) of many series, in blocks."""
    scores, margins = np.zeros(data.mask.shape), np.zeros(data.votes.shape)
    for start in range(0, len(data), at_once):
        part = slice(start, start + at_once)
        scores[part] = head.scores(data.x[part], data.mask[part])
        margins[part] = head.margins(data.x[part], data.mask[part])
    return scores, margins
