"""`vibe ui` as a process: pages and GraphQL for its own pages, a closed door for everyone else's, and no process left behind."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

import dagster as dg
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin, Subprotocol

from tests.e2e.browser import chromium, text_of, wait_for, why_not
from tests.e2e.processes import VIBE, Process, running, until
from vibe_assets.definitions import defs
from vibe_assets.defs.history import graph_of

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
REPOSITORY = Path(__file__).resolve().parents[2]
ASSETS = {key.to_user_string() for key in defs.resolve_asset_graph().get_all_asset_keys()}
SPINE = [
    dg.AssetKey(name) for name in graph_of(defs.resolve_asset_graph()).inputs
]  # what is rebuilt unattended; the studies run when asked
EVIL = "https://evil.example"
LAUNCH = "mutation { launchRun(executionParams: {selector: {}}) { __typename } }"
EVERYTHING = """{
  assetNodes { assetKey { path } }
  repositoriesOrError { ... on RepositoryConnection { nodes {
    sensors { name sensorState { status } }
    schedules { name scheduleState { status } }
  } } }
}"""


LAST_TICKS = """{
  repositoriesOrError { ... on RepositoryConnection { nodes { sensors { name sensorState { ticks(limit: 1) { status skipReason } } } } } }
}"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A settings file, no photos, and a Dagster home of its own."""
    folder = tmp_path_factory.mktemp("ui")
    (folder / "photos").mkdir()
    (folder / "vibe.toml").write_text('[library]\nroot = "photos"\n', encoding="utf-8")
    (folder / "dagster_home").mkdir()
    shutil.copy(REPOSITORY / "dagster_home" / "dagster.yaml", folder / "dagster_home")
    return folder


@contextmanager
def served(installation: Path, *options: str) -> Iterator[tuple[Process, int]]:
    port = free_port()
    environment = {"VIBE_CONFIG": str(installation / "vibe.toml"), "DAGSTER_HOME": str(installation / "dagster_home")}
    with running([*VIBE, "ui", "--port", str(port), *options], installation / f"ui-{port}.log", environment=environment) as process:
        until(lambda: answers(port), seconds=120, what="the UI to answer", process=process)
        yield process, port


def answers(port: int) -> bool:
    try:
        return fetch(port, "/server_info")[0] == 200
    except OSError:
        return False


def fetch(port: int, path: str, body: Any = None, **headers: str) -> tuple[int, str]:
    """Status and text; a body makes it a POST of JSON. Header names are written with underscores."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    data = None if body is None else json.dumps(body).encode()
    request = Request(f"http://127.0.0.1:{port}{path}", data, {"content-type": "application/json", **named})
    try:
        with urlopen(request, timeout=60) as response:
            return response.status, response.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()


def ask(port: int, query: str, **headers: str) -> Any:
    """Data of a GraphQL answer."""
    status, text = fetch(port, "/graphql", {"query": query}, **headers)
    assert status == 200, text
    return json.loads(text)["data"]


@pytest.fixture(scope="module")
def port(installation: Path) -> Iterator[int]:
    """The pages alone."""
    with served(installation, "--no-daemon") as (_, port):
        yield port


def test_pages_load(port: int) -> None:
    for path in ("/", "/asset-groups", "/assets/student_report", "/automation"):
        status, page = fetch(port, path)
        assert status == 200
        assert "<!DOCTYPE html>" in page or "<!doctype html>" in page
    script = re.search(r'src="([^"]+\.js)"', fetch(port, "/")[1])
    assert script
    assert fetch(port, script[1])[0] == 200


def test_own_pages_list_every_asset_sensor_and_schedule_and_all_of_them_run(port: int) -> None:
    data = ask(port, EVERYTHING, origin=f"http://127.0.0.1:{port}", sec_fetch_site="same-origin")
    assert {"/".join(node["assetKey"]["path"]) for node in data["assetNodes"]} == ASSETS
    (repository,) = data["repositoriesOrError"]["nodes"]
    running = {"folder_sensor": "RUNNING", "source_sensor": "RUNNING", "automation": "RUNNING"}
    assert {sensor["name"]: sensor["sensorState"]["status"] for sensor in repository["sensors"]} == running
    scheduled = {"nightly_refresh": "RUNNING", "weekly_retrain": "RUNNING"}
    assert {schedule["name"]: schedule["scheduleState"]["status"] for schedule in repository["schedules"]} == scheduled


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({"host": "evil.example"}, "unknown Host"),
        ({"origin": EVIL}, "foreign Origin"),
        ({"sec_fetch_site": "cross-site"}, "request from another site"),
        ({"sec_fetch_site": "same-site"}, "request from another site"),
    ],
)
def test_requests_of_other_sites_are_refused(port: int, headers: dict[str, str], reason: str) -> None:
    for body in (None, {"query": "{ version }"}, {"query": LAUNCH}):
        status, said = fetch(port, "/graphql", body, **headers)
        assert (status, said.splitlines()[0].partition(";")[0]) == (403, f"refused: {reason}")


@pytest.mark.browser
@pytest.mark.skipif(why_not() is not None, reason=str(why_not()))
def test_a_person_sees_every_asset_in_the_lineage_and_is_asked_for_nothing(port: int) -> None:
    graph = defs.resolve_asset_graph()
    groups = sorted({str(graph.get(key).group_name) for key in graph.get_all_asset_keys()})
    spine = sorted({str(graph.get(name).group_name) for name in SPINE})  # the studies stay closed: the graph must fit the window
    with chromium(width=2400, height=1900) as browser:
        browser.get(f"http://127.0.0.1:{port}/server_info")
        for name, value in (("asset-node-facets", "[]"), ("asset-graph-direction", '"vertical"')):  # else the graph is larger than a window
            browser.execute_script("localStorage.setItem(arguments[0], arguments[1])", name, value)
        browser.get(f"http://127.0.0.1:{port}/asset-groups?expanded={quote(','.join(f'global@global:{group}' for group in spine))}")
        wait_for(browser, *groups, *(key.to_user_string()[:7] for key in SPINE))  # long names are shortened on the page
        assert "Join the Dagster community" not in text_of(browser)


def test_graphql_in_an_address_is_refused(port: int) -> None:
    assert fetch(port, "/graphql?query=%7Bversion%7D") == (403, "refused: GraphQL by GET\n")


def test_the_same_query_would_have_been_answered_without_the_guards_reasons(port: int) -> None:
    status, text = fetch(port, "/graphql", {"query": "{ version }"})
    assert (status, set(json.loads(text)["data"])) == (200, {"version"})


def test_a_websocket_opens_for_own_pages_and_not_for_foreign_ones(port: int) -> None:
    address, protocol = f"ws://127.0.0.1:{port}/graphql", [Subprotocol("graphql-ws")]
    with connect(address, origin=Origin(f"http://127.0.0.1:{port}"), subprotocols=protocol) as own:
        own.send(json.dumps({"type": "connection_init"}))
        assert json.loads(own.recv(timeout=30))["type"] == "connection_ack"
    with pytest.raises(InvalidStatus) as refused:
        connect(address, origin=Origin(EVIL), subprotocols=protocol)
    assert refused.value.response.status_code == 403


def test_a_port_that_is_taken_is_one_line_that_says_what_to_do(installation: Path, port: int) -> None:
    environment = {**os.environ, "VIBE_CONFIG": str(installation / "vibe.toml"), "DAGSTER_HOME": str(installation / "dagster_home")}
    ended = subprocess.run([*VIBE, "ui", "--port", str(port)], env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert f"127.0.0.1:{port}" in line
    assert "--port" in line


def to_the_ui(process: Process, sent: signal.Signals) -> None:
    process.popen.send_signal(sent)


def to_the_terminal(process: Process, sent: signal.Signals) -> None:
    """Ctrl-C reaches every process of a terminal at once."""
    os.killpg(process.popen.pid, sent)


def test_dagster_dev_serves_the_same_and_without_settings_the_sensors_say_what_to_do(tmp_path: Path) -> None:
    """`dagster dev -w workspace.yaml` in a folder where no vibe.toml is found."""
    port = free_port()
    command = [sys.executable, "-m", "dagster", "dev", "-w", str(REPOSITORY / "workspace.yaml"), "-p", str(port)]
    (tmp_path / "dagster_home").mkdir()
    shutil.copy(REPOSITORY / "dagster_home" / "dagster.yaml", tmp_path / "dagster_home")
    environment = {"DAGSTER_HOME": str(tmp_path / "dagster_home"), "VIBE_CONFIG": "", "VIBE_LOOK_EVERY_S": "1"}

    def looked() -> dict[str, Any]:
        (repository,) = ask(port, LAST_TICKS)["repositoriesOrError"]["nodes"]
        found = {sensor["name"]: sensor["sensorState"]["ticks"] for sensor in repository["sensors"]}
        return found if found["folder_sensor"] and found["source_sensor"] else {}

    with running(command, tmp_path / "dev.log", environment=environment, cwd=tmp_path) as process:
        until(lambda: answers(port), seconds=120, what="dagster dev to answer", process=process)
        assert {"/".join(node["assetKey"]["path"]) for node in ask(port, EVERYTHING)["assetNodes"]} == ASSETS
        ticks = until(looked, seconds=60, what="a look of both sensors", process=process)
    for sensor in ("folder_sensor", "source_sensor"):
        (tick,) = ticks[sensor]
        assert tick["status"] == "SKIPPED"
        assert "vibe init" in tick["skipReason"]


def test_a_daemon_whose_parent_ends_while_it_starts_ends_too(installation: Path) -> None:
    start = f"'{sys.executable}' -m vibe_assets.operate.daemon run -m vibe_assets.definitions >/dev/null 2>&1 & echo $!; sleep 1"
    environment = {**os.environ, "VIBE_CONFIG": str(installation / "vibe.toml"), "DAGSTER_HOME": str(installation / "dagster_home")}
    shell = subprocess.run(["sh", "-c", start], env=environment, capture_output=True, text=True, check=True)
    daemon = Path("/proc") / shell.stdout.strip()
    until(lambda: not daemon.exists() or b"operate.daemon" not in (daemon / "cmdline").read_bytes(), seconds=120, what="its end")


@pytest.mark.parametrize(
    ("send", "sent"),
    [(to_the_terminal, signal.SIGINT), (to_the_ui, signal.SIGINT), (to_the_ui, signal.SIGTERM)],
    ids=["Ctrl-C", "SIGINT", "SIGTERM"],
)
def test_ending_the_ui_ends_the_daemon_and_every_process_of_both(
    installation: Path, send: Callable[[Process, signal.Signals], None], sent: signal.Signals
) -> None:
    with served(installation) as (process, _):
        until(lambda: len(process.family()) >= 4, seconds=60, what="UI, daemon, and a code server of each", process=process)
        send(process, sent)
        assert process.ended() == 0
        until(lambda: not process.family(), seconds=30, what=f"the end of {process.family()}")
        assert "KeyboardInterrupt" not in process.said  # what the daemon says of a tick that was cut short is its own
