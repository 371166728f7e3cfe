"""Made-up unit vectors and hashes go in; memory and time of the students, time to scikit-learn's validation loss, time to group come out.

    python benchmarks/students.py [--runs 1] [--full] [--part PARTS] [--home FOLDER]

`students`: all three heads from the lake, each by `train_student` in a process of its own, 20,000 x 768 (1,000,000 with --full): seconds
and peak memory. `loss`: the scene head against scikit-learn's LogisticRegression at its defaults on vectors standardised before the clock
starts, 50,000 x 768 (1,000,000 with --full). `vectors`: near-duplicates by vector beside what cleanlab's Datalab does for them (the ten
nearest by cosine with scikit-learn's NearestNeighbors, then a radius; it is asked about 500 photos and its time scaled up),
20,000 x 768 (100,000 with --full); `--cleanlab` names the interpreter of an environment with cleanlab and datasets, and
Datalab itself is asked about all of them. `hashes`: 100,000 perceptual hashes, one in five with a near-duplicate, beside faiss's exact
binary index where it is installed (`pip install faiss-cpu`; the project does not need it), else
scikit-learn's NearestNeighbors on the unpacked bits.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import library
import numpy as np
import polars as pl
from heads_vs_sklearn import TO_LOSS, Race
from measure import Bench, Figures, Variant, parser
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.neighbors import NearestNeighbors

from vibe_assets.heads.dataset import TrainingSet
from vibe_assets.photos.groups import group_photos
from vibe_assets.photos.hashes import near_pairs
from vibe_assets.photos.vectors import near_vector_pairs
from vibe_assets.records import RAW_PHOTOS
from vibe_assets.settings import SplitSettings

SEED, DIM, SCENES, BITS, ASKED, COSINE = 42, 768, 8, 6, 500, 0.98
PARTS = ("students", "loss", "vectors", "hashes")
TRAIN = """
import json, resource, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[3])
import library
from vibe_assets.stages.students import train_student
trained = train_student(library.open_library(Path(sys.argv[1])), sys.argv[2])
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
card = trained.head.card
print(json.dumps({"s": trained.seconds, "cpu s": time.process_time(), "peak GB": peak, "iterations": len(card.history),
                  "validation loss": card.selection["loss"]}))
"""


def students(bench: Bench, home: Path) -> None:
    """Peak memory is that of a fresh process that reads the lake and trains."""
    count = 1_000_000 if bench.options.full else 20_000
    if not (home / "data").exists():
        library.build(home, count)
    peaks = []
    for kind in ("scene", "attribute", "object"):
        ended = subprocess.run(
            [sys.executable, "-c", TRAIN, str(home), kind, str(Path(__file__).parent)], check=True, stdout=subprocess.PIPE, text=True
        )
        figures = json.loads(ended.stdout.splitlines()[-1])
        bench.turns({f"{kind} head": lambda figures=figures: figures}, runs=1)  # type: ignore[misc]
        peaks.append(figures["peak GB"])
    bench.ratios["peak_vs_8_gb"] = round(max(peaks) / 8.0, 3)
    bench.work["students"] = {"vectors": [count, DIM]}


def clouds(count: int) -> TrainingSet:
    """Vectors with the spectrum of embeddings; eight scenes by a linear rule that noise blurs."""
    x = np.concatenate([part for _, _, part in library.folders(count)])
    rng = np.random.default_rng(SEED)
    scores = 12 * x @ rng.standard_normal((DIM, SCENES), dtype=np.float32) + rng.gumbel(size=(count, SCENES))
    names = np.char.mod("p%d", np.arange(count))
    splits = rng.choice(["train", "val", "test"], count, p=[0.7, 0.15, 0.15])
    order = np.argsort(splits, kind="stable")
    targets = scores.argmax(axis=1).astype(np.int64)
    return TrainingSet(x[order], targets[order], np.ones(count, bool), splits[order], names[order], names[order])


class OneStrength(Race):
    """scikit-learn at its default strength, which sets the loss to be reached."""

    def sklearn(self) -> Figures:
        train = self._standardised(self.train)
        started = time.perf_counter()
        model = LogisticRegression(max_iter=1000).fit(train, self.y[self.train])
        took = time.perf_counter() - started
        self.peer_loss = log_loss(self.y[self.val], model.predict_proba(self._standardised(self.val)), labels=model.classes_)
        return {"s": took, "validation loss": self.peer_loss, "iterations": float(model.n_iter_.max())}

    def to_peer_loss(self) -> Figures:
        took, loss = self.vibe_to_peer_loss()
        return {"s": took, "validation loss": loss}


def loss(bench: Bench) -> None:
    count = 1_000_000 if bench.options.full else 50_000
    race = OneStrength(clouds(count), tuple(f"scene.{at}" for at in range(SCENES)))
    race.threads = 2  # what train_head takes for so many
    bench.turns({"sklearn": race.sklearn, TO_LOSS: race.to_peer_loss})
    bench.ratio("vs_sklearn_to_same_validation_loss", "sklearn", TO_LOSS)
    bench.work["loss"] = {"vectors": [count, DIM], "scenes": SCENES}


DATALAB = """
import sys, time
import numpy as np
from cleanlab import Datalab
x = np.load(sys.argv[1])
started = time.perf_counter()
lab = Datalab(data={"place": list(range(len(x)))}, verbosity=0)
lab.find_issues(features=x, issue_types={"near_duplicate": {}})
print(time.perf_counter() - started, int(lab.get_issues("near_duplicate")["is_near_duplicate_issue"].sum()))
"""


def datalab(python: Path, x: np.ndarray) -> Figures:
    """cleanlab as its documentation shows it; starting and reading the vectors are not counted."""
    with tempfile.TemporaryDirectory(prefix="vibe-bench-") as folder:
        np.save(Path(folder, "x.npy"), x)
        said = subprocess.run([str(python), "-c", DATALAB, str(Path(folder, "x.npy"))], check=True, stdout=subprocess.PIPE, text=True)
    took, found = said.stdout.split()[-2:]
    return {"s": float(took), "photos with a near-duplicate": float(found)}


def near_vectors(bench: Bench) -> None:
    count = 100_000 if bench.options.full else 20_000
    x = np.concatenate([part for _, _, part in library.folders(count)])
    rng = np.random.default_rng(SEED)
    copies = count // 5
    x[-copies:] = x[:copies] + 0.1 / np.sqrt(DIM) * rng.standard_normal((copies, DIM), dtype=np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)

    def ours() -> Figures:
        started = time.perf_counter()
        pairs, _ = near_vector_pairs(x, COSINE)
        return {"s": time.perf_counter() - started, "pairs": float(len(pairs))}

    def neighbours() -> Figures:
        started = time.perf_counter()
        search = NearestNeighbors(n_neighbors=10, metric="cosine").fit(x)
        distances, _ = search.kneighbors(x[:ASKED])
        near = int(((distances <= 1 - COSINE).sum(axis=1) - 1).sum())
        return {"s": (time.perf_counter() - started) * count / ASKED, "pairs found of the photos asked": float(near)}

    python: Path | None = bench.options.cleanlab
    real: dict[str, Variant] = {"cleanlab": lambda: datalab(python, x)} if python else {}
    bench.turns({"cleanlab's way (scaled up)": neighbours, **real, "near_vector_pairs": ours})
    if real:
        bench.ratio("vectors_vs_cleanlab", "cleanlab", "near_vector_pairs")
    bench.ratio("vectors_vs_cleanlabs_way", "cleanlab's way (scaled up)", "near_vector_pairs")
    bench.work["vectors"] = {"vectors": [count, DIM], "cosine": COSINE, "asked of the peer": ASKED}


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
    wanted = parser(__doc__, runs=1)
    wanted.add_argument("--part", default=",".join(PARTS), help="comma-separated: " + ", ".join(PARTS))
    wanted.add_argument("--home", type=Path, help="keep the library of the part `students` here, and use it again")
    wanted.add_argument("--cleanlab", type=Path, help="python of an environment with cleanlab and datasets")
    options = wanted.parse_args()
    parts = options.part.split(",")
    if foreign := set(parts) - set(PARTS):
        wanted.error(f"--part: expected some of {', '.join(PARTS)}, got {', '.join(sorted(foreign))}")
    bench = Bench("students", options, seed=SEED, packages=("torch", "scikit-learn", "numpy", "polars", "faiss-cpu"))
    with tempfile.TemporaryDirectory(prefix="vibe-bench-") as folder:
        if "students" in parts:
            students(bench, options.home or Path(folder))
    for part, work in (("loss", loss), ("vectors", near_vectors), ("hashes", grouping)):
        if part in parts:
            work(bench)
    bench.write()


if __name__ == "__main__":
    main()
