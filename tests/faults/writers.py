"""What the platform writes, as functions of a folder that can be killed at any of their system calls; `say` acknowledges.

Everything is imported here, before the killing starts: a writer then spends its time on what is tested.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import deltalake  # noqa: F401
import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import safetensors.numpy  # noqa: F401

from tests.audit.says import said
from tests.heads.examples import plain_head
from tests.support.questions import PACKAGED
from vibe_assets.audit.log import VerdictLog
from vibe_assets.encoders.cache import EmbeddingCache
from vibe_assets.heads.store import Deployments, save_head
from vibe_assets.lake import Lake, atomic_file, write_text
from vibe_assets.records import ANNOTATIONS
from vibe_assets.stages.warehouse import publish_tables
from vibe_assets.teacher.journal import Journal
from vibe_assets.triage.choices import Choice, ChoiceLog

Say = Callable[[str], object]
Writer = Callable[[Path, Say], None]
AT = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
KEY = "a-0"
HEADS = [plain_head("scene", ("scene.a", "scene.b"), [[number, 0], [0, 1]]) for number in (1, 2)]


# -- the lake ----------------------------------------------------------------------------------------------------------
def rows(generation: int) -> pl.DataFrame:
    """ANNOTATIONS rows that all say which write they belong to."""
    blank = dict.fromkeys(ANNOTATIONS.columns)
    made = [blank | {"folder_key": KEY, "image_id": str(number), "latency_s": generation} for number in range(5)]
    return pl.DataFrame(made, schema=ANNOTATIONS.polars_schema())


def generation_of(folder: Path) -> int:
    """The one write that the table's rows come from, 0 for none; fails on a mixture."""
    found = Lake(folder / "lake").read(ANNOTATIONS)
    assert found.height in (0, 5), found
    (generation,) = found["latency_s"].unique().to_list() or [0]
    return int(generation)


def replace_a_folder(folder: Path, say: Say) -> None:
    """One partition of a table, over the generation before; the first makes the table."""
    generation = 1 + generation_of(folder)
    Lake(folder / "lake").replace(ANNOTATIONS, rows(generation), folder_key=KEY)
    say(str(generation))


def replace_a_file(folder: Path, say: Say) -> None:
    write_text(folder / "vibe.toml", "new" * 1000)
    say("new")


# -- logs --------------------------------------------------------------------------------------------------------------
def append_to_journal(folder: Path, say: Say) -> None:
    with Journal(folder / "journal", "writer") as journal:
        for number in range(3):
            journal.append({"image_id": f"new-{number}", "annotation": {"scene": "x" * 200}, "at": AT.isoformat()})
            say(f"new-{number}")


def keep_verdicts(folder: Path, say: Say) -> None:
    log = VerdictLog(folder / "verdicts", PACKAGED, writer="page")
    for number in range(3):
        log.append(said(f"verdict-{number}", image=number, second=number))
        say(f"verdict-{number}")
    log.close()


def keep_choices(folder: Path, say: Say) -> None:
    log = ChoiceLog(folder / "choices", writer="page")
    for number in range(2):
        at = (AT + timedelta(seconds=number)).isoformat()
        log.append(Choice(f"choice-{number}", f"series-{number}", ("a", "b"), ("a",), "pick", "ann", at))
        say(f"choice-{number}")
    log.close()


# -- heads -------------------------------------------------------------------------------------------------------------
def save_a_head(folder: Path, say: Say) -> None:
    say(save_head(HEADS[1], folder / "heads"))


def switch_deployment(folder: Path, say: Say) -> None:
    say(Deployments(folder / "heads").deploy("scene", HEADS[1].version, at=AT.isoformat()).version)


# -- vectors -----------------------------------------------------------------------------------------------------------
def vectors(start: int) -> tuple[list[str], np.ndarray]:
    """Names and (3, 4) float32 vectors that can be told from each other."""
    return [f"photo-{start + row}" for row in range(3)], np.arange(start, start + 12, dtype=np.float32).reshape(3, 4)


def cache_vectors(folder: Path, say: Say) -> None:
    EmbeddingCache(folder / "cache", 4).add(*vectors(10))
    say("kept")


# -- the published file ------------------------------------------------------------------------------------------------
def publish(folder: Path, say: Say) -> None:
    """Both tables of the published file, in one transaction."""
    with duckdb.connect(str(folder / "warehouse.duckdb")) as connection:
        publish_tables(connection, {name: pa.table({"generation": [2] * 3000}) for name in ("photos", "predictions")})
        say("2")


def rebuild(folder: Path, say: Say) -> None:
    """The same beside the old file, which it then replaces."""
    with atomic_file(folder / "warehouse.duckdb") as temporary, duckdb.connect(str(temporary)) as connection:
        publish_tables(connection, {name: pa.table({"generation": [2] * 3000}) for name in ("photos", "predictions")})
    say("2")


def switch_back_and_forth(folder: Path, say: Say) -> None:
    """The other of the two heads, each time."""
    log = Deployments(folder / "heads")
    other = HEADS[log.current()["scene"] == HEADS[0].version]
    say(log.deploy("scene", other.version, at=AT.isoformat()).version)
