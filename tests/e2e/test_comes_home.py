"""Evenings that go wrong, under the real daemon and without anybody's hand: teacher off, a run cancelled, processes killed, then well."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import dagster as dg
import pytest

from tests.defs.world import KEYS, World, opened
from tests.e2e.processes import Process, running
from tests.e2e.unattended import Unattended, install, journalled
from tests.faults.test_disks import fill
from tests.test_lake import mounted
from vibe_assets.defs.retries import reason_of
from vibe_assets.operate.ui import DAEMON
from vibe_assets.records import ANNOTATIONS, AUTO_GROUND_TRUTH, PREDICTIONS
from vibe_assets.stages.library import accepted_photos
from vibe_assets.teacher.annotate import teacher_fingerprint
from vibe_assets.teacher.replay import ReplayFaults, ReplayTeacher, running_replay

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]
QUICK = {"VIBE_LOOK_EVERY_S": "1", "VIBE_RETRY_AFTER_S": "2"}  # looks and pauses of a test
IN_FLIGHT = 4


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with opened(install(tmp_path / "installation")) as world:
        yield world


def daemon(world: World, stack: ExitStack, name: str) -> Process:
    return stack.enter_context(running(DAEMON, world.folder / name, environment=QUICK))


def is_whole(world: World) -> bool:
    """Every photo is answered, labelled and predicted."""
    photos = set(accepted_photos(world.platform)["image_id"])
    lake = world.platform.lake
    tables = (lake.read_live(ANNOTATIONS), lake.read(AUTO_GROUND_TRUTH), lake.read_live(PREDICTIONS))
    return bool(photos) and all(set(rows["image_id"]) == photos for rows in tables)


def failed(place: Unattended) -> list[str]:
    """Folders of the runs that failed."""
    return [run.tags.get("dagster/partition", "") for run in place.runs(dg.DagsterRunStatus.FAILURE)]


def test_a_teacher_that_is_off_at_first_and_a_cancelled_run_are_come_back_to(world: World) -> None:
    """The first run of one folder is cancelled; another folder appears while the teacher is off; then it is on."""
    port = int(os.environ["QWEN_BASE_URL"].rpartition(":")[2].removesuffix("/v1"))
    with ExitStack() as stack:
        os.environ["QWEN_BASE_URL"] = "http://127.0.0.1:9/v1"
        place = Unattended(world, daemon(world, stack, "first.log"), frozenset())
        place.wait(lambda: bool(place.unfinished()), what="a first run")
        first = place.unfinished()[0]
        world.instance.run_coordinator.cancel_run(first.run_id)
        place.wait(lambda: len(failed(place)) >= 2, what="runs that fail because the teacher is off")
        late = world.folder / "shelves" / "late"
        late.mkdir()
        photo = next((world.folder / "shelves" / "shelf 0").iterdir())
        (late / photo.name).write_bytes(photo.read_bytes() + b"\0")
        place.wait(lambda: len(world.folders()) == 3, what="the late folder")
        place.wait(lambda: any(folder.startswith("late") for folder in failed(place)), what="the late folder to fail")
        os.environ["QWEN_BASE_URL"] = f"http://127.0.0.1:{port}/v1"
    assert not journalled(world.folder, teacher_fingerprint(world.platform.settings.teacher))
    with ExitStack() as stack:  # the evening is over: the machine was restarted, with the right address
        place = Unattended(world, daemon(world, stack, "second.log"), frozenset(run.run_id for run in world.instance.get_runs()))
        place.wait(lambda: is_whole(world), what="a whole library")
        place.until_idle(ticks=1)
    assert len(world.folders()) == 3


def test_a_teacher_that_goes_away_for_hours_under_the_daemon_is_asked_again_when_it_is_back(world: World) -> None:
    address = os.environ["QWEN_BASE_URL"]
    port = int(address.rpartition(":")[2].removesuffix("/v1"))
    answers = {"teacher-1": world.folder / "teacher_answers.jsonl", "": world.folder / "candidate_answers.jsonl"}
    with ExitStack() as stack:
        os.environ["QWEN_BASE_URL"] = f"http://127.0.0.1:{port + 1}/v1"
        place = Unattended(world, daemon(world, stack, "daemon.log"), frozenset())
        place.wait(lambda: len(place.runs(dg.DagsterRunStatus.FAILURE)) >= 4, what="second tries that fail")
        replay = ReplayTeacher(answers, world.folder / "photos", api_key=KEYS["QWEN_API_KEY"])
        with running_replay(replay, port=port + 1):
            place.wait(lambda: is_whole(world), what="a whole library")
            place.until_idle(ticks=1)
            counts = replay.counts()
    photos = accepted_photos(world.platform).height
    assert counts["answered"] == photos, "an answer was paid for twice"


def test_a_disk_that_is_full_for_a_while_costs_no_answer(tmp_path: Path) -> None:
    """The library's own disk fills up in the middle of a build; somebody makes room again, and nothing else."""
    folder = install(tmp_path / "installation")
    with contextmanager(mounted)(folder / "data", "-t", "tmpfs", "-o", "size=512m", "tmpfs") as data, opened(folder) as world:
        teacher = teacher_fingerprint(world.platform.settings.teacher)
        world.replay.faults = ReplayFaults(latency_s=0.2)
        with ExitStack() as stack:
            place = Unattended(world, daemon(world, stack, "daemon.log"), frozenset())
            place.wait(lambda: len(journalled(world.folder, teacher)) >= 8, what="the first answers")
            filler = fill(data)
            place.wait(lambda: len(failed(place)) >= 3, what="runs that fail because the disk is full")
            reasons = [reason_of(world.instance, run.run_id) for run in place.runs(dg.DagsterRunStatus.FAILURE)]
            assert all("free some space" in reason for reason in reasons), reasons
            filler.unlink()
            world.replay.faults = ReplayFaults()
            place.wait(lambda: is_whole(world), what="a whole library")
            place.until_idle(ticks=1)
        assert set(Counter(journalled(world.folder, teacher)).values()) == {1}
        assert world.replay.counts()["answered"] == accepted_photos(world.platform).height, "an answer was paid for and not kept"


@pytest.mark.parametrize("victim", ["run", "code server", "launcher", "daemon"])
def test_whoever_is_killed_at_work_the_library_is_whole_in_the_end(world: World, victim: str) -> None:
    teacher = teacher_fingerprint(world.platform.settings.teacher)
    world.replay.faults = ReplayFaults(latency_s=0.5)
    with ExitStack() as stack:
        process = daemon(world, stack, "first.log")
        place = Unattended(world, process, frozenset())
        place.wait(lambda: len(journalled(world.folder, teacher)) >= 8, what="the first answers")
        killed = victims(process, victim)
        assert killed, f"no process of the {victim} was there"
        for pid in killed:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        world.replay.faults = ReplayFaults()
        if victim == "daemon":
            process.ended()
            place = Unattended(world, daemon(world, stack, "second.log"), frozenset())
        place.wait(lambda: is_whole(world), what="a whole library")
        place.until_idle(ticks=1)
    assert set(Counter(journalled(world.folder, teacher)).values()) == {1}, "an answer was paid for twice"
    assert world.replay.counts()["answered"] <= accepted_photos(world.platform).height + 2 * IN_FLIGHT


def victims(process: Process, victim: str) -> list[int]:
    """Processes of the daemon's session by what they are. Runs are forked by the launcher's server and keep its command line."""
    words = {"daemon": "operate.daemon", "code server": "api grpc"}.get(victim, "multiprocessing.forkserver")
    alike = [pid for pid in process.family() if words in command_line(pid)]
    if victim not in ("run", "launcher"):
        return alike
    forked = [pid for pid in alike if words in command_line(parent_of(pid))]
    return forked if victim == "run" else [pid for pid in alike if pid not in forked]


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
