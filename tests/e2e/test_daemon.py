"""What the real daemon does to an installation that nobody touches: runs are processes, and one of them is killed."""

from __future__ import annotations

import itertools
import os
import re
import signal
import socket
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import dagster as dg
import pytest

from tests.defs.world import HEADS
from tests.e2e.auditor import Person
from tests.e2e.browser import chromium, why_not
from tests.e2e.processes import VIBE, running, until
from tests.e2e.unattended import SHELVES, Unattended, journalled, settle, unattended
from vibe_assets.records import ANNOTATIONS, AUDITED_GROUND_TRUTH, AUTO_GROUND_TRUTH, PREDICTIONS
from vibe_assets.stages.library import accepted_photos
from vibe_assets.teacher.annotate import teacher_fingerprint
from vibe_assets.teacher.replay import ReplayFaults

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900)]
IN_FLIGHT = 4  # [teacher] concurrency of the installation
ONCE = [*HEADS, "auto_ground_truth", "teacher_report", "deployed_heads", "student_report", "published_warehouse", "drift_report"]


# -- the story, told once ----------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Unattended]:
    """A settled installation, and the daemon just started on it."""
    with unattended(settle(tmp_path_factory.mktemp("unattended") / "installation")) as place:
        yield place


@dataclass(frozen=True)
class Changed:
    """Another model in vibe.toml, under the running daemon, and SIGKILL for the first run that annotates."""

    before: str  # fingerprint of the teacher
    now: str
    killed: dg.DagsterRun
    kept: int  # answers of the new teacher that were in its journal when the process was dead
    asked: int  # answers that the teacher gave, from the change to the end
    made: Counter[str]
    runs: list[dg.DagsterRun]


@pytest.fixture(scope="module")
def changed(place: Unattended) -> Changed:
    """Wait until the daemon found nothing to do, change the teacher, kill, and wait until nothing more is wanted."""
    place.until_idle(ticks=1)
    assert not place.runs(), "the daemon launched something although nothing had moved"
    world, mark = place.world, place.mark()
    before, world.replay.faults, asked = fingerprint(place), ReplayFaults(latency_s=1.0), world.replay.counts()["answered"]
    world.setting("teacher-1", "teacher-2")
    now = fingerprint(place)
    place.wait(lambda: len(journalled(world.folder, now)) >= 8, what="the first answers")
    killed, *_ = [run for run in place.runs(dg.DagsterRunStatus.STARTED) if dg.AssetKey("annotations") in (run.asset_selection or ())]
    os.kill(worker(place, killed), signal.SIGKILL)
    kept, world.replay.faults = len(journalled(world.folder, now)), ReplayFaults()
    place.wait(lambda: any(run.parent_run_id == killed.run_id for run in place.runs()), what="the run to be tried again")
    place.until_made("drift_report", since=mark)
    place.until_idle()
    return Changed(before, now, killed, kept, world.replay.counts()["answered"] - asked, place.made_since(mark), place.runs())


def fingerprint(place: Unattended) -> str:
    return teacher_fingerprint(place.world.platform.settings.teacher)


def worker(place: Unattended, run: dg.DagsterRun) -> int:
    """Process id of a run, as the run itself reported it; it must belong to our daemon."""
    messages = [entry.dagster_event.message or "" for entry in place.instance.all_logs(run.run_id) if entry.dagster_event]
    pid = next(int(found[1]) for message in messages if (found := re.search(r"Started process for run \(pid: (\d+)\)", message)))
    assert pid in place.daemon.family()
    return pid


@dataclass(frozen=True)
class Audited:
    """Ten photos judged in a browser while the daemon runs, and Done."""

    judged: list[str]  # image_ids, in order
    made: Counter[str]
    heads: Counter[str]  # kind -> heads trained


@pytest.fixture(scope="module")
def audited(place: Unattended, changed: Changed) -> Audited:
    """Sit down at the audit page, judge ten photos by keyboard, press Done, and wait until nothing more is wanted."""
    if missing := why_not():
        pytest.skip(missing)
    mark, before = place.mark(), Counter(card.kind for card in place.heads())
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with (
        running([*VIBE, "audit", "--port", str(port)], place.world.folder / "audit.log") as server,
        chromium(width=1300, height=850) as browser,
    ):
        until(lambda: "the audit page is at" in server.said, seconds=120, what="the audit page", process=server)
        ann = Person(browser, f"http://127.0.0.1:{port}", "ann")
        ann.sit_down()
        judged = [ann.judge() for _ in range(10)]
        ann.saved()
        browser.find_element("id", "done").click()
        place.wait(lambda: place.made("student_report", since=mark) > 0, what="the students' report on the new audit")
    place.until_idle()
    return Audited(judged, place.made_since(mark), Counter(card.kind for card in place.heads()) - before)


# -- what is true of it ------------------------------------------------------------------------------------------------
def test_a_killed_run_is_marked_as_failed_and_tried_again(place: Unattended, changed: Changed) -> None:
    again = [run for run in changed.runs if run.parent_run_id == changed.killed.run_id]
    assert place.instance.get_run_by_id(changed.killed.run_id).status == dg.DagsterRunStatus.FAILURE  # type: ignore[union-attr]
    assert [run.status for run in again] == [dg.DagsterRunStatus.SUCCESS]
    assert again[0].tags["dagster/partition"] == changed.killed.tags["dagster/partition"]


def test_answers_that_were_journalled_before_a_kill_are_not_asked_for_again(place: Unattended, changed: Changed) -> None:
    photos = accepted_photos(place.world.platform).height
    assert 8 <= changed.kept < photos
    on_the_way = 2 * IN_FLIGHT  # requests in flight, and answers that had arrived and were not on disk yet: lost, and nothing else
    assert photos <= changed.asked <= photos + on_the_way
    assert set(Counter(journalled(place.world.folder, changed.now)).values()) == {1}


def test_one_folder_at_a_time_asks_the_teacher(place: Unattended, changed: Changed) -> None:
    asking = [run.run_id for run in changed.runs if run.run_op_concurrency and "vlm" in (run.run_op_concurrency.all_pools or ())]
    records = sorted(
        (record for record in place.instance.get_run_records() if record.dagster_run.run_id in asking), key=lambda r: r.start_time or 0.0
    )
    assert len(records) == SHELVES + 1
    for earlier, later in itertools.pairwise(records):
        assert earlier.end_time is not None
        assert later.start_time is not None
        assert earlier.end_time <= later.start_time, "two runs of the pool overlap"


def test_a_new_teacher_reannotates_every_folder_and_everything_after_it_is_made_exactly_once(changed: Changed) -> None:
    assert changed.now != changed.before
    assert dict(changed.made) == {"annotations": SHELVES, "predictions": SHELVES, **dict.fromkeys(ONCE, 1)}
    assert {run.status for run in changed.runs if run.run_id != changed.killed.run_id} == {dg.DagsterRunStatus.SUCCESS}


def test_labels_answers_and_predictions_are_the_new_teachers_alone(place: Unattended, changed: Changed) -> None:
    lake = place.world.platform.lake
    assert set(lake.read_live(ANNOTATIONS)["teacher"]) == {changed.now}
    assert set(lake.read(AUTO_GROUND_TRUTH)["teacher"]) == {changed.now}
    assert set(lake.read_live(PREDICTIONS)["image_id"]) == set(accepted_photos(place.world.platform)["image_id"])


def test_no_head_was_ever_trained_on_the_labels_of_two_teachers(place: Unattended, changed: Changed) -> None:
    cards = place.heads()
    assert Counter(card.teacher for card in cards) == {changed.before: len(HEADS), changed.now: len(HEADS)}
    for card in cards:
        learnt = place.world.platform.lake.read(AUTO_GROUND_TRUTH, version=card.data_versions["auto_ground_truth"])
        assert set(learnt["teacher"]) == {card.teacher}


def test_verdicts_of_the_page_lead_to_one_report_and_new_heads_and_ask_the_teacher_nothing(place: Unattended, audited: Audited) -> None:
    said = place.world.platform.lake.read(AUDITED_GROUND_TRUTH).filter(annotator="ann")
    assert set(said["image_id"]) == set(audited.judged)
    once = ["audited_ground_truth", *(name for name in ONCE if name != "auto_ground_truth")]
    assert dict(audited.made) == {"predictions": SHELVES, **dict.fromkeys(once, 1)}
    assert audited.heads == dict.fromkeys(("scene", "attribute", "object"), 1)


def test_nothing_is_launched_once_all_is_done(place: Unattended, changed: Changed) -> None:
    runs = [run.run_id for run in place.runs()]
    place.until_idle(ticks=5)
    assert [run.run_id for run in place.runs()] == runs
    assert all(len(place.ticks(sensor, after=0.0)) >= 3 for sensor in ("folder_sensor", "source_sensor"))


# -- other events, under the same daemon, after the story ----------------------------------------------------------------
def test_photos_that_were_only_touched_are_scanned_once_and_wake_nobody(place: Unattended, changed: Changed) -> None:
    place.until_idle(ticks=1)
    mark = place.mark()
    for photo in (place.world.folder / "shelves").rglob("*.*"):
        photo.touch()
    place.wait(lambda: place.made("raw_photos", since=mark) == SHELVES, what="a scan of every folder")
    place.until_idle()
    assert dict(place.made_since(mark)) == {"raw_photos": SHELVES}


def test_what_is_run_by_hand_is_not_run_once_more(place: Unattended, changed: Changed) -> None:
    """As the UI does it: the job of one folder, launched while nothing else moves."""
    place.until_idle(ticks=1)
    mark, names = place.mark(), ("raw_photos", "annotations", "image_embeddings")
    for key in place.world.folders():
        assert place.world.driver.run([dg.AssetKey(name) for name in names], key)
    place.until_idle()
    assert dict(place.made_since(mark)) == dict.fromkeys(names, SHELVES)


def test_an_added_photo_is_answered_once_and_everything_after_it_is_made_once(place: Unattended, changed: Changed) -> None:
    place.until_idle(ticks=1)
    mark, asked = place.mark(), place.world.replay.counts()["answered"]
    photo = next(iter(sorted((place.world.folder / "shelves" / "shelf 0").iterdir())))
    photo.with_name("another.jpg").write_bytes(photo.read_bytes() + b"\0")
    place.until_made("drift_report", since=mark)
    place.until_idle()
    once = ["raw_photos", "annotations", "image_embeddings", "photo_groups", *ONCE]
    assert dict(place.made_since(mark)) == {"predictions": SHELVES, **dict.fromkeys(once, 1)}
    assert place.world.replay.counts()["answered"] == asked + 1
