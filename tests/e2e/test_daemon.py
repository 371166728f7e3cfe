"""What the real daemon does to an installation that nobody touches: runs are processes, and one of them is killed."""

from __future__ import annotations

import os
import re
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import dagster as dg
import pytest

from tests.defs.world import HEADS
from tests.e2e.processes import until
from tests.e2e.unattended import PATIENCE_S, SHELVES, Unattended, install, journalled, unattended
from vibe_assets.records import ANNOTATIONS, AUTO_GROUND_TRUTH, PREDICTIONS
from vibe_assets.stages.library import accepted_photos
from vibe_assets.stages.truth import sample_file
from vibe_assets.teacher.annotate import teacher_fingerprint
from vibe_assets.teacher.replay import ReplayFaults

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]
ONCE = [*HEADS, "auto_ground_truth", "teacher_report", "deployed_heads", "student_report", "published_warehouse"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Unattended]:
    """A new installation, and the daemon just started on it."""
    with unattended(install(tmp_path_factory.mktemp("unattended") / "installation")) as place:
        yield place


# -- the story, told once: every part starts where the one before ended ------------------------------------------------
@dataclass(frozen=True)
class Killed:
    run: dg.DagsterRun
    kept: int  # answers that were in the journal when the process was dead
    asked_before: int
    asked_after: int


@pytest.fixture(scope="module")
def killed(place: Unattended) -> Killed:
    """SIGKILL for the first run that annotates, in the middle of its work."""
    place.world.replay.faults = ReplayFaults(latency_s=0.4)
    until(lambda: len(journalled(place.world.folder)) >= 8, seconds=PATIENCE_S, what="the first answers", every=0.05, process=place.daemon)
    (run,) = [run for run in place.runs(dg.DagsterRunStatus.STARTED) if dg.AssetKey("annotations") in (run.asset_selection or ())]
    os.kill(worker(place, run), signal.SIGKILL)
    until(lambda: place.world.replay.counts()["in_flight"] == 0, seconds=30, what="the dead run's requests to end")
    kept, before = len(journalled(place.world.folder)), place.world.replay.counts()["answered"]
    place.world.replay.faults = ReplayFaults()
    photos = accepted_photos(place.world.platform).height
    until(lambda: len(set(journalled(place.world.folder))) >= photos, seconds=PATIENCE_S, what="every answer", process=place.daemon)
    return Killed(run, kept, before, place.world.replay.counts()["answered"])


@pytest.fixture(scope="module")
def built(place: Unattended, killed: Killed) -> Counter[str]:
    """People check the sample when it appears; what was made from the first look to the last report."""
    place.until_made("audit_sample", since=0)
    assert sample_file(place.world.platform).exists()
    place.world.audit()
    place.until_made("published_warehouse", since=0)
    place.until_idle()
    return place.made_since(0)


@dataclass(frozen=True)
class Changed:
    before: str  # fingerprint of the teacher
    now: str
    made: Counter[str]
    runs: list[dg.DagsterRun]


@pytest.fixture(scope="module")
def changed(place: Unattended, built: Counter[str]) -> Changed:
    """Another model in vibe.toml, under the running daemon; what was made until nothing more was wanted."""
    before, mark, known = teacher_fingerprint(place.world.platform.settings.teacher), place.mark(), {run.run_id for run in place.runs()}
    place.world.setting("teacher-1", "teacher-2")
    place.until_made("published_warehouse", since=mark)
    place.until_idle()
    now = teacher_fingerprint(place.world.platform.settings.teacher)
    return Changed(before, now, place.made_since(mark), [run for run in place.runs() if run.run_id not in known])


def worker(place: Unattended, run: dg.DagsterRun) -> int:
    """Process id of a run, as the run itself reported it; it must belong to our daemon."""
    messages = [entry.dagster_event.message or "" for entry in place.instance.all_logs(run.run_id) if entry.dagster_event]
    pid = next(int(found[1]) for message in messages if (found := re.search(r"Started process for run \(pid: (\d+)\)", message)))
    assert pid in place.daemon.family()
    return pid


# -- what is true of it ------------------------------------------------------------------------------------------------
def test_a_killed_run_is_seen_marked_as_failed_and_tried_again(place: Unattended, killed: Killed, built: Counter[str]) -> None:
    again = [run for run in place.runs() if run.parent_run_id == killed.run.run_id]
    assert place.instance.get_run_by_id(killed.run.run_id).status == dg.DagsterRunStatus.FAILURE  # type: ignore[union-attr]
    assert [run.status for run in again] == [dg.DagsterRunStatus.SUCCESS]
    assert again[0].tags["dagster/partition"] == killed.run.tags["dagster/partition"]


def test_answers_that_were_journalled_before_a_kill_are_not_asked_for_again(place: Unattended, killed: Killed) -> None:
    photos = accepted_photos(place.world.platform).height
    assert 8 <= killed.kept < photos
    assert killed.asked_after - killed.asked_before == photos - killed.kept
    assert max(Counter(journalled(place.world.folder)).values()) == 1


def test_a_new_installation_is_built_to_its_last_report(place: Unattended, built: Counter[str]) -> None:
    lake = place.world.platform.lake
    readable = set(accepted_photos(place.world.platform)["image_id"])
    assert set(lake.read_live(PREDICTIONS)["image_id"]) == readable
    assert set(lake.read_live(PREDICTIONS)["source"]) == {"student"}
    assert (place.world.platform.settings.reports_dir / "student_report.html").exists()
    assert built["raw_photos"] == built["image_embeddings"] == built["predictions"] == SHELVES
    assert {built[name] for name in [*ONCE, "photo_groups", "audit_sample", "audited_ground_truth"]} == {1}
    assert built["prompt_embeddings"] <= 2  # twice where the encoder was reported in the middle of the very first tick


def test_a_new_teacher_reannotates_every_folder_and_everything_after_it_is_made_exactly_once(changed: Changed) -> None:
    assert changed.now != changed.before
    assert dict(changed.made) == {"annotations": SHELVES, "predictions": SHELVES, **dict.fromkeys(ONCE, 1)}
    assert {run.status for run in changed.runs} == {dg.DagsterRunStatus.SUCCESS}


def test_labels_and_answers_are_the_new_teachers_alone(place: Unattended, changed: Changed) -> None:
    lake = place.world.platform.lake
    assert set(lake.read_live(ANNOTATIONS)["teacher"]) == {changed.now}
    assert set(lake.read(AUTO_GROUND_TRUTH)["teacher"]) == {changed.now}


def test_no_head_was_ever_trained_on_the_labels_of_two_teachers(place: Unattended, changed: Changed) -> None:
    cards = place.heads()
    assert Counter(card.teacher for card in cards) == {changed.before: len(HEADS), changed.now: len(HEADS)}
    for card in cards:
        learnt = place.world.platform.lake.read(AUTO_GROUND_TRUTH, version=card.data_versions["auto_ground_truth"])
        assert set(learnt["teacher"]) == {card.teacher}


def test_nothing_is_launched_once_all_is_done(place: Unattended, changed: Changed) -> None:
    runs = [run.run_id for run in place.runs()]
    place.until_idle(ticks=5)
    assert [run.run_id for run in place.runs()] == runs
    assert not [sensor for sensor in ("folder_sensor", "source_sensor") if len(place.ticks(sensor, after=0)) < 3]
