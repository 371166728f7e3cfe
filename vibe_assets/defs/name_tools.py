"""The VLM room's loading and fine-tuning, handed to the names study as `Tools`: the two rooms do not know each other."""

from collections.abc import Sequence
from pathlib import Path

from vibe_assets.names.questions import Question
from vibe_assets.names.vlm_tracks import Tools
from vibe_assets.records import fingerprint
from vibe_assets.vlm.local import collate, load_local
from vibe_assets.vlm.lora import LoraKnobs, Record, finetune, read_picture

SIDE_PX = 448  # of a chip as the model sees it


def vlm_tools(
    base: str,
    *,
    device: str = "auto",
    rank: int = 64,
    epochs: float = 2,
    batch_size: int = 8,
    learning_rate: float = 2e-4,
    side_px: int = SIDE_PX,
) -> Tools:
    """Tools around one base model. Loading and training raise VlmError, worded for a user."""
    knobs = LoraKnobs(
        rank=rank, alpha=2 * rank, epochs=epochs, batch_size=batch_size, accumulation=1, learning_rate=learning_rate, max_side_px=side_px
    )

    def tune(train: Sequence[Question], val: Sequence[Question], folder: Path) -> Path:
        asked = [[[one.face.image_id, one.prompt, one.answer] for one in part] for part in (train, val)]
        run = folder / knobs.version(base, fingerprint({"questions": asked}))  # checkpoints of another training are not gone on with
        return finetune(base, _records(train), _records(val), run, knobs=knobs, device=device, progress=False).adapter

    return Tools(
        base=base,
        load=lambda adapter: load_local(base, adapter=adapter, device=device),
        collate=collate,
        finetune=tune,
        read=lambda path: read_picture(path, side_px),
    )


def _records(questions: Sequence[Question]) -> list[Record]:
    return [Record(one.face.image_id, one.face.path, one.prompt, one.answer) for one in questions]
