"""A Desk goes in, the ASGI application of the audit page comes out: guarded, with photos by image_id only and nothing from elsewhere.

The browser may load scripts, styles and pictures of this server and nothing else; what a file name or a teacher says is put on the
page as text. On loopback no log-in is needed; on any other address a random token is, from the link that `vibe audit` prints.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Iterable
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from vibe_assets.audit.desk import Desk, Refused, checked_name
from vibe_assets.audit.log import AuditError
from vibe_assets.audit.openapi import document
from vibe_assets.audit.pictures import SIDES, Pictures
from vibe_assets.audit.vocabulary import vocabulary
from vibe_assets.photos.decode import PhotoRejected
from vibe_assets.questions import ManyOf, YesNo
from vibe_assets.strangers import json_value
from vibe_assets.web.guard import Guard, Receive, Scope, Send
from vibe_assets.web.headers import adding, with_defaults, with_headers

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

HERE = Path(__file__).parent
MAX_BODY = 64 * 1024  # a verdict is about 1 KB
MAX_AT_HAND = 400  # photos that a page may say it has already
COOKIE = "vibe_audit"
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
}
App = Callable[[Scope, Receive, Send], Awaitable[None]]


def audit_app(desk: Desk, pictures: Pictures, *, hosts: Iterable[str], done: Callable[[], Any], token: str | None = None) -> App:
    """The application. `hosts`: values of the Host header to answer; `done` is called when somebody says Done."""
    app: App = _pages(desk, pictures, done)
    if token is not None:
        app = TokenDoor(app, token)
    return locked(Guard(app, hosts))


def locked(app: App) -> App:
    """The application with HEADERS on every answer, refusals included; what says nothing of caches is kept by none."""
    return with_headers(with_defaults(app), HEADERS)


def _pages(desk: Desk, pictures: Pictures, done: Callable[[], Any]) -> Starlette:
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.responses import JSONResponse, PlainTextResponse, Response
    from starlette.routing import Mount, Route
    from starlette.staticfiles import StaticFiles
    from starlette.templating import Jinja2Templates

    templates = Jinja2Templates(directory=HERE / "templates")
    questions, asked_first = vocabulary(desk.questions), () if desk.questions.main is None else desk.questions.main.keys
    version = max(int(file.stat().st_mtime) for file in (HERE / "static").iterdir())

    async def page(request: Request) -> Response:
        return templates.TemplateResponse(
            request, "audit.html", {"version": version, "questions": questions}, headers={"cache-control": "no-store"}
        )

    async def about(request: Request) -> Response:
        return _json({
            "scenes": asked_first,
            "attributes": [label.word for question in desk.questions.of_type(YesNo) for label in question.labels],
            "objects": {label.key: label.words for question in desk.questions.of_type(ManyOf) for label in question.labels},
            "vocabulary": questions, "photos": len(desk.photos), "blind_share": desk.blind_share,
        })  # fmt: skip

    async def openapi(request: Request) -> Response:
        return _json(document(desk))

    async def queue(request: Request) -> Response:
        asked = request.query_params
        annotator, without = checked_name(asked.get("annotator")), frozenset((asked.get("without") or "").split(",")[:MAX_AT_HAND])
        view, scene = asked.get("view") or "all", asked.get("scene") or None
        if scene is not None and scene not in asked_first:
            raise Refused("scene: no such scene in the taxonomy")
        items, left = await run_in_threadpool(desk.queue, annotator, view=view, scene=scene, without=without)
        return _json({"items": items, "left": left, "progress": await run_in_threadpool(desk.progress, annotator)})

    async def last(request: Request) -> Response:
        return _json({"last": await run_in_threadpool(desk.last, checked_name(request.query_params.get("annotator")))})

    async def verdict(request: Request) -> Response:
        said = await _body(request)
        kept = await run_in_threadpool(desk.take, said)
        progress = await run_in_threadpool(desk.progress, kept.annotator)
        return _json({"verdict_id": kept.verdict_id, "act": kept.act, "progress": progress})

    async def finish(request: Request) -> Response:
        if not isinstance(await _body(request), dict):
            raise Refused("expected a JSON object", 400)
        await run_in_threadpool(done)
        return _json({"done": True})

    async def photo(request: Request) -> Response:
        size = request.query_params.get("size") or "page"
        found = desk.photos.get(request.path_params["image_id"])
        if found is None or size not in SIDES:
            raise Refused("no such photo in the sample", 404)
        try:
            data = await run_in_threadpool(pictures.jpeg, found.image_id, found.path, size=size)
        except OSError as error:  # its text would name a path of this machine
            raise Refused(f"the picture could not be made: {error.strerror}", 503) from error
        return Response(data, media_type="image/jpeg", headers={"cache-control": "private, max-age=31536000, immutable"})

    def _json(value: Any) -> Response:
        return JSONResponse(value, headers={"cache-control": "no-store"})

    async def refused(request: Request, error: Exception) -> Response:
        status = error.status if isinstance(error, Refused) else 404 if isinstance(error, PhotoRejected) else 503
        return PlainTextResponse(f"{error}\n", status)

    return Starlette(
        routes=[
            Route("/", page),
            Route("/api/desk", about),
            Route("/api/openapi.json", openapi),
            Route("/api/queue", queue),
            Route("/api/last", last),
            Route("/api/verdicts", verdict, methods=["POST"]),
            Route("/api/done", finish, methods=["POST"]),
            Route("/photo/{image_id}", photo),
            Mount("/static", StaticFiles(directory=HERE / "static", packages=[("vibe_assets.web", "static")])),
        ],
        exception_handlers=dict.fromkeys((Refused, PhotoRejected, AuditError), refused),
    )


async def _body(request: Request) -> Any:
    """The JSON of a request. Raises Refused for another type, too many bytes, or what is no JSON."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Refused("expected content-type application/json", 415)
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > MAX_BODY:
            raise Refused(f"the body has more than {MAX_BODY} bytes", 413)
    try:
        return json_value(bytes(data))
    except ValueError as error:
        raise Refused("the body is not JSON", 400) from error


class TokenDoor:
    """Lets in whoever brings the token: once in the address, from then on in a cookie that scripts and other sites cannot use."""

    def __init__(self, app: App, token: str) -> None:
        self.app, self.token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        from starlette.responses import PlainTextResponse

        if scope["type"] != "http" or self._matches(_cookie(scope)):
            await self.app(scope, receive, send)
        elif scope["method"] == "GET" and scope["path"] == "/" and self._matches(_asked_token(scope)):
            cookie = f"{COOKIE}={self.token}; Path=/; HttpOnly; SameSite=Strict"
            await self.app(scope, receive, adding(send, {"set-cookie": cookie}))
        else:
            await PlainTextResponse("refused: open the link that the command printed, with its token\n", 403)(scope, receive, send)

    def _matches(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self.token.encode())


def _cookie(scope: Scope) -> str:
    text = next((value.decode("latin1") for name, value in scope["headers"] if name.lower() == b"cookie"), "")
    try:
        morsel = SimpleCookie(text).get(COOKIE)
    except CookieError:
        return ""
    return morsel.value if morsel is not None else ""


def _asked_token(scope: Scope) -> str:
    return parse_qs(scope.get("query_string", b"").decode("latin1")).get("token", [""])[0]
