"""An ASGI guard: a web application in, the same application out, closed to other sites' pages and to rebound host names.

The Dagster webserver has no authentication, answers mutations over plain GET with a foreign Origin and accepts any Host header.
A page on the internet could therefore launch runs in the browser of whoever has the UI open; the guard refuses that.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
LOOPBACK_HOST = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d{1,5})?")
HINTS = {"unknown Host": "; where people reach this page by that name, start it with --served-as HOST[:PORT]"}
ONCE = ("origin", "authorization", "content-type", "content-length", "sec-fetch-site", "sec-fetch-mode", "sec-fetch-dest",
        "x-forwarded-proto")  # fmt: skip


class Guard:
    """Checks Host, Origin and Sec-Fetch-Site of every request; no GraphQL by GET; a bearer token where one is set."""

    def __init__(self, app: Application, hosts: Iterable[str], *, token: str | None = None) -> None:
        """`hosts`: values of the Host header to answer, for example {"127.0.0.1:3000", "localhost:3000"}.

        Where this machine's own names are among them, they are answered with any port: `ssh -L 8080:localhost:3000` changes it, and no
        name of the web can be rebound to look like them.
        """
        self.app = app
        self.hosts = frozenset(host.lower() for host in hosts)
        self.loopback = any(LOOPBACK_HOST.fullmatch(host) for host in self.hosts)
        self.token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        reason = self.refusal(scope)
        if reason is None:
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": reason})
        else:
            from starlette.responses import PlainTextResponse

            await PlainTextResponse(f"refused: {reason}{HINTS.get(reason, '')}\n", 403)(scope, receive, send)

    def refusal(self, scope: Scope) -> str | None:
        """Why the request is refused; None when it may pass."""
        names = [name.decode("latin1").lower() for name, _ in scope["headers"]]
        headers = {name.decode("latin1").lower(): value.decode("latin1") for name, value in scope["headers"]}
        host = headers["host"].lower() if names.count("host") == 1 else ""
        if host not in self.hosts and not (self.loopback and LOOPBACK_HOST.fullmatch(host)):
            return "unknown Host"
        if any(names.count(name) > 1 for name in ONCE):
            return "one header twice"  # a proxy may have looked at the other one
        if headers.get("sec-fetch-site", "none") not in ("same-origin", "none") and not _opens_a_page(scope, headers):
            return "request from another site"
        if "origin" in headers:
            scheme, _, name = headers["origin"].partition("://")
            if name.lower() not in {host, *self.hosts}:
                return "foreign Origin"
            if scheme != _scheme(scope, headers):  # http is whoever sits on the wire, be the name ours
                return "Origin of another scheme: a proxy that ends TLS has to send X-Forwarded-Proto"
        if scope["type"] == "http" and scope["method"] in ("GET", "HEAD") and _carries_graphql(scope):
            return "GraphQL by GET"
        if self.token and not hmac.compare_digest(headers.get("authorization", ""), f"Bearer {self.token}"):
            return "no token"
        return None


def _scheme(scope: Scope, headers: dict[str, str]) -> str:
    """http or https, as the browser asked for it. No page of another site can send the proxy's header without asking first."""
    asked = headers.get("x-forwarded-proto", "").partition(",")[0].strip().lower() or str(scope.get("scheme", "http"))
    return {"ws": "http", "wss": "https"}.get(asked, asked)


def _opens_a_page(scope: Scope, headers: dict[str, str]) -> bool:
    """A link followed from elsewhere: a person navigates, nothing is changed by it."""
    return (
        scope["type"] == "http"
        and scope["method"] == "GET"
        and headers.get("sec-fetch-mode") == "navigate"
        and headers.get("sec-fetch-dest") == "document"
    )


def _carries_graphql(scope: Scope) -> bool:
    if not scope["path"].rstrip("/").endswith("/graphql"):
        return False
    return any(name in parse_qs(scope.get("query_string", b"").decode("latin1"), keep_blank_values=True) for name in ("query", "mutation"))
