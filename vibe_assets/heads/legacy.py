"""A head goes out to, or comes in from, the historical `.pt` layout: {scene_labels | attr_keys | label_keys, state, seed}."""

from __future__ import annotations

import pickle
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vibe_assets.heads.models import HeadCard, HeadError, TrainedHead

LABELS_OF = {"scene": "scene_labels", "attribute": "attr_keys", "object": "label_keys"}


def export_pt(head: TrainedHead, path: Path) -> Path:
    """Write `state` = {weight (c, d), bias (c,)} that reads raw unit vectors: the standardisation is folded in.

    Logits are the linear layer's up to float32 rounding. The layout has no place for calibration, thresholds and the distance by which
    the head divides scores of scenes (`farness`): they stay behind.
    """
    import torch

    from vibe_assets.lake import atomic_file

    if head.kind not in LABELS_OF:
        raise HeadError(
            f"{path}: that layout has heads of {', '.join(LABELS_OF)} only, not of {head.kind}; its folder can be copied as it is"
        )

    weight = head.weight.astype(np.float64) / head.std
    bias = head.bias.astype(np.float64) - weight @ head.mean.astype(np.float64)
    state = {"weight": torch.from_numpy(weight.astype(np.float32)), "bias": torch.from_numpy(bias.astype(np.float32))}
    with atomic_file(path) as temporary:
        torch.save({LABELS_OF[head.kind]: list(head.labels), "state": state, "seed": head.card.seed}, temporary)
    return path


def import_pt(path: Path, *, encoder: str, known: Sequence[str], dim: int | None = None, created_at: str = "") -> TrainedHead:
    """Read such a file as a head for the vectors of `encoder` (fingerprint), which have `dim` numbers.

    `known` are the labels of today, in today's order (scenes or objects of the taxonomy, names of attributes). Rows are matched by
    key, never by position; `attr.` before attribute names is optional. Keys that are not known are dropped and named in the card's
    `left_out`; scenes that the file lacks have no slot. Raises HeadError naming the file and what is wrong; pickled code is never run.
    """
    content = _read(path)
    kind, keys = _labels(path, content)
    weight, bias = _linear(path, content.get("state"), rows=len(keys))
    if dim is not None and weight.shape[1] != dim:
        raise HeadError(
            f"{path}: the head reads vectors of {weight.shape[1]:,} numbers, the encoder in force makes {dim:,}: it was trained on another "
            "encoder; set encoder.name to that one, then import it again"
        )
    wanted = [name for name in known if name in keys]
    if not wanted:
        raise HeadError(
            f"{path}: none of its {len(keys)} labels is known today (first: {keys[0]!r}); check the taxonomy that it was trained with"
        )
    order = [keys.index(name) for name in wanted]
    seed = content.get("seed")
    calibration: dict[str, Any] = {"temperature": 1.0} if kind == "scene" else {"platt": {name: [1.0, 0.0] for name in wanted}}
    card = HeadCard(
        kind=kind, labels=tuple(wanted), dim=weight.shape[1], encoder=encoder, created_at=created_at, calibration=calibration,
        seed=seed if isinstance(seed, int) else 0, left_out={key: 0 for key in keys if key not in wanted},
        selection={"by": "imported", "file": path.name},
        thresholds={"scene": {"upper": 0.0, "rule": "default"}} if kind == "scene"
        else {name: {"upper": 0.5, "lower": 0.5, "rule": "default"} for name in wanted},
    )  # fmt: skip
    dim = weight.shape[1]
    return TrainedHead(weight[order], bias[order], np.zeros(dim, np.float32), np.ones(dim, np.float32), card)


def _read(path: Path) -> Mapping[str, Any]:
    import torch

    if not path.is_file():
        raise HeadError(f"{path}: no such file")
    try:
        with warnings.catch_warnings(action="ignore"):  # torch warns of pickle protocols before it refuses the file
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise HeadError(
            f"{path}: refused: it holds Python objects besides tensors, and loading those would run code of the file; "
            "save {labels, state, seed} with torch.save and tensors only"
        ) from error
    except Exception as error:  # the unpickler meets damaged bytes with whatever breaks first, IndexError and KeyError included
        raise HeadError(f"{path}: not a file of torch.save ({type(error).__name__}); export the head again") from error
    if not isinstance(content, Mapping):
        raise HeadError(f"{path}: expected a mapping {{{' | '.join(LABELS_OF.values())}, state, seed}}, got {type(content).__name__}")
    return content


def _labels(path: Path, content: Mapping[str, Any]) -> tuple[str, list[str]]:
    found = [(kind, name) for kind, name in LABELS_OF.items() if name in content]
    if len(found) != 1:
        raise HeadError(f"{path}: expected exactly one of {list(LABELS_OF.values())}, got the keys {sorted(map(str, content))}")
    kind, name = found[0]
    keys = content[name]
    if not isinstance(keys, (list, tuple)) or not keys or not all(isinstance(key, str) for key in keys):
        raise HeadError(f"{path}: {name}: expected a list of label names, got {type(keys).__name__}")
    keys = [key.removeprefix("attr.") for key in keys] if kind == "attribute" else list(keys)
    if repeated := sorted(key for key, count in Counter(keys).items() if count > 1):
        raise HeadError(f"{path}: {name}: {repeated[0]!r} is named twice; which row is meant cannot be told")
    return kind, keys


def _linear(path: Path, state: Any, *, rows: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The one linear layer of a state dict, whatever its prefix (`weight`, `fc.weight`, ...)."""
    import torch

    tensors = state if isinstance(state, Mapping) else {}
    by_size = {n: [value for value in tensors.values() if isinstance(value, torch.Tensor) and value.ndim == n] for n in (1, 2)}
    if len(tensors) != 2 or len(by_size[1]) != 1 or len(by_size[2]) != 1:
        raise HeadError(f"{path}: state: expected one linear layer (a weight and a bias), got {sorted(map(str, tensors))}")
    weight, bias = (by_size[n][0].to(torch.float32).numpy() for n in (2, 1))
    if weight.shape[0] != rows or bias.shape != (rows,):
        raise HeadError(f"{path}: state: expected {rows} rows, one per label, got weight {weight.shape} and bias {bias.shape}")
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        raise HeadError(f"{path}: state: expected finite weights, got NaN or infinity")
    return weight, bias
