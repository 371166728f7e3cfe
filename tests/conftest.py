"""Shared fixtures: the real photos where they are present, and an environment that no test changes for the next one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: tests run side by side, one process per core
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no failure
settings.load_profile("tests")
REAL_DATA = Path(os.environ.get("VIBE_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real photos and labels; skips where it is absent."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"no real photos at {REAL_DATA} (set VIBE_TEST_DATA)")
    return REAL_DATA


@pytest.fixture(autouse=True)
def same_environment() -> Iterator[None]:
    """No test hands a variable to the next one: commands name the Dagster instance in $DAGSTER_HOME for the processes they start."""
    before = dict(os.environ)
    yield
    if dict(os.environ) != before:
        os.environ.clear()
        os.environ.update(before)
