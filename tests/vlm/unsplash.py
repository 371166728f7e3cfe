"""A local server that behaves like Unsplash's API: pages, limits, failures, downloads, and a record of what was asked."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from PIL import Image, ImageDraw

KEY = "test-access-key-12345"


def picture(at: int) -> bytes:
    """A JPEG whose hash says something, different for each number."""
    image = Image.linear_gradient("L").rotate(at * 37 % 360).resize((120, 90)).convert("RGB")
    draw = ImageDraw.Draw(image)
    for step in range(6):
        x, y = (at * 31 + step * 47) % 110, (at * 53 + step * 29) % 80
        draw.rectangle((x, y, x + 20 + at % 17, y + 14), fill=((at * 41) % 255, (step * 67 + at) % 255, 120))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


@dataclass
class Unsplash:
    """What it holds and how it behaves."""

    photos: int = 40
    remaining: int = 1000
    fail_first: int = 0  # this many requests get 503
    limit_status: int = 403
    broken: frozenset[int] = frozenset()  # photos whose file is not there
    garbled: frozenset[int] = frozenset()  # photos whose file is no picture
    withdrawn: frozenset[int] = frozenset()  # photos that lists still show
    odd: Any = None  # this instead of every photo of a list
    answers: Any = None  # this instead of every answer
    drips: str = ""  # answers and files whose path begins so come a byte now and then, for ever
    asked: list[tuple[str, dict[str, str], str | None]] = field(default_factory=list)  # path, query, Authorization
    base: str = ""

    def photo(self, at: int, *, tags: bool = True) -> dict[str, Any]:
        found = {
            "id": f"photo-{at}",
            "urls": {"regular": f"{self.base}/files/{at}.jpg"},
            "links": {"html": f"https://unsplash.com/photos/photo-{at}", "download_location": f"{self.base}/photos/photo-{at}/download"},
            "user": {"name": f"Photographer {at}", "links": {"html": f"https://unsplash.com/@p{at}"}},
        }
        names = ["Nature", "nature", "sea side", f"thing {at}", "light", "sky", "water"]
        return {**found, "tags": [{"type": "search", "title": name} for name in names]} if tags else found

    def answer(self, path: str, query: dict[str, str]) -> tuple[int, Any]:
        if self.answers is not None:
            return 200, self.answers
        if self.odd is not None and path == "/search/photos":
            return 200, {"results": [self.photo(0), self.odd], "total_pages": "many"}
        page, size = int(query.get("page", 1)), int(query.get("per_page", 10))
        window = range((page - 1) * size, min(page * size, self.photos))
        if path == "/search/photos":
            pages = -(-self.photos // size)
            return 200, {"total": self.photos, "total_pages": pages, "results": [self.photo(at) for at in window]}
        if path == "/collections/abc/photos":
            return 200, [self.photo(at, tags=False) for at in window]
        if path == "/photos/random":
            return 200, [self.photo(at) for at in range(int(query["count"]))]
        if path.endswith("/download"):
            return 200, {"url": "https://images.unsplash.com/x"}
        if path.startswith("/photos/photo-") and int(path.rpartition("-")[2]) in self.withdrawn:
            return 404, {"errors": ["Couldn't find Photo"]}
        if path.startswith("/photos/photo-"):
            return 200, self.photo(int(path.rpartition("-")[2]))
        return 404, {"errors": ["Couldn't find Collection"]}


@contextmanager
def running(api: Unsplash) -> Iterator[Unsplash]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            api.asked.append((parts.path, query, self.headers.get("Authorization")))
            if api.drips and parts.path.startswith(api.drips):
                self._drip()
            elif parts.path.startswith("/files/"):
                at = int(parts.path.removeprefix("/files/").removesuffix(".jpg"))
                self._send(404 if at in api.broken else 200, b"not a picture" if at in api.garbled else picture(at))
            elif api.fail_first > 0:
                api.fail_first -= 1
                self._send(503, b"busy")
            elif self.headers.get("Authorization") != f"Client-ID {KEY}":
                self._send(401, json.dumps({"errors": ["OAuth error: The access token is invalid"]}).encode())
            elif api.remaining <= 0:
                self._send(api.limit_status, b"Rate Limit Exceeded")
            else:
                api.remaining -= 1
                status, body = api.answer(parts.path, query)
                self._send(status, json.dumps(body).encode())

        def _send(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("X-Ratelimit-Limit", "50")
            self.send_header("X-Ratelimit-Remaining", str(max(0, api.remaining)))
            self.end_headers()
            self.wfile.write(body)

        def _drip(self) -> None:
            self.send_response(200)
            self.end_headers()
            with suppress(OSError):
                while True:
                    self.wfile.write(b" ")
                    self.wfile.flush()
                    time.sleep(0.02)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    api.base = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)
