"""Folders of generated JPEGs go in; scan time beside a plain Pillow + hashlib + imagehash loop, re-scan rate and start-up cost come out.

    python benchmarks/scan.py [--runs 5] [--full]

The loop opens each file, hashes its bytes, reads EXIF, decodes it in full, scales it to 512 px and takes the same four measures and the
same perceptual hash: what one writes first. It runs in one process; `one process` is the scan's own code without its workers.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import imagehash
import numpy as np
import polars as pl
from measure import Bench, parser, seconds
from pictures import TINY, TWELVE_MP, TWO_MP, write_library
from PIL import ExifTags, Image, ImageOps

from vibe_assets.photos import workers
from vibe_assets.photos.quality import measure
from vibe_assets.photos.scan import folder_key, scan_folder
from vibe_assets.settings import LibrarySettings

SEED = 0
SETTINGS = LibrarySettings(scan_workers=os.cpu_count() or 2)
SIZES = {"12 MP": (TWELVE_MP, 8), "2 MP": (TWO_MP, 32)}
FOLDERS, PER_FOLDER = 8, 12


def plain_loop(paths: list[Path]) -> None:
    for path in paths:
        hashlib.sha256(path.read_bytes()).hexdigest()
        with Image.open(path) as opened:
            exif = opened.getexif()
            exif.get_ifd(ExifTags.IFD.Exif)
            exif.get_ifd(ExifTags.IFD.GPSInfo)
            image = ImageOps.exif_transpose(opened).convert("RGB")
        imagehash.phash(image)
        image.thumbnail((512, 512), Image.Resampling.BICUBIC)
        measure(image)


def scan(root: Path, name: str = "", known: pl.DataFrame | None = None) -> pl.DataFrame:
    return scan_folder(root, folder_key(name.encode()), name.encode(), known_rows=known, settings=SETTINGS)


def one_process(paths: list[Path]) -> None:
    for path in paths:
        workers.measure_photo(os.fsencode(path), SETTINGS.max_pixels, SETTINGS.max_bytes)


def against_the_loop(bench: Bench, home: Path) -> None:
    for label, (size, count) in SIZES.items():
        root = home / label
        paths = write_library(root, count, size)
        assert scan(root)["reason"].null_count() == count  # also warms the file cache
        names = {f"plain loop, {label}": lambda p=paths: plain_loop(p), f"scan, {label}": lambda r=root: scan(r),
                 f"one process, {label}": lambda p=paths: one_process(p)}  # fmt: skip
        bench.turns({name: _per_second(work, count) for name, work in names.items()})
        key = label.replace(" ", "_").lower()
        bench.ratio(f"vs_plain_loop_{key}", f"plain loop, {label}", f"scan, {label}")
        bench.ratio(f"vs_plain_loop_{key}_cpu_of_one_process", f"plain loop, {label}", f"one process, {label}", unit="cpu s")
        bench.work[label] = {"photos": count, "width": size[0], "height": size[1], "bytes": int(np.mean([p.stat().st_size for p in paths]))}


def again(bench: Bench, home: Path, count: int) -> None:
    """A folder that did not change, beside a bare scandir + stat loop over it. The known rows are made up: no file is opened."""
    root = home / "again"
    root.mkdir()
    for at in range(count):
        (root / f"IMG_{at:06}.jpg").write_bytes(b"x")
    known = _known(root)
    assert scan(root, known=known).equals(known)

    def bare() -> None:
        with os.scandir(os.fsencode(root)) as entries:
            for entry in entries:
                entry.stat()

    bench.turns({"stat calls": _per_second(bare, count), "re-scan": _per_second(lambda: scan(root, known=known), count)}, warm=True)
    bench.ratio("rescan_vs_stat_calls", "stat calls", "re-scan")
    bench.ratio("rescan_vs_stat_calls_cpu", "stat calls", "re-scan", unit="cpu s")
    bench.versus_limit("rescan_vs_50000_files_a_second", "re-scan", 50_000, unit="files/s")
    bench.work["re-scan"] = {"files": count}


def _known(root: Path) -> pl.DataFrame:
    def made_up(paths: list[bytes], **_: Any) -> Iterator[dict[str, Any]]:
        for path in paths:
            digest = hashlib.sha256(path).hexdigest()
            yield {
                "image_id": digest[:32], "format": "JPEG", "width": 4032, "height": 3024, "frames": 1, "orientation": 1,
                "camera": "Benchmark", "sharpness": 1.0, "exposure": 0.5, "contrast": 0.1, "colourfulness": 9.0, "phash": digest[:16],
            }  # fmt: skip

    real, workers.measure_photos = workers.measure_photos, made_up  # type: ignore[assignment]
    try:
        return scan(root)
    finally:
        workers.measure_photos = real


def many_folders(bench: Bench, home: Path) -> None:
    """Small folders one after the other in one process: workers that stay, beside workers started anew for each folder."""
    root = home / "folders"
    names = [f"f{at}" for at in range(FOLDERS)]
    for name in names:
        write_library(root / name, PER_FOLDER, TINY)

    def scan_all(*, anew: bool) -> None:
        for name in names:
            scan(root, name)
            if anew:
                workers.stop_idle_workers()

    scan(root, names[0])
    bench.turns({"workers anew for each folder": lambda: scan_all(anew=True), "workers that stay": lambda: scan_all(anew=False)})
    bench.ratio("folders_vs_workers_anew", "workers anew for each folder", "workers that stay")
    bench.work["folders"] = {"folders": FOLDERS, "photos_each": PER_FOLDER, "size": list(TINY)}


def _per_second(work: Callable[[], object], count: int) -> Callable[[], dict[str, float]]:
    def run() -> dict[str, float]:
        took, cpu = seconds(work)
        return {"s": took, "files/s": count / took, "cpu s": cpu}

    return run


@contextmanager
def _home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="vibe-bench-") as home:
        yield Path(home)


def main() -> None:
    options = parser(__doc__).parse_args()
    bench = Bench("scan", options, seed=SEED, packages=("pillow", "imagehash", "numpy", "polars", "pebble"))
    with _home() as home:
        against_the_loop(bench, home)
        again(bench, home, 200_000 if options.full else 50_000)
        many_folders(bench, home)
    bench.write()


if __name__ == "__main__":
    main()
