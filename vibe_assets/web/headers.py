"""An ASGI application goes in, the same application comes out whose answers all say what browsers and proxies may not do with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vibe_assets.web.guard import Application, Receive, Scope, Send

FRAMING = "frame-ancestors 'none'"  # no page of another site shows ours in a frame and takes the clicks
DEFAULTS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
NOT_KEPT = {"cache-control": "no-store"}  # where an answer says nothing about it: a proxy in front may not keep it either


def with_defaults(app: Application, headers: Mapping[str, str] = DEFAULTS) -> Application:
    """What an answer says itself stands; what it leaves out is filled in, and it may never be shown in a frame."""

    def filled(said: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        names = {name.lower() for name, _ in said}
        policies = b" ".join(value for name, value in said if name.lower() == b"content-security-policy")
        wanted = headers if b"etag" in names else {**headers, **NOT_KEPT}  # scripts and styles have one, and are no secret
        framing = [] if b"frame-ancestors" in policies else [(b"content-security-policy", FRAMING.encode())]  # two policies both hold
        return [*said, *((name, value) for name, value in _encoded(wanted) if name not in names), *framing]

    return _changed(app, filled)


def with_headers(app: Application, headers: Mapping[str, str]) -> Application:
    """Every answer says these, refusals included, whatever it said itself."""
    encoded = _encoded(headers)
    ours = {name for name, _ in encoded}
    return _changed(app, lambda said: [*(pair for pair in said if pair[0].lower() not in ours), *encoded])


def adding(send: Send, headers: Mapping[str, str]) -> Send:
    """A `send` that puts headers onto one answer, beside those that are there."""
    return _sending(send, lambda said: [*said, *_encoded(headers)])


def _encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode("latin1"), value.encode("latin1")) for name, value in headers.items()]


def _changed(app: Application, change: Any) -> Application:
    async def headed(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, _sending(send, change) if scope["type"] == "http" else send)

    return headed


def _sending(send: Send, change: Any) -> Send:
    async def sending(message: Any) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": change([(bytes(name), bytes(value)) for name, value in message.get("headers", [])])}
        await send(message)

    return sending
