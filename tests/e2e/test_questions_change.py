"""`vibe ui` as a process, and a label file that changes under it: pages and daemon follow, and a mistake takes nothing down."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.e2e.processes import Process, until
from tests.e2e.test_webserver import REPOSITORY, ask, served
from tests.support.questions import with_style
from vibe_assets.questions import packaged

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def installation(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    (tmp_path / "vibe.toml").write_text('[library]\nroot = "photos"\n[labels]\ntaxonomy = "labels.yaml"\n', encoding="utf-8")
    (tmp_path / "labels.yaml").write_text(packaged(), encoding="utf-8")
    (tmp_path / "dagster_home").mkdir()
    shutil.copy(REPOSITORY / "dagster_home" / "dagster.yaml", tmp_path / "dagster_home")
    return tmp_path


def assets(port: int) -> set[str]:
    return {"/".join(node["assetKey"]["path"]) for node in ask(port, "{ assetNodes { assetKey { path } } }")["assetNodes"]}


def daemons(process: Process) -> list[int]:
    """Ids of the daemon's processes, itself and not what it forked."""
    found = []
    for pid in process.family():
        command = Path(f"/proc/{pid}/cmdline")
        if command.exists() and b"vibe_assets.operate.daemon" in command.read_bytes():
            found.append(pid)
    return found


def test_a_question_more_is_in_pages_and_daemon_and_a_mistake_takes_nothing_down(installation: Path) -> None:
    with served(installation) as (process, port):
        assert "scene_head" in assets(port)
        assert "style_head" not in assets(port)
        (before,) = until(lambda: daemons(process), seconds=60, what="a daemon", process=process)
        with_style(installation)
        until(lambda: "style_head" in assets(port), seconds=90, what="the new asset", process=process)
        (now,) = until(lambda: [pid for pid in daemons(process) if pid != before], seconds=120, what="another daemon", process=process)
        (installation / "labels.yaml").write_text("questions: [", encoding="utf-8")
        until(lambda: "The questions that are loaded stay" in process.said, seconds=60, what="a word on it", process=process)
        assert "style_head" in assets(port)
        until(lambda: daemons(process) == [now], seconds=120, what="one daemon", process=process)
        assert process.said.count("The questions that are loaded stay") == 1
