"""Servers that are no teacher at all: what the client makes of them, and what it never sends them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from vibe_assets.settings import TeacherSettings
from vibe_assets.teacher.client import MAX_BODY_BYTES, probe
from vibe_assets.teacher.pace import Pace

REPLIES = {
    "redirect": (307, b""),
    "web page": (404, b"<html>nginx</html>"),
    "login page": (200, b"<html>login</html>"),
    "error in 200": (200, b'{"error": {"message": "upstream"}}'),
    "endless": (200, b" " * (MAX_BODY_BYTES + 1)),
}


class Stranger(ThreadingHTTPServer):
    reply: tuple[int, bytes] = (200, b"")

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.seen: list[str] = []


class Answering(BaseHTTPRequestHandler):
    server: Stranger

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.server.seen.append(str(self.headers))
        status, body = self.server.reply
        self.send_response(status)
        self.send_header("location", "/elsewhere")
        self.end_headers()
        try:
            self.wfile.write(body)
        except OSError:
            self.close_connection = True  # the client had enough

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def stranger() -> Iterator[Stranger]:
    with Stranger() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("reply", "hint"),
    [
        ("redirect", "final address"),
        ("web page", "usually ends in /v1"),
        ("login page", "not a chat completion"),
        ("error in 200", "upstream"),
        ("endless", "larger than 4 MiB"),
    ],
)
def test_a_stranger_is_recognised_and_learns_nothing_from_the_environment(
    stranger: Stranger, settings: Callable[..., TeacherSettings], monkeypatch: pytest.MonkeyPatch, reply: str, hint: str
) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, "canary-of-another-account")
    stranger.reply = REPLIES[reply]
    seen = probe(settings(f"http://user:hidden-word@127.0.0.1:{stranger.server_port}/v1"), pace=Pace(first_wait_s=0.01))
    assert not seen.ok
    assert hint in f"{seen.detail}; {seen.remedy}"
    assert "hidden-word" not in seen.detail
    assert stranger.seen
    assert "canary" not in "".join(stranger.seen)
