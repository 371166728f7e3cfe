"""JPEGs and full-size SigLIP towers with random weights go in; photos a second from disk to the lake, beside named peers, come out.

    python benchmarks/embedding.py [--runs 3] [--full] [--clip-retrieval PYTHON]

Peers load once and are called as their documentation shows: transformers' model page (one photo at a time, fp32), its pipeline
`image-feature-extraction` over the files, open_clip's README. `forward alone` is the same encoder on preloaded arrays in full batches.
`--clip-retrieval` names the interpreter of an environment that has clip-retrieval, and asks about that peer alone: it reads photos with a
ViT-B/16 of open_clip, 12 MP each. `vibe, int8` is `[encoder] precision = "int8"`, left out on a CPU without VNNI; random weights
have no outliers, so its cosine says little about trained ones. `--full` adds SigLIP 2's preprocessing, batch sizes, 2 MP photos in larger
numbers and the memory of 100,000 tiny photos. Text towers are cut short: no photo passes them.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from measure import Bench, Figures, parser, seconds
from pictures import TINY, TWELVE_MP, TWO_MP, write_library
from PIL import Image

from vibe_assets.encoders.base import Encoder, EncoderError, load_encoder
from vibe_assets.encoders.bench import references
from vibe_assets.encoders.engine import embed_photos, prepared
from vibe_assets.lake import Lake
from vibe_assets.records import IMAGE_EMBEDDINGS, PhotoRef
from vibe_assets.settings import EncoderSettings, LibrarySettings

SEED = 0
SIZES = {"12 MP": TWELVE_MP, "2 MP": TWO_MP}
PEER_PHOTOS = 3  # peers take the first few: they go one by one, so their rate does not depend on how many there are
BATCH, FEW, MANY = 8, 8, 104
RETRIEVAL = """
import sys, time
from clip_retrieval.clip_inference.main import main
if __name__ == "__main__":
    main(input_dataset=sys.argv[1], output_folder=sys.argv[2], clip_model=sys.argv[3], enable_text=False, enable_metadata=False,
         num_prepro_workers=2, batch_size=8, use_jit=False, wds_image_key="jpg", write_batch_size=100000)
"""


# -- models ------------------------------------------------------------------------------------------------------------
def save_siglip(folder: Path, *, resample: int) -> Path:
    """google/siglip-base-patch16-224 (bicubic) or google/siglip2-base-patch16-224 (bilinear): one image tower, two preprocessings."""
    import torch
    from transformers import SiglipConfig, SiglipImageProcessor, SiglipModel

    torch.manual_seed(SEED)
    text = {"num_hidden_layers": 1, "vocab_size": 128, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    SiglipModel(SiglipConfig(text_config=text, vision_config={"image_size": 224, "patch_size": 16})).save_pretrained(folder)
    SiglipImageProcessor(size={"height": 224, "width": 224}, resample=resample).save_pretrained(folder)
    return folder


# -- peers: paths -> (n, d) unit rows -------------------------------------------------------------------------------------
Peer = Callable[[Sequence[Path]], np.ndarray]


def transformers_loop(folder: Path) -> Peer:
    import torch
    from transformers import AutoImageProcessor, AutoModel

    model, processor = AutoModel.from_pretrained(folder).eval(), AutoImageProcessor.from_pretrained(folder)

    def embed(paths: Sequence[Path]) -> np.ndarray:
        rows = []
        for path in paths:
            inputs = processor(images=Image.open(path), return_tensors="pt")
            with torch.no_grad():
                rows.append(_pooled(model.get_image_features(**inputs)).numpy()[0])
        return _unit(np.stack(rows))

    return embed


def transformers_pipeline(folder: Path) -> Peer:
    from transformers import AutoImageProcessor, SiglipVisionModel, pipeline

    extract = pipeline(
        "image-feature-extraction", model=SiglipVisionModel.from_pretrained(folder), framework="pt", pool=True,
        image_processor=AutoImageProcessor.from_pretrained(folder),
    )  # fmt: skip
    return lambda paths: _unit(np.asarray([row[0] for row in extract([str(path) for path in paths])], np.float32))


def open_clip_readme(architecture: str = "ViT-B-16-SigLIP") -> Peer:
    import open_clip
    import torch

    model, _, preprocess = open_clip.create_model_and_transforms(architecture, pretrained=None)
    model.eval()

    def embed(paths: Sequence[Path]) -> np.ndarray:
        rows = []
        for path in paths:
            image = preprocess(Image.open(path)).unsqueeze(0)
            with torch.no_grad():
                rows.append(model.encode_image(image).numpy()[0])
        return _unit(np.stack(rows))

    return embed


def clip_retrieval(python: Path, home: Path, photos: Path, count: int) -> float:
    """Seconds of one run of its inference on a folder, its own start and the model's loading included: it has no other way to be called."""
    weights, script, out = home / "vit-b-16.pt", home / "retrieval.py", Path(tempfile.mkdtemp(dir=home))
    if not weights.exists():
        import open_clip
        import torch

        torch.save(open_clip.create_model("ViT-B-16", pretrained=None).state_dict(), weights)
        script.write_text(RETRIEVAL, encoding="utf-8")
    command = [str(python), str(script), str(photos), str(out), f"open_clip:ViT-B-16/{weights}"]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
    started = time.perf_counter()
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=500)
    whole = time.perf_counter() - started
    vectors = [np.load(file) for file in out.rglob("img_emb*.npy")]
    if ended.returncode or sum(len(rows) for rows in vectors) != count:
        raise RuntimeError(f"clip-retrieval gave {[len(rows) for rows in vectors]} of {count} vectors:\n{ended.stderr[-2000:]}")
    return whole


def without_its_start(python: Path, home: Path) -> Figures:
    """What a photo costs once it runs: by the difference between few photos and many."""
    few, whole = clip_retrieval(python, home, home / "few", FEW), clip_retrieval(python, home, home / "many", MANY)
    return {"s": whole, "start s": few, "s/photo": (whole - few) / (MANY - FEW)}


def beside_clip_retrieval(options: argparse.Namespace) -> None:
    """A question of its own: one run of the peer takes most of a minute to start."""
    bench = Bench("embedding_clip_retrieval", options, seed=SEED, packages=("torch", "transformers", "pillow"))
    with tempfile.TemporaryDirectory(prefix="vibe-bench-") as place:
        home = Path(place)
        write_library(home / "few", FEW, TWELVE_MP), write_library(home / "many", MANY, TWELVE_MP)
        own = Own(f"siglip:{save_siglip(home / 'siglip', resample=Image.Resampling.BICUBIC)}", home)
        photos = references(home / "many", MANY)
        own.embed(photos[:2])
        bench.turns({
            "clip-retrieval, 12 MP": partial(without_its_start, options.clip_retrieval, home),
            "vibe, 12 MP": _each(partial(own.embed, photos), MANY),
        })  # fmt: skip
    bench.ratio("vs_clip_retrieval_12_mp", "clip-retrieval, 12 MP", "vibe, 12 MP", unit="s/photo")
    bench.work = {"photos": MANY, "of the start": FEW}
    bench.write()


# -- the own side ------------------------------------------------------------------------------------------------------
class Own:
    """Files to vectors in a fresh cache and a table of the lake."""

    def __init__(self, name: str, home: Path, **options: Any) -> None:
        self.settings = EncoderSettings(name=name, decode_workers=os.cpu_count() or 2, **{"batch_size": BATCH, "device": "cpu", **options})
        self.home, self.encoder = home, load_encoder(self.settings)

    def embed(self, photos: Sequence[PhotoRef]) -> np.ndarray:
        with tempfile.TemporaryDirectory(dir=self.home) as fresh:
            rows = embed_photos(photos, self.encoder, settings=self.settings, cache_dir=Path(fresh, "cache"), progress=False)
            Lake(Path(fresh, "lake")).replace(IMAGE_EMBEDDINGS, rows.with_columns(folder_key=pl.lit("all")), folder_key="all")
        return np.stack(rows["embedding"].to_list())

    def decoded(self, photos: Sequence[PhotoRef]) -> list[np.ndarray]:
        size = self.settings.batch_size
        chunks = ([[photo] for photo in photos[at : at + size]] for at in range(0, len(photos), size))
        return [value for chunk in prepared(chunks, self.encoder, self.settings, LibrarySettings()) for value in chunk]  # type: ignore[misc]


def eight_bits(name: str, home: Path) -> Own | None:
    try:
        return Own(name, home, precision="int8")
    except EncoderError as error:
        print(f"no int8 variant: {error}", flush=True)
        return None


def forward_alone(encoder: Encoder, pixels: Sequence[np.ndarray], batch: int) -> None:
    """One pass after the other, each on all cores, as torch does it by itself."""
    for at in range(0, len(pixels), batch):
        encoder.encode(pixels[at : at + batch])


def forward_side_by_side(encoder: Encoder, pixels: Sequence[np.ndarray], batch: int) -> None:
    """As the engine has it done: the limit for the own side."""
    for _ in encoder.stream(pixels[at : at + batch] for at in range(0, len(pixels), batch)):
        pass


# -- questions ---------------------------------------------------------------------------------------------------------
def against_peers(bench: Bench, home: Path, label: str, own: Own, eight: Own | None, peers: dict[str, Peer], count: int) -> None:
    root = home / label
    paths = write_library(root, count, SIZES[label], distinct=8 if bench.options.full else 4)
    photos = references(root, count)
    pixels = own.decoded(photos)
    few = paths[:PEER_PHOTOS]
    variants = {f"{name}, {label}": _each(partial(peer, few), len(few)) for name, peer in peers.items()}
    variants |= {
        f"vibe, {label}": _each(partial(own.embed, photos), count),
        f"forward alone, {label}": _each(partial(forward_alone, own.encoder, pixels, own.settings.batch_size), count),
        f"forward side by side, {label}": _each(partial(forward_side_by_side, own.encoder, pixels, own.settings.batch_size), count),
        f"decode alone, {label}": _each(partial(own.decoded, photos), count),
    }
    if eight:
        variants |= {
            f"vibe, int8, {label}": _each(partial(eight.embed, photos), count),
            f"forward side by side, int8, {label}": _each(
                partial(forward_side_by_side, eight.encoder, pixels, eight.settings.batch_size), count
            ),
        }
    bench.turns(variants)
    key = label.replace(" ", "_").lower()
    for name in peers:
        for unit, suffix in (("s/photo", ""), ("cpu s/photo", "_cpu")):
            bench.ratio(f"vs_{name.replace(' ', '_')}_{key}{suffix}", f"{name}, {label}", f"vibe, {label}", unit=unit)
    bench.ratio(f"share_of_forward_{key}", f"forward alone, {label}", f"vibe, {label}", unit="s/photo")
    bench.ratio(f"share_of_forward_side_by_side_{key}", f"forward side by side, {label}", f"vibe, {label}", unit="s/photo")
    bench.ratio(f"share_of_forward_{key}_cpu", f"forward alone, {label}", f"vibe, {label}", unit="cpu s/photo")
    forward, decode = (bench.median(f"{name} alone, {label}", "cpu s/photo") for name in ("forward", "decode"))
    bench.ratios[f"best_share_on_shared_cores_{key}"] = round(forward / (forward + decode), 3)
    bench.work[label] = {"photos": count, "of peers": len(few), "bytes": int(np.mean([path.stat().st_size for path in paths]))}
    shown = 8 if bench.options.full else 4
    exact = peers["transformers loop"](paths[:shown])
    numerics(bench, label, own.embed(photos[:shown]), exact)
    if eight:
        for name, peer in {**{f"vs_{name.replace(' ', '_')}": name for name in peers}, "vs_auto": "vibe"}.items():
            bench.ratio(f"int8_{name}_{key}", f"{peer}, {label}", f"vibe, int8, {label}", unit="s/photo")
        bench.ratio(f"int8_vs_auto_{key}_forward", f"forward side by side, {label}", f"forward side by side, int8, {label}", unit="s/photo")
        numerics(bench, f"{label}, int8", eight.embed(photos[:shown]), exact)


def numerics(bench: Bench, label: str, own: np.ndarray, reference: np.ndarray) -> None:
    """Cosine of each photo's vector to fp32 with full decoding; centred: without the mean vector, which random weights share."""
    same = (own * reference).sum(1)
    centre = reference.mean(0)
    moved = (_unit(own - centre) * _unit(reference - centre)).sum(1)
    others = (reference @ reference.T)[~np.eye(len(reference), dtype=bool)]
    figures = {"min": same.min(), "mean": same.mean(), "centred min": moved.min(), "between photos": others.mean(), "photos": len(own)}
    bench.work[f"cosine to fp32 with full decoding, {label}"] = {name: round(float(value), 6) for name, value in figures.items()}
    print(bench.work[f"cosine to fp32 with full decoding, {label}"], flush=True)


def batches(bench: Bench, home: Path, folder: Path) -> None:
    for size in (1, 4, 8, 16, 32):
        own = Own(f"siglip:{folder}", home, batch_size=size)
        pixels = list(np.random.default_rng(SEED).integers(0, 256, (32, 3, 224, 224), dtype=np.uint8))
        bench.turns({f"forward alone, batch {size}": _each(partial(forward_alone, own.encoder, pixels, size), 32)}, runs=2)


def memory(bench: Bench, home: Path, count: int) -> None:
    """Resident size while `count` tiny photos are embedded by the encoder without weights; the result matrix is part of it."""
    root = home / "tiny"
    write_library(root, count, TINY)
    photos, own = references(root, count), Own("handcrafted", home, batch_size=32)
    sizes: list[float] = []
    with tempfile.TemporaryDirectory(dir=home) as cache:
        own_stream = _watched(own, sizes)
        embed_photos(photos, own.encoder, settings=own.settings, cache_dir=Path(cache), progress=False, compute=own_stream)
    tenths = [sizes[at * (len(sizes) - 1) // 10] for at in range(11)]
    bench.work["memory"] = {
        "photos": count,
        "resident MB by tenth of the photos": tenths,
        "result MB": round(count * own.encoder.dim * 4e-6, 1),
    }
    print(bench.work["memory"], flush=True)


def _watched(own: Own, sizes: list[float]) -> Callable[..., Any]:
    from vibe_assets.encoders.engine import PhotoEncoder

    def compute(chunks: Any) -> Any:
        for outcomes in PhotoEncoder(own.settings, encoder=own.encoder).stream(chunks):
            sizes.append(int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1_000_000)
            yield outcomes

    return compute


def _each(work: Callable[[], object], count: int) -> Callable[[], dict[str, float]]:
    def run() -> dict[str, float]:
        took, cpu = seconds(work)
        return {"s": took, "s/photo": took / count, "photos/s": count / took, "cpu s/photo": cpu / count}

    return run


def _pooled(output: Any) -> Any:
    return getattr(output, "pooler_output", output)


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _quiet() -> None:
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def main() -> None:
    wanted = parser(__doc__, runs=3)
    wanted.add_argument("--clip-retrieval", type=Path, help="python of an environment with clip-retrieval")
    options = wanted.parse_args()
    _quiet()
    if options.clip_retrieval:
        beside_clip_retrieval(options)
        return
    bench = Bench("embedding", options, seed=SEED, packages=("torch", "transformers", "open_clip_torch", "pillow", "numpy"))
    with tempfile.TemporaryDirectory(prefix="vibe-bench-") as place:
        home = Path(place)
        folder = save_siglip(home / "siglip", resample=Image.Resampling.BICUBIC)
        own = Own(f"siglip:{folder}", home)
        peers = {"transformers loop": transformers_loop(folder), "pipeline": transformers_pipeline(folder), "open_clip": open_clip_readme()}
        eight = eight_bits(f"siglip:{folder}", home)
        own.embed(references(write_library(home / "first", 2, TINY)[0].parent, 2))  # imports of the lake
        for label in SIZES:
            against_peers(bench, home, label, own, eight, peers, 48 if options.full else 16)
            bench.write()
        if options.full:
            second = save_siglip(home / "siglip2", resample=Image.Resampling.BILINEAR)
            photos = references(home / "12 MP", 8)
            reference = transformers_loop(second)([Path(os.fsdecode(photo.path)) for photo in photos])
            numerics(bench, "12 MP, SigLIP 2", Own(f"siglip:{second}", home).embed(photos), reference)
            batches(bench, home, folder)
            memory(bench, home, 100_000)
    bench.write()


if __name__ == "__main__":
    main()
