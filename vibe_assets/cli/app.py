"""What every `vibe` command shares: the group, its worded errors, the installation it works on, and tables for people."""

from __future__ import annotations

import io
import json
import math
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from vibe_assets.errors import UserError, with_remedy
from vibe_assets.strangers import visible

if TYPE_CHECKING:
    from vibe_assets.stages.platform import Platform

FILE = click.Path(path_type=Path, dir_okay=False, exists=True)
OUT = click.Path(path_type=Path)
FOLDER = click.Path(path_type=Path, file_okay=False, exists=True)
PORT = click.IntRange(0, 65535)
SEED = click.IntRange(0, 2**32 - 1)
KEYS = frozenset({"partition", "version", "fingerprint", "name", "table", "batch", "shard", "adapter"})  # columns whose cells people copy
DOCUMENT = "vibe_assets.document"  # in the context of a command that was asked for JSON


class Number(click.FloatRange):
    """A finite number of a range: `nan` would pass every comparison."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


class Pack(click.ParamType):
    """The name of a starter file of labels; which there are is looked up when it is asked."""

    name = "pack"

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        from vibe_assets.questions import packs

        return f"[{'|'.join(packs())}]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from vibe_assets.questions import packs

        if value not in (known := packs()):
            self.fail(f"no starter file {value!r}; there are {', '.join(known)}", param, ctx)
        return str(value)


class _Leaving(click.exceptions.Exit):
    """The command is over; so is the program, without the interpreter's own end."""


class Command(click.Command):
    """A command with `--json`: what `tell` and `show` print for people becomes one JSON document on standard output.

    What it prints otherwise stands in the document's `lines`.
    `prints=False` is for servers, and for commands that bring an output format of their own.
    """

    def __init__(self, *args: Any, prints: bool = True, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if prints:
            self.params.append(click.Option(["--json", "in_json"], is_flag=True, expose_value=False, callback=_as_json, help=JSON_HELP))

    def get_short_help_str(self, limit: int = 0) -> str:
        return super().get_short_help_str(UNCUT)

    def invoke(self, ctx: click.Context) -> Any:
        document = ctx.meta.get(DOCUMENT)
        if document is None:
            return super().invoke(ctx)
        lines = io.StringIO()
        try:
            with redirect_stdout(lines):
                return super().invoke(ctx)
        finally:
            if lines.getvalue():
                document["lines"] = lines.getvalue().splitlines()
            if document:
                click.echo(json.dumps(document, ensure_ascii=False, default=str))


class Vibe(click.Group):
    """Words the errors that users can mend as one line, without a traceback."""

    command_class = Command
    group_class = type

    def get_short_help_str(self, limit: int = 0) -> str:
        return super().get_short_help_str(UNCUT)

    def invoke(self, ctx: click.Context) -> Any:
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")  # a name that the terminal cannot show is no reason to stop
        try:
            return super().invoke(ctx)
        except _Leaving as end:
            if Path(sys.argv[0]).parts[-1:] == ("vibe",) or Path(sys.argv[0]).parts[-2:] == ("cli", "__main__.py"):
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(end.exit_code)
            raise
        except BrokenPipeError:
            raise  # `vibe doctor | head`: click ends in silence
        except (UserError, OSError) as error:
            raise click.ClickException(visible(with_remedy(str(error)))) from error


UNCUT = 10_000  # characters: the whole first sentence of a command's help
JSON_HELP = "One JSON document instead of text."


def _as_json(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        ctx.meta[DOCUMENT] = {}


@click.group(cls=Vibe, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--config", type=OUT, envvar="VIBE_CONFIG", help="Settings file (default: ./vibe.toml, then ./demo/vibe.toml).")
@click.version_option(package_name="vibe-assets")
@click.pass_context
def main(ctx: click.Context, config: Path | None) -> None:
    """Label photo libraries: a teacher annotates, people audit, small students learn, gates decide, the runtime labels.

    \b
    First steps
      vibe demo                      everything end to end on rendered photos
      vibe init ~/Pictures           write a commented vibe.toml for your own photos
      vibe doctor                    check photo root, teacher, encoder, disk
      vibe run                       all there is to do, in the foreground; or, day and night with a page:
      vibe ui                        Dagster UI and daemon on http://127.0.0.1:3000
      vibe status                    what is there, what waits for whom, what to do next
    """
    ctx.obj = config
    if config is not None:
        os.environ["VIBE_CONFIG"] = str(config.resolve())


def platform() -> Platform:
    """The installation that a command works on; what the command writes, the graph hears of."""
    from dataclasses import replace

    from vibe_assets.stages.platform import Platform

    return replace(Platform.open(), by=f"vibe {click.get_current_context().command_path.partition(' ')[2]}")


@contextmanager
def busy(text: str) -> Iterator[None]:
    """A spinner on a terminal, silence elsewhere."""
    from rich.console import Console

    with Console(stderr=True).status(text):
        yield


def document() -> dict[str, Any] | None:
    """What the running command has found so far, where JSON was asked for; None where people read it."""
    context = click.get_current_context(silent=True)
    found: dict[str, Any] | None = context.meta.get(DOCUMENT) if context else None
    return found


def tell(text: object, *, mark: str = "", **facts: Any) -> None:
    """A line for people, after a `mark` that may be coloured; `facts` are the same for programs."""
    found = document()
    if found is None:
        click.echo(mark + visible(text))
    else:
        found.update(facts)


def keep(**facts: Any) -> None:
    """What only programs are told."""
    if (found := document()) is not None:
        found.update(facts)


def show(
    title: str,
    columns: list[str],
    rows: Sequence[tuple[Any, ...]],
    *,
    name: str = "rows",
    records: Iterable[Mapping[str, Any]] | None = None,
) -> None:
    """A table for people: as wide as it is in a pipe; on a terminal, keys stay in one piece.

    For programs, a list of objects under `name`: `records`, or the cells by their columns.
    """
    found = document()
    if found is not None:
        found[name] = (
            [dict(record) for record in records] if records is not None else [dict(zip(columns, row, strict=True)) for row in rows]
        )
        return
    from rich.table import Table
    from rich.text import Text

    from vibe_assets.progress import print_table

    table = Table(title=visible(title), title_justify="left", header_style="bold")
    for number, column in enumerate(columns):
        longest = max((Text(visible(row[number])).cell_len for row in rows), default=0) if column in KEYS else None
        table.add_column(Text(visible(column)), overflow="fold", min_width=longest)
    for row in rows:
        table.add_row(*(Text(visible(value)) for value in row))
    print_table(table)


def leave(status: int) -> NoReturn:
    """End the command here, and the program once it has printed its document: DuckDB 2.0 prints a page of its own at interpreter exit."""
    raise _Leaving(status)


def nothing(reason: str) -> NoReturn:
    """End a command that brought nothing usable: exit status 1, and why. Raises ClickException."""
    raise click.ClickException(visible(reason))
