"""Photos and prompts become unit vectors: one decode-ahead pipeline over a cache that survives a kill.

    cache -> chunks of `batch_size` photos -> compute (decode threads -> bounded window -> encoder) -> cache shards

Pillow and torch release the GIL, so decoding runs while the model computes. Memory is flat: at most three batches of shrunk photos and one
decoded photo per thread exist at a time, whatever the size of the library. `compute` may be another engine's: see `PhotoEncoder`.
"""

from __future__ import annotations

import hashlib
import io
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from vibe_assets.encoders.base import Encoder, EncoderError, load_encoder
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
CHUNKS_AHEAD = 2  # decoded while the model is busy with the chunk before them


@dataclass(frozen=True)
class Failure:
    """Why a photo has no vector."""

    reason: str
    detail: str


Copies = Sequence[PhotoRef]  # files with the same bytes; the first that can be read stands for the photo
Chunk = Sequence[Copies]  # the photos of one batch
Outcome = np.ndarray | Failure  # (d,) float32
Compute = Callable[[Iterable[Chunk]], Iterable[Sequence[Outcome]]]  # a list per chunk, in the order of the chunks
SaveVectors = Callable[[Sequence[str], np.ndarray], None]


class PhotoEncoder:
    """All that a process needs to turn chunks of photos into vectors: picklable, and the model is loaded where it is first called.

    One chunk is one batch of the model, and a photo that cannot be read leaves its batch smaller: whoever computes the chunks of
    `embed_photos` one by one therefore gets the same vectors, whatever runs beside it. `compute=` of `embed_photos` takes any callable that
    is given an iterator of chunks and returns their outcomes in the same order, such as `PhotoEncoder.stream` or, with an engine that maps
    a callable over items in order, `lambda chunks: engine.map(PhotoEncoder(settings, limits, fingerprint=encoder.fingerprint), chunks)`.

    `fingerprint`: that of the encoder whose vectors are wanted. A process where the settings mean another one (`precision = "auto"` on a
    processor without bf16, other weights under the same name) raises EncoderError instead of mixing the two.
    """

    def __init__(
        self, settings: EncoderSettings, limits: LibrarySettings | None = None, *, fingerprint: str | None = None,
        encoder: Encoder | None = None,
    ) -> None:  # fmt: skip
        self.settings, self.limits, self.fingerprint = settings, limits or LibrarySettings(), fingerprint
        self._encoder = encoder

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_encoder": None}

    @property
    def encoder(self) -> Encoder:
        """The model, loaded with the first use in this process."""
        if self._encoder is None:
            loaded = load_encoder(self.settings)
            if self.fingerprint not in (None, loaded.fingerprint):
                raise EncoderError(
                    f"[encoder] name = {self.settings.name!r} is {loaded.fingerprint} in this process and {self.fingerprint} in the one "
                    "that asked; set precision and revision instead of leaving them to the machine, and give both the same weights"
                )
            self._encoder = loaded
        return self._encoder

    def __call__(self, chunk: Chunk) -> list[Outcome]:
        """The vector of every photo of a chunk, or why it has none."""
        return next(self.stream([chunk]))

    def stream(self, chunks: Iterable[Chunk]) -> Iterator[list[Outcome]]:
        """As `__call__`, chunk after chunk, decoding ahead."""
        entered: deque[list[np.ndarray | Failure]] = deque()

        def readable() -> Iterator[list[np.ndarray]]:
            for pixels in prepared(chunks, self.encoder, self.settings, self.limits):
                entered.append(pixels)
                yield [value for value in pixels if not isinstance(value, Failure)]

        for batch in self.encoder.stream(readable()):
            vectors = iter(batch)
            yield [value if isinstance(value, Failure) else next(vectors) for value in entered.popleft()]


def embed_photos(
    photos: Sequence[PhotoRef], encoder: Encoder, *, settings: EncoderSettings, cache_dir: Path, progress: bool = True,
    limits: LibrarySettings | None = None, compute: Compute | None = None, flush_s: float = FLUSH_S, flush_photos: int = FLUSH_PHOTOS,
) -> pl.DataFrame:  # fmt: skip
    """IMAGE_EMBEDDINGS rows without folder_key, one per photo in the order given; a photo named twice is encoded once.

    A photo without a vector is a row with a reason: those of the decoder, `changed_since_scan` (the bytes are not those of the
    image_id: the vector would be cached under a wrong name) or `non_finite`. Failures are not cached: the next call tries again.
    `limits` gives max_pixels and max_bytes. `compute` computes what no cache holds; without it this process does, with `encoder`.
    Raises EncoderError when the model or the disk fails; what was computed stays cached.
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
    missing = np.flatnonzero(~known)
    chunks = [missing[i : i + settings.batch_size].tolist() for i in range(0, len(missing), settings.batch_size)]
    compute = compute or PhotoEncoder(settings, limits, encoder=encoder).stream
    try:
        for rows, outcomes in zip(chunks, compute([copies[ids[row]] for row in rows] for rows in chunks), strict=True):
            run.keep(rows, outcomes)
            bar.update(len(rows))
    finally:  # an interrupt or a failing model must not cost what is done
        bar.close()
        run.flush()
    cache.compact()
    return _rows(photos, ids, vectors, run.failures, encoder.fingerprint)


def embed_prompts(encoder: Encoder, prompts: Mapping[str, Sequence[str]]) -> pl.DataFrame:
    """PROMPT_EMBEDDINGS rows, one per label and prompt in the order given; none where the encoder has no text tower."""
    import polars as pl

    pairs = [(label, text) for label, texts in prompts.items() for text in texts] if encoder.reads_text else []
    texts = list(dict.fromkeys(text for _, text in pairs))
    vectors = dict(zip(texts, encoder.encode_text(texts) if texts else [], strict=True))
    rows = [
        {"label": label, "prompt": text, "encoder": encoder.fingerprint, "embedding": vectors[text].tolist(),
         "logit_scale": encoder.logit_scale, "logit_bias": encoder.logit_bias}
        for label, text in pairs
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=PROMPT_EMBEDDINGS.polars_schema())


# -- decoding ----------------------------------------------------------------------------------------------------------
def prepared(
    chunks: Iterable[Chunk], encoder: Encoder, settings: EncoderSettings, limits: LibrarySettings
) -> Iterator[list[np.ndarray | Failure]]:
    """What `preprocess` gave for the photos of every chunk, in order; decoded by `decode_workers` threads, two chunks ahead at most."""
    window: deque[list[Future[np.ndarray | Failure]]] = deque()
    todo = iter(chunks)
    pool = ThreadPoolExecutor(settings.decode_workers, thread_name_prefix="decode")
    try:
        while True:
            while len(window) <= CHUNKS_AHEAD and (chunk := next(todo, None)) is not None:
                window.append([pool.submit(prepare, copies, encoder, limits) for copies in chunk])
            if not window:
                return
            yield [future.result() for future in window.popleft()]
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
    from vibe_assets.photos.decode import PhotoRejected, open_accepted, read_photo

    try:
        data = read_photo(photo.path, max_bytes=limits.max_bytes)
        if (found := hashlib.sha256(data).hexdigest()[: len(photo.image_id)]) != photo.image_id:
            return Failure(CHANGED, f"the file's bytes are now those of {found}; scan the folder again")
        decoded = open_accepted(io.BytesIO(data), limits, draft_px=draft_px)
        if draft_px is not None and (wanted := _wider_draft(decoded.image.size, (decoded.width, decoded.height), draft_px)):
            decoded = open_accepted(io.BytesIO(data), limits, draft_px=wanted)
        return decoded.image
    except PhotoRejected as rejection:
        return Failure(rejection.reason, rejection.detail)


def _wider_draft(size: tuple[int, int], full: tuple[int, int], draft_px: int) -> int | None:
    """Longest side to decode to when a panorama's short side fell below half of `draft_px`, the side that a model wants; else None."""
    wanted = min(draft_px // 2, min(full))
    return None if min(size) >= wanted else -(-wanted * max(full) // min(full))


# -- keeping -----------------------------------------------------------------------------------------------------------
@dataclass
class _Run:
    """Puts outcomes into `vectors` and `failures`, refuses what is not a unit vector, hands finished rows to `save` in chunks."""

    encoder: Encoder
    vectors: np.ndarray
    ids: Sequence[str]
    flush_s: float
    flush_photos: int
    save: SaveVectors
    failures: dict[str, Failure] = field(default_factory=dict)
    pending: list[int] = field(default_factory=list)
    last_flush: float = field(default_factory=time.monotonic)

    def keep(self, rows: Sequence[int], outcomes: Sequence[Outcome]) -> None:
        for row, outcome in zip(rows, outcomes, strict=True):
            if isinstance(outcome, Failure):
                self.failures[self.ids[row]] = outcome
                continue
            if outcome.shape != (self.encoder.dim,):
                raise ValueError(f"expected vectors of shape {(self.encoder.dim,)}, got {outcome.shape}")
            length = float(np.linalg.norm(outcome))
            if abs(length - 1) <= UNIT_TOLERANCE:  # false for nan
                self.vectors[row] = outcome
                self.pending.append(row)
            else:
                self.failures[self.ids[row]] = Failure(NON_FINITE, f"the encoder gave a vector of length {length}")
        if len(self.pending) >= self.flush_photos or time.monotonic() - self.last_flush >= self.flush_s:
            self.flush()

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
    unique = _lists(vectors)
    in_order = index.null_count() == 0 and len(index) == len(vectors) and bool((index == np.arange(len(index))).all())
    return pl.DataFrame(
        {
            "image_id": pl.Series([photo.image_id for photo in photos], dtype=pl.String),
            "encoder": pl.Series([fingerprint] * len(photos), dtype=pl.String),
            "embedding": unique if in_order else unique.gather(index),
            "reason": pl.Series([failure and failure.reason for failure in failed], dtype=pl.String),
            "detail": pl.Series([failure and failure.detail for failure in failed], dtype=pl.String),
        }
    )


def _lists(vectors: np.ndarray) -> pl.Series:
    """(n, d) float32 as n lists over the same memory: at a million photos every copy of the matrix is 3 GB."""
    import polars as pl
    import pyarrow as pa

    count, dim = vectors.shape
    return pl.Series(pa.LargeListArray.from_arrays(pa.array(np.arange(count + 1, dtype=np.int64) * dim), pa.array(vectors.reshape(-1))))
