"""The study by hand, as the guide describes it; and the guide itself: its settings load, its commands exist."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from tests.vlm.test_ingest import tagged_folder
from vibe_assets.cli import main
from vibe_assets.settings import Settings
from vibe_assets.teacher.replay import running_replay
from vibe_assets.vlm.tags import answer_text

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "vlm.md"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A settings file with one replayed model, which says of every photo that it shows a dog."""
    (tmp_path / "photos").mkdir()
    with running_replay(lambda image, request: answer_text(["dog", "animal", "tree"])) as base_url:
        (tmp_path / "vibe.toml").write_text(
            '[library]\nroot = "photos"\nscan_workers = 1\n[vlm]\nmin_tags = 2\n'
            f'[vlm.models.dogs]\nbase_url = "{base_url}"\nmodel = "m"\nprovider = "replay"\n'
        )
        monkeypatch.setenv("VIBE_CONFIG", str(tmp_path / "vibe.toml"))
        monkeypatch.setenv("COLUMNS", "200")
        yield tmp_path


def vibe(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def done(*arguments: str) -> str:
    result = vibe(*arguments)
    assert result.exit_code == 0, result.output
    return result.output


def test_from_a_folder_of_tags_to_the_leaderboard(home: Path) -> None:
    folder = tagged_folder(home / "mine", 14)
    assert "14 new photos, 0 rejected" in done("tags", "ingest", "--from", str(folder), "--batch", "b1")
    assert "dog (14)" in done("tags", "diagnose")
    assert "14 answered" in (said := done("tags", "benchmark"))
    assert re.search(r"replay.*dogs.*vendor.*50", said)
    assert (home / "data" / "reports" / "leaderboard.json").is_file()
    assert "replay" in done("tags", "models")
    assert re.search(r"records\W+\d", done("vlm", "dataset"))
    assert (home / "data" / "vlm" / "instructions" / "train.jsonl").is_file()


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("tags ingest", "give one source"),
        ("tags ingest --library audited", "no audited labels yet"),
        ("tags diagnose", "no batch yet"),
        ("tags leaderboard", "nothing to rank"),
        ("tags benchmark --model nobody", "known are dogs"),
        ("vlm dataset", "no tagged photos yet"),
        ("vlm finetune ./nowhere", "no such folder"),
        ("vlm finetune dogs", "fine-tuning needs weights"),
        ("vlm merge dogs out", "has no adapter"),
    ],
)
def test_what_is_missing_is_one_line_with_a_remedy(home: Path, command: str, message: str) -> None:
    result = vibe(*command.split())
    assert result.exit_code == 1
    assert message in result.output
    assert result.output.count("\n") == 1


def test_the_guide_s_settings_load() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    blocks = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    models = Settings.model_validate(tomllib.loads("\n".join(blocks))).vlm.models
    assert {"gpt-4-1-mini", "qwen-3b"} <= models.keys()


def test_the_guide_s_commands_exist_with_their_options() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    lines = [line.partition("#")[0].partition("&&")[0] for line in text.splitlines() if line.startswith("vibe ")]
    assert len(lines) > 8
    for line in lines:
        words = shlex.split(line)[1:]
        command: click.Command = main
        while isinstance(command, click.Group):
            command = command.commands[words.pop(0)]
        command.make_context("vibe", words, resilient_parsing=False)


def test_the_settings_template_shows_how_to_name_a_model() -> None:
    from vibe_assets.operate.setup import settings_template

    text = settings_template()
    example = text[text.index("#   [vlm.models.gpt") :].split("\n\n")[0]
    loaded = Settings.model_validate(tomllib.loads(re.sub(r"^# +", "", example, flags=re.MULTILINE)))
    assert loaded.vlm.models["gpt-4-1-mini"].output_price == 1.6
