"""Annotation on a machine that has only the photos and the teacher: a photo root in, a JSONL of answers out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vibe_assets.settings import Settings
from vibe_assets.stages.platform import StageError, library_questions
from vibe_assets.storage import Place, below
from vibe_assets.teacher.journal import Journal, Record, read_records

if TYPE_CHECKING:
    import polars as pl

    from vibe_assets.records import PhotoRef


class OutputFile(Journal):
    """The journal of one teacher in a file that the user named; files beside it are not read."""

    def __init__(self, path: Path, fingerprint: str) -> None:
        super().__init__(path.resolve().parent, path.stem)
        self.file, self.fingerprint = path.resolve().parent / f"{path.stem}.jsonl", fingerprint

    def records(self) -> Iterator[Record]:
        if self.file.is_file():
            yield from (record for record in read_records(self.file) if record.get("teacher") == self.fingerprint)


@dataclass(frozen=True)
class Answers:
    """What a standalone run left behind."""

    path: Path
    photos: int
    answered: int
    failed: dict[str, int]  # reason -> photos


def annotate_root(
    settings: Settings, root: Place, output: Path, *, limit: int | None = None, resume: bool = True, progress: bool = True
) -> Answers:
    """Annotate every photo below `root` into `output`; with `resume`, what the file holds is not asked again.

    Raises StageError when the file exists and must not be continued.
    """
    from vibe_assets.teacher.annotate import annotate, teacher_fingerprint

    if output.suffix != ".jsonl":
        raise StageError(f"{output}: the answers are JSON lines; give a file name that ends with .jsonl")
    if output.exists() and not resume:
        raise StageError(f"{output} exists already: go on with --resume, or give another name")
    refs = find_photos(settings, root)
    journal = OutputFile(output, teacher_fingerprint(settings.teacher))
    records = annotate(
        refs, settings=settings.teacher, journal=journal, limit=limit, progress=progress, library=settings.library,
        questions=library_questions(settings),
    )  # fmt: skip
    failed: dict[str, int] = {}
    for record in records:
        if record.get("annotation") is None:
            failed[str(record.get("reason"))] = failed.get(str(record.get("reason")), 0) + 1
    return Answers(output, len(refs), len(records) - sum(failed.values()), failed)


def find_photos(settings: Settings, root: Place) -> list[PhotoRef]:
    """The readable photos below a folder, each once, without a lake."""
    from vibe_assets.records import PhotoRef

    return [PhotoRef(*row) for row in scan_photos(settings, root).select("image_id", "path_bytes", "rel_path").iter_rows()]


def scan_photos(settings: Settings, root: Place) -> pl.DataFrame:
    """RAW_PHOTOS rows of the readable photos below a folder, each once, without a lake; `path_bytes` are absolute here."""
    import polars as pl

    from vibe_assets.photos.scan import discover_folders, scan_folder
    from vibe_assets.records import RAW_PHOTOS

    found = [
        scan_folder(root, folder.folder_key, folder.path_bytes, known_rows=None, settings=settings.library)
        for folder in discover_folders(root).folders
    ]
    rows = pl.concat(found) if found else pl.DataFrame(schema=RAW_PHOTOS.polars_schema())
    rows = rows.filter(pl.col("reason").is_null()).unique("image_id", keep="first", maintain_order=True)
    absolute = [below(root, path) for path in rows["path_bytes"]]
    return rows.with_columns(path_bytes=pl.Series(absolute, dtype=pl.Binary))
