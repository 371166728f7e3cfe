"""Tags that lie beside photos, in a file or in the library's labels, become the photos of a batch."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vibe_assets.questions import ManyOf, OneOf, Questions, YesNo
from vibe_assets.records import AUDITED_GROUND_TRUTH, AUTO_GROUND_TRUTH
from vibe_assets.stages.library import accepted_photos
from vibe_assets.stages.platform import Platform
from vibe_assets.storage import below
from vibe_assets.strangers import json_value, web_address
from vibe_assets.vlm.failures import VlmError
from vibe_assets.vlm.found import Found

FILE_NAMES = ("metadata.jsonl", "metadata.csv", "tags.jsonl", "tags.csv")
PATH_FIELDS = ("file_name", "path", "rel_path", "image_path", "file", "image")
SPLIT_AT = (";", "|", ",")
QUIET = ("scene.snapshot", "object.dailystuff")  # packaged labels that are no word that anybody would search for


def read_tag_file(path: Path) -> list[Found]:
    """Photos with tags from a folder with metadata.jsonl or metadata.csv (or tags.*), or from such a file itself.

    Each line has one of file_name, path, rel_path, image_path, relative to the file's folder, and tags: a list, or a text with ';',
    '|' or ','. Raises VlmError naming the line that is wrong; a photo that is not there is an entry with a reason.
    """
    file = next((path / name for name in FILE_NAMES if (path / name).is_file()), path) if path.is_dir() else path
    if not file.is_file():
        raise VlmError(f"{path}: no such file, and no {' or '.join(FILE_NAMES)} in it")
    rows = _csv_rows(file) if file.suffix.lower() == ".csv" else _jsonl_rows(file)
    found = [_entry(file, number, row) for number, row in rows]
    if not found:
        raise VlmError(f"{file}: no photo in it; expected one line per photo with file_name and tags")
    return found


def _entry(file: Path, number: int, row: Mapping[str, Any]) -> Found:
    name = next((row[field] for field in PATH_FIELDS if isinstance(row.get(field), str) and row[field]), None)
    if name is None:
        raise VlmError(f"{file}, line {number}: no photo named; expected one of {', '.join(PATH_FIELDS)}")
    tags = row.get("tags")
    if isinstance(tags, str):
        mark = next((mark for mark in SPLIT_AT if mark in tags), ";")
        tags = tags.split(mark)
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise VlmError(f"{file}, line {number}: tags: expected a list of texts, got {tags!r:.80}")
    path = file.parent / name
    credit: dict[str, str | None] = {key: str(row[key]) for key in ("photographer", "licence") if row.get(key)}
    credit["credit_url"] = web_address(row.get("credit_url"))
    there = path.is_file()
    problem = {} if there else {"reason": "unreachable", "detail": f"{file}, line {number}: no such file"}
    identifier = str(row.get("id") or name)
    return Found("file", identifier, name, tuple(tags), os.fsencode(path.resolve()) if there else None, **credit, **problem)


def _jsonl_rows(file: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        lines = file.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise VlmError(f"{file}: not UTF-8 text ({error}); expected JSON lines or a CSV") from error
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                row = json_value(line)
            except ValueError as error:
                raise VlmError(f"{file}, line {number}: not JSON ({error})") from error
            if not isinstance(row, dict):
                raise VlmError(f"{file}, line {number}: expected an object, got {type(row).__name__}")
            yield number, row


def _csv_rows(file: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    with file.open(encoding="utf-8-sig", newline="") as handle:
        reader = csv.DictReader(handle)
        if "tags" not in (reader.fieldnames or ()):
            raise VlmError(f"{file}, line 1: no column `tags`; expected a header with file_name and tags")
        try:
            for row in reader:
                yield reader.line_num, row
        except csv.Error as error:
            raise VlmError(f"{file}, line {reader.line_num + 1}: not CSV ({error})") from error


def library_photos(platform: Platform, truth: str = "audited") -> list[Found]:
    """The library's photos, their labels in words as tags: what people said (`audited`), or what the teacher said (`auto`)."""
    lake = platform.lake
    labels = lake.read_live(AUDITED_GROUND_TRUTH if truth == "audited" else AUTO_GROUND_TRUTH)
    if labels.is_empty():
        remedy = "`vibe audited FILE` brings them" if truth == "audited" else "`vibe run` makes them"
        raise VlmError(f"the library has no {truth} labels yet; {remedy}")
    rows = labels.join(accepted_photos(platform), on="image_id", how="inner").sort("image_id")
    root = platform.settings.root
    return [
        Found(truth, row["image_id"], row["rel_path"], label_tags(row, platform.questions), below(root, row["path_bytes"]),
              image_id=row["image_id"], phash=row["phash"])
        for row in rows.iter_rows(named=True)
    ]  # fmt: skip


def label_tags(row: Mapping[str, Any], questions: Questions) -> tuple[str, ...]:
    """Labels in words: of many the main one first, each followed by what it implies, then the one of each question, then what holds.

    The label that any other word means says nothing, nor does one that follows from another question.
    """
    keys: list[str] = []
    for many in questions.of_type(ManyOf):
        keys += questions.closure(filter(questions.known, row[many.key] or ()))
    for one in questions.of_type(OneOf):
        keys += [row[one.key]] if row[one.key] and row[one.key] != one.unexpected else []
    tags = [key.rpartition(".")[2] for key in keys if key not in QUIET]
    for question in questions.of_type(YesNo):
        holding = (label.word for label in question.labels if row[label.word] and label.word not in questions.follows)
        tags += (word.removeprefix("has_").removeprefix("is_") for word in holding)
    return tuple(dict.fromkeys(tag.replace("_", " ") for tag in tags))
