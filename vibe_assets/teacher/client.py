"""One encoded photo goes to an OpenAI-compatible server; one validated annotation comes back, or the reason why not.

The SDK carries the requests; when and how often to ask is decided here, because a run over a library must slow down with the
server, wait for one that restarts, and stop early at one that is not there.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import random
import secrets
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from vibe_assets.questions import Questions, load
from vibe_assets.settings import TeacherBase
from vibe_assets.teacher.answers import read_answer
from vibe_assets.teacher.failures import REMEDIES, TeacherError, TeacherFailure, redact
from vibe_assets.teacher.images import EncodedPhoto, encode_probe
from vibe_assets.teacher.loop import run_to_end
from vibe_assets.teacher.pace import AdaptiveLimit, Pace, retry_after_s
from vibe_assets.teacher.prompts import load_prompt
from vibe_assets.teacher.schema import InvalidAnswer, parse_answer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from openai import APIConnectionError, APIStatusError

FORMATS = ("json_schema", "json_object", "none")  # from the strictest; a server that refuses one is offered the next
MAX_BODY_BYTES = 4 * 1024 * 1024
MAX_ERROR_BYTES = 64 * 1024
MAX_MESSAGE_CHARS = 300
MAX_ODD_REJECTIONS = 20  # first requests that were all answered with 400: then it is the set-up, not the photos
MIN_SECRET_CHARS = 8  # shorter "keys" (none, EMPTY, token) are words that may stand in an honest answer
_AS_JSON, _AS_STREAM = {"Content-Type": "application/json"}, {"X-Stainless-Raw-Response": "stream"}  # the SDK's own sign for streaming
_FORMAT_WORDS = ("response_format", "json_schema", "json_object", "guided", "structured output", "grammar")
_SIZE_WORDS = ("too large", "too long", "context length", "maximum context", "exceeds the maximum", "max_model_len")
_FILTER_WORDS = ("content_filter", "content filter", "content management policy", "content_policy", "safety system")


@dataclass(frozen=True)
class Answer:
    """A validated annotation with what it cost: `latency_s` of the successful request, `usage` as the server counted."""

    annotation: dict[str, Any]
    latency_s: float
    usage: dict[str, int]


@dataclass(frozen=True)
class Probe:
    """Whether the teacher answers a test picture with a valid annotation, and what was seen or is to be done."""

    ok: bool
    detail: str
    remedy: str = ""


class _Again(Exception):
    """This try failed in a way that another may not. `counts`: it uses up one of the photo's retries."""

    def __init__(self, reason: str, detail: str, *, wait_s: float | None = None, counts: bool = True) -> None:
        super().__init__(detail)
        self.reason, self.detail, self.wait_s, self.counts = reason, detail, wait_s, counts


class TeacherClient:
    """Asks one server for annotations; made and used inside one running event loop, closed by `async with`.

    Learns as it goes, for all photos together: how many requests the server stands, which response_format and which name
    of max_tokens it takes. Raises TeacherError at once when settings or key cannot be used. Subclasses ask something else: they
    have a schema of their own and read the answer's text themselves.
    """

    schema_name = "photo_labels"

    def parse(self, text: str) -> dict[str, Any]:
        """The annotation in an answer's text. Raises InvalidAnswer."""
        return parse_answer(text, self.questions)

    def __init__(
        self, settings: TeacherBase, *, questions: Questions | None = None, pace: Pace | None = None, seed: int | None = None
    ) -> None:
        import openai

        self.questions = questions or load()
        self.schema = self.questions.schema
        self.settings = settings
        self.pace = pace or Pace()
        self.limit = AdaptiveLimit(settings.concurrency)
        self.prompt = load_prompt(settings.prompt, self.questions)
        self.where = _shown_url(settings.base_url)
        key = _usable_key(settings)
        self._secret = key if len(key) >= MIN_SECRET_CHARS else ""
        self._http = http_library()
        timeout = self._http.Timeout(settings.timeout_s, connect=min(settings.timeout_s, self.pace.connect_timeout_s), pool=None)
        limits = self._http.Limits(max_connections=settings.concurrency, max_keepalive_connections=settings.concurrency)
        self._openai = openai.AsyncOpenAI(
            base_url=settings.base_url, api_key=key or "EMPTY", max_retries=0, timeout=timeout,
            http_client=self._http.AsyncClient(
                timeout=timeout, limits=limits, follow_redirects=False, event_hooks={"response": [self._cut_errors_short]}
            ),
        )  # fmt: skip
        self._openai.organization = self._openai.project = None  # OPENAI_ORG_ID and the like are not this server's business
        self._rng = random.Random(seed)
        self._format = 0
        self._frames: dict[tuple[str, str], tuple[bytes, bytes]] = {}  # by dialect: the request before and after the photo's address
        self._tokens_field = "max_tokens"
        self._answered = self._succeeded = False
        self._refused_connections = self._odd_rejections = 0
        self._gone_since: float | None = None

    async def __aenter__(self) -> TeacherClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._openai.close()

    @property
    def response_format(self) -> str:
        """The strictest answer format that the server has not refused."""
        return FORMATS[self._format]

    # -- one photo -----------------------------------------------------------------------------------------------------
    async def ask(self, photo: EncodedPhoto) -> Answer:
        """Annotation of one photo. Raises TeacherFailure (this photo) or TeacherError (the run)."""
        tries = 0
        while True:
            try:
                return await self._try(photo)
            except _Again as again:
                if again.counts and tries >= self.settings.retries:
                    raise TeacherFailure(again.reason, self._safe(f"{again.detail} ({tries + 1} tries)")) from None
                wait_s = self.pace.wait_s(tries, self._rng) if again.wait_s is None else again.wait_s
                tries += again.counts
            await asyncio.sleep(wait_s)

    async def _try(self, photo: EncodedPhoto) -> Answer:
        import openai

        sent_at = await self.limit.acquire()
        asked = self._format, self._tokens_field
        failure: Exception
        try:
            async with asyncio.timeout(self.settings.timeout_s):
                body = await self._post(photo)
            latency_s = asyncio.get_running_loop().time() - sent_at
            annotation, usage = read_answer(body, redact=self._safe, parse=self.parse)
        except (TimeoutError, openai.APITimeoutError, self._http.TimeoutException) as error:
            failure = self._after_timeout(error, sent_at)
        except openai.APIStatusError as error:
            self._server_is_there()
            failure = self._after_status(error, sent_at, asked)
        except (openai.APIConnectionError, self._http.TransportError) as error:
            failure = self._after_broken_connection(error)
        except (InvalidAnswer, self._http.DecodingError) as error:
            self.limit.praise()
            failure = _Again("invalid_answer", self._safe(str(error)))
        except Exception as error:  # anything else is a fault of ours or the SDK's: shown as it is, unless it quotes the key
            shown = "".join(traceback.format_exception(error))
            if self._safe(shown) == shown:
                raise
            failure = TeacherError(self._safe(f"asking the teacher at {self.where} failed: {type(error).__name__}: {error}"))
        else:
            self._succeeded = True
            self.limit.praise()
            return Answer(annotation, latency_s, usage)
        finally:
            self.limit.release()
        raise failure from None  # the SDK's exceptions hold the request

    async def _post(self, photo: EncodedPhoto) -> bytes:
        """The response's body. Streamed, so that one without an end is cut off instead of held."""
        parts, size = [], 0
        response = await self._openai.post(
            "/chat/completions", content=self._request(photo), options={"headers": {**_AS_JSON, **_AS_STREAM}}, cast_to=self._http.Response
        )
        try:
            self._server_is_there()
            async for part in response.aiter_bytes():
                parts.append(part)
                size += len(part)
                if size > MAX_BODY_BYTES:
                    raise InvalidAnswer(f"the response is larger than {MAX_BODY_BYTES >> 20} MiB")
        finally:
            await response.aclose()
        return b"".join(parts)

    def _request(self, photo: EncodedPhoto) -> bytes:
        """The request's JSON. What never changes is written once: the SDK would walk and write it anew for every photo, in the event loop.

        The constant text stands before the photo, so that servers find it in their prefix cache.
        """
        frame = self.response_format, self._tokens_field
        if frame not in self._frames:
            self._frames[frame] = _frame(self._fields(), self.prompt)
        before, after = self._frames[frame]
        return b"".join((before, photo.url.encode("ascii"), after))

    def _fields(self) -> dict[str, Any]:
        """All of the request but the messages."""
        fields = {
            "model": self.settings.model, "temperature": self.settings.temperature, self._tokens_field: self.settings.max_tokens,
        }  # fmt: skip
        if self.response_format == "json_schema":
            schema = {"name": self.schema_name, "strict": True, "schema": self.schema}
            return {**fields, "response_format": {"type": "json_schema", "json_schema": schema}}
        if self.response_format == "json_object":
            return {**fields, "response_format": {"type": "json_object"}}
        return fields

    async def _cut_errors_short(self, response: Any) -> None:
        """The SDK reads the body of an error whole, however long: it gets the beginning, which is what a message needs."""
        if response.status_code >= 400:
            response.stream = self._first_bytes(response.stream)

    def _first_bytes(self, stream: Any) -> Any:
        class Beginning(self._http.AsyncByteStream):  # type: ignore[name-defined]
            async def __aiter__(self) -> AsyncIterator[bytes]:
                size = 0
                async for part in stream:
                    yield part
                    size += len(part)
                    if size > MAX_ERROR_BYTES:
                        return

            async def aclose(self) -> None:
                await stream.aclose()

        return Beginning()

    # -- what a failed try means ---------------------------------------------------------------------------------------
    def _server_is_there(self) -> None:
        self._answered, self._refused_connections, self._gone_since = True, 0, None

    def _after_timeout(self, error: Exception, sent_at: float) -> Exception:
        if isinstance(error.__cause__ or error, self._http.ConnectTimeout):
            return self._after_refused_connection(f"no connection within {self.pace.connect_timeout_s:g} s")
        self.limit.complain(sent_at)
        return _Again("timeout", f"no answer within {self.settings.timeout_s:g} s (teacher.timeout_s)")

    def _after_broken_connection(self, error: Exception) -> Exception:
        cause = error.__cause__ or error
        if isinstance(cause, (self._http.ConnectError, self._http.ProxyError, self._http.UnsupportedProtocol)):
            return self._after_refused_connection(str(cause) or type(cause).__name__)
        self._refused_connections += not self._answered
        if not self._answered and self._refused_connections >= self.pace.give_up_connecting_after:
            return self._unreachable(str(cause))
        return _Again("unreachable", f"the connection broke: {cause}")

    def _after_refused_connection(self, detail: str) -> Exception:
        """Not the photo's fault, so it costs the photo no retry: the server comes back, or the run ends."""
        now = asyncio.get_running_loop().time()
        self._gone_since = now if self._gone_since is None else self._gone_since
        self._refused_connections += 1
        gone = (
            now - self._gone_since > self.pace.outage_s
            if self._answered
            else self._refused_connections >= self.pace.give_up_connecting_after
        )
        if gone:
            return self._unreachable(detail)
        return _Again("unreachable", detail, wait_s=self.pace.wait_s(self._refused_connections - 1, self._rng), counts=False)

    def _unreachable(self, detail: str) -> TeacherError:
        return TeacherError(
            self._safe(f"cannot reach the teacher at {self.where}: {detail}"),
            remedy="start the server, or correct teacher.base_url (QWEN_BASE_URL), and check with `vibe doctor`; answers kept so far stay, "
            "a new run asks only for the rest",
        )

    def _after_status(self, error: APIStatusError, sent_at: float, asked: tuple[int, str]) -> Exception:
        status, said = error.status_code, self._safe(_message(error))[:MAX_MESSAGE_CHARS]
        detail = f"HTTP {status}: {said}"
        if status in (401, 403):
            return TeacherError(
                f"the teacher at {self.where} refuses the key ({detail})",
                remedy=f"put a valid key into the environment variable {self.settings.api_key_env}",
            )
        if status == 402 or error.code == "insufficient_quota":
            said = f"the account at {self.where} has no credit left ({detail})"
            return TeacherError(said, remedy="top it up and run again; answers kept so far stay")
        if status in (429, 503, 529):
            return self._after_busy(error, sent_at, detail)
        if status >= 500 or status in (408, 409, 425):
            return _Again("timeout" if status == 408 else "server_error", detail)
        if status == 413:
            return TeacherFailure("too_large", f"{detail}; lower teacher.max_side_px")
        if status in (404, 405) or status < 400:
            return self._after_wrong_address(error, detail)
        return self._after_rejection(said, detail, asked)

    def _after_busy(self, error: APIStatusError, sent_at: float, detail: str) -> Exception:
        asked_s = retry_after_s(error.response.headers)
        if asked_s is not None and asked_s > self.pace.longest_retry_after_s:
            said = f"the teacher at {self.where} asks to come back in {asked_s:.0f} s ({detail})"
            return TeacherError(said, remedy="run again then; answers kept so far stay")
        self.limit.complain(sent_at, closed_for_s=asked_s or 0.0)
        return _Again("rate_limited" if error.status_code == 429 else "server_error", detail, wait_s=asked_s or None)

    def _after_wrong_address(self, error: APIStatusError, detail: str) -> Exception:
        words = detail.lower()
        if error.status_code == 404 and error.code != "model_not_found" and error.type and "model" not in words:
            return TeacherFailure("request_rejected", detail)  # an OpenAI-style error about this request, not about the address
        if error.status_code < 400:
            return TeacherError(
                f"{self.where} sends the request elsewhere ({detail})", remedy="put the final address into teacher.base_url"
            )
        if "model" in words:
            said = f"the teacher at {self.where} does not serve teacher.model = {self.settings.model!r} ({detail})"
            return TeacherError(said, remedy="set teacher.model (QWEN_MODEL) to a name that GET /v1/models lists")
        said = f"no chat API at {self.where} ({detail})"
        return TeacherError(said, remedy="correct teacher.base_url (QWEN_BASE_URL): it usually ends in /v1")

    def _after_rejection(self, said: str, detail: str, asked: tuple[int, str]) -> Exception:
        """A 400 or 422: a dialect to be learnt, or a request that this server will never take."""
        asked_format, asked_field = asked
        words = said.lower()
        if "max_completion_tokens" in words and asked_field == "max_tokens":
            self._tokens_field = "max_completion_tokens"
            return _Again("request_rejected", detail, wait_s=0, counts=False)
        if any(word in words for word in _FILTER_WORDS):
            return TeacherFailure("teacher_refused", detail)
        if any(word in words for word in _SIZE_WORDS):
            return TeacherFailure("too_large", detail)
        if asked_format < len(FORMATS) - 1 and (any(word in words for word in _FORMAT_WORDS) or detail.startswith("HTTP 422")):
            self._format = max(self._format, asked_format + 1)
            return _Again("request_rejected", detail, wait_s=0, counts=False)
        self._odd_rejections += 1
        if not self._succeeded and self._odd_rejections >= MAX_ODD_REJECTIONS:
            return TeacherError(
                f"the teacher at {self.where} refused the first {MAX_ODD_REJECTIONS} photos alike ({detail}); does the model take images?"
            )
        return TeacherFailure("request_rejected", detail)

    def _safe(self, value: Any) -> Any:
        return redact(value, self._secret)


def probe(settings: TeacherBase, *, pace: Pace | None = None) -> Probe:
    """Send a small generated picture and check the answer; never raises for what a user can have misconfigured."""

    async def once() -> Probe:
        async with TeacherClient(settings.model_copy(update={"retries": 1}), pace=pace or Pace(give_up_connecting_after=1)) as client:
            answer = await client.ask(encode_probe())
            said = f"{settings.model} at {client.where} answered in {answer.latency_s:.2f} s"
            return Probe(True, f"{said}, {await bound_by(client)}")

    try:
        return run_to_end(once())
    except TeacherError as error:
        return Probe(False, error.message, error.remedy)
    except TeacherFailure as error:
        return Probe(False, str(error), REMEDIES[error.reason])


async def bound_by(client: TeacherClient) -> str:
    """What holds the answers of a server to their form: seen, not assumed, for many servers take a response_format and ignore it."""
    if client.response_format != "json_schema":
        return {"json_object": "asked for as json_object", "none": "held to their form by the prompt alone"}[client.response_format]
    try:
        async with _SchemaProbe(client.settings, pace=client.pace) as asked:
            await asked.ask(encode_probe())
            obeyed = asked.response_format == "json_schema"
    except (TeacherError, TeacherFailure):
        obeyed = False
    return "answers bound by a JSON schema" if obeyed else "answers held to their form by the prompt alone: it ignores response_format"


class _SchemaProbe(TeacherClient):
    """Asks for a word that stands in the schema and nowhere else."""

    def __init__(self, settings: TeacherBase, *, pace: Pace) -> None:
        super().__init__(settings.model_copy(update={"retries": 0}), pace=pace)
        self.word = f"w{secrets.token_hex(4)}"
        properties = {"word": {"type": "string", "enum": [self.word]}}
        self.schema_name = "probe"
        self.schema = {"type": "object", "properties": properties, "required": ["word"], "additionalProperties": False}

    def parse(self, text: str) -> dict[str, Any]:
        if self.word not in text:
            raise InvalidAnswer("the schema was ignored")
        return {"word": self.word}


def _frame(fields: dict[str, Any], prompt: str) -> tuple[bytes, bytes]:
    """The request's JSON before and after the photo's address, which is base64 and needs no escapes."""
    place = "data:,"
    content = [{"type": "text", "text": prompt}, {"type": "image_url", "image_url": {"url": place}}]
    text = json.dumps({"model": fields["model"], "messages": [{"role": "user", "content": content}], **fields}, ensure_ascii=False)
    before, after = text.rsplit(json.dumps(place), 1)
    return f'{before}"'.encode(), f'"{after}'.encode()


def http_library() -> Any:
    """The module of the HTTP client that the installed SDK builds on: httpx, or its successor since version 3."""
    import openai

    names = [base.__module__.partition(".")[0] for base in openai.DefaultAsyncHttpxClient.__mro__ if base.__name__ == "AsyncClient"]
    return importlib.import_module(names[0])


def _usable_key(settings: TeacherBase) -> str:
    key = settings.api_key.get_secret_value().strip()
    if not (key.isascii() and key.isprintable()):
        said = f"the environment variable {settings.api_key_env} holds characters that no HTTP header can carry"
        raise TeacherError(said, remedy="export the key again, without spaces, quotes or line ends")
    return key


def _shown_url(base_url: str) -> str:
    """The address without user, password and query. Raises TeacherError when it is none."""
    try:
        parts = urlsplit(base_url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        parts, port = urlsplit(""), ""
    if parts.scheme not in ("http", "https") or not parts.hostname:
        given = "is not set" if not base_url else "is not an http(s) address"
        remedy = "put an address like http://127.0.0.1:8000/v1 into [teacher] base_url or QWEN_BASE_URL"
        raise TeacherError(f"teacher.base_url {given}", remedy=remedy)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}{port}{parts.path}"


def _message(error: APIStatusError | APIConnectionError) -> str:
    """What the server said, on one line."""
    body = error.body
    said = body.get("message") or body.get("detail") if isinstance(body, dict) else body
    text = said if isinstance(said, str) else json.dumps(body if said is None else said, default=str)
    return " ".join(text[:MAX_BODY_BYTES].split())
