"""Series with preferences go in; a trained series head comes out: validation top-1 chooses strength or epoch, and the temperature.

Convex recipes (bradley_terry, linear) are fitted like the students, by L-BFGS along a path of L2 strengths; the others by AdamW.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vibe_assets.heads.calibrate import fit_temperature
from vibe_assets.heads.models import HeadError
from vibe_assets.heads.series_data import SeriesSet
from vibe_assets.heads.series_head import RECIPES, SeriesCard, SeriesHead, score_set
from vibe_assets.heads.series_scores import per_series
from vibe_assets.settings import TriageSettings

if TYPE_CHECKING:
    import torch

    from vibe_assets.heads.series_models import SeriesModel

BATCH = 64  # series
RATE, DECAY = 1e-3, 0.05
MIN_TRAIN, MIN_VAL = 4, 1


def train_series_head(
    recipe: str,
    data: SeriesSet,
    *,
    settings: TriageSettings,
    encoder: str,
    auxiliary: tuple[str, ...] = (),
    provenance: Mapping[str, Any] | None = None,
) -> SeriesHead:
    """Train one of RECIPES on the train split; the same data and seed give the same bits.

    Raises HeadError when too few series have a preference, ValueError for an unknown recipe or features that are not finite.
    """
    from vibe_assets.heads import fit

    if recipe not in RECIPES:
        raise ValueError(f"expected one of {tuple(RECIPES)}, got {recipe!r}")
    train, val = _checked(data)
    mean, std = _moments(train)
    with fit.deterministic(seed=settings.seed, threads=1 if train.x.size < 4_000_000 else 2):
        rows, held = _tensors(train, mean, std), _tensors(val, mean, std)
        model, selection, history = _fitted(recipe, rows, held, val, settings)
    state = {name: tensor.detach().numpy().copy() for name, tensor in model.state_dict().items()}
    card = SeriesCard(
        recipe=recipe, dim=data.x.shape[2], encoder=encoder, auxiliary=auxiliary, seed=settings.seed, n_train=len(train), n_val=len(val),
        selection=selection, history=history, **dict(provenance or {}),
    )  # fmt: skip
    head = SeriesHead(state, mean, std, card)
    return replace(head, card=replace(card, temperature=_temperature(head, val)))


def _checked(data: SeriesSet) -> tuple[SeriesSet, SeriesSet]:
    if not np.isfinite(data.x[data.mask]).all():
        raise ValueError("x: expected finite features, got NaN or infinity")
    known = data.only(np.asarray(data.votes.any(axis=(1, 2)), dtype=bool))
    train, val = known.split("train"), known.split("val")
    if len(train) < MIN_TRAIN or len(val) < MIN_VAL:
        raise HeadError(
            f"series heads: {len(train)} series with a preference to train on and {len(val)} to choose with; at least {MIN_TRAIN} and "
            f"{MIN_VAL} are needed: compare more series (`vibe triage review`) or import comparisons (`vibe triage import-pairs`)"
        )
    return train, val


def _moments(train: SeriesSet) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    rows = train.x[train.mask].astype(np.float64)
    std = rows.std(axis=0)
    return rows.mean(axis=0).astype(np.float32), np.where(std < 1e-6, 1.0, std).astype(np.float32)


class _Tensors:
    """A split as standardised tensors."""

    def __init__(self, x: torch.Tensor, mask: torch.Tensor, target: torch.Tensor, votes: torch.Tensor) -> None:
        self.x, self.mask, self.target, self.votes = x, mask, target, votes

    def only(self, at: torch.Tensor) -> _Tensors:
        return _Tensors(self.x[at], self.mask[at], self.target[at], self.votes[at])


def _tensors(data: SeriesSet, mean: NDArray[np.float32], std: NDArray[np.float32]) -> _Tensors:
    import torch

    x = ((data.x - mean) / std * data.mask[..., None]).astype(np.float32)
    return _Tensors(*(torch.from_numpy(np.ascontiguousarray(array)) for array in (x, data.mask, data.target, data.votes)))


def objective(recipe: str, model: SeriesModel, rows: _Tensors) -> torch.Tensor:
    """The loss of a recipe over some series."""
    from vibe_assets.heads.series_losses import bradley_terry_loss, series_softmax_loss

    if RECIPES[recipe][1] == "pairs":
        return bradley_terry_loss(model.margins(rows.x, rows.mask), rows.votes)
    return series_softmax_loss(model(rows.x, rows.mask), rows.target, rows.mask)


def top1(scores: NDArray[np.float64], data: SeriesSet) -> float:
    """Mean top-1 over the series with a sole winner; 0 where there is none."""
    counted = data.sole_winner
    return float(per_series(scores, data)["top1"][counted].mean()) if counted.any() else 0.0


def _fitted(
    recipe: str, rows: _Tensors, held: _Tensors, val: SeriesSet, settings: TriageSettings
) -> tuple[SeriesModel, dict[str, Any], tuple[dict[str, Any], ...]]:
    from vibe_assets.heads.fit_epochs import fit_epochs
    from vibe_assets.heads.series_models import build

    model = build(RECIPES[recipe][0], rows.x.shape[2])

    def judge() -> tuple[float, float]:
        return top1(model(held.x, held.mask).double().numpy(), val), float(objective(recipe, model, held))

    if RECIPES[recipe][0] == "linear":
        return _along_strengths(recipe, model, rows, held, judge)
    done = fit_epochs(
        model, [{"params": list(model.parameters()), "lr": RATE, "weight_decay": DECAY}], lambda: _batches(rows),
        lambda batch: objective(recipe, model, batch), judge, max_epochs=settings.max_epochs, patience=settings.patience,
    )  # fmt: skip
    return model, {"by": "val top-1", "epoch": done.epoch, "top1": done.score, "loss": round(done.loss, 6)}, done.history


def _along_strengths(
    recipe: str, model: SeriesModel, rows: _Tensors, held: _Tensors, judge: Any
) -> tuple[SeriesModel, dict[str, Any], tuple[dict[str, Any], ...]]:
    """Every strength's best state by held-out loss; of those, the one with the best validation top-1."""
    import torch

    from vibe_assets.heads.fit import fit_path

    packed = _Packed(recipe, model)

    def loss(value: torch.Tensor, targets: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return value

    path = fit_path(packed.module, packed.rows(rows), packed.rows(held), loss, strengths=STRENGTHS, max_iterations=60)
    judged = []
    with torch.no_grad():
        for stop in path.stops:
            packed.module.load_state_dict(stop.state)
            score, value = judge()
            judged.append((score, -value, stop))
    score, value, chosen = max(judged, key=lambda item: item[:2])
    packed.module.load_state_dict(chosen.state)
    selection = {"by": "val top-1", "strength": chosen.strength, "iteration": chosen.iteration, "top1": score, "loss": round(-value, 6)}
    return model, selection, path.history


STRENGTHS = (3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 1e-3)


class _Packed:
    """A recipe as the students' trainer wants it: a module from x to something a loss reads; `Rows.x` names the split."""

    def __init__(self, recipe: str, model: SeriesModel) -> None:
        from torch import nn

        splits: list[_Tensors] = []
        self.splits = splits

        class Objective(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.model = model

            def forward(self, at: torch.Tensor) -> torch.Tensor:
                return objective(recipe, self.model, splits[int(at)])

        self.module = Objective()

    def rows(self, tensors: _Tensors) -> Any:
        import torch

        from vibe_assets.heads.fit import Rows

        self.splits.append(tensors)
        return Rows(torch.tensor(len(self.splits) - 1), tensors.target, tensors.mask)


def _batches(rows: _Tensors) -> Iterator[_Tensors]:
    """Series in a new order, BATCH at a time (torch's seeded generator decides)."""
    import torch

    order = torch.randperm(len(rows.x))
    for start in range(0, len(order), BATCH):
        yield rows.only(order[start : start + BATCH])


def _temperature(head: SeriesHead, val: SeriesSet) -> float:
    """Temperature on the validation series with one winner (1 with fewer than ten)."""
    judged = val.only(val.sole_winner)
    if not len(judged):
        return 1.0
    scores, _ = score_set(head, judged)
    return round(fit_temperature(scores, judged.target.argmax(axis=1)), 6)
