"""Instruction records and a base model become a LoRA adapter: the picture in the batch, the loss on the answer alone, resumable.

LoRA: Hu et al. 2021. The loop, its checkpoints and its schedule are those of transformers' Trainer.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vibe_assets.records import fingerprint
from vibe_assets.vlm.failures import VlmError
from vibe_assets.vlm.local import IGNORED, LocalModel, collate, load_local, names_of_old

if TYPE_CHECKING:
    import torch
    from PIL import Image

    from vibe_assets.settings import LibrarySettings

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
VISION = ("qkv", "proj", "gate_proj", "up_proj", "down_proj", "linear_fc1", "linear_fc2")  # of Qwen2.5-VL and of Qwen3-VL


@dataclass(frozen=True)
class LoraKnobs:
    """Everything that changes the adapter, besides base model and records."""

    learning_rate: float = 2e-4
    rank: int = 16
    alpha: int = 32  # the update is scaled by alpha / rank
    dropout: float = 0.05
    target_modules: tuple[str, ...] = PROJECTIONS
    train_vision: bool = False
    epochs: float = 3
    batch_size: int = 4
    accumulation: int = 8
    warmup: float = 0.03  # share of all steps
    patience: int = 2  # evaluations without a lower validation loss
    evaluations_per_epoch: int = 1
    max_side_px: int = 768
    gradient_checkpointing: bool = True
    four_bit: bool = False
    seed: int = 42

    def version(self, base: str, data_version: str) -> str:
        """16 hex digits: the same base, data and knobs give the same adapter. Of a base that is a folder the weights count as well."""
        weights = _weights_digest(Path(base))
        return fingerprint({**dataclasses.asdict(self), "base": base, "data": data_version, **({"weights": weights} if weights else {})})


def _weights_digest(base: Path) -> dict[str, str]:
    """File -> SHA-256 of the weights in a folder; a hub's name has none here. Reading them is little beside a training."""
    found = {}
    for file in sorted(base.glob("*.safetensors")) if base.is_dir() else ():
        with file.open("rb") as handle:
            found[file.name] = hashlib.file_digest(handle, "sha256").hexdigest()
    return found


@dataclass(frozen=True)
class Record:
    """One instruction example, ready to read: `prompt` and picture in, `answer` out."""

    image_id: str
    path: str | bytes
    prompt: str
    answer: str


@dataclass(frozen=True)
class Training:
    """What came of it. Losses are mean cross-entropy per answer token; `best_step` is the one that was kept."""

    adapter: Path
    steps: int
    best_step: int
    best_val_loss: float
    first_val_loss: float  # of the base model, before the first step
    train_curve: tuple[tuple[int, float], ...]  # (step, loss)
    val_curve: tuple[tuple[int, float], ...]
    trainable: int
    parameters: int
    stopped_early: bool


def read_picture(path: str | bytes, max_side_px: int, library: LibrarySettings | None = None) -> Image.Image:
    """Upright RGB of at most `max_side_px` on its longest side. Raises PhotoRejected."""
    from vibe_assets.photos.decode import open_accepted

    picture = open_accepted(path, library, draft_px=max_side_px).image
    picture.thumbnail((max_side_px, max_side_px))
    return picture


def encode(local: LocalModel, record: Record, *, max_side_px: int, library: LibrarySettings | None = None) -> dict[str, torch.Tensor]:
    """One training example: the question as at prediction time, the answer's tokens after it, and labels on those alone."""
    import torch

    inputs = local.prompt_tokens(record.prompt, read_picture(record.path, max_side_px, library))
    asked = inputs["input_ids"]  # (1, p)
    tokenizer = local.processor.tokenizer
    ids = tokenizer(record.answer + "<|im_end|>\n", add_special_tokens=False)["input_ids"]
    answer = torch.tensor([ids], dtype=asked.dtype)  # (1, a)
    labels = answer.clone()
    labels[0, -1] = IGNORED  # the line break of the template: nobody samples it
    per_token = {name: value for name, value in inputs.items() if value.shape == asked.shape}
    longer = {name: torch.cat([value, torch.zeros_like(answer)], dim=1) for name, value in per_token.items()}
    longer["input_ids"] = torch.cat([asked, answer], dim=1)
    longer["attention_mask"] = torch.ones_like(longer["input_ids"])
    longer["labels"] = torch.cat([torch.full_like(asked, IGNORED), labels], dim=1)
    return {**inputs, **longer}


def finetune(
    base: str,
    train: Sequence[Record],
    val: Sequence[Record],
    folder: Path,
    *,
    knobs: LoraKnobs | None = None,
    device: str = "auto",
    stop_after: int | None = None,
    progress: bool = True,
    library: LibrarySettings | None = None,
) -> Training:
    """Train an adapter into `folder`/adapter; checkpoints lie beside it, and a run that was cut off goes on from the newest.

    The adapter of the lowest validation loss is kept. `stop_after`: end after this many steps, as an interruption would.
    Raises VlmError for no records, or for a base that cannot be loaded.
    """
    knobs = knobs or LoraKnobs()
    if not train or not val:
        raise VlmError(
            f"{len(train)} training and {len(val)} validation records: at least one of each is needed; `vibe vlm dataset` makes them"
        )
    folder.mkdir(parents=True, exist_ok=True)
    from transformers import set_seed

    set_seed(knobs.seed)
    local = load_local(base, device=device, four_bit=knobs.four_bit)
    model = _with_lora(local, knobs)
    trainer = _trainer(
        dataclasses.replace(local, model=model), train, val, folder, knobs, stop_after=stop_after, progress=progress, library=library
    )
    resumed = newest_checkpoint(folder)
    first = _kept_first_loss(folder) if resumed is not None else None
    if first is None:
        first = float(trainer.evaluate()["eval_loss"])
        (folder / "base_val_loss.json").write_text(json.dumps(first), encoding="utf-8")
    trainer.train(resume_from_checkpoint=None if resumed is None else str(resumed))
    adapter = folder / "adapter"
    trainer.model.save_pretrained(str(adapter))
    return _outcome(trainer, adapter, first, model)


def newest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint with the most steps that is whole."""
    found = [path for path in folder.glob("checkpoint-*") if (path / "trainer_state.json").is_file()]
    return max(found, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def _with_lora(local: LocalModel, knobs: LoraKnobs) -> Any:
    """The frozen model with trainable adapters on the chosen projections of the language model, and of the vision tower if asked."""
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training

    model = local.model
    if knobs.four_bit:
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    # A pattern, not a list: Qwen2.5-VL's vision tower has gate_proj, up_proj and down_proj of its own, and must stay frozen.
    places = [rf".*language_model.*\.({'|'.join(knobs.target_modules)})"]
    if knobs.train_vision:
        places.append(rf".*visual\.blocks.*\.({'|'.join(VISION)})")
    config = LoraConfig(
        r=knobs.rank, lora_alpha=knobs.alpha, lora_dropout=knobs.dropout, bias="none", task_type="CAUSAL_LM",
        target_modules="|".join(places),
    )  # fmt: skip
    with names_of_old():
        return get_peft_model(model, config)


def _trainer(
    local: LocalModel,
    train: Sequence[Record],
    val: Sequence[Record],
    folder: Path,
    knobs: LoraKnobs,
    *,
    stop_after: int | None,
    progress: bool,
    library: LibrarySettings | None,
) -> Any:
    from transformers import EarlyStoppingCallback, ProgressCallback, Trainer
    from transformers.trainer_callback import PrinterCallback

    pad = local.processor.tokenizer.pad_token_id
    trainer = Trainer(
        model=local.model,
        args=_arguments(folder, knobs, len(train), on_cpu=local.device.type == "cpu", progress=progress),
        train_dataset=_Examples(local, train, knobs.max_side_px, library),
        eval_dataset=_Examples(local, val, knobs.max_side_px, library),
        data_collator=lambda examples: collate(examples, pad),
        callbacks=[EarlyStoppingCallback(knobs.patience), *([_StopAfter(stop_after)] if stop_after is not None else [])],
    )
    for noisy in (PrinterCallback, *(() if progress else (ProgressCallback,))):
        trainer.remove_callback(noisy)
    return trainer


def _arguments(folder: Path, knobs: LoraKnobs, records: int, *, on_cpu: bool, progress: bool) -> Any:
    import torch
    from transformers import TrainingArguments

    per_epoch = max(1, -(-records // (knobs.batch_size * knobs.accumulation)))  # optimiser steps
    every = max(1, per_epoch // knobs.evaluations_per_epoch)
    # Newer versions of transformers have another name, and warn at the old one.
    known = {field.name for field in dataclasses.fields(TrainingArguments)}
    prefix = "activation" if "activation_checkpointing" in known else "gradient"
    memory: dict[str, Any] = {
        f"{prefix}_checkpointing": knobs.gradient_checkpointing,
        f"{prefix}_checkpointing_kwargs": {"use_reentrant": False},
    }
    return TrainingArguments(
        output_dir=str(folder), num_train_epochs=knobs.epochs, learning_rate=knobs.learning_rate, lr_scheduler_type="cosine",
        warmup_steps=knobs.warmup, per_device_train_batch_size=knobs.batch_size, per_device_eval_batch_size=knobs.batch_size,
        gradient_accumulation_steps=knobs.accumulation, eval_strategy="steps", save_strategy="steps", eval_steps=every, save_steps=every,
        logging_steps=max(1, every // 10), save_total_limit=2, load_best_model_at_end=True, metric_for_best_model="eval_loss",
        greater_is_better=False, seed=knobs.seed, report_to="none", remove_unused_columns=False, label_names=["labels"],
        use_cpu=on_cpu, bf16=not on_cpu and torch.cuda.is_bf16_supported(), dataloader_pin_memory=not on_cpu,
        disable_tqdm=not progress, **memory,
    )  # fmt: skip


class _Examples:
    """Records as training examples, encoded when they are asked for: pictures of a whole library do not fit into memory."""

    def __init__(self, local: LocalModel, records: Sequence[Record], max_side_px: int, library: LibrarySettings | None) -> None:
        self.local, self.records, self.max_side_px, self.library = local, records, max_side_px, library

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, at: int) -> dict[str, torch.Tensor]:
        return encode(self.local, self.records[at], max_side_px=self.max_side_px, library=self.library)


def _StopAfter(steps: int) -> Any:
    from transformers import TrainerCallback

    class StopAfter(TrainerCallback):
        """Ends the training after so many steps, with a checkpoint, as a machine that is taken away would leave it."""

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
            if state.global_step >= steps:
                control.should_save = control.should_training_stop = True
            return control

    return StopAfter()


def _kept_first_loss(folder: Path) -> float | None:
    file = folder / "base_val_loss.json"
    return float(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else None


def _outcome(trainer: Any, adapter: Path, first: float, model: Any) -> Training:
    history: list[Mapping[str, Any]] = trainer.state.log_history
    trainable, parameters = model.get_nb_trainable_parameters()
    val_curve = tuple((int(line["step"]), float(line["eval_loss"])) for line in history if "eval_loss" in line and line["step"])
    best = min(val_curve, key=lambda point: point[1], default=(trainer.state.global_step, first))
    return Training(
        adapter=adapter,
        steps=int(trainer.state.global_step),
        best_step=best[0],
        best_val_loss=best[1],
        first_val_loss=first,
        train_curve=tuple((int(line["step"]), float(line["loss"])) for line in history if "loss" in line),
        val_curve=val_curve,
        trainable=int(trainable),
        parameters=int(parameters),
        stopped_early=trainer.state.global_step < trainer.state.max_steps,
    )


def merge(base: str, adapter: Path, out: Path) -> Path:
    """Write the base model with the adapter folded into its weights: one folder that any server can load."""
    if out.exists() and any(out.iterdir()):
        raise VlmError(f"{out}: exists and is not empty; give another folder")
    local = load_local(base, adapter=adapter, device="cpu")
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    local.model.merge_and_unload().save_pretrained(str(temporary))
    local.processor.save_pretrained(str(temporary))
    if out.exists():
        out.rmdir()
    temporary.rename(out)
    return out
