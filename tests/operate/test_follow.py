"""What a `vibe ui` that runs does when the label file changes under it."""

from __future__ import annotations

import importlib
import os
import sys
import threading
from pathlib import Path

import pytest

from tests.e2e.processes import until
from tests.support.questions import PACKAGED, with_style
from vibe_assets.defs import questions
from vibe_assets.operate import follow, ui
from vibe_assets.operate.follow import KEPT_ENV, LabelFile, following, label_file
from vibe_assets.operate.launcher import started


@pytest.fixture(autouse=True)
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "vibe.toml").write_text('[library]\nroot = "photos"\n[labels]\ntaxonomy = "labels.yaml"\n')
    monkeypatch.setenv("VIBE_CONFIG", str(tmp_path / "vibe.toml"))
    with_style(tmp_path)
    return tmp_path / "labels.yaml"


def test_other_heads_are_noticed_and_other_words_are_not(library: Path, tmp_path: Path) -> None:
    file = LabelFile(tmp_path / "copy.yaml")
    assert file.moved()
    assert file.heads == (*PACKAGED.heads, "style")
    library.write_text(library.read_text().replace("an analogue camera", "on film"))
    assert not file.moved()
    assert "on film" in file.copy.read_text()
    written = file.copy.stat()
    assert not file.moved()
    assert (file.copy.stat().st_mtime_ns, file.copy.stat().st_ino) == (written.st_mtime_ns, written.st_ino), (
        "an idle machine writes nothing"
    )
    (tmp_path / "vibe.toml").write_text('[library]\nroot = "photos"\n')
    assert file.moved()
    assert file.heads == PACKAGED.heads


def test_a_broken_file_is_named_once_and_what_is_loaded_stays(library: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = library.read_text()
    with label_file() as file:
        assert os.environ[KEPT_ENV] == str(file.copy)
        library.write_text("questions: [")
        assert [file.moved() for _ in range(3)] == [False] * 3
        said = capsys.readouterr().out
        assert said.count(str(library)) == 1
        assert "The questions that are loaded stay" in said
        assert "style" in questions._loaded().heads
        library.write_text(whole)
        assert not file.moved()
        library.unlink()
        assert not file.moved()
        assert str(library) in capsys.readouterr().out
    assert KEPT_ENV not in os.environ
    assert questions._loaded().heads == PACKAGED.heads


def test_the_graph_is_loaded_anew_when_the_heads_become_others(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "LOOK_S", 0.05)
    reloaded = threading.Event()
    with label_file() as file, following(file, reloaded.set):
        assert not reloaded.wait(0.3)
        library.write_text(importlib.resources.files("vibe_assets.questions").joinpath("labels.yaml").read_text())
        assert reloaded.wait(10)


def test_a_daemon_is_ended_in_order_before_the_next_one_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "log"
    script = (
        "import os, pathlib, signal, sys, time\n"
        "log = open(sys.argv[1], 'a', buffering=1)\n"
        "def end(*_):\n    time.sleep(0.5); log.write(f'ended {os.getpid()}\\n'); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, end); log.write(f'began {os.getpid()}\\n'); time.sleep(600)\n"
    )
    monkeypatch.setattr(ui, "DAEMON", (sys.executable, "-c", script, str(log)))
    monkeypatch.setattr(ui, "AGAIN_S", 0.05)

    def lines() -> list[str]:
        return log.read_text().splitlines() if log.exists() else []

    with ui.running_daemon() as renew:
        until(lambda: len(lines()) == 1, seconds=30, what="the first")
        renew()
        until(lambda: len(lines()) == 3, seconds=30, what="the second")
        first, second = (int(line.split()[1]) for line in (lines()[0], lines()[2]))
        assert [line.split()[0] for line in lines()] == ["began", "ended", "began"]
        assert lines()[1] == f"ended {first}"
        assert started(first) is None
        assert started(second) is not None
    assert lines()[3:] == [f"ended {second}"]
