"""Items go through the task in this process, as one stream: nothing is pickled, nothing waits for a chunk to be full."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from vibe_assets.engine.base import MakeTask


class LocalEngine:
    """The default: needs nothing but Python."""

    workers = 1

    def arrivals(
        self,
        make_task: MakeTask,
        items: Sequence[Any],
        *,
        chunk: int | None = None,
        workers: int | None = None,
        variables: Sequence[str] = (),
    ) -> Iterator[tuple[int, Any]]:
        """As Engine.arrivals; a task sees all items at once, unless `chunk` is given, and no worker can be lost."""
        if not items:
            return
        task, size = make_task(), chunk or len(items)
        for start in range(0, len(items), size):
            part = items[start : start + size]
            yield from zip(range(start, start + len(part)), task(part, 1), strict=True)
