"""A disk that is full or read-only refuses with the file and the remedy; what was kept before stays, and with room again all goes on."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from tests.faults import writers
from tests.support.questions import PACKAGED
from tests.teacher.conftest import QUICK, always, make_library
from tests.test_lake import mounted
from vibe_assets.audit.log import AuditError, VerdictLog
from vibe_assets.defs.resources import Warehouse
from vibe_assets.encoders.base import EncoderError
from vibe_assets.encoders.cache import EmbeddingCache
from vibe_assets.heads.models import HeadError
from vibe_assets.heads.store import Deployments, load_head, save_head, saved_heads
from vibe_assets.lake import LakeError
from vibe_assets.records import PhotoRef
from vibe_assets.settings import TeacherSettings
from vibe_assets.teacher.annotate import annotate
from vibe_assets.teacher.failures import TeacherError
from vibe_assets.teacher.journal import Journal, Record
from vibe_assets.teacher.replay import ReplayFaults, ReplayTeacher, running_replay
from vibe_assets.triage.choices import ChoiceError, ChoiceLog


class Case(NamedTuple):
    """A writer, what it raises, what is there, and what the message names."""

    write: writers.Writer
    error: type[Exception]
    look: Callable[[Path], Any]
    named: str


def vectors_in(folder: Path) -> list[bool]:
    names = [*writers.vectors(1)[0], *writers.vectors(10)[0]]
    return [bool(known) for known in EmbeddingCache(folder / "cache", 4).load(names, np.zeros((6, 4), np.float32))]


CASES = {
    "journal": Case(
        writers.append_to_journal, TeacherError, lambda at: sorted(Journal(at / "journal", "r").known()),
        r"writer\.jsonl.*(free some space|must be)",
    ),
    "verdicts": Case(
        writers.keep_verdicts, AuditError, lambda at: [v.verdict_id for v in VerdictLog(at / "verdicts", PACKAGED).verdicts()],
        r"verdict not kept.*page\.jsonl.*(free some space|must be)",
    ),
    "choices": Case(
        writers.keep_choices, ChoiceError, lambda at: [c.choice_id for c in ChoiceLog(at / "choices").choices()], r"not kept.*page\.jsonl",
    ),
    "heads": Case(
        writers.save_a_head, HeadError, lambda at: [load_head(at / "heads" / name).version for name in saved_heads(at / "heads")],
        r"not saved.*free some space or repair access",
    ),
    "deployments": Case(
        writers.switch_back_and_forth, HeadError, lambda at: Deployments(at / "heads").current(), r"deployments\.jsonl.*then deploy again",
    ),
    "vectors": Case(writers.cache_vectors, EncoderError, vectors_in, r"cache.* cannot be written.*Free disk space or repair access"),
    "file": Case(writers.replace_a_file, OSError, lambda at: (at / "vibe.toml").read_text(), r"vibe\.toml"),
}  # fmt: skip


def furnish(folder: Path) -> None:
    """What lies there before the trouble."""
    Journal(folder / "journal", "old").append({"image_id": "old", "annotation": {}, "at": ""})
    VerdictLog(folder / "verdicts", PACKAGED, writer="old").append(writers.said("verdict-old"))
    ChoiceLog(folder / "choices", writer="old").append(
        writers.Choice("choice-old", "series", ("a", "b"), ("a",), "pick", "ann", writers.AT.isoformat())
    )
    save_head(writers.HEADS[0], folder / "heads")
    Deployments(folder / "heads").deploy("scene", writers.HEADS[0].version, at=writers.AT.isoformat())
    EmbeddingCache(folder / "cache", 4).add(*writers.vectors(1))
    (folder / "vibe.toml").write_text("old")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB, furnished."""
    with contextmanager(mounted)(tmp_path / "disk", "-t", "tmpfs", "-o", "size=2m", "tmpfs") as folder:
        furnish(folder)
        yield folder


def fill(folder: Path) -> Path:
    """Take every free byte."""
    with (folder / "filler").open("wb", buffering=0) as filler, suppress(OSError):
        while True:
            filler.write(bytes(4096))
    return folder / "filler"


def write_on(case: Case, folder: Path, acknowledged: list[str]) -> None:
    """Until it is refused: the last page of a file still takes a few lines."""
    for _ in range(200):
        case.write(folder, acknowledged.append)


@pytest.mark.parametrize("name", CASES)
def test_a_full_disk_refuses_and_keeps_what_was_there(disk: Path, name: str) -> None:
    case, acknowledged = CASES[name], list[str]()
    if name == "deployments":
        save_head(writers.HEADS[1], disk / "heads")
    before = case.look(disk)
    filler = fill(disk)
    with pytest.raises(case.error, match=case.named):
        write_on(case, disk, acknowledged)
    left = case.look(disk)
    if name in ("journal", "verdicts", "choices"):
        assert set(before) | set(acknowledged) <= set(left)
    elif name == "deployments" and acknowledged:
        assert left == {"scene": acknowledged[-1]}
    else:
        assert (left, acknowledged) == (before, [])
    filler.unlink()
    case.write(disk, acknowledged.append)
    assert case.look(disk) != left or set(acknowledged) <= set(left)


@pytest.mark.parametrize("name", CASES)
def test_a_read_only_disk_is_read_and_refuses_to_be_written(disk: Path, name: str) -> None:
    case = CASES[name]
    if name == "deployments":
        save_head(writers.HEADS[1], disk / "heads")
    before = case.look(disk)
    if subprocess.run(["mount", "-o", "remount,ro", str(disk)], capture_output=True, check=False).returncode:
        pytest.skip("no read-only mount here")
    with pytest.raises(case.error, match=case.named):
        case.write(disk, print)
    assert case.look(disk) == before


# -- answers that cost something ---------------------------------------------------------------------------------------
def leave(folder: Path, kib: int) -> Path:
    """Fill the disk but for so many KiB."""
    filler = fill(folder)
    with filler.open("r+b") as file:
        file.truncate(filler.stat().st_size - kib * 1024)
    return filler


@pytest.fixture
def photos(tmp_path: Path) -> list[PhotoRef]:
    return make_library(tmp_path / "photos", 12)


@pytest.mark.parametrize("kib", [0, 8, 40, 90, 200])
def test_no_answer_is_paid_for_that_a_full_disk_cannot_keep(disk: Path, photos: list[PhotoRef], kib: int) -> None:
    replay = ReplayTeacher(always, faults=ReplayFaults(latency_s=0.02))
    with running_replay(replay) as url:
        settings = TeacherSettings(base_url=url, model="m", concurrency=4)

        def ask() -> list[Record]:
            return annotate(photos, settings=settings, journal=Journal(disk / "answers", "w"), progress=False, pace=QUICK)

        filler = leave(disk, kib)
        full = kib < 200
        if full:
            with pytest.raises(TeacherError, match=r"w\.jsonl: .*no room for the next answer, so nobody is asked: free some space"):
                ask()
        else:
            ask()
        kept = Journal(disk / "answers", "r").known()
        assert len(kept) == replay.counts()["requests"], "every answer that was asked for is kept"
        assert (not kept, len(kept) == len(photos)) == (kib < 24, not full)
        filler.unlink()
        assert [record["annotation"] is not None for record in ask()] == [True] * len(photos)
        assert replay.counts()["requests"] == len(photos), "no photo is asked twice"


def test_answers_in_flight_keep_their_room_when_others_fill_the_disk(disk: Path, photos: list[PhotoRef]) -> None:
    replay = ReplayTeacher(always, faults=ReplayFaults(latency_s=0.05))
    with running_replay(replay) as url:
        settings = TeacherSettings(base_url=url, model="m", concurrency=4)
        leave(disk, 600)
        journal = Journal(disk / "answers", "w")
        said = annotate(photos, settings=settings, journal=journal, progress=False, pace=QUICK, on_record=lambda _: fill_more(disk))
    assert [record["annotation"] is not None for record in said] == [True] * len(photos)
    assert len(Journal(disk / "answers", "r").known()) == replay.counts()["requests"] == len(photos)


def fill_more(folder: Path) -> None:
    with (folder / "more").open("ab", buffering=0) as filler, suppress(OSError):
        while True:
            filler.write(bytes(4096))


def test_room_that_was_claimed_and_not_used_is_given_back(disk: Path) -> None:
    import os

    def free() -> int:
        return os.statvfs(disk).f_bavail

    Journal(disk / "answers", "other").append({"image_id": "1", "annotation": {}, "at": ""})
    before = free()
    with Journal(disk / "answers", "w") as journal:
        journal.claim(1 << 20)
        assert free() < before - 200
    assert free() == before
    assert [file.name for file in (disk / "answers").iterdir()] == ["other.jsonl"], "a file that was only claimed is not left behind"


def test_a_full_disk_leaves_the_published_file_as_it_was(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIBE_LIBRARY__HOME", str(disk))
    monkeypatch.setenv("VIBE_LIBRARY__ROOT", str(disk))
    warehouse = Warehouse()
    warehouse.publish({"photos": pa.table({"a": [1]})})
    filler = fill(disk)
    with pytest.raises((duckdb.Error, LakeError), match=r"warehouse\.duckdb"):
        warehouse.publish({"photos": pa.table({"a": np.random.default_rng(0).integers(0, 2**60, 200_000)})})
    filler.unlink()
    with warehouse.reader() as connection:
        assert connection.sql("FROM photos").fetchall() == [(1,)]
    assert warehouse.publish({"photos": pa.table({"a": [2]})}) == {"photos": 1}
