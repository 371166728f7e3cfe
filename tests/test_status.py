"""`vibe status`: what it counts, whom it waits for, and the one command it names; and progress where no terminal is."""

from __future__ import annotations

import errno
import io
import json
import os
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from click.testing import CliRunner

from vibe_assets import progress
from vibe_assets.cli import main
from vibe_assets.cli import status as cli_status
from vibe_assets.cli.status import Status, next_step, print_status, waiting_for
from vibe_assets.defs import foreground
from vibe_assets.defs.retries import Retry, reason_of
from vibe_assets.defs.standing import GraphStatus, Run, ShutGate
from vibe_assets.heads.deployments import LOG_NAME
from vibe_assets.progress import stepped, waiting
from vibe_assets.records import ANNOTATIONS, AUDIT_SAMPLE, FOLDER_SET, PREDICTIONS, RAW_PHOTOS, Table
from vibe_assets.stages.platform import Platform
from vibe_assets.stages.status import NO_TEACHER, Cost, LibraryStatus, library_status
from vibe_assets.teacher.annotate import teacher_fingerprint
from vibe_assets.teacher.failures import TeacherError
from vibe_assets.teacher.journal import Journal

DONE = LibraryStatus(folders=2, files=9, photos=9, answered=9, sampled=4, checked=4, audited=4)
MADE = GraphStatus(made=17, assets=17)
MOVED = replace(MADE, to_make=("teacher moved",))
VANISHED = replace(MADE, refused="3 of 4 folders are missing: `vibe folders --accept-missing`")
LATER = datetime.now(UTC) + timedelta(minutes=20)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Platform:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    (tmp_path / "photos").mkdir()
    (tmp_path / "vibe.toml").write_text('[library]\nroot = "photos"\n')
    monkeypatch.setenv("VIBE_CONFIG", str(tmp_path / "vibe.toml"))
    return Platform.open(progress=False)


def fill(home: Platform, table: Table, rows: list[dict[str, object]], folder_key: str | None = None) -> None:
    schema = table.polars_schema()
    full = [dict.fromkeys(schema) | row | ({"folder_key": folder_key} if folder_key else {}) for row in rows]
    home.lake.replace(table, pl.DataFrame(full, schema=schema, orient="row"), folder_key=folder_key)


def test_photos_are_counted_once_and_in_the_live_library(home: Platform) -> None:
    """Folder a-1 with a photo, its copy, a broken file and a deleted photo; folder b-2 is gone."""
    fill(home, FOLDER_SET, [{"folder_key": "a-1", "path_bytes": b"a"}, {"folder_key": "b-2", "path_bytes": b"b", "gone_at": LATER}])
    ids = [("i1", None), ("i1", None), ("i2", None), ("i3", None), (None, "torn"), ("i9", "deleted")]
    fill(home, RAW_PHOTOS, [{"image_id": one, "reason": why, "path_bytes": bytes([at])} for at, (one, why) in enumerate(ids)], "a-1")
    fill(home, RAW_PHOTOS, [{"image_id": "g1", "path_bytes": b"b/1"}], "b-2")
    teacher = teacher_fingerprint(home.settings.teacher)
    said = [("i1", None, teacher), ("i2", "unreachable", teacher), ("i3", None, "an earlier teacher")]
    fill(home, ANNOTATIONS, [{"image_id": one, "reason": why, "teacher": who} for one, why, who in said], "a-1")
    labels: list[dict[str, object]] = [
        {"image_id": "i1", "scene": "scene.food", "source": "student"},
        {"image_id": "i2", "scene": "scene.food", "objects": [], "source": "scene=student objects=teacher"},
        {"image_id": "i3", "abstained": ["scene"], "source": "zero_shot"},
    ]
    fill(home, PREDICTIONS, labels, "a-1")
    fill(home, AUDIT_SAMPLE, [{"image_id": "i1"}, {"image_id": "i2"}])
    for name, tokens in ((teacher, 100), ("an earlier teacher", 7)):
        journal = Journal(home.settings.journal_dir / name, writer="a-1")
        journal.append({"image_id": "i1", "annotation": {}, "usage": {"prompt_tokens": tokens, "completion_tokens": 1}, "latency_s": 2.0})
        journal.append({"image_id": "i2", "annotation": None, "usage": None, "latency_s": None, "reason": "unreachable"})
        journal.close()
    found = library_status(home)
    assert (found.folders, found.files, found.photos, found.rejected) == (1, 5, 3, {"torn": 1})
    assert (found.answered, found.unanswered) == (1, {"not asked yet": 1, "unreachable": 1})
    assert found.labelled == {"scene": {"student": 2, "zero_shot": 1}, "objects": {"teacher": 1}}
    assert (found.sampled, found.checked, found.audited) == (2, 0, 0)
    assert found.cost == Cost(answers=2, tokens=109, teacher_s=4.0, usd=None)


def test_an_empty_installation_has_a_status_and_stays_empty(home: Platform) -> None:
    before = sorted(home.settings.base.rglob("*"))
    said = CliRunner().invoke(main, ["status", "--json"])
    assert said.exit_code == 0, said.output
    found = json.loads(said.stdout)
    assert found["library"]["photos"] == 0
    assert found["next"]["command"] == "vibe run"
    assert sorted(home.settings.base.rglob("*")) == before


@pytest.mark.parametrize(
    ("library", "graph", "command"),
    [
        (LibraryStatus(), GraphStatus(), "vibe run"),
        (LibraryStatus(), GraphStatus(daemon=True), "vibe report --open"),
        (LibraryStatus(), MADE, "vibe folders"),
        (LibraryStatus(folders=1), MADE, "vibe run"),  # killed before the photos of the folder were looked at
        (replace(DONE, unanswered={"unreachable": 3}), MADE, "vibe doctor"),
        (replace(DONE, outgrown=3), MADE, "vibe sample"),
        (replace(DONE, unanswered={"not asked yet": 3}, lacks=NO_TEACHER), MOVED, "vibe doctor"),
        (replace(DONE, checked=0), MADE, "vibe audit --open"),
        (DONE, replace(MADE, gates=(ShutGate("teacher_report", "teacher_agrees", "check more"),)), "vibe report teacher --open"),
        (DONE, replace(MADE, gates=(ShutGate("raw_photos", "photos_readable", "repair"),)), "vibe ui"),
        (DONE, replace(MADE, retries=(Retry("scene_head", None, "out of memory", 2, LATER),)), "vibe run"),
        (DONE, replace(MADE, retries=(Retry("annotations", "a-1", "cannot reach it; check with `vibe doctor`", 1, LATER),)), "vibe doctor"),
        (DONE, replace(MADE, daemon=True, retries=(Retry("scene_head", None, "out of memory", 2, LATER),)), "vibe report --open"),
        (DONE, MOVED, "vibe run"),
        (DONE, replace(MOVED, gates=(ShutGate("teacher_report", "teacher_agrees", "check more"),)), "vibe run"),
        (DONE, replace(MOVED, daemon=True), "vibe status"),
        (DONE, VANISHED, "vibe folders --accept-missing"),
        (DONE, replace(MADE, refused="the taxonomy cannot be read"), "vibe doctor"),
        (replace(DONE, unanswered={"invalid_answer": 1}), MADE, "vibe run"),
        (replace(DONE, unanswered={"too_large": 1}), MADE, "vibe report --open"),
        (DONE, replace(MADE, daemon=True, runs=(Run("predictions", "a-1", None),)), "vibe status"),
        (replace(DONE, checked=3), MADE, "vibe audit --open"),
        (replace(DONE, trial="better", trial_allowed=True), MADE, "vibe teacher promote"),
        (DONE, MADE, "vibe report --open"),
    ],
)  # fmt: skip
def test_the_next_command_is_about_the_first_thing_in_the_way(
    home: Platform, library: LibraryStatus, graph: GraphStatus, command: str
) -> None:
    assert next_step(home, library, graph).command == command


def test_without_photos_the_next_command_names_them(home: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    (home.settings.base / "photos").rmdir()
    assert next_step(home, LibraryStatus(), GraphStatus()).command == "vibe doctor"
    monkeypatch.delenv("VIBE_CONFIG")
    monkeypatch.chdir(home.settings.base / "photos" if (home.settings.base / "photos").exists() else home.settings.base.parent)
    assert next_step(Platform.open(), LibraryStatus(), GraphStatus()).command == "vibe init PHOTO_FOLDER"


def test_it_says_whom_each_thing_waits_for(home: Platform, capsys: pytest.CaptureFixture[str]) -> None:
    library = replace(DONE, unanswered={"timeout": 3}, checked=1, trial="it is better", trial_allowed=True, heads={"scene": "scene-abc"})
    both = {"student": 2, "zero_shot": 1}
    library = replace(
        library, headless={"object": "nothing to train"}, labelled={"scene": both, "has_text": both, "objects": {"teacher": 3}}
    )
    shut = ShutGate("teacher_report", "teacher_agrees_with_people", "check more photos")
    again = Retry("annotations", "a-1", "the server is away", 3, LATER)
    assert ("you", VANISHED.refused) in waiting_for(DONE, VANISHED)
    graph = GraphStatus(
        daemon=True, to_make=tuple("abcdefg"), runs=(Run("raw_photos", "b-2", LATER),), queued=4, gates=(shut,), retries=(again,), made=9
    )
    waits = waiting_for(library, graph)
    hour = LATER.astimezone().strftime("%H:%M")
    assert [whom for whom, _ in waits][:3] == ["the teacher", "people", "a gate"]
    assert waits[3][0].startswith("a retry at ")
    assert waits[3][0].endswith(hour)
    assert waits[3][1] == "annotations (a-1), failed 3 times: the server is away"
    print_status(Status("/photos", "/data", "/data/dagster", library, graph, tuple(waits), next_step(home, library, graph)))
    said = capsys.readouterr().out
    for text in ("3 photos: timeout", "3 of 4 photos of the sample are not checked", "teacher_agrees_with_people", "scene-abc",
                 "raw_photos (b-2)", "4 runs", "a; b; c; d; e; and 2 more", "object: nothing to train",
                 "scene, has_text: 2 by student, 1 by zero-shot; objects: 3 by teacher", "may be promoted", "vibe doctor"):  # fmt: skip
        assert text in said
    assert len(said.splitlines()) <= 30  # one screen


NO_TRY = Retry("annotations", "a-1", "teacher.base_url is not set", 1, LATER)
SHUT = ShutGate("teacher_report", "teacher_agrees_with_people", "check more photos")


def test_a_setting_that_is_missing_waits_for_a_person_and_for_no_hour(home: Platform) -> None:
    library = replace(DONE, folders=1, photos=1, unanswered={"not asked yet": 1}, lacks=NO_TEACHER)
    graph = replace(MADE, retries=(NO_TRY, Retry("scene_head", None, "out of memory", 1, LATER)))
    waits = waiting_for(library, graph)
    assert waits[:2] == [("you", NO_TEACHER), ("the teacher", "1 photo: not asked yet")]
    assert [what for whom, what in waits if whom.startswith("a retry")] == ["scene_head, failed 1 time: out of memory"]
    assert next_step(home, library, graph).why == NO_TEACHER


def test_without_a_teacher_the_setting_is_named_where_photos_wait_for_it(home: Platform) -> None:
    assert library_status(home).lacks == ""
    fill(home, FOLDER_SET, [{"folder_key": "a-1", "path_bytes": b"a"}])
    fill(home, RAW_PHOTOS, [{"image_id": "i1", "path_bytes": b"x"}], "a-1")
    assert library_status(home).lacks == NO_TEACHER


@pytest.mark.parametrize(
    ("library", "graph", "failed", "said"),
    [
        (DONE, MADE, [], ""),
        (LibraryStatus(), GraphStatus(), [], "no photos below /photos"),
        (DONE, MADE, ["annotations (a-1)", "scene_head"], "2 runs failed: annotations (a-1), scene_head"),
        (DONE, replace(MADE, gates=(SHUT,)), [], "the gate teacher_agrees_with_people of teacher_report is shut: check more photos"),
        (DONE, replace(MADE, retries=(Retry("scene_head", None, "out of memory", 2, LATER),)), [], "scene_head failed and waits"),
        (replace(DONE, lacks=NO_TEACHER), replace(MADE, retries=(NO_TRY,)), ["annotations (a-1)"], NO_TEACHER),
        (DONE, replace(MADE, gates=(SHUT,) * 5), [], "and 2 more, see `vibe status`"),
    ],
)
def test_a_run_is_no_success_while_something_waits(
    library: LibraryStatus, graph: GraphStatus, failed: list[str], said: str, home: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Status("/photos", "/data", "/data/dagster", library, graph, (), next_step(home, library, graph))
    monkeypatch.setattr(foreground, "run_graph", lambda *_, **__: foreground.Tally(failed=failed))
    monkeypatch.setattr(cli_status, "read_status", lambda _: found)
    result = CliRunner().invoke(main, ["run"])
    assert result.exit_code == bool(said)
    assert said in result.stderr
    assert result.stderr.count("Error: ") == bool(said)
    assert "retry at" not in result.output or not library.lacks


def test_a_reason_for_people_carries_no_path_of_a_class() -> None:
    with dg.instance_for_test() as instance:

        @dg.asset
        def broken() -> None:
            raise TeacherError("teacher.base_url is not set; set it")

        @dg.asset
        def odd() -> None:
            raise pl.exceptions.ColumnNotFoundError("scene")

        @dg.asset
        def full() -> None:
            raise OSError(errno.ENOSPC, "Error writing bytes to file", "/photos/a")

        @dg.asset
        def explained() -> None:
            try:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError as error:
                raise TeacherError("journal.jsonl: there is no room for the next answer; free some space") from error

        for asset, said in (
            (broken, "teacher.base_url is not set; set it"),
            (odd, "ColumnNotFoundError: scene"),
            (full, "OSError: [Errno 28] Error writing bytes to file: '/photos/a'; free some space"),
            (explained, "journal.jsonl: there is no room for the next answer; free some space"),
        ):
            run = dg.materialize([asset], instance=instance, raise_on_error=False)
            assert reason_of(instance, run.run_id) == said


def test_looking_writes_nothing(home: Platform) -> None:
    heads = home.settings.heads_dir
    library_status(home)
    assert not (heads / LOG_NAME).exists()
    assert not home.settings.journal_dir.exists()  # type: ignore[union-attr]


# -- progress ----------------------------------------------------------------------------------------------------------
def test_a_log_gets_a_line_for_every_step_and_now_and_then_one_while_it_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "EVERY_S", 0.05)
    log = io.StringIO()
    for _ in stepped([1, 2, 3], "annotations", unit="folder", log=log):
        time.sleep(0.12)
    lines = log.getvalue().splitlines()
    assert lines[0].startswith("annotations: 0 of 3 folders (0:0")
    assert lines[-1].startswith("annotations: 3 of 3 folders (0:0")
    assert len(lines) >= 4
    log = io.StringIO()
    with waiting("asking", log=log):
        time.sleep(0.12)
    assert log.getvalue().startswith("asking (0:0")


def test_without_a_terminal_stderr_hears_of_what_takes_long_and_of_nothing_else(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    list(stepped([1, 2], "sidecars", unit="photo"))
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(progress, "EVERY_S", 0.02)
    for _ in stepped([1, 2], "sidecars", unit="photo"):
        time.sleep(0.05)
    out, err = capsys.readouterr()
    assert out == ""
    assert "sidecars: 1 of 2 photos" in err
    for _ in stepped([1, 2], "sidecars", unit="photo", shown=False):
        time.sleep(0.05)
    assert capsys.readouterr() == ("", "")
