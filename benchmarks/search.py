"""A library of made-up vectors goes in; the time of an exact top-10 beside numpy and DuckDB comes out.

    python benchmarks/search.py [--runs 9] [--full] [--home FOLDER]

100,000 x 768 (1,000,000 with --full); half of the queries are photos of the library, half are not. `numpy` is one float32 product over an
array in memory and an argpartition; `DuckDB` orders by array_cosine_similarity over a table in memory. All use two threads.
"""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import library
import numpy as np
import pyarrow as pa
import torch
from measure import Bench, Figures, parser

from vibe_assets.export.nearest import nearest
from vibe_assets.export.vector_index import VectorIndex
from vibe_assets.stages.search import library_index

TOP, QUERIES = 10, 4


def timed(work: object, queries: list[np.ndarray]) -> Figures:
    """Seconds of one query: the median over the queries of one turn."""
    taken = []
    for query in queries:
        started = time.perf_counter()
        work(query)  # type: ignore[operator]
        taken.append(time.perf_counter() - started)
    return {"s": float(np.median(taken))}


@contextmanager
def home_of(home: Path | None) -> Iterator[Path]:
    if home is not None:
        yield home
        return
    with tempfile.TemporaryDirectory(prefix="vibe-bench-") as folder:
        yield Path(folder)


def opened(bench: Bench, home: Path, count: int) -> VectorIndex:
    """The library's index; what writing it and opening it took is kept."""
    platform = library.open_library(home)
    if not (home / "data").exists():
        library.build(home, count)
    figures = []
    for _ in range(2):
        started = time.perf_counter()
        index, _ = library_index(platform, "made-up")
        index.estimates(np.ones(index.dim, np.float32))
        _ = index.ids
        figures.append(time.perf_counter() - started)
    bench.taken["index: first search of a table"] = [{"s": figures[0], "peak GB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6}]
    bench.taken["index: first search of a process"] = [{"s": figures[1]}]
    return index


def main() -> None:
    wanted = parser(__doc__, runs=9)
    wanted.add_argument("--home", type=Path, help="keep the library here, and use it again")
    wanted.add_argument("--without-duckdb", action="store_true", help="it needs twice the vectors' memory")
    options = wanted.parse_args()
    count = 1_000_000 if options.full else 100_000
    torch.set_num_threads(2)
    bench = Bench("search", options, seed=library.SEED, packages=("numpy", "torch", "duckdb"))
    with home_of(options.home) as home:
        index = opened(bench, home, count)
        rng = np.random.default_rng(library.SEED)
        stored = index.vectors[np.sort(rng.integers(0, index.count, QUERIES // 2))]
        queries = [*stored, *library.unit_vectors(10**9, QUERIES - len(stored))]
        vectors = np.array(index.vectors)

        def by_numpy(query: np.ndarray) -> np.ndarray:
            cosines = vectors @ query
            best = np.argpartition(-cosines, TOP)[:TOP]
            return best[np.argsort(-cosines[best])]

        variants = {
            "vibe": lambda: timed(lambda query: nearest(index, query, TOP), queries),
            "numpy": lambda: timed(by_numpy, queries),
        }
        connection = duckdb.connect(config={"threads": 2})
        if not options.without_duckdb:
            batch = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), index.dim)
            made_up = pa.table({"id": np.arange(index.count), "v": batch})  # noqa: F841 - DuckDB finds it by name
            connection.execute(f"CREATE TABLE vectors AS SELECT id, v::FLOAT[{index.dim}] AS v FROM made_up")
            order = f"SELECT id FROM vectors ORDER BY array_cosine_similarity(v, ?::FLOAT[{index.dim}]) DESC LIMIT {TOP}"
            variants["DuckDB"] = lambda: timed(lambda query: connection.execute(order, [query.tolist()]).fetchall(), queries)
        for query in queries:
            assert {hit.image_id for hit in nearest(index, query, TOP)} == {index.ids[at].decode() for at in by_numpy(query)}
        bench.turns(variants, warm=True)
        for peer in ("numpy", "DuckDB"):
            if peer in variants:
                bench.ratio(f"vs_{peer.lower()}", peer, "vibe")
        bench.versus_limit("vs_150_ms", "vibe", 0.150, unit="s")
        bench.work = {"vectors": [index.count, index.dim], "top": TOP, "queries": QUERIES}
    bench.write()


if __name__ == "__main__":
    main()
