"""Words or a photo -> the photos of the library that are nearest in the encoder's space, and a contact sheet of them."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vibe_assets.export.contact_sheet import Shot
from vibe_assets.lake import write_text
from vibe_assets.records import ATTRIBUTES, IMAGE_EMBEDDINGS, PHOTO_GROUPS, PREDICTIONS, PhotoRef
from vibe_assets.stages.library import accepted_photos
from vibe_assets.stages.platform import Platform, StageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vibe_assets.encoders.base import Encoder
    from vibe_assets.export.nearest import Hit


@dataclass(frozen=True)
class Query:
    """What is searched for, as a unit vector."""

    title: str
    vector: NDArray[np.float32]  # (d,)
    encoder: Encoder
    photo: PhotoRef | None = None  # the example, where one was given


@dataclass(frozen=True)
class Found:
    """The result of a search and the page that shows it."""

    shots: tuple[Shot, ...]
    page: Path
    searched: int  # photos with a vector of the encoder
    skipped: int  # photos whose vector is of another encoder, or missing


def query_text(platform: Platform, text: str) -> Query:
    """A query in words. Raises StageError where the encoder knows no words."""
    from vibe_assets.encoders.base import load_encoder

    encoder = load_encoder(platform.settings.encoder)
    if not encoder.has_text:
        raise StageError(
            f"[encoder] name = {encoder.name!r} has no text tower, so it cannot be searched in words: choose a model that has one "
            "(siglip:google/siglip2-base-patch16-224, openclip:...), or search with a photo: `vibe search --like PHOTO`"
        )
    if not text.strip():
        raise StageError("nothing to search for: give some words, or `--like PHOTO`")
    return Query(f"“{text}”", encoder.encode_text([text])[0], encoder)


def query_photo(platform: Platform, path: Path) -> Query:
    """A query by example: a photo anywhere on disk, or one named by its path below the photo root. Raises PhotoRejected, StageError."""
    from vibe_assets.encoders.base import load_encoder
    from vibe_assets.encoders.engine import embed_photos
    from vibe_assets.heads.dataset import vectors
    from vibe_assets.photos.decode import read_photo
    from vibe_assets.photos.folders import readable_path

    settings = platform.settings
    place = next((one for one in (path, settings.root / path) if one.is_file()), None)
    if place is None:
        raise StageError(f"{path}: no such photo, neither from here nor below {settings.root}")
    data = read_photo(place, max_bytes=settings.library.max_bytes)
    photo = PhotoRef(hashlib.sha256(data).hexdigest()[:32], os.fsencode(place.absolute()), readable_path(os.fsencode(path)))
    encoder = load_encoder(settings.encoder)
    rows = embed_photos([photo], encoder, settings=settings.encoder, cache_dir=settings.cache_dir, progress=False, limits=settings.library)
    if rows["reason"][0] is not None:
        raise StageError(f"{path}: {rows['reason'][0]}: {rows['detail'][0]}")
    return Query(f"Like {photo.rel_path.rpartition('/')[2]}", vectors(rows["embedding"])[0], encoder, photo)


def search(platform: Platform, query: Query, *, top: int = 24, every: bool = False) -> Found:
    """The nearest photos, best first, one per group of near-duplicates unless `every`, and their contact sheet in reports/search/.

    The example itself is never among them, nor (unless `every`) is its group. Raises StageError when no photo has a vector of the encoder.
    """
    from vibe_assets.export.nearest import nearest

    groups = dict(platform.lake.scan(PHOTO_GROUPS).select("image_id", "group_id").collect().iter_rows())
    counted = [0, 0]
    without: set[str] = set()
    if query.photo is not None:
        without = {query.photo.image_id} | (set() if every else {groups.get(query.photo.image_id, query.photo.image_id)})
    blocks = _blocks(platform, query.encoder.fingerprint, counted)
    hits = nearest(blocks, query.vector, top, groups=None if every else groups, without=without)
    if not counted[0]:
        raise StageError(
            f"no photo of the library has a vector of [encoder] name = {query.encoder.name!r} yet: materialise image_embeddings "
            "(`make ui`), or set encoder.name back"
        )
    shots = _shots(platform, hits, groups, every=every)
    page = _write_sheet(platform, query, shots, searched=counted[0], every=every)
    return Found(tuple(shots), page, counted[0], counted[1])


def _blocks(platform: Platform, encoder: str, counted: list[int]) -> Iterator[tuple[list[str], NDArray[np.float32]]]:
    """ids and unit rows of each folder; counts the photos searched and those passed over. A photo in two folders is met once."""
    import polars as pl

    from vibe_assets.heads.dataset import vectors

    met: set[str] = set()
    for key in platform.lake.live_folders():
        rows = platform.lake.read(IMAGE_EMBEDDINGS, folder_key=key)
        rows = rows.unique("image_id", keep="first", maintain_order=True).filter(~pl.col("image_id").is_in(list(met)))
        met.update(rows["image_id"])
        usable = rows.filter(pl.col("embedding").is_not_null() & (pl.col("encoder") == encoder))
        counted[0] += usable.height
        counted[1] += rows.height - usable.height
        if usable.height:
            yield usable["image_id"].to_list(), vectors(usable["embedding"])


def _shots(platform: Platform, hits: list[Hit], groups: dict[str, str], *, every: bool) -> list[Shot]:
    import polars as pl

    from vibe_assets.evaluate.gallery import thumbnails

    wanted = [hit.image_id for hit in hits]
    photos = accepted_photos(platform).filter(pl.col("image_id").is_in(wanted))
    refs = {ref.image_id: ref for ref in platform.photo_refs(photos)}
    pictures = thumbnails({image_id: ref.path for image_id, ref in refs.items()})
    said = platform.lake.scan(PREDICTIONS).filter(pl.col("image_id").is_in(wanted)).collect()
    labels = {row["image_id"]: _labels(row) for row in said.iter_rows(named=True)}
    sizes: dict[str, int] = {}
    for image_id in accepted_photos(platform)["image_id"]:
        group = groups.get(image_id, image_id)
        sizes[group] = sizes.get(group, 0) + 1
    highest = max((hit.cosine for hit in hits), default=1.0)
    lowest = min((hit.cosine for hit in hits), default=0.0)
    return [
        Shot(
            refs[hit.image_id].rel_path if hit.image_id in refs else hit.image_id,
            hit.cosine,
            pictures.get(hit.image_id),
            labels.get(hit.image_id, ""),
            0 if every else sizes.get(groups.get(hit.image_id, hit.image_id), 1) - 1,
            round(8 + 92 * (hit.cosine - lowest) / (highest - lowest), 1) if highest > lowest else 100.0,
        )
        for hit in hits
    ]


def _labels(row: dict[str, Any]) -> str:
    """Scene, attributes that hold and objects, in words."""
    scene = [row["scene"].removeprefix("scene.")] if row["scene"] else []
    attributes = [name.removeprefix("has_").removeprefix("is_") for name in ATTRIBUTES if row[name] and name.startswith("has_")]
    objects = [key.rpartition(".")[2].replace("_", " ") for key in row["objects"] or ()]
    return ", ".join(dict.fromkeys([*scene, *attributes, *objects]))


def _write_sheet(platform: Platform, query: Query, shots: list[Shot], *, searched: int, every: bool) -> Path:
    from vibe_assets.evaluate.gallery import thumbnails
    from vibe_assets.export.contact_sheet import render_sheet

    folder = platform.settings.reports_dir / "search"
    name = re.sub(r"[^a-z0-9]+", "-", query.title.lower()).strip("-")[:40] or "search"
    mark = hashlib.sha256(query.vector.tobytes() + query.title.encode("utf-8", "surrogateescape") + bytes([every])).hexdigest()[:8]
    example = thumbnails({"example": query.photo.path}).get("example") if query.photo else None
    kind = "every photo by itself" if every else "near-duplicates and bursts shown once"
    page = render_sheet(
        shots,
        title=query.title,
        subtitle=f"The {len(shots)} nearest of {searched:,} photos; {kind}.",
        footer=f"Cosine similarity in the space of {query.encoder.name} ({query.encoder.fingerprint}), exact. A bar compares the photos of "
        "this page with each other, the number is the cosine itself; it is no probability.",
        example=example,
    )
    return write_text(folder / f"{name}-{mark}.html", page)
