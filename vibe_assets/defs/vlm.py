"""Tags and labels -> [vlm]: instruction data and a LoRA adapter. A study: jobs start it, never conditions."""

import dagster as dg

from vibe_assets.defs.checks.gate import gate_check
from vibe_assets.defs.metadata import counts_table, stored
from vibe_assets.defs.resources import Installation
from vibe_assets.records.tags import INSTRUCTION_DATASET
from vibe_assets.vlm import gates
from vibe_assets.vlm.adapters import card_markdown, finetune_adapter
from vibe_assets.vlm.instructions import DatasetKnobs, Origin, build_dataset
from vibe_assets.vlm.lora import PROJECTIONS, LoraKnobs

OWNERS = ["team:vlm"]


class DatasetConfig(dg.Config):
    """What becomes instruction data."""

    origin: str = "tagged"  # tagged: people's tags; auto: the teacher's labels (distillation); both
    min_tags: int | None = None  # None: vlm.min_tags
    max_samples: int | None = None
    benchmark_batches: list[str] = []  # noqa: RUF012 - kept for judging, whatever the split of their photos
    rebuild: bool = False  # False: what is in the data stays in it, new photos are added
    seed: int = 42

    def knobs(self) -> DatasetKnobs:
        origin: dict[str, Origin] = {"tagged": "tagged", "auto": "auto", "both": "both"}
        if self.origin not in origin:
            raise dg.DagsterInvalidConfigError(f"origin: expected one of {', '.join(origin)}, got {self.origin!r}", [], {})
        batches = tuple(self.benchmark_batches)
        return DatasetKnobs(origin[self.origin], self.min_tags, self.max_samples, batches, self.rebuild, self.seed)


class LoraConfig(dg.Config):
    """Every knob of a fine-tuning; the same base, data and knobs are not trained twice."""

    name: str = "tags-lora"  # of the adapter, and of the model on the leaderboard
    base: str  # a [vlm.models.NAME] with `local`, a folder, or a hub name such as Qwen/Qwen2.5-VL-3B-Instruct
    learning_rate: float = 2e-4
    rank: int = 16
    alpha: int = 32
    dropout: float = 0.05
    target_modules: list[str] = list(PROJECTIONS)  # noqa: RUF012
    train_vision: bool = False
    epochs: float = 3.0
    batch_size: int = 4
    accumulation: int = 8
    warmup: float = 0.03  # share of all steps; then a cosine
    patience: int = 2  # evaluations without a lower validation loss
    evaluations_per_epoch: int = 1
    max_side_px: int = 768
    gradient_checkpointing: bool = True
    four_bit: bool = False  # NF4 by bitsandbytes, on CUDA only
    seed: int = 42

    def knobs(self) -> LoraKnobs:
        chosen = self.model_dump(exclude={"name", "base"})
        return LoraKnobs(**{**chosen, "target_modules": tuple(self.target_modules)})


@dg.asset(
    deps=["tagged_photos", "auto_ground_truth", "photo_groups"],
    group_name="vlm",
    kinds={"python", "json"},
    owners=OWNERS,
    code_version="1",
    description="Questions with a picture and the tags as answer, split by the groups of the whole platform; nothing padded or made up, "
    "and no photo that judges.",
)
def instruction_dataset(context: dg.AssetExecutionContext, config: DatasetConfig, installation: Installation) -> dg.MaterializeResult:
    """Choose, check and write the records."""
    platform = installation.open(context)
    made = build_dataset(platform, config.knobs())
    facts = made.statistics
    left_out = counts_table("left out", facts.pop("left_out"))
    numbers = {name: value for name, value in facts.items() if isinstance(value, int | float)}
    files = {"train file": dg.MetadataValue.path(str(made.train)), "val file": dg.MetadataValue.path(str(made.val))}
    return stored(platform, INSTRUCTION_DATASET, made.rows, statistics=counts_table("", numbers), left_out=left_out, **files)


@dg.asset(
    deps=[instruction_dataset],
    group_name="vlm",
    kinds={"pytorch", "huggingface"},
    owners=OWNERS,
    code_version="1",
    pool="vlm",
    description="A LoRA adapter on a Qwen2.5-VL or Qwen3-VL, learnt from the answers alone with the picture in the batch; resumable, "
    "judged against its base before it may be called promoted.",
)
def lora_adapter(context: dg.AssetExecutionContext, config: LoraConfig, installation: Installation) -> dg.MaterializeResult:
    """Fine-tune, and judge against the base."""
    from vibe_assets.vlm.charts import losses

    done = finetune_adapter(installation.open(context), config.name, config.base, config.knobs())
    curve = {} if done.training is None else {"loss curves": dg.MetadataValue.md(f"![loss curves]({losses(done.training)})")}
    return dg.MaterializeResult(
        data_version=dg.DataVersion(done.card["adapter_version"]),
        metadata={
            "card": dg.MetadataValue.md(card_markdown(done.card)),
            "folder": dg.MetadataValue.path(str(done.folder)),
            "verdict": done.card["verdict"],
            "promoted": done.card["promoted"],
            "trained": done.training is not None,
            "validation loss": done.card["losses"]["best_val"],
            **curve,
        },
    )


checks = [
    gate_check(instruction_dataset, "records_valid", gates.records_valid),
    gate_check(instruction_dataset, "no_benchmark_photo", gates.no_benchmark_photo),
    gate_check(lora_adapter, "beats_base", gates.beats_base, blocking=False),
]
assets: list[dg.AssetsDefinition | dg.AssetSpec] = [instruction_dataset, lora_adapter]
