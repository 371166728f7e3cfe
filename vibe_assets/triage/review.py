"""A TriageDesk goes in, the ASGI application of the pick-the-best page comes out: guarded, photos by image_id only."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vibe_assets.audit.page import TokenDoor, locked
from vibe_assets.audit.pictures import Pictures
from vibe_assets.photos.decode import PhotoRejected
from vibe_assets.strangers import json_value
from vibe_assets.triage.choices import ChoiceError
from vibe_assets.triage.desk import TriageDesk, open_desk
from vibe_assets.web.guard import Guard

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

    from vibe_assets.stages.platform import Platform

HERE = Path(__file__).parent
PORT = 3002
MAX_BODY = 16 * 1024


def review_app(desk: TriageDesk, pictures: Pictures, *, hosts: Iterable[str], token: str | None = None) -> Any:
    """The application; `hosts`: values of the Host header to answer, `token`: what lets people in, where more than this machine may."""
    pages: Any = _pages(desk, pictures)
    return locked(Guard(pages if token is None else TokenDoor(pages, token), hosts))


def _pages(desk: TriageDesk, pictures: Pictures) -> Starlette:
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.responses import JSONResponse, PlainTextResponse, Response
    from starlette.routing import Mount, Route
    from starlette.staticfiles import StaticFiles
    from starlette.templating import Jinja2Templates

    templates = Jinja2Templates(directory=HERE / "templates")

    async def page(request: Request) -> Response:
        return templates.TemplateResponse(request, "review.html", {})

    async def state(request: Request) -> Response:
        query = request.query_params
        return await answered(lambda: desk.state(query.get("reviewer", ""), query.get("at")))

    async def choose(request: Request) -> Response:
        body = await _json(request)
        if body is None:
            return JSONResponse({"error": "expected a small JSON object"}, 422)
        winners = body.get("winners")
        if not isinstance(winners, list) or not all(isinstance(one, str) for one in winners):
            return JSONResponse({"error": "winners must be a list of image ids"}, 422)
        return await answered(lambda: desk.choose(body.get("reviewer", ""), str(body.get("series_id")), str(body.get("kind")), winners))

    async def undo(request: Request) -> Response:
        body = await _json(request)
        return await answered(lambda: desk.undo((body or {}).get("reviewer", "")))

    async def answered(work: Callable[[], dict[str, Any]]) -> Response:
        try:
            return JSONResponse(await run_in_threadpool(work))
        except ChoiceError as error:
            return JSONResponse({"error": str(error)}, 422)

    async def photo(request: Request) -> Response:
        image_id = request.path_params["image_id"]
        if image_id not in desk.paths:
            return PlainTextResponse("no such photo\n", 404)
        try:
            data = await run_in_threadpool(pictures.jpeg, image_id, desk.paths[image_id])
        except PhotoRejected as rejected:
            return PlainTextResponse(f"{rejected.reason}: {rejected.detail}\n", 410)
        except OSError as error:  # its text would name a path of this machine
            return PlainTextResponse(f"the picture could not be made: {error.strerror}\n", 503)
        return Response(data, media_type="image/jpeg", headers={"cache-control": "private, max-age=3600"})

    return Starlette(
        routes=[
            Route("/", page),
            Route("/state", state),
            Route("/choose", choose, methods=["POST"]),
            Route("/undo", undo, methods=["POST"]),
            Route("/photo/{image_id}", photo),
            Mount("/static", StaticFiles(directory=HERE / "static", packages=[("vibe_assets.web", "static")])),
        ]
    )


async def _json(request: Request) -> dict[str, Any] | None:
    """The body as an object; None for anything else: only a page of this server sends JSON."""
    if request.headers.get("content-type", "").partition(";")[0] != "application/json":
        return None
    content = b""
    async for part in request.stream():
        content += part
        if len(content) > MAX_BODY:
            return None
    try:
        body = json_value(content)
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def serve_review(platform: Platform, *, port: int = PORT, served_as: Sequence[str] = (), announce: Callable[[Sequence[str]], Any]) -> None:
    """Serve the page on loopback until interrupted; `announce` is given its addresses. Raises ServeError when the port is taken."""
    import uvicorn

    from vibe_assets.web.serve import answered_hosts, ensure_free, served_addresses

    host = "127.0.0.1"
    port = ensure_free(host, port)
    hosts, token = answered_hosts(host, port, served_as), secrets.token_urlsafe(24) if served_as else None
    settings = platform.settings
    limits = settings.library
    pictures = Pictures(settings.cache_dir / "pages", max_pixels=limits.max_pixels, max_bytes=limits.max_bytes)
    app = review_app(open_desk(platform), pictures, hosts=hosts, token=token)
    announce(served_addresses(host, port, served_as, token=token))
    uvicorn.run(app, host=host, port=port, log_level="warning")
