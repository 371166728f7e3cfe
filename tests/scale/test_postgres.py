"""The instance on Postgres: code server, daemon and pages as processes, run workers side by side, and a daemon that is killed."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import dagster as dg
import pytest
import yaml

from tests.defs.world import SETTINGS, World, opened
from tests.e2e.processes import VIBE, Process, running, until
from tests.scale.postgres import Server, free_port, postgres, why_no_postgres
from vibe_assets.demo.render import render_library
from vibe_assets.records import ANNOTATIONS, RAW_PHOTOS
from vibe_assets.teacher.replay import ReplayFaults

pytestmark = [
    pytest.mark.scale,
    pytest.mark.timeout(600),
    pytest.mark.skipif(why_no_postgres() is not None, reason=str(why_no_postgres())),
]
REPOSITORY = Path(__file__).resolve().parents[2]
WORKSPACE = REPOSITORY / "deploy" / "workspace.yaml"
SHELVES, PHOTOS = 2, 16
DEFINITIONS = "vibe_assets.definitions"
QUIET_S = 240.0  # the longest wait for any one thing; a loaded machine is slow
LAUNCH = 'mutation { startSensor(sensorSelector: {repositoryName: "x", repositoryLocationName: "x", sensorName: "x"}) { __typename } }'


@dataclass
class Deployment:
    """One installation whose parts are processes, as deploy/docker-compose.yaml starts them."""

    world: World
    server: Server
    stack: ExitStack
    environment: Mapping[str, str]
    started: list[Process] = field(default_factory=list)

    @property
    def instance(self) -> dg.DagsterInstance:
        return self.world.instance

    def start(self, name: str, *command: str, **more: str) -> Process:
        log = self.world.folder / f"{name}-{len(self.started)}.log"
        process = self.stack.enter_context(running(command, log, environment={**self.environment, **more}, cwd=self.world.folder))
        self.started.append(process)
        return process

    def daemon(self) -> Process:
        return self.start("daemon", sys.executable, "-m", "dagster._daemon", "run", "-w", str(WORKSPACE))

    def runs(self, *statuses: dg.DagsterRunStatus) -> list[dg.RunRecord]:
        """Runs so far, oldest first."""
        found = self.instance.get_run_records(dg.RunsFilter(statuses=list(statuses) or None))
        return sorted(found, key=lambda record: record.create_timestamp)

    def worker(self, run_id: str) -> int | None:
        """Process id of a run, as the run itself reported it."""
        told = [entry.dagster_event.message or "" for entry in self.instance.all_logs(run_id) if entry.dagster_event]
        return next((int(found[1]) for text in told if (found := re.search(r"Started process for run \(pid: (\d+)\)", text))), None)

    def no_failure(self) -> None:
        """Fails with what a failed run said."""
        for record in self.runs(dg.DagsterRunStatus.FAILURE):
            said = [entry for entry in self.instance.all_logs(record.dagster_run.run_id) if entry.level >= 40]
            raise AssertionError("\n".join(entry.user_message or str(entry.dagster_event) for entry in said)[-3000:])

    def annotating(self) -> dg.RunRecord | None:
        """A run that asks the teacher right now."""
        self.no_failure()
        asking = (record for record in self.runs(dg.DagsterRunStatus.STARTED) if makes(record, "annotations"))
        return next((record for record in asking if self.worker(record.dagster_run.run_id)), None)

    def hold(self, held: dict[str, int]) -> bool:
        """Stop the workers of scans that have started, until one of every folder is held; run_id -> process id."""
        self.no_failure()
        for record in self.runs(dg.DagsterRunStatus.STARTED):
            run_id = record.dagster_run.run_id
            if run_id not in held and makes(record, "raw_photos") and (pid := self.worker(run_id)):
                os.kill(pid, signal.SIGSTOP)
                held[run_id] = pid
        return len(held) == SHELVES

    def settled(self) -> bool:
        """Every folder is scanned, answered and embedded, and nothing is on its way."""
        self.no_failure()
        records = self.runs()
        made = [(name, record) for record in records if record.dagster_run.is_success for name in ("annotations", "image_embeddings")
                if makes(record, name)]  # fmt: skip
        folders = {(name, record.dagster_run.tags["dagster/partition"]) for name, record in made}
        return len(folders) == 2 * SHELVES and all(record.dagster_run.is_finished for record in records)


def makes(record: dg.RunRecord, asset: str) -> bool:
    return dg.AssetKey(asset) in (record.dagster_run.asset_selection or ())


def install(folder: Path) -> Path:
    """A few photos on three shelves, and the Postgres settings that we ship, with the waiting times of a test."""
    library = render_library(folder, seed=3, photos=60)
    readable = [library.root / photo["rel_path"] for photo in library.truth][:PHOTOS]
    for number, photo in enumerate(readable):
        shelf = folder / "shelves" / f"shelf {number % SHELVES}"
        shelf.mkdir(parents=True, exist_ok=True)
        shutil.copy2(photo, shelf / f"{number:03d}{photo.suffix}")
    settings = SETTINGS.replace('root = "photos"', 'root = "shelves"').replace("sample_size = 80", "sample_size = 12")
    (folder / "vibe.toml").write_text(settings.replace('"teacher-1"', '"teacher-1"\nconcurrency = 2'), encoding="utf-8")
    (folder / "dagster_home").mkdir()
    instance = yaml.safe_load((REPOSITORY / "dagster_home" / "dagster.postgres.yaml").read_text(encoding="utf-8"))
    instance["run_queue"] = {"dequeue_interval_seconds": 1}
    (folder / "dagster_home" / "dagster.yaml").write_text(yaml.safe_dump(instance), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Postgres with tables, and a code location server that answers; no daemon yet."""
    folder = install(tmp_path_factory.mktemp("deployment") / "installation")
    code_port = free_port()
    with postgres() as server, pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        more = {**server.environment, "VIBE_CODE_HOST": "127.0.0.1", "VIBE_CODE_PORT": str(code_port), "VIBE_LOOK_EVERY_S": "3"}
        for name, value in more.items():
            patch.setenv(name, value)
        world = stack.enter_context(opened(folder))
        place = Deployment(world, server, stack, more)
        command = [sys.executable, "-m", "dagster", "code-server", "start", "-h", "127.0.0.1", "-p", str(code_port), "-m", DEFINITIONS]
        code = place.start("code", *command, "--location-name", "vibe_assets", "--use-python-environment-entry-point")
        until(lambda: healthy(code_port), seconds=QUIET_S, what="the code server", process=code)
        yield place


def healthy(port: int) -> bool:
    """What a container's health check asks."""
    from dagster._grpc.client import DagsterGrpcClient

    with contextlib.suppress(Exception):
        return DagsterGrpcClient(port=port, host="127.0.0.1").health_check_query() == "SERVING"
    return False


@dataclass(frozen=True)
class Told:
    """The story: folders appear, runs start, the daemon is killed while one of them works, and another daemon takes over."""

    together: dict[str, int]  # run_id -> process id of two folders' scans, held until both had started
    interrupted: str  # run_id of the run that went on without a daemon
    worker: int
    alive: bool  # its process outlived the daemon


@pytest.fixture(scope="module")
def told(deployment: Deployment) -> Told:
    world = deployment.world
    world.replay.faults = ReplayFaults(latency_s=1.0)
    daemon = deployment.daemon()
    together: dict[str, int] = {}
    try:
        until(lambda: deployment.hold(together), seconds=QUIET_S, what="scans of both folders", every=0.1, process=daemon)
    finally:
        for pid in together.values():
            os.kill(pid, signal.SIGCONT)
    record = until(deployment.annotating, seconds=QUIET_S, what="a run that asks the teacher", process=daemon)
    run_id = record.dagster_run.run_id
    worker = deployment.worker(run_id)
    assert worker is not None
    os.kill(daemon.popen.pid, signal.SIGKILL)
    daemon.ended()
    alive = not (deployment.instance.get_run_by_id(run_id) or record.dagster_run).is_finished and Path(f"/proc/{worker}").exists()
    world.replay.faults = ReplayFaults()
    again = deployment.daemon()
    until(deployment.settled, seconds=2 * QUIET_S, what="every folder answered and embedded", process=again, every=1.0)
    again.popen.kill()  # nothing more is wanted of it, and its ticks would go on
    return Told(together, run_id, worker, alive)


def test_what_the_sensors_saw_and_the_conditions_wanted_was_run_without_a_failure(deployment: Deployment, told: Told) -> None:
    assert len(deployment.instance.get_dynamic_partitions("photo_folders")) == SHELVES
    assert {record.dagster_run.status for record in deployment.runs()} == {dg.DagsterRunStatus.SUCCESS}
    assert {record.dagster_run.tags["launched_by"] for record in deployment.runs()} == {"automation"}
    lake = deployment.world.platform.lake
    assert lake.read(RAW_PHOTOS).height == lake.read_live(ANNOTATIONS).height == PHOTOS


def test_two_folders_runs_work_side_by_side_in_processes_of_their_own(deployment: Deployment, told: Told) -> None:
    records = deployment.runs()
    workers = {record.dagster_run.run_id: deployment.worker(record.dagster_run.run_id) for record in records}
    assert None not in workers.values()
    assert len(set(workers.values())) == len(records)
    one, other = (record for record in records if record.dagster_run.run_id in told.together)
    assert told.together == {run_id: workers[run_id] for run_id in told.together}
    assert one.dagster_run.tags["dagster/partition"] != other.dagster_run.tags["dagster/partition"]
    assert min(one.end_time or 0, other.end_time or 0) > max(one.start_time or 0, other.start_time or 0)


def test_a_run_outlives_the_daemon_that_was_killed_and_the_next_daemon_goes_on(deployment: Deployment, told: Told) -> None:
    assert told.alive, "the run was over before the daemon was dead: nothing was shown"
    run = deployment.instance.get_run_by_id(told.interrupted)
    assert run is not None
    assert (run.status, run.parent_run_id) == (dg.DagsterRunStatus.SUCCESS, None)
    later = [record for record in deployment.runs() if makes(record, "annotations") and record.dagster_run.run_id != told.interrupted]
    assert len(later) == SHELVES - 1
    asked = deployment.world.replay.counts()["answered"]
    assert asked == PHOTOS, "a photo was asked for twice, or never"


def test_events_are_in_postgres_and_nowhere_else(deployment: Deployment, told: Told) -> None:
    tables = {str(name) for (name,) in deployment.server.ask("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")}
    assert {"event_logs", "runs", "job_ticks", "asset_keys", "alembic_version"} <= tables
    kinds = "SELECT dagster_event_type, count(*) FROM event_logs WHERE run_id = %s GROUP BY 1"
    counts = dict(deployment.server.ask(kinds, told.interrupted))
    assert (counts["PIPELINE_START"], counts["PIPELINE_SUCCESS"]) == (1, 1)
    assert counts["ASSET_MATERIALIZATION"] >= 1
    assert list(deployment.world.folder.rglob("*.db")) == []
    for process in deployment.started:
        assert "database is locked" not in process.said


def test_the_password_is_in_no_log_and_in_no_file_of_the_instance(deployment: Deployment, told: Told) -> None:
    secret = deployment.server.environment["DAGSTER_PG_PASSWORD"]
    texts = [process.said for process in deployment.started]
    texts += [
        path.read_text(encoding="utf-8", errors="replace")
        for path in (deployment.world.folder / "dagster_home").rglob("*")
        if path.is_file()
    ]
    rows = deployment.server.ask("SELECT run_body FROM runs") + deployment.server.ask("SELECT event FROM event_logs")
    texts += [str(text) for (text,) in rows]
    assert not [text for text in texts if secret in text or json.dumps(secret)[1:-1] in text]


# -- pages ---------------------------------------------------------------------------------------------------------------
def asked(port: int, query: str, *, get: bool = False) -> tuple[int, Any]:
    """Status and JSON of a GraphQL answer."""
    from urllib.parse import quote

    address = f"http://127.0.0.1:{port}/graphql"
    request = Request(f"{address}?query={quote(query)}") if get else Request(address, json.dumps({"query": query}).encode())
    request.add_header("content-type", "application/json")
    try:
        with urlopen(request, timeout=60) as response:
            return response.status, json.loads(response.read())
    except HTTPError as error:
        with error:
            text = error.read().decode()
        return error.code, json.loads(text) if text.startswith("{") else text


def up(port: int) -> bool:
    try:
        return asked(port, "{ version }")[0] == 200
    except OSError:
        return False


def refused_as_read_only(answer: Any) -> bool:
    return answer["data"]["startSensor"]["__typename"] == "UnauthorizedError"


@pytest.fixture(scope="module")
def read_only(deployment: Deployment, told: Told) -> int:
    """Dagster's own webserver, read-only; its port."""
    port = free_port()
    command = [sys.executable, "-m", "dagster_webserver", "-h", "127.0.0.1", "-p", str(port), "-w", str(WORKSPACE), "--read-only"]
    process = deployment.start("webserver", *command)
    until(lambda: up(port), seconds=QUIET_S, what="the read-only webserver", process=process)
    return port


def test_the_read_only_webserver_shows_runs_and_refuses_every_mutation(deployment: Deployment, read_only: int) -> None:
    status, answer = asked(read_only, "{ runsOrError { ... on Runs { results { runId } } } }")
    assert status == 200
    assert {run["runId"] for run in answer["data"]["runsOrError"]["results"]} == {r.dagster_run.run_id for r in deployment.runs()}
    schema = asked(read_only, "{ __schema { mutationType { fields { name } } } }")[1]
    assert len(schema["data"]["__schema"]["mutationType"]["fields"]) > 20
    assert refused_as_read_only(asked(read_only, LAUNCH)[1])


@pytest.fixture(scope="module")
def ui(deployment: Deployment, told: Told) -> int:
    """`vibe ui` with its daemon, on the code server of the deployment; its port."""
    deployment.no_failure()
    port = free_port()
    process = deployment.start("ui", *VIBE, "ui", "--port", str(port), "--read-only", "-w", str(WORKSPACE))
    until(lambda: up(port), seconds=QUIET_S, what="vibe ui", process=process)
    return port


def test_vibe_ui_shows_what_is_in_postgres_and_brings_a_daemon_that_beats_there(deployment: Deployment, ui: int) -> None:
    answer = asked(ui, "{ assetNodes { id } runsOrError { ... on Runs { results { runId } } } }")[1]["data"]
    assert {run["runId"] for run in answer["runsOrError"]["results"]} >= {record.dagster_run.run_id for record in deployment.runs()[:3]}
    assert len(answer["assetNodes"]) > 20
    assert refused_as_read_only(asked(ui, LAUNCH)[1])
    assert asked(ui, "{ version }", get=True) == (403, "refused: GraphQL by GET\n")
    process = deployment.started[-1]
    assert len(process.family()) >= 2
    assert not [command for command in commands(process) if "api grpc" in command], "it started a code server of its own"
    beats = "SELECT count(*) FROM daemon_heartbeats WHERE timestamp > now() at time zone 'utc' - interval '60 seconds'"
    until(lambda: deployment.server.ask(beats)[0][0], seconds=QUIET_S, what="a heartbeat of its daemon", process=process)


def commands(process: Process) -> list[str]:
    """Command lines of a process and of what it started."""
    return [Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode() for pid in process.family()]
