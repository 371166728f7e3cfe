"""The lake's labels -> exports in other tools' formats: which labels, which photos, where to, and whether anything moved."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from vibe_assets.export.formats import FORMATS, LAYOUT, Format, Written, write_format
from vibe_assets.export.items import ExportError, Item, Items
from vibe_assets.export.tables import csv_encoding
from vibe_assets.questions import OneOf
from vibe_assets.records import AUDITED_GROUND_TRUTH, AUTO_GROUND_TRUTH, PHOTO_GROUPS, PREDICTIONS, RAW_PHOTOS, fingerprint
from vibe_assets.stages.library import accepted_photos
from vibe_assets.stages.platform import Platform, StageError
from vibe_assets.storage import Url

if TYPE_CHECKING:
    import polars as pl

TABLES = (RAW_PHOTOS, PHOTO_GROUPS, AUTO_GROUND_TRUTH, AUDITED_GROUND_TRUTH, PREDICTIONS)

NAMED = ("coco", "label-studio")  # formats that people read names in: written anew when those change


@dataclass(frozen=True)
class Selection:
    """Which labels of which photos leave the house."""

    labels: str = "best"  # students | teacher | people | best
    folders: tuple[str, ...] = ()  # folder keys; none: all
    scenes: tuple[str, ...] = ()  # labels of the main question, with or without its prefix; none: all, those without one too
    min_confidence: float | None = None  # students' labels below it count as left open


def exports_dir(platform: Platform) -> Path:
    """Where exports go that were given no folder."""
    return platform.settings.home / "exports"


def voices(platform: Platform) -> dict[str, pl.DataFrame]:
    """What people, students and teacher say of the live library."""
    lake = platform.lake
    return {
        "people": lake.read_live(AUDITED_GROUND_TRUTH),
        "students": lake.read_live(PREDICTIONS),
        "teacher": lake.read_live(AUTO_GROUND_TRUTH),
    }


def select_rows(platform: Platform, selection: Selection) -> pl.DataFrame:
    """The chosen labels (see export.choice.choose) beside where each photo is and which group and split it belongs to, by path.

    Raises StageError for an unknown folder or label, and when there are no labels of that source yet.
    """
    import polars as pl

    from vibe_assets.export.choice import SOURCES, choose

    if selection.labels not in SOURCES:
        raise StageError(f"--labels {selection.labels}: no such source; use one of {', '.join(SOURCES)}")
    chosen = choose(selection.labels, voices(platform), platform.questions, min_confidence=selection.min_confidence)
    if chosen.is_empty():
        raise StageError(f"there are no labels of {selection.labels} yet: {_remedy(selection.labels)}")
    photos = accepted_photos(platform).select(
        "image_id", "folder_key", "rel_path", "path_bytes", "format", "width", "height", "bytes", "mtime_ns"
    )
    if selection.folders:
        for key in selection.folders:
            platform.folder_path(key)  # raises for one that is not there
        photos = photos.filter(pl.col("folder_key").is_in(selection.folders))
    groups = platform.lake.read(PHOTO_GROUPS).select("image_id", "group_id", "split")
    rows = photos.join(chosen, on="image_id", how="inner").join(groups, on="image_id", how="left")
    if selection.scenes:
        keys = known_scenes(platform, selection.scenes)
        rows = rows.filter(pl.col(headline(platform).key).is_in(keys))
    return rows.sort("rel_path", "image_id")


def known_scenes(platform: Platform, names: Sequence[str]) -> list[str]:
    """Label keys of the main question, of keys with or without its prefix or names. Raises StageError naming those there are."""
    if not names:
        return []
    question = headline(platform)
    known = {name: label.key for label in question.labels for name in label.names.values()}
    known |= {word: label.key for label in question.labels for word in (label.word, label.key)}  # keys win
    lead = f"{question.prefix}."
    keys = [known.get(name, name if name.startswith(lead) else f"{lead}{name}") for name in names]
    if unknown := sorted(set(keys) - set(question.keys)):
        raise StageError(f"no {question.head} {', '.join(unknown)}; there are {', '.join(label.word for label in question.labels)}")
    return keys


def headline(platform: Platform) -> OneOf:
    """The question that photos are chosen by. Raises StageError where the label file has none."""
    if (question := platform.questions.main) is None:
        raise StageError(f"{platform.questions.file} has no question of type one_of: leave --scene out")
    return question


def _remedy(source: str) -> str:
    remedies = {
        "people": "check the audit sample and hand it in with `vibe audited FILE`",
        "students": "the heads have to be trained and the predictions made (`vibe run`)",
        "teacher": "annotate the library first (`vibe run`)",
    }
    return remedies.get(source, remedies["teacher"])


def formats(platform: Platform) -> dict[str, Format]:
    """Every format there is, by name. Label Studio's is wired here: the room that knows its layout lies beside the exports'."""
    studio = Format(
        "label-studio", "Label Studio tasks with the labels filled in, and the labelling config", "https://labelstud.io/guide/task_format",
        ("reference",), lambda items, folder, job: _write_label_studio(platform, items, folder), streams_pictures=True,
    )  # fmt: skip
    return {**FORMATS, studio.name: studio}


def _write_label_studio(platform: Platform, items: Iterable[Item], folder: Path) -> None:
    """tasks.json and labelling_config.xml; pictures are addressed as files of a local storage at the photo root."""
    from vibe_assets.audit.label_studio import TaskPhoto, labelling_config, tasks

    with (folder / "tasks.json").open("w", encoding="utf-8") as file:
        file.write("[")
        for number, item in enumerate(items):
            voices = "+".join(sorted({entry.source for entry in item.provenance}))
            photo = TaskPhoto(item.labels.image_id, unquote_to_bytes(item.path_uri), item.photo.rel_path, None, item.labels)
            (task,) = tasks([photo], platform.questions, model_version=voices)
            file.write(("," if number else "") + "\n" + json.dumps(task, ensure_ascii=False))
        file.write("\n]\n")
    (folder / "labelling_config.xml").write_text(labelling_config(platform.questions), encoding="utf-8")


def export_labels(
    platform: Platform, name: str, selection: Selection, *, into: Path | None = None, mode: str | None = None, now: datetime | None = None,
    bom: bool | None = None,
) -> Written:  # fmt: skip
    """Write the selection in one format; nothing is written where the same export is there already. `bom`: of CSV, else as [export] says.

    Raises ExportError for a folder that is not ours, a mode that the format cannot do, or where nothing would replace an export that holds
    photos; StageError (see select_rows).
    """
    from vibe_assets.export.folder import is_current, read_manifest
    from vibe_assets.export.pictures import checked_mode

    known = formats(platform)
    if name not in known:
        raise ExportError(f"no format {name!r}; there are {', '.join(known)}")
    chosen = known[name]
    mode = checked_mode(name, mode, chosen.modes)
    if mode == "link" and isinstance(platform.settings.root, Url):
        raise ExportError(f"the photos lie in {platform.settings.root}: nothing can be linked to them; use --photos copy")
    folder = (into or exports_dir(platform) / name).expanduser().absolute()
    _refuse_photo_root(platform, folder)
    rows = select_rows(platform, selection)
    items = Items(rows, platform.settings.root, platform.questions)
    shard_bytes = platform.settings.export.shard_mb * 1_000_000
    bom = name == "csv" and (platform.settings.export.csv_bom if bom is None else bom)
    asked = {"format": name, "layout": LAYOUT, "photos": mode, **_asked(selection), **({"bom": True} if bom else {})}
    labels = _label_keys(platform, rows)
    names = platform.questions.names if name in NAMED else {}
    version = fingerprint({
        **asked, "rows": items.fingerprint(), "root": str(platform.settings.root), "shard": shard_bytes, "labels": labels,
        **({"names": names} if names else {}),
    })  # fmt: skip
    if is_current(folder, version):
        counts = (read_manifest(folder) or {})["counts"]
        return Written(folder, counts["photos"], (), counts["labels_from"], written=False)
    manifest = {**asked, "fingerprint": version, "versions": _versions(platform), "documentation": chosen.documentation}
    return write_format(
        chosen, items, folder, mode=mode, manifest=manifest, labels=labels, shard_bytes=shard_bytes,
        limits=platform.settings.library, at=now or datetime.now(UTC), progress=platform.progress,
        csv_encoding=csv_encoding(bom),
    )  # fmt: skip


def _asked(selection: Selection) -> dict[str, Any]:
    return {
        "labels": selection.labels,
        "folders": sorted(selection.folders),
        "scenes": sorted(selection.scenes),
        "min_confidence": selection.min_confidence,
    }


def _label_keys(platform: Platform, rows: pl.DataFrame) -> list[str]:
    """The label file's keys in their order, and after them those that rows of an older one still hold."""
    questions, said = platform.questions, set[str]()
    for field in questions.fields:
        if field.dtype != "bool":
            said |= {*(rows[field.name].explode() if field.dtype == "list[str]" else rows[field.name]).drop_nulls()}
    return [*questions.labels, *sorted(said - questions.labels.keys())]


def _versions(platform: Platform) -> Mapping[str, Any]:
    """What the labels were made with."""
    from importlib.metadata import version

    from vibe_assets.stages.students import deployments

    tables = {table.name: platform.lake.version(table) for table in TABLES}
    return {"vibe_assets": version("vibe-assets"), "heads": dict(deployments(platform)), "tables": tables, "run": platform.run_id}


def _refuse_photo_root(platform: Platform, folder: Path) -> None:
    root = platform.settings.root
    if isinstance(root, Path) and folder.resolve().is_relative_to(root.resolve()):  # whatever links lead there
        raise ExportError(
            f"{folder} lies in the photo root: its pictures would become photos of the library; give a folder elsewhere with --into"
        )
