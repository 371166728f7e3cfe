"""A seed becomes a Qwen2.5-VL or Qwen3-VL of a few hundred kilobytes in hub format: real classes, real processor, random weights.

It knows nothing. It proves, without a download or a GPU, that the training and the prediction of the real models work.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

HIDDEN = 64
SIDE_PX = 56  # every picture becomes about 56 x 56: 16 patches, 4 tokens
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
# The shape of Qwen2.5-VL's own template, without its branches for videos and numbered pictures.
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def save_tiny_model(folder: Path, texts: Iterable[str], *, seed: int = 0, family: Literal["qwen2_5_vl", "qwen3_vl"] = "qwen2_5_vl") -> Path:
    """Write weights, configuration, tokenizer, image processor and chat template to `folder`; return it.

    `texts`: what the tokenizer learns its merges from (the prompt, the tags), so that they take few tokens.
    """
    import torch
    from transformers import Qwen2_5_VLForConditionalGeneration, Qwen3VLForConditionalGeneration
    from transformers.utils import logging

    tokenizer = _tokenizer(list(texts))
    processor = _processor(tokenizer, family)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if family == "qwen3_vl":
            model: Any = Qwen3VLForConditionalGeneration(_qwen3(tokenizer))
        else:
            model = Qwen2_5_VLForConditionalGeneration(_qwen2_5(tokenizer))
    end = processor.tokenizer.convert_tokens_to_ids("<|im_end|>")
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = [end], processor.tokenizer.pad_token_id
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # of a few hundred kilobytes
    model.save_pretrained(folder)
    if shown:
        logging.enable_progress_bar()
    processor.save_pretrained(folder)
    return folder


def _text(tokenizer: Any) -> dict[str, Any]:
    """Shape of the language model."""
    return {
        "vocab_size": len(tokenizer), "hidden_size": HIDDEN, "intermediate_size": 2 * HIDDEN, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 2048, "tie_word_embeddings": False,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [2, 3, 3]},
        "initializer_range": 0.15,  # frozen output rows of the usual 0.02 could never favour one token, whatever an adapter learns
        "bos_token_id": None, "eos_token_id": tokenizer.convert_tokens_to_ids("<|im_end|>"), "pad_token_id": tokenizer.pad_token_id,
    }  # fmt: skip


def _vision(**shape: Any) -> dict[str, Any]:
    """Shape of the vision tower."""
    return {
        "depth": 1, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "spatial_merge_size": 2, "temporal_patch_size": 2,
        "out_hidden_size": HIDDEN, "initializer_range": 0.05, **shape,
    }  # fmt: skip


def _tokens(tokenizer: Any) -> dict[str, Any]:
    names = {"image_token_id": "image_pad", "video_token_id": "video_pad", "vision_start_token_id": "vision_start",
             "vision_end_token_id": "vision_end"}  # fmt: skip
    return {field: tokenizer.convert_tokens_to_ids(f"<|{name}|>") for field, name in names.items()}


def _qwen2_5(tokenizer: Any) -> Any:
    from transformers import Qwen2_5_VLConfig

    vision = _vision(patch_size=14, window_size=56, fullatt_block_indexes=[0])
    return Qwen2_5_VLConfig(text_config=_text(tokenizer), vision_config=vision, tie_word_embeddings=False, **_tokens(tokenizer))


def _qwen3(tokenizer: Any) -> Any:
    from transformers import Qwen3VLConfig

    text = _text(tokenizer) | {"head_dim": HIDDEN // 4}
    text["rope_parameters"] = text["rope_parameters"] | {"mrope_interleaved": True}
    vision = _vision(patch_size=16, num_position_embeddings=64, deepstack_visual_indexes=[0])
    return Qwen3VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=False, **_tokens(tokenizer))


def _processor(tokenizer: Any, family: str) -> Any:
    from transformers import (
        Qwen2_5_VLProcessor,
        Qwen2VLImageProcessor,
        Qwen2VLVideoProcessor,
        Qwen3VLProcessor,
        Qwen3VLVideoProcessor,
    )

    size = {"shortest_edge": SIDE_PX**2, "longest_edge": SIDE_PX**2}
    parts = {"tokenizer": tokenizer, "chat_template": CHAT_TEMPLATE}
    if family == "qwen3_vl":
        pictures = Qwen2VLImageProcessor(size=size, patch_size=16)
        return Qwen3VLProcessor(image_processor=pictures, video_processor=Qwen3VLVideoProcessor(size=size), **parts)
    return Qwen2_5_VLProcessor(image_processor=Qwen2VLImageProcessor(size=size), video_processor=Qwen2VLVideoProcessor(size=size), **parts)


def _tokenizer(texts: list[str]) -> Any:
    """Qwen's byte-level BPE with few merges, learnt from the texts."""
    import json

    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import Qwen2Tokenizer

    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=700, min_frequency=1, initial_alphabet=alphabet, show_progress=False)
    learner.train_from_iterator(texts, trainer)
    learnt = json.loads(learner.to_str())["model"]
    return Qwen2Tokenizer(
        vocab=learnt["vocab"],
        merges=[tuple(pair) for pair in learnt["merges"]],  # type: ignore[misc]
        pad_token="<|endoftext|>",  # noqa: S106 - a token of text, not of access
        eos_token="<|im_end|>",  # noqa: S106
        additional_special_tokens=list(SPECIAL),
    )
