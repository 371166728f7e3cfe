"""One awkward library, written once for all tests that only read it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.export.library import build
from vibe_assets.stages.platform import Platform


@pytest.fixture(scope="session")
def awkward(tmp_path_factory: pytest.TempPathFactory) -> Platform:
    return build(tmp_path_factory.mktemp("awkward"))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Where a test's export goes."""
    return tmp_path / "out"
