"""The `vibe` command: its help, its mistakes in one line, and a whole workflow over a small library with a replay teacher."""

from __future__ import annotations

import ast
import importlib
import json
import os
import pickle
import pkgutil
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

import vibe_assets
from vibe_assets.cli import main
from vibe_assets.cli.app import show, tell
from vibe_assets.demo.render import render_library, simulate_audit
from vibe_assets.errors import UserError
from vibe_assets.records import TABLES
from vibe_assets.stages.embeddings import embed_folder, embed_label_prompts
from vibe_assets.stages.library import group_library, scan_folder
from vibe_assets.stages.platform import Platform, StageError
from vibe_assets.stages.runtime import predict_folder
from vibe_assets.stages.teacher import annotate_folder
from vibe_assets.stages.truth import convert_library, settle_audit
from vibe_assets.teacher.replay import ReplayTeacher, running_replay

PHOTOS = 60
HEAVY = ("torch", "polars", "dagster", "transformers", "open_clip", "sklearn", "matplotlib", "openai", "starlette", "duckdb", "deltalake")
PROMISED = [
    "adopt",
    "annotate",
    "audit",
    "audited",
    "bench",
    "classify",
    "compare",
    "demo",
    "doctor",
    "eval",
    "export",
    "folders",
    "heads",
    "import-annotations",
    "init",
    "repair",
    "replay-teacher",
    "report",
    "run",
    "sample",
    "search",
    "sql",
    "status",
    "teacher",
    "train",
    "ui",
]
ENVIRONMENT = {
    "VIBE_LIBRARY__SCAN_WORKERS": "1",
    "VIBE_AUDIT__SAMPLE_SIZE": "40",
    "VIBE_STUDENTS__MAX_EPOCHS": "40",
    "VIBE_TEACHER__TIMEOUT_S": "10",
    "VIBE_TEACHER__MODEL": "teacher",
    "HF_HUB_OFFLINE": "1",
    "COLUMNS": "300",
}


def vibe(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def done(*arguments: str | Path) -> str:
    """Standard output of a command that must succeed."""
    result = vibe(*arguments)
    assert result.exit_code == 0, f"{arguments}: {result.output} {result.exception!r}"
    return result.stdout


def refused(*arguments: str | Path) -> str:
    """The message of a command that must refuse: worded, without a traceback."""
    result = vibe(*arguments)
    assert isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code == 1, result.output
    assert "Traceback" not in result.output
    assert result.stderr.startswith("Error: "), result.output
    return result.stderr


@pytest.fixture(autouse=True)
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("VIBE_", "QWEN_")) and name not in ENVIRONMENT:
            monkeypatch.delenv(name)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)


# -- help --------------------------------------------------------------------------------------------------------------
def commands(group: click.Group, path: Sequence[str] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in group.commands.items():
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


EVERY = dict(commands(main))


def leaves() -> dict[tuple[str, ...], click.Command]:
    return {path: command for path, command in EVERY.items() if not isinstance(command, click.Group)}


def test_every_promised_command_is_there() -> None:
    assert set(PROMISED) <= set(main.commands)
    assert set(main.commands["heads"].commands) == {"list", "deploy", "rollback", "export", "import"}  # type: ignore[attr-defined]
    assert set(main.commands["teacher"].commands) == {"show", "trial", "promote"}  # type: ignore[attr-defined]
    assert set(main.commands["bench"].commands) == {"embed"}  # type: ignore[attr-defined]


@pytest.mark.parametrize("path", EVERY, ids=" ".join)
def test_every_command_explains_itself(path: tuple[str, ...]) -> None:
    assert EVERY[path].help
    text = done(*path, "--help")
    assert "usage:" in text.lower()
    for parameter in EVERY[path].params:
        if isinstance(parameter, click.Option) and parameter.name not in ("host", "port", "output", "kinds"):
            assert parameter.help, f"{path}: {parameter.name}"


def test_lists_of_commands_show_whole_sentences() -> None:
    for path in [(), *(path for path, command in EVERY.items() if isinstance(command, click.Group))]:
        text = done(*path, "--help")
        assert "..." not in text.partition("Commands:")[2], path


UNBOUNDED = {click.INT.name, click.FLOAT.name}


@pytest.mark.parametrize("path", [path for path, command in EVERY.items() if not isinstance(command, click.Group)], ids=" ".join)
def test_every_number_has_a_range_and_what_lies_outside_is_a_usage_error(path: tuple[str, ...]) -> None:
    for parameter in EVERY[path].params:
        assert parameter.type.name not in UNBOUNDED, f"{' '.join(path)} {parameter.opts}"
        if not isinstance(parameter.type, click.IntRange | click.FloatRange):
            continue
        assert parameter.type.min is not None
        outside = ["nan", "inf", "-inf", str(parameter.type.min - 1), *([str(parameter.type.max + 1)] if parameter.type.max else [])]
        for value in outside if isinstance(parameter.type, click.FloatRange) else outside[3:]:
            result = vibe(*path, f"{parameter.opts[0]}={value}")
            assert (result.exit_code, "Traceback" in result.output) == (2, False), f"{path} {parameter.opts}={value}: {result.output}"


OWN_OUTPUT = {  # servers, and commands with an output format of their own
    ("audit",), ("classify",), ("demo",), ("eval",), ("replay-teacher",), ("run",), ("sql",), ("status",), ("triage", "review"), ("ui",),
}  # fmt: skip


def test_every_command_that_prints_a_result_prints_it_as_json() -> None:
    without = {path for path, command in leaves().items() if not any("--json" in parameter.opts for parameter in command.params)}
    assert without <= OWN_OUTPUT, sorted(without - OWN_OUTPUT)
    assert {path for path in leaves() if path in {("classify",), ("sql",)}}.isdisjoint(without)


def test_a_json_answer_is_one_document_and_says_what_the_text_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "photos" / "a").mkdir(parents=True)
    (tmp_path / "photos" / "a" / "one.jpg").write_bytes(b"no photo")
    assert json.loads(done("init", "photos", "--json")) == {"file": "vibe.toml", "labels": "labels.yaml", "labels_kept": False}
    (folder,) = json.loads(done("folders", "--json"))["folders"]
    assert (folder["folder"], folder["files"]) == ("a", 1)
    monkeypatch.delenv("QWEN_BASE_URL", raising=False)
    result = vibe("doctor", "--json")
    findings = {one["what"]: one for one in json.loads(result.stdout)["findings"]}
    assert (result.exit_code, findings["photo root"]["ok"], findings["teacher"]["ok"]) == (1, True, False)
    assert json.loads(done("teacher", "show", "--json"))["teachers"][0]["role"] == "current"
    assert json.loads(done("heads", "list", "--json")) == {"heads": []}


def test_a_command_that_fails_with_json_still_says_what_it_found_and_why_it_failed(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    done("init", "photos")
    result = vibe("folders", "--json")
    assert (result.exit_code, json.loads(result.stdout)) == (1, {"folders": []})
    assert result.stderr.startswith("Error: no photos below ")


def test_a_run_is_one_document_also_where_the_program_ends_itself(tmp_path: Path) -> None:
    """A real process: `vibe run` ends without the interpreter's own end, and what it found is printed before."""
    (tmp_path / "photos").mkdir()
    done("init", "photos")
    command = [sys.executable, "-m", "vibe_assets.cli", "run", "--json"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    found = json.loads(ended.stdout)
    assert (ended.returncode, found["failed"], found["gates_not_passed"]) == (1, [], []), ended.stderr
    assert found["runs"] == 1  # the labels' prompts
    assert found["status"]["next"]["command"] == "vibe folders"
    assert "lines" not in found
    assert ended.stderr.splitlines()[-1].startswith("Error: no photos below ")


def test_the_document_of_a_run_that_failed_names_what_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vibe_assets.defs import foreground

    (tmp_path / "photos").mkdir()
    done("init", "photos")
    tally = foreground.Tally(runs=3, failed=["annotations (a-1)"], not_passed=["ERROR predictions_sound on predictions"])
    monkeypatch.setattr(foreground, "run_graph", lambda *_, **__: tally)
    result = vibe("run", "--json")
    found = json.loads(result.stdout)
    assert result.exit_code == 1
    assert (found["runs"], found["failed"], found["gates_not_passed"]) == (3, tally.failed, tally.not_passed)
    assert found["status"]["library"]["photos"] == 0


def test_a_run_that_refuses_to_begin_ends_with_the_status_and_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vibe_assets.defs import foreground

    def refuse(*_: Any, **__: Any) -> None:
        raise StageError("4 of 5 folders are missing; is the disk mounted?")

    (tmp_path / "photos").mkdir()
    done("init", "photos")
    monkeypatch.setattr(foreground, "run_graph", refuse)
    result = vibe("run")
    assert (result.exit_code, result.stderr) == (1, "Error: 4 of 5 folders are missing; is the disk mounted?\n")
    assert result.stdout.index("Library\n") < result.stdout.index("Next\n")
    assert json.loads(vibe("run", "--json").stdout)["status"]["library"]["photos"] == 0


def test_no_command_prints_a_line_that_its_document_has_only_as_text() -> None:
    for file in sorted((Path(vibe_assets.__file__).parent / "cli").glob("*.py")):
        if file.name in ("app.py", "status.py"):  # what prints the documents themselves
            continue
        for function in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(function, ast.FunctionDef):
                loose = [ast.unparse(call) for call in ast.walk(function) if _prints(call)]
                assert loose == [], f"{file.name} {function.name}: use tell(), with names for programs"


def _prints(call: ast.AST) -> bool:
    """On standard output, and not the address of a server."""
    return (
        isinstance(call, ast.Call)
        and ast.unparse(call.func) == "click.echo"
        and "Ctrl-C" not in ast.unparse(call)
        and "err" not in {word.arg for word in call.keywords}
    )


def test_what_a_command_prints_on_the_way_does_not_spoil_the_document() -> None:
    @click.command(cls=main.command_class)
    def chatty() -> None:
        click.echo("on the way")
        tell("for people", fact=1)

    assert json.loads(CliRunner().invoke(chatty, ["--json"]).stdout) == {"fact": 1, "lines": ["on the way"]}
    assert CliRunner().invoke(chatty, []).stdout == "on the way\nfor people\n"


# -- tables and pipes --------------------------------------------------------------------------------------------------
LONG = "2024-a-very-long-journey-through-the-mountains-and-along-the-sea-with-friends-1a2b3c4d"


def test_a_table_in_a_pipe_is_as_wide_as_it_is(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    show("Folders", ["partition", "folder"], [(LONG, "words " * 40)])
    out = capsys.readouterr().out
    assert LONG in out
    assert ("words " * 40).strip() in out


def test_on_a_terminal_text_wraps_and_keys_stay_in_one_piece(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("FORCE_COLOR", "1")
    show("Folders", ["partition", "folder"], [(LONG, "words " * 40)])
    lines = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    assert max(map(len, lines)) <= 120
    assert any(LONG in line for line in lines)


def test_a_reader_that_leaves_early_is_no_error(tmp_path: Path) -> None:
    code = "import sys; from vibe_assets.cli import main; main(['--help'])"
    for command in ([sys.executable, "-c", code], [sys.executable, "-m", "vibe_assets.cli", "doctor"]):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        said = process.stderr.read()
        process.wait(60)
        assert "Traceback" not in said
        assert "BrokenPipe" not in said
        assert "Broken pipe" not in said


def test_a_name_that_the_terminal_cannot_show_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "photos" / "gar\u00e7on \U0001f4f7").mkdir(parents=True)
    (tmp_path / "photos" / "gar\u00e7on \U0001f4f7" / "a.jpg").write_bytes(b"no photo")
    done("init", "photos")
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "vibe_assets.cli", "folders"]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, cwd=tmp_path, env=environment)
    assert "gar\\xe7on" in found.stdout


# -- errors ------------------------------------------------------------------------------------------------------------
FOR_PROGRAMS = {"InvalidAnswer", "MissingExtra", "NotTags", "Refused", "TeacherFailure", "TooLarge"}  # caught by the code, or an OSError


def test_every_error_of_ours_is_one_that_commands_word() -> None:
    def below(kind: type) -> Iterator[type]:
        for one in kind.__subclasses__():
            yield one
            yield from below(one)

    for module in pkgutil.walk_packages(vibe_assets.__path__, "vibe_assets."):
        if "__main__" not in module.name and "warm" not in module.name:
            importlib.import_module(module.name)
    ours = {one for one in below(Exception) if one.__module__.startswith("vibe_assets.") and not one.__name__.startswith("_")}
    assert {one.__name__ for one in ours if not issubclass(one, UserError)} <= FOR_PROGRAMS
    assert {"SettingsError", "EngineError", "LakeError", "StageError"} <= {one.__name__ for one in ours if issubclass(one, UserError)}


def test_an_error_of_the_engine_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"no photo")
    done("init", "photos")
    monkeypatch.setenv("VIBE_ENGINE__KIND", "ray")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    assert "RAY_AUTH_MODE=disabled" in refused("classify", "photos/a.jpg")


def test_message_and_remedy_are_kept_apart_and_shown_together() -> None:
    error = pickle.loads(pickle.dumps(StageError("no sample", remedy="run `vibe sample`")))
    assert (str(error), error.message, error.remedy) == ("no sample; run `vibe sample`", "no sample", "run `vibe sample`")
    assert str(StageError("no sample")) == "no sample"


@pytest.mark.parametrize("page", ["README.md", "docs/architecture.md"])
def test_every_command_that_the_pages_mention_exists(page: str) -> None:
    file = Path(__file__).parents[1] / page
    if not file.exists():
        pytest.skip(f"no {page}")
    mentioned = set(re.findall(r"(?:`|^\$? ?)vibe ([a-z][a-z-]+)", file.read_text(encoding="utf-8"), re.MULTILINE))
    assert mentioned
    assert mentioned <= set(main.commands)


def test_help_and_version_load_nothing_heavy() -> None:
    code = f"""
import sys
from vibe_assets.cli import main
for arguments in (["--help"], ["--version"], ["annotate", "--help"], ["heads", "--help"]):
    try:
        main(arguments)
    except SystemExit as end:
        assert not end.code, end.code
print("loaded:", [name for name in {HEAVY!r} if name in sys.modules])
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.endswith("loaded: []\n"), found.stdout[-300:]


# -- the workflow ------------------------------------------------------------------------------------------------------
@dataclass
class Walk:
    """What the commands said, and what the teacher was asked, step by step."""

    folder: Path
    truth: list[dict[str, Any]]
    environment: dict[str, str]
    said: dict[str, str] = field(default_factory=dict)
    requests: dict[str, int] = field(default_factory=dict)


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walk]:
    """A user's whole way from a folder of photos to labelled photos and a new teacher."""
    folder = tmp_path_factory.mktemp("walk")
    library = render_library(folder, seed=5, photos=PHOTOS)
    before = dict(os.environ)
    replay = ReplayTeacher({"teacher": library.teacher_file, "": library.candidate_file}, library.root)
    with running_replay(replay) as base_url:
        walk = Walk(folder, library.truth, {"DAGSTER_HOME": str(folder / "dagster_home"), "QWEN_BASE_URL": base_url})
        os.environ |= ENVIRONMENT | walk.environment
        shutil.copytree(
            Path(__file__).parents[1] / "dagster_home", folder / "dagster_home", ignore=lambda *_: {"storage", "history", "logs"}
        )
        try:
            take_every_step(walk, replay)
            yield walk
        finally:
            os.environ.clear()
            os.environ |= before


def take_every_step(walk: Walk, replay: ReplayTeacher) -> None:
    folder, config, photos = walk.folder, walk.folder / "vibe.toml", walk.folder / "photos"
    answers = folder / "answers.jsonl"

    def step(name: str, *arguments: str | Path) -> None:
        walk.said[name] = done(*arguments)
        walk.requests[name] = replay.counts()["requests"]

    os.environ.pop("VIBE_CONFIG", None)
    step("init", "init", photos, "--output", config)
    os.environ["VIBE_CONFIG"] = str(config)
    step("doctor", "doctor")
    step("folders", "folders")
    step("annotate ten", "annotate", "--root", photos, "--output", answers, "--limit", "10")
    step("annotate", "annotate", "--root", photos, "--output", answers)
    step("annotate again", "annotate", "--root", photos, "--output", answers)
    step("import", "import-annotations", answers)
    materialise_labels_and_vectors()
    walk.requests["materialise"] = replay.counts()["requests"]
    step("sample", "sample")
    sample = folder / "data" / "audit" / "sample.json"
    people = folder / "people.json"
    people.write_text(json.dumps(simulate_audit(sample, walk.truth, seed=1, error_rate=0.0), indent=2))
    step("audited", "audited", people)
    settle_audit(Platform.open(progress=False))
    step("eval", "eval", "--gt", people, "--out", folder / "evaluation")
    step("train", "train", "--deploy")
    os.environ["VIBE_STUDENTS__SEED"] = "7"
    step("train scene", "train", "scene")
    del os.environ["VIBE_STUDENTS__SEED"]
    for key in Platform.open().lake.live_folders():
        predict_folder(Platform.open(progress=False), key)
    step("heads", "heads", "list")


def materialise_labels_and_vectors() -> None:
    """What the assets up to auto_ground_truth and image_embeddings do."""
    platform = Platform.open(progress=False)
    for key in platform.lake.live_folders():
        scan_folder(platform, key)
        annotate_folder(platform, key)
        embed_folder(platform, key)
    group_library(platform)
    convert_library(platform)
    embed_label_prompts(platform)


@pytest.fixture
def config(walk: Walk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the installation to change, with the teacher that answers for it."""
    folder = Path(shutil.copytree(walk.folder, tmp_path / "copy"))
    config = folder / "vibe.toml"
    config.write_text(config.read_text().replace(str(walk.folder), str(folder)))
    for name, value in walk.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("VIBE_CONFIG", str(config))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "instance"))  # the copy's own: the original's is refused to it
    return config


def test_the_doctor_finds_a_good_set_up_good(walk: Walk) -> None:
    assert "FAIL" not in walk.said["doctor"]
    lines = [line for line in walk.said["doctor"].splitlines() if not line.startswith("     -> ")]
    assert [line.split(":")[0][4:].strip() for line in lines] == [
        "photo root", "home", "lake", "logs", "taxonomy", "teacher", "encoder", "engine", "Dagster home",
    ]  # fmt: skip


def test_folders_are_listed_with_their_keys(walk: Walk) -> None:
    for path in {photo["rel_path"].rpartition("/")[0] for photo in walk.truth}:
        assert path in walk.said["folders"]


def test_annotation_asks_for_every_photo_once(walk: Walk) -> None:
    ids = {photo["image_id"] for photo in walk.truth}
    asked = {name: walk.requests[name] - walk.requests["folders"] for name in ("annotate ten", "annotate", "annotate again", "materialise")}
    assert asked == {"annotate ten": 10, "annotate": len(ids), "annotate again": len(ids), "materialise": len(ids)}
    records = [json.loads(line) for line in (walk.folder / "answers.jsonl").read_text().splitlines()]
    assert {record["image_id"] for record in records} == ids
    assert f"{len(ids)} of {len(ids)} photos answered" in walk.said["annotate"]
    assert f"{len(ids)} records kept" in walk.said["import"]


def test_a_sample_is_drawn_and_an_audited_one_accepted(walk: Walk) -> None:
    assert re.match(r"\d+ photos in .*sample\.json; correct the labels there", walk.said["sample"])
    assert "audited photos accepted" in walk.said["audited"]
    assert (walk.folder / "data" / "audit" / "audited.json").is_file()


def test_evaluation_prints_figures_with_intervals_and_writes_a_report(walk: Walk) -> None:
    row = next(line for line in walk.said["eval"].splitlines() if "scene accuracy" in line.lower().replace("_", " "))
    assert len(re.findall(r"\d+\.\d", row)) >= 3  # value and both ends of the interval
    assert "<html" in (walk.folder / "evaluation" / "report.html").read_text()


def test_training_names_every_head_and_puts_them_in_force(walk: Walk) -> None:
    for kind in ("scene", "attribute", "object"):
        assert re.search(rf"^{kind}-\S+: \d+ photos in", walk.said["train"], re.MULTILINE)
        assert re.search(rf"^{kind}: in force {kind}-\S+ \(", walk.said["train"], re.MULTILINE)
    table, _, why = walk.said["heads"].rpartition("┘")
    assert len(re.findall(r"scene-", table)) == 2
    assert len(re.findall(r"│ \*", table)) == 3
    assert re.fullmatch(r"scene: scene-\S+ is not in force: nothing was decided about it yet", why.strip())


def test_the_graph_is_told_of_every_asset_that_the_commands_wrote(walk: Walk) -> None:
    told = [json.loads(line) for line in (walk.folder / "data" / "notes.jsonl").read_text().splitlines() if line]
    said = {command: {note["asset"] for note in told if note["by"] == command} for command in {note["by"] for note in told}}
    heads = {"scene_head", "attribute_head", "object_head"}
    assert said == {
        "vibe folders": {"folder_set"},
        "vibe sample": {"audit_sample", "audit_draws"},
        "vibe train": {*heads, "deployed_heads"},
    }


def version_of(said: str) -> str:
    return said.split(":")[0]


def test_heads_are_deployed_rolled_back_exported_and_imported(walk: Walk, config: Path, tmp_path: Path) -> None:
    first, second = version_of(walk.said["train"]), version_of(walk.said["train scene"])
    assert first != second
    assert done("heads", "deploy", second, "--force").startswith(f"{second} is in force")  # on ten photos of the test split chance decides
    assert done("heads", "rollback", "scene") == f"{first} is in force again\n"
    assert done("heads", "rollback", "scene") == "no scene head is in force any more\n"
    assert "no scene head is in force" in refused("heads", "rollback", "scene")
    done("heads", "export", first, tmp_path / "scene.pt")
    imported = done("heads", "import", tmp_path / "scene.pt").split(";")[0]
    done("heads", "deploy", imported)
    photo = next((config.parent / "photos").rglob("*.jpg"))
    source = json.loads(done("classify", photo, "--json"))["source"]
    assert source == "student" or source.startswith("scene=student "), "what a head leaves open is the teacher's"


@pytest.mark.parametrize("version", ["scene-000", "nonsense", "../../etc", ""])
def test_a_head_that_is_not_there_cannot_be_deployed(config: Path, version: str) -> None:
    before = (config.parent / "data" / "heads" / "deployments.jsonl").read_text()
    refused("heads", "deploy", version)
    assert (config.parent / "data" / "heads" / "deployments.jsonl").read_text() == before


def test_a_file_that_is_no_head_is_not_imported(config: Path, tmp_path: Path) -> None:
    (tmp_path / "x.pt").write_bytes(b"not a head")
    assert "x.pt" in refused("heads", "import", tmp_path / "x.pt")


def test_a_photo_a_folder_and_a_broken_file_are_classified(config: Path, tmp_path: Path) -> None:
    folder = next(path.parent for path in (config.parent / "photos").rglob("*.jpg") if len(list(path.parent.iterdir())) > 2)
    broken = tmp_path / "torn.jpg"
    broken.write_bytes(next(folder.glob("*.jpg")).read_bytes()[:400])
    rows = [json.loads(line) for line in done("classify", next(folder.glob("*.jpg")), folder, broken, "--json").splitlines()]
    assert [row["rel_path"] for row in rows[1:-1]] == [str(path) for path in sorted(folder.iterdir())]
    good = [row for row in rows if row["reason"] is None]
    assert all(row["source"] == "student" or row["source"].startswith("scene=student ") for row in good)
    assert all(0 <= row["scene_confidence"] <= 1 for row in good)
    assert (rows[-1]["rel_path"], rows[-1]["scene"]) == (str(broken), None)
    assert rows[-1]["reason"]
    assert rows[-1]["reason"] in vibe("classify", broken).stdout
    assert "no photo could be read" in refused("classify", broken)


def test_sql_reads_the_lake(walk: Walk, config: Path) -> None:
    query = "select count(*) as n, count(distinct p.image_id) as photos from predictions p join auto_ground_truth using (image_id)"
    (row,) = [json.loads(line) for line in done("sql", query, "--json").splitlines()]
    assert row["photos"] == len({photo["image_id"] for photo in walk.truth})
    assert "scene.food" in done("sql", "select distinct scene from auto_ground_truth where scene = 'scene.food'")
    assert "delete" in refused("sql", "delete from annotations")


def test_the_teacher_is_shown_tried_and_promoted(config: Path, walk: Walk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VIBE_TEACHER__MODEL")
    monkeypatch.setenv("VIBE_GATES__MAX_DEPLOY_LOSS", "0.2")  # 35 photos cannot show less
    text = config.read_text().replace("[teacher]\n", '[teacher]\nmodel = "teacher"\n\n[teacher.candidate]\nmodel = "better"\n\n', 1)
    config.write_text(text)
    shown = done("teacher", "show")
    assert "teacher" in shown
    assert "better" in shown
    assert "was not tried" in refused("teacher", "promote")
    assert "`vibe teacher promote` is allowed" in done("teacher", "trial")
    assert done("teacher", "promote").startswith("better is the teacher now")
    assert "candidate" not in done("teacher", "show")
    assert [line for line in config.read_text().splitlines() if line.startswith("#")] == [
        line for line in text.splitlines() if line.startswith("#")
    ]


def test_the_encoder_is_measured(walk: Walk, config: Path) -> None:
    assert re.search(r"\d+(\.\d+)? .*/s", done("bench", "embed", config.parent / "photos", "--most", "8"))


# -- mistakes ----------------------------------------------------------------------------------------------------------
def test_a_settings_file_is_not_written_over(config: Path) -> None:
    assert "exists already" in refused("init", "--output", config)
    done("init", "--output", config, "--force")


def test_settings_can_be_written_where_the_named_file_is_still_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIBE_CONFIG", str(tmp_path / "new.toml"))
    assert "new.toml: no such file; `vibe init` writes one" in refused("folders")
    done("init", "--output", tmp_path / "new.toml")
    assert "library.root is not set" in refused("folders")


@pytest.mark.parametrize(
    ("name", "value", "organ"),
    [
        ("VIBE_LIBRARY__ROOT", "/absent/photos", "photo root"),
        ("QWEN_BASE_URL", "http://127.0.0.1:9/v1", "teacher"),
        ("VIBE_ENCODER__NAME", "siglip:/absent/model", "encoder"),
    ],
)
def test_the_doctor_says_what_to_mend(config: Path, name: str, value: str, organ: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    result = vibe("doctor")
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    (at,) = [number for number, line in enumerate(lines) if line.startswith("FAIL")]
    assert lines[at].startswith(f"FAIL {organ}: ")
    assert lines[at + 1].startswith("     -> ")


def test_a_settings_mistake_stops_every_command_with_its_line(config: Path) -> None:
    config.write_text(config.read_text() + "[nonsense]\na = 1\n")
    for arguments in (["folders"], ["doctor"], ["train"], ["sql", "select 1"], ["teacher", "show"], ["heads", "list"], ["sample"]):
        assert f"{config}: nonsense: no such setting" in refused(*arguments)


def test_an_audited_file_with_a_wrong_line_is_refused_by_line_and_changes_nothing(walk: Walk, config: Path) -> None:
    audited = config.parent / "data" / "audit" / "audited.json"
    before = audited.read_text()
    lines = (walk.folder / "people.json").read_text().splitlines()
    at = next(number for number, line in enumerate(lines) if '"scene.' in line)
    lines[at] = lines[at].replace("scene.", "scene.x")
    bad = config.parent / "bad.json"
    bad.write_text("\n".join(lines))
    assert f"line {at + 1}: " in refused("audited", bad)
    bad.write_text("[{")
    assert "line 1" in refused("audited", bad)
    assert audited.read_text() == before


def test_a_teacher_that_is_absent_is_named_and_what_was_answered_stays(
    config: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    answers = tmp_path / "answers.jsonl"
    done("annotate", "--output", answers, "--limit", "3")
    kept = answers.read_text()
    with monkeypatch.context() as absent:
        absent.setenv("QWEN_BASE_URL", "http://127.0.0.1:9/v1")
        absent.setenv("VIBE_TEACHER__RETRIES", "0")
        message = refused("annotate", "--output", answers)
        assert "127.0.0.1:9" in message
    assert answers.read_text().startswith(kept)
    done("annotate", "--output", answers, "--limit", "2")
    assert len([line for line in answers.read_text().splitlines() if json.loads(line)["annotation"]]) == 5


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("annotate", "--output", "answers.txt"), "ends with .jsonl"),
        (("sql", "select nothing from nowhere"), "nowhere"),
        (("sql", "not sql at all"), "syntax"),
        (("train",), "vibe run"),
        (("sample",), "no automatic ground truth yet; `vibe run` makes it"),
        (("heads", "rollback", "scene"), "none was ever deployed"),
        (("teacher", "trial"), "no [teacher.candidate]"),
        (("teacher", "promote"), "nobody to promote"),
        (("bench", "embed"), "photo"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_command_whose_input_is_missing_says_what_makes_it(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    (tmp_path / "photos").mkdir()
    done("init", "photos")
    assert said in refused(*arguments)


def test_classifying_without_heads_labels_nothing_and_says_so(tmp_path: Path, walk: Walk) -> None:
    (tmp_path / "photos").mkdir()
    done("init", "photos")
    photo = shutil.copy(next((walk.folder / "photos").rglob("*.jpg")), tmp_path / "photos")
    result = vibe("classify", photo, "--json")
    row = json.loads(result.stdout)
    assert (result.exit_code, row["source"], row["scene"]) == (1, "none", None)
    assert "no head is in force" in result.stderr
    assert "no head is in force" in refused("classify", photo)
    (tmp_path / "empty").mkdir()
    assert "no photo in what was given" in refused("classify", tmp_path / "empty")
    (tmp_path / "torn.jpg").write_bytes(b"no photo")
    assert "no photo could be read" in refused("classify", tmp_path / "torn.jpg")


def test_answers_are_not_continued_where_the_user_says_no(config: Path, walk: Walk) -> None:
    assert "exists already" in refused("annotate", "--output", config.parent / "answers.jsonl", "--no-resume")


def test_labels_are_evaluated_from_any_folder_with_the_users_own_taxonomy(walk: Walk, config: Path) -> None:
    (config.parent / "mine.yaml").write_text(done("labels", "show", "--file"), encoding="utf-8")
    config.write_text(config.read_text().replace('taxonomy = "labels.yaml"', 'taxonomy = "mine.yaml"', 1))
    assert "accuracy" in done("eval", "--gt", walk.folder / "people.json", "--auto", "--resamples", "20")


def test_a_real_process_says_its_mistake_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "vibe.toml").write_text("[library\n")
    command = [sys.executable, "-m", "vibe_assets.cli", "folders"]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path)
    assert found.returncode == 1
    assert found.stdout == ""
    assert re.fullmatch(r"Error: .*vibe\.toml: .*line 1.*\n", found.stderr)


# -- a lake that lost tables ---------------------------------------------------------------------------------------------
@pytest.fixture
def alone(config: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The installation with a teacher that does not answer, exported once; its home folder."""
    monkeypatch.setenv("QWEN_BASE_URL", "http://127.0.0.1:9/v1")
    done("warehouse", "rebuild")
    done("export", "csv")
    return config.parent / "data"


def contents() -> dict[str, Any]:
    """Every table of the lake, as what it says."""
    import polars as pl

    lake = Platform.open(progress=False).lake
    found = {}
    for table in TABLES.values():
        if lake.exists(table):
            rows = lake.read(table).select(pl.exclude("seen_at", "scanned_at", "measured_at", "tried_at"))
            found[table.name] = rows.sort([name for name in rows.columns if rows[name].dtype in (pl.String, pl.Datetime)])
    return found


@pytest.mark.parametrize("lost", [["raw_photos"], None], ids=["one table", "the whole lake"])
def test_a_lake_that_lost_tables_says_so_keeps_exports_and_is_repaired_without_the_teacher(alone: Path, lost: list[str] | None) -> None:
    before, csv = contents(), (alone / "exports" / "csv" / "labels.csv").read_bytes()
    assert csv.count(b"\n") > 40
    shutil.rmtree(alone / "lake" / lost[0] if lost else alone / "lake")
    for arguments in (["export", "csv"], ["sql", "select count(*) from raw_photos"]):
        assert "is gone, and it was there before; `vibe repair` makes it anew" in refused(*arguments)
    assert (alone / "exports" / "csv" / "labels.csv").read_bytes() == csv
    assert re.search("FAIL +lake: table", vibe("doctor").output)
    assert vibe("repair", "--check").exit_code == 1

    said = done("repair")
    assert "every table is whole" in said
    assert re.findall(r"table (\w+): made anew", said) == [name for name in before if lost is None or name in lost]
    after = contents()
    for name, rows in before.items():
        assert after[name].equals(rows), name
    assert done("repair", "--check").startswith("every table is whole")
    done("export", "csv")
    assert (alone / "exports" / "csv" / "labels.csv").read_bytes() == csv
    assert not (alone / "repair").exists()


def test_a_table_with_a_lost_data_file_of_an_old_commit_is_made_anew(alone: Path) -> None:
    before = contents()
    files = sorted((alone / "lake" / "annotations").rglob("*.parquet"), key=lambda file: file.stat().st_mtime_ns)
    files[0].unlink()
    assert "file is missing" in refused("export", "csv", "--labels", "teacher", "--folder", "x") + vibe("repair", "--check").output
    assert "table annotations: made anew" in done("repair")
    assert contents()["annotations"].equals(before["annotations"])
    assert (alone / "lake" / "annotations.damaged").is_dir()


def test_a_library_that_is_not_mounted_is_not_repaired_to_nothing(alone: Path, config: Path) -> None:
    shutil.rmtree(alone / "lake" / "folder_set")
    photos = config.parent / "photos"
    photos.rename(photos.with_name("away"))
    photos.mkdir()
    assert "table folder_set: photo root" in vibe("repair").output
    photos.rmdir()
    photos.with_name("away").rename(photos)
    assert "table folder_set: made anew" in done("repair")
