"""A local server that tells the key it was given in every place it can: errors, answers, headers, redirects, unfinished bodies."""

from __future__ import annotations

import base64
import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

MODES = ("401", "403", "429", "500", "400", "404", "redirect", "torn", "html", "no_completion", "refusal", "answer", "filter")


def spellings(authorization: str) -> str:
    """The key in every form, in one sentence."""
    key = authorization.removeprefix("Bearer ").removeprefix("Client-ID ")
    coded = base64.b64encode(f"user:{key}".encode()).decode()
    return f"got {authorization} that is {coded} or {quote(key, safe='')} or {key[:14]}... or ...{key[-13:]} or {json.dumps(key)}"


class Server(http.server.ThreadingHTTPServer):
    """One that does not print what clients do to it."""

    asked: list[tuple[str, str | None]]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that leaves is no news."""


class Careless(http.server.BaseHTTPRequestHandler):
    """The path's first part says how: /500/v1/chat/completions fails with 500."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        said = spellings(self.headers.get("Authorization", ""))
        mode = self.path.split("/")[1]
        self.server.asked.append((mode, self.headers.get("Authorization")))  # type: ignore[attr-defined]
        if mode.isdigit():
            body: Any = {"error": {"message": said, "type": said, "code": said, "param": said}}
            self.reply(int(mode), json.dumps(body).encode(), {"retry-after": "0"} if mode == "429" else {})
        elif mode == "redirect":
            self.reply(307, said.encode(), {"location": f"http://127.0.0.1:9/{quote(said)}"})
        elif mode == "html":
            self.reply(200, f"<h1>{said}</h1>".encode())
        elif mode == "torn":
            self.send_response(200)
            self.send_header("Content-Length", "100000")
            self.end_headers()
            self.wfile.write(said.encode())
            self.close_connection = True
        else:
            self.reply(200, json.dumps(completion(mode, said)).encode())

    do_GET = do_POST

    def reply(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"content-type": "application/json", "x-echo": self.headers.get("Authorization", ""), **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def completion(mode: str, said: str) -> dict[str, Any]:
    """A chat completion with the sentence in all its places."""
    labels = dict.fromkeys(("has_person", "has_animal", "has_text", "is_document", "is_screenshot"), False)
    seen = {"name_free": said, "coarse_type": said, "is_main": True, "confidence": 0.9, said: said}
    text = json.dumps({"scene": "food", **labels, "objects": [seen], said: said})
    if mode == "no_completion":
        return {said: said}
    message = {"role": said, "content": None if mode == "refusal" else text, "refusal": said if mode == "refusal" else None}
    finish = "content_filter" if mode == "filter" else "stop"
    usage = {"prompt_tokens": 3, "completion_tokens": 4, said: 5}
    return {"id": said, "model": said, "choices": [{"index": 0, "message": message, "finish_reason": finish}], "usage": usage}


@contextmanager
def careless_server() -> Iterator[tuple[str, list[tuple[str, str | None]]]]:
    """(address, what was asked as (mode, Authorization)) of a server on a free port."""
    with Server(("127.0.0.1", 0), Careless) as server:
        server.asked = asked = []
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", asked
        finally:
            server.shutdown()
            thread.join()
