"""A name of the settings becomes an encoder: photos or texts go in, float32 unit vectors come out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from vibe_assets.errors import UserError
from vibe_assets.records import fingerprint

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from vibe_assets.settings import EncoderSettings

_LOADERS = {
    "siglip": "vibe_assets.encoders.transformers_models",
    "hf": "vibe_assets.encoders.transformers_models",
    "openclip": "vibe_assets.encoders.openclip",
    "onnx": "vibe_assets.encoders.onnx",
}
_KNOWN = "handcrafted, siglip:NAME, hf:NAME, openclip:ARCH/PRETRAINED, openclip:FOLDER, onnx:FILE.onnx"


class EncoderError(UserError, RuntimeError):
    """An encoder cannot be loaded or run; the message names the setting and the remedy."""


class Encoder(Protocol):
    """What the engine and the classifier need of a model. Implementations are safe to call from several threads in `preprocess`."""

    @property
    def name(self) -> str:
        """As written in the settings."""

    @property
    def fingerprint(self) -> str:
        """16 hex digits over kind, weights, preprocessing, decode mode and effective precision: all that changes a vector."""

    @property
    def dim(self) -> int:
        """Length of a vector."""

    @property
    def draft_px(self) -> int | None:
        """Neither side of a JPEG may be scaled below this many pixels while it is decoded; None: decode in full."""

    @property
    def reads_text(self) -> bool:
        """Whether `encode_text` works."""

    @property
    def logit_scale(self) -> float:
        """The model's own factor on the cosine of photo and text; 1.0 without a text tower."""

    @property
    def logit_bias(self) -> float:
        """The model's own offset after scaling; 0.0 where it has none."""

    def preprocess(self, image: Image.Image) -> np.ndarray:
        """One upright RGB photo -> the array that `encode` stacks: (c, h, w) uint8 for pixel models."""

    def encode(self, batch: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
        """Preprocessed photos -> (b, d) float32, unit rows."""

    def stream(self, batches: Iterable[Sequence[np.ndarray]]) -> Iterator[np.ndarray]:
        """The (b, d) of every batch, in order, as fast as the device can: many batches at once where that helps."""

    def encode_text(self, texts: Sequence[str]) -> np.ndarray:
        """Texts -> (n, d) float32, unit rows. Raises EncoderError without a text tower."""


def load_encoder(settings: EncoderSettings) -> Encoder:
    """Load what `[encoder] name` asks for. Raises EncoderError, worded for a user."""
    kind, colon, target = settings.name.partition(":")
    if settings.name == "handcrafted":
        from vibe_assets.encoders.handcrafted import HandcraftedEncoder

        return HandcraftedEncoder(decode_mode=settings.decode_mode)
    if kind not in _LOADERS or not colon:
        raise EncoderError(f"[encoder] name = {settings.name!r}: no such encoder. Write one of: {_KNOWN}")
    if not target.strip():
        raise EncoderError(f"[encoder] name = {settings.name!r}: nothing after the colon. Write one of: {_KNOWN}")
    return cast(Encoder, import_module(_LOADERS[kind]).load(target.strip(), settings))


def encoder_fingerprint(
    *, kind: str, weights: str, preprocessing: Mapping[str, Any], decode_mode: str, draft_px: int | None, precision: str, version: int
) -> str:
    """16 hex digits. `version` is raised by hand when an encoder's own code changes its vectors; batch size and device stay outside."""
    return fingerprint(
        {
            "kind": kind,
            "weights": weights,
            "preprocessing": dict(preprocessing),
            "decode": [decode_mode, draft_px],
            "precision": precision,
            "version": version,
        }
    )


def hash_files(files: Iterable[Path]) -> str:
    """SHA-256 over the contents of the files in order of name; where they lie does not matter."""
    total = hashlib.sha256()
    for file in sorted(files, key=lambda path: path.name):
        with file.open("rb") as handle:
            total.update(f"{file.name}\0".encode() + hashlib.file_digest(handle, "sha256").digest())
    return total.hexdigest()
