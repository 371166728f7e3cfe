"""Annotating a library over real HTTP: what is asked, what is kept, what a failure looks like."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.teacher.conftest import ANNOTATION, QUICK, always, make_library, photo, picture
from vibe_assets.records import ANNOTATIONS, PhotoRef
from vibe_assets.settings import TeacherSettings
from vibe_assets.teacher.annotate import annotate, annotation_rows, teacher_fingerprint
from vibe_assets.teacher.failures import TeacherError
from vibe_assets.teacher.journal import Journal, read_records
from vibe_assets.teacher.replay import ReplayFaults, ReplayTeacher, running_replay

Build = Callable[..., TeacherSettings]
FIELDS = {
    "image_id", "server_path", "image_path", "rel_path", "annotation", "teacher", "latency_s", "usage", "model", "at",
}  # fmt: skip


def ask(photos: list[PhotoRef], settings: TeacherSettings, folder: Path, **options: Any) -> list[dict[str, Any]]:
    with Journal(folder, "test") as journal:
        return annotate(photos, settings=settings, journal=journal, progress=False, pace=QUICK, **options)


def faulty(script: tuple[str, ...] = (), **faults: Any) -> ReplayTeacher:
    return ReplayTeacher(always, faults=ReplayFaults(script=script, **{"retry_after_s": 0.05, **faults}))


def test_every_photo_gets_one_record_of_the_documented_shape(library: list[PhotoRef], settings: Build, tmp_path: Path) -> None:
    told: list[str] = []
    with running_replay(always) as url:
        records = ask(library, settings(url), tmp_path / "j", on_record=lambda record: told.append(record["image_id"]))
    assert [record["image_id"] for record in records] == [photo.image_id for photo in library]
    assert all(set(record) == FIELDS and record["annotation"] == ANNOTATION for record in records)
    assert all(record["usage"]["prompt_tokens"] > 0 and record["latency_s"] > 0 for record in records)
    assert sorted(told) == sorted(photo.image_id for photo in library)
    assert list(Journal(tmp_path / "j", "reader").known().values()) == list(read_records(tmp_path / "j" / "test.jsonl"))


def test_what_all_requests_have_in_common_comes_before_the_photo(library: list[PhotoRef], settings: Build, tmp_path: Path) -> None:
    seen: list[Any] = []

    def watching(image: bytes, request: Any) -> dict[str, Any]:
        seen.append(request["messages"])
        return ANNOTATION

    with running_replay(watching) as url:
        ask(library[:2], settings(url), tmp_path / "j")
    (first,), (second,) = seen
    assert [part["type"] for part in first["content"]] == ["text", "image_url"]  # a server caches the prefix up to the first difference
    assert first["content"][0] == second["content"][0]
    assert first["content"][1] != second["content"][1]


def test_a_second_run_asks_nothing_and_needs_no_server(library: list[PhotoRef], settings: Build, tmp_path: Path) -> None:
    with running_replay(always) as url:
        first = ask(library, settings(url), tmp_path / "j")
    assert ask(library, settings(""), tmp_path / "j") == first


def test_limit_counts_new_photos_and_a_resume_goes_on(library: list[PhotoRef], settings: Build, tmp_path: Path) -> None:
    teacher = faulty()
    with running_replay(teacher) as url:
        assert len(ask(library, settings(url), tmp_path / "j", limit=5)) == 5
        assert len(ask(library, settings(url), tmp_path / "j", limit=5)) == 10
        assert len(ask(library, settings(url), tmp_path / "j", limit=0)) == 10
        assert len(ask(library, settings(url), tmp_path / "j")) == 12
    assert teacher.counts()["requests"] == 12


def test_a_moved_copied_or_renamed_photo_is_not_asked_again(library: list[PhotoRef], settings: Build, tmp_path: Path) -> None:
    teacher, root = faulty(), tmp_path / "photos"
    with running_replay(teacher) as url:
        ask(library, settings(url), tmp_path / "j")
        (root / "new place").mkdir()
        shutil.move(root / "000.jpg", root / "new place" / "renamed.jpeg")
        shutil.copy(root / "001.jpg", root / "new place" / "copy.jpg")
        moved = [photo(path, root) for path in sorted((root / "new place").iterdir())]
        records = ask([*moved, *library[1:]], settings(url), tmp_path / "j")
    assert teacher.counts()["requests"] == 12
    assert len(records) == 12, "one record per image_id, also where it lies twice"
    rows = annotation_rows([*moved, *library[1:]], records, folder_key="k-00000000")
    assert rows.height == 13
    assert rows["reason"].null_count() == 13


def test_failed_photos_are_asked_again_after_the_new_ones_and_a_failure_never_hides_an_answer(
    library: list[PhotoRef], settings: Build, tmp_path: Path
) -> None:
    with running_replay(faulty(p_refusal=1.0)) as url:
        refused = ask(library[:3], settings(url), tmp_path / "j")
    assert [record["reason"] for record in refused] == ["teacher_refused"] * 3
    assert "cannot help" in refused[0]["detail"]
    with running_replay(always) as url:
        partly = ask(library, settings(url), tmp_path / "j", limit=9)
        assert [record["annotation"] is None for record in partly] == [True] * 3 + [False] * 9
        assert all(record["annotation"] for record in ask(library, settings(url), tmp_path / "j"))
    Journal(tmp_path / "j", "late").append({**refused[0], "at": "2999-01-01T00:00:00+00:00"})
    assert Journal(tmp_path / "j", "reader").known()[library[0].image_id]["annotation"] == ANNOTATION


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("429", "rate_limited"),
        ("500", "server_error"),
        ("503", "server_error"),
        ("invalid_json", "invalid_answer"),
        ("cut", "invalid_answer"),
        ("dropped", "unreachable"),
        ("timeout", "timeout"),
    ],
)
def test_a_passing_fault_is_retried_and_a_lasting_one_is_a_row(
    library: list[PhotoRef], settings: Build, tmp_path: Path, fault: str, reason: str
) -> None:
    quick = {"timeout_s": 0.3, "concurrency": 1}
    with running_replay(faulty((fault, fault))) as url:
        assert ask(library[:1], settings(url, **quick), tmp_path / "a")[0]["annotation"] == ANNOTATION
    with running_replay(faulty((fault,) * 3)) as url:
        first, second = ask(library[:2], settings(url, **quick), tmp_path / "b")
    assert (first["reason"], first["annotation"], second["annotation"]) == (reason, None, ANNOTATION)
    assert "3 tries" in first["detail"]


def test_refusals_and_content_filters_are_not_retried(library: list[PhotoRef], settings: Build, tmp_path: Path) -> None:
    teacher = faulty(("refusal", "filtered"))
    with running_replay(teacher) as url:
        records = ask(library[:3], settings(url, concurrency=1), tmp_path / "j")
    assert [record.get("reason") for record in records] == ["teacher_refused", "teacher_refused", None]
    assert teacher.counts()["requests"] == 3


def test_fenced_answers_are_read(library: list[PhotoRef], settings: Build, tmp_path: Path) -> None:
    with running_replay(faulty(p_fenced=1.0)) as url:
        assert all(record["annotation"] == ANNOTATION for record in ask(library, settings(url), tmp_path / "j"))


@pytest.mark.parametrize("as_date", [False, True])
def test_retry_after_is_honoured_in_seconds_and_as_a_date(library: list[PhotoRef], settings: Build, tmp_path: Path, as_date: bool) -> None:
    asked_s = 2.0 if as_date else 0.4  # dates have whole seconds
    with running_replay(faulty(("429",), retry_after_s=asked_s, retry_after_as_date=as_date)) as url:
        began = time.monotonic()
        assert ask(library[:1], settings(url), tmp_path / "j")[0]["annotation"]
    assert time.monotonic() - began >= asked_s - (1.0 if as_date else 0.0)


def test_a_server_that_closes_for_the_day_ends_the_run(library: list[PhotoRef], settings: Build, tmp_path: Path) -> None:
    with running_replay(faulty(("ok", "429"), retry_after_s=86_400)) as url:
        with pytest.raises(TeacherError, match="come back in 86400 s"):
            ask(library, settings(url, concurrency=1), tmp_path / "j")
    assert len(Journal(tmp_path / "j", "reader").known()) == 1


def test_concurrency_falls_until_a_crowded_server_is_content(settings: Build, tmp_path: Path) -> None:
    photos = make_library(tmp_path / "photos", 60)
    teacher = faulty(max_in_flight=3, latency_s=0.01)
    with running_replay(teacher) as url:
        records = ask(photos, settings(url, concurrency=32, retries=10), tmp_path / "j")
    counts = teacher.counts()
    assert all(record["annotation"] for record in records)
    assert counts["outcomes"]["429"] < counts["answered"], "most requests fit, although 32 were allowed"
    assert counts["max_in_flight"] < 32


def test_concurrency_grows_to_what_is_allowed(settings: Build, tmp_path: Path) -> None:
    teacher = faulty(latency_s=0.3)
    with running_replay(teacher) as url:
        ask(make_library(tmp_path / "photos", 60), settings(url, concurrency=8), tmp_path / "j")
    assert teacher.counts()["max_in_flight"] == 8


def test_a_server_without_json_schema_is_learnt_once(library: list[PhotoRef], settings: Build, tmp_path: Path) -> None:
    for switch, lost in (({"no_json_schema": True}, 4), ({"no_response_format": True}, 8)):
        teacher = faulty(**switch)
        with running_replay(teacher) as url:
            records = ask(library, settings(url, retries=0), tmp_path / next(iter(switch)))
        assert all(record["annotation"] == ANNOTATION for record in records)
        assert 1 <= teacher.counts()["outcomes"]["400"] <= lost


def test_a_wrong_key_ends_the_run_at_once_and_names_the_variable(
    library: list[PhotoRef], settings: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTHER_KEY", "sk-wrong-canary-0001")
    teacher = ReplayTeacher(always, api_key="sk-right")
    with running_replay(teacher) as url, pytest.raises(TeacherError, match="OTHER_KEY") as caught:
        ask(library, settings(url, api_key_env="OTHER_KEY"), tmp_path / "j")
    assert teacher.counts()["requests"] <= 4
    assert "canary" not in str(caught.value)


def test_an_absent_server_ends_the_run_after_a_few_connections(library: list[PhotoRef], settings: Build, tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
        began = time.monotonic()
        with pytest.raises(TeacherError, match=r"127\.0\.0\.1.*QWEN_BASE_URL"):
            ask(library, settings(url), tmp_path / "j")
    assert time.monotonic() - began < 5
    assert not [
        line for file in (tmp_path / "j").rglob("*.jsonl") for line in file.read_text().splitlines()
    ]  # room was claimed, nothing kept


def test_a_server_that_vanishes_ends_the_run_and_a_later_one_gets_only_the_rest(
    library: list[PhotoRef], settings: Build, tmp_path: Path
) -> None:
    kept: list[dict[str, Any]] = []
    server = running_replay(faulty(latency_s=0.03))
    url = server.__enter__()

    def leave_after_four(record: dict[str, Any]) -> None:
        kept.append(record)
        if len(kept) == 4:
            server.__exit__(None, None, None)

    with pytest.raises(TeacherError, match="cannot reach"):
        ask(library, settings(url, concurrency=2), tmp_path / "j", on_record=leave_after_four)
    done = {key for key, record in Journal(tmp_path / "j", "reader").known().items() if record["annotation"]}
    assert 4 <= len(done) < 12
    second = faulty()
    with running_replay(second) as url:
        assert all(record["annotation"] for record in ask(library, settings(url), tmp_path / "j"))
    assert second.counts()["requests"] == 12 - len(done)


def test_a_restarting_server_costs_no_photo(library: list[PhotoRef], settings: Build, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    script = f"""
import time
from tests.teacher.conftest import always
from vibe_assets.teacher.replay import ReplayFaults, ReplayTeacher, running_replay
faults = ReplayFaults(latency_s=0.02)
for pause in (0.3, 20):
    with running_replay(ReplayTeacher(always, faults=faults), port={port}):
        print("up", flush=True)
        time.sleep(pause)
    time.sleep(0.2)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == "up\n"
            slow = settings(f"http://127.0.0.1:{port}/v1", concurrency=1, retries=1)

            def dawdle(record: dict[str, Any]) -> None:
                time.sleep(0.05)

            records = ask(library, slow, tmp_path / "j", on_record=dawdle)
        finally:
            server.kill()
    assert all(record["annotation"] for record in records)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"base_url": ""}, "base_url is not set"),
        ({"base_url": "127.0.0.1:8000"}, "not an http"),
        ({"prompt": "/no/such/prompt.md"}, "photo_labels"),
    ],
)
def test_wrong_settings_are_named(library: list[PhotoRef], settings: Build, tmp_path: Path, fields: dict[str, str], message: str) -> None:
    with pytest.raises(TeacherError, match=message):
        ask(library, settings(**{"base_url": "http://127.0.0.1:9/v1", **fields}), tmp_path / "j")


def test_a_wrong_path_or_model_ends_the_run_with_the_remedy(library: list[PhotoRef], settings: Build, tmp_path: Path) -> None:
    with running_replay(always) as url, pytest.raises(TeacherError, match="usually ends in /v1"):
        ask(library, settings(url.removesuffix("/v1")), tmp_path / "j")
    answers = tmp_path / "answers.jsonl"
    answers.write_text(json.dumps({"path": library[0].rel_path, "annotation": ANNOTATION}) + "\n")
    with running_replay({"other": answers}, tmp_path / "photos") as url, pytest.raises(TeacherError, match="QWEN_MODEL"):
        ask(library, settings(url), tmp_path / "j")


def test_unreadable_missing_and_changed_photos_are_rows(settings: Build, tmp_path: Path) -> None:
    root = tmp_path / "photos"
    good, broken, gone, changed = make_library(root, 4)
    (root / broken.rel_path).write_bytes(b"\xff\xd8 not a photo")
    broken = photo(root / broken.rel_path, root)
    (root / gone.rel_path).unlink()
    picture(99).save(root / changed.rel_path)
    with running_replay(always) as url:
        records = ask([good, broken, gone, changed], settings(url), tmp_path / "j")
    assert [record.get("reason") for record in records] == [None, "unreadable_photo", "unreadable_photo", "photo_changed"]


def test_names_that_are_not_utf8_are_annotated(settings: Build, tmp_path: Path) -> None:
    name = b"caf\xe9 \xf0\x9f\x8e\x89.jpg"
    path = tmp_path / os.fsdecode(name)
    picture(1).save(tmp_path / "x.jpg")
    (tmp_path / "x.jpg").rename(path)
    ref = PhotoRef(hashlib.sha256(path.read_bytes()).hexdigest()[:32], bytes(path), "caf\\xe9")
    with running_replay(always) as url:
        (record,) = ask([ref], settings(url), tmp_path / "j")
    assert record["annotation"] == ANNOTATION
    assert "caf\\xe9" in record["server_path"]


def test_it_runs_inside_a_running_event_loop(library: list[PhotoRef], settings: Build, tmp_path: Path) -> None:
    async def notebook_cell(url: str) -> list[dict[str, Any]]:
        return ask(library, settings(url), tmp_path / "j")

    with running_replay(always) as url:
        assert len(asyncio.run(notebook_cell(url))) == 12


def test_the_key_is_nowhere_but_in_the_header(
    settings: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    canary = "sk-canary-7f3d9b51e0"
    monkeypatch.setenv("QWEN_API_KEY", canary)
    caplog.set_level(logging.DEBUG)
    photos = make_library(tmp_path / "photos", 28)  # twice through the hostile answers, which echo the key
    teacher = ReplayTeacher(always, faults=ReplayFaults(hostile=True), api_key=canary)
    with running_replay(teacher) as url:
        records = ask(photos, settings(url, retries=0), tmp_path / "j")
    assert teacher.counts()["outcomes"] == {"hostile": 28}, "the key was sent and accepted"
    written = b"".join(path.read_bytes() for path in (tmp_path / "j").iterdir()).decode()
    assert "***" in written
    output = "".join(capfd.readouterr())
    for place in (written, json.dumps(records), caplog.text, output, repr(settings(url))):
        assert canary not in place


def test_hostile_answers_end_as_rows_or_clean_annotations(settings: Build, tmp_path: Path) -> None:
    photos = make_library(tmp_path / "photos", 14)
    with running_replay(faulty(hostile=True)) as url:
        records = ask(photos, settings(url, retries=0), tmp_path / "j")
    reasons = [record.get("reason") for record in records]
    assert set(reasons) == {None, "invalid_answer"}
    rows = annotation_rows(photos, records, folder_key="k-00000000")
    assert rows["reason"].to_list() == reasons
    for record in records:
        objects = (record["annotation"] or {}).get("objects", [])
        assert len(objects) <= 100
        assert all(0 <= item["confidence"] <= 1 for item in objects)


def test_a_key_that_no_header_can_carry_is_refused_without_showing_it(
    library: list[PhotoRef], settings: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QWEN_API_KEY", "sk-canary\nX-Evil: 1")
    with pytest.raises(TeacherError, match="QWEN_API_KEY") as caught:
        ask(library, settings("http://127.0.0.1:9/v1"), tmp_path / "j")
    assert "canary" not in str(caught.value)


def test_rows_name_what_was_not_asked(library: list[PhotoRef], settings: Build, tmp_path: Path) -> None:
    with running_replay(always) as url:
        records = ask(library, settings(url), tmp_path / "j", limit=2)
    rows = annotation_rows(library, records, folder_key="k-00000000")
    assert rows.schema == ANNOTATIONS.polars_schema()
    assert rows["reason"].to_list() == [None, None] + ["not_asked"] * 10
    assert json.loads(rows["annotation"][0]) == ANNOTATION
    assert annotation_rows([], [], folder_key="k-00000000").schema == ANNOTATIONS.polars_schema()


@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_run_loses_nothing_that_was_kept_and_the_next_pays_for_the_rest(
    settings: Build, tmp_path: Path, kill: signal.Signals
) -> None:
    photos = make_library(tmp_path / "photos", 40)
    teacher = faulty(latency_s=0.2)
    script = f"""
import signal
import sys
from pathlib import Path
from tests.teacher.conftest import photo
from vibe_assets.settings import TeacherSettings
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that started the tests in the background had it ignored
from vibe_assets.teacher.annotate import annotate
from vibe_assets.teacher.journal import Journal
root = Path({str(tmp_path / "photos")!r})
photos = [photo(path, root) for path in sorted(root.iterdir())]
settings = TeacherSettings.model_validate({{"base_url": sys.argv[1], "concurrency": 2}})
journal = Journal(Path({str(tmp_path / "j")!r}), "test")
annotate(photos, settings=settings, journal=journal, progress=False, on_record=lambda record: print(record["image_id"], flush=True))
"""
    with running_replay(teacher) as url:
        with subprocess.Popen([sys.executable, "-c", script, url], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as victim:
            assert victim.stdout is not None
            acknowledged = [victim.stdout.readline().strip() for _ in range(10)]
            teacher.faults = ReplayFaults(latency_s=10)  # however late the signal comes on a busy machine, it comes in the middle
            victim.send_signal(kill)
            acknowledged += victim.stdout.read().split()
        teacher.faults = ReplayFaults()
        known = Journal(tmp_path / "j", "reader").known()
        assert set(acknowledged) <= set(known), "what was acknowledged is on disk"
        assert 10 <= len(known) < 40
        asked = teacher.counts()["requests"]
        assert asked <= len(known) + 2 * 2, "only what was in flight or not on disk yet is lost"
        records = ask(photos, settings(url), tmp_path / "j")
        assert teacher.counts()["requests"] - asked == 40 - len(known)
    assert all(record["annotation"] for record in records)


def test_a_slow_disk_holds_the_questions_back(settings: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a kill can cost is bounded: no more answers are asked for and not on disk than twice the concurrency."""
    photos = make_library(tmp_path / "photos", 24)
    teacher, on_the_way, append = faulty(), [], Journal.append_many

    def slow(journal: Journal, records: Sequence[Mapping[str, Any]]) -> None:
        time.sleep(0.2)
        append(journal, records)
        on_the_way.append(teacher.counts()["requests"] - len(Journal(tmp_path / "j", "reader").known()) + len(records))

    monkeypatch.setattr(Journal, "append_many", slow)
    with running_replay(teacher) as url:
        records = ask(photos, settings(url, concurrency=2), tmp_path / "j")
    assert all(record["annotation"] for record in records)
    assert 2 <= max(on_the_way) <= 2 * 2


def test_fingerprint_follows_the_answer_not_the_address(settings: Build, tmp_path: Path) -> None:
    prompt = tmp_path / "prompt.md"
    prompt.write_text("Label this photo as JSON.")
    base = teacher_fingerprint(settings("http://a/v1"))
    same = {"base_url": "http://b/v1", "api_key_env": "X", "timeout_s": 9, "retries": 0, "concurrency": 99}
    assert teacher_fingerprint(settings(**same)) == base
    changes: list[dict[str, Any]] = [
        {"model": "m"}, {"prompt": str(prompt)}, {"temperature": 0.5}, {"max_tokens": 99}, {"max_side_px": 0},
        {"image_format": "png"}, {"image_quality": 50}, {"keep_metadata": True},
    ]  # fmt: skip
    changed = [teacher_fingerprint(settings("http://a/v1", **change)) for change in changes]
    assert len({base, *changed}) == len(changes) + 1
    prompt.write_text("Label this photo as JSON, please.")
    assert teacher_fingerprint(settings("http://a/v1", prompt=str(prompt))) not in changed
