"""A small installation of its own under the real daemon: built, watched through its event log, and never touched by a driver."""

from __future__ import annotations

import functools
import json
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import yaml
from dagster._core.scheduler.instigation import TickStatus

from tests.defs.world import World, build, opened
from tests.e2e.processes import Process, running, until
from vibe_assets.definitions import defs
from vibe_assets.heads.models import HeadCard
from vibe_assets.operate.ui import DAEMON

SHELVES = 2  # folders of the library; every folder costs some runs, and every run is a process
SILENCE_S = 240.0  # without any event; run monitoring speaks sooner, a run that was killed while it started after two minutes
MADE_HERE = defs.resolve_asset_graph().materializable_asset_keys


def settle(folder: Path) -> Path:
    """An installation after its first build, made in this process: what the daemon does to it later is what the tests are about."""
    install(folder)
    with opened(folder) as world:
        world.settle()
        world.audit()
        world.settle()
    return folder


def install(folder: Path) -> Path:
    """Render photos onto a few shelves; nothing is scanned, annotated or reported yet."""
    build(folder)
    shelves = [folder / "shelves" / f"shelf {number}" for number in range(SHELVES)]
    for shelf in shelves:
        shelf.mkdir(parents=True)
    for number, photo in enumerate(path for path in sorted((folder / "photos").rglob("*")) if path.is_file()):
        shutil.copy2(photo, shelves[number % SHELVES] / f"{number:03d}{photo.suffix}")
    settings = folder / "vibe.toml"
    text = settings.read_text(encoding="utf-8").replace('root = "photos"', 'root = "shelves"')
    settings.write_text(text.replace('model = "teacher-1"', 'model = "teacher-1"\nconcurrency = 4'), encoding="utf-8")
    hurried(folder / "dagster_home")
    return folder


def hurried(home: Path) -> None:
    """The instance settings that we ship, with the waiting times of a test."""
    file = home / "dagster.yaml"
    settings = yaml.safe_load(file.read_text(encoding="utf-8"))
    settings["run_monitoring"] |= {"poll_interval_seconds": 2, "start_timeout_seconds": 120}
    settings["run_queue"] = {"dequeue_interval_seconds": 1}
    file.write_text(yaml.safe_dump(settings), encoding="utf-8")


@dataclass
class Unattended:
    """The installation, and the daemon that works on it."""

    world: World
    daemon: Process
    history: frozenset[str]  # runs from before the daemon started

    @property
    def instance(self) -> dg.DagsterInstance:
        return self.world.instance

    def runs(self, *statuses: dg.DagsterRunStatus) -> list[dg.DagsterRun]:
        """Runs under the daemon, in the order they were asked for."""
        found = self.instance.get_runs(dg.RunsFilter(statuses=list(statuses) or None))
        return [run for run in reversed(found) if run.run_id not in self.history]

    def unfinished(self) -> list[dg.DagsterRun]:
        return [run for run in self.runs() if not run.is_finished]

    def mark(self) -> int:
        """The event log's end now."""
        return self.instance.event_log_storage.get_maximum_record_id() or 0

    def made_since(self, mark: int) -> Counter[str]:
        """Asset -> materialisations after the mark."""
        return +Counter({key.to_user_string(): self.made(key.to_user_string(), since=mark) for key in MADE_HERE})

    def made(self, asset: str, *, since: int) -> int:
        """How often one asset was materialised after the mark."""
        wanted = dg.AssetRecordsFilter(asset_key=dg.AssetKey(asset), after_storage_id=since)
        return len(self.instance.fetch_materializations(wanted, limit=1000).records)

    def until_made(self, asset: str, *, since: int) -> None:
        """Wait for an asset; a run that fails meanwhile ends the wait, unless it is one that was killed here before."""
        before = {run.run_id for run in self.runs(dg.DagsterRunStatus.FAILURE)}

        def look() -> bool:
            failed = [run for run in self.runs(dg.DagsterRunStatus.FAILURE) if run.run_id not in before]
            assert not failed, [self.story(run) for run in failed]
            return self.made(asset, since=since) > 0

        self.wait(look, what=f"{asset} to be made")

    def until_idle(self, *, ticks: int = 3) -> None:
        """Wait until nothing runs, and the conditions were then asked `ticks` times and wanted nothing."""

        def look() -> bool:
            ended = max((record.end_time or time.time() for record in self.instance.get_run_records()), default=0.0)
            asked = [tick for tick in self.ticks("automation", after=ended) if tick.status in (TickStatus.SKIPPED, TickStatus.SUCCESS)]
            return not self.unfinished() and len(asked) >= ticks

        self.wait(look, what="an idle installation")

    def wait(self, look: Callable[[], bool], *, what: str) -> None:
        """Wait as long as something happens: a loaded machine is slow, a stuck installation is silent."""
        while not look():
            until(functools.partial(self._moved, look, self.mark()), seconds=SILENCE_S, what=what, every=1.0, process=self.daemon)

    def _moved(self, look: Callable[[], bool], mark: int) -> bool:
        return look() or self.mark() > mark

    def ticks(self, sensor: str, *, after: float) -> list[dg.InstigatorTick]:  # type: ignore[name-defined]
        """Finished looks of a sensor that began after a moment."""
        for state in self.instance.all_instigator_state():
            if state.name == sensor:
                return list(self.instance.get_ticks(state.instigator_origin_id, state.selector_id, after=after))
        return []

    def story(self, run: dg.DagsterRun) -> str:
        """What went wrong in a run."""
        events = self.instance.all_logs(run.run_id)
        return "\n".join(entry.user_message or str(entry.dagster_event) for entry in events if entry.level >= 40)[-3000:]

    def heads(self) -> list[HeadCard]:
        """Cards of every head that was ever trained."""
        return [HeadCard.from_json(file.read_text(encoding="utf-8")) for file in self.world.platform.settings.heads_dir.glob("*/card.json")]


@contextmanager
def unattended(folder: Path) -> Iterator[Unattended]:
    """Start the daemon on an installation; end it with all its processes."""
    with opened(folder) as world:
        history = frozenset(run.run_id for run in world.instance.get_runs())
        with running(DAEMON, folder / "daemon.log", environment={"VIBE_LOOK_EVERY_S": "1"}) as daemon:
            yield Unattended(world, daemon, history)


def journalled(folder: Path, teacher: str) -> list[str]:
    """Photos whose answer is in the journal of a teacher."""
    found = []
    for file in (folder / "data" / "journal" / teacher).glob("*.jsonl"):
        for line in file.read_text(encoding="utf-8").splitlines():
            try:
                record = json.loads(line)
            except ValueError:
                continue  # the line that was being written
            if isinstance(record.get("annotation"), dict):
                found.append(record["image_id"])
    return found
