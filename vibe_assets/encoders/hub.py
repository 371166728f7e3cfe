"""A hub name or a local folder becomes a folder of files, and its weight files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vibe_assets.encoders.base import EncoderError

if TYPE_CHECKING:
    from vibe_assets.settings import EncoderSettings

SIDE_FILES = ("*.json", "*.txt", "*.model")  # configurations and tokenizers
VOLATILE = frozenset({"transformers_version", "_name_or_path", "torch_dtype", "dtype", "architectures"})  # say nothing about the vectors


def model_folder(target: str, settings: EncoderSettings, *, weights: Sequence[Sequence[str]]) -> Path:
    """The local folder, or the hub's snapshot of it (from the hub's cache when offline). `org/name@revision` pins what it is.

    `weights`: patterns in order of preference; the first that matches is fetched. Raises EncoderError naming the remedy.
    """
    who = f"[encoder] name = {settings.name!r}"
    folder = Path(target).expanduser()
    if folder.is_dir():
        return folder.resolve()
    if folder.is_absolute() or target.startswith((".", "~")) or target.count("/") != 1:
        raise EncoderError(
            f"{who}: no such folder: {folder}. Give the path of a saved model, or a hub name such as google/siglip-base-patch16-224"
        )
    from huggingface_hub import snapshot_download

    target, _, pinned = target.partition("@")
    if pinned and settings.revision and pinned != settings.revision:
        raise EncoderError(f"{who} names revision {pinned!r}, [encoder] revision is {settings.revision!r}; keep one of the two")
    wanted_revision = pinned or settings.revision
    try:
        for patterns in weights:
            wanted = [*SIDE_FILES, *patterns]
            snapshot = Path(snapshot_download(target, revision=wanted_revision, allow_patterns=wanted, ignore_patterns=["*/*"]))
            if any(next(snapshot.glob(pattern), None) for pattern in patterns):
                break
    except Exception as error:  # the hub's own kinds, and those of whichever HTTP client it builds on
        revision = f" at revision {wanted_revision!r}" if wanted_revision else ""
        raise EncoderError(
            f"{who}: {target}{revision} is neither a folder nor in the hub's cache, and it could not be fetched ({_first_line(error)}). "
            f"Check the spelling and the network, or run `hf download {target}` on a machine that is online and give the folder's path"
        ) from error
    return snapshot


def weight_files(folder: Path, settings: EncoderSettings, *, weights: Sequence[Sequence[str]]) -> list[Path]:
    """The weight files that the library will load. Raises EncoderError when there are none."""
    for patterns in weights:
        if files := sorted({file for pattern in patterns for file in folder.glob(pattern) if file.is_file()}):
            return files
    expected = " or ".join(patterns[0] for patterns in weights)
    raise EncoderError(
        f"[encoder] name = {settings.name!r}: {folder} holds no weights (expected {expected}); save or download the model again"
    )


def remedy_for(files: Sequence[Path]) -> str:
    """What to do about weights that could not be read; pickles are named: of those only tensors are taken, and no code is run."""
    pickles = [file.name for file in files if file.suffix != ".safetensors"]
    if not pickles:
        return "Save or download the model again, or choose another one"
    return (
        f"From {', '.join(pickles)} only tensors are read, never other Python objects, whose loading runs code of the file: "
        "have its author save it as safetensors, or choose another model"
    )


def stable_config(file: Path) -> Any:
    """A JSON file without what changes from one library version to the next; None where the file is absent."""
    if not file.is_file():
        return None

    def strip(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: strip(v) for k, v in value.items() if k not in VOLATILE}
        return value

    return strip(json.loads(file.read_text(encoding="utf-8")))


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no message'}"[:200]
