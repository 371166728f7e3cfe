"""Every server of ours, whatever it answers: no frame, no guessed type, nothing kept by a proxy; and on loopback unless told."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from click.testing import CliRunner
from starlette.applications import Starlette
from starlette.requests import Request as Asked
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.testclient import TestClient

from vibe_assets.cli import main
from vibe_assets.operate.ui import guarded_app, serve
from vibe_assets.stages.audit import serve_audit
from vibe_assets.teacher.replay import running_replay
from vibe_assets.triage.desk import TriageDesk
from vibe_assets.triage.review import review_app
from vibe_assets.web.headers import DEFAULTS
from vibe_assets.web.serve import ServeError, ensure_free, served_addresses
from vibe_assets.web.serve import answered_hosts as ui_hosts

HOST = "127.0.0.1:3000"


@pytest.fixture
def ui(tmp_path: Path) -> TestClient:
    """An application as careless as a page can be, served as the Dagster UI is."""
    (tmp_path / "index.html").write_text("reports", encoding="utf-8")
    (tmp_path / "app.js").write_text("1", encoding="utf-8")

    async def page(request: Asked) -> Response:
        return PlainTextResponse("page")

    async def strict(request: Asked) -> Response:
        return PlainTextResponse("strict", headers={"Content-Security-Policy": "script-src 'self'", "Referrer-Policy": "origin"})

    routes = [Route("/page", page), Route("/strict", strict), Mount("/files", StaticFiles(directory=tmp_path))]
    return TestClient(guarded_app(Starlette(routes=routes), tmp_path, {HOST}), base_url=f"http://{HOST}")


@pytest.mark.parametrize(
    ("path", "headers"),
    [("/page", {}), ("/strict", {}), ("/absent", {}), ("/files/app.js", {}), ("/reports/", {}), ("/reports/absent.html", {}),
     ("/page", {"host": "evil.example"}), ("/page", {"origin": "https://evil.example"}), ("/graphql?query={version}", {})],
)  # fmt: skip
def test_no_answer_may_be_framed_guessed_at_or_read_by_another_site(ui: TestClient, path: str, headers: dict[str, str]) -> None:
    said = ui.get(path, headers=headers).headers
    assert "frame-ancestors 'none'" in said["content-security-policy"]
    for name in DEFAULTS.keys() - {"referrer-policy"}:
        assert said[name] == DEFAULTS[name]
    assert len(said.get_list("x-content-type-options")) == 1


def test_what_a_page_says_itself_stands_and_is_made_stricter(ui: TestClient) -> None:
    said = ui.get("/strict").headers
    assert said["referrer-policy"] == "origin"
    assert said.get_list("content-security-policy") == ["script-src 'self'", "frame-ancestors 'none'"]


def test_no_proxy_keeps_pages_and_reports_and_the_browser_keeps_scripts(ui: TestClient) -> None:
    assert ui.get("/page").headers["cache-control"] == "no-store"
    assert ui.get("/reports/").headers["cache-control"] == "private, no-cache"
    assert "cache-control" not in ui.get("/files/app.js").headers


@pytest.mark.parametrize("name", ["origin", "sec-fetch-site", "authorization", "content-type"])
def test_a_header_that_is_there_twice_is_refused(ui: TestClient, name: str) -> None:
    twice = [("host", HOST), (name, f"http://{HOST}" if name == "origin" else "none"), (name, "https://evil.example")]
    answer = ui.get("/page", headers=twice)
    assert answer.status_code == 403


# -- addresses -------------------------------------------------------------------------------------------------------------
def test_every_server_listens_on_this_machine_alone_unless_told_otherwise() -> None:
    for start in (serve, running_replay):
        assert inspect.signature(start).parameters["host"].default == "127.0.0.1"
    for command in ("ui", "audit"):
        (option,) = [parameter for parameter in main.commands[command].params if parameter.name == "host"]
        assert option.default == "127.0.0.1"


def test_every_address_of_a_machine_needs_the_name_of_the_proxy_in_front() -> None:
    with pytest.raises(ServeError, match="--served-as"):
        ui_hosts("0.0.0.0", 3000)
    assert ui_hosts("0.0.0.0", 3000, ["photos.example.org"]) == {"127.0.0.1:3000", "localhost:3000", "photos.example.org"}
    assert ui_hosts("127.0.0.1", 3000) == {"127.0.0.1:3000", "localhost:3000"}


def test_a_command_for_every_address_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "vibe.toml").write_text("", encoding="utf-8")
    monkeypatch.setenv("VIBE_CONFIG", str(tmp_path / "vibe.toml"))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    said = CliRunner().invoke(main, ["ui", "--host", "0.0.0.0", "--no-daemon"])
    assert said.exit_code != 0
    assert "--served-as" in said.output


@pytest.mark.parametrize("name", ["https://photos.example.org", "photos.example.org/", "a b", "photos.example.org:port", ""])
def test_a_name_to_be_served_as_is_a_host_and_a_port(name: str) -> None:
    with pytest.raises(ServeError, match="give HOST or HOST:PORT"):
        ui_hosts("127.0.0.1", 3000, [name])


def test_the_addresses_that_people_type_have_the_token_and_a_likely_scheme() -> None:
    names = ["photos.example.org", "10.0.0.2:8080", "photos.example.org:443"]
    assert served_addresses("::1", 3001) == ["http://[::1]:3001/"]
    assert served_addresses("0.0.0.0", 3001, names, token="t") == [
        "http://127.0.0.1:3001/?token=t", "https://photos.example.org/?token=t", "http://10.0.0.2:8080/?token=t",
        "https://photos.example.org:443/?token=t",
    ]  # fmt: skip


@pytest.mark.parametrize("host", ["no such host", "a" * 70 + ".example", "300.1.1.1"])
def test_a_host_that_is_none_is_worded(host: str) -> None:
    with pytest.raises(ServeError, match="choose another with --port"):
        ensure_free(host, 0)


def test_port_zero_takes_a_free_one() -> None:
    assert 1024 <= ensure_free("127.0.0.1", 0) <= 65535


def test_the_audit_page_is_served_under_a_name_and_not_on_every_address() -> None:
    with pytest.raises(ServeError, match="needs --served-as"):
        serve_audit(None, host="0.0.0.0", port=3001, announce=print)  # type: ignore[arg-type]


# -- the page of series -----------------------------------------------------------------------------------------------------
class NoLog:
    """A log without a line."""

    def standing(self) -> dict[Any, Any]:
        return {}


class NoPictures:
    """Every photo lies on a disk that is full."""

    def jpeg(self, image_id: str, path: bytes) -> bytes:
        raise OSError(28, "No space left on device", "/secret/folder/cache.jpg")


@pytest.fixture
def review() -> TestClient:
    desk = TriageDesk([], {"a" * 32: b"/photos/a.jpg"}, NoLog())  # type: ignore[arg-type]
    return TestClient(review_app(desk, NoPictures(), hosts={HOST}), base_url=f"http://{HOST}")  # type: ignore[arg-type]


@pytest.mark.parametrize("body", [b"[" * 16_000, b"{", b"\xff", b"[]", b"{" + b" " * 20_000 + b"}", b'{"winners": 1}', b"null"])
@pytest.mark.parametrize("path", ["/choose", "/undo"])
def test_a_body_that_makes_no_sense_is_refused_by_the_page_of_series(review: TestClient, path: str, body: bytes) -> None:
    answer = review.post(path, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert "error" in answer.json()


def test_the_page_of_series_is_locked_like_the_audit_page(review: TestClient) -> None:
    for answer in (review.get("/"), review.get("/state?reviewer=ann"), review.get("/absent"), review.get("/", headers={"host": "evil"})):
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-frame-options"] == "DENY"
    for path in ("/photo/..%2f..%2fetc%2fpasswd", "/photo/" + "b" * 32, "/static/../review.py", "/static/%2e%2e/review.py"):
        assert review.get(path).status_code == 404


def test_a_full_disk_is_told_without_a_path(review: TestClient) -> None:
    answer = review.get(f"/photo/{'a' * 32}")
    assert (answer.status_code, "secret" in answer.text) == (503, False)


# -- the replay teacher -------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def replay() -> Iterator[str]:
    with running_replay(lambda image, payload: None) as address:
        yield address


def asked(address: str, body: Any = None, **headers: str) -> int:
    data = None if body is None else json.dumps(body).encode()
    request = Request(
        address, data, {"content-type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
    )
    try:
        with urlopen(request, timeout=30) as answer:
            return int(answer.status)
    except HTTPError as error:
        with error:
            return error.code


def test_the_replay_teacher_answers_programs_and_no_page_of_another_site(replay: str) -> None:
    assert replay.startswith("http://127.0.0.1:")
    assert asked(f"{replay}/models") == 200
    for headers in ({"host": "evil.example"}, {"origin": "https://evil.example"}, {"sec_fetch_site": "cross-site"}):
        assert asked(f"{replay}/models", **headers) == 403
        assert asked(f"{replay}/chat/completions", {"messages": []}, **headers) == 403


MESSAGES = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,AAAA"}}]}]
NO_BASE64 = [{"content": [{"image_url": {"url": "data:image/;base64,%"}}]}]
HOSTILE: list[Any] = [
    [], {}, {"messages": 1}, {"messages": [1]}, {"messages": [{"content": [{"image_url": []}]}]}, {"messages": NO_BASE64},
    {"messages": MESSAGES, "response_format": "json"}, {"messages": MESSAGES, "response_format": [1]}, {"messages": MESSAGES, "model": {}},
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_no_request_breaks_the_replay_teacher(replay: str, number: int) -> None:
    assert asked(f"{replay}/chat/completions", HOSTILE[number]) in (400, 404)
