"""One line of progress per step: items go in, the same items come out, and people see how far it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress
    from rich.table import Table

T = TypeVar("T")
UNCUT = 10_000  # characters: wider than any table


def stepped(items: Sequence[T], what: str, *, unit: str, shown: bool = True) -> Iterator[T]:
    """Yield the items under a bar that stays, done, when they are through. One item: a spinner and the clock."""
    if not shown:
        yield from items
        return
    with _line() as progress:
        count = f"of {len(items)} {unit}s" if len(items) > 1 else unit
        task = progress.add_task(what, total=len(items), count=count)
        for item in items:
            yield item
            progress.advance(task)


@contextmanager
def waiting(what: str, *, shown: bool = True) -> Iterator[None]:
    """A spinner with the clock for the time of the block; nothing of it stays."""
    if not shown:
        yield
        return
    with _line(transient=True) as progress:
        progress.add_task(what, total=None, count="")
        yield


def print_table(table: Table) -> None:
    """On a terminal as wide as that; in a pipe as wide as the table is, so that nothing wraps."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console = Console(width=console.measure(table, options=console.options.update(max_width=UNCUT)).maximum)
    console.print(table)


def _line(*, transient: bool = False) -> Progress:
    """Drawn on stderr, on a terminal only: a log of moving bars is of no use."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.table import Column

    console = Console(stderr=True)
    return Progress(
        SpinnerColumn(finished_text="[green]✓[/]"),
        TextColumn("{task.description}", markup=False, table_column=Column(width=42, no_wrap=True, overflow="ellipsis")),
        BarColumn(bar_width=24, complete_style="cyan", finished_style="green"),
        TextColumn("{task.completed:>4.0f} {task.fields[count]}" if not transient else "", table_column=Column(width=18, no_wrap=True)),
        TimeElapsedColumn(),
        console=console,
        transient=transient,
        refresh_per_second=5,
        disable=not console.is_terminal,
    )
