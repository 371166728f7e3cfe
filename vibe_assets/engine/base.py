"""What both engines promise: a task and items go in, one result per item comes out, or why there is none."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from vibe_assets.errors import UserError

T = TypeVar("T")
R = TypeVar("R")

# Items of a chunk and the number of the try (1, or more after a worker died with the chunk) -> one result per item, in their order.
Task = Callable[[Sequence[Any], int], Iterable[Any]]
MakeTask = Callable[[], Task]  # called once per worker: a model is loaded there, not per chunk; must be picklable


class EngineError(UserError, RuntimeError):
    """The engine cannot run, or lost its cluster; the message names the setting and the remedy."""


@dataclass(frozen=True)
class Lost:
    """An item without a result: every worker that touched it died."""

    tries: int

    @property
    def detail(self) -> str:
        return f"{self.tries} workers died while they had this photo"


@dataclass(frozen=True)
class Work:
    """Items, and who makes something of them.

    `chunk`: items handed over at a time, for a task that knows better than the settings. `workers`: at the most so many, for a task that
    shares something scarce. `variables`: names of environment variables that the task reads; a worker whose own environment lacks one
    gets this process' value.
    """

    make_task: MakeTask
    items: Sequence[Any]
    chunk: int | None = None
    workers: int | None = None
    variables: Sequence[str] = ()


class Engine(Protocol):
    """Where work runs. Results are the same on every engine, whatever their order of arrival."""

    @property
    def workers(self) -> int:
        """How many tasks run at a time at the most."""

    def arrivals(self, work: Work) -> Iterator[tuple[int, Any]]:
        """Yield (place among the items, result or Lost) once per item, as they are done. What the task raises is raised here."""


def in_order(arrivals: Iterator[tuple[int, R]]) -> Iterator[R]:
    """Results by place: what came too early waits."""
    waiting: dict[int, R] = {}
    due = 0
    for place, result in arrivals:
        waiting[place] = result
        while due in waiting:
            yield waiting.pop(due)
            due += 1
