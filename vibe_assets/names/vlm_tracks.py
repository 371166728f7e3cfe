"""Chips and a vision-language model, handed in by the caller, go in; tracks come out: classification head, open question, multiple choice.

The model's own room is not imported here: whoever calls brings what loads, batches and fine-tunes it.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from vibe_assets.names.probes import BETA, peak_memory_mb
from vibe_assets.names.questions import OPEN_PROMPT, FaceFile, Question, choice_questions, open_questions, read_choice, read_open
from vibe_assets.names.results import Track

if TYPE_CHECKING:
    import torch
    from PIL import Image

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
ANSWER_TOKENS = 12
MODES = ("head", "open", "choice")


class VisionLanguage(Protocol):
    """A loaded model: weights, processor, one question as tokens, one greedy answer."""

    @property
    def model(self) -> Any: ...

    @property
    def processor(self) -> Any: ...

    def prompt_tokens(self, prompt: str, picture: Image.Image) -> dict[str, torch.Tensor]: ...

    def answer(self, prompt: str, picture: Image.Image, *, max_tokens: int) -> tuple[str, int, int]: ...


@dataclass(frozen=True)
class Tools:
    """What the caller brings: `load` an adapter or None, `collate` examples with a padding token, `finetune` on questions into a
    folder below the one that is given, named by base, questions and options of the training."""

    base: str
    load: Callable[[Path | None], VisionLanguage]
    collate: Callable[[Sequence[dict[str, torch.Tensor]], int], dict[str, torch.Tensor]]
    finetune: Callable[[Sequence[Question], Sequence[Question], Path], Path]
    read: Callable[[str], Image.Image]


@dataclass(frozen=True)
class HeadKnobs:
    """Training of the classification head. LoRA: Hu et al. 2021; alpha / rank scales the update."""

    rank: int = 64
    alpha: int = 128
    dropout: float = 0.05
    beta: float = BETA  # class-balanced weights; 0 weighs every face alike
    learning_rate: float = 2e-4
    epochs: int = 2
    batch_size: int = 8
    seed: int = 42


def run_mode(
    mode: str, faces: Sequence[FaceFile], names: Sequence[str], tools: Tools, folder: Path, *, knobs: HeadKnobs | None = None,
    options: int = 5, tune: bool = True, facts: Mapping[str, Any] | None = None,
) -> Track:  # fmt: skip
    """Train on train, choose on val, judge on test. `tune=False` asks the model as it is (not for the head).

    Raises ValueError for an unknown mode.
    """
    knobs = knobs or HeadKnobs()
    started = time.perf_counter()
    sides = {split: [face for face in faces if face.split == split] for split in ("train", "val", "test")}
    if mode == "head":
        made = _head(sides, names, tools, knobs)
    elif mode == "open":
        questions = {split: open_questions(part, names) for split, part in sides.items()}
        made = _asked(questions, names, tools, folder, lambda text, _: read_open(text, names), tune=tune)
    elif mode == "choice":
        questions = {split: choice_questions(part, names, options=options, seed=knobs.seed) for split, part in sides.items()}
        made = _asked(questions, names, tools, folder, lambda text, one: read_choice(text, one, names), tune=tune)
        made["config"] |= {"options": options, **_positions(made["config"].pop("picked"), questions["test"])}
    else:
        raise ValueError(f"mode: expected one of {', '.join(MODES)}, got {mode!r}")
    made["config"].pop("picked", None)
    counts = np.bincount([face.name for face in sides["train"]], minlength=len(names))
    config = {
        "kind": "vlm", "mode": mode, "base": tools.base, "fine_tuned": tune or mode == "head", **(facts or {}), **made["config"],
        **{f"{split}_samples": len(part) for split, part in sides.items()}, "num_classes": len(names), "majority": int(counts.argmax()),
        "most_frequent": np.argsort(-counts, kind="stable")[:30].tolist(), "seconds": round(time.perf_counter() - started, 3),
        "peak_memory_mb": peak_memory_mb(),
    }  # fmt: skip
    truth = np.array([face.name for face in sides["test"]], dtype=np.int64)
    groups = np.array([face.group for face in sides["test"]], dtype=np.int64)
    return Track(f"vlm_{mode}", tuple(made["names"]), made["predictions"], truth, config, groups, made.get("ranks"), made.get("log", ()))


# -- asking ------------------------------------------------------------------------------------------------------------
def _asked(
    questions: Mapping[str, Sequence[Question]],
    names: Sequence[str],
    tools: Tools,
    folder: Path,
    read: Callable[[str, Question], int],
    *,
    tune: bool,
) -> dict[str, Any]:
    """Fine-tune on the questions of train and val, then ask those of test."""
    adapter = tools.finetune(questions["train"], questions["val"], folder) if tune else None
    model = tools.load(adapter)
    texts = [model.answer(one.prompt, tools.read(one.face.path), max_tokens=ANSWER_TOKENS)[0] for one in questions["test"]]
    picked = [read(text, one) for text, one in zip(texts, questions["test"], strict=True)]
    return {
        "predictions": np.array(picked, dtype=np.int64),
        "names": names,
        "config": {"unreadable_answers": picked.count(len(names)), "picked": picked, "adapter": str(adapter) if adapter else None},
    }


def _positions(picked: Sequence[int], questions: Sequence[Question]) -> dict[str, Any]:
    """How often each place was picked: a model that prefers a letter shows here, and costs accuracy, never adds to it."""
    places = [one.options.index(name) for name, one in zip(picked, questions, strict=True) if name in one.options]
    return {"picked_places": np.bincount(places, minlength=len(questions[0].options)).tolist()}


# -- classification head -----------------------------------------------------------------------------------------------
def _head(sides: Mapping[str, Sequence[FaceFile]], names: Sequence[str], tools: Tools, knobs: HeadKnobs) -> dict[str, Any]:
    """LoRA on the language model and a linear layer on its last hidden state, trained together with class-balanced weights."""
    import torch
    from torch.nn import functional

    from vibe_assets.heads.margins import effective_number_weights

    with torch.random.fork_rng():
        torch.manual_seed(knobs.seed)
        local = tools.load(None)
        body, trainable = _with_lora(local.model, knobs)
        device, dtype = trainable[0].device, trainable[0].dtype
        head = torch.nn.Linear(body.config.get_text_config().hidden_size, len(names)).to(device)
        counts = torch.bincount(torch.tensor([face.name for face in sides["train"]]), minlength=len(names))
        weights = effective_number_weights(counts, knobs.beta).to(device) if knobs.beta else torch.ones(len(names), device=device)
        parts: list[dict[str, Any]] = [{"params": trainable}, {"params": list(head.parameters()), "lr": 5 * knobs.learning_rate}]
        optimiser = torch.optim.AdamW(parts, lr=knobs.learning_rate)

        def logits_of(part: Sequence[FaceFile]) -> torch.Tensor:
            examples = [local.prompt_tokens(OPEN_PROMPT, tools.read(face.path)) for face in part]
            batch = {name: value.to(device) for name, value in tools.collate(examples, local.processor.tokenizer.pad_token_id).items()}
            hidden = body(**batch).last_hidden_state  # (b, t, h)
            last = batch["attention_mask"].sum(dim=1) - 1  # padded on the right
            return head(hidden[torch.arange(len(part), device=device), last].float())

        def ranks_of(part: Sequence[FaceFile]) -> tuple[np.ndarray, np.ndarray]:
            """Answers and ranks of the true names."""
            local.model.eval()
            with torch.inference_mode():
                logits = torch.cat([logits_of(chunk).cpu() for chunk in _chunks(part, knobs.batch_size)])
            true = logits.gather(1, torch.tensor([face.name for face in part])[:, None])
            ranks = 1.0 + (logits > true).sum(dim=1) + ((logits == true).sum(dim=1) - 1) / 2
            return logits.argmax(dim=1).numpy().astype(np.int64), ranks.double().numpy()

        best, kept, log = -1.0, [], []
        for epoch in range(1, knobs.epochs + 1):
            local.model.train()
            seen = 0.0
            order = torch.randperm(len(sides["train"])).tolist()
            for chunk in _chunks([sides["train"][at] for at in order], knobs.batch_size):
                targets = torch.tensor([face.name for face in chunk], device=device)
                each = functional.cross_entropy(logits_of(chunk), targets, reduction="none")
                loss = (each * weights[targets]).mean()
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                seen += float(loss.detach()) * len(chunk)
            val = float((1 / ranks_of(sides["val"])[1]).mean())
            log.append({"epoch": epoch, "train_loss": round(seen / len(order), 6), "val_mrr": round(val, 6)})
            if val > best:
                best, kept = val, [parameter.detach().clone() for parameter in (*trainable, *head.parameters())]
        with torch.no_grad():
            for parameter, value in zip((*trainable, *head.parameters()), kept, strict=True):
                parameter.copy_(value)
        predictions, ranks = ranks_of(sides["test"])
    config = {**asdict(knobs), "trainable_parameters": sum(p.numel() for p in (*trainable, *head.parameters())), "precision": str(dtype)}
    return {"predictions": predictions, "ranks": ranks, "names": list(names), "config": config, "log": log}


def _with_lora(model: Any, knobs: HeadKnobs) -> tuple[Any, list[torch.nn.Parameter]]:
    """Freeze the model, put adapters on the language model's projections; its body without the output layer, and what is to be trained."""
    from peft import LoraConfig, get_peft_model

    pattern = rf".*language_model.*\.({'|'.join(PROJECTIONS)})"  # the vision tower has projections of the same names, and stays frozen
    config = LoraConfig(r=knobs.rank, lora_alpha=knobs.alpha, lora_dropout=knobs.dropout, bias="none", target_modules=pattern)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*gradient_checkpointing.*", category=FutureWarning)  # of peft, on newer transformers
        wrapped: Any = get_peft_model(model, config)
    return wrapped.base_model.model.model, [parameter for parameter in wrapped.parameters() if parameter.requires_grad]


def _chunks(items: Sequence[FaceFile], size: int) -> list[Sequence[FaceFile]]:
    return [items[start : start + size] for start in range(0, len(items), size)]
