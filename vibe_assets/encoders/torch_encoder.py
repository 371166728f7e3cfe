"""Two towers of a torch model become an Encoder: device, precision, normalisation on the device, unit rows out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from vibe_assets.encoders.base import EncoderError
from vibe_assets.encoders.lanes import side_by_side

if TYPE_CHECKING:
    from PIL import Image

    from vibe_assets.settings import EncoderSettings

TEXTS_AT_ONCE = 64

ImageTower = Callable[[Sequence[np.ndarray]], torch.Tensor]  # b preprocessed photos -> (b, d)
TextTower = Callable[[list[str]], torch.Tensor]  # n texts -> (n, d)


@dataclass(frozen=True, eq=False)
class TorchEncoder:
    """An Encoder over callables; `image_tower` and `text_tower` return features of any length and dtype."""

    name: str
    fingerprint: str
    dim: int
    draft_px: int | None
    logit_scale: float
    logit_bias: float
    shrink: Callable[[Image.Image], np.ndarray]
    image_tower: ImageTower
    text_tower: TextTower | None
    device: torch.device

    @property
    def reads_text(self) -> bool:
        return self.text_tower is not None

    def preprocess(self, image: Image.Image) -> np.ndarray:
        return self.shrink(image)

    def encode(self, batch: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
        if len(batch) == 0:
            return np.empty((0, self.dim), np.float32)
        return unit_rows(self.image_tower, batch, f"[encoder] name = {self.name!r}")

    def stream(self, batches: Iterable[Sequence[np.ndarray]]) -> Iterator[np.ndarray]:
        return map(self.encode, batches) if self.device.type != "cpu" else side_by_side(self.encode, batches, lanes=torch.get_num_threads())

    def encode_text(self, texts: Sequence[str]) -> np.ndarray:
        if self.text_tower is None:
            raise EncoderError(f"[encoder] name = {self.name!r} has no text tower: it embeds photos only. Choose a SigLIP or CLIP model")
        chunks = [list(texts[i : i + TEXTS_AT_ONCE]) for i in range(0, len(texts), TEXTS_AT_ONCE)]
        rows = [unit_rows(self.text_tower, chunk, f"[encoder] name = {self.name!r}") for chunk in chunks]
        return np.concatenate(rows) if rows else np.empty((0, self.dim), np.float32)


def unit_rows(tower: Callable[[Any], torch.Tensor], batch: Any, who: str) -> np.ndarray:
    """(b, d) float32, unit rows. A row that is not finite stays so, for the engine to refuse."""
    try:
        with torch.inference_mode():
            features = tower(batch).float()
            return torch.nn.functional.normalize(features, dim=-1).cpu().numpy()
    except torch.OutOfMemoryError as error:
        raise EncoderError(f"{who}: the device has no memory for {len(batch)} at once; lower [encoder] batch_size") from error


def pixel_tower(forward: Callable[[torch.Tensor], torch.Tensor], *, mean: Sequence[float], std: Sequence[float], scale: float,
                device: torch.device, dtype: torch.dtype) -> ImageTower:  # fmt: skip
    """Tower over (c, h, w) uint8 photos: they travel as bytes, (x * scale - mean) / std is computed on the device in float32."""
    shift = (torch.tensor(mean, dtype=torch.float32) / scale).view(1, -1, 1, 1).to(device)
    factor = (scale / torch.tensor(std, dtype=torch.float32)).view(1, -1, 1, 1).to(device)

    def tower(batch: Sequence[np.ndarray]) -> torch.Tensor:
        pixels = stacked(batch).to(device)  # (b, c, h, w) uint8
        values = ((pixels.float() - shift) * factor).to(dtype, memory_format=torch.channels_last)
        return forward(values)

    return tower


def stacked(batch: Sequence[np.ndarray]) -> torch.Tensor:
    """(b, ...) of equal arrays; a batch that is an array already is not copied."""
    return torch.from_numpy(batch if isinstance(batch, np.ndarray) else np.stack(batch))


def choose_device(settings: EncoderSettings) -> torch.device:
    """Device of `[encoder] device`. Raises EncoderError where it is absent."""
    wanted = settings.device.strip().lower()
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError as error:
        raise EncoderError(f"[encoder] device = {settings.device!r}: no such device; write auto, cpu, cuda or mps") from error
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}.get(device.type, False)
    if not present or (device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count()):
        raise EncoderError(f"[encoder] device = {settings.device!r} is not on this machine; write auto or cpu")
    return device


def choose_precision(settings: EncoderSettings, device: torch.device) -> tuple[str, torch.dtype]:
    """('bf16' | 'fp32' | 'int8+bf16' | 'int8+fp32', dtype of what is not int8). Raises EncoderError where int8 cannot be.

    auto: bf16 where the hardware multiplies it (GPUs, AVX512-BF16, AMX), as it doubles the speed or more; int8 only where it is asked for.
    """
    wanted = settings.precision
    if wanted == "int8":
        _check_int8(device)
    if wanted in ("auto", "int8"):
        fast = (
            torch.cuda.is_bf16_supported(including_emulation=False)
            if device.type == "cuda"
            else device.type == "cpu" and bool({"avx512_bf16", "amx_bf16", "bf16"} & _cpu_flags())
        )
        rest = "bf16" if fast else "fp32"
        wanted_name = f"int8+{rest}" if wanted == "int8" else rest
    else:
        wanted_name = wanted
    return wanted_name, torch.bfloat16 if wanted_name.endswith("bf16") else torch.float32


def in_eight_bits(tower: torch.nn.Module, settings: EncoderSettings) -> None:
    """Change the tower's linear layers in place where `[encoder] precision = "int8"`. Raises EncoderError where it has none."""
    if settings.precision != "int8":
        return
    from vibe_assets.encoders.int8 import eight_bit

    try:
        eight_bit(tower)
    except ValueError as error:
        raise EncoderError(f"[encoder] name = {settings.name!r}, precision = 'int8': {error}; write precision = \"auto\"") from error


def _check_int8(device: torch.device) -> None:
    if device.type != "cpu":
        raise EncoderError(
            f"[encoder] precision = 'int8' is computed on the CPU only, and device is {device.type}: "
            'write precision = "auto" (bf16 on GPUs), or device = "cpu"'
        )
    if not {"avx512_vnni", "avx_vnni", "amx_int8"} & _cpu_flags():
        raise EncoderError(
            "[encoder] precision = 'int8': this CPU shows no VNNI, without which 8 bits are not faster; write precision = \"auto\""
        )


def _cpu_flags() -> set[str]:
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:  # not Linux: stay with what is always right
        return set()
    return set(next((line for line in flags.splitlines() if line.startswith(("flags", "Features"))), "").split())
