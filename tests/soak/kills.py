"""Kills at random moments of a real lineage, each kind of process in turn; then nobody lifts a hand, and the library must come home whole.

    python tests/soak/kills.py --kills 200 --folders 30 --minutes 60

`vibe ui` runs as a service would run it: whoever is gone is started again. A lineage that has come home is followed by the next one, for
another teacher. Ends with status 1 when a lineage does not come home, an answer is kept twice, or more was paid for than was in flight.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.defs.world import World, build, opened
from tests.e2e.processes import VIBE, Process, running
from tests.e2e.test_comes_home import QUICK, is_whole, victims
from tests.e2e.unattended import hurried, journalled
from vibe_assets.defs.history import graph_of
from vibe_assets.defs.plan import State, plan
from vibe_assets.stages.library import accepted_photos
from vibe_assets.stages.truth import sample_file
from vibe_assets.teacher.annotate import teacher_fingerprint
from vibe_assets.teacher.replay import ReplayFaults

KINDS = ("run", "launcher", "run", "code server", "run", "daemon", "run", "ui")  # after a run's end the next is at work at once
IN_FLIGHT = 4  # [teacher] concurrency
PATIENCE_S = 60.0  # until a run is at work, and a process of the next kind is there
SILENCE_S = 400.0  # without an event on the way home: it is stuck


def install(folder: Path, folders: int) -> None:
    """The rendered photos, a few in each of many folders."""
    build(folder)
    photos = [path for path in sorted((folder / "photos").rglob("*")) if path.is_file()]
    for number, photo in enumerate(photos):
        shelf = folder / "shelves" / f"shelf {number % folders:02d}"
        shelf.mkdir(parents=True, exist_ok=True)
        shutil.copy2(photo, shelf / f"{number:03d}{photo.suffix}")
    settings = folder / "vibe.toml"
    text = settings.read_text(encoding="utf-8").replace('root = "photos"', 'root = "shelves"')
    settings.write_text(text.replace('model = "teacher-1"', f'model = "teacher-1"\nconcurrency = {IN_FLIGHT}'), encoding="utf-8")
    hurried(folder / "dagster_home")


@dataclass
class Service:
    """`vibe ui`, started again whenever it is gone."""

    world: World
    port: int
    starts: int = 0
    process: Process | None = None
    _stop: list[object] = field(default_factory=list)

    def keep(self) -> Process:
        """The living process; a new one where the last has ended."""
        if self.process is None or self.process.popen.poll() is not None:
            self.end()
            context = running([*VIBE, "ui", "--port", str(self.port)], self.world.folder / f"ui-{self.starts}.log", environment=QUICK)
            self.process = context.__enter__()
            self._stop = [context]
            self.starts += 1
        return self.process

    def end(self) -> None:
        for context in self._stop:
            context.__exit__(None, None, None)  # type: ignore[attr-defined]
        self._stop = []


@contextmanager
def served(world: World) -> Iterator[Service]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    service = Service(world, port)
    try:
        yield service
    finally:
        service.end()


def kill_one(service: Service, kind: str) -> int:
    """SIGKILL for a process of the kind, some moment after a run began its work; how many were killed."""
    began = time.monotonic()
    while not (of_kind(service, "run") and of_kind(service, kind)) and time.monotonic() - began < PATIENCE_S:
        time.sleep(0.2)
    time.sleep(random.uniform(0, 3))
    if not (found := of_kind(service, kind)):
        return 0
    with suppress(ProcessLookupError):
        os.kill(random.choice(found), signal.SIGKILL)
        return 1
    return 0


def of_kind(service: Service, kind: str) -> list[int]:
    process = service.keep()
    return [process.popen.pid] if kind == "ui" else victims(process, kind)


def at_home(world: World) -> bool:
    """Whole, and nothing is wanted, runs or waits for another try."""
    from vibe_assets.definitions import defs
    from vibe_assets.defs.automation import JOBS
    from vibe_assets.defs.history import look

    if not is_whole(world):
        return False
    graph = graph_of(defs.resolve_asset_graph())
    return all(status.state in (State.UP_TO_DATE, State.WAITING) for status in plan(graph, look(world.instance, graph, JOBS)).values())


def lineage(world: World, service: Service, kills: int, deadline: float) -> dict[str, object]:
    """One teacher's lineage with kills in it, and the way home."""
    began, done, asked = time.monotonic(), Counter[str](), world.replay.counts()["answered"]
    world.replay.faults = ReplayFaults(latency_s=0.2)
    kind = 0
    while sum(done.values()) < kills and time.monotonic() < deadline and not (sum(done.values()) and at_home(world)):
        done[KINDS[kind % len(KINDS)]] += kill_one(service, KINDS[kind % len(KINDS)])
        kind += 1
        if not world.platform.settings.audited_file.exists() and sample_file(world.platform).exists():
            world.audit()
    last = time.monotonic()
    heard = (0, last)
    while not at_home(world):
        service.keep()
        newest = world.instance.event_log_storage.get_maximum_record_id() or 0
        heard = heard if newest == heard[0] else (newest, time.monotonic())
        if not world.platform.settings.audited_file.exists() and sample_file(world.platform).exists():
            world.audit()
        if time.monotonic() - heard[1] > SILENCE_S:
            break
        time.sleep(2)
    teacher = teacher_fingerprint(world.platform.settings.teacher)
    kept, photos = Counter(journalled(world.folder, teacher)), accepted_photos(world.platform).height
    paid = world.replay.counts()["answered"] - asked
    return {
        "kills": dict(done),
        "home": at_home(world),
        "home after s": round(time.monotonic() - last, 1),
        "s": round(time.monotonic() - began, 1),
        "photos": photos,
        "answers kept": len(kept),
        "kept twice": sum(count > 1 for count in kept.values()),
        "paid": paid,
        "allowed": photos + 2 * IN_FLIGHT * sum(done.values()),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--folders", type=int, default=30)
    parser.add_argument("--per-lineage", type=int, default=25)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    random.seed(options.seed)
    deadline, total, bad = time.monotonic() + 60 * options.minutes, 0, 0
    with tempfile.TemporaryDirectory(prefix="vibe-kills-") as home:
        folder = Path(home) / "installation"
        install(folder, options.folders)
        with opened(folder) as world, served(world) as service:
            number = 1
            while total < options.kills and time.monotonic() < deadline:
                found = lineage(world, service, min(options.per_lineage, options.kills - total), deadline)
                kills = found["kills"]
                assert isinstance(kills, dict)
                total += sum(kills.values())
                good = found["home"] and not found["kept twice"] and int(str(found["paid"])) <= int(str(found["allowed"]))
                bad += not good
                print(json.dumps({"lineage": number, "total kills": total, **found}), flush=True)
                world.setting(f'model = "teacher-{number}"', f'model = "teacher-{number + 1}"')
                number += 1
            logs = [log.read_text(encoding="utf-8", errors="replace") for log in sorted(folder.glob("ui-*.log"))]
    said = {what: sum(log.count(what) for log in logs) for what in ("\n", "database is locked", "Traceback")}
    print(json.dumps({"kills": total, "lineages": number - 1, "not whole": bad, "printed": said}))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
