"""Items go through the task in this process, as one stream: nothing is pickled, nothing waits for a chunk to be full."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vibe_assets.engine.base import Work


class LocalEngine:
    """The default: needs nothing but Python."""

    workers = 1

    def arrivals(self, work: Work) -> Iterator[tuple[int, Any]]:
        """As Engine.arrivals; a task sees all items at once, unless `chunk` is given, and no worker can be lost."""
        if not work.items:
            return
        task, size = work.make_task(), work.chunk or len(work.items)
        for start in range(0, len(work.items), size):
            part = work.items[start : start + size]
            yield from zip(range(start, start + len(part)), task(part, 1), strict=True)
