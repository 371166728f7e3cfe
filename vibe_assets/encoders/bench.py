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

    def row(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"{self.encoder} ({self.fingerprint}), {self.photos} photos, {self.failed} without a vector\n"
            f"  decode      {self.decode_per_s:8.1f} img/s\n"
            f"  forward     {self.forward_per_s:8.1f} img/s\n"
            f"  end to end  {self.end_to_end_per_s:8.1f} img/s, {self.share_of_forward:.0%} of the forward pass"
        )


def bench(photos: Path | Sequence[PhotoRef], settings: EncoderSettings, *, limit: int = 256, forward_s: float = 4.0) -> EmbedBench:
    """Measure on up to `limit` photos of a folder (by name) or of a list; nothing stays on disk.

    The forward pass is timed before and after the whole, so that a machine that changes its speed meanwhile cancels out in the ratio.
    Raises EncoderError where no photo can be read.
    """
    chosen = references(photos, limit) if isinstance(photos, Path) else list(photos[:limit])
    encoder = load_encoder(settings)
    started = time.perf_counter()
    arrays = [value for _, value in prepared(range(len(chosen)), [[photo] for photo in chosen], encoder, settings, LibrarySettings())]
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
    return EmbedBench(
        encoder=settings.name, fingerprint=encoder.fingerprint, photos=len(chosen), failed=len(chosen) - done,
        decode_per_s=len(readable) / decode_s, forward_per_s=forward, end_to_end_per_s=whole_per_s, share_of_forward=whole_per_s / forward,
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


def _forward_per_s(encoder: Encoder, batch: Sequence[np.ndarray], seconds: float) -> float:
    encoder.encode(batch)  # the first call allocates and chooses kernels
    started, done = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        encoder.encode(batch)
        done += len(batch)
    return done / (time.perf_counter() - started)
