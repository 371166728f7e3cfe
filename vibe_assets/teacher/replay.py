"""Stored annotations and a photo folder become an OpenAI-compatible server that answers by image content, with faults on request.

It stands in for a teacher in demos, tests and dry runs: real HTTP, no model.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import random
import socket
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from vibe_assets.questions import YesNo, load
from vibe_assets.teacher.failures import TeacherError
from vibe_assets.teacher.hostile import hostile_answer
from vibe_assets.teacher.images import probe_image
from vibe_assets.teacher.replay_answers import Answers, AnswerSource
from vibe_assets.web.guard import Application, Guard
from vibe_assets.web.serve import LOOPBACK, served_hosts

MAX_REQUEST_BYTES = 64 * 1024 * 1024
FAULTS = ("429", "500", "503", "timeout", "dropped", "refusal", "invalid_json", "fenced", "hostile", "filtered", "cut")


@dataclass(frozen=True)
class ReplayFaults:
    """What the server does wrong. Probabilities 0..1 are drawn per request from `seed`; `script` rules the first requests."""

    latency_s: float = 0.0
    jitter_s: float = 0.0  # added to the latency, uniform
    p_429: float = 0.0
    p_500: float = 0.0
    p_timeout: float = 0.0  # the request hangs for `hang_s`, or until the client leaves
    p_dropped: float = 0.0  # the connection is cut in the middle of the answer
    p_refusal: float = 0.0
    p_invalid_json: float = 0.0  # half of the JSON
    p_fenced: float = 0.0  # valid, but in a fence with words around it and a trailing comma
    hostile: bool = False  # answers made to break the reader
    retry_after_s: float | None = 1.0  # with 429 and 503; None: the header is left out
    retry_after_as_date: bool = False
    hang_s: float = 3600.0
    max_in_flight: int | None = None  # 429 above
    slots: int | None = None  # a server that never refuses: it works on so many requests at once, the others wait
    no_json_schema: bool = False  # 400 on response_format json_schema
    no_response_format: bool = False  # 400 on any response_format
    script: tuple[str, ...] = ()  # fault (or "ok") of the first, second, ... request
    seed: int = 0

    def __post_init__(self) -> None:
        unknown = sorted(set(self.script) - {*FAULTS, "ok"})
        if unknown:
            raise ValueError(f"expected faults of {(*FAULTS, 'ok')}, got {unknown}")


class ReplayTeacher:
    """The server's state: answers, faults and counts. One instance serves one event loop."""

    def __init__(
        self,
        answers: AnswerSource,
        photo_root: Path | None = None,
        *,
        faults: ReplayFaults | None = None,
        api_key: str | None = None,
        cache: Path | None = None,
    ) -> None:
        """`answers`: a JSONL file, {model name: JSONL file} (key "" for any other model), or a function of (image bytes,
        request) that returns an annotation, a text, or None for a photo it does not know. Files need `photo_root`, below
        which their paths lie. With `api_key`, other keys get 401. `cache` (.npz) keeps the index of the photos.

        Raises TeacherError when a file cannot be read or none of its photos is found.
        """
        self.answers = Answers(answers, photo_root, cache=cache, known=[(probe_image(), PROBE_ANNOTATION)])
        self.faults = faults or ReplayFaults()
        self.api_key = api_key
        self._rng = random.Random(self.faults.seed)
        self._served: Counter[str] = Counter()
        self._outcomes: Counter[str] = Counter()
        self._requests = self._in_flight = self._most_in_flight = 0
        self._slots = asyncio.Semaphore(self.faults.slots) if self.faults.slots else nullcontext()

    # -- routes --------------------------------------------------------------------------------------------------------
    async def models(self, request: Request) -> Response:
        return JSONResponse(
            {"object": "list", "data": [{"id": name, "object": "model", "owned_by": "replay"} for name in self.answers.models]}
        )

    async def stats(self, request: Request) -> Response:
        return JSONResponse(self.counts())

    def counts(self) -> dict[str, Any]:
        """Requests received, valid answers sent, distinct photos among them, most requests at once, outcomes by name."""
        return {
            "requests": self._requests,
            "answered": sum(self._served.values()),
            "photos": len(self._served),
            "in_flight": self._in_flight,
            "max_in_flight": self._most_in_flight,
            "outcomes": dict(self._outcomes),
        }

    async def chat(self, request: Request) -> Response:
        self._requests += 1
        self._in_flight += 1
        self._most_in_flight = max(self._most_in_flight, self._in_flight)
        number = self._requests
        try:
            outcome, response = await self._respond(request, number)
            self._outcomes[outcome] += 1
            return response
        except ClientDisconnect:
            self._outcomes["client_left"] += 1
            return Response(status_code=499)
        finally:
            self._in_flight -= 1

    # -- one request ---------------------------------------------------------------------------------------------------
    async def _respond(self, request: Request, number: int) -> tuple[str, Response]:
        faults = self.faults
        crowded = faults.max_in_flight is not None and self._in_flight > faults.max_in_flight
        body = await _body(request)
        if body is None:
            return "413", _error(413, "request too large", "invalid_request_error")
        if self.api_key is not None and request.headers.get("authorization") != f"Bearer {self.api_key}":
            said = f"Incorrect API key provided: {request.headers.get('authorization', '').removeprefix('Bearer ')}"
            return "401", _error(401, said, "invalid_request_error", code="invalid_api_key")
        fault = "429" if crowded else self._fault(number)
        if fault in ("429", "500", "503"):
            return fault, self._busy(int(fault))
        async with self._slots:
            await asyncio.sleep(faults.latency_s + self._rng.random() * faults.jitter_s)
        if fault == "timeout":
            await _hang(request, faults.hang_s)
            return fault, _Dropped()
        if fault == "dropped":
            return fault, _Dropped()
        return await self._answer(request, body, fault, number)

    def _fault(self, number: int) -> str:
        """The fault of this request; the draws are made for every request alike, so that one switch does not shift another."""
        faults = self.faults
        draws = {name: self._rng.random() for name in ("429", "500", "timeout", "dropped", "refusal", "invalid_json", "fenced")}
        if number <= len(faults.script):
            return faults.script[number - 1]
        drawn = next((name for name, draw in draws.items() if draw < getattr(faults, f"p_{name}")), "ok")
        return "hostile" if drawn == "ok" and faults.hostile else drawn

    def _busy(self, status: int) -> Response:
        headers = {}
        if status != 500 and self.faults.retry_after_s is not None:
            moment = datetime.now(UTC) + timedelta(seconds=self.faults.retry_after_s)
            headers["retry-after"] = (
                format_datetime(moment, usegmt=True) if self.faults.retry_after_as_date else f"{self.faults.retry_after_s:g}"
            )
        return _error(status, "slow down" if status == 429 else "out of order", "server_error", headers=headers)

    async def _answer(self, request: Request, body: bytes, fault: str, number: int) -> tuple[str, Response]:
        try:
            payload = json.loads(body)
            image = _image(payload)
        except (ValueError, RecursionError) as error:
            return "400", _error(400, str(error), "invalid_request_error")
        wanted = payload["response_format"].get("type") if isinstance(payload.get("response_format"), dict) else None
        if (wanted == "json_schema" and self.faults.no_json_schema) or (wanted and self.faults.no_response_format):
            return "400", _error(400, f"response_format of type {wanted!r} is not supported", "invalid_request_error")
        model = str(payload.get("model"))
        if not self.answers.serves(model):
            return "404", _error(404, f"The model {model!r} does not exist.", "invalid_request_error", code="model_not_found")
        if fault == "refusal":
            return fault, _completion(payload, "", body, refusal="I cannot help with this photo.")
        if fault == "filtered":
            return fault, _completion(payload, "", body, finish="content_filter")
        if fault == "hostile":
            return fault, _completion(payload, hostile_answer(number, request.headers.get("authorization", "")), body)
        digest, answer = await run_in_threadpool(self.answers.find, model, image, payload)
        if answer is None:
            return "404", _error(404, "no stored answer shows this photo", "not_found_error", code="photo_not_known")
        text = answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)
        if fault in ("invalid_json", "cut"):
            return fault, _completion(payload, text[: len(text) // 2], body, finish="length" if fault == "cut" else "stop")
        self._served[digest] += 1
        if fault == "fenced":
            text = f"Here is what I see:\n```json\n{text[:-1]},}}\n```\nAnything else?"
        return fault, _completion(payload, text, body)


# what the probe's red disc is labelled with: every packaged question answered
PROBE_ANNOTATION = {
    **{field.name: False for question in load().of_type(YesNo) for field in question.fields},
    "scene": "other",
    "objects": [{"name_free": "red disc", "coarse_type": "other", "is_main": True, "confidence": 0.9}],
}


class _Dropped(Response):
    """A response that stops in the middle: the server then closes the connection."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"application/json"), (b"content-length", b"1000")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b'{"choices": [{"mess', "more_body": True})


def create_app(teacher: ReplayTeacher) -> Starlette:
    """The ASGI app: POST /v1/chat/completions, GET /v1/models, GET /stats. It knows no browser: `_config` puts the guard before it."""
    routes = [
        Route("/v1/chat/completions", teacher.chat, methods=["POST"]),
        Route("/v1/models", teacher.models),
        Route("/stats", teacher.stats),
        Route("/v1/stats", teacher.stats),
    ]
    return Starlette(routes=routes)


def serve(teacher: ReplayTeacher, *, host: str = "127.0.0.1", port: int = 8000) -> None:
    """Serve until interrupted. Raises TeacherError when the port is taken."""
    with _bound(host, port) as bound:
        uvicorn.Server(_config(teacher, host, bound.getsockname()[1])).run(sockets=[bound])


@contextmanager
def running_replay(
    answers: ReplayTeacher | AnswerSource,
    photo_root: Path | None = None,
    *,
    faults: ReplayFaults | None = None,
    api_key: str | None = None,
    cache: Path | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
) -> Iterator[str]:
    """Serve in a thread while the block runs; yields the base_url, `http://HOST:PORT/v1` (port 0: a free one)."""
    teacher = (
        answers if isinstance(answers, ReplayTeacher) else ReplayTeacher(answers, photo_root, faults=faults, api_key=api_key, cache=cache)
    )
    with _bound(host, port) as bound:
        server = uvicorn.Server(_config(teacher, host, bound.getsockname()[1]))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, name="vibe-replay", daemon=True)
        thread.start()
        try:
            _wait_for_start(server, thread)
            yield f"http://{host}:{bound.getsockname()[1]}/v1"
        finally:
            server.should_exit = server.force_exit = True  # hanging requests are not waited for
            thread.join(timeout=10)


def _config(teacher: ReplayTeacher, host: str, port: int) -> uvicorn.Config:
    app: Application = create_app(teacher)
    if host in LOOPBACK:  # beyond this machine its clients know it by names that are not known here
        app = Guard(app, served_hosts(host, port))
    # A dropped connection is an error in the server's eyes, and here it is wanted: only what is fatal is logged.
    return uvicorn.Config(
        app, log_config=None, log_level="critical", access_log=False, lifespan="off", ws="none", timeout_graceful_shutdown=1
    )


def _wait_for_start(server: uvicorn.Server, thread: threading.Thread) -> None:
    pause = threading.Event()
    while not server.started:
        if not thread.is_alive():
            raise TeacherError("the replay teacher ended while it started")
        pause.wait(0.005)


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise TeacherError(f"cannot serve the replay teacher on {host}:{port}: {error.strerror}; choose another port") from error
    return bound


async def _body(request: Request) -> bytes | None:
    parts, size = [], 0
    async for part in request.stream():
        parts.append(part)
        size += len(part)
        if size > MAX_REQUEST_BYTES:
            return None
    return b"".join(parts)


async def _hang(request: Request, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            while not await request.is_disconnected():
                await asyncio.sleep(0.02)
    except TimeoutError:
        pass


def _image(payload: Any) -> bytes:
    """Bytes of the request's last `data:` image. Raises ValueError; addresses of other hosts are never fetched."""
    if not isinstance(payload, Mapping) or not isinstance(payload.get("messages"), list):
        raise ValueError("expected an object with messages")
    contents = [message.get("content") for message in payload["messages"] if isinstance(message, dict)]
    parts = [part for content in contents if isinstance(content, list) for part in content if isinstance(part, dict)]
    urls = [part["image_url"].get("url") for part in parts if isinstance(part.get("image_url"), dict)]
    if not urls or not isinstance(urls[-1], str) or not urls[-1].startswith("data:image/"):
        raise ValueError("expected an image_url part with a data:image/... address")
    try:
        return base64.b64decode(urls[-1].partition(",")[2], validate=True)
    except binascii.Error as error:
        raise ValueError(f"image_url is not base64: {error}") from None


def _completion(payload: Mapping[str, Any], text: str, body: bytes, *, refusal: str | None = None, finish: str = "stop") -> Response:
    """A chat completion; tokens are counted at four bytes each, which is near enough for a replay."""
    prompt, completion = len(body) // 4, len(text) // 4
    message = {"role": "assistant", "content": None if refusal else text, "refusal": refusal}
    return JSONResponse(
        {
            "id": "replay", "object": "chat.completion", "created": 0, "model": payload.get("model"),
            "choices": [{"index": 0, "message": message, "finish_reason": finish}],
            "usage": {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion},
        }
    )  # fmt: skip


def _error(status: int, message: str, kind: str, *, code: str | None = None, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse({"error": {"message": message, "type": kind, "code": code, "param": None}}, status, headers=headers)
