"""One settled installation, built once and copied for every test that changes it."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.defs.world import World, build, opened
from vibe_assets.defs.drive import report_outside_world


@pytest.fixture(scope="session")
def settled(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Folder of an installation after its first full build: annotated, audited, trained, deployed, reported.

    Test processes side by side share one: whoever comes first builds it, the others wait.
    """
    if worker_id == "master":
        return build_and_settle(tmp_path_factory.mktemp("settled") / "installation")
    shared = tmp_path_factory.getbasetemp().parent / "settled"
    shared.mkdir(exist_ok=True)
    with (shared / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (shared / "done").exists():
            build_and_settle(shared / "installation")
            (shared / "done").touch()
    return shared / "installation"


def build_and_settle(folder: Path) -> Path:
    """Render an installation and let everything run until nothing moves, people's audit included."""
    build(folder)
    with opened(folder) as world:
        world.settle()
        world.audit()
        driver = world.driver
        report_outside_world(world.platform, world.instance)
        driver.drain()
        assert not driver.tally.failed, driver.tally
    return folder


@pytest.fixture
def world(settled: Path, tmp_path: Path) -> Iterator[World]:
    """A copy of the settled installation."""
    folder = tmp_path / "installation"
    shutil.copytree(settled, folder)
    with opened(folder) as world:
        yield world


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A first build waits in front of whichever test comes first, and a busy machine needs minutes for it."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(1200))
