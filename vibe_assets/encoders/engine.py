"""Photos and prompts become unit vectors: one decode-ahead pipeline over a cache that survives a kill.

    cache -> decode threads (read, verify, decode, shrink) -> bounded window -> batches -> encoder -> cache shards

Pillow and torch release the GIL, so decoding runs while the model computes. Memory is flat: at most two batches of shrunk photos and one
decoded photo per thread exist at a time, whatever the size of the library.
"""

from __future__ import annotations

import hashlib
import io
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from vibe_assets.encoders.base import Encoder
from vibe_assets.records import PROMPT_EMBEDDINGS, PhotoRef
from vibe_assets.settings import EncoderSettings, LibrarySettings

if TYPE_CHECKING:
    import polars as pl
    from PIL import Image

FLUSH_S = 5.0  # a kill costs at most this much work
FLUSH_PHOTOS = 2048  # or this many photos: 6 MB of vectors
UNIT_TOLERANCE = 1e-3
NON_FINITE = "non_finite"
CHANGED = "changed_since_scan"


@dataclass(frozen=True)
class Failure:
    """Why a photo has no vector."""

    reason: str
    detail: str


def embed_photos(
    photos: Sequence[PhotoRef], encoder: Encoder, *, settings: EncoderSettings, cache_dir: Path, progress: bool = True,
    limits: LibrarySettings | None = None, flush_s: float = FLUSH_S, flush_photos: int = FLUSH_PHOTOS,
) -> pl.DataFrame:  # fmt: skip
    """IMAGE_EMBEDDINGS rows without folder_key, one per photo in the order given; a photo named twice is encoded once.

    A photo without a vector is a row with a reason: those of the decoder, `changed_since_scan` (the bytes are not those of the
    image_id: the vector would be cached under a wrong name) or `non_finite`. Failures are not cached: the next call tries again.
    `limits` gives max_pixels and max_bytes. Raises EncoderError when the model or the disk fails; what was computed stays cached.
    """
    from vibe_assets.encoders.cache import EmbeddingCache

    copies: dict[str, list[PhotoRef]] = {}
    for photo in photos:
        copies.setdefault(photo.image_id, []).append(photo)
    ids = list(copies)
    vectors = np.zeros((len(ids), encoder.dim), np.float32)
    cache = EmbeddingCache.of(cache_dir, encoder.fingerprint, encoder.dim)
    known = cache.load(ids, vectors)
    run = _Run(encoder, vectors, ids, flush_s=flush_s, flush_photos=flush_photos, save=cache.add)
    bar = tqdm(total=len(ids), initial=int(known.sum()), desc="embedding", unit="photo", disable=None if progress else True)
    missing = [row for row in range(len(ids)) if not known[row]]
    try:
        for batch in _batches(
            prepared(missing, [copies[ids[row]] for row in missing], encoder, settings, limits or LibrarySettings()), settings.batch_size
        ):
            run.encode(batch)
            bar.update(len(batch))
    finally:  # an interrupt or a failing model must not cost what is done
        bar.close()
        run.flush()
    cache.compact()
    return _rows(photos, ids, vectors, run.failures, encoder.fingerprint)


def embed_prompts(encoder: Encoder, prompts: Mapping[str, Sequence[str]]) -> pl.DataFrame:
    """PROMPT_EMBEDDINGS rows, one per label and prompt in the order given; none where the encoder has no text tower."""
    import polars as pl

    pairs = [(label, text) for label, texts in prompts.items() for text in texts] if encoder.has_text else []
    texts = list(dict.fromkeys(text for _, text in pairs))
    vectors = dict(zip(texts, encoder.encode_text(texts) if texts else [], strict=True))
    rows = [
        {"label": label, "prompt": text, "encoder": encoder.fingerprint, "embedding": vectors[text].tolist(),
         "logit_scale": encoder.logit_scale, "logit_bias": encoder.logit_bias}
        for label, text in pairs
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=PROMPT_EMBEDDINGS.polars_schema())


# -- decoding ----------------------------------------------------------------------------------------------------------
Prepared = tuple[int, np.ndarray | Failure]  # row, what `preprocess` gave
SaveVectors = Callable[[Sequence[str], np.ndarray], None]


def prepared(
    rows: Sequence[int], copies: Sequence[Sequence[PhotoRef]], encoder: Encoder, settings: EncoderSettings, limits: LibrarySettings
) -> Iterator[Prepared]:
    """Rows in order, decoded ahead by `decode_workers` threads, never more than two batches ahead."""
    ahead = 2 * settings.batch_size + settings.decode_workers
    window: deque[tuple[int, Future[np.ndarray | Failure]]] = deque()
    todo = iter(zip(rows, copies, strict=True))
    pool = ThreadPoolExecutor(settings.decode_workers, thread_name_prefix="decode")
    try:
        while True:
            while len(window) < ahead and (item := next(todo, None)) is not None:
                window.append((item[0], pool.submit(prepare, item[1], encoder, limits)))
            if not window:
                return
            row, future = window.popleft()
            yield row, future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def prepare(copies: Sequence[PhotoRef], encoder: Encoder, limits: LibrarySettings) -> np.ndarray | Failure:
    """What the encoder makes of the first of the copies that can be read, or why none can."""
    failure = Failure("io_error", "no file")
    for photo in copies:
        picture = _picture(photo, encoder.draft_px, limits)
        if not isinstance(picture, Failure):
            return encoder.preprocess(picture)
        failure = picture
    return failure


def _picture(photo: PhotoRef, draft_px: int | None, limits: LibrarySettings) -> Image.Image | Failure:
    from vibe_assets.photos.decode import PhotoRejected, open_photo, read_photo

    try:
        data = read_photo(photo.path, max_bytes=limits.max_bytes)
        if (found := hashlib.sha256(data).hexdigest()[: len(photo.image_id)]) != photo.image_id:
            return Failure(CHANGED, f"the file's bytes are now those of {found}; scan the folder again")
        caps = {"max_pixels": limits.max_pixels, "max_bytes": limits.max_bytes}
        decoded = open_photo(io.BytesIO(data), draft_px=draft_px, **caps)
        if draft_px is not None and (wanted := _wider_draft(decoded.image.size, (decoded.width, decoded.height), draft_px)):
            decoded = open_photo(io.BytesIO(data), draft_px=wanted, **caps)
        return decoded.image
    except PhotoRejected as rejection:
        return Failure(rejection.reason, rejection.detail)


def _wider_draft(size: tuple[int, int], full: tuple[int, int], draft_px: int) -> int | None:
    """Longest side to decode to when a panorama's short side fell below half of `draft_px`, the side that a model wants; else None."""
    wanted = min(draft_px // 2, min(full))
    return None if min(size) >= wanted else -(-wanted * max(full) // min(full))


# -- encoding ----------------------------------------------------------------------------------------------------------
def _batches(items: Iterator[Prepared], size: int) -> Iterator[list[Prepared]]:
    """Lists of `size` arrays and the failures met on the way."""
    batch: list[Prepared] = []
    arrays = 0
    for item in items:
        batch.append(item)
        arrays += not isinstance(item[1], Failure)
        if arrays == size or len(batch) == 4 * size:
            yield batch
            batch, arrays = [], 0
    if batch:
        yield batch


@dataclass
class _Run:
    """Encodes batches into `vectors`, refuses what is not a unit vector, hands finished rows to `save` in chunks."""

    encoder: Encoder
    vectors: np.ndarray
    ids: Sequence[str]
    flush_s: float
    flush_photos: int
    save: SaveVectors
    failures: dict[str, Failure] = field(default_factory=dict)
    pending: list[int] = field(default_factory=list)
    last_flush: float = field(default_factory=time.monotonic)

    def encode(self, batch: Sequence[Prepared]) -> None:
        rows = [row for row, value in batch if not isinstance(value, Failure)]
        self.failures.update((self.ids[row], value) for row, value in batch if isinstance(value, Failure))
        if rows:
            self._keep(rows, self.encoder.encode([value for _, value in batch if not isinstance(value, Failure)]))
        if len(self.pending) >= self.flush_photos or time.monotonic() - self.last_flush >= self.flush_s:
            self.flush()

    def _keep(self, rows: Sequence[int], encoded: np.ndarray) -> None:
        if encoded.shape != (len(rows), self.encoder.dim):
            raise ValueError(f"expected vectors of shape {(len(rows), self.encoder.dim)}, got {encoded.shape}")
        lengths = np.linalg.norm(encoded, axis=1)
        for row, vector, length in zip(rows, encoded, lengths, strict=True):
            if abs(length - 1) <= UNIT_TOLERANCE:  # false for nan
                self.vectors[row] = vector
                self.pending.append(row)
            else:
                self.failures[self.ids[row]] = Failure(NON_FINITE, f"the encoder gave a vector of length {length}")

    def flush(self) -> None:
        rows, self.pending, self.last_flush = self.pending, [], time.monotonic()
        if rows:
            self.save([self.ids[row] for row in rows], self.vectors[rows])


def _rows(
    photos: Sequence[PhotoRef], ids: Sequence[str], vectors: np.ndarray, failures: Mapping[str, Failure], fingerprint: str
) -> pl.DataFrame:
    import polars as pl

    place = {image_id: row for row, image_id in enumerate(ids)}
    failed = [failures.get(photo.image_id) for photo in photos]
    index = pl.Series([None if failure else place[photo.image_id] for photo, failure in zip(photos, failed, strict=True)], dtype=pl.UInt32)
    unique = pl.Series(values=vectors, dtype=pl.Array(pl.Float32, vectors.shape[1])).cast(pl.List(pl.Float32))
    return pl.DataFrame(
        {
            "image_id": pl.Series([photo.image_id for photo in photos], dtype=pl.String),
            "encoder": pl.Series([fingerprint] * len(photos), dtype=pl.String),
            "embedding": unique.gather(index),
            "reason": pl.Series([failure and failure.reason for failure in failed], dtype=pl.String),
            "detail": pl.Series([failure and failure.detail for failure in failed], dtype=pl.String),
        }
    )
