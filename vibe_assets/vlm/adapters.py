"""Instruction data and a base model become an adapter with a card that says whether it may be called promoted, and why."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from vibe_assets.evaluate.intervals import paired_randomisation
from vibe_assets.lake import write_text
from vibe_assets.records import PhotoRef, fingerprint
from vibe_assets.settings import TaggerSettings
from vibe_assets.stages.platform import Platform
from vibe_assets.vlm.failures import VlmError
from vibe_assets.vlm.instructions import data_version, records
from vibe_assets.vlm.local import checked_source
from vibe_assets.vlm.lora import LoraKnobs, Training, finetune
from vibe_assets.vlm.match import Meaning
from vibe_assets.vlm.predict import ask
from vibe_assets.vlm.registry import CARD, Model, adapters_dir, models, prompt_of, read_card
from vibe_assets.vlm.score import QUALITY, Difference, Scores, estimates, paired, photo_figures

NAME = re.compile(r"[a-z0-9](?:-?[a-z0-9]){0,29}")
MAX_P = 0.05


@dataclass(frozen=True)
class Finetuned:
    """An adapter, how it was trained (None where the same training lay there already), and its card."""

    name: str
    folder: Path
    training: Training | None
    card: dict[str, Any]


def finetune_adapter(platform: Platform, name: str, base: str, knobs: LoraKnobs | None = None) -> Finetuned:
    """Train, judge against the base on the validation split, write the card. The same base, data and knobs are not trained twice.

    Raises VlmError when the name cannot be one, there are no records, or the base cannot be loaded.
    """
    knobs = knobs or LoraKnobs()
    if not NAME.fullmatch(name) or name in platform.settings.vlm.models:
        raise VlmError(
            f"{name!r}: an adapter's name has lowercase letters, digits and single '-' (at most 30), and is no model's of the settings"
        )
    source = base_source(platform, base)
    train, _ = records(platform, "train")
    val, judged = records(platform, "val")
    version = knobs.version(source, data_version(platform))
    folder = adapters_dir(platform) / name
    if (folder / CARD).is_file() and (card := read_card(folder / CARD)).get("version") == version and (folder / "adapter").is_dir():
        return Finetuned(name, folder, None, card)
    run = folder / f"run-{version}"  # holds the checkpoints: a run that was cut off goes on here
    training = finetune(
        source, train, val, run, knobs=knobs, device=platform.settings.vlm.device, progress=platform.progress,
        library=platform.settings.library,
    )  # fmt: skip
    (folder / CARD).unlink(missing_ok=True)  # between the two lines below the folder holds no adapter with a card of another
    shutil.rmtree(folder / "adapter", ignore_errors=True)
    training.adapter.rename(folder / "adapter")
    training = dataclasses.replace(training, adapter=folder / "adapter")
    card = _card(platform, name, source, knobs, training, version, judged)
    write_text(folder / CARD, json.dumps(card, indent=2, ensure_ascii=False) + "\n")
    write_text(folder / "README.md", card_markdown(card))
    for old in folder.glob("run-*"):
        shutil.rmtree(old, ignore_errors=True)
    return Finetuned(name, folder, training, card)


def base_source(platform: Platform, base: str) -> str:
    """A local model of the settings by its name, a folder, or a hub name."""
    found = models(platform).get(base)
    if found is not None and not found.local:
        raise VlmError(f"{base} is an endpoint; fine-tuning needs weights: give a folder, a hub name or a [vlm.models.NAME] with `local`")
    if found is not None:
        return found.source
    folder = platform.settings.base / Path(base).expanduser()
    return checked_source(str(folder.resolve()) if folder.is_dir() else base)


def _card(
    platform: Platform, name: str, source: str, knobs: LoraKnobs, training: Training, version: str, judged: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    import peft
    import torch
    import transformers

    adapted, alone, difference, p_better = judge_adapter(platform, name, source, training.adapter, judged)
    promoted = difference is not None and difference.delta.value > 0 and p_better < MAX_P
    figures = {who: {figure: dataclasses.asdict(one) for figure, one in estimates(found.quality, found.groups).items()}
               for who, found in (("base", alone), ("adapter", adapted))}  # fmt: skip
    return {
        "name": name, "base": source, "version": version, "promoted": promoted, "verdict": verdict(difference, p_better),
        "adapter_version": Model(name, TaggerSettings.model_validate({"local": source}), source, training.adapter).adapter_version,
        "knobs": dataclasses.asdict(knobs), "data_version": data_version(platform), "prompt": fingerprint({"prompt": prompt_of(platform)}),
        "records": {"train": len(records(platform, "train")[0]), "val": len(judged)},
        "losses": {"base_val": training.first_val_loss, "best_val": training.best_val_loss, "best_step": training.best_step,
                   "steps": training.steps, "stopped_early": training.stopped_early},
        "validation": {**figures, "p_better": p_better,
                       "delta_recall": None if difference is None else dataclasses.asdict(difference.delta)},
        "trainable_parameters": training.trainable, "parameters": training.parameters,
        "libraries": {"torch": torch.__version__, "transformers": transformers.__version__, "peft": peft.__version__},
        "run_id": platform.run_id, "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }  # fmt: skip


def judge_adapter(
    platform: Platform, name: str, source: str, adapter: Path, judged: Sequence[dict[str, Any]]
) -> tuple[Scores, Scores, Difference | None, float]:
    """(adapter, base, recall of the adapter minus that of the base, one-sided p that it is no better) on validation photos."""
    like = next((one.settings for one in models(platform).values() if one.local and one.source == source), None)
    settings = like or TaggerSettings.model_validate({"local": source})
    refs = [PhotoRef(row["image_id"], row["path_bytes"], row["image_id"]) for row in judged]
    meaning, found = Meaning(platform.questions), []
    for model in (Model(name, settings, source, adapter), Model(f"{name}-base", settings, source)):
        answers = ask(platform, model, refs)
        figures = [photo_figures(_said(answers[row["image_id"]]), row["ground_truth_tags"], meaning) for row in judged]
        ids, groups = tuple(row["image_id"] for row in judged), tuple(str(row["group_id"] or row["image_id"]) for row in judged)
        quality = {figure: np.array([one[figure] for one in figures]) for figure in QUALITY}
        nothing = np.full(len(judged), np.nan)
        found.append(
            Scores(model.identity, "local", model.name, None, ids, ("",) * len(ids), groups, quality, nothing, nothing, nothing, nothing)
        )
    adapted, alone = found
    p_better = paired_randomisation(alone.quality["recall"] - adapted.quality["recall"], adapted.groups)
    return adapted, alone, paired(adapted, alone), p_better


def _said(record: dict[str, Any]) -> list[str]:
    annotation = record.get("annotation")
    return list(annotation["tags"]) if isinstance(annotation, dict) else []


def verdict(difference: Difference | None, p_better: float) -> str:
    """The outcome in a sentence."""
    if difference is None:
        return "No validation photo to judge on."
    delta = difference.delta
    text = f"Recall on {delta.n} validation photos is {100 * delta.value:+.1f} points against the base (95 % interval "
    text += f"{100 * delta.low:+.1f} to {100 * delta.high:+.1f}, one-sided p = {p_better:.3g})"
    better = delta.value > 0 and p_better < MAX_P
    return f"{text}: " + (
        "it beats its base." if better else "that may be chance, so it stays on trial." if delta.value > 0 else "it is no better."
    )


def card_markdown(card: dict[str, Any]) -> str:
    """The card for people."""
    losses, knobs = card["losses"], card["knobs"]
    rows = {
        "base": f"`{card['base']}`", "adapter": f"`{card['adapter_version']}`",
        "records": f"{card['records']['train']} to train on, {card['records']['val']} to validate",
        "validation loss": f"{losses['base_val']:.3f} before, {losses['best_val']:.3f} at step {losses['best_step']} of {losses['steps']}",
        "LoRA": ", ".join(f"{name.replace('_', ' ')} {knobs[name]:g}" for name in ("rank", "alpha", "dropout", "learning_rate", "seed")),
        "trained parameters": f"{card['trainable_parameters']:,} of {card['parameters']:,}",
        "data": f"`{card['data_version']}`", "status": "promoted" if card["promoted"] else "on trial",
    }  # fmt: skip
    lines = [f"# {card['name']}", "", card["verdict"], "", "| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())]
    return "\n".join([*lines, "", "Photos that it was trained on, and their near-duplicates, never judge it on the leaderboard.", ""])
