"""The reports folder is served read-only below /reports/, behind the guard, and nothing else of the machine is."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from vibe_assets.operate.ui import guarded_app
from vibe_assets.web.guard import Scope
from vibe_assets.web.pages import report_link

HOST = "127.0.0.1:3000"


@pytest.fixture
def reports(tmp_path: Path) -> Path:
    folder = tmp_path / "data" / "reports"
    (folder / "compare").mkdir(parents=True)
    (folder / "index.html").write_text("all reports", encoding="utf-8")
    (folder / "teacher_report.html").write_text("the teacher", encoding="utf-8")
    (folder / "compare" / "a@1-vs-b.html").write_text("a comparison", encoding="utf-8")
    (folder / ".teacher_report.html.1.tmp").write_text("half written", encoding="utf-8")
    (folder / "secret.key").write_text("a key", encoding="utf-8")
    (tmp_path / "data" / "settings.json").write_text("outside", encoding="utf-8")
    (folder / "link.html").symlink_to(tmp_path / "data" / "settings.json")
    return folder


@pytest.fixture
def app(reports: Path) -> Any:
    async def ui(request: Any) -> PlainTextResponse:
        return PlainTextResponse("the Dagster UI")

    return guarded_app(Starlette(routes=[Route("/{path:path}", ui)]), reports, {HOST})


@pytest.fixture
def client(app: Any) -> TestClient:
    return TestClient(app, base_url=f"http://{HOST}")


def fetched(app: Any, path: str, method: str = "GET") -> tuple[int, bytes]:
    """Status and body for a path sent as it is: a client would tidy it first."""
    sent: list[dict[str, Any]] = []
    headers = [(b"host", HOST.encode())]
    scope: Scope = {"type": "http", "method": method, "path": path, "root_path": "", "query_string": b"", "headers": headers}

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent)


@pytest.mark.parametrize(
    ("path", "text"),
    [("/reports/", "all reports"), ("/reports", "all reports"), ("/reports/teacher_report.html", "the teacher"),
     ("/reports/compare/a@1-vs-b.html", "a comparison"), ("/reports/compare/a%401-vs-b.html", "a comparison")],
)  # fmt: skip
def test_pages_are_served_and_may_run_and_load_nothing(client: TestClient, path: str, text: str) -> None:
    response = client.get(path)
    assert (response.status_code, response.text) == (200, text)
    policy = response.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:;")
    assert "script" not in policy
    assert response.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/", "/runs", "/reportsx", "/assets/teacher_report"])
def test_everything_else_goes_to_the_user_interface(client: TestClient, path: str) -> None:
    assert client.get(path).text == "the Dagster UI"


@pytest.mark.parametrize(
    "path",
    ["../settings.json", "compare/../../settings.json", "/../settings.json", "..\\settings.json", "./../settings.json", "link.html",
     ".teacher_report.html.1.tmp", "secret.key", "compare", "compare/", "absent.html", "teacher_report.html\x00", "/etc/hosts.html",
     "%2e%2e/settings.json", "a" * 5000 + ".html"],
)  # fmt: skip
def test_nothing_outside_and_nothing_hidden_is_served(app: Any, path: str) -> None:
    status, body = fetched(app, f"/reports/{path}")
    assert status == 404
    assert b"outside" not in body


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_reports_can_only_be_read(client: TestClient, reports: Path, method: str) -> None:
    assert client.request(method, "/reports/teacher_report.html").status_code == 405
    assert (reports / "teacher_report.html").exists()


def test_the_guard_stands_before_the_reports(client: TestClient) -> None:
    assert client.get("/reports/", headers={"host": "evil.example"}).status_code == 403
    assert client.get("/reports/", headers={"origin": "https://evil.example"}).status_code == 403


def test_a_link_says_where_the_page_is_served(reports: Path, client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VIBE_UI_URL", raising=False)
    link = report_link(reports / "compare" / "a@1-vs-b.html", reports)
    assert link == "/reports/compare/a%401-vs-b.html"  # no host and no port: those of a later day may be others
    assert client.get(link).text == "a comparison"
    monkeypatch.setenv("VIBE_UI_URL", "http://localhost:3999/")
    assert report_link(reports / "index.html", reports) == "/reports/index.html"
    monkeypatch.setenv("VIBE_UI_URL", "https://photos.example/dagster")
    assert report_link(reports / "index.html", reports) == "/dagster/reports/index.html"


def test_a_folder_that_is_not_there_yet_is_no_error(tmp_path: Path) -> None:
    empty = guarded_app(Starlette(), tmp_path / "absent", {HOST})
    assert fetched(empty, "/reports/")[0] == 404
