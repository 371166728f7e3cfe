"""The verdict log loses nothing that it acknowledged: not to a kill, a torn line, a second process or many threads."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.audit.says import said
from tests.support.questions import PACKAGED
from vibe_assets.audit.log import AuditError, VerdictLog

WRITER = """
import sys
from tests.audit.says import said
from tests.support.questions import PACKAGED
from vibe_assets.audit.log import VerdictLog
from pathlib import Path
log = VerdictLog(Path(sys.argv[1]), PACKAGED)
for at in range(100_000):
    log.append(said(f"{sys.argv[2]}-{at:06}", image=at))
    print(f"{sys.argv[2]}-{at:06}", flush=True)
"""


def test_what_was_acknowledged_survives_a_kill_in_mid_append(tmp_path: Path) -> None:
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), name], stdout=subprocess.PIPE, text=True)
        for name in ("one-a", "two-b")
    ]
    time.sleep(1.5)
    acknowledged: set[str] = set()
    for writer in writers:
        writer.send_signal(signal.SIGKILL)
        out, _ = writer.communicate(timeout=20)
        acknowledged |= set(out.split())
    assert len(acknowledged) > 20
    kept = [verdict.verdict_id for verdict in VerdictLog(tmp_path, PACKAGED).verdicts()]
    assert acknowledged <= set(kept)
    assert len(kept) == len(set(kept))


def test_torn_and_foreign_lines_are_passed_over(tmp_path: Path) -> None:
    log = VerdictLog(tmp_path, PACKAGED, writer="page")
    log.append_many([said("verdict-1"), said("verdict-2", image=2)])
    log.close()
    file = tmp_path / "page.jsonl"
    file.write_bytes(file.read_bytes() + b'{"image_id": "x", "verdict_id": "half')
    (tmp_path / "other.jsonl").write_text('{"image_id": "1"}\n[]\n\xff\n{"image_id": "a", "at": "yesterday"}\n')
    assert [verdict.verdict_id for verdict in log.verdicts()] == ["verdict-1", "verdict-2"]
    again = VerdictLog(tmp_path, PACKAGED, writer="page")
    again.append(said("verdict-3"))
    assert {verdict.verdict_id for verdict in again.verdicts()} == {"verdict-1", "verdict-2", "verdict-3"}


def test_many_threads_lose_nothing_and_the_same_verdict_counts_once(tmp_path: Path) -> None:
    log = VerdictLog(tmp_path, PACKAGED)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda at: log.append(said(f"verdict-{at % 90}", image=at % 90)), range(100)))
    assert len(log.verdicts()) == 90
    (file,) = tmp_path.glob("*.jsonl")
    assert len([json.loads(line) for line in file.read_text().splitlines()]) == 100


def test_verdicts_come_in_order_of_time_whoever_wrote_them(tmp_path: Path) -> None:
    VerdictLog(tmp_path, PACKAGED, writer="a").append(said("verdict-late", second=5))
    VerdictLog(tmp_path, PACKAGED, writer="b").append(said("verdict-soon", second=1))
    assert [verdict.verdict_id for verdict in VerdictLog(tmp_path, PACKAGED).verdicts()] == ["verdict-soon", "verdict-late"]


def test_a_log_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AuditError, match="verdict not kept"):
        VerdictLog(tmp_path / "file" / "log", PACKAGED).append(said("verdict-1"))


def test_nothing_is_created_before_the_first_verdict(tmp_path: Path) -> None:
    assert VerdictLog(tmp_path / "log", PACKAGED).verdicts() == []
    assert not (tmp_path / "log").exists()
