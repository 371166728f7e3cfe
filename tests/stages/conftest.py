"""A sound lake, written once and copied for every test."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.stages.rows import QUICK, fill, open_platform
from tests.support.questions import PACKAGED
from vibe_assets.stages.platform import Platform
from vibe_assets.stages.students import deploy_students, train_student


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("QWEN_BASE_URL", "QWEN_MODEL", "VIBE_CONFIG"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("filled") / "home"
    fill(home)
    return home


@pytest.fixture
def home(filled: Path, tmp_path: Path) -> Path:
    """A copy of the sound installation."""
    return Path(shutil.copytree(filled, tmp_path / "home"))


@pytest.fixture
def platform(home: Path) -> Platform:
    return open_platform(home)


@pytest.fixture(scope="session")
def trained(filled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sound installation with three heads trained and deployed."""
    home = Path(shutil.copytree(filled, tmp_path_factory.mktemp("trained") / "home"))
    platform = open_platform(home, **QUICK)
    for kind in PACKAGED.heads:
        train_student(platform, kind)
    assert all(decision.deployed for decision in deploy_students(platform).values())
    return home


@pytest.fixture
def settled(trained: Path, tmp_path: Path) -> Platform:
    """A copy of the installation with heads in force."""
    return open_platform(Path(shutil.copytree(trained, tmp_path / "trained")), **QUICK)
