"""One small installation, built once and copied for every test that writes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.audit.library import build, open_at
from vibe_assets.stages.platform import Platform


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audit") / "home"
    build(folder)
    return folder


@pytest.fixture
def platform(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Platform:
    for name in ("QWEN_BASE_URL", "QWEN_MODEL", "VIBE_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    return open_at(Path(shutil.copytree(built, tmp_path / "home")))
