"""A folder or hub name of a vision-language model, and perhaps an adapter, become a model that answers and can be trained."""

from __future__ import annotations

import json
import pickle
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vibe_assets.vlm.failures import VlmError

if TYPE_CHECKING:
    import torch
    from PIL import Image

IGNORED = -100  # the label that torch's cross-entropy leaves out


@dataclass(frozen=True)
class LocalModel:
    """Weights and processor, ready on their device. `adapter` names what is attached, None for the base alone."""

    model: Any
    processor: Any
    base: str
    adapter: Path | None = None

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def prompt_tokens(self, prompt: str, picture: Image.Image) -> dict[str, torch.Tensor]:
        """The question about one picture as the model reads it: input_ids (1, t), pixel_values (patches, d), ..."""
        text = self.processor.apply_chat_template([question(prompt)], add_generation_prompt=True, tokenize=False)
        return dict(self.processor(text=[text], images=[picture], return_tensors="pt"))

    def answer(self, prompt: str, picture: Image.Image, *, max_tokens: int) -> tuple[str, int, int]:
        """(text, prompt tokens, answer tokens) by greedy decoding: the same question gets the same answer."""
        import torch

        inputs = {name: value.to(self.device) for name, value in self.prompt_tokens(prompt, picture).items()}
        asked = inputs["input_ids"].shape[1]
        self.model.eval()
        with torch.inference_mode():
            tokens = self.model.generate(**inputs, **self._greedy(max_tokens))[0, asked:]
        return self.processor.decode(tokens, skip_special_tokens=True), asked, len(tokens)

    def _greedy(self, max_tokens: int) -> dict[str, Any]:
        """Sampling switched off; the model's own sampling parameters would only be warned about."""
        return {"max_new_tokens": max_tokens, "do_sample": False, "temperature": None, "top_p": None, "top_k": None}


def question(prompt: str) -> dict[str, Any]:
    """The user's message: picture first, as Qwen's own examples have it, then the text."""
    return {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": prompt}]}


def load_local(base: str, *, adapter: Path | None = None, device: str = "auto", four_bit: bool = False) -> LocalModel:
    """Load the model, and attach the adapter where one is given. `base`: a folder, or a hub name that may end in @REVISION.

    Code that a repository carries is never run; of weights that are pickled only tensors are read.

    bf16 on CUDA devices that have it, fp32 elsewhere; `four_bit` quantises the frozen weights to NF4 (CUDA with bitsandbytes only).
    Raises VlmError when folder, hub name, adapter or device cannot be used, or the adapter belongs to another base.
    """
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    where = chosen_device(device)
    name, revision = named_and_pinned(checked_source(base))
    options: dict[str, Any] = {"dtype": torch.bfloat16 if where.type == "cuda" and torch.cuda.is_bf16_supported() else torch.float32}
    if four_bit:
        options |= {"quantization_config": _nf4(where), "device_map": {"": where}}
    try:
        safe = {"trust_remote_code": False, **({"revision": revision} if revision else {})}
        processor = AutoProcessor.from_pretrained(name, **safe)
        model = AutoModelForImageTextToText.from_pretrained(name, weights_only=True, **safe, **options)
    except (OSError, ValueError, RuntimeError, pickle.UnpicklingError) as error:
        raise VlmError(
            f"{base}: no vision-language model that transformers can load ({_first_line(error)}); give the folder of a saved model, "
            f"or run `hf download {base}` on a machine that is online"
        ) from error
    if not four_bit:
        model.to(where)  # type: ignore[arg-type]
    if adapter is not None:
        model = attach(model, adapter, base)
    return LocalModel(model, processor, base, adapter)


def attach(model: Any, adapter: Path, base: str) -> Any:
    """The model with a LoRA adapter in front of its frozen weights. Raises VlmError when the two do not belong together."""
    from peft import PeftModel

    config, weights = adapter / "adapter_config.json", adapter / "adapter_model.safetensors"
    if not config.is_file():
        raise VlmError(f"{adapter}: no adapter there (adapter_config.json is missing); `vibe vlm finetune` writes one")
    if not weights.is_file():
        raise VlmError(
            f"{adapter}: {weights.name} is missing; an adapter_model.bin is never loaded, as that may run code of the file: "
            "have its author save it as safetensors, or train the adapter here (`vibe vlm finetune`)"
        )
    trained_on = str(json.loads(config.read_text(encoding="utf-8")).get("base_model_name_or_path") or "")
    if Path(named_and_pinned(trained_on)[0]).name != Path(named_and_pinned(base)[0]).name:
        raise VlmError(f"{adapter} was trained on {trained_on}, not on {base}; set `local` to the model it belongs to")
    with names_of_old():
        return PeftModel.from_pretrained(model, str(adapter))


@contextmanager
def names_of_old() -> Iterator[None]:
    """peft asks models for is_gradient_checkpointing, which newer versions of transformers warn about at every call."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*gradient_checkpointing.*", category=FutureWarning)
        yield


def chosen_device(device: str) -> torch.device:
    """`auto`: CUDA where there is one, else the CPU. Raises VlmError for a device this machine has not."""
    import torch

    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise VlmError(f"vlm.device = {device!r}: this machine has no CUDA device; set it to auto or cpu")
    return torch.device(device)


def checked_source(base: str) -> str:
    """A folder's path, or a hub name as it is. Raises VlmError for a path that is no folder."""
    folder = Path(base).expanduser()
    if folder.is_dir():
        return str(folder)
    if folder.is_absolute() or base.startswith((".", "~")) or base.count("/") != 1:
        raise VlmError(f"{base}: no such folder; give the path of a saved model, or a hub name such as Qwen/Qwen2.5-VL-3B-Instruct")
    return base


def named_and_pinned(source: str) -> tuple[str, str]:
    """(folder or hub name, revision); the revision is '' for folders and where none is given."""
    if Path(source).is_dir():
        return source, ""
    name, _, revision = source.partition("@")
    return name, revision


def _nf4(device: torch.device) -> Any:
    import importlib.util

    import torch
    from transformers import BitsAndBytesConfig

    if device.type != "cuda":
        raise VlmError("four_bit needs a CUDA device; leave it off here (the weights then stay in bf16 or fp32)")
    if importlib.util.find_spec("bitsandbytes") is None:
        raise VlmError("four_bit needs bitsandbytes: pip install bitsandbytes, or leave four_bit off")
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=torch.bfloat16
    )


def collate(examples: Sequence[dict[str, torch.Tensor]], pad_token: int) -> dict[str, torch.Tensor]:
    """Examples of one row each become a batch: token columns padded on the right, patches of all pictures one below the other."""
    import torch

    fill = {"input_ids": pad_token, "labels": IGNORED}
    per_token = [name for name, value in examples[0].items() if value.shape == examples[0]["input_ids"].shape]
    longest = max(example["input_ids"].shape[1] for example in examples)
    batch = {}
    for name in examples[0]:
        columns = [example[name] for example in examples]
        if name in per_token:
            columns = [
                torch.nn.functional.pad(column, (0, longest - column.shape[1]), value=fill.get(name, 0)) for column in columns
            ]  # each (1, t) -> (1, longest)
        batch[name] = torch.cat(columns)
    return batch


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no message'}"[:200]
