"""Made-up vectors go in; time to write and to read them through the lake, beside plain Parquet files, comes out.

    python benchmarks/lake.py [--runs 3] [--full]

100,000 x 768 (1,000,000 with --full) in folders of 50,000. `Parquet` writes one file a folder with pyarrow's defaults and reads it back;
it has no versions, no transactions and no check of the schema. `lake, in batches` is how training and search read.
"""

from __future__ import annotations

import resource
import shutil
import tempfile
import time
from pathlib import Path

import library
import pyarrow.parquet as pq
from measure import Bench, Figures, parser

from vibe_assets.lake import Lake
from vibe_assets.records import IMAGE_EMBEDDINGS


def main() -> None:
    options = parser(__doc__, runs=3).parse_args()
    count = 1_000_000 if options.full else 100_000
    bench = Bench("lake", options, seed=library.SEED, packages=("deltalake", "polars", "pyarrow"))
    gigabytes = count * library.DIM * 4 / 1e9
    with tempfile.TemporaryDirectory(prefix="vibe-bench-") as home:
        plain, root = Path(home) / "plain", Path(home) / "lake"
        lake, taken = Lake(root), [0.0, 0.0]

        def write() -> Figures:
            """Both in turns, folder by folder, since the vectors of one folder are held at a time."""
            shutil.rmtree(root, ignore_errors=True)
            shutil.rmtree(plain, ignore_errors=True)
            plain.mkdir()
            taken[:] = [0.0, 0.0]
            for key, start, x in library.folders(count):
                rows = library.embedding_rows(key, start, x)
                started = time.perf_counter()
                lake.replace(IMAGE_EMBEDDINGS, rows, folder_key=key)
                between = time.perf_counter()
                pq.write_table(rows.to_arrow(), plain / f"{key}.parquet")
                taken[0] += between - started
                taken[1] += time.perf_counter() - between
            return {"s": taken[0], "GB/s": gigabytes / taken[0]}

        def read() -> Figures:
            started = time.perf_counter()
            keys = [key for key, *_ in ((f"f-{at // library.FOLDER:08x}",) for at in range(0, count, library.FOLDER))]
            rows = sum(batch.height for batch in lake.batches(IMAGE_EMBEDDINGS, ["image_id", "embedding"], folder_keys=keys))
            took = time.perf_counter() - started
            assert rows == count
            return {"s": took, "GB/s": gigabytes / took, "peak GB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6}

        def read_plain() -> Figures:
            started = time.perf_counter()
            rows = sum(pq.read_table(file, columns=["image_id", "embedding"]).num_rows for file in sorted(plain.iterdir()))
            took = time.perf_counter() - started
            assert rows == count
            return {"s": took, "GB/s": gigabytes / took}

        bench.turns({
            "write: lake": write, "write: Parquet": lambda: {"s": taken[1], "GB/s": gigabytes / taken[1]},
            "read: lake, in batches": read, "read: Parquet": read_plain,
        })  # fmt: skip
        size = sum(file.stat().st_size for file in root.rglob("*.parquet"))
    bench.ratio("write_vs_parquet", "write: Parquet", "write: lake")
    bench.ratio("read_vs_parquet", "read: Parquet", "read: lake, in batches")
    bench.work = {"vectors": [count, library.DIM], "GB": round(gigabytes, 2), "GB on disk": round(size / 1e9, 2)}
    bench.write()


if __name__ == "__main__":
    main()
