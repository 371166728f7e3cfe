"""Items become what annotation tools read: COCO-style JSON with image-level annotations, and FiftyOne's classification dataset."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

from vibe_assets.export.items import Item
from vibe_assets.questions import Questions

NOTE = (
    "Image-level labels: an annotation says that its image shows the category, and has no bbox, area or segmentation. "
    "neg_category_ids of an image (as in LVIS) are attributes that are known to be absent."
)


def write_coco(items: Iterable[Item], folder: Path, questions: Questions, *, labels: Sequence[str], at: datetime) -> None:
    """annotations.json in COCO's layout (https://cocodataset.org/#format-data): info, licenses, images, annotations, categories.

    `labels` are the label file's keys; category ids follow their order from 1. `name` is the given name, with
    the key in `key` beside it; without one it is the key. COCO knows boxes, not whole images: see NOTE, which the
    file carries in info.description. `score` is the confidence where one is known.
    """
    category = {label: number for number, label in enumerate(labels, 1)}
    places = [folder / "images.part", folder / "annotations.part"]
    with places[0].open("w", encoding="utf-8") as images, places[1].open("w", encoding="utf-8") as annotations:
        count = 0
        for number, item in enumerate(items, 1):
            _listed(images, _coco_image(number, item, category), first=number == 1)
            for entry in item.provenance:
                if entry.value:
                    count += 1
                    about = {"source": entry.source, "version": entry.version, "image_level": True}
                    scored = {} if entry.confidence is None else {"score": entry.confidence}
                    shared = {"id": count, "image_id": number, "category_id": category[entry.label], "iscrowd": 0}
                    _listed(annotations, {**shared, **scored, **about}, first=count == 1)
    head = {"info": {"description": NOTE, "version": "1.0", "year": at.year, "date_created": at.isoformat()}, "licenses": []}
    kinds = {question.prefix: question.head for question in questions}
    prefixes = {label: label.partition(".")[0] for label in labels}
    names = questions.distinct(labels)
    categories = [
        {
            "id": number, "name": names.get(label, label), "supercategory": kinds.get(prefixes[label], prefixes[label]),
            **({"key": label} if names else {}),
        }
        for label, number in category.items()
    ]  # fmt: skip
    with (folder / "annotations.json").open("w", encoding="utf-8") as file:
        file.write(json.dumps(head, ensure_ascii=False)[:-1])
        for name, place in zip(("images", "annotations"), places, strict=True):
            file.write(f', "{name}": [')
            with place.open(encoding="utf-8") as part:
                shutil.copyfileobj(part, file)
            file.write("]")
            place.unlink()
        file.write(f', "categories": {json.dumps(categories, ensure_ascii=False)}}}\n')


def _coco_image(number: int, item: Item, category: dict[str, int]) -> dict[str, Any]:
    return {
        "id": number,
        "file_name": item.file_name,
        "width": item.width,
        "height": item.height,
        "neg_category_ids": [category[entry.label] for entry in item.provenance if not entry.value],
        "photo_id": item.labels.image_id,
        "rel_path": item.photo.rel_path,
        "path_uri": item.path_uri,
        "group_id": item.group_id,
        "split": item.split,
    }


def write_fiftyone(items: Iterable[Item], folder: Path, *, labels: Sequence[str]) -> None:
    """labels.json of a `fiftyone.types.FiftyOneImageClassificationDataset`, multi-label: a list of {label, confidence} per photo.

    Documentation: https://docs.voxel51.com/user_guide/import_datasets.html#fiftyoneimageclassificationdataset. Pictures lie in data/; where
    they are given by reference, data.json is the manifest that names them. Attributes that are known to be absent have no place in it.
    """
    targets, paths = folder / "targets.part", folder / "paths.part"
    referenced = 0
    with targets.open("w", encoding="utf-8") as file, paths.open("w", encoding="utf-8") as manifest:
        for number, item in enumerate(items):
            found = [
                {"label": entry.label} | ({} if entry.confidence is None else {"confidence": entry.confidence})
                for entry in item.provenance
                if entry.value
            ]
            _member(file, item.labels.image_id, found, first=number == 0)
            if not item.file_name.startswith("data/"):
                _member(manifest, item.labels.image_id, item.file_name, first=referenced == 0)
                referenced += 1
    with (folder / "labels.json").open("w", encoding="utf-8") as file:
        file.write(f'{{"classes": {json.dumps(list(labels), ensure_ascii=False)}, "labels": {{')
        with targets.open(encoding="utf-8") as part:
            shutil.copyfileobj(part, file)
        file.write("}}\n")
    if referenced:
        with (folder / "data.json").open("w", encoding="utf-8") as file, paths.open(encoding="utf-8") as part:
            file.write("{")
            shutil.copyfileobj(part, file)
            file.write("}\n")
    targets.unlink()
    paths.unlink()


def _listed(file: TextIO, value: Any, *, first: bool) -> None:
    file.write(("\n" if first else ",\n") + json.dumps(value, ensure_ascii=False))


def _member(file: TextIO, key: str, value: Any, *, first: bool) -> None:
    file.write(("\n" if first else ",\n") + f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}")
