"""The first command that anybody tries: the demo as the README starts it ends well, and every head is in force."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from vibe_assets.demo.run import TEACHER

LIMIT_S = 1500.0
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(LIMIT_S)]


def test_the_demo_ends_well_and_every_question_has_a_head(tmp_path: Path) -> None:
    """All photos of it: whether its heads are of use is decided on them."""
    said = subprocess.run(
        [sys.executable, "-m", "vibe_assets.cli", "demo", "--no-studies"], cwd=tmp_path, env=dict(os.environ), capture_output=True,
        text=True, timeout=LIMIT_S, check=False,
    )  # fmt: skip
    assert said.returncode == 0, said.stdout + said.stderr
    assert "run failed" not in said.stdout
    assert f"against {TEACHER}" in said.stdout
    heads = subprocess.run(
        [sys.executable, "-m", "vibe_assets.cli", "heads", "list"], cwd=tmp_path, env={**os.environ, "VIBE_CONFIG": "demo/vibe.toml"},
        capture_output=True, text=True, timeout=LIMIT_S, check=True,
    )  # fmt: skip
    for kind in ("scene", "attribute", "object"):
        assert re.search(rf"\* +│ {kind}-", heads.stdout), heads.stdout
