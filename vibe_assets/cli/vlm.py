"""Instruction data, fine-tuning and merging by hand: the same stages as the assets, without Dagster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from vibe_assets.cli.app import OUT, SEED, Number, main, platform, show, tell


@main.group()
def vlm() -> None:
    """Teach an open vision-language model your tags: instruction data, LoRA fine-tuning, merging."""


@vlm.command("dataset")
@click.option("--origin", default="tagged", show_default=True, type=click.Choice(["tagged", "auto", "both"]),
              help="tagged: people's tags; auto: the teacher's labels (distillation).")  # fmt: skip
@click.option("--min-tags", type=click.IntRange(min=1), help="Photos with fewer are left out (default: vlm.min_tags).")
@click.option("--max-samples", type=click.IntRange(min=2), help="Records at the most.")
@click.option("--keep-for-benchmark", "benchmark_batches", multiple=True, help="Batch whose photos only judge; may be given several times.")
@click.option("--rebuild", is_flag=True, help="Choose anew; without it, what is in the data stays in it.")
@click.option("--seed", default=42, show_default=True, type=SEED, help="Seed of split and order.")
def vlm_dataset(**chosen: Any) -> None:
    """Build instruction data from tagged photos; nothing is padded or made up, and no photo that judges enters."""
    from vibe_assets.vlm.instructions import DatasetKnobs, build_dataset

    made = build_dataset(platform(), DatasetKnobs(**chosen))
    facts = made.statistics
    left_out = facts.pop("left_out")
    rows = [*facts.items(), *((f"left out: {reason}", count) for reason, count in left_out.items())]
    show("Instruction data", ["figure", "value"], rows, name="figures")
    tell(f"{made.train}\n{made.val}", train=made.train, val=made.val)


@vlm.command("finetune")
@click.argument("base")
@click.option("--name", default="tags-lora", show_default=True, help="Of the adapter, and of the model on the leaderboard.")
@click.option(
    "--learning-rate",
    default=2e-4,
    show_default=True,
    type=Number(min=0, min_open=True),
    help="Peak learning rate; falls as a cosine after the warm-up.",
)
@click.option("--rank", default=16, show_default=True, type=click.IntRange(min=1), help="64 for a stronger adapter.")
@click.option("--alpha", default=32, show_default=True, type=click.IntRange(min=1), help="LoRA alpha: updates are scaled by alpha / rank.")
@click.option("--dropout", default=0.05, show_default=True, type=Number(0, 1, max_open=True), help="Dropout in front of the LoRA matrices.")
@click.option("--target", "target_modules", multiple=True, help="Projection of the language model (default: all seven).")
@click.option("--train-vision", is_flag=True, help="Adapt the vision tower, too.")
@click.option(
    "--epochs",
    default=3.0,
    show_default=True,
    type=Number(min=0, min_open=True),
    help="Passes over the training records at the most.",
)
@click.option("--batch-size", default=4, show_default=True, type=click.IntRange(min=1), help="Records a step holds in memory at once.")
@click.option("--accumulation", default=8, show_default=True, type=click.IntRange(min=1), help="Batches per step.")
@click.option("--warmup", default=0.03, show_default=True, type=Number(0, 1, max_open=True), help="Share of all steps.")
@click.option("--patience", default=2, show_default=True, type=click.IntRange(min=1), help="Evaluations without a lower validation loss.")
@click.option("--max-side", "max_side_px", default=768, show_default=True, type=click.IntRange(min=28), help="Longest side in pixels.")
@click.option("--no-checkpointing", is_flag=True, help="Keep all activations: faster, more memory.")
@click.option("--four-bit", is_flag=True, help="NF4 weights by bitsandbytes; CUDA only.")
@click.option("--seed", default=42, show_default=True, type=SEED, help="Seed of split and order.")
def vlm_finetune(base: str, name: str, no_checkpointing: bool, target_modules: tuple[str, ...], **chosen: Any) -> None:
    """Fine-tune BASE (a [vlm.models.NAME] with `local`, a folder, or a hub name) on the instruction data.

    A run that was cut off goes on from its newest checkpoint when the same command is given again.

    \b
    Example: vibe vlm finetune Qwen/Qwen2.5-VL-3B-Instruct --name my-tags --four-bit
    """
    from vibe_assets.stages.notes import noted
    from vibe_assets.vlm.adapters import finetune_adapter
    from vibe_assets.vlm.lora import PROJECTIONS, LoraKnobs

    knobs = LoraKnobs(**chosen, target_modules=target_modules or PROJECTIONS, gradient_checkpointing=not no_checkpointing)
    home = platform()
    with noted(home, "lora_adapter"):
        done = finetune_adapter(home, name, base, knobs)
    if done.training is None:
        tell("the same base, data and knobs were trained before; nothing to do")
    tell(done.card["verdict"], verdict=done.card["verdict"], trained=done.training is not None)
    state = "promoted" if done.card["promoted"] else "on trial"
    tell(f"{done.folder}: {state}; `vibe tags benchmark --model {name}` ranks it", folder=done.folder, promoted=done.card["promoted"])


@vlm.command("merge")
@click.argument("name")
@click.argument("out", type=OUT)
def vlm_merge(name: str, out: Path) -> None:
    """Write the adapter NAME folded into its base to the folder OUT, for any server to load.

    \b
    Example: vibe vlm merge my-tags ~/models/my-tags && vllm serve ~/models/my-tags
    """
    from vibe_assets.vlm.failures import VlmError
    from vibe_assets.vlm.lora import merge
    from vibe_assets.vlm.registry import model_named

    model = model_named(platform(), name)
    if model.adapter is None:
        raise VlmError(f"{name} has no adapter; `vibe tags models` shows which have one")
    folder = merge(model.source, model.adapter, out.expanduser().resolve())
    tell(folder, folder=folder)
