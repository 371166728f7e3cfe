"""Small photo libraries on disk, and RAW_PHOTOS rows without files."""

from __future__ import annotations

import hashlib
import os
import struct
import zlib
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from PIL import Image

from vibe_assets.photos.scan import Folder, discover_folders, folder_key, scan_folder
from vibe_assets.photos.workers import measure_photo
from vibe_assets.records import RAW_PHOTOS
from vibe_assets.settings import LibrarySettings

SETTINGS = LibrarySettings(scan_workers=2, decode_timeout_s=20, max_pixels=20_000_000, max_bytes=20_000_000)


def picture(seed: int = 0, size: tuple[int, int] = (96, 64)) -> Image.Image:
    """A smooth random picture: every seed another hash."""
    noise = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)


def save(path: Path, seed: int = 0, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(seed).save(path, **options)
    return path


def bomb_png(width: int, height: int) -> bytes:
    """A PNG of a few bytes that claims the given size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(20_000_000))) + chunk(b"IEND", b"")


def only_folder(root: Path) -> Folder:
    (folder,) = discover_folders(root).folders
    return folder


def scan(root: Path, known: pl.DataFrame | None = None, *, settings: LibrarySettings = SETTINGS, **options: Any) -> pl.DataFrame:
    """Rows of a root that holds its photos directly."""
    return scan_folder(root, "root-e3b0c442", b"", known_rows=known, settings=settings, **options)


def measured(root: Path, folders: Iterable[str]) -> pl.DataFrame:
    """Rows of real photos, measured in this process: much faster than a scan where the files are known to be harmless."""
    rows = []
    for folder in folders:
        for path in sorted((root / folder).iterdir()):
            record = measure_photo(os.fsencode(path), 120_000_000, 200_000_000)
            rel_path = path.relative_to(root).as_posix()
            place = {"folder_key": folder_key(folder.encode()), "rel_path": rel_path, "path_bytes": rel_path.encode()}
            rows.append(dict.fromkeys(RAW_PHOTOS.columns) | place | record)
    return pl.DataFrame(rows, schema=RAW_PHOTOS.polars_schema(), orient="row")


def by_name(rows: pl.DataFrame) -> dict[str, dict[str, Any]]:
    return {row["rel_path"]: row for row in rows.iter_rows(named=True)}


def raw_rows(photos: Iterable[dict[str, Any]]) -> pl.DataFrame:
    """RAW_PHOTOS rows from name, phash (int) and, where they matter, folder_key, taken_at, camera, reason."""
    rows = []
    for photo in photos:
        row: dict[str, Any] = dict.fromkeys(RAW_PHOTOS.columns)
        path = f"{photo.get('folder_key', 'a-00000000')}/{photo['name']}"
        row |= {"folder_key": "a-00000000", "rel_path": path, "path_bytes": path.encode(), "image_id": image_id(photo["name"])}
        row |= {key: value for key, value in photo.items() if key not in ("name", "phash")}
        row["phash"] = None if photo["phash"] is None else f"{photo['phash']:016x}"
        rows.append(row)
    return pl.DataFrame(rows, schema=RAW_PHOTOS.polars_schema(), orient="row")


def image_id(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:32]


def moment(second: float) -> datetime:
    return datetime(2024, 5, 1, 12, 0, int(second), int(second % 1 * 1e6))
