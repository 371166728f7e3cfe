"""Damaged lines of logs: counted by file, shown by the doctor, set aside by one command; all other lines stay."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import polars as pl
import pytest
from click.testing import CliRunner

from tests.faults import writers
from tests.support.questions import PACKAGED
from vibe_assets.audit.log import VerdictLog
from vibe_assets.audit.settle import truth_rows
from vibe_assets.cli import main
from vibe_assets.cli.status import read_status
from vibe_assets.heads.models import HeadError
from vibe_assets.heads.store import Deployments, save_head
from vibe_assets.operate.damage import damaged_lines, set_lines_aside
from vibe_assets.records import PhotoRef
from vibe_assets.stages.notes import leave_note, notes_file, read_notes
from vibe_assets.stages.platform import Platform
from vibe_assets.teacher.annotate import annotation_rows
from vibe_assets.teacher.journal import Journal
from vibe_assets.triage.choices import ChoiceLog
from vibe_assets.vlm.predict import _row, read_tag_answer
from vibe_assets.vlm.registry import Model


@pytest.fixture
def platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Platform:
    """Every log of an installation, with whole lines."""
    (tmp_path / "vibe.toml").write_text('[library]\nroot = "photos"\nhome = "data"\n')
    (tmp_path / "photos").mkdir()
    monkeypatch.setenv("VIBE_CONFIG", str(tmp_path / "vibe.toml"))
    found = Platform.open(progress=False)
    settings = found.settings
    writers.append_to_journal(settings.journal_dir, print)
    (settings.journal_dir / "journal").rename(settings.journal_dir / "teacher-a")
    with Journal(settings.tag_answers_dir / "tagger", "writer") as tagger:
        tagger.append({"image_id": "new-9", "annotation": {"tags": ["cat"], "valid": True}, "usage": {"prompt_tokens": 9}, "latency_s": 1})
    with Journal(settings.verdicts_dir, "page") as log:
        log.append(writers.said("verdict-0").line(PACKAGED))
    writers.keep_choices(settings.choices_dir.parent, print)
    save_head(writers.HEADS[0], settings.heads_dir)
    Deployments(settings.heads_dir).deploy("scene", writers.HEADS[0].version, at=writers.AT.isoformat())
    return found


def logs(platform: Platform) -> dict[Path, bytes]:
    """File -> a line that looks well and that no reader takes."""
    settings = platform.settings
    return {
        settings.journal_dir / "teacher-a" / "writer.jsonl": b'{"image_id": 5, "annotation": {}}',
        settings.tag_answers_dir / "tagger" / "writer.jsonl": b'["image_id"]',
        settings.verdicts_dir / "page.jsonl": b'{"image_id": "a", "verdict_id": "v", "act": "praised"}',
        settings.choices_dir / "page.jsonl": b'{"image_id": "a", "choice_id": "c", "kind": "pick", "members": 5}',
        settings.heads_dir / "deployments.jsonl": b'{"kind": "scene"}',
    }


def test_whole_logs_have_no_damaged_line(platform: Platform) -> None:
    assert all(file.is_file() for file in logs(platform))
    assert damaged_lines(platform) == []
    assert "logs: no damaged line" in CliRunner().invoke(main, ["doctor"]).output


def test_damaged_lines_are_counted_shown_and_set_aside_and_the_others_stay(platform: Platform) -> None:
    before = {file: file.read_bytes() for file in logs(platform)}
    for file, odd in logs(platform).items():
        file.write_bytes(b"\x00\x00\x00\n" + before[file] + odd + b"\n\n" + b'{"image_id": "torn')
    assert dict(damaged_lines(platform)) == {str(file): 3 for file in before}
    said = CliRunner().invoke(main, ["doctor"], env={"COLUMNS": "2000"}).output
    assert re.search("FAIL +logs: ", said)
    for file in before:
        assert f"{file}: 3 damaged lines" in said
    assert "-> all other lines count, a photo whose answer was lost is asked again; `vibe repair` sets these lines aside" in said

    deployments = platform.settings.heads_dir / "deployments.jsonl"
    torn = deployments.read_bytes()
    with pytest.raises(HeadError, match=r"deployments\.jsonl, line 1: not a deployment .*; `vibe repair` sets this line aside"):
        read_status(platform)
    deployments.write_bytes(before[deployments])
    status = read_status(platform)
    assert status.damaged == {str(file): 3 for file in before if file != deployments}
    assert [said for _, said in status.waits if "damaged" in said] == [
        f"3 damaged lines in {file}: `vibe repair` sets them aside" for file in status.damaged
    ]
    deployments.write_bytes(torn)

    writing = Journal(platform.settings.journal_dir / "teacher-a", "writer")
    writing.claim(100)
    result = CliRunner().invoke(main, ["repair"])
    assert [file for file, _ in damaged_lines(platform)] == [str(writing.path)], "what somebody writes to is left alone"
    writing.close()
    result = CliRunner().invoke(main, ["repair"])
    assert result.exit_code == 0, result.output
    assert damaged_lines(platform) == []
    for file, content in before.items():
        assert file.read_bytes() == content
        assert len(file.with_name(f"{file.name}.damaged").read_bytes().splitlines()) == 3
    assert len(VerdictLog(platform.settings.verdicts_dir, PACKAGED).verdicts()) == 1
    assert len(ChoiceLog(platform.settings.choices_dir).choices()) == 2


WRONG = [b'"abc"', b"5", b"[1]", b"true", b'{"a": [1]}', b"null", b"-1", b"NaN", b"1e400", b'"\\ud800"']


@pytest.mark.parametrize("value", WRONG)
def test_a_whole_line_of_a_wrong_shape_stops_nobody(platform: Platform, value: bytes) -> None:
    """Every field of a line of every log, in turn, of another type: the readers go on, and what they pass over is counted."""
    for file in logs(platform):
        whole = json.loads(file.read_bytes().splitlines()[0])
        lines = [json.dumps(whole | {name: "@"}).encode().replace(b'"@"', value) for name in whole]
        nested = [(name, inner) for name in whole if isinstance(whole[name], dict) for inner in whole[name]]
        lines += [json.dumps(whole | {name: whole[name] | {inner: "@"}}).encode().replace(b'"@"', value) for name, inner in nested]
        with file.open("ab") as log:
            log.write(b"\n".join(lines) + b"\n")
    settings = platform.settings
    if dict(damaged_lines(platform)).get(str(settings.heads_dir / "deployments.jsonl")):
        with pytest.raises(HeadError, match="`vibe repair` sets this line aside"):
            read_status(platform)
        assert set_lines_aside(platform)
    read_status(platform)
    known = Journal(settings.journal_dir / "teacher-a", "reader").known()
    refs = [PhotoRef(name, b"x", "x") for name in known]
    annotation_rows(refs, known.values(), folder_key="a-1")
    tags = Journal(settings.tag_answers_dir / "tagger", "reader", reads=read_tag_answer).known()
    model = cast(Model, SimpleNamespace(cost_usd=lambda *tokens: sum(token or 0 for token in tokens)))
    pl.DataFrame([_row(model, ref, tags.get(ref.image_id, {})) for ref in refs + [PhotoRef(name, b"x", "x") for name in tags]])
    truth_rows(VerdictLog(settings.verdicts_dir, PACKAGED).verdicts(), PACKAGED)
    ChoiceLog(settings.choices_dir).append(ChoiceLog(settings.choices_dir).choices()[0])


@pytest.mark.parametrize("wrong", [{"usage": "abc"}, {"latency_s": "soon"}, {"annotation": "a cat"}, {"usage": {"prompt_tokens": "9"}}])
def test_an_answer_of_a_wrong_shape_is_a_damaged_line(platform: Platform, wrong: dict[str, object]) -> None:
    file = Path(str(platform.settings.journal_dir)) / "teacher-a" / "writer.jsonl"
    before = file.read_bytes()
    with file.open("ab") as log:
        log.write(json.dumps({"image_id": "new-0", "annotation": {}, "at": "9"} | wrong).encode() + b"\n")
    assert damaged_lines(platform) == [(str(file), 1)]
    assert Journal(file.parent, "reader").known()["new-0"]["annotation"] == {"scene": "x" * 200}
    assert set_lines_aside(platform) == [(file, 1)]
    assert file.read_bytes() == before


def test_a_choice_without_a_time_costs_itself_only(tmp_path: Path) -> None:
    writers.keep_choices(tmp_path, print)
    with Journal(tmp_path / "choices", "other") as journal:
        good = ChoiceLog(tmp_path / "choices").choices()[0].line()
        journal.append_many([good | {"choice_id": "x", "at": 5}, good | {"choice_id": "y", "at": "noon"}])
    assert len(ChoiceLog(tmp_path / "choices").choices()) == 2


def test_damaged_notes_are_set_aside_where_they_stand(platform: Platform) -> None:
    """The graph remembers how far it has read the notes, and their writers wait for nobody."""
    file = notes_file(platform)
    leave_note(platform, "raw_photos", "a-1")
    with file.open("ab") as log:
        log.write(b'{"asset": 5}\n\x00\x00\n')
    leave_note(platform, "scene_head")
    with file.open("ab") as log:
        log.write(b'{"asset": "torn')
    before = read_notes(platform)
    assert [note.asset for _, note in before] == ["raw_photos", "scene_head"]
    assert dict(damaged_lines(platform)) == {str(file): 3}
    assert [said for _, said in read_status(platform).waits if "damaged" in said] == [
        f"3 damaged lines in {file}: `vibe repair` sets them aside"
    ]
    assert dict(set_lines_aside(platform)) == {file: 3}
    assert damaged_lines(platform) == []
    assert read_notes(platform) == before
    leave_note(platform, "predictions")
    assert [note.asset for _, note in read_notes(platform, after=before[-1][0])] == ["predictions"]
    assert len(file.with_name("notes.jsonl.damaged").read_bytes().splitlines()) == 3
