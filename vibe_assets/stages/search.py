"""Words or a photo -> the photos of the library that are nearest in the encoder's space, and a contact sheet of them."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from vibe_assets.export.contact_sheet import Shot
from vibe_assets.lake import checked_key, write_text
from vibe_assets.questions import ManyOf, OneOf, Questions, normalise
from vibe_assets.records import FOLDER_SET, IMAGE_EMBEDDINGS, PHOTO_GROUPS, PREDICTIONS, RAW_PHOTOS, PhotoRef
from vibe_assets.stages.library import accepted_photos
from vibe_assets.stages.platform import Platform, StageError
from vibe_assets.storage import Place, Url, below

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vibe_assets.encoders.base import Encoder
    from vibe_assets.export.nearest import Hit
    from vibe_assets.export.vector_index import VectorIndex


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
    """A query in words, or by a label of the file. Raises StageError where the encoder knows no words."""
    from vibe_assets.encoders.base import load_encoder

    encoder = load_encoder(platform.settings.encoder)
    if not encoder.reads_text:
        raise StageError(
            f"[encoder] name = {encoder.name!r} has no text tower, so it cannot be searched in words: choose a model that has one "
            "(siglip:google/siglip2-base-patch16-224, openclip:...), or search with a photo: `vibe search --like PHOTO`"
        )
    if not text.strip():
        raise StageError("nothing to search for: give some words, or `--like PHOTO`")
    return Query(f"“{text}”", _in_words(text, encoder, platform.questions), encoder)


def _in_words(text: str, encoder: Encoder, questions: Questions) -> NDArray[np.float32]:
    """(d,) The vector of a text; of the name, key or alias of a label that the file names, which the encoder may not know, that of the
    label's texts for zero-shot.
    """
    import numpy as np

    wanted = normalise(text)
    for label in questions.labels.values():
        if label.names and label.prompts and wanted in map(normalise, (*label.names.values(), label.key, label.word, *label.words)):
            mean = np.mean(encoder.encode_text(list(label.prompts)), axis=0)  # (d,)
            return mean / np.linalg.norm(mean)
    return encoder.encode_text([text])[0]


def query_photo(platform: Platform, path: Path) -> Query:
    """A query by example: a photo anywhere on disk, or one named by its path below the photo root. Raises PhotoRejected, StageError."""
    from vibe_assets.encoders.base import load_encoder
    from vibe_assets.encoders.engine import embed_photos
    from vibe_assets.heads.dataset import vectors
    from vibe_assets.photos.decode import read_photo
    from vibe_assets.photos.folders import readable_path

    settings = platform.settings
    place = _example(settings.root, path)
    data = read_photo(place, max_bytes=settings.library.max_bytes)
    photo = PhotoRef(hashlib.sha256(data).hexdigest()[:32], place, readable_path(os.fsencode(path)))
    encoder = load_encoder(settings.encoder)
    rows = embed_photos([photo], encoder, settings=settings.encoder, cache_dir=settings.cache_dir, progress=False, limits=settings.library)
    if rows["reason"][0] is not None:
        raise StageError(f"{path}: {rows['reason'][0]}: {rows['detail'][0]}")
    return Query(f"Like {photo.rel_path.rpartition('/')[2]}", vectors(rows["embedding"])[0], encoder, photo)


def _example(root: Place, path: Path) -> bytes:
    """Where the example lies: from here, or below the photo root. Raises StageError."""
    if path.is_file():
        return os.fsencode(path.absolute())
    place = below(root, os.fsencode(path))
    if isinstance(root, Path) and not (root / path).is_file():
        raise StageError(f"{path}: no such photo, neither from here nor below {root}")
    return place if isinstance(root, Url) else os.fsencode((root / path).absolute())


def search(platform: Platform, query: Query, *, top: int = 24, every: bool = False) -> Found:
    """The nearest photos, best first, one per group of near-duplicates unless `every`, and their contact sheet in reports/search/.

    The example itself is never among them, nor (unless `every`) is its group. Raises StageError when no photo has a vector of the encoder.
    """
    import numpy as np

    from vibe_assets.export.nearest import nearest

    index, skipped = library_index(platform, query.encoder.fingerprint)
    if not index.count:
        raise StageError(
            f"no photo of the library has a vector of [encoder] name = {query.encoder.name!r} yet: `vibe run "
            "image_embeddings` makes them, or set encoder.name back"
        )
    groups = None if every else _groups(platform, index)
    without = np.zeros(index.count, bool)
    if query.photo is not None:
        without = index.ids == query.photo.image_id.encode()
        if groups is not None:
            without = np.isin(groups, groups[without])
    hits = nearest(index, query.vector, top, groups=groups, without=without)
    shots = _shots(platform, hits, every=every)
    page = _write_sheet(platform, query, shots, searched=index.count, every=every)
    return Found(tuple(shots), page, index.count, skipped)


def library_index(platform: Platform, encoder: str) -> tuple[VectorIndex, int]:
    """The vectors of one encoder of the live library, and how many photos have none; written anew when a table moved.

    It lies in cache_dir/search/ under the versions of the tables: a next search maps the same files.
    """
    from vibe_assets.export.vector_index import VectorIndex

    home = platform.settings.cache_dir / "search" / checked_key(encoder)
    folder = home / "-".join(platform.lake.edition(table) for table in (IMAGE_EMBEDDINGS, FOLDER_SET, RAW_PHOTOS))
    index = VectorIndex.open(folder)
    if index is None:
        met: set[str] = set()
        index = VectorIndex.write(folder, _blocks(platform, encoder, met))
        for other in home.iterdir():
            if other != folder and not other.name.startswith("."):
                shutil.rmtree(other, ignore_errors=True)
        write_text(folder / "skipped", str(len(met) - index.count))
    return index, int((folder / "skipped").read_text(encoding="utf-8"))


def _blocks(platform: Platform, encoder: str, met: set[str]) -> Iterator[tuple[list[str], NDArray[np.float32]]]:
    """ids and unit rows, some thousand at a time; `met` collects every photo, with a vector of the encoder or not, once."""
    import polars as pl

    from vibe_assets.heads.dataset import vectors

    lake, there = platform.lake, accepted_photos(platform).select("image_id")
    for rows in lake.batches(IMAGE_EMBEDDINGS, ["image_id", "encoder", "embedding"], folder_keys=lake.live_folders()):
        rows = rows.unique("image_id", keep="first", maintain_order=True).join(there, on="image_id", how="semi", maintain_order="left")
        rows = rows.filter(pl.Series([image_id not in met for image_id in rows["image_id"]], dtype=pl.Boolean))
        met.update(rows["image_id"])
        usable = rows.filter(pl.col("embedding").is_not_null() & (pl.col("encoder") == encoder))
        if usable.height:
            yield usable["image_id"].to_list(), vectors(usable["embedding"])


def _groups(platform: Platform, index: VectorIndex) -> NDArray[np.int32]:
    """A number for every row of the index, the same for photos of one group."""
    import polars as pl

    def numbers() -> NDArray[np.int32]:
        ids = pl.DataFrame({"image_id": index.ids.astype(str)})
        groups = platform.lake.scan(PHOTO_GROUPS).select("image_id", "group_id").unique("image_id", keep="first").collect()
        named = ids.join(groups, on="image_id", how="left", maintain_order="left")
        return named.select(pl.coalesce("group_id", "image_id").rank("dense").cast(pl.Int32)).to_series().to_numpy()

    return index.side_file(f"groups-{platform.lake.edition(PHOTO_GROUPS)}", numbers)


def _shots(platform: Platform, hits: list[Hit], *, every: bool) -> list[Shot]:
    import polars as pl

    from vibe_assets.evaluate.gallery import thumbnails

    wanted = [hit.image_id for hit in hits]
    groups = platform.lake.scan(PHOTO_GROUPS).select("image_id", "group_id")
    shown = groups.filter(pl.col("image_id").is_in(wanted)).collect()
    members = groups.filter(pl.col("group_id").is_in(shown["group_id"].to_list())).collect()
    photos = accepted_photos(platform, image_ids=[*wanted, *members["image_id"]])
    refs = {ref.image_id: ref for ref in platform.photo_refs(photos.filter(pl.col("image_id").is_in(wanted)))}
    pictures = thumbnails({image_id: ref.path for image_id, ref in refs.items()}, library=platform.settings.library)
    said = platform.lake.live(PREDICTIONS, platform.lake.scan(PREDICTIONS)).filter(pl.col("image_id").is_in(wanted)).collect()
    labels = {row["image_id"]: _labels(row, platform.questions) for row in said.iter_rows(named=True)}
    nothing = Said("", "")
    sizes = dict(members.join(photos.select("image_id"), on="image_id").group_by("group_id").len().iter_rows())
    group_of = dict(shown.iter_rows())
    highest = max((hit.cosine for hit in hits), default=1.0)
    lowest = min((hit.cosine for hit in hits), default=0.0)
    return [
        Shot(
            refs[hit.image_id].rel_path if hit.image_id in refs else hit.image_id,
            hit.cosine,
            pictures.get(hit.image_id),
            labels.get(hit.image_id, nothing).shown,
            0 if every else sizes.get(group_of.get(hit.image_id), 1) - 1,
            round(8 + 92 * (hit.cosine - lowest) / (highest - lowest), 1) if highest > lowest else 100.0,
            labels.get(hit.image_id, nothing).keys,
        )
        for hit in hits
    ]


class Said(NamedTuple):
    """The labels of a photo in words: as people read them, and as their keys have them."""

    shown: str
    keys: str


def _labels(row: dict[str, Any], questions: Questions) -> Said:
    """All labels that hold; those that follow from another question would only say it twice."""
    found: dict[str, str] = {}
    for column in questions.columns:
        match questions.owner[column]:
            case OneOf() | ManyOf():
                said = row[column] or ()
                found |= {key: key.rpartition(".")[2].replace("_", " ") for key in ([said] if isinstance(said, str) else said)}
            case _ if row[column] and column not in questions.follows:
                found[column] = column.removeprefix("has_").removeprefix("is_").replace("_", " ")
    names = (questions.name(key, word) for key, word in found.items())
    return Said(", ".join(dict.fromkeys(names)), ", ".join(dict.fromkeys(found.values())))


def _write_sheet(platform: Platform, query: Query, shots: list[Shot], *, searched: int, every: bool) -> Path:
    from vibe_assets.evaluate.gallery import thumbnails
    from vibe_assets.export.contact_sheet import render_sheet

    folder = platform.settings.reports_dir / "search"
    name = re.sub(r"[^a-z0-9]+", "-", query.title.lower()).strip("-")[:40] or "search"
    mark = hashlib.sha256(query.vector.tobytes() + query.title.encode("utf-8", "surrogateescape") + bytes([every])).hexdigest()[:8]
    example = thumbnails({"example": query.photo.path}, library=platform.settings.library).get("example") if query.photo else None
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
