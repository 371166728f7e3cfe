"""A trained head goes in, a folder named by its content comes out, and back: head.safetensors and card.json, never half written."""

from __future__ import annotations

import os
import shutil
import time
import uuid
from pathlib import Path

import numpy as np

from vibe_assets.heads.deployments import Deployment, Deployments
from vibe_assets.heads.legacy import export_pt, import_pt
from vibe_assets.heads.models import HeadCard, HeadError, TrainedHead
from vibe_assets.storage.disk import to_disk

__all__ = ["Deployment", "Deployments", "HeadCard", "export_pt", "import_pt", "load_head", "save_head", "saved_heads"]

WEIGHTS, CARD = "head.safetensors", "card.json"
UNFINISHED = ".unfinished-"
STALE_S = 24 * 3600.0  # unfinished folders of crashed writers older than this are removed by the next writer


def save_head(head: TrainedHead, heads_dir: Path) -> str:
    """Write the head to heads_dir/VERSION and return the version; the same content again changes nothing, but mends a damaged folder.

    The folder appears complete and durable or not at all. Raises HeadError when the disk is full or not writable.
    """
    from safetensors.numpy import save

    final = heads_dir / head.version
    if final.is_dir() and _is_whole(final):
        return head.version
    unfinished = heads_dir / f"{UNFINISHED}{uuid.uuid4().hex}"
    try:
        heads_dir.mkdir(parents=True, exist_ok=True)
        _remove_stale(heads_dir)
        if final.is_dir():
            final.rename(heads_dir / f"{UNFINISHED}damaged-{uuid.uuid4().hex}")
        unfinished.mkdir()
        arrays = {name: np.ascontiguousarray(array) for name, array in head.arrays().items()}
        _write(unfinished / WEIGHTS, save(arrays, metadata={"version": head.version}))
        _write(unfinished / CARD, head.card.to_json().encode())
        to_disk(unfinished)
        try:
            unfinished.replace(final)
        except OSError:
            if not final.is_dir():  # another writer was first with the same content: that one stays
                raise
        to_disk(heads_dir)
    except OSError as error:
        raise HeadError(f"{final}: not saved: {error}; the heads in force stay: free some space or repair access, train again") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return head.version


def load_head(path: Path) -> TrainedHead:
    """Read a head folder and check that content and name agree.

    Raises HeadError naming the file when it is missing, damaged or changed since it was written.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    for name in (CARD, WEIGHTS):
        if not (path / name).is_file():
            raise HeadError(f"{path / name}: no such file; `vibe heads list` lists the saved heads")
    try:
        card = HeadCard.from_json((path / CARD).read_text(encoding="utf-8"))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise HeadError(f"{path / CARD}: not a head card ({error}); train the head again or restore the file") from error
    try:
        arrays = load_file(path / WEIGHTS)
        head = TrainedHead(arrays["weight"], arrays["bias"], arrays["mean"], arrays["std"], card)
    except (SafetensorError, ValueError, KeyError) as error:
        raise HeadError(f"{path / WEIGHTS}: not the weights of this card ({error}); train the head again or restore the file") from error
    if head.version != path.name:
        raise HeadError(
            f"{path / WEIGHTS}: content belongs to {head.version}, the folder says {path.name}: changed after training; "
            "train the head again or restore the folder"
        )
    return head


def saved_heads(heads_dir: Path) -> list[str]:
    """Versions of the complete heads of a folder, sorted."""
    return sorted(entry.parent.name for entry in heads_dir.glob(f"*/{CARD}") if not entry.parent.name.startswith("."))


def _is_whole(folder: Path) -> bool:
    try:
        load_head(folder)
    except HeadError:
        return False
    return True


def _write(path: Path, content: bytes) -> None:
    with path.open("xb") as handle:
        handle.write(content)
        handle.flush()
        os.fsync(handle.fileno())


def _remove_stale(heads_dir: Path) -> None:
    for entry in heads_dir.glob(f"{UNFINISHED}*"):
        try:
            old = time.time() - entry.stat().st_mtime > STALE_S
        except FileNotFoundError:  # its writer has just finished
            continue
        if old:
            shutil.rmtree(entry, ignore_errors=True)
