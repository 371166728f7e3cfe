"""A folder of photos goes in; how many a second are decoded, computed and embedded end to end comes out (`vibe bench embed`)."""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vibe_assets.encoders.base import Encoder, EncoderError, load_encoder
from vibe_assets.encoders.engine import Failure, embed_photos, prepared
from vibe_assets.records import PhotoRef
from vibe_assets.settings import EncoderSettings, LibrarySettings

COMPARED = 16  # photos embedded once more in fp32


@dataclass(frozen=True)
class EmbedBench:
    """Photos a second, by stage and as a whole. Decode and forward each had the machine to themselves."""

    encoder: str
    fingerprint: str
    photos: int
    failed: int
    decode_per_s: float  # read, verify, decode, shrink, with `decode_workers` threads
    forward_per_s: float  # the model alone on preloaded arrays, in full batches
    end_to_end_per_s: float  # files on disk to vectors in the cache
    share_of_forward: float  # end to end / forward: 1 when decoding is hidden completely
    cosine_min: float  # of the vectors to those of fp32 with full decoding, over the first photos
    cosine_mean: float

    def row(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"{self.encoder} ({self.fingerprint}), {self.photos} photos, {self.failed} without a vector\n"
            f"  decode      {self.decode_per_s:8.1f} img/s\n"
            f"  forward     {self.forward_per_s:8.1f} img/s\n"
            f"  end to end  {self.end_to_end_per_s:8.1f} img/s, {self.share_of_forward:.0%} of the forward pass\n"
            f"  cosine to fp32 with full decoding: at least {self.cosine_min:.5f}, {self.cosine_mean:.5f} on average"
        )


def bench(photos: Path | Sequence[PhotoRef], settings: EncoderSettings, *, limit: int = 256, forward_s: float = 4.0) -> EmbedBench:
    """Measure on up to `limit` photos of a folder (by name) or of a list; nothing stays on disk.

    The forward pass is timed before and after the whole, so that a machine that changes its speed meanwhile cancels out in the ratio.
    Raises EncoderError where no photo can be read.
    """
    chosen = references(photos, limit) if isinstance(photos, Path) else list(photos[:limit])
    encoder = load_encoder(settings)
    started = time.perf_counter()
    arrays = _prepared(chosen, encoder, settings)
    decode_s = time.perf_counter() - started
    readable = [value for value in arrays if not isinstance(value, Failure)]
    if not readable:
        raise EncoderError(
            f"no photo to measure with: {photos if isinstance(photos, Path) else len(chosen)}; give a folder that holds some"
        )
    batch = [readable[i % len(readable)] for i in range(settings.batch_size)]
    before = _forward_per_s(encoder, batch, forward_s / 2)
    with tempfile.TemporaryDirectory() as cache:
        started = time.perf_counter()
        rows = embed_photos(chosen, encoder, settings=settings, cache_dir=Path(cache), progress=False)
        whole_s = time.perf_counter() - started
    forward = (before + _forward_per_s(encoder, batch, forward_s / 2)) / 2
    done = rows["reason"].null_count()
    whole_per_s = done / whole_s
    cosines = _cosines(chosen[:COMPARED], rows["embedding"].to_list(), settings)
    return EmbedBench(
        encoder=settings.name, fingerprint=encoder.fingerprint, photos=len(chosen), failed=len(chosen) - done,
        decode_per_s=len(readable) / decode_s, forward_per_s=forward, end_to_end_per_s=whole_per_s, share_of_forward=whole_per_s / forward,
        cosine_min=float(cosines.min()), cosine_mean=float(cosines.mean()),
    )  # fmt: skip


def references(folder: Path, limit: int) -> list[PhotoRef]:
    """The first `limit` photos below a folder, by path; the same bytes count once. Raises EncoderError where it is no folder."""
    if not folder.is_dir():
        raise EncoderError(f"no such folder: {folder}; give a folder of photos to measure with")
    from vibe_assets.photos.decode import looks_decodable

    found: dict[str, PhotoRef] = {}
    for path in sorted(folder.rglob("*")):
        if len(found) == limit:
            break
        if path.is_file() and not path.name.startswith(".") and looks_decodable(os.fsencode(path.name)):
            with path.open("rb") as handle:
                image_id = hashlib.file_digest(handle, "sha256").hexdigest()[:32]
            shown = os.fsencode(path.relative_to(folder)).decode("utf-8", "backslashreplace")
            found.setdefault(image_id, PhotoRef(image_id, os.fsencode(path), shown))
    return list(found.values())


def _prepared(photos: Sequence[PhotoRef], encoder: Encoder, settings: EncoderSettings) -> list[np.ndarray | Failure]:
    size = settings.batch_size
    chunks = ([[photo] for photo in photos[i : i + size]] for i in range(0, len(photos), size))
    return [value for chunk in prepared(chunks, encoder, settings, LibrarySettings()) for value in chunk]


def _cosines(photos: Sequence[PhotoRef], vectors: Sequence[Sequence[float] | None], settings: EncoderSettings) -> np.ndarray:
    """(n,) of each photo's vector to what the same model gives in fp32 from the fully decoded photo; photos without a vector left out."""
    exact = settings.model_copy(update={"precision": "fp32", "decode_mode": "full"})
    encoder = load_encoder(exact)
    pairs = zip(vectors, _prepared(photos, encoder, exact), strict=False)  # vectors of more photos than are compared
    both = [(vector, value) for vector, value in pairs if vector is not None and not isinstance(value, Failure)]
    reference = encoder.encode([value for _, value in both])
    return (np.asarray([vector for vector, _ in both], np.float32) * reference).sum(1) if both else np.array([np.nan])


def _forward_per_s(encoder: Encoder, batch: Sequence[np.ndarray], seconds: float) -> float:
    encoder.encode(batch)  # the first call allocates and chooses kernels
    started, done = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        encoder.encode(batch)
        done += len(batch)
    return done / (time.perf_counter() - started)
