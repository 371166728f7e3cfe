"""Chunks of items go through a pool of Ray Data actors; results come back once per item, whatever dies on the way.

    items -> chunks, one a block -> actors (the task made once in each) -> results by place

Ray runs a chunk again when its worker died. Tries are counted beside the driver before the work starts, so that a chunk that kills its
workers is given up: its items go round once more one by one, and those that still kill come back as `Lost`.
"""

from __future__ import annotations

import contextlib
import os
import pickle
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vibe_assets.engine.base import EngineError, Lost, Work
from vibe_assets.engine.ray_session import connect

if TYPE_CHECKING:
    from vibe_assets.sections import EngineSettings

Outcome = tuple[str, Any]  # "done", results | "raised", exception | "lost", tries


class Keeper:
    """Beside the driver: counts the tries of each chunk, and knows the variables that the workers may ask for."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self.tries: dict[int, int] = {}
        self._variables = dict(variables)

    def begin(self, chunk: int) -> int:
        self.tries[chunk] = self.tries.get(chunk, 0) + 1
        return self.tries[chunk]

    def variables(self) -> dict[str, str]:
        return self._variables


class Worker:
    """One actor of the pool."""

    def __init__(self, make_task: bytes, keeper: Any, most_tries: int, tries_before: int) -> None:
        self.make_task, self.keeper, self.most_tries, self.tries_before = make_task, keeper, most_tries, tries_before
        self.task: Any = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        import ray

        chunk = int(batch["chunk"][0])
        tries = ray.get(self.keeper.begin.remote(chunk))
        outcome: Outcome = ("lost", self.tries_before + tries - 1)
        if tries <= self.most_tries:
            try:
                outcome = "done", self._results(pickle.loads(batch["items"][0]), self.tries_before + tries)  # noqa: S301 - from our own driver
            except Exception as error:  # raised again where the engine was called
                outcome = "raised", error
        return {"chunk": [chunk], "outcome": [_pickled(outcome)]}

    def _results(self, items: Sequence[Any], tries: int) -> list[Any]:
        if self.task is None:
            self._take_variables()
            self.task = pickle.loads(self.make_task)()  # noqa: S301
        results = list(self.task(items, tries))
        if len(results) != len(items):
            raise ValueError(f"expected one result for each of {len(items)} items, got {len(results)}")
        return results

    def _take_variables(self) -> None:
        import ray

        for name, value in ray.get(self.keeper.variables.remote()).items():
            if not os.environ.get(name):
                os.environ[name] = value


def _pickled(outcome: Outcome) -> bytes:
    """An exception that does not survive pickling is told in words."""
    try:
        packed = pickle.dumps(outcome)
        pickle.loads(packed)  # noqa: S301
    except Exception:
        if outcome[0] != "raised":
            raise
        packed = pickle.dumps(("raised", EngineError(f"{type(outcome[1]).__name__}: {outcome[1]}")))
    return packed


class RayEngine:
    """A pool of actors for each call; the connection outlives the calls."""

    def __init__(self, settings: EngineSettings) -> None:
        self.settings = settings

    @property
    def workers(self) -> int:
        return self.settings.max_workers

    def arrivals(self, work: Work) -> Iterator[tuple[int, Any]]:
        """As Engine.arrivals. Raises EngineError when the cluster is not there, or is lost with all its nodes."""
        if not work.items:
            return
        ray, count, size = connect(self.settings), len(work.items), work.chunk or self.settings.chunk
        chunks = [range(start, min(start + size, count)) for start in range(0, count, size)]
        doubtful: list[int] = []  # of chunks that killed their workers
        for places, (kind, value) in self._round(ray, work, chunks):
            if kind == "done":
                yield from zip(places, value, strict=True)
            elif len(places) == 1:
                yield places[0], Lost(value)
            else:
                doubtful += places
        alone = [range(place, place + 1) for place in sorted(doubtful)]
        for places, (kind, value) in self._round(ray, work, alone, tries_before=self.settings.tries) if alone else ():
            yield places[0], value[0] if kind == "done" else Lost(value)

    def _round(self, ray: Any, work: Work, chunks: Sequence[range], *, tries_before: int = 0) -> Iterator[tuple[range, Outcome]]:
        """Every chunk through one dataset; each comes back once, with results or as lost."""
        keeper = _keeper(ray, {name: value for name in work.variables if (value := os.environ.get(name))})
        open_chunks = set(range(len(chunks)))
        try:
            for row in self._rows(ray, work, keeper, chunks, tries_before):
                number = int(row["chunk"])
                if number not in open_chunks:  # a block that Ray made a second time
                    continue
                open_chunks.remove(number)
                outcome: Outcome = pickle.loads(row["outcome"])  # noqa: S301 - from our own workers
                if outcome[0] == "raised":
                    raise outcome[1]
                yield chunks[number], outcome
        except ray.exceptions.RayError as error:
            raise EngineError(f"Ray gave up: {str(error).strip().splitlines()[0]}; what came back until then is kept, run again") from error
        finally:
            with contextlib.suppress(Exception):  # it goes with the cluster anyway
                ray.kill(keeper)
        if open_chunks:
            raise EngineError(f"Ray returned {len(chunks) - len(open_chunks)} of {len(chunks)} chunks; run again for the rest")

    def _rows(self, ray: Any, work: Work, keeper: Any, chunks: Sequence[range], tries_before: int) -> Iterator[dict[str, Any]]:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = context.print_on_execution_start = False
        blocks = [{"chunk": number, "items": pickle.dumps([work.items[place] for place in places])} for number, places in enumerate(chunks)]
        most = min(work.workers or self.workers, self.workers)
        least = min(self.settings.min_workers, most)
        dataset = ray.data.from_items(blocks, override_num_blocks=len(blocks)).map_batches(
            Worker,
            fn_constructor_args=(ray.cloudpickle.dumps(work.make_task), keeper, self.settings.tries, tries_before),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(min_size=least, max_size=most),
            num_cpus=self.settings.cpus,
            num_gpus=self.settings.gpus or None,
        )
        return iter(dataset.iter_rows())


def _keeper(ray: Any, variables: Mapping[str, str]) -> Any:
    """On the driver's own node: it lives as long as the run."""
    here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(num_cpus=0, scheduling_strategy=here)(Keeper).remote(variables)
