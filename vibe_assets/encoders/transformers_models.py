"""SigLIP, SigLIP 2, CLIP, DINOv2 and their like, from a hub name or a folder, through transformers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from vibe_assets.encoders.base import EncoderError, encoder_fingerprint, hash_files
from vibe_assets.encoders.hub import model_folder, remedy_for, stable_config, weight_files
from vibe_assets.encoders.rewire import rewired
from vibe_assets.encoders.torch_encoder import (
    ImageTower,
    TextTower,
    TorchEncoder,
    choose_device,
    choose_precision,
    in_eight_bits,
    pixel_tower,
    stacked,
    unit_rows,
)
from vibe_assets.settings import EncoderSettings

VERSION = 3  # 2: the pooling head's attention rounds elsewhere; 3: exact GELU in bf16, and one core computes a part of a batch
WEIGHTS = (("model.safetensors", "model-*.safetensors"), ("pytorch_model.bin", "pytorch_model-*.bin"))
PREPROCESSING = (
    "do_resize", "size", "resample", "do_center_crop", "crop_size", "do_rescale", "rescale_factor", "do_normalize", "image_mean",
    "image_std", "do_convert_rgb", "do_pad", "pad_size", "patch_size", "max_num_patches",
)  # fmt: skip


def load(target: str, settings: EncoderSettings) -> TorchEncoder:
    """Load a saved model. Raises EncoderError. Code that a hub repository carries is never run; weights are read as tensors only."""
    folder = model_folder(target, settings, weights=WEIGHTS)
    files = weight_files(folder, settings, weights=WEIGHTS)
    model = _model(folder, settings, files)
    processor = _image_processor(folder, settings)
    scale, bias = _temperature(model)  # before the weights are rounded to bf16
    device = choose_device(settings)
    precision, dtype = choose_precision(settings, device)
    model = rewired(model.to(device=device, dtype=dtype).eval().requires_grad_(False))
    in_eight_bits(getattr(model, "vision_model", model), settings)

    draft_px = 2 * input_px(processor) if settings.decode_mode == "draft" else None
    fingerprint = encoder_fingerprint(
        kind="transformers", weights=hash_files(files),
        preprocessing={"processor": preprocessing_of(processor), "config": stable_config(folder / "config.json"),
                       "tokenizer": _tokenizer_hash(folder)},
        decode_mode=settings.decode_mode, draft_px=draft_px, precision=precision, version=VERSION,
    )  # fmt: skip
    shrink, image_tower = _image_side(model, processor, device, dtype)
    probe = [shrink(Image.new("RGB", (64, 64), "grey"))]
    dim = unit_rows(image_tower, probe, f"[encoder] name = {settings.name!r}").shape[1]
    return TorchEncoder(
        name=settings.name, fingerprint=fingerprint, dim=dim, draft_px=draft_px, logit_scale=scale, logit_bias=bias,
        shrink=shrink, image_tower=image_tower, text_tower=_text_tower(model, folder, settings, device), device=device,
    )  # fmt: skip


# -- loading -----------------------------------------------------------------------------------------------------------
def _model(folder: Path, settings: EncoderSettings, files: Sequence[Path]) -> Any:
    from transformers import AutoModel

    who = f"[encoder] name = {settings.name!r}: {folder}"
    try:
        model, info = AutoModel.from_pretrained(
            folder, dtype=torch.float32, trust_remote_code=False, local_files_only=True, output_loading_info=True
        )
    except Exception as error:  # transformers, safetensors and torch raise their own kinds on a damaged folder
        raise EncoderError(f"{who} could not be loaded: {error}. {remedy_for(files)}") from error
    if holes := sorted([*info["missing_keys"], *(str(key) for key in info["mismatched_keys"])]):
        raise EncoderError(
            f"{who}: {len(holes)} weights are missing or of another shape ({', '.join(holes[:3])} ...): "
            "they do not belong to config.json; save or download the model again"
        )
    return model


def _image_processor(folder: Path, settings: EncoderSettings) -> Any:
    from transformers import AutoImageProcessor

    try:
        return AutoImageProcessor.from_pretrained(folder, trust_remote_code=False, local_files_only=True, backend="pil")
    except Exception as error:
        raise EncoderError(
            f"[encoder] name = {settings.name!r}: {folder} has no usable preprocessor_config.json ({error}). "
            "Give an image model that was saved with its image processor"
        ) from error


def _temperature(model: Any) -> tuple[float, float]:
    """(factor, offset) of photo-text cosines as the model's own forward applies them: SigLIP has both, CLIP the factor."""
    scale, bias = getattr(model, "logit_scale", None), getattr(model, "logit_bias", None)
    return (1.0 if scale is None else float(scale.detach().float().exp())), (0.0 if bias is None else float(bias.detach().float()))


# -- photos ------------------------------------------------------------------------------------------------------------
def preprocessing_of(processor: Any) -> dict[str, Any]:
    """What the processor does to a photo, free of class names and versions."""
    found = {key: getattr(processor, key, None) for key in PREPROCESSING}
    return {key: dict(value) if hasattr(value, "keys") else value for key, value in found.items() if value is not None}


def input_px(processor: Any) -> int:
    """Side of the picture that the model sees, before a centre crop."""
    if _is_naflex(processor):
        return math.isqrt(processor.max_num_patches) * int(processor.patch_size)
    size = dict(processor.size or {})
    sides = [size.get(key) for key in ("height", "width", "shortest_edge", "longest_edge", "max_height", "max_width")]
    return max((int(side) for side in sides if side), default=224)


def _image_side(
    model: Any, processor: Any, device: torch.device, dtype: torch.dtype
) -> tuple[Callable[[Image.Image], np.ndarray], ImageTower]:
    """How one photo becomes an array, and how arrays become features."""
    if _is_naflex(processor):
        return _naflex_side(model, processor, device, dtype)

    def features(pixels: torch.Tensor) -> torch.Tensor:
        return pooled(model.get_image_features(pixel_values=pixels) if hasattr(model, "get_image_features") else model(pixel_values=pixels))

    if (shrink := plain_resize(processor)) is not None:
        return shrink, pixel_tower(
            features, mean=processor.image_mean, std=processor.image_std, scale=processor.rescale_factor, device=device, dtype=dtype
        )

    def shrink_by_library(image: Image.Image) -> np.ndarray:
        return np.asarray(processor(images=image, return_tensors="np")["pixel_values"][0], dtype=np.float32)

    return shrink_by_library, lambda batch: features(stacked(batch).to(device).to(dtype))


def pooled(output: Any) -> torch.Tensor:
    """(b, d) of whatever a model returns: its pooled vector, else the class token."""
    if isinstance(output, torch.Tensor):
        return output
    vector = getattr(output, "image_embeds", None)
    vector = getattr(output, "pooler_output", None) if vector is None else vector
    return output.last_hidden_state[:, 0] if vector is None else vector.flatten(1)


def plain_resize(processor: Any) -> Callable[[Image.Image], np.ndarray] | None:
    """Resize and centre crop as the processor's settings say, as (c, h, w) uint8; None where the processor does anything else.

    The library's own call converts to float before the batch is made: four times the memory traffic, and it holds the GIL.
    """
    from transformers.image_processing_backends import PilBackend

    ours = all(
        getattr(type(processor), name) is getattr(PilBackend, name)
        for name in ("_preprocess", "resize", "center_crop", "rescale", "normalize")
    )
    size, crop = dict(processor.size or {}), dict(processor.crop_size or {}) if processor.do_center_crop else {}
    size, crop = {k: v for k, v in size.items() if v}, {k: v for k, v in crop.items() if v}
    exact, shortest = size.keys() == {"height", "width"}, size.keys() == {"shortest_edge"}
    fits = not crop or (crop.keys() == {"height", "width"} and max(crop.values()) <= min(size.values(), default=0))
    if (
        not (ours and (exact or shortest) and fits and processor.do_resize and processor.do_rescale and processor.do_normalize)
        or processor.do_pad
    ):
        return None
    resample = Image.Resampling(processor.resample)

    def shrink(image: Image.Image) -> np.ndarray:
        width, height = image.size
        if exact:
            width, height = size["width"], size["height"]
        elif width <= height:
            width, height = size["shortest_edge"], int(size["shortest_edge"] * height / width)
        else:
            width, height = int(size["shortest_edge"] * width / height), size["shortest_edge"]
        image = image.resize((width, height), resample)
        if crop:
            left, top = (width - crop["width"]) // 2, (height - crop["height"]) // 2
            image = image.crop((left, top, left + crop["width"], top + crop["height"]))
        return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))

    return shrink


# -- SigLIP 2 NaFlex: photos keep their shape --------------------------------------------------------------------------
def _is_naflex(processor: Any) -> bool:
    return getattr(processor, "max_num_patches", None) is not None


def _naflex_side(
    model: Any, processor: Any, device: torch.device, dtype: torch.dtype
) -> tuple[Callable[[Image.Image], np.ndarray], ImageTower]:
    """One photo -> (patches + 1, p * p * c) float32; the last row starts with the number of patches down and across."""

    def shrink(image: Image.Image) -> np.ndarray:
        inputs = processor(images=[image], return_tensors="np")
        patches = np.asarray(inputs["pixel_values"][0], dtype=np.float32)
        shape = np.zeros((1, patches.shape[1]), np.float32)
        shape[0, :2] = np.asarray(inputs["spatial_shapes"][0])
        return np.concatenate([patches, shape])

    def tower(batch: Sequence[np.ndarray]) -> torch.Tensor:
        packed = stacked(batch).to(device)
        patches, shapes = packed[:, :-1], packed[:, -1, :2].long()
        used = shapes.prod(1, keepdim=True)
        mask = (torch.arange(patches.shape[1], device=device)[None] < used).int()
        inputs = {"pixel_values": patches.to(dtype), "pixel_attention_mask": mask, "spatial_shapes": shapes}
        return pooled(model.get_image_features(**inputs) if hasattr(model, "get_image_features") else model(**inputs))

    return shrink, tower


# -- texts -------------------------------------------------------------------------------------------------------------
def _text_tower(model: Any, folder: Path, settings: EncoderSettings, device: torch.device) -> TextTower | None:
    """None where the model has no text side or the folder no tokenizer. The tokenizer is loaded with the first text."""
    if not hasattr(model, "get_text_features") or not _tokenizer_files(folder):
        return None
    length = int(getattr(model.config.get_text_config(), "max_position_embeddings", 64))
    fixed = "siglip" in model.config.model_type  # trained on texts padded to full length, without a mask
    tokenizer = cache(lambda: _tokenizer(folder, settings))

    def tower(texts: list[str]) -> torch.Tensor:
        inputs = tokenizer()(texts, padding="max_length" if fixed else True, truncation=True, max_length=length, return_tensors="pt").to(
            device
        )
        mask = {} if fixed else {"attention_mask": inputs["attention_mask"]}
        return pooled(model.get_text_features(input_ids=inputs["input_ids"], **mask))

    return tower


def _tokenizer(folder: Path, settings: EncoderSettings) -> Any:
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # SigLIP's class wants sentencepiece even where the folder has the ready tokenizer.json
        if (folder / "tokenizer.json").is_file() and (known := stable_config(folder / "tokenizer_config.json")) is not None:
            tokens = {key: _token_text(known[key]) for key in ("pad_token", "eos_token", "bos_token", "unk_token") if known.get(key)}
            return PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), **tokens)
        raise EncoderError(
            f"[encoder] name = {settings.name!r}: the tokenizer of {folder} could not be loaded ({error}). "
            "SigLIP's needs `pip install sentencepiece protobuf`"
        ) from error


def _token_text(token: Any) -> str:
    return token["content"] if isinstance(token, dict) else str(token)


def _tokenizer_files(folder: Path) -> list[Path]:
    names = ("tokenizer.json", "spiece.model", "tokenizer.model", "vocab.json", "merges.txt", "vocab.txt")
    return [folder / name for name in names if (folder / name).is_file()]


def _tokenizer_hash(folder: Path) -> str | None:
    files = _tokenizer_files(folder)
    return hash_files(files) if files else None
