"""A format's name goes in; how it is written, which pictures it wants and where it is documented come out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from vibe_assets.export import annotation_tools, tables, training
from vibe_assets.export.folder import photos_in, replacing
from vibe_assets.export.items import ExportError, Item, Items
from vibe_assets.export.pictures import LeftOut, Picture, Placer, picture_bytes
from vibe_assets.photos.decode import PhotoRejected
from vibe_assets.progress import stepped
from vibe_assets.questions import Questions
from vibe_assets.settings import LibrarySettings

LEFT_OUT = "left_out.jsonl"
LAYOUT = 2  # raised when what a format writes changes: earlier exports are then written anew


@dataclass(frozen=True)
class Job:
    """What a writer may need besides the items."""

    questions: Questions
    labels: Sequence[str]  # every label key, in the file's order
    shard_bytes: int
    at: datetime
    placer: Placer
    csv_encoding: str = "utf-8"


@dataclass(frozen=True)
class Format:
    """One way for labels to leave the house."""

    name: str
    about: str  # one line for people
    documentation: str  # where the format is described
    modes: tuple[str, ...]  # what --photos may be, the default first
    write: Callable[[Iterable[Item], Path, Job], None]
    below: str = "images"  # folder of the pictures
    read_by_pillow: bool = False  # what plain Pillow does not show as it is gets no link
    streams_pictures: bool = False  # the writer puts the pictures into its own files
    splits_only: bool = False  # photos that are set aside from every split are left out


@dataclass(frozen=True)
class Written:
    """What an export holds."""

    folder: Path
    photos: int
    left_out: tuple[LeftOut, ...]
    labels_from: Mapping[str, int] = field(default_factory=dict)  # source -> labels
    written: bool = True  # False: nothing had changed


def _webdataset(items: Iterable[Item], folder: Path, job: Job) -> None:
    def picture(item: Item) -> Picture | None:
        try:
            return picture_bytes(item, job.placer.limits)
        except PhotoRejected as rejection:
            job.placer.leave_out(item, rejection.reason, rejection.detail)
            return None

    training.write_webdataset(items, folder, picture=picture, shard_bytes=job.shard_bytes)


ANY = ("reference", "copy", "link")
_ALL = (
    Format(
        "csv", "a table for spreadsheets, safe against formulas", "https://www.rfc-editor.org/rfc/rfc4180", ANY,
        lambda items, folder, job: tables.write_csv(items, folder, job.questions, encoding=job.csv_encoding),
    ),
    Format(
        "jsonl", "the project's own JSON lines, as audited files have them", "docs/guides/export.md", ANY,
        lambda items, folder, job: tables.write_jsonl(items, folder, job.questions),
    ),
    Format(
        "parquet", "a Parquet file for polars, DuckDB, pandas, Spark", "https://parquet.apache.org/docs/file-format/", ANY,
        lambda items, folder, job: tables.write_parquet(items, folder, job.questions),
    ),
    Format(
        "imagefolder", "a Hugging Face ImageFolder with metadata.jsonl", "https://huggingface.co/docs/datasets/image_dataset#imagefolder",
        ("copy", "link"), lambda items, folder, job: training.write_imagefolder(items, folder), read_by_pillow=True,
    ),
    Format(
        "webdataset", "WebDataset shards: tar files with picture and JSON", "https://github.com/webdataset/webdataset", ("copy",),
        _webdataset, streams_pictures=True,
    ),
    Format(
        "coco", "COCO-style JSON with image-level annotations", "https://cocodataset.org/#format-data", ANY,
        lambda items, folder, job: annotation_tools.write_coco(items, folder, job.questions, labels=job.labels, at=job.at),
    ),
    Format(
        "fiftyone", "a FiftyOneImageClassificationDataset, multi-label",
        "https://docs.voxel51.com/user_guide/import_datasets.html#fiftyoneimageclassificationdataset", ANY,
        lambda items, folder, job: annotation_tools.write_fiftyone(items, folder, labels=job.labels), below="data", read_by_pillow=True,
    ),
    Format(
        "messages", "chat messages with the photo, for LoRA fine-tuning", "https://huggingface.co/docs/trl/dataset_formats", ANY,
        lambda items, folder, job: training.write_messages(items, folder, job.questions), read_by_pillow=True, splits_only=True,
    ),
)  # fmt: skip
FORMATS: dict[str, Format] = {one.name: one for one in _ALL}


def write_format(
    chosen: Format, items: Items, folder: Path, *, mode: str, manifest: Mapping[str, Any], labels: Sequence[str], shard_bytes: int,
    limits: LibrarySettings, at: datetime, progress: bool, csv_encoding: str = "utf-8",
) -> Written:  # fmt: skip
    """Write one export into `folder` (see replacing), with its manifest and the list of what was left out. Raises ExportError."""
    facts = dict(manifest)
    with replacing(folder, facts) as fresh:
        below = "linked" if mode == "reference" else chosen.below
        placer = Placer(fresh, mode, below, chosen.read_by_pillow, limits)
        tally = _Tally()
        shown = stepped(items, f"export {chosen.name}", unit="photo", shown=progress)
        chosen.write(_placed(shown, placer, chosen, tally), fresh, Job(items.questions, labels, shard_bytes, at, placer, csv_encoding))
        photos = tally.photos - (len(placer.left_out) - tally.left_out)
        if not photos and (before := photos_in(folder)):
            raise ExportError(
                f"{folder} holds {before} photos, and this export would have none{_why(placer.left_out)}; nothing was changed. Choose "
                "other labels or photos, give another folder with --into, or remove this one first"
            )
        if placer.left_out:
            lines = (json.dumps(vars(left), ensure_ascii=False) + "\n" for left in placer.left_out)
            (fresh / LEFT_OUT).write_text("".join(lines), encoding="utf-8")
        facts["counts"] = {"photos": photos, "left_out": _reasons(placer.left_out), "labels_from": tally.sources}
        facts["created_at"] = at.isoformat()
    return Written(folder, photos, tuple(placer.left_out), tally.sources)


@dataclass
class _Tally:
    photos: int = 0
    left_out: int = 0  # before the writer saw them
    sources: dict[str, int] = field(default_factory=dict)


def _placed(items: Iterable[Item], placer: Placer, chosen: Format, tally: _Tally) -> Iterator[Item]:
    """The items that the writer gets, pictures in their place, counted on the way."""
    for item in items:
        if chosen.splits_only and item.split not in training.SPLIT_FILES:
            placer.leave_out(item, "set_aside", "links groups of different splits: neither trains nor judges")
        elif (placed := item if chosen.streams_pictures else placer.place(item)) is not None:
            tally.photos += 1
            for entry in item.provenance:
                tally.sources[entry.source] = tally.sources.get(entry.source, 0) + 1
            yield placed
            continue
        tally.left_out += 1


def _why(left_out: Sequence[LeftOut]) -> str:
    return f" (left out: {', '.join(f'{count} {reason}' for reason, count in _reasons(left_out).items())})" if left_out else ""


def _reasons(left_out: Sequence[LeftOut]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for left in left_out:
        counts[left.reason] = counts.get(left.reason, 0) + 1
    return counts
