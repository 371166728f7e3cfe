"""Settings and lake of one installation, opened together: what every stage takes as its first argument."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from vibe_assets.errors import UserError
from vibe_assets.lake import Lake
from vibe_assets.questions import LabelFileError, Questions, load
from vibe_assets.records import FOLDER_SET, PhotoRef
from vibe_assets.settings import Settings, load_settings
from vibe_assets.storage import below

if TYPE_CHECKING:
    import polars as pl

    from vibe_assets.engine import Engine


class StageError(UserError, RuntimeError):
    """A stage cannot run; the message says which input is missing and what makes it."""


def library_questions(settings: Settings) -> Questions:
    """The questions of the label file (or packaged), with names in the language in force. Raises LabelFileError."""
    path = settings.labels.taxonomy
    questions = load(None if path is None else settings.base / path)
    try:
        return questions.shown(settings.labels.language)
    except ValueError as error:
        raise LabelFileError(f"[labels] language: {error}; add it to `languages` there, or leave the setting out") from error


@dataclass(frozen=True)
class Platform:
    """One installation: its settings, its lake, and who is writing."""

    settings: Settings
    run_id: str = "cli"
    commit: dict[str, str] = field(default_factory=dict)
    progress: bool = True
    by: str = ""  # the command that writes; empty for a run of the graph, whose events Dagster records itself

    @classmethod
    def open(cls, *, config: Path | None = None, run_id: str = "cli", progress: bool = True) -> Platform:
        """Read the settings in force now. Raises SettingsError."""
        return cls(load_settings(config), run_id=run_id, commit={"run_id": run_id}, progress=progress)

    def signed(self, **facts: str) -> Platform:
        """The same installation; `facts` go into the metadata of every commit (code version, fingerprints)."""
        return dataclasses.replace(self, commit={**self.commit, **facts})

    def over(self, lake: Lake) -> Platform:
        """The same installation over another lake."""
        other = dataclasses.replace(self)
        other.__dict__["lake"] = lake  # where the cached property keeps it
        return other

    @cached_property
    def lake(self) -> Lake:
        """The tables. What a command writes into them leaves a note for the graph."""
        from vibe_assets.stages.notes import leave_note
        from vibe_assets.stages.pins import pinned_versions

        settings = self.settings
        return Lake(
            settings.lake_dir,
            keep_h=24 * settings.library.keep_days,
            pinned=lambda: pinned_versions(settings),
            wrote=partial(leave_note, self) if self.by else None,
            questions=self.questions,
        )

    @cached_property
    def questions(self) -> Questions:
        """What photos are asked here. Raises LabelFileError naming file, line and remedy."""
        return library_questions(self.settings)

    @cached_property
    def engine(self) -> Engine:
        """Where the expensive stages run, by `[engine]`."""
        from vibe_assets.engine import open_engine

        return open_engine(self.settings.engine)

    def folder_path(self, folder_key: str) -> bytes:
        """Relative path of a folder as bytes. Raises StageError for a key the library does not hold."""
        import polars as pl

        rows = self.lake.scan(FOLDER_SET).filter(pl.col("folder_key") == folder_key).collect()
        if rows.is_empty():
            raise StageError(f"no folder {folder_key!r} in the library; `vibe folders` lists them")
        return bytes(rows["path_bytes"][0])

    def photo_refs(self, rows: pl.DataFrame) -> list[PhotoRef]:
        """Where the photos of RAW_PHOTOS rows lie. Rejected rows must be filtered out before."""
        root = self.settings.root
        return [
            PhotoRef(image_id, below(root, bytes(path)), rel_path)
            for image_id, path, rel_path in rows.select("image_id", "path_bytes", "rel_path").iter_rows()
        ]
