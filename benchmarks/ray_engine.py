"""What Ray costs to start, what it gives against one process, and from how many photos on it is worth it, on one machine.

    python benchmarks/ray_engine.py --photos FOLDER [--count 256]

Both engines embed the same photos with the same encoder into an empty cache, in turns. `empty pool` is a dataset whose task does nothing:
what every call on Ray pays before its first photo. Break-even is where pool + n * (Ray's time per photo) = n * (the process' own).
"""

from __future__ import annotations

import logging
import os
import tempfile
import time
from pathlib import Path

from measure import Bench, parser

from vibe_assets.encoders.base import load_encoder
from vibe_assets.encoders.bench import references
from vibe_assets.encoders.engine import embed_photos
from vibe_assets.engine import Task, Work, open_engine
from vibe_assets.settings import Settings
from vibe_assets.stages.platform import Platform
from vibe_assets.stages.spread import embedder


def nothing() -> Task:
    return lambda items, tries: items


def main() -> None:
    wanted = parser(__doc__, runs=3)
    wanted.add_argument("--photos", type=Path, required=True)
    wanted.add_argument("--count", type=int, default=256)
    options = wanted.parse_args()
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    bench = Bench("ray_engine", options, seed=0, packages=("ray", "numpy", "pillow", "pyarrow"))
    workers = max(2, os.cpu_count() or 1)
    settings = Settings.model_validate(
        {
            "library": {"root": options.photos},
            "encoder": {"batch_size": 16, "decode_workers": 1},
            "engine": {"kind": "ray", "min_workers": workers - 1, "max_workers": workers, "chunk": 16},
        }
    )
    photos = references(options.photos, options.count)
    encoder = load_encoder(settings.encoder)

    def embed(platform: Platform) -> None:
        with tempfile.TemporaryDirectory() as cache:
            compute = embedder(platform, encoder.fingerprint)
            rows = embed_photos(photos, encoder, settings=settings.encoder, cache_dir=Path(cache), progress=False, compute=compute)
        assert rows.height == len(photos)

    def empty_pool() -> None:
        list(open_engine(settings.engine).arrivals(Work(nothing, [1, 2], chunk=1)))

    started = time.perf_counter()
    empty_pool()
    first = time.perf_counter() - started
    local, ray = Platform(settings.model_copy(update={"engine": type(settings.engine)()})), Platform(settings)
    bench.turns({"in process": lambda: embed(local), "ray": lambda: embed(ray), "empty pool": empty_pool})
    pool, own, theirs = (bench.median(name) for name in ("empty pool", "in process", "ray"))
    bench.ratio(f"{len(photos)} photos, in process / ray", "in process", "ray")
    own_each, ray_each = own / len(photos), max(0.0, theirs - pool) / len(photos)
    gain = own_each - ray_each
    bench.work = {
        "photos": len(photos), "workers": workers, "first_call_s": round(first, 2), "start_s": round(max(0.0, first - pool), 2),
        "pool_s": round(pool, 2), "in_process_photos_per_s": round(1 / own_each, 2),
        "ray_photos_per_s_without_pool": round(1 / ray_each, 2) if ray_each else None,
        "break_even_photos_warm": round(pool / gain) if gain > 0 else None,
        "break_even_photos_cold": round(first / gain) if gain > 0 else None,
    }  # fmt: skip
    print(bench.work)
    bench.write()


if __name__ == "__main__":
    main()
