"""Vectors that were paid for, kept on disk by encoder fingerprint: image ids go in, the vectors already known come out.

A folder per fingerprint holds Parquet shards (image_id, embedding) that appear whole or not at all, so any number of processes may
add to it and a kill loses only what was not yet handed over. Page checksums are on: a damaged shard is set aside, not believed.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vibe_assets.encoders.base import EncoderError
from vibe_assets.lake import atomic_file

log = logging.getLogger(__name__)

MANY_SHARDS = 64  # small shards are merged when there are more
SMALL_ROWS = 32_768  # a shard with fewer rows is small: 100 MB at 768 numbers a row
ROW_GROUP = 4_096
STALE_S = 24 * 3600.0  # what a killed writer left behind is removed after a day


@dataclass(frozen=True)
class EmbeddingCache:
    """The vectors of one encoder. `folder` is made with the first vector."""

    folder: Path
    dim: int

    @classmethod
    def of(cls, cache_dir: Path, fingerprint: str, dim: int) -> EmbeddingCache:
        return cls(cache_dir / "embeddings" / fingerprint, dim)

    # -- reading -------------------------------------------------------------------------------------------------------
    def load(self, image_ids: Sequence[str], into: np.ndarray) -> np.ndarray:
        """Fill the rows of `into` (n, d) whose ids are known; return the mask (n,) of the rows filled."""
        filled = np.zeros(len(image_ids), bool)
        places = {image_id: row for row, image_id in enumerate(image_ids)}
        wanted = pa.array(list(places), pa.string())
        seen: set[Path] = set()
        while fresh := [path for path in self._shards() if path not in seen]:  # a merge may replace shards while they are read
            for path in fresh:
                seen.add(path)
                if not filled.all():
                    self._load_shard(path, wanted, places, into, filled)
        return filled

    def _load_shard(self, path: Path, wanted: pa.Array, places: dict[str, int], into: np.ndarray, filled: np.ndarray) -> None:
        try:
            for ids, vectors in self._groups(path, wanted):
                rows = np.fromiter((places.get(image_id, -1) for image_id in ids), np.int64, len(ids))
                hit = rows >= 0
                into[rows[hit]] = vectors[hit]
                filled[rows[hit]] = True
        except FileNotFoundError:
            return
        except (pa.ArrowException, OSError, ValueError) as error:
            self._set_aside(path, error)

    def _groups(self, path: Path, wanted: pa.Array | None = None) -> Iterator[tuple[list[str], np.ndarray]]:
        """(ids, (n, d) float32) by row group; groups without a wanted id are skipped."""
        with pq.ParquetFile(path, page_checksum_verification=True) as shard:
            self._check(shard)
            for group in range(shard.num_row_groups):
                ids = shard.read_row_group(group, columns=["image_id"])["image_id"].combine_chunks()
                if wanted is not None and not pc.any(pc.is_in(ids, value_set=wanted)).as_py():
                    continue
                column = shard.read_row_group(group, columns=["embedding"])["embedding"].combine_chunks()
                yield ids.to_pylist(), np.asarray(column.flatten(), dtype=np.float32).reshape(len(ids), self.dim)

    def _check(self, shard: pq.ParquetFile) -> None:
        if not shard.schema_arrow.equals(self._schema()):
            raise ValueError(f"expected columns {self._schema()}, got {shard.schema_arrow}")

    def _set_aside(self, path: Path, error: Exception) -> None:
        log.warning("%s is damaged (%s); set aside as %s.damaged, its photos are embedded again", path, error, path.name)
        try:
            path.rename(path.with_name(path.name + ".damaged"))
        except FileNotFoundError:  # another process was faster
            return

    def _shards(self) -> list[Path]:
        return sorted(self.folder.glob("[!.]*.parquet"))

    def _schema(self) -> pa.Schema:
        return pa.schema({"image_id": pa.string(), "embedding": pa.list_(pa.float32(), self.dim)})

    # -- writing -------------------------------------------------------------------------------------------------------
    def add(self, image_ids: Sequence[str], vectors: np.ndarray) -> None:
        """Write one shard, durable when this returns. Raises EncoderError when the disk refuses."""
        if len(image_ids) == 0:
            return
        if vectors.shape != (len(image_ids), self.dim):
            raise ValueError(f"expected vectors of shape {(len(image_ids), self.dim)}, got {vectors.shape}")
        with self._writing() as writer:
            writer.write_table(self._table(image_ids, vectors), row_group_size=ROW_GROUP)

    def compact(self, *, now: float | None = None) -> int:
        """Merge small shards when there are many; return how many were merged.

        The merged shard is durable before its parts go: a kill in between leaves rows twice, which reading does not mind.
        """
        small = [path for path in self._shards() if (rows := self._rows(path)) is not None and rows < SMALL_ROWS]
        if len(small) <= MANY_SHARDS:
            return 0
        self._remove_stale(time.time() if now is None else now)
        seen: set[str] = set()
        try:
            with self._writing() as writer:
                for ids, vectors in (group for path in small for group in self._groups(path)):
                    fresh = [row for row, image_id in enumerate(ids) if image_id not in seen]
                    seen.update(ids)
                    if fresh:
                        writer.write_table(self._table([ids[row] for row in fresh], vectors[fresh]), row_group_size=ROW_GROUP)
        except (pa.ArrowException, FileNotFoundError, ValueError):  # damaged, or merged by another process: the next load sees to it
            return 0
        for path in small:
            path.unlink(missing_ok=True)
        return len(small)

    @contextmanager
    def _writing(self) -> Iterator[pq.ParquetWriter]:
        """A writer whose shard appears only when the block ended well. Random float32 does not compress: no time is spent on it."""
        path = self.folder / f"{uuid.uuid4().hex}.parquet"
        options = {"compression": "none", "use_dictionary": False, "write_page_checksum": True}
        try:
            with atomic_file(path) as temporary, pq.ParquetWriter(temporary, self._schema(), **options) as writer:
                yield writer
        except (OSError, pa.ArrowException) as error:
            if isinstance(error, FileNotFoundError):
                raise
            raise EncoderError(f"the embedding cache {self.folder} cannot be written: {error}. Free disk space or repair access") from error

    def _table(self, image_ids: Sequence[str], vectors: np.ndarray) -> pa.Table:
        flat = pa.array(np.ascontiguousarray(vectors, dtype=np.float32).reshape(-1))
        return pa.table(
            {"image_id": pa.array(image_ids, pa.string()), "embedding": pa.FixedSizeListArray.from_arrays(flat, self.dim)},
            schema=self._schema(),
        )

    def _rows(self, path: Path) -> int | None:
        """Rows of a shard by its footer; None where it cannot be read."""
        try:
            return int(pq.read_metadata(path).num_rows)
        except (pa.ArrowException, OSError):
            return None

    def _remove_stale(self, now: float) -> None:
        for path in self.folder.glob(".*.tmp"):
            try:
                if now - path.stat().st_mtime > STALE_S:
                    path.unlink()
            except FileNotFoundError:
                continue
