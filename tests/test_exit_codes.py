"""The table of docs/guides/commands.md: every command is in it, and ends as it says where there is nothing to work on."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from tests.names.faces import picture
from vibe_assets.cli import main
from vibe_assets.teacher.replay import ReplayFaults, ReplayTeacher, running_replay

PAGE = Path(__file__).parents[1] / "docs" / "guides" / "commands.md"
ROW = re.compile(r"^\| `([a-z -]+)` \|.*\| ([01-]) \|$", re.MULTILINE)
ARGUMENTS = {  # what a command cannot do without
    "annotate": "--output out/answers.jsonl",
    "audit": "--port 0",
    "audited": "empty.json",
    "classify": "torn.jpg",
    "compare": "predictions auto_ground_truth",
    "heads deploy": "scene-000",
    "heads export": "scene-000 out/scene.pt",
    "heads import": "torn.jpg",
    "heads rollback": "scene",
    "import-annotations": "empty.json",
    "init": "photos",
    "label-studio import": "empty.json",
    "names ask": "absent/model",
    "names compare": "out",
    "search": "--like torn.jpg",
    "sql": "select(1)",
    "tags ingest": "--library audited",
    "triage folder": "photos",
    "triage import-pairs": "pairs.csv",
    "triage review": "--port 0",
    "vlm finetune": "absent/model",
    "vlm merge": "absent out/merged",
}


def leaves(group: click.Group, path: str = "") -> Iterator[str]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from leaves(command, f"{path}{name} ")
        else:
            yield f"{path}{name}"


EVERY = sorted(leaves(main))
TABLE = dict(ROW.findall(PAGE.read_text(encoding="utf-8"))) if PAGE.is_file() else {}


def vibe(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def ended_empty(*arguments: str | Path) -> Result:
    """The result of a command that nothing usable came of: status 1, the reason in the last line."""
    result = vibe(*arguments)
    assert isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code == 1, result.output
    assert re.search(r"^Error: \S", result.stderr, re.MULTILINE), result.output
    return result


@pytest.fixture(autouse=True)
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installation over a photo root without a photo."""
    for name in list(os.environ):
        if name.startswith(("VIBE_", "QWEN_")):
            monkeypatch.delenv(name)
    for name, value in {"HF_HUB_OFFLINE": "1", "COLUMNS": "200", "VIBE_LIBRARY__SCAN_WORKERS": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster_home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "empty.json").write_text("[]")
    (tmp_path / "pairs.csv").write_text("series_id,compareFile1,compareFile2,LEFT,RIGHT\n")
    (tmp_path / "torn.jpg").write_bytes(b"no photo")
    (tmp_path / "vibe.toml").write_text('[library]\nroot = "photos"\n[names]\nroot = "faces"\n')
    return tmp_path


def test_the_table_holds_every_command_and_no_other() -> None:
    assert sorted(TABLE) == EVERY


@pytest.mark.parametrize("command", [command for command in EVERY if TABLE.get(command) != "-"])
def test_in_an_empty_library_every_command_ends_as_the_table_says(command: str) -> None:
    result = vibe(*command.split(), *ARGUMENTS.get(command, "").split())
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    assert str(result.exit_code) == TABLE.get(command), result.output
    if result.exit_code and command != "doctor":
        assert result.stderr.splitlines()[-1].startswith("Error: "), result.stderr


# -- nothing usable came of it -----------------------------------------------------------------------------------------
def test_an_import_of_which_no_line_is_an_annotation_fails_and_one_line_that_is_makes_it_good(tmp_path: Path) -> None:
    file = tmp_path / "answers.jsonl"
    file.write_text('{"image_id": "x"}\n' * 445)
    result = ended_empty("import-annotations", file)
    assert "445 lines rejected" in result.stdout
    assert "nothing was taken over: 445 of 445 lines rejected, " in result.stderr
    assert json.loads(ended_empty("import-annotations", file, "--json").stdout)["rejected"] == 445
    annotation: dict[str, Any] = {"scene": "food", "objects": []}
    annotation |= dict.fromkeys(("has_person", "has_animal", "has_text", "is_document", "is_screenshot"), False)
    file.write_text(file.read_text() + json.dumps({"image_id": "a" * 32, "teacher": "b" * 16, "annotation": annotation}) + "\n")
    assert vibe("import-annotations", file).exit_code == 0
    assert vibe("import-annotations", file).exit_code == 0, "known already is no failure"


def test_photos_that_nobody_answered_are_a_failure_that_names_the_teachers_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(tmp_path / "photos" / "a.jpg", 1)
    with running_replay(ReplayTeacher(lambda image, request: "prose", faults=ReplayFaults(p_invalid_json=1.0))) as url:
        monkeypatch.setenv("QWEN_BASE_URL", url)
        monkeypatch.setenv("VIBE_TEACHER__RETRIES", "0")
        result = ended_empty("annotate", "--output", "answers.jsonl")
    assert "0 of 1 photo answered, 1 invalid_answer" in result.stdout
    assert "`vibe doctor` looks at the teacher" in result.stderr


def test_a_study_that_rules_every_face_out_fails_with_the_reasons(tmp_path: Path) -> None:
    for name in ("ann", "bob"):
        for at in range(3):
            picture(tmp_path / "faces" / name / f"{at}.jpg", at, size=(16, 16))
    result = ended_empty("names", "index")
    assert re.search(r"no face is under study \(6 \w+\); \[names\] min_score", result.stderr), result.stderr


def test_an_audit_with_nobody_in_it_is_not_exported_with_success() -> None:
    assert "nobody has checked a photo yet" in ended_empty("audited", "--export", "today.json").stderr


def test_a_sensible_mistake_is_no_traceback(tmp_path: Path) -> None:
    for arguments in (["audit", "--port", "99999"], ["names", "ask", "x", "--options", "1"], ["names", "ask", "x", "--rank", "0"]):
        result = vibe(*arguments)
        assert (result.exit_code, "is not in the range" in result.stderr) == (2, True), result.output
