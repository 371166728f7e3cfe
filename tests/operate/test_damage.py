"""Damaged lines of logs: counted by file, shown by the doctor, set aside by one command; all other lines stay."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.faults import writers
from vibe_assets.audit.log import VerdictLog
from vibe_assets.cli import main
from vibe_assets.cli.status import read_status
from vibe_assets.heads.models import HeadError
from vibe_assets.heads.store import Deployments, save_head
from vibe_assets.operate.damage import damaged_lines
from vibe_assets.stages.platform import Platform
from vibe_assets.teacher.journal import Journal
from vibe_assets.triage.choices import ChoiceLog


@pytest.fixture
def platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Platform:
    """Every log of an installation, with whole lines."""
    (tmp_path / "vibe.toml").write_text('[library]\nroot = "photos"\nhome = "data"\n')
    (tmp_path / "photos").mkdir()
    monkeypatch.setenv("VIBE_CONFIG", str(tmp_path / "vibe.toml"))
    found = Platform.open(progress=False)
    settings = found.settings
    for folder in (settings.journal_dir / "teacher-a", settings.tag_answers_dir / "tagger"):
        writers.append_to_journal(folder.parent, print)
        (folder.parent / "journal").rename(folder)
    with Journal(settings.verdicts_dir, "page") as log:
        log.append(writers.said("verdict-0").line())
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
    assert len(VerdictLog(platform.settings.verdicts_dir).verdicts()) == 1
    assert len(ChoiceLog(platform.settings.choices_dir).choices()) == 2


def test_a_choice_without_a_time_costs_itself_only(tmp_path: Path) -> None:
    writers.keep_choices(tmp_path, print)
    with Journal(tmp_path / "choices", "other") as journal:
        good = ChoiceLog(tmp_path / "choices").choices()[0].line()
        journal.append_many([good | {"choice_id": "x", "at": 5}, good | {"choice_id": "y", "at": "noon"}])
    assert len(ChoiceLog(tmp_path / "choices").choices()) == 2
