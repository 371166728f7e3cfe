"""The journal: durable lines, torn lines, several writers."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from vibe_assets.teacher.failures import TeacherError
from vibe_assets.teacher.journal import Journal, Record


def line(image_id: str, *, at: str = "2026-01-01", scene: str | None = "food") -> Record:
    return {"image_id": image_id, "annotation": {"scene": scene} if scene else None, "at": at}


def test_newest_answer_wins_across_files_and_failures_never_override(tmp_path: Path) -> None:
    Journal(tmp_path, "b").append_many([line("1", at="2026-03-01", scene="newest"), line("2", scene=None)])
    Journal(tmp_path, "a").append_many([line("1"), line("1", at="2026-04-01", scene=None), line("2", at="2026-02-01", scene=None)])
    Journal(tmp_path, "c").append(line("1", at="2026-02-01", scene="older"))
    known = Journal(tmp_path, "reader").known()
    assert known["1"]["annotation"] == {"scene": "newest"}
    assert known["2"]["at"] == "2026-02-01"


def test_reading_creates_nothing(tmp_path: Path) -> None:
    assert Journal(tmp_path / "none", "x").known() == {}
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    "torn", [b'{"image_id": "2", "annot', b'{"image_id": "2"', b"\x00\x00\x00\x00", b"\xff\xfe{", b'"just text"', b"[" * 9_000]
)
def test_a_torn_line_costs_itself_only(tmp_path: Path, torn: bytes) -> None:
    Journal(tmp_path, "w").append(line("1"))
    with (tmp_path / "w.jsonl").open("ab") as handle:
        handle.write(torn)
    assert set(Journal(tmp_path, "r").known()) == {"1"}
    Journal(tmp_path, "w").append(line("3"))
    assert set(Journal(tmp_path, "r").known()) == {"1", "3"}
    assert (tmp_path / "w.jsonl").read_bytes().count(b"\n") == 3


def test_a_whole_last_line_without_its_newline_counts(tmp_path: Path) -> None:
    (tmp_path / "w.jsonl").write_text(json.dumps(line("1")))
    with Journal(tmp_path, "w") as journal:
        journal.append(line("2"))
    assert set(Journal(tmp_path, "r").known()) == {"1", "2"}


def test_a_second_writer_of_one_file_is_refused_until_the_first_lets_go(tmp_path: Path) -> None:
    first, second = Journal(tmp_path, "w"), Journal(tmp_path, "w")
    first.append(line("1"))
    with pytest.raises(TeacherError, match="another process"):
        second.append(line("2"))
    first.close()
    second.append(line("2"))
    assert set(first.known()) == {"1", "2"}


def test_names_that_leave_the_folder_are_refused(tmp_path: Path) -> None:
    for writer in ("../x", "a/b", "", ".hidden", "x" * 101):
        with pytest.raises(ValueError, match="writer"):
            Journal(tmp_path, writer)


def test_text_that_utf8_cannot_hold_is_still_journalled(tmp_path: Path) -> None:
    with Journal(tmp_path, "w") as journal:
        journal.append(line("1", scene="caf\udce9 \u2028 \n"))
    assert set(journal.known()) == {"1"}


def test_threads_and_processes_append_to_one_folder_without_loss(tmp_path: Path) -> None:
    script = """
import sys
from pathlib import Path
from vibe_assets.teacher.journal import Journal
with Journal(Path(sys.argv[1]), sys.argv[2]) as journal:
    for number in range(100):
        journal.append({"image_id": f"{sys.argv[2]}-{number}", "annotation": {"scene": "x" * 300}, "at": ""})
"""
    others = [subprocess.Popen([sys.executable, "-c", script, str(tmp_path), name]) for name in ("p", "q")]
    with Journal(tmp_path, "threads") as journal:
        threads = [
            threading.Thread(target=lambda t=t: [journal.append(line(f"{t}-{n}")) for n in range(25)])  # type: ignore[misc]
            for t in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [other.wait() for other in others] == [0, 0]
    assert len(Journal(tmp_path, "r").known()) == 300


def test_a_full_disk_is_named_and_leaves_whole_lines(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "w")
    journal.append(line("1"))
    size = (tmp_path / "w.jsonl").stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, limits[1]))
        with pytest.raises(TeacherError, match="free some space"):
            journal.append(line("2"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert (tmp_path / "w.jsonl").stat().st_size == size
    journal.append(line("3"))
    assert set(journal.known()) == {"1", "3"}


def test_an_unwritable_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TeacherError, match="must be writable"):
        Journal(tmp_path / "file" / "below", "w").append(line("1"))


def test_appended_means_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    sync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda descriptor: (synced.append(os.fstat(descriptor).st_size), sync(descriptor))[1])
    with Journal(tmp_path, "w") as journal:
        journal.append_many([line("1"), line("2"), line("3")])
    assert synced[-1] == (tmp_path / "w.jsonl").stat().st_size, "the last sync saw the whole file"
    assert len(synced) == 2, "one for the new file's folder, one shared by three records"
