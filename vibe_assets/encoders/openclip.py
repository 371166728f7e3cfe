"""open_clip models, from ARCH/PRETRAINED or from a folder with open_clip_config.json, as an Encoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from vibe_assets.encoders.base import EncoderError, encoder_fingerprint, hash_files
from vibe_assets.encoders.hub import remedy_for, stable_config
from vibe_assets.encoders.torch_encoder import (
    TextTower,
    TorchEncoder,
    choose_device,
    choose_precision,
    in_eight_bits,
    pixel_tower,
    unit_rows,
)
from vibe_assets.settings import EncoderSettings

VERSION = 1
CONFIG = "open_clip_config.json"
WEIGHT_PATTERNS = ("*.safetensors", "*.bin", "*.pth")  # those that open_clip looks for: beside others alone it leaves random weights


def load(target: str, settings: EncoderSettings) -> TorchEncoder:
    """Load a model. Raises EncoderError. Weights are read as tensors only, never unpickled freely."""
    folder = Path(target).expanduser()
    if folder.is_dir():
        source, architecture, files = f"local-dir:{folder.resolve()}", stable_config(folder / CONFIG), _folder_weights(folder, settings)
        model, transform = _create(source, None, settings, files)
    else:
        source, tag, files = _known_weights(target, settings)
        model, transform = _create(source, tag, settings, files)
        architecture = target
    scale, bias = _temperature(model)
    device = choose_device(settings)
    precision, dtype = choose_precision(settings, device)
    model = model.to(device=device, dtype=dtype).eval().requires_grad_(False)
    in_eight_bits(model.visual, settings)
    shrink, mean, std = _split_transform(transform, settings)

    preprocessing = dict(model.visual.preprocess_cfg)
    size = preprocessing["size"]
    draft_px = 2 * int(max(size) if isinstance(size, Sequence) else size) if settings.decode_mode == "draft" else None
    fingerprint = encoder_fingerprint(
        kind="openclip", weights=hash_files(files), preprocessing={"transform": preprocessing, "architecture": architecture},
        decode_mode=settings.decode_mode, draft_px=draft_px, precision=precision, version=VERSION,
    )  # fmt: skip
    image_tower = pixel_tower(_image_features(model), mean=mean, std=std, scale=1 / 255, device=device, dtype=dtype)
    dim = unit_rows(image_tower, [shrink(Image.new("RGB", (64, 64), "grey"))], f"[encoder] name = {settings.name!r}").shape[1]
    return TorchEncoder(
        name=settings.name, fingerprint=fingerprint, dim=dim, draft_px=draft_px, logit_scale=scale, logit_bias=bias,
        shrink=shrink, image_tower=image_tower, text_tower=_text_tower(model, source, settings, device), device=device,
    )  # fmt: skip


def _folder_weights(folder: Path, settings: EncoderSettings) -> list[Path]:
    who = f"[encoder] name = {settings.name!r}"
    if not (folder / CONFIG).is_file():
        raise EncoderError(f"{who}: {folder} holds no {CONFIG}; give a folder saved in open_clip's hub format, or ARCH/PRETRAINED")
    files = sorted(file for pattern in WEIGHT_PATTERNS for file in folder.glob(pattern))
    if not files:
        raise EncoderError(
            f"{who}: {folder} holds no weights (expected open_clip_model.safetensors or open_clip_pytorch_model.bin); save it again"
        )
    return files


def _known_weights(target: str, settings: EncoderSettings) -> tuple[str, str, list[Path]]:
    """Architecture, tag and weight file of ARCH/PRETRAINED, fetched or from the cache."""
    import open_clip
    from open_clip.pretrained import download_pretrained, get_pretrained_cfg

    who = f"[encoder] name = {settings.name!r}"
    architecture, slash, tag = target.rpartition("/")
    if not slash or architecture.startswith((".", "~", "/")) or architecture not in open_clip.list_models():
        raise EncoderError(
            f"{who}: no such folder, and not ARCH/PRETRAINED such as ViT-B-32/laion2b_s34b_b79k. open_clip.list_pretrained() lists all"
        )
    entry = get_pretrained_cfg(architecture, tag)
    if not entry:
        known = ", ".join(open_clip.list_pretrained_tags_by_model(architecture)) or "none"
        raise EncoderError(f"{who}: {architecture} has no weights called {tag!r}; there are: {known}")
    try:
        file = download_pretrained(entry)
    except Exception as error:  # urllib, httpx and the hub's own kinds
        raise EncoderError(
            f"{who}: the weights are not in the cache and could not be fetched ({error}). "
            "Check the network, or save the model elsewhere and give its folder"
        ) from error
    return architecture, tag, [Path(file)]


def _create(
    source: str, tag: str | None, settings: EncoderSettings, files: Sequence[Path]
) -> tuple[Any, Callable[[Image.Image], torch.Tensor]]:
    import open_clip

    try:
        # the tag, not the file: open_clip takes the tag's own normalisation and activation from its table
        model, _, transform = open_clip.create_model_and_transforms(
            source, pretrained=tag, precision="fp32", device="cpu", weights_only=True
        )
    except Exception as error:
        raise EncoderError(f"[encoder] name = {settings.name!r}: {source} could not be loaded: {error}. {remedy_for(files)}") from error
    return model, transform


def _temperature(model: Any) -> tuple[float, float]:
    scale, bias = getattr(model, "logit_scale", None), getattr(model, "logit_bias", None)
    return (1.0 if scale is None else float(scale.detach().float().exp())), (0.0 if bias is None else float(bias.detach().float()))


def _split_transform(transform: Any, settings: EncoderSettings) -> tuple[Callable[[Image.Image], np.ndarray], list[float], list[float]]:
    """open_clip's own steps up to the pixels, as (c, h, w) uint8, and the mean and std of its last step."""
    from torchvision.transforms import Normalize, ToTensor

    *steps, to_tensor, normalize = transform.transforms
    if not (isinstance(normalize, Normalize) and isinstance(to_tensor, ToTensor)):
        raise EncoderError(
            f"[encoder] name = {settings.name!r}: its preprocessing ends in {to_tensor}, {normalize}; expected ToTensor, Normalize"
        )

    def shrink(image: Image.Image) -> np.ndarray:
        for step in steps:
            image = step(image)
        return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))

    return shrink, [float(v) for v in normalize.mean], [float(v) for v in normalize.std]


def _image_features(model: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda pixels: model.encode_image(pixels)


def _text_tower(model: Any, source: str, settings: EncoderSettings, device: torch.device) -> TextTower:
    import open_clip

    @cache
    def tokenizer() -> Any:
        try:
            return open_clip.get_tokenizer(source)
        except Exception as error:
            raise EncoderError(
                f"[encoder] name = {settings.name!r}: its tokenizer could not be loaded: {error}. Put the tokenizer's files into the folder"
            ) from error

    return lambda texts: model.encode_text(tokenizer()(texts).to(device))
