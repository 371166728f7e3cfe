"""An ASGI layer: requests below /reports/ become files of the reports folder, everything else goes to the application behind it.

Reports hold file names and a teacher's words. They are escaped when they are written; served, they may also run and load nothing.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from vibe_assets.web.guard import Application, Receive, Scope, Send

if TYPE_CHECKING:
    from starlette.responses import Response

PREFIX = "/reports/"
ADDRESS_ENV = "VIBE_UI_URL"  # where people reach the UI; its path goes before the links to the reports
SHOWN = (".html", ".json", ".jsonl", ".csv")  # what is written there for people; unfinished and hidden files are not
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "private, no-cache",  # a report is written anew under its old name, and is no proxy's to keep
}


def report_link(path: Path, folder: Path) -> str:
    """Path under which `vibe ui` serves a file of the reports folder. Without host and port: it holds wherever the UI is reached later."""
    below = urlsplit(os.environ.get(ADDRESS_ENV, "")).path.rstrip("/")
    return f"{below}{PREFIX}{quote(path.relative_to(folder).as_posix())}"


class ReportPages:
    """The reports folder, read-only, in front of an application."""

    def __init__(self, app: Application, folder: Path) -> None:
        from starlette.staticfiles import StaticFiles

        self.app, self.folder = app, folder
        self.files = StaticFiles(directory=folder, check_dir=False, follow_symlink=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not f"{scope['path']}/".startswith(PREFIX):
            await self.app(scope, receive, send)
            return
        response = await self._response(scope)
        for name, value in HEADERS.items():
            response.headers[name] = value
        await response(scope, receive, send)

    async def _response(self, scope: Scope) -> Response:
        from starlette.exceptions import HTTPException
        from starlette.responses import PlainTextResponse, RedirectResponse

        if scope["method"] not in ("GET", "HEAD"):
            return PlainTextResponse("reports can only be read\n", 405, headers={"allow": "GET, HEAD"})
        if scope["path"] == PREFIX.rstrip("/"):
            return RedirectResponse(PREFIX)
        wanted = scope["path"].removeprefix(PREFIX) or "index.html"
        if not _may_be_shown(wanted):
            return PlainTextResponse("no such report\n", 404)
        try:
            return await self.files.get_response(wanted, scope)  # refuses what leads out of the folder, links included
        except HTTPException as error:
            return PlainTextResponse("no such report; `vibe report` lists them\n", error.status_code)


def _may_be_shown(path: str) -> bool:
    """A file of a known kind, no part of whose path is hidden or leads upwards."""
    parts = path.split("/")
    return path.endswith(SHOWN) and not re.search(r"[\\\x00]", path) and all(part and not part.startswith(".") for part in parts)
