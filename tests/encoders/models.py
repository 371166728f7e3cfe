"""Tiny models with random weights, saved to disk by the real libraries in the formats that hubs use."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from vibe_assets.records import PhotoRef

WORDS = ["a", "photo", "of", "dog", "cat", "house", "tree", "document", "screenshot", "food"]


def save_tokenizer(folder: Path, *, length: int, siglip: bool = True) -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.normalizers import Lowercase
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    vocabulary = {token: i for i, token in enumerate(["<pad>", "<unk>", "<bos>", "<eos>", *WORDS])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = Lowercase(), Whitespace()
    template = "$A <eos>" if siglip else "<bos> $A <eos>"
    tokenizer.post_processor = TemplateProcessing(single=template, special_tokens=[("<bos>", 2), ("<eos>", 3)])
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", bos_token="<bos>", eos_token="<eos>", model_max_length=length
    ).save_pretrained(folder)


def save_siglip(folder: Path, *, seed: int = 0, image_size: int = 32) -> Path:
    from transformers import SiglipConfig, SiglipImageProcessor, SiglipModel

    torch.manual_seed(seed)
    tower = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    model = SiglipModel(
        SiglipConfig(
            text_config=tower | {"vocab_size": 32, "max_position_embeddings": 16, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3},
            vision_config=tower | {"image_size": image_size, "patch_size": 8},
        )
    )
    spread(model)
    with torch.no_grad():
        model.logit_scale.fill_(2.3)
        model.logit_bias.fill_(-7.7)
    model.save_pretrained(folder)
    SiglipImageProcessor(size={"height": image_size, "width": image_size}).save_pretrained(folder)
    save_tokenizer(folder, length=16)
    return folder


def save_clip(folder: Path) -> Path:
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

    torch.manual_seed(1)
    tower = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = tower | {"vocab_size": 32, "max_position_embeddings": 16, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=tower | {"image_size": 32, "patch_size": 8}, projection_dim=24))
    spread(model)
    model.save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    save_tokenizer(folder, length=16, siglip=False)
    return folder


def save_dinov2(folder: Path) -> Path:
    from transformers import BitImageProcessor, Dinov2Config, Dinov2Model

    torch.manual_seed(2)
    model = Dinov2Model(Dinov2Config(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=7))
    spread(model)
    model.save_pretrained(folder)
    BitImageProcessor(size={"shortest_edge": 36}, crop_size={"height": 28, "width": 28}, do_center_crop=True).save_pretrained(folder)
    return folder


def save_naflex(folder: Path) -> Path:
    from transformers import Siglip2Config, Siglip2ImageProcessor, Siglip2Model

    torch.manual_seed(3)
    tower = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    model = Siglip2Model(
        Siglip2Config(
            text_config=tower | {"vocab_size": 32, "max_position_embeddings": 16, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3},
            vision_config=tower | {"num_patches": 16, "patch_size": 8},
        )
    )
    spread(model)
    model.save_pretrained(folder)
    Siglip2ImageProcessor(patch_size=8, max_num_patches=16).save_pretrained(folder)
    save_tokenizer(folder, length=16)
    return folder


def save_openclip(folder: Path) -> Path:
    import open_clip
    from safetensors.torch import save_file

    torch.manual_seed(4)
    config = {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8, "head_width": 32},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
    }
    model = open_clip.CLIP(**config)
    spread(model)
    folder.mkdir(parents=True, exist_ok=True)
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, folder / "open_clip_model.safetensors")
    preprocess = {"mean": [0.48, 0.46, 0.41], "std": [0.27, 0.26, 0.28], "interpolation": "bicubic", "resize_mode": "shortest"}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}))
    return folder


def save_onnx(file: Path, *, side: int = 32, dim: int = 16, seed: int = 5) -> Path:
    """A patch projection and a mean over patches: (b, 3, side, side) -> (b, dim)."""
    from onnx import TensorProto, checker, helper, numpy_helper, save

    weights = np.random.default_rng(seed).normal(size=(dim, 3, 8, 8)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["pixel_values", "w"], ["patches"], strides=[8, 8]),
            helper.make_node("Relu", ["patches"], ["active"]),
            helper.make_node("GlobalAveragePool", ["active"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["image_embeds"]),
        ],
        "tower",
        [helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["b", 3, side, side])],
        [helper.make_tensor_value_info("image_embeds", TensorProto.FLOAT, ["b", dim])],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    checker.check_model(model)
    save(model, file)
    return file


def spread(model: torch.nn.Module, scale: float = 3) -> None:
    """Widen the weights: fresh ones are so small that every photo would get nearly the same vector."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(scale)


def picture(seed: int, size: tuple[int, int] = (160, 120)) -> Image.Image:
    """A smooth random picture: coarse noise, enlarged."""
    noise = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)


def write_photos(folder: Path, count: int, size: tuple[int, int] = (160, 120)) -> list[PhotoRef]:
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(count):
        picture(seed, size).save(folder / f"{seed:03d}.jpg", quality=95)
    return [reference(folder / f"{seed:03d}.jpg") for seed in range(count)]


def reference(path: Path) -> PhotoRef:
    return PhotoRef(hashlib.sha256(path.read_bytes()).hexdigest()[:32], str(path).encode(), path.name)
