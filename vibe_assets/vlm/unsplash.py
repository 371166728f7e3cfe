"""A search, collection or random draw on Unsplash becomes downloaded photos with tags, credit and licence.

Follows the API's guidelines (unsplash.com/documentation): the key travels in a header to the API's host alone, the hourly limit is
honoured, every download is reported at links.download_location, and photographers are credited with a link.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from vibe_assets.lake import atomic_file
from vibe_assets.settings import VlmSettings
from vibe_assets.strangers import json_value, visible, web_address
from vibe_assets.teacher.client import http_library
from vibe_assets.teacher.failures import redact
from vibe_assets.teacher.loop import run_to_end
from vibe_assets.teacher.pace import Pace, retry_after_s
from vibe_assets.vlm.failures import VlmError
from vibe_assets.vlm.found import Found

LICENCE = "Unsplash License, https://unsplash.com/license"
PER_PAGE = 30  # the most the API gives at once
MAX_BYTES = 60_000_000
MAX_ANSWER_BYTES = 8_000_000
ANSWER_S, DOWNLOAD_S = 60.0, 300.0  # a request as a whole, however steadily its bytes drip in
LONGEST_WAIT_S = 60.0  # a limit that ends later ends the run instead: the hour's quota is used up


@dataclass(frozen=True)
class Wish:
    """What to fetch: exactly one of search terms, a collection or a random draw; nothing of them lists the newest photos."""

    query: str = ""
    collection: str = ""
    random: bool = False
    count: int = 30  # photos at the most
    first_page: int = 1
    size: str = "regular"  # raw | full | regular (1080 px wide) | small (400 px) | thumb


@dataclass
class Fetched:
    """What came, and why no more of it did."""

    found: list[Found] = field(default_factory=list)
    stopped: str = ""  # '' when the wish was met or nothing was left
    requests: int = 0
    remaining: int | None = None  # of the hourly limit, as the API last said


class _Stop(Exception):
    """No further request makes sense in this run."""


class _Missing(Exception):
    """The API does not know what was asked for."""


def fetch(wish: Wish, folder: Path, *, settings: VlmSettings, known: set[str], pace: Pace | None = None) -> Fetched:
    """Download the photos that are not among `known` source ids into `folder`.

    A limit that is reached or a server that fails ends the run with what came so far, said in `stopped`; a photo that cannot be
    downloaded is an entry with a reason. Raises VlmError when the key is missing or refused, and when nothing at all could be asked.
    """
    if sum((bool(wish.query), bool(wish.collection), wish.random and not wish.query)) > 1:
        raise VlmError("give one of search terms, a collection, or random")
    api, seen = _Api(settings, pace or Pace(), folder, wish.size), set(known)
    try:
        for photo in api.listed(wish):
            if len(api.fetched.found) >= wish.count:
                break
            if (identifier := _text(photo.get("id"))) not in seen:
                seen.add(identifier)
                api.take(photo)
    except _Stop as stop:
        api.fetched.stopped = str(stop)
    except _Missing as missing:
        raise VlmError(f"{api.where} does not know that ({missing}): check collection id and vlm.unsplash_url") from None
    if api.fetched.stopped and not api.fetched.found:
        raise VlmError(f"nothing came from {api.where}: {api.fetched.stopped}")
    return api.fetched


class _Api:
    """One run's connection: paging, patience and downloads."""

    def __init__(self, settings: VlmSettings, pace: Pace, folder: Path, size: str) -> None:
        self.where, self.pace, self.folder, self.size = settings.unsplash_url.rstrip("/"), pace, folder, size
        self.fetched, self._rng, self._settings = Fetched(), random.Random(), settings
        self._key = os.environ.get(settings.unsplash_key_env, "").strip()
        if not self._key or not (self._key.isascii() and self._key.isprintable()):
            raise VlmError(
                f"no access key: put yours from unsplash.com/developers into the environment variable {settings.unsplash_key_env}, "
                "or take photos from a folder or from the library's audited labels"
            )
        self._http = http_library()

    def _requested(self, url: str, headers: Mapping[str, str], *, most: int, within_s: float) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and body of one GET. Raises _Broken: no connection, too slow as a whole, or more than `most` bytes."""

        async def read() -> tuple[int, Mapping[str, str], bytes]:
            parts: list[bytes] = []
            size = 0
            async with (
                asyncio.timeout(within_s),
                self._http.AsyncClient(timeout=30.0, follow_redirects=False) as client,
                client.stream("GET", url, headers=headers) as answer,
            ):
                async for part in answer.aiter_bytes():
                    parts.append(part)
                    size += len(part)
                    if size > most:
                        raise _Broken(f"larger than {most >> 20} MiB")
            return answer.status_code, answer.headers, b"".join(parts)

        try:
            return run_to_end(read())
        except TimeoutError as error:
            raise _Broken(f"not all there within {within_s:g} s") from error
        except (self._http.RequestError, self._http.InvalidURL) as error:
            raise _Broken(f"{type(error).__name__}: {error}") from error

    # -- lists ---------------------------------------------------------------------------------------------------------
    def listed(self, wish: Wish) -> Iterator[Mapping[str, Any]]:
        """Photos page by page, until a page is short or empty, or brings nothing that earlier ones did not."""
        if wish.random:
            yield from self._draws(wish)
            return
        path = "/search/photos" if wish.query else f"/collections/{_id(wish.collection)}/photos" if wish.collection else "/photos"
        page, seen = wish.first_page, set[str]()
        while True:
            asked = {"page": page, "per_page": PER_PAGE, **({"query": wish.query} if wish.query else {})}
            body = self.get(path, asked)
            photos = body.get("results") if isinstance(body, Mapping) else body
            photos = [photo for photo in photos if isinstance(photo, Mapping)] if isinstance(photos, list) else []
            yield from photos
            pages = body.get("total_pages") if isinstance(body, Mapping) else None
            new = {_text(photo.get("id")) for photo in photos} - seen
            if not new or (len(photos) < PER_PAGE and not (isinstance(pages, int) and page < pages)):
                return
            seen |= new
            page += 1

    def _draws(self, wish: Wish) -> Iterator[Mapping[str, Any]]:
        """Random photos; a draw that brings nothing new three times in a row ends it."""
        seen: set[str] = set()
        idle = 0
        while idle < 3:
            body = self.get("/photos/random", {"count": min(PER_PAGE, wish.count), **({"query": wish.query} if wish.query else {})})
            photos = [photo for photo in (body if isinstance(body, list) else [body]) if isinstance(photo, Mapping)]
            new = [photo for photo in photos if _text(photo.get("id")) not in seen]
            idle = 0 if new else idle + 1
            seen |= {_text(photo.get("id")) for photo in new}
            yield from new

    def get(self, path: str, asked: Mapping[str, Any] | None = None) -> Any:
        """JSON of one request to the API, tried again while that may help."""
        url = f"{self.where}{path}" + (f"?{urlencode(asked)}" if asked else "")
        headers = {"Authorization": f"Client-ID {self._key}", "Accept-Version": "v1"}
        for attempt in range(5):
            if self.fetched.remaining == 0:
                raise _Stop("the hourly limit of the key is used up; run again in the next hour, what is known is not fetched again")
            self.fetched.requests += 1
            try:
                status, told, body = self._requested(url, headers, most=MAX_ANSWER_BYTES, within_s=ANSWER_S)
            except _Broken as broken:
                detail = redact(str(broken), self._key)
            else:
                left = told.get("x-ratelimit-remaining", "")
                self.fetched.remaining = int(left) if re.fullmatch(r"[0-9]{1,9}", left) else self.fetched.remaining
                if status == 200:
                    return redact(_json(body), self._key)
                said = body[:2000].decode("utf-8", "replace")
                detail = f"HTTP {status}: {redact(visible(' '.join(said.split())), self._key)[:200]}"
                self._refusal(status, told, said, detail)
            time.sleep(self.pace.wait_s(attempt, self._rng))
        raise _Stop(f"{detail} (5 tries)")

    def _refusal(self, status: int, told: Mapping[str, str], said: str, detail: str) -> None:
        """Raise when asking again would not help; return when it may. Unsplash says 403 when the hour is used up."""
        if status in (403, 429) and ("rate limit" in said.lower() or self.fetched.remaining == 0 or status == 429):
            wait_s = retry_after_s(told)
            if wait_s is None or wait_s > LONGEST_WAIT_S:
                raise _Stop(f"the hourly limit of the key is used up ({detail}); run again in the next hour")
            time.sleep(wait_s)
            self.fetched.remaining = None
            return
        if status in (401, 403):
            raise VlmError(f"{self.where} refuses the access key ({detail}): put a valid one into {self._settings.unsplash_key_env}")
        if status == 404:
            raise _Missing(detail)
        if status < 500:
            raise _Stop(detail)

    # -- photos --------------------------------------------------------------------------------------------------------
    def take(self, photo: Mapping[str, Any]) -> None:
        """Download one photo and report the download; whatever goes wrong with this photo alone is a reason in its entry."""
        identifier = _text(photo.get("id"))
        if not identifier:
            return  # nothing that could be named, credited or found again
        try:
            if "tags" not in photo and re.fullmatch(r"[\w-]{1,64}", identifier):
                photo = {**photo, **_object(self.get(f"/photos/{identifier}"))}  # lists leave the tags out
            data = self._download(_text(_object(photo.get("urls")).get(self.size)))
        except (_Broken, _Missing) as broken:  # one that was withdrawn in between is missing
            self.fetched.found.append(self._entry(photo, None, reason="unreachable", detail=str(broken)))
            return
        path = self.folder / f"{re.sub(r'[^A-Za-z0-9_-]', '_', identifier)[:64]}.img"
        with atomic_file(path) as temporary:
            temporary.write_bytes(data)
        self.fetched.found.append(self._entry(photo, os.fsencode(path)))  # before the report: it is here now
        report = _text(_object(photo.get("links")).get("download_location"))
        if report.startswith(f"{self.where}/"):  # the key goes to no other host
            with contextlib.suppress(_Missing):
                self.get(report.removeprefix(self.where))

    def _download(self, url: str) -> bytes:
        local = urlsplit(self.where).hostname in ("127.0.0.1", "localhost")
        if not url.startswith("https://") and not (local and url.startswith("http://")):
            raise _Broken(f"not an https address: {url[:100]!r}")
        status, _, data = self._requested(url, {}, most=MAX_BYTES, within_s=DOWNLOAD_S)
        if status != 200:
            raise _Broken(f"HTTP {status}")
        return data

    def _entry(self, photo: Mapping[str, Any], path: bytes | None, **failure: str) -> Found:
        user, identifier = _object(photo.get("user")), _text(photo.get("id"))
        own = web_address(_object(photo.get("links")).get("html"))
        page = web_address(_object(user.get("links")).get("html")) or own
        credit = f"{page}?{urlencode({'utm_source': self._settings.app_name, 'utm_medium': 'referral'})}" if page else None
        tags = photo.get("tags")
        titles = tuple(title for tag in (tags if isinstance(tags, list) else ()) if (title := _text(_object(tag).get("title"))))
        return Found(
            "unsplash", identifier, own or identifier, titles, path, photographer=_text(user.get("name")) or None, credit_url=credit,
            licence=LICENCE, **failure,
        )  # fmt: skip


class _Broken(Exception):
    """This photo cannot be had."""


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _id(text: str) -> str:
    if not re.fullmatch(r"[\w-]{1,64}", text):
        raise VlmError(f"{text!r} is not the id of a collection (the part after /collections/ in its address)")
    return text


def _json(content: bytes) -> Any:
    try:
        return json_value(content)
    except ValueError as error:
        raise _Stop(f"the answer is no JSON: {error}; check vlm.unsplash_url") from error
