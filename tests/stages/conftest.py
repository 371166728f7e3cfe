"""A sound lake, written once and copied for every test."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.stages.rows import fill, open_platform
from vibe_assets.stages.platform import Platform


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
