"""The daemon and all its runs are killed in the middle of a first build; a new daemon ends the build and pays for no kept answer again."""

from __future__ import annotations

import os
import signal
from collections import Counter
from contextlib import suppress
from pathlib import Path

import dagster as dg
import pytest

from tests.defs.world import opened
from tests.e2e.processes import running
from tests.e2e.unattended import SHELVES, Unattended, install, journalled
from vibe_assets.operate.ui import DAEMON
from vibe_assets.records import ANNOTATIONS
from vibe_assets.stages.library import accepted_photos
from vibe_assets.teacher.annotate import teacher_fingerprint
from vibe_assets.teacher.replay import ReplayFaults

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.timeout(900),
]
IN_FLIGHT = 4  # [teacher] concurrency of the installation


def test_a_daemon_killed_in_mid_build_is_gone_on_with_where_it_ended(tmp_path: Path) -> None:
    with opened(install(tmp_path / "installation")) as world:
        environment = {"VIBE_LOOK_EVERY_S": "1"}
        teacher = teacher_fingerprint(world.platform.settings.teacher)
        world.replay.faults = ReplayFaults(latency_s=1.0)
        with running(DAEMON, world.folder / "first.log", environment=environment) as first:
            place = Unattended(world, first, frozenset())
            place.wait(lambda: len(journalled(world.folder, teacher)) >= 8, what="the first answers")
            for pid in first.family():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            first.ended()
        kept, world.replay.faults = journalled(world.folder, teacher), ReplayFaults()
        cut_short = [run.run_id for run in place.unfinished()]
        assert cut_short, "nothing was running when it was killed"
        with running(DAEMON, world.folder / "second.log", environment=environment) as second:
            place = Unattended(world, second, frozenset())
            place.wait(lambda: place.made("auto_ground_truth", since=0) > 0, what="the labels of the whole library")
            place.until_idle(ticks=1)
        photos = accepted_photos(world.platform)
        assert set(world.platform.lake.read_live(ANNOTATIONS)["image_id"]) <= set(photos["image_id"])
        assert len(world.folders()) == SHELVES
        assert set(journalled(world.folder, teacher)) == set(photos["image_id"])
        assert set(Counter(journalled(world.folder, teacher)).values()) == {1}, "an answer was paid for twice"
        assert len(kept) >= 8
        assert world.replay.counts()["answered"] <= photos.height + 2 * IN_FLIGHT
        ended = {run.run_id: run.status for run in place.runs()}
        assert {ended[run] for run in cut_short} <= {dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.CANCELED}
