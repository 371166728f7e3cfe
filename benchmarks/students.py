"""Made-up unit vectors and hashes go in; time to scikit-learn's validation loss, memory of the training, and time to group come out.

    python benchmarks/students.py [--runs 1] [--full]

Heads: 100,000 x 768 (1,000,000 with --full), 8 scenes. Grouping: perceptual hashes of which one in five has a near-duplicate, beside
faiss's exact binary index where it is installed (`pip install faiss-cpu`; the project does not need it), else scikit-learn's
NearestNeighbors with the Hamming metric on the unpacked bits.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable

import numpy as np
import polars as pl
from heads_vs_sklearn import TO_LOSS, Race
from measure import Bench, Figures, parser
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.neighbors import NearestNeighbors

from vibe_assets.heads.dataset import TrainingSet
from vibe_assets.photos.groups import group_photos
from vibe_assets.photos.hashes import near_pairs
from vibe_assets.records import RAW_PHOTOS
from vibe_assets.settings import SplitSettings

SEED, DIM, SCENES, BITS, ASKED = 42, 768, 8, 6, 1_000


def clouds(count: int) -> TrainingSet:
    rng = np.random.default_rng(SEED)
    targets = rng.integers(0, SCENES, count)
    centres = rng.normal(size=(SCENES, DIM)).astype(np.float32)
    x = rng.standard_normal((count, DIM), dtype=np.float32)
    x *= 9
    x += centres[targets]
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    names = np.char.mod("p%d", np.arange(count))
    splits = rng.choice(["train", "val", "test"], count, p=[0.7, 0.15, 0.15])
    return TrainingSet(x, targets.astype(np.int64), np.ones(count, bool), splits, names, names)


class OneStrength(Race):
    """scikit-learn at its default strength on standardised vectors, which sets the loss to be reached."""

    def sklearn(self) -> Figures:
        started = time.perf_counter()
        train = self._standardised(self.train)
        model = LogisticRegression(max_iter=1000).fit(train, self.y[self.train])
        took = time.perf_counter() - started
        self.peer_loss = log_loss(self.y[self.val], model.predict_proba(self._standardised(self.val)), labels=model.classes_)
        return {
            "s": took,
            "validation loss": self.peer_loss,
            "test accuracy": model.score(self._standardised(self.test), self.y[self.test]),
        }

    def to_peer_loss(self) -> Figures:
        took, loss = self.vibe_to_peer_loss()
        return {"s": took, "validation loss": loss}

    def whole(self) -> Figures:
        took, accuracy = self.vibe()
        return {"s": took, "test accuracy": accuracy, "peak GB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6}


def heads(bench: Bench) -> None:
    count = 1_000_000 if bench.options.full else 100_000
    race = OneStrength(clouds(count), tuple(f"scene.{at}" for at in range(SCENES)))
    race.threads = 2  # what train_head takes for so many
    bench.turns({"vibe": race.whole}, runs=1)  # first, so that the peak is its own
    bench.versus_limit("peak_vs_8_gb", "vibe", 8.0, unit="peak GB")
    bench.turns({"sklearn": race.sklearn, TO_LOSS: race.to_peer_loss})
    bench.ratio("vs_sklearn_to_same_validation_loss", "sklearn", TO_LOSS)
    bench.work["heads"] = {"vectors": [count, DIM], "scenes": SCENES}


def hashes(count: int) -> np.ndarray:
    """Random hashes (n,) uint64; the last fifth differs from one of the others in a single bit."""
    rng = np.random.default_rng(SEED)
    values = rng.integers(0, 2**64, count, dtype=np.uint64)
    first = count - count // 5
    flips = np.uint64(1) << rng.integers(0, 64, count - first).astype(np.uint64)
    values[first:] = values[rng.choice(first, count - first, replace=False)] ^ flips
    return rng.permutation(values)


def rows(values: np.ndarray) -> pl.DataFrame:
    count = len(values)
    columns = {
        "folder_key": ["f-00000000"] * count,
        "image_id": [f"{at:032x}" for at in range(count)],
        "rel_path": [str(at) for at in range(count)],
        "path_bytes": [b"%d" % at for at in range(count)],
        "phash": [f"{value:016x}" for value in values.tolist()],
    }
    return pl.DataFrame(columns).match_to_schema(RAW_PHOTOS.polars_schema(), missing_columns="insert")


def grouping(bench: Bench) -> None:
    count = 100_000
    values, settings = hashes(count), SplitSettings(near_duplicate_bits=BITS)
    table = rows(values)

    def pairs() -> Figures:
        started = time.perf_counter()
        found = near_pairs(values, BITS, new=np.ones(count, bool))
        return {"s": time.perf_counter() - started, "pairs": float(len(found))}

    def groups() -> Figures:
        started = time.perf_counter()
        group_photos(table, previous_rows=None, settings=settings)
        return {"s": time.perf_counter() - started}

    name, peer = _peer(values)
    bench.turns({name: peer, "near_pairs": pairs, "group_photos with splits": groups}, runs=max(3, bench.options.runs))
    bench.ratio("pairs_vs_nearest_neighbours", name, "near_pairs")
    bench.ratio("grouping_vs_nearest_neighbours", name, "group_photos with splits")
    bench.work["grouping"] = {"photos": count, "bits": BITS, "peer": name}


def _peer(values: np.ndarray) -> tuple[str, Callable[[], Figures]]:
    """An exact range search over all hashes; scikit-learn's is asked about 1,000 of them only and its time scaled up."""
    count, octets = len(values), values.view(np.uint8).reshape(len(values), 8)
    try:
        import faiss
    except ImportError:
        pass
    else:

        def binary_index() -> Figures:
            started = time.perf_counter()
            index = faiss.IndexBinaryFlat(64)
            index.add(octets)
            limits, _, _ = index.range_search(octets, BITS + 1)  # strictly below
            return {"s": time.perf_counter() - started, "pairs": float(limits[-1] - count) / 2}

        return "faiss IndexBinaryFlat", binary_index

    bits = np.unpackbits(octets, axis=1)  # (n, 64)

    def neighbours() -> Figures:
        started = time.perf_counter()
        search = NearestNeighbors(radius=(BITS + 0.5) / 64, metric="hamming", algorithm="brute").fit(bits)
        search.radius_neighbors(bits[:ASKED], return_distance=False)
        return {"s": (time.perf_counter() - started) * count / ASKED}

    return "sklearn NearestNeighbors", neighbours


def main() -> None:
    options = parser(__doc__, runs=1).parse_args()
    bench = Bench("students", options, seed=SEED, packages=("torch", "scikit-learn", "numpy", "polars", "faiss-cpu"))
    heads(bench)
    grouping(bench)
    bench.write()


if __name__ == "__main__":
    main()
