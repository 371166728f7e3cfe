"""Tables of the lake that were lost -> the same tables, from photos, journal, verdicts, cache and published file; nobody is paid."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vibe_assets import table_files
from vibe_assets.errors import UserError
from vibe_assets.lake import Lake
from vibe_assets.records import (
    ANNOTATIONS,
    AUDIT_DRAWS,
    AUDIT_SAMPLE,
    AUDITED_GROUND_TRUTH,
    AUTO_GROUND_TRUTH,
    FOLDER_SET,
    IMAGE_EMBEDDINGS,
    METRICS,
    PHOTO_GROUPS,
    PREDICTIONS,
    PROMPT_EMBEDDINGS,
    RAW_PHOTOS,
    Table,
)
from vibe_assets.stages.embeddings import embed_folders, embed_label_prompts
from vibe_assets.stages.library import group_library, look_at_folders, scan_folder
from vibe_assets.stages.platform import Platform, StageError
from vibe_assets.stages.runtime import predict_folder
from vibe_assets.stages.teacher import annotate_folder
from vibe_assets.stages.truth import convert_library, draw_audit_sample, keep_draw, sample_file, settle_audit
from vibe_assets.strangers import json_value

if TYPE_CHECKING:
    import polars as pl

Build = Callable[[Platform], object]  # writes its tables, whole, over an installation where they seem empty


@dataclass(frozen=True)
class Mended:
    """What became of a table that was torn or gone."""

    table: str
    rows: int | None  # made anew; None where a hand has to do that
    detail: str = ""  # why it was not made


def repair_lake(platform: Platform, *, more: Mapping[str, Build] | None = None) -> Iterator[Mended]:
    """Make every table of the lake whole again, first those that others are made from; what became of each that was not.

    Torn newest commits are set aside first, and a table that is torn all the same is moved aside as `NAME.damaged`. `more`: how the
    tables of other rooms are made, by name. Killed at any time, it is simply run again. Raises StageError while another repair is at it.
    """
    builders = {**BUILDERS, **(more or {})}
    with _staging(platform.settings.home / "repair") as staging:
        lake = Lake(platform.lake.root, questions=platform.questions)
        lake.repair()
        _move_torn_aside(lake)
        gone = lake.gone()
        for build in dict.fromkeys(builders.get(table.name) for table in gone):
            tables = [table for table in gone if builders.get(table.name) is build]
            if build is None:
                yield from (_left_to_a_hand(lake, table) for table in tables)
                continue
            staged = Lake(lake.root, staging, frozenset(table.name for table in tables), questions=platform.questions)
            try:
                build(platform.over(staged))
                for table in tables:
                    staged.adopt(table)
            except Exception as error:  # of whatever library reads the damage: the others may still be mended
                said = str(error) if isinstance(error, UserError | OSError) else f"{type(error).__name__}: {error}"
                yield from (Mended(table.name, None, " ".join(said.split())) for table in tables)
            else:
                yield from (Mended(table.name, lake.read(table).height) for table in tables)


@contextmanager
def _staging(folder: Path) -> Iterator[Path]:
    """An empty folder that only one repair at a time has."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for left in folder.iterdir():  # of a repair that was killed
            shutil.rmtree(left)
        yield folder
        shutil.rmtree(folder)
    except BlockingIOError:
        raise StageError("another `vibe repair` is running; wait for it to end, or stop it") from None
    finally:
        os.close(descriptor)


def _move_torn_aside(lake: Lake) -> None:
    """Tables that no commit can be gone back to: they count as gone from then on."""
    gone = {table.name for table in lake.gone()}
    for name in sorted({name for name, _ in lake.torn()} - gone):
        if name not in lake.register.made():
            lake.register.add([name])
        assert isinstance(lake.root, Path)
        table_files.move_aside(lake.root / name)


def _left_to_a_hand(lake: Lake, table: Table) -> Mended:
    """An unpartitioned table is made whole by materialising it; a partitioned one starts empty, or none of its parts could be written."""
    if table.partitioned:
        lake.register.forget(table.name)
        return Mended(table.name, None, f"it starts empty, for its rows are kept nowhere else: `vibe run {table.name}` makes them")
    return Mended(table.name, None, f"`vibe run {table.name}` makes it whole")


# -- how each table is made ----------------------------------------------------------------------------------------------
def _folders(platform: Platform) -> None:
    if look_at_folders(platform).folders.is_empty():
        raise StageError(f"photo root {platform.settings.root} holds no photos: is the drive mounted? Mount it, then run `vibe repair`")


def _each(build: Callable[[Platform, str], object]) -> Build:
    def build_all(platform: Platform) -> None:
        for key in platform.lake.live_folders():
            build(platform, key)

    return build_all


def _groups(platform: Platform) -> None:
    """With the splits that were published: a head must not be judged on photos that it learned from."""
    if (before := _published(platform, PHOTO_GROUPS)) is not None:
        platform.lake.replace(PHOTO_GROUPS, before, commit=platform.commit)
    group_library(platform)


def _answers(platform: Platform, key: str) -> None:
    annotate_folder(platform, key, limit=0)  # what the journal holds, and not a request


def _sample(platform: Platform) -> None:
    """The sample that people were given, pre-filled by the teacher again; a new one where its file is gone, too."""
    import polars as pl

    file = sample_file(platform)
    if not file.is_file():
        draw_audit_sample(platform)
        return
    schema = platform.lake.of(AUDIT_SAMPLE).polars_schema()
    kept = {name: schema[name] for name in ("image_id", "rel_path", "inclusion_probability", "stratum")}
    try:
        if not isinstance(said := json_value(file.read_bytes()), list):
            raise TypeError(f"expected a list, got {type(said).__name__}")
        drawn = pl.DataFrame([{name: row[name] for name in kept} for row in said], schema=kept, orient="row")
    except (ValueError, TypeError, KeyError, OverflowError, pl.exceptions.PolarsError) as error:
        raise StageError(
            f"{file} is not the sample that people were given ({type(error).__name__}: {error}): put it right, or move it away to have a "
            "new sample drawn, then run `vibe repair` again"
        ) from error
    groups = platform.lake.read(PHOTO_GROUPS).select("image_id", "group_id")
    rows = drawn.join(groups, on="image_id", how="left").join(platform.lake.read(AUTO_GROUND_TRUTH), on="image_id", how="left")
    platform.lake.replace(AUDIT_SAMPLE, rows.select(list(schema)).sort("image_id"), commit=platform.commit)


def _draws(platform: Platform) -> None:
    """As published; else what can be told of the last draw from its sample, earlier ones are then lost."""
    if (rows := _published(platform, AUDIT_DRAWS)) is not None:
        platform.lake.append(AUDIT_DRAWS, rows, commit=platform.commit)
    else:
        keep_draw(platform, None)


def _metrics(platform: Platform) -> None:
    if (rows := _published(platform, METRICS)) is None:
        raise StageError(f"{platform.settings.warehouse_file} does not hold its history: the next report begins it anew")
    platform.lake.append(METRICS, rows, commit=platform.commit)


def _published(platform: Platform, table: Table) -> pl.DataFrame | None:
    """The rows of a table as the published file has them; None where it has none."""
    import duckdb

    from vibe_assets.lake import conform

    file = platform.settings.warehouse_file
    if not file.exists():
        return None
    try:
        with duckdb.connect(str(file), read_only=True) as connection:
            rows = conform(connection.sql(f"FROM {table.name}").pl(), table)
    except (duckdb.Error, ValueError):
        return None
    return rows if rows.height else None


BUILDERS: Mapping[str, Build] = {
    FOLDER_SET.name: _folders,
    RAW_PHOTOS.name: _each(scan_folder),
    PHOTO_GROUPS.name: _groups,
    ANNOTATIONS.name: _each(_answers),
    AUTO_GROUND_TRUTH.name: convert_library,
    AUDIT_SAMPLE.name: _sample,
    AUDIT_DRAWS.name: _draws,
    AUDITED_GROUND_TRUTH.name: settle_audit,
    IMAGE_EMBEDDINGS.name: lambda platform: embed_folders(platform, platform.lake.live_folders()),
    PROMPT_EMBEDDINGS.name: embed_label_prompts,
    PREDICTIONS.name: _each(predict_folder),
    METRICS.name: _metrics,
}
