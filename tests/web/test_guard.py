"""The guard lets the UI's own pages through and refuses what other sites, rebound names and plain GETs try."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from vibe_assets.web.guard import HINTS, Guard, Scope

HOSTS = {"127.0.0.1:3000", "localhost:3000"}
OWN = {"host": "127.0.0.1:3000"}
NAVIGATION = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}


class Application:
    """Remembers what reached it."""

    def __init__(self) -> None:
        self.reached: list[str] = []

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        self.reached.append(scope["type"])


def scope(headers: dict[str, str] | list[tuple[str, str]], *, method: str = "POST", path: str = "/graphql", query: str = "") -> Scope:
    pairs = headers.items() if isinstance(headers, dict) else headers
    encoded = [(name.encode(), value.encode("latin1")) for name, value in pairs]
    return {"type": "http", "method": method, "path": path, "query_string": query.encode(), "headers": encoded}


def websocket(headers: dict[str, str]) -> Scope:
    made = scope(headers)
    del made["method"]
    return {**made, "type": "websocket"}


def sent_by(guard: Guard, request: Scope) -> list[dict[str, Any]]:
    """Messages that the guard itself sent."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(guard(request, receive, send))
    return sent


def refusal(request: Scope, **options: Any) -> str | None:
    return Guard(Application(), HOSTS, **options).refusal(request)


@pytest.mark.parametrize(
    "request_",
    [
        scope(OWN),
        scope({"host": "localhost:3000", "origin": "http://localhost:3000"}),
        scope({**OWN, "origin": "http://127.0.0.1:3000", "sec-fetch-site": "same-origin", "sec-fetch-mode": "cors"}),
        scope({**OWN, "sec-fetch-site": "none", "sec-fetch-mode": "navigate"}, method="GET", path="/assets"),
        scope(OWN, method="GET", path="/graphql"),
        websocket({**OWN, "origin": "http://127.0.0.1:3000"}),
    ],
)
def test_own_pages_and_local_programs_pass(request_: Scope) -> None:
    assert refusal(request_) is None


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:3000",
        "127.0.0.1:3000.evil.example",
        "localhost.evil.example:3000",
        "localhost:x",
        "127.0.0.2:3000",
        "",
    ],
)
def test_a_name_that_is_not_ours_is_refused_for_it_may_be_rebound(host: str) -> None:
    assert refusal(scope({"host": host})) == "unknown Host"


@pytest.mark.parametrize("host", ["localhost:8080", "127.0.0.1:8080", "LOCALHOST:8080", "[::1]:3001", "localhost"])
def test_a_forwarded_port_is_served_to_its_own_pages_alone(host: str) -> None:
    assert refusal(scope({"host": host})) is None
    assert refusal(scope({"host": host, "origin": f"http://{host}"})) is None
    assert refusal(scope({"host": host, "origin": "http://localhost:9999"})) == "foreign Origin"
    assert refusal(websocket({"host": host, "origin": "http://localhost:9999"})) == "foreign Origin"


def test_a_server_for_the_network_alone_is_not_asked_by_this_machines_names() -> None:
    assert Guard(Application(), {"192.168.1.20:3001"}).refusal(scope({"host": "localhost:3001"})) == "unknown Host"


@pytest.mark.parametrize("headers", [[], [("host", "127.0.0.1:3000"), ("Host", "evil.example")]])
def test_no_host_and_two_hosts_are_refused(headers: list[tuple[str, str]]) -> None:
    assert refusal(scope(headers)) == "unknown Host"


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", "http://127.0.0.1:8080", "http://127.0.0.1:3000.evil.example", "http://evil.example/127.0.0.1:3000"],
)
def test_a_request_of_a_foreign_page_is_refused(origin: str) -> None:
    assert refusal(scope({**OWN, "origin": origin})) == "foreign Origin"
    assert refusal(websocket({**OWN, "origin": origin})) == "foreign Origin"


@pytest.mark.parametrize("scheme", ["https", "ftp", "chrome-extension", ""])
def test_the_scheme_of_an_origin_counts_as_its_name_does(scheme: str) -> None:
    for made in (scope({**OWN, "origin": f"{scheme}://127.0.0.1:3000"}), websocket({**OWN, "origin": f"{scheme}://127.0.0.1:3000"})):
        assert "scheme" in str(refusal(made))


def test_behind_a_proxy_that_ends_tls_the_page_is_the_one_of_https_and_plain_http_is_foreign() -> None:
    proxied = {"host": "library.example", "x-forwarded-proto": "https"}
    guard = Guard(Application(), {"library.example"})
    for made in (scope, websocket):
        assert guard.refusal(made({**proxied, "origin": "https://library.example"})) is None
        assert "scheme" in str(guard.refusal(made({**proxied, "origin": "http://library.example"})))
    assert guard.refusal({**scope({"host": "library.example", "origin": "https://library.example"}), "scheme": "https"}) is None


@pytest.mark.parametrize("site", ["cross-site", "same-site", "something-new"])
def test_what_the_browser_calls_another_site_is_refused_even_without_an_origin(site: str) -> None:
    headers = {**OWN, "sec-fetch-site": site, "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"}
    assert refusal(scope(headers, method="GET", path="/assets")) == "request from another site"


def test_a_link_on_another_site_may_open_a_page() -> None:
    assert refusal(scope({**OWN, **NAVIGATION}, method="GET", path="/assets/teacher_report")) is None


@pytest.mark.parametrize("change", [{"sec-fetch-dest": "iframe"}, {"sec-fetch-mode": "cors"}])
def test_only_a_whole_page_in_a_tab_counts_as_opened(change: dict[str, str]) -> None:
    assert refusal(scope({**OWN, **NAVIGATION, **change}, method="GET", path="/assets")) == "request from another site"


def test_a_form_of_another_site_does_not_pass_as_a_navigation() -> None:
    assert refusal(scope({**OWN, **NAVIGATION}, method="POST")) == "request from another site"


@pytest.mark.parametrize("query", ["query=mutation{wipeAssets}", "query=", "x=1&query=%7Bversion%7D", "mutation=1"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", ["/graphql", "/graphql/", "/prefix/graphql"])
def test_graphql_in_an_address_is_refused_whoever_asks(query: str, method: str, path: str) -> None:
    assert refusal(scope(OWN, method=method, path=path, query=query)) == "GraphQL by GET"
    assert refusal(scope({**OWN, **NAVIGATION}, method=method, path=path, query=query)) is not None


def test_a_query_elsewhere_is_not_graphql() -> None:
    assert refusal(scope(OWN, method="GET", path="/assets", query="query=teacher")) is None


@pytest.mark.parametrize(
    ("header", "expected"), [("Bearer s3cret", None), ("Bearer s3cre", "no token"), ("", "no token"), ("s3cret", "no token")]
)
def test_a_token_is_wanted_where_one_is_set(header: str, expected: str | None) -> None:
    assert refusal(scope({**OWN, "authorization": header}), token="s3cret") == expected


def test_a_refused_request_gets_403_with_the_reason_and_never_reaches_the_application() -> None:
    application = Application()
    start, body = sent_by(Guard(application, HOSTS), scope({"host": "evil.example"}))
    assert (start["status"], body["body"]) == (403, b"refused: unknown Host" + HINTS["unknown Host"].encode() + b"\n")
    assert application.reached == []
    assert b"--served-as HOST[:PORT]" in body["body"]


def test_a_refused_websocket_is_closed_before_it_opens() -> None:
    application = Application()
    assert sent_by(Guard(application, HOSTS), websocket({**OWN, "origin": "https://evil.example"})) == [
        {"type": "websocket.close", "code": 1008, "reason": "foreign Origin"}
    ]
    assert application.reached == []


def test_start_and_end_of_the_server_are_not_looked_at() -> None:
    application = Application()
    assert sent_by(Guard(application, HOSTS), {"type": "lifespan"}) == []
    assert application.reached == ["lifespan"]
