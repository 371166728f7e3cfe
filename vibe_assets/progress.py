"""One line of progress per step: items go in, the same items come out, and people see how far it is, on a terminal and in a log."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TextIO, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress
    from rich.table import Table

T = TypeVar("T")
UNCUT = 10_000  # characters: wider than any table
EVERY_S = 20.0  # seconds between two lines about one step in a log


def stepped(items: Sequence[T], what: str, *, unit: str, shown: bool = True, log: TextIO | None = None) -> Iterator[T]:
    """Yield the items under a bar that stays, done, when they are through. One item: a spinner and the clock.

    Where stderr is no terminal, a line now and then takes the bar's place. `log` gets a line for every step that is done, and those.
    """
    if not shown or not items:
        yield from items
        return
    with _line() as progress, _logged(what, len(items), unit, log) as lines:
        count = f"of {len(items)} {unit}s" if len(items) > 1 else unit
        task = progress.add_task(what, total=len(items), count=count)
        for item in items:
            yield item
            progress.advance(task)
            lines.done += 1


@contextmanager
def waiting(what: str, *, shown: bool = True, log: TextIO | None = None) -> Iterator[None]:
    """A spinner with the clock for the time of the block; nothing of it stays. In a log, a line when it takes long."""
    if not shown:
        yield
        return
    with _line(transient=True) as progress, _logged(what, 0, "", log):
        progress.add_task(what, total=None, count="")
        yield


def print_table(table: Table) -> None:
    """On a terminal as wide as that; in a pipe as wide as the table is, so that nothing wraps."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console = Console(width=console.measure(table, options=console.options.update(max_width=UNCUT)).maximum)
    console.print(table)


@dataclass
class _Lines:
    """Lines about one step in a log."""

    what: str
    total: int
    unit: str
    log: TextIO
    done: int = 0
    began: float = field(default_factory=time.monotonic)

    def say(self) -> None:
        minutes, seconds = divmod(round(time.monotonic() - self.began), 60)
        count = f": {self.done} of {self.total} {self.unit}s" if self.total > 1 else ""
        self.log.write(f"{self.what}{count} ({minutes}:{seconds:02d})\n")
        self.log.flush()


@contextmanager
def _logged(what: str, total: int, unit: str, log: TextIO | None) -> Iterator[_Lines]:
    """Say how far it is every EVERY_S seconds, and once more at the end where somebody keeps a log of it."""
    lines = _Lines(what, total, unit, log or sys.stderr)
    if log is None and sys.stderr.isatty():
        yield lines
        return
    over = threading.Event()

    def tell() -> None:
        while not over.wait(EVERY_S):
            lines.say()

    teller = threading.Thread(target=tell, name="progress", daemon=True)
    teller.start()
    try:
        yield lines
    finally:
        over.set()
        teller.join()
    if log is not None and total:
        lines.say()


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
