"""How fast to ask: adaptive concurrency, waits between tries, and what a Retry-After header means in seconds."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

CREPT_CUT = 0.85  # what is left of a limit that had grown one by one; measured beside 0.5 in benchmarks/annotation.py


@dataclass(frozen=True)
class Pace:
    """Waits in seconds. The n-th retry waits `first_wait_s * 2**n`, at most `longest_wait_s`, less up to half by chance."""

    first_wait_s: float = 0.5
    longest_wait_s: float = 30.0
    longest_retry_after_s: float = 600.0  # a server that asks for more has closed for the day: the run ends instead of sleeping
    connect_timeout_s: float = 10.0
    give_up_connecting_after: int = 5  # consecutive refused connections, before the server ever answered
    outage_s: float = 120.0  # how long a server that did answer may be gone (a restart) before the run ends

    def wait_s(self, tries: int, rng: random.Random) -> float:
        longest = min(self.longest_wait_s, self.first_wait_s * 2 ** min(tries, 30))
        return longest * rng.uniform(0.5, 1.0)


class AdaptiveLimit:
    """Requests in flight: doubles per round until the server first complains, then +1 per round; a complaint cuts it.

    Additive increase, multiplicative decrease (Chiu and Jain 1989), as TCP does it. A cut halves, because doubling may have overshot
    by as much; a cut after at least one round of +1 takes 15 %, because that overshot by one. One burst of complaints cuts once:
    those about requests that were sent before the last cut are old news. Single event loop, no locks.
    """

    def __init__(self, most: int, *, start: int = 4) -> None:
        self.most = most
        self.limit = float(min(start, most))
        self.in_flight = 0
        self.cuts = 0
        self._probing = True
        self._after_cut = math.inf
        self._last_cut = -math.inf
        self._closed_until = -math.inf
        self._room = asyncio.Event()

    async def acquire(self) -> float:
        """Wait for room; returns the moment of sending (the loop's clock), to be handed to `complain`."""
        loop = asyncio.get_running_loop()
        while True:
            closed_s = self._closed_until - loop.time()
            if closed_s > 0:
                await asyncio.sleep(closed_s)
            elif self.in_flight < int(self.limit):
                self.in_flight += 1
                return loop.time()
            else:
                self._room.clear()
                await self._room.wait()

    def release(self) -> None:
        self.in_flight -= 1
        self._room.set()

    def praise(self) -> None:
        """The server answered in time."""
        self.limit = min(float(self.most), self.limit + (1.0 if self._probing else 1.0 / self.limit))

    def complain(self, sent_at: float, *, closed_for_s: float = 0.0) -> None:
        """The server was too busy (429, 503, a time-out); `closed_for_s`: it asked for that long a pause."""
        now = asyncio.get_running_loop().time()
        self._closed_until = max(self._closed_until, now + closed_for_s)
        if sent_at < self._last_cut:
            return
        crept = self.limit >= self._after_cut + 1
        self._probing = False
        self._last_cut = now
        self.limit = max(1.0, self.limit * (CREPT_CUT if crept else 0.5))
        self._after_cut = self.limit
        self.cuts += 1


def retry_after_s(headers: Mapping[str, str], *, now: datetime | None = None) -> float | None:
    """Seconds that the server asks to wait (RFC 9110: a number of seconds or a date), None when it does not say."""
    text = (headers.get("retry-after") or "").strip()
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            moment = parsedate_to_datetime(text)
        except (ValueError, IndexError, TypeError):
            return None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        seconds = (moment - (now or datetime.now(UTC))).total_seconds()
    return max(0.0, seconds) if math.isfinite(seconds) else None
