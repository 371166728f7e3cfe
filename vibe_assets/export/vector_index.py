"""Unit vectors of a library go in once, as files to map; the rows nearest to a query come out, exactly, in some 100 ms a million.

A row is kept twice: as it is (float32) and as 8-bit integers with a scale. A search reads the integers alone and computes with integers,
so its error has a bound that is proven, not measured; rows that could still be among the best within that bound are computed again from
the float32 rows in float64. The answer is that of a search through all rows in float64, near-ties included.
"""

from __future__ import annotations

import json
import os
import shutil
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vibe_assets.lake import atomic_file, write_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

ROWS = 65_536  # rows compared at a time
EXACT_ROWS = 8_192  # rows computed in float64 at a time
LEVELS = 127
SLACK = 1e-6  # what float32 arithmetic on scales and bounds may add to a cosine's error: some 10 roundings of numbers up to 2
STALE_S = 24 * 3600.0
COMPLETE = "index.json"
FILES = {"vectors": np.float32, "levels": np.int8, "scales": np.float32, "errors": np.float32}


@dataclass(frozen=True)
class VectorIndex:
    """The files of one folder, mapped: what is read of them stays in the page cache, between processes too."""

    folder: Path
    count: int
    dim: int
    longest: float  # length of the longest row: 1 for unit rows, up to rounding

    @classmethod
    def open(cls, folder: Path) -> VectorIndex | None:
        """The index, None where none was written to its end."""
        try:
            facts = json.loads((folder / COMPLETE).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return cls(folder, facts["count"], facts["dim"], facts["longest"])

    @classmethod
    def write(cls, folder: Path, blocks: Iterable[tuple[Sequence[str], NDArray[np.float32]]]) -> VectorIndex:
        """Write ids and unit rows (n, d); one block is held in memory. `index.json` comes last: without it there is no index."""
        building = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
        _remove_stale(folder.parent)
        shutil.rmtree(building, ignore_errors=True)
        building.mkdir(parents=True)
        count, dim, longest = 0, 0, 0.0
        try:
            with ExitStack() as stack:
                ids, *files = [stack.enter_context((building / name).open("wb")) for name in ("ids", *FILES)]
                for names, vectors in blocks:
                    for start in range(0, len(names), ROWS):
                        part = vectors[start : start + ROWS]
                        count, dim = count + len(part), part.shape[1]
                        longest = max(longest, float(np.nan_to_num(np.linalg.norm(part, axis=1)).max()))
                        ids.writelines(name.encode() + b"\n" for name in names[start : start + ROWS])
                        arrays: tuple[NDArray[Any], ...] = (np.asarray(part, np.float32), *_levels(part))
                        for file, array in zip(files, arrays, strict=True):
                            file.write(array.tobytes())
            write_text(building / COMPLETE, json.dumps({"count": count, "dim": dim, "longest": longest}))
            shutil.rmtree(folder, ignore_errors=True)
            building.rename(folder)
        except OSError:
            if (other := cls.open(folder)) is None:  # another process that wrote the same index was faster
                raise
            return other
        finally:
            shutil.rmtree(building, ignore_errors=True)
        return cls(folder, count, dim, longest)

    @cached_property
    def ids(self) -> NDArray[np.bytes_]:
        """(n,) image ids as ASCII bytes."""
        return np.array((self.folder / "ids").read_bytes().split(b"\n")[:-1], dtype=np.bytes_)

    @cached_property
    def _arrays(self) -> dict[str, NDArray[Any]]:
        shapes = {"vectors": (self.count, self.dim), "levels": (self.count, self.dim)}
        return {
            name: np.memmap(self.folder / name, kind, "r", shape=shapes.get(name, (self.count,))) if self.count else np.empty(0, kind)
            for name, kind in FILES.items()
        }

    @property
    def vectors(self) -> NDArray[np.float32]:
        """(n, d) rows as they are, mapped."""
        return self._arrays["vectors"]

    def side_file(self, name: str, make: Callable[[], NDArray[np.int32]]) -> NDArray[np.int32]:
        """One number a row (n,) that is kept beside the index; `make` is asked the first time."""
        path = self.folder / name
        if not path.is_file():
            with atomic_file(path) as temporary:
                make().astype(np.int32).tofile(temporary)
        return np.fromfile(path, np.int32)

    @cached_property
    def _small(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return np.array(self._arrays["scales"]), np.array(self._arrays["errors"])

    def estimates(self, query: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(n,) cosines and (n,) how far each may be from the exact one, for a query (d,).

        With row x = s k + e and query q = t j + f, k and j integers: x.q = s t (k.j) + s k.f + e.q. The sum k.j is exact in 32 bits.
        By Cauchy and Schwarz the rest is at most |s k| |f| + |e| |q|, with |s k| <= |x| + |e|.
        """
        level, scale, error = (part[0] for part in _levels(query[None]))
        scales, errors = self._small
        products = np.empty(self.count, np.float32)
        levels = self._arrays["levels"]
        for start in range(0, self.count, ROWS):
            products[start : start + ROWS] = _products(levels[start : start + ROWS], level)
        cosines = products * scales
        cosines *= scale
        length = float(np.linalg.norm(query.astype(np.float64)))
        bounds = errors * np.float32(length + error)
        bounds += np.float32((self.longest + SLACK) * error + SLACK * (1 + length))
        return cosines, bounds

    def exact(self, rows: NDArray[np.intp], query: NDArray[np.float32]) -> NDArray[np.float64]:
        """Cosines of some rows in float64, each by itself: the same whatever else is asked."""
        vectors, wanted = self._arrays["vectors"], query.astype(np.float64)
        parts = [(vectors[rows[at : at + EXACT_ROWS]].astype(np.float64) * wanted).sum(axis=1) for at in range(0, len(rows), EXACT_ROWS)]
        return np.concatenate(parts) if parts else np.empty(0)


def _remove_stale(home: Path) -> None:
    """What killed writers left behind a day ago or more: it may be gigabytes."""
    for entry in home.glob(".*.tmp"):
        if time.time() - entry.stat().st_mtime > STALE_S:
            shutil.rmtree(entry, ignore_errors=True)


def _levels(x: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32], NDArray[np.float32]]:
    """Rows (n, d) as integers of -127..127 with scales (n,), and the length (n,), rounded up, of what that leaves out.

    A row that is not finite has scale NaN.
    """
    finite = np.asarray(np.isfinite(x).all(axis=1))
    x = np.where(finite[:, None], x, 0).astype(np.float32)
    scales = np.abs(x).max(axis=1, initial=0.0) / np.float32(LEVELS)
    scales[scales == 0] = 1.0
    levels = np.clip(np.rint(x / scales[:, None]), -LEVELS, LEVELS).astype(np.int8)
    left = x.astype(np.float64) - levels * scales[:, None].astype(np.float64)
    errors = np.nextafter(np.linalg.norm(left, axis=1).astype(np.float32), np.float32(np.inf))
    return levels, np.where(finite, scales, np.float32(np.nan)), errors


def _products(levels: NDArray[np.int8], query: NDArray[np.int8]) -> NDArray[np.integer]:
    """(n,) integer products of rows (n, d) and a query (d,), exact: torch has a kernel for 8-bit integers, numpy has none."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a mapped file is not writable, and is not written
        rows = torch.from_numpy(levels)
    found: NDArray[np.integer] = torch._int_mm(rows, torch.from_numpy(query[:, None].copy())).numpy()[:, 0]
    return found
