"""A journal in an object store: acknowledged is kept, merging loses nothing for any reader, and writers never meet."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.support.object_store import ObjectStore
from tests.support.questions import PACKAGED
from vibe_assets.audit.log import AuditError, VerdictLog
from vibe_assets.audit.verdicts import Verdict
from vibe_assets.storage import Url, object_log
from vibe_assets.storage.object_log import MERGE, ObjectLog
from vibe_assets.teacher.failures import TeacherError
from vibe_assets.teacher.journal import Journal, journals_in

pytestmark = pytest.mark.scale


def lines(log: ObjectLog) -> list[int]:
    return sorted(int(line) for line in log.lines())


def numbered(first: int, count: int = 1) -> list[bytes]:
    return [b"%d\n" % number for number in range(first, first + count)]


def record(image_id: str, at: str = "2026-01-01", scene: str | None = "food") -> dict[str, Any]:
    return {"image_id": image_id, "annotation": {"scene": scene} if scene else None, "at": at}


def test_one_append_is_one_put_and_what_was_acknowledged_is_read(store: ObjectStore, bucket: Url) -> None:
    log = ObjectLog(bucket / "j", "w")
    assert list(log.lines()) == []
    log.append(numbered(0))  # the first append also lists what earlier processes left
    with store.asked() as requests:
        log.append(numbered(1, 5))
        log.append([])
    assert [line.split()[0] for line in requests] == ["PUT"]
    assert lines(ObjectLog(bucket / "j", "reader")) == list(range(6))


def test_many_small_objects_become_few_and_no_line_is_lost_or_doubled(store: ObjectStore, bucket: Url) -> None:
    log, count = ObjectLog(bucket / "j", "w"), MERGE + 5
    for number in range(count):
        log.append(numbered(number))
    assert len(store.names(bucket / "j")) == 1 + 5
    log.close()
    assert len(store.names(bucket / "j")) == 2
    assert lines(log) == list(range(count))


def test_a_later_process_of_the_same_name_merges_what_earlier_ones_left(store: ObjectStore, bucket: Url) -> None:
    for number in range(MERGE):
        ObjectLog(bucket, "w").append(numbered(number))  # never closed, as after a kill
    assert len(store.names(bucket)) == 1
    assert lines(ObjectLog(bucket, "r")) == list(range(MERGE))


def test_a_reader_never_misses_a_line_while_objects_are_merged(bucket: Url, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several writers, two of them under one name, merge all the time; every reader sees at least what was acknowledged before it began."""
    monkeypatch.setattr(object_log, "MERGE", 3)
    acknowledged: set[int] = set()
    stop, faults, reads = threading.Event(), list[str](), [0]

    def write(writer: str, first: int) -> None:
        log = ObjectLog(bucket / "j", writer)
        for number in range(first, first + 20):
            log.append(numbered(number))
            acknowledged.add(number)
        log.close()

    def read() -> None:
        while not stop.is_set():
            before = set(acknowledged)
            missing = before - set(lines(ObjectLog(bucket / "j", "r")))
            reads[0] += 1
            if missing:
                faults.append(f"missing {sorted(missing)}")

    writers = [threading.Thread(target=write, args=("same" if at < 2 else "other", 1000 * at)) for at in range(3)]
    readers = [threading.Thread(target=read) for _ in range(2)]
    for thread in [*writers, *readers]:
        thread.start()
    for thread in writers:
        thread.join()
    stop.set()
    for thread in readers:
        thread.join()
    assert not faults
    assert reads[0] > 1
    assert set(lines(ObjectLog(bucket / "j", "r"))) == acknowledged
    assert len(acknowledged) == 60


def test_a_merge_that_fails_halfway_costs_nothing(bucket: Url, monkeypatch: pytest.MonkeyPatch) -> None:
    log = ObjectLog(bucket, "w")
    for number in range(4):
        log.append(numbered(number))
    put = log._put
    monkeypatch.setattr(log, "_put", lambda level, data: (_ for _ in ()).throw(OSError("down")) if level else put(level, data))
    log.close()
    assert lines(log) == [0, 1, 2, 3]
    log.append(numbered(4))
    assert lines(log) == [0, 1, 2, 3, 4]


WRITER = """
import sys
from vibe_assets.storage import parse_place
from vibe_assets.teacher.journal import Journal
journal, number = Journal(parse_place(sys.argv[1]), sys.argv[2]), 0
while True:
    journal.append_many([{"image_id": f"{sys.argv[2]}-{number}", "part": part, "annotation": {"scene": "food"}} for part in range(3)])
    print(number, flush=True)
    number += 1
"""


def test_what_a_killed_writer_had_acknowledged_is_kept_whole(bucket: Url) -> None:
    for round_ in range(2):
        command = [sys.executable, "-c", WRITER, str(bucket / "j"), f"w{round_}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            for _ in range(10 + 30 * round_):  # with and without merges behind it
                acknowledged = int(writer.stdout.readline())
            os.kill(writer.pid, signal.SIGKILL)
        found = Counter(line["image_id"] for line in Journal(bucket / "j", "r").records() if line["image_id"].startswith(f"w{round_}-"))
        assert {f"w{round_}-{number}" for number in range(acknowledged + 1)} <= set(found)
        assert {count % 3 for count in found.values()} == {0}  # never a part of a call


def test_a_journal_reads_the_same_from_a_bucket(bucket: Url, tmp_path: Path) -> None:
    for place in (tmp_path / "j", bucket / "j"):
        Journal(place, "b").append_many([record("1", at="2026-03-01", scene="newest"), record("2", scene=None)])
        Journal(place, "a").append_many([record("1"), record("1", at="2026-04-01", scene=None), record("3")])
        with Journal(place, "café [1]*") as odd:
            odd.append(record("4"))
            odd.append(record("5"))
    local, stored = Journal(tmp_path / "j", "r"), Journal(bucket / "j", "r")
    assert local.known() == stored.known()
    key = json.dumps
    assert sorted(map(key, local.records())) == sorted(map(key, stored.records()))


def test_a_journal_that_was_copied_up_from_a_disk_is_read(store: ObjectStore, bucket: Url, tmp_path: Path) -> None:
    Journal(tmp_path / "fp", "w").append(record("1"))
    store.upload(tmp_path, bucket / "journal")
    store.put(bucket / "journal" / "fp", "notes.txt", b'{"image_id": "no"}\n')
    Journal(bucket / "journal" / "fp", "w").append(record("2"))
    assert set(Journal(bucket / "journal" / "fp", "r").known()) == {"1", "2"}
    assert journals_in(bucket / "journal") == ["fp"]
    assert journals_in(bucket / "none") == []


def test_a_store_that_does_not_answer_is_never_an_empty_journal(store: ObjectStore, bucket: Url) -> None:
    journal = Journal(bucket / "j", "w")
    journal.append(record("1"))
    with store.closed_to_everybody():
        with pytest.raises(TeacherError, match="access denied"):
            journal.known()
        with pytest.raises(TeacherError, match=r"access denied.*answers kept so far stay"):
            journal.append(record("2"))
        with pytest.raises(TeacherError, match="access denied"):
            journals_in(bucket)
    with pytest.raises(TeacherError, match="bucket"):
        Journal(Url("s3", "gone-bucket", "j"), "w").known()
    with pytest.raises(TeacherError, match="bucket"):
        Journal(Url("s3", "gone-bucket", "j"), "w").append(record("2"))
    assert set(journal.known()) == {"1"}


def test_verdicts_of_several_processes_come_back_once_each_and_in_order(store: ObjectStore, bucket: Url) -> None:
    def verdict(number: int) -> Verdict:
        return Verdict(f"v{number}", f"2026-01-01T00:00:{number:02d}+00:00", "0" * 32, "me", "skipped", None, False, 5, reason="blurred")

    page, file = VerdictLog(bucket / "verdicts", PACKAGED), VerdictLog(bucket / "verdicts", PACKAGED)
    page.append(verdict(2))
    file.append_many([verdict(1), verdict(3)])
    page.append(verdict(4))
    page.close()
    assert [found.verdict_id for found in VerdictLog(bucket / "verdicts", PACKAGED).verdicts()] == ["v1", "v2", "v3", "v4"]
    with store.closed_to_everybody(), pytest.raises(AuditError, match=r"verdict not kept.*access denied"):
        page.append(verdict(5))


def test_reading_ten_thousand_records_takes_few_requests(store: ObjectStore, bucket: Url) -> None:
    journal = Journal(bucket / "j", "w")
    for number in range(100):
        journal.append_many([record(f"{number}-{part}") for part in range(100)])
    journal.close()
    started = time.monotonic()
    with store.asked() as requests:
        assert len(journal.known()) == 10_000
    assert len(requests) <= 8
    assert time.monotonic() - started < 10
