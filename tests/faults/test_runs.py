"""What changes under a run: a second run of the partition, the teacher, photos that go or change, folders and files nobody can read."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from tests.photos.library import SETTINGS, by_name, save, scan
from tests.teacher.conftest import QUICK, always, make_library
from vibe_assets.encoders.base import load_encoder
from vibe_assets.encoders.engine import embed_photos
from vibe_assets.photos import decode, folders
from vibe_assets.photos.decode import PhotoRejected, read_photo
from vibe_assets.photos.folders import LibraryVanished, discover_folders, next_folder_set
from vibe_assets.records import ANNOTATIONS, PhotoRef
from vibe_assets.settings import EncoderSettings, LibrarySettings, TeacherSettings, load_settings
from vibe_assets.stages import gates
from vibe_assets.stages.library import accepted_photos, look_at_folders, scan_folder
from vibe_assets.stages.platform import Platform
from vibe_assets.stages.teacher import annotate_folder
from vibe_assets.teacher.annotate import annotate, teacher_fingerprint
from vibe_assets.teacher.failures import TeacherError
from vibe_assets.teacher.journal import Journal
from vibe_assets.teacher.replay import ReplayFaults, ReplayTeacher, running_replay

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
CONFIG = '[library]\nroot = "photos"\nhome = "data"\nscan_workers = 1\n[teacher]\nmodel = "one"\nconcurrency = 1\nbase_url = "{url}"\n'


@pytest.fixture
def teacher() -> Iterator[tuple[ReplayTeacher, str]]:
    replay = ReplayTeacher(always, faults=ReplayFaults(latency_s=0.05))
    with running_replay(replay) as url:
        yield replay, url


@pytest.fixture
def platform(tmp_path: Path, teacher: tuple[ReplayTeacher, str], monkeypatch: pytest.MonkeyPatch) -> Platform:
    """One scanned folder of eight photos."""
    for name in ("QWEN_BASE_URL", "QWEN_MODEL"):
        monkeypatch.delenv(name, raising=False)
    make_library(tmp_path / "photos" / "a", 8)
    (tmp_path / "vibe.toml").write_text(CONFIG.format(url=teacher[1]))
    platform = Platform(load_settings(tmp_path / "vibe.toml"), progress=False)
    look_at_folders(platform)
    scan_folder(platform, folder_of(platform))
    return platform


def folder_of(platform: Platform) -> str:
    (key,) = platform.lake.live_folders()
    return key


# -- two runs ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("before", [0, 2])
def test_a_second_run_of_a_partition_is_refused_before_it_asks_the_teacher(
    platform: Platform, teacher: tuple[ReplayTeacher, str], before: int
) -> None:
    key, replay = folder_of(platform), teacher[0]
    annotate_folder(platform, key, limit=before)
    first = threading.Thread(target=annotate_folder, args=(platform, key))
    first.start()
    while replay.counts()["requests"] < before + 2:
        time.sleep(0.005)
    with pytest.raises(TeacherError, match="another process is writing to it; wait for it to end, or stop it"):
        annotate_folder(platform, key)
    first.join()
    assert replay.counts()["requests"] == 8, "every photo was paid for once"
    rows = platform.lake.read(ANNOTATIONS, folder_key=key)
    assert (rows.height, rows["reason"].null_count()) == (8, 8)
    assert annotate_folder(platform, key).equals(rows)
    assert replay.counts()["requests"] == 8


# -- another teacher ---------------------------------------------------------------------------------------------------
def test_a_teacher_changed_during_a_run_mixes_no_answers_and_the_gate_holds_the_old_ones_back(
    platform: Platform, teacher: tuple[ReplayTeacher, str], tmp_path: Path
) -> None:
    key, replay = folder_of(platform), teacher[0]
    run = threading.Thread(target=annotate_folder, args=(platform, key))
    run.start()
    while replay.counts()["requests"] < 3:
        time.sleep(0.005)
    (tmp_path / "vibe.toml").write_text(CONFIG.format(url=teacher[1]).replace('"one"', '"two"'))
    run.join()
    before, changed = teacher_fingerprint(platform.settings.teacher), Platform(load_settings(tmp_path / "vibe.toml"), progress=False)
    assert set(platform.lake.read(ANNOTATIONS)["teacher"]) == {before}
    assert gates.from_current_teacher(platform, key).passed
    assert not gates.from_current_teacher(changed, key).passed
    annotate_folder(changed, key)
    assert set(changed.lake.read(ANNOTATIONS)["teacher"]) == {teacher_fingerprint(changed.settings.teacher)}
    assert gates.from_current_teacher(changed, key).passed
    assert replay.counts()["requests"] == 16


# -- photos that change or go ------------------------------------------------------------------------------------------
def test_photos_changed_or_deleted_during_a_run_are_rows_and_nobody_elses_answer(
    platform: Platform, teacher: tuple[ReplayTeacher, str], tmp_path: Path
) -> None:
    photos = platform.photo_refs(accepted_photos(platform).sort("rel_path"))
    journal = Journal(tmp_path / "j", "w")

    def meanwhile(record: dict[str, object]) -> None:
        if record["image_id"] == photos[0].image_id:  # the last ones are not read yet
            Path(os.fsdecode(photos[-1].path)).unlink()
            save(Path(os.fsdecode(photos[-2].path)), 99)

    records = annotate(photos, settings=platform.settings.teacher, journal=journal, progress=False, pace=QUICK, on_record=meanwhile)
    assert [record.get("reason") for record in records] == [None] * 6 + ["photo_changed", "unreadable_photo"]
    encoder = load_encoder(EncoderSettings())
    rows = embed_photos(photos, encoder, settings=EncoderSettings(), cache_dir=tmp_path / "cache", progress=False)
    assert rows["reason"].to_list() == [None] * 6 + ["changed_since_scan", "io_error"]
    scan_folder(platform, folder_of(platform))
    again = annotate_folder(platform, folder_of(platform))
    assert (again.height, again["reason"].null_count()) == (7, 7)
    assert {record["image_id"] for record in records[:6]} < set(again["image_id"])


# -- folders nobody can read -------------------------------------------------------------------------------------------
def test_half_the_folders_unreadable_is_told_and_counts_as_nothing_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(6):
        save(tmp_path / f"shelf-{number}" / "p.jpg", number)
    known = next_folder_set(discover_folders(tmp_path), None, max_missing_share=0.3, accept_missing=False, now=NOON)
    locked, scandir = {os.fsencode(tmp_path / f"shelf-{number}") for number in range(3)}, os.scandir

    def guarded(path: bytes | str) -> object:
        if os.fsencode(path) in locked:  # what the system says to anybody but the superuser, who runs some of these tests
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return scandir(path)

    monkeypatch.setattr(folders.os, "scandir", guarded)
    seen = discover_folders(tmp_path)
    assert sorted(problem.path_bytes for problem in seen.problems) == [b"shelf-0", b"shelf-1", b"shelf-2"]
    rows = next_folder_set(seen, known, max_missing_share=0.3, accept_missing=False, now=NOON)
    assert (rows.height, rows["gone_at"].null_count()) == (6, 6)
    for folder in known.sort("rel_path").head(3).iter_rows(named=True):
        with pytest.raises(LibraryVanished, match="cannot be read: Permission denied"):
            scan_of(tmp_path, folder["folder_key"], folder["path_bytes"])


def scan_of(root: Path, key: str, path: bytes) -> pl.DataFrame:
    from vibe_assets.photos.scan import scan_folder as scan_rows

    return scan_rows(root, key, path, known_rows=None, settings=SETTINGS)


# -- sizes -------------------------------------------------------------------------------------------------------------
def test_empty_and_four_gigabyte_files_are_rows_and_are_not_read(tmp_path: Path) -> None:
    save(tmp_path / "p.jpg")
    (tmp_path / "void.jpg").touch()
    with (tmp_path / "huge.jpg").open("wb") as file:
        file.truncate(4 << 30)  # sparse: takes no room
    began = time.monotonic()
    rows = by_name(scan(tmp_path))
    assert {name: row["reason"] for name, row in rows.items()} == {"p.jpg": None, "void.jpg": "empty", "huge.jpg": "too_many_bytes"}
    assert rows["huge.jpg"]["detail"] == f"{4 << 30} bytes, at most {SETTINGS.max_bytes} are allowed"
    assert time.monotonic() - began < 20


def test_the_size_is_asked_before_a_byte_is_read(tmp_path: Path) -> None:
    with (tmp_path / "huge.jpg").open("wb") as file:
        file.truncate(4 << 30)
    before = bytes_read()
    with pytest.raises(PhotoRejected, match=f"{4 << 30} bytes, at most {decode.MAX_BYTES} are allowed"):
        read_photo(tmp_path / "huge.jpg")
    assert bytes_read() - before < 1 << 20
    photo = PhotoRef("0" * 32, os.fsencode(tmp_path / "huge.jpg"), "huge.jpg")
    settings = TeacherSettings(base_url="http://127.0.0.1:9/v1", model="m")
    (record,) = annotate([photo], settings=settings, journal=Journal(tmp_path / "j", "w"), progress=False, library=LibrarySettings())
    assert (record["reason"], record["annotation"]) == ("unreadable_photo", None)
    rows = embed_photos([photo], load_encoder(EncoderSettings()), settings=EncoderSettings(), cache_dir=tmp_path / "c", progress=False)
    assert rows["reason"].to_list() == ["too_many_bytes"]
    assert bytes_read() - before < 64 << 20


def bytes_read() -> int:
    """By this process, pages of sparse files included."""
    counts = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(counts["rchar"])
