"""Which time zone schedules run in: "every night" is night where the machine is."""

from __future__ import annotations

import os
import re
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

LOCALTIME, NAMED = Path("/etc/localtime"), Path("/etc/timezone")


def schedule_timezone() -> str:
    """IANA name of the local time zone: $TZ, else what the system is set to, else UTC. Name one with TZ=Asia/Shanghai."""
    return next(name for name in (*_candidates(), "UTC") if _exists(name))


def _candidates() -> tuple[str, ...]:
    wanted = os.environ.get("TZ", "").removeprefix(":")
    named = NAMED.read_text(encoding="utf-8", errors="replace").strip() if NAMED.is_file() else ""
    return _below_zoneinfo(wanted), _below_zoneinfo(os.path.realpath(LOCALTIME)), named


def _below_zoneinfo(path: str) -> str:
    """`Asia/Shanghai` of `/usr/share/zoneinfo/posix/Asia/Shanghai`; other text as it is."""
    return re.sub(r"^.*/zoneinfo/(posix/|right/)?", "", path)


def _exists(name: str) -> bool:
    try:
        return bool(name) and not name.startswith(("/", "posix", "right")) and bool(ZoneInfo(name))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
