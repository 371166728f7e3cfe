"""Waits, Retry-After and the concurrency that adapts."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime

import pytest

from vibe_assets.teacher.failures import TeacherFailure, redact
from vibe_assets.teacher.pace import AdaptiveLimit, Pace, retry_after_s

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("3", 3.0), (" 0.5 ", 0.5), ("-4", 0.0), ("Thu, 01 Jan 2026 12:00:30 GMT", 30.0), ("Thu, 01 Jan 2026 11:00:00 GMT", 0.0),
        ("", None), ("soon", None), ("nan", None), ("inf", None), ("99999-99-99", None),
    ],
)  # fmt: skip
def test_retry_after_is_read_as_seconds_or_date(text: str, seconds: float | None) -> None:
    assert retry_after_s({"retry-after": text}, now=NOW) == seconds


def test_waits_double_up_to_the_longest_and_are_spread() -> None:
    pace, rng = Pace(first_wait_s=1.0, longest_wait_s=8.0), random.Random(0)
    for tries, most in ((0, 1), (1, 2), (3, 8), (10, 8), (10_000, 8)):
        waits = [pace.wait_s(tries, rng) for _ in range(50)]
        assert most / 2 <= min(waits) < max(waits) <= most


def test_the_limit_doubles_per_round_then_halves_once_per_burst_and_creeps_back() -> None:
    async def run() -> None:
        limit = AdaptiveLimit(64, start=4)
        for _ in range(28):
            limit.praise()
        assert limit.limit == 32
        sent = [await limit.acquire() for _ in range(32)]
        await asyncio.sleep(0.001)
        for moment in sent:
            limit.complain(moment)
            limit.release()
        assert (limit.limit, limit.cuts, limit.in_flight) == (16, 1, 0)
        for _ in range(16):
            limit.praise()
        assert 16.9 < limit.limit < 17.1
        for _ in range(20):
            await asyncio.sleep(0.001)
            limit.complain(asyncio.get_running_loop().time())
        assert limit.limit == 1

    asyncio.run(run())


def test_a_limit_that_crept_over_the_edge_is_cut_gently_and_one_that_did_not_recover_is_halved() -> None:
    async def run() -> None:
        limit, now = AdaptiveLimit(64, start=32), asyncio.get_running_loop().time
        limit.complain(now())
        assert limit.limit == 16
        for _ in range(17):
            limit.praise()
        await asyncio.sleep(0.001)
        limit.complain(now())
        assert 14 < limit.limit < 15
        await asyncio.sleep(0.001)
        limit.complain(now())
        assert 7 < limit.limit < 7.5

    asyncio.run(run())


def test_nobody_enters_above_the_limit_or_during_a_pause() -> None:
    async def run() -> None:
        limit, loop = AdaptiveLimit(2), asyncio.get_running_loop()
        most = 0

        async def worker() -> None:
            nonlocal most
            for _ in range(10):
                await limit.acquire()
                most = max(most, limit.in_flight)
                await asyncio.sleep(0.001)
                limit.release()

        await asyncio.gather(*(worker() for _ in range(8)))
        assert most == 2
        limit.complain(loop.time(), closed_for_s=0.1)
        began = loop.time()
        await limit.acquire()
        assert loop.time() - began >= 0.09

    asyncio.run(run())


def test_redaction_reaches_into_nested_values_and_reasons_are_checked() -> None:
    assert redact({"a": ["x-key-y", 1, None], "key": True}, "key") == {"a": ["x-***-y", 1, None], "***": True}
    assert redact("text", "") == "text"
    with pytest.raises(ValueError, match="expected a reason"):
        TeacherFailure("because", "no")
