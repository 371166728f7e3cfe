"""Pages full of strangers' words, a browser that looks at them, and a listener at the address that those words want to reach."""

from __future__ import annotations

import http.server
import os
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from tests.audit.library import build, open_at
from tests.e2e.browser import chromium, text_of
from tests.e2e.processes import VIBE, running, until
from tests.evaluate.rows import PACKAGED, library
from tests.trust.hostile import FOREIGN, MARKUP


@dataclass(frozen=True)
class Seen:
    """A page as the browser has it: its words, and signs that a script of strangers ran or something was loaded from elsewhere."""

    text: str
    ran: list[str]


class Watched:
    """Chromium, and a server at a foreign address; `asked` lists what reached it."""

    def __enter__(self) -> Watched:
        asked: list[str] = []

        class Listener(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path)
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self.asked, self.stack = asked, ExitStack()
        self.server = self.stack.enter_context(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Listener))
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.stack.callback(self.server.shutdown)
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.driver = self.stack.enter_context(chromium(width=1300, height=850))
        trap = Path(self.stack.enter_context(tempfile.TemporaryDirectory())) / "trap.html"
        trap.write_text(f"<img src={self.address}/trap>")
        self.driver.get(trap.as_uri())  # the trap is proven to work first
        until(lambda: self.asked, seconds=20, what="the listener hears the browser")
        self.asked.clear()
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    def open(self, address: str, *, wait: str = "") -> Seen:
        """Look at a page until it is there."""
        self.driver.get(address)
        if wait:
            until(lambda: self.driver.execute_script(f"return !!document.querySelector({wait!r})"), seconds=60, what=wait)
        ran = ["pwned"] if self.driver.execute_script("return 'pwned' in window") else []
        own = address.partition("://")[0] if address.startswith("file:") else "/".join(address.split("/")[:3])
        loaded = self.driver.execute_script("return performance.getEntriesByType('resource').map(one => one.name)")
        return Seen(text_of(self.driver), ran + [name for name in loaded if not name.startswith((own, "data:", "blob:"))])


def words(foreign: str) -> list[str]:
    """The hostile words, aimed at an address that listens."""
    return [text.replace(FOREIGN, foreign) for text in MARKUP] + [f"<img src='{foreign}/img'>", f"<link rel=stylesheet href={foreign}/css>"]


def report_page(folder: Path, foreign: str) -> Path:
    """A report in which everything that strangers may word is hostile."""
    from vibe_assets.evaluate.labels import evaluate_labels
    from vibe_assets.evaluate.report import render_report, worst_photos

    said = words(foreign)
    truth, answers, groups = library(120)
    slices = truth.select("image_id", folder=pl.Series((said * 20)[:120]))
    evaluation = evaluate_labels(answers, truth, questions=PACKAGED, groups=groups, slices=slices, resamples=20)
    names = dict(zip(worst_photos(evaluation), said * 20, strict=False))
    page = folder / "report.html"
    page.write_text(
        render_report(
            [evaluation], title="Report of strangers", subtitle=" ".join(said), footer=dict.fromkeys(said, " ".join(said)), names=names
        ),
        encoding="utf-8",
    )  # fmt: skip
    return page


@contextmanager
def audit_page(folder: Path, foreign: str) -> Iterator[tuple[str, list[str]]]:
    """(address, names of the photos) of an audit page whose photos have hostile names."""
    from vibe_assets.stages.library import accepted_photos, look_at_folders, scan_folder
    from vibe_assets.stages.truth import draw_audit_sample

    build(folder, photos=60, sample=20, blind=0.0)
    said = [text.replace("/", "\u2215") for text in words(foreign)]
    files = sorted(path for path in (folder / "photos").rglob("*") if path.is_file())
    for number, path in enumerate(files):
        name = f"{said[number % len(said)]}{number}{path.suffix}"
        os.rename(path, os.fsencode(path.parent) + b"/" + name.encode())  # noqa: PTH104 - bytes
    platform = open_at(folder)
    for key in look_at_folders(platform, accept_missing=True).folders["folder_key"]:
        scan_folder(platform, key, accept_missing=True)
    draw_audit_sample(platform)
    names = accepted_photos(platform)["rel_path"].to_list()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {"VIBE_CONFIG": str(folder / "vibe.toml")}
    with running([*VIBE, "audit", "--port", str(port)], folder / "server.log", environment=environment, cwd=folder) as server:
        until(lambda: "the audit page is at" in server.said, seconds=90, what="the server", process=server)
        yield f"http://127.0.0.1:{port}", names
