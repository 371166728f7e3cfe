"""A file of comparisons and the photos it speaks of go in; an import that every later stage reads comes out."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from vibe_assets.lake import write_text
from vibe_assets.stages.library import accepted_photos
from vibe_assets.stages.platform import Platform
from vibe_assets.triage.pairs import Comparison, PairFileError, normalised, read_pairs, series_of, to_lines

if TYPE_CHECKING:
    import polars as pl

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")


@dataclass(frozen=True)
class Photo:
    """Where a photo of an import lies."""

    image_id: str
    rel_path: str
    path_bytes: bytes  # absolute, or below the photo root where the library has it


@dataclass(frozen=True)
class Import:
    """Comparisons under a name; `photos`: normalised file name -> photo, None where two different photos have the name."""

    name: str
    comparisons: tuple[Comparison, ...]
    photos: dict[str, Photo | None]

    def series(self) -> dict[str, tuple[str, ...]]:
        """series_id -> image_ids of the photos that were found, series with fewer than two left out."""
        found = {}
        for series, files in series_of(self.comparisons).items():
            members = [photo.image_id for file in files if (photo := self.photos.get(file)) is not None]
            if len(set(members)) > 1:
                found[self.series_id(series)] = tuple(dict.fromkeys(members))
        return found

    def series_id(self, series: str) -> str:
        return f"{self.name}:{series}"


def import_pairs(platform: Platform, file: Path, *, photos: Path | None = None, name: str | None = None) -> Import:
    """Read and keep a file of comparisons. `photos`: folder of its photos; without it they are looked for in the library by name.

    Raises PairFileError for a file that is none, and for a name that cannot be a file's.
    """
    name = name or re.sub(r"[^a-z0-9_-]+", "-", file.stem.lower()).strip("-_")[:40]
    if not NAME.fullmatch(name) or name in ("library", "review"):
        raise PairFileError(f"{name!r} cannot name an import: lowercase letters, digits, '-' and '_', at most 40; give one with --name")
    comparisons = read_pairs(file, settings=platform.settings.triage)
    folder = platform.settings.triage_dir / "imports"
    found = _photos_below(platform, photos) if photos is not None else []
    lines = [{"image_id": p.image_id, "rel_path": p.rel_path, "path": os.fsdecode(p.path_bytes)} for p in found]
    write_text(folder / f"{name}.photos.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    write_text(folder / f"{name}.pairs.jsonl", to_lines(comparisons))
    return next(one for one in imports(platform) if one.name == name)


def imports(platform: Platform) -> list[Import]:
    """Every import, by name; what counts is judged anew under the settings in force."""
    library: dict[str, Photo | None] | None = None
    found = []
    for file in sorted((platform.settings.triage_dir / "imports").glob("*.pairs.jsonl")):
        name = file.name.removesuffix(".pairs.jsonl")
        own = file.with_name(f"{name}.photos.jsonl")
        photos = by_name(_read_photos(own)) if own.exists() else {}
        if not photos:
            library = by_name(_library(accepted_photos(platform))) if library is None else library
            photos = library
        found.append(Import(name, tuple(read_pairs(file, settings=platform.settings.triage)), photos))
    return found


def by_name(photos: Iterable[Photo]) -> dict[str, Photo | None]:
    """Normalised file name -> photo; None where two different photos share it: neither can be meant."""
    found: dict[str, Photo | None] = {}
    for photo in photos:
        key = normalised(PurePosixPath(photo.rel_path).name)
        held = found.setdefault(key, photo)
        if held is not None and held.image_id != photo.image_id:
            found[key] = None
    return found


def _photos_below(platform: Platform, folder: Path) -> list[Photo]:
    from vibe_assets.stages.standalone import find_photos

    return [Photo(ref.image_id, ref.rel_path, ref.path) for ref in find_photos(platform.settings, folder.resolve())]


def _read_photos(file: Path) -> list[Photo]:
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return [Photo(row["image_id"], row["rel_path"], os.fsencode(row["path"])) for row in rows]


def _library(rows: pl.DataFrame) -> list[Photo]:
    return [Photo(*row) for row in rows.select("image_id", "rel_path", "path_bytes").iter_rows()]
