"""Libraries of 100, 1,000, 10,000 (100,000 with --full) made-up photos go in; time against size comes out for every stage.

    python benchmarks/growth.py [--full] [--part heads,predictions ...]

`--part` measures only these stages at the largest size and leaves the other figures of the result file as they are: 100,000 photos take
longer than a shared machine is free. The exponent is the slope of log time over log size between the two largest sizes that a stage was
measured at: 1 is linear. Small sizes mostly show what starting costs. The teacher is a replay server without latency; it is asked about
10,000 photos at the most, because its own work is most of what would be timed.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np
import polars as pl
from annotation import references, server
from measure import Bench, Figures, parser, seconds
from pictures import write_library
from students import hashes, rows

from vibe_assets.encoders.engine import embed_photos
from vibe_assets.encoders.handcrafted import HandcraftedEncoder
from vibe_assets.evaluate.labels import evaluate_labels
from vibe_assets.heads.classifier import classify
from vibe_assets.heads.dataset import TrainingSet
from vibe_assets.heads.train import train_head
from vibe_assets.labels.convert import convert
from vibe_assets.labels.sample import draw_sample
from vibe_assets.photos.groups import group_photos
from vibe_assets.photos.scan import folder_key, scan_folder
from vibe_assets.questions import load
from vibe_assets.records import ANNOTATIONS, IMAGE_EMBEDDINGS
from vibe_assets.settings import AuditSettings, EncoderSettings, LibrarySettings, SplitSettings, StudentSettings, TeacherBase
from vibe_assets.teacher.annotate import annotate
from vibe_assets.teacher.journal import Journal

SEED, DIM = 42, 64
SIZES = (100, 1_000, 10_000, 100_000)
MOST_ASKED = 10_000
ALL = ("scan", "annotation", "embedding", "grouping", "conversion", "sampling", "heads", "predictions", "evaluation")


def answers(count: int) -> pl.DataFrame:
    scenes = ("food", "people", "landscape", "document")
    said = [
        json.dumps({"scene": scenes[at % 4], "has_person": at % 4 == 1, "has_text": at % 4 == 3,
                    "objects": [{"name_free": "cup", "coarse_type": "food", "is_main": True, "confidence": 0.9}]})
        for at in range(count)
    ]  # fmt: skip
    table = pl.DataFrame({"folder_key": ["f-00000000"] * count, "image_id": [f"{at:032x}" for at in range(count)],
                          "rel_path": [str(at) for at in range(count)], "annotation": said, "teacher": ["t"] * count})  # fmt: skip
    return table.match_to_schema(ANNOTATIONS.polars_schema(), missing_columns="insert")


def stages(count: int, home: Path, url: str, *, part: Collection[str] = ALL) -> dict[str, Callable[[], object]]:
    """Each stage on the outputs of those before it, which are made here, outside the clock, as far as `part` needs them."""
    rng, questions = np.random.default_rng(SEED), load()
    root = home / str(count)
    paths = write_library(root, count, (64, 48), distinct=64) if {"scan", "annotation", "embedding"} & {*part} else []
    photos = references(paths)

    def annotated_anew() -> None:
        with tempfile.TemporaryDirectory(dir=home) as fresh:
            journal = Journal(Path(fresh), writer="benchmark")
            annotate(photos, settings=TeacherBase(base_url=url, concurrency=16), journal=journal, progress=False)

    def embedded_anew() -> None:
        with tempfile.TemporaryDirectory(dir=home) as fresh:
            embed_photos(photos, HandcraftedEncoder(), settings=EncoderSettings(), cache_dir=Path(fresh), progress=False)

    photo_rows, annotated = rows(hashes(count)), answers(count)

    def converted() -> pl.DataFrame:
        return convert(annotated, questions, min_object_confidence=0.7, include_non_main=False)

    def grouped() -> pl.DataFrame:
        return group_photos(photo_rows, previous_rows=None, settings=SplitSettings(near_duplicate_bits=6))

    truth, groups = converted(), grouped()
    keys = tuple(sorted(truth["scene"].unique().drop_nulls()))
    targets = np.array([keys.index(scene) for scene in truth["scene"]])
    x = (rng.normal(size=(len(keys), DIM))[targets] + rng.normal(size=(count, DIM))).astype(np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    joined = truth.select("image_id").join(groups, on="image_id", how="left", maintain_order="left")
    data = TrainingSet(x, targets, np.ones(count, bool), joined["split"].to_numpy().astype(str), joined["group_id"].to_numpy().astype(str),
                       truth["image_id"].to_numpy().astype(str))  # fmt: skip

    def trained() -> object:
        return train_head("scene", data, labels=keys, settings=StudentSettings(seed=SEED), provenance={"encoder": "e"})

    head = trained() if {"predictions", "evaluation"} & {*part} else None
    embedded = pl.DataFrame({"folder_key": ["f-00000000"] * count, "image_id": truth["image_id"], "encoder": ["e"] * count,
                             "embedding": x}, schema_overrides={"embedding": pl.Array(pl.Float32, DIM)})  # fmt: skip
    embedded = embedded.match_to_schema(
        {**IMAGE_EMBEDDINGS.polars_schema(), "embedding": pl.Array(pl.Float32, DIM)}, missing_columns="insert"
    ).cast(IMAGE_EMBEDDINGS.polars_schema())
    labelled = classify(embedded, {"scene": head}, questions=questions) if "evaluation" in part else None  # type: ignore[dict-item]
    return {
        "annotation": annotated_anew,
        "embedding": embedded_anew,
        "scan": lambda: scan_folder(root, folder_key(b""), b"", known_rows=None, settings=LibrarySettings()),
        "grouping": grouped,
        "conversion": converted,
        "sampling": lambda: draw_sample(
            truth, groups, paths=photo_rows.select("image_id", "rel_path"), settings=AuditSettings(sample_size=100)
        ),
        "heads": trained,
        "predictions": lambda: classify(embedded, {"scene": head}, questions=questions),  # type: ignore[dict-item]
        "evaluation": lambda: evaluate_labels(labelled, truth, groups=groups, questions=questions),  # type: ignore[arg-type]
    }


def earlier(bench: Bench) -> dict[str, list[Figures]]:
    """Figures of the result file that is there."""
    file = bench.options.out / f"{bench.name}.json"
    rows = json.loads(file.read_text(encoding="utf-8"))["rows"] if file.exists() else []
    found: dict[str, dict[str, float]] = {}
    for row in rows:
        found.setdefault(row["variant"], {})[row["unit"]] = row["value"]
    return {variant: [figures] for variant, figures in found.items()}


def timed(work: Callable[[], object]) -> Callable[[], dict[str, float]]:
    """Wall-clock and CPU time; the CPU time leaves out the scan's workers."""

    def run() -> dict[str, float]:
        wall, cpu = seconds(work)
        return {"s": wall, "cpu s": cpu}

    return run


def exponents(bench: Bench) -> None:
    """Slope between the two largest sizes of every stage, of its CPU time; the scan's work is in other processes, so wall-clock time."""
    for name in {variant.partition(",")[0]: None for variant in bench.taken}:
        low, high = sorted(int(variant.partition(", ")[2]) for variant in bench.taken if variant.startswith(f"{name}, "))[-2:]
        unit = "s" if name == "scan" else "cpu s"
        slope = math.log(bench.median(f"{name}, {high}", unit) / bench.median(f"{name}, {low}", unit)) / math.log(high / low)
        bench.ratios[f"{name}_exponent"] = round(slope, 2)
        print(f"growth {name}: exponent {slope:.2f} from {low:,} to {high:,}")


def main() -> None:
    wanted = parser(__doc__, runs=1)
    wanted.add_argument("--part", type=lambda text: text.split(","), help="stages to measure at the largest size, separated by commas")
    options = wanted.parse_args()
    bench = Bench("growth", options, seed=SEED, packages=("torch", "polars", "numpy", "pillow"))
    sizes = SIZES if options.full or options.part else SIZES[:-1]
    if options.part:
        bench.taken.update(earlier(bench))
    with tempfile.TemporaryDirectory(prefix="vibe-bench-") as home, server() as url:
        for count in sizes[-1:] if options.part else sizes:
            works = stages(count, Path(home), url, part=options.part or ALL)
            wanted_now = {*(options.part or ALL)} - ({"annotation"} if count > MOST_ASKED else set())
            chosen = {f"{name}, {count}": timed(work) for name, work in works.items() if name in wanted_now}
            bench.taken = {variant: figures for variant, figures in bench.taken.items() if variant not in chosen}
            bench.turns(chosen, warm=count == SIZES[0])
    exponents(bench)
    bench.work = {"sizes": sorted({int(variant.partition(", ")[2]) for variant in bench.taken}), "dim": DIM}
    bench.write()


if __name__ == "__main__":
    main()
