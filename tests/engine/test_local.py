"""The engine that needs nothing: results in order, one per item, lazily, errors as they are."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Iterator, Sequence

import pytest

from vibe_assets.engine import LocalEngine, Work, in_order, open_engine
from vibe_assets.sections import EngineSettings


def squares(items: Sequence[int], tries: int) -> Iterator[int]:
    return (item * item * tries for item in items)


def test_every_item_has_its_result_at_its_place() -> None:
    assert list(LocalEngine().arrivals(Work(lambda: squares, [3, 1, 2]))) == [(0, 9), (1, 1), (2, 4)]


@pytest.mark.parametrize("chunk", [None, 1, 2, 5, 9])
def test_chunks_change_nothing(chunk: int | None) -> None:
    assert list(in_order(LocalEngine().arrivals(Work(lambda: squares, range(5), chunk=chunk)))) == [0, 1, 4, 9, 16]


def test_the_task_is_made_once_and_not_at_all_without_items() -> None:
    made = []

    def make():
        made.append(1)
        return squares

    assert list(LocalEngine().arrivals(Work(make, []))) == []
    assert made == []
    list(LocalEngine().arrivals(Work(make, range(6), chunk=2)))
    assert made == [1]


def test_results_come_as_they_are_asked_for() -> None:
    done = []

    def task(items: Sequence[int], tries: int) -> Iterator[int]:
        for item in items:
            done.append(item)
            yield item

    assert list(itertools.islice(LocalEngine().arrivals(Work(lambda: task, range(100))), 3)) == [(0, 0), (1, 1), (2, 2)]
    assert done == [0, 1, 2]


@pytest.mark.parametrize("given", [[1], [1, 2, 3]])
def test_a_task_with_too_few_or_too_many_results_is_refused(given: list[int]) -> None:
    with pytest.raises(ValueError, match=r"zip\(\)"):
        list(LocalEngine().arrivals(Work(lambda: lambda items, tries: given, ["a", "b"])))


def test_what_a_task_raises_is_raised() -> None:
    def task(items: Sequence[int], tries: int) -> Iterator[int]:
        yield 1
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        list(LocalEngine().arrivals(Work(lambda: task, [1, 2])))


def test_order_is_restored() -> None:
    assert list(in_order(iter([(2, "c"), (0, "a"), (1, "b"), (3, "d")]))) == ["a", "b", "c", "d"]


def test_the_default_engine_imports_no_ray() -> None:
    code = (
        "import sys; from vibe_assets.engine import Work, open_engine; from vibe_assets.settings import Settings\n"
        "import vibe_assets.stages.spread\n"
        "engine = open_engine(Settings().engine); list(engine.arrivals(Work(lambda: lambda items, tries: items, [1])))\n"
        "sys.exit(any(name.split('.')[0] == 'ray' for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_default_is_local() -> None:
    assert isinstance(open_engine(EngineSettings()), LocalEngine)
