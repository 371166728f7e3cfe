"""The tag study on the demo's photos: two replayed models of different quality, a tiny Qwen2.5-VL fine-tuned, one leaderboard.

The tiny model is random and is taught on a handful of photos: it shows that the machinery works, not that the answers are good.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import tomlkit

from vibe_assets.lake import write_text
from vibe_assets.stages.platform import Platform

BATCH = "demo-audited"
TAGGERS = {"demo-tagger": (0.8, 0.15), "demo-small-tagger": (0.5, 0.4)}  # share of true tags found, wrong tags per right one
TINY, ADAPTER = "tiny-qwen", "tiny-qwen-tags"
STRANGERS = ("sunset", "vintage", "macro", "holiday", "blue", "table", "street", "close up")
KNOBS = {
    "learning_rate": 1e-2, "rank": 16, "alpha": 32, "dropout": 0.0, "epochs": 12.0, "batch_size": 8, "accumulation": 1, "patience": 4,
    "max_side_px": 56, "gradient_checkpointing": False,
}  # fmt: skip


@dataclass(frozen=True)
class TagStudy:
    """What the study did."""

    runs: int
    failed: tuple[str, ...]
    not_passed: tuple[str, ...]  # checks, as `asset.check`
    page: Path
    verdict: str  # of the adapter against its base


def run_tag_study(platform: Platform, instance: dg.DagsterInstance, *, photos: int = 110) -> TagStudy:
    """Benchmark, dataset, fine-tuning and a second benchmark, as runs on `instance`.

    Needs audited labels in the lake; writes [vlm] into the settings file where it has none, and the tiny model and the replayed answers
    below the home. A second call asks and trains nothing again. Raises VlmError where there are no audited labels.
    """
    from vibe_assets.defs.tag_walk import Walk
    from vibe_assets.vlm.adapters import adapters_dir
    from vibe_assets.vlm.board import PAGE
    from vibe_assets.vlm.registry import CARD, read_card

    walk = Walk(instance)
    folder = platform.settings.tags_dir / "demo"
    _settings(platform, folder)
    runs = [walk.ingest(BATCH, {"library": "audited", "limit": photos})] if BATCH not in _filled(platform) else []
    with _taggers(platform, folder), _one_thread():
        runs += [walk.diagnose(BATCH), *walk.ask([BATCH], [*TAGGERS, TINY]), walk.rank()]
        runs.append(walk.dataset(min_tags=2))
        runs.append(walk.finetune(name=ADAPTER, base=TINY, **KNOBS))
        runs += [*walk.ask([BATCH], [ADAPTER]), walk.rank()]
    card = adapters_dir(platform) / ADAPTER / CARD
    return TagStudy(
        runs=len(runs),
        failed=tuple(f"{ran.asset} {ran.partition or ''}: {ran.error}".strip() for ran in runs if not ran.success),
        not_passed=tuple(f"{ran.asset}.{check}" for ran in runs for check in ran.not_passed),
        page=platform.settings.reports_dir / f"{PAGE}.html",
        verdict=read_card(card)["verdict"] if card.is_file() else "",
    )


@contextmanager
def _one_thread() -> Iterator[None]:
    """The tiny model's matrices are so small that handing them out to threads costs more than they give: 130 s of CPU became 57 s."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _filled(platform: Platform) -> list[str]:
    from vibe_assets.vlm.ingest import batches

    return batches(platform)


def _settings(platform: Platform, folder: Path) -> None:
    """The tiny model on disk, a prompt short enough for it, and both with the replayed models in the settings file."""
    from vibe_assets.vlm.tags import answer_text
    from vibe_assets.vlm.tiny import save_tiny_model

    folder.mkdir(parents=True, exist_ok=True)
    prompt = write_text(folder / "prompt.md", "Tags of this photo, as JSON.")
    if not (folder / TINY / "config.json").is_file():
        texts = [prompt.read_text(encoding="utf-8"), *(answer_text(tags) for tags in _true_tags(platform).values())]
        save_tiny_model(folder / TINY, ["user", "assistant", *texts] * 3)
    config = platform.settings.config_file
    if config is None:
        raise ValueError("expected an installation with a settings file, got none")
    document = tomlkit.parse(config.read_text(encoding="utf-8"))
    if "vlm" in document:
        return
    models: dict[str, dict[str, Any]] = {
        name: {"base_url": "http://127.0.0.1:8790/v1", "model": name, "provider": "demo", "input_price": 0.4, "output_price": 1.6}
        for name in TAGGERS
    }
    near = Path(os.path.relpath(folder, platform.settings.base))  # the demo's folder may be moved
    models[TINY] = {"local": str(near / TINY), "max_tokens": 28, "max_side_px": 56}
    document["vlm"] = {"prompt": str(near / prompt.name), "device": "cpu", "models": models}
    write_text(config, tomlkit.dumps(document))


def _true_tags(platform: Platform) -> Mapping[str, Sequence[str]]:
    """image_id -> tags of the audited photos."""
    from vibe_assets.vlm.sources import library_photos

    return {one.image_id or "": one.raw_tags for one in library_photos(platform, "audited")}


@contextmanager
def _taggers(platform: Platform, folder: Path) -> Iterator[None]:
    """Serve the replayed models as long as the block runs, wherever a port is free."""
    from vibe_assets.teacher.replay import running_replay
    from vibe_assets.vlm.sources import library_photos

    found = library_photos(platform, "audited")
    files = {}
    for name, (share, noise) in TAGGERS.items():
        lines = [{"path": one.name, "annotation": {"tags": said(one.image_id or "", one.raw_tags, name, share, noise)}} for one in found]
        files[name] = write_text(folder / f"{name}.jsonl", "\n".join(json.dumps(line) for line in lines) + "\n")
    with running_replay(files, platform.settings.root_folder("the demo renders a folder")) as base_url:
        places = {f"VIBE_VLM__MODELS__{name.upper()}__BASE_URL": base_url for name in TAGGERS}
        os.environ |= places
        try:
            yield
        finally:
            for name in places:
                del os.environ[name]


def said(image_id: str, true: Sequence[str], name: str, share: float, noise: float) -> list[str]:
    """What a tagger of that quality says of a photo: drawn by hash, so that it always says the same."""
    kept = [tag for tag in true if _draw(image_id, name, tag) < share]
    wrong = [word for word in STRANGERS if word not in true and _draw(image_id, name, word, "wrong") < noise * len(true) / len(STRANGERS)]
    return kept + wrong


def _draw(*parts: str) -> float:
    return int.from_bytes(hashlib.sha256("/".join(parts).encode()).digest()[:8], "big") / 2**64
