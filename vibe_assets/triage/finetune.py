"""Photos of compared series and a transformers encoder go in; the encoder with its last blocks tuned comes out, as a folder like any other.

The tuned encoder is saved in the hub's layout with a fingerprint of its own, so embedding, caching and training need to know nothing of
it: `learn.tuned_settings` points them to it.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vibe_assets.lake import write_text
from vibe_assets.records import PhotoRef, fingerprint
from vibe_assets.records.series import PHOTO_SERIES, SERIES_PREFERENCES
from vibe_assets.settings import EncoderSettings, LibrarySettings, TriageSettings
from vibe_assets.stages.platform import Platform, StageError

if TYPE_CHECKING:
    from torch import nn

    from vibe_assets.heads.series_data import SeriesSet

BATCH = 8  # series: every photo of a batch goes through the encoder with gradients
RATE = 1e-3  # of the scorer on top
FULL_PX = 8192  # longest side that a model may still want: only larger photos come smaller than they are
NOTE = "tuned_from.json"


def fine_tune_encoder(platform: Platform) -> Path:
    """Tune [encoder] on the train series and save it below the triage folder; the same inputs again change nothing.

    Raises StageError for an encoder that is not of transformers.
    """
    from vibe_assets.encoders.base import load_encoder
    from vibe_assets.triage.learn import study_set

    target = platform.settings.triage_dir / "encoder"
    kind = platform.settings.encoder.name.partition(":")[0]
    if kind not in ("siglip", "hf"):
        raise StageError(
            f"triage.fine_tune_blocks = {platform.settings.triage.fine_tune_blocks} needs a transformers encoder (siglip:NAME or hf:NAME), "
            f"[encoder] name is {platform.settings.encoder.name!r}; set it to 0, or choose such an encoder"
        )
    note, settings = target / NOTE, platform.settings.triage
    encoder = load_encoder(platform.settings.encoder)
    wanted = fingerprint(
        {
            "encoder": encoder.fingerprint,
            "preferences": platform.lake.version(SERIES_PREFERENCES),
            "series": trained_on(platform),
            "settings": settings.model_dump(include={"fine_tune_blocks", "fine_tune_rate", "fine_tune_epochs", "seed"}),
        }
    )
    if note.is_file() and json.loads(note.read_text(encoding="utf-8")).get("version") == wanted:
        return target
    shutil.rmtree(target, ignore_errors=True)
    study = study_set(platform)  # by the untuned encoder, since the target is gone
    rows = platform.lake.read(PHOTO_SERIES).unique("image_id", keep="first")
    photos = {ref.image_id: ref for ref in platform.photo_refs(rows)}
    tune(study.data, photos, platform.settings.encoder, settings, target, limits=platform.settings.library)
    write_text(note, json.dumps({"version": wanted, "from": platform.settings.encoder.name}))
    return target


def trained_on(platform: Platform) -> str:
    """Hash of the compared series and their sides: where a split moves, an encoder that was tuned on what is test now must go."""
    import polars as pl

    compared = platform.lake.read(SERIES_PREFERENCES).filter(pl.col("reason").is_null())["series_id"].unique()
    rows = platform.lake.read(PHOTO_SERIES).filter(pl.col("series_id").is_in(compared.implode()))
    columns = ("series_id", "position", "image_id", "split")
    return fingerprint({"series": [list(row) for row in rows.select(columns).sort(columns).iter_rows()]})


def tune(
    data: SeriesSet,
    photos: dict[str, PhotoRef],
    encoder: EncoderSettings,
    settings: TriageSettings,
    target: Path,
    *,
    limits: LibrarySettings,
) -> dict[str, Any]:
    """Train a linear scorer and the encoder's last blocks together on the train series; save the encoder to `target`.

    Two learning rates: the scorer's, and `fine_tune_rate` for the blocks. The epoch with the best validation top-1 is kept. Returns
    what was tuned: names of the blocks, tuned and frozen parameters, epoch, top-1.
    """
    import torch
    from transformers import AutoImageProcessor, AutoModel

    from vibe_assets.encoders.base import load_encoder
    from vibe_assets.encoders.hub import model_folder
    from vibe_assets.encoders.transformers_models import WEIGHTS, pooled
    from vibe_assets.heads import fit
    from vibe_assets.heads.fit_epochs import fit_epochs
    from vibe_assets.heads.series_losses import series_softmax_loss
    from vibe_assets.heads.series_models import LinearScorer
    from vibe_assets.heads.series_train import top1

    folder = model_folder(encoder.name.partition(":")[2].strip(), encoder, weights=WEIGHTS)
    model = AutoModel.from_pretrained(folder, dtype=torch.float32, trust_remote_code=False, local_files_only=True)
    processor = AutoImageProcessor.from_pretrained(folder, trust_remote_code=False, local_files_only=True, backend="pil")
    names, blocks = last_blocks(model, settings.fine_tune_blocks)
    model.requires_grad_(False)
    for block in blocks:
        block.requires_grad_(True)
    pixels = _pixels(data, photos, processor, limits)
    train, val = data.split("train"), data.split("val")
    scorer = LinearScorer(load_encoder(encoder).dim)

    def scores(part: SeriesSet) -> torch.Tensor:
        mask = torch.from_numpy(part.mask)
        flat = torch.stack([pixels[photo] for members in part.members for photo in members])
        found = model.get_image_features(pixel_values=flat) if hasattr(model, "get_image_features") else model(pixel_values=flat)
        vectors = torch.nn.functional.normalize(pooled(found).float(), dim=-1)
        x = vectors.new_zeros(*mask.shape, vectors.shape[1]).masked_scatter(mask[..., None], vectors)
        return scorer(10.0 * x, mask)  # unit vectors of one series are close: a scale at which the scorer learns

    def loss(part: SeriesSet) -> torch.Tensor:
        return series_softmax_loss(scores(part), torch.from_numpy(part.target), torch.from_numpy(part.mask))

    def judge() -> tuple[float, float]:
        found = scores(val)
        value = series_softmax_loss(found, torch.from_numpy(val.target), torch.from_numpy(val.mask))
        return top1(found.double().numpy(), val), float(value)

    def batches() -> list[SeriesSet]:
        order = torch.randperm(len(train)).numpy()
        return [train.only(order[at : at + BATCH]) for at in range(0, len(order), BATCH)]

    with fit.deterministic(seed=settings.seed, threads=1):
        tuned = [p for block in blocks for p in block.parameters()]
        whole = torch.nn.ModuleList([model, scorer])
        groups = [
            {"params": list(scorer.parameters()), "lr": RATE, "weight_decay": 0.01},
            {"params": tuned, "lr": settings.fine_tune_rate, "weight_decay": 0.01},
        ]
        done = fit_epochs(whole, groups, batches, loss, judge, max_epochs=settings.fine_tune_epochs, patience=settings.fine_tune_epochs)
    target.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(target)
    for file in Path(folder).iterdir():  # processor and tokenizer, as they were
        if file.is_file() and not (target / file.name).exists() and file.suffix in (".json", ".model", ".txt"):
            shutil.copy(file, target)
    frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    return {"blocks": names, "tuned": sum(p.numel() for p in tuned), "frozen": frozen, "epoch": done.epoch, "top1": done.score}


def last_blocks(model: nn.Module, count: int) -> tuple[list[str], list[nn.Module]]:
    """Names and modules of the last `count` blocks of the image tower: the longest list of equal layers outside a text tower."""
    from torch import nn

    towers = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) and "text" not in name and len({type(layer) for layer in module}) == 1
    ]
    if not towers:
        raise StageError("triage.fine_tune_blocks: this encoder has no blocks of layers to tune; set it to 0")
    name, layers = max(towers, key=lambda item: len(item[1]))
    first = max(0, len(layers) - count)
    return [f"{name}.{at}" for at in range(first, len(layers))], list(layers[first:])


def _pixels(data: SeriesSet, photos: dict[str, PhotoRef], processor: Any, limits: LibrarySettings) -> dict[str, Any]:
    """image_id -> preprocessed photo as the model reads it."""
    import torch

    from vibe_assets.photos.decode import open_accepted

    found = {}
    for image_id in sorted({photo for members in data.members for photo in members}):
        image = open_accepted(photos[image_id].path, limits, draft_px=FULL_PX).image
        found[image_id] = torch.from_numpy(np.asarray(processor(images=image, return_tensors="np")["pixel_values"][0], dtype=np.float32))
    return found
