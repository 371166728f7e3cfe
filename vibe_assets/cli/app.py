"""What every `vibe` command shares: the group, its worded errors, the installation it works on, and tables for people."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vibe_assets.strangers import visible

if TYPE_CHECKING:
    from vibe_assets.stages.platform import Platform

USER_ERRORS = (
    "SettingsError",
    "StageError",
    "LakeError",
    "TeacherError",
    "TaxonomyError",
    "AuditError",
    "AuditedFileError",
    "LabelsFileError",
    "EncoderError",
    "HeadError",
    "LibraryVanished",
    "PromotionRefused",
    "ServeError",
    "InstanceError",
    "PhotoRejected",
    "ReplayError",
    "DemoError",
    "VlmError",
    "PairFileError",
    "ChoiceError",
    "ExportError",
    "NameIndexError",
    "ResultsError",
)
FILE = click.Path(path_type=Path, dir_okay=False, exists=True)
OUT = click.Path(path_type=Path)
FOLDER = click.Path(path_type=Path, file_okay=False, exists=True)


class Vibe(click.Group):
    """Words the errors that users can mend as one line, without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:
            if type(error).__name__ in USER_ERRORS or isinstance(error, OSError):
                raise click.ClickException(visible(error)) from error
            raise


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


def show(title: str, columns: list[str], rows: list[tuple[Any, ...]]) -> None:
    """A table for people."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=visible(title), title_justify="left", header_style="bold")
    for name in columns:
        table.add_column(Text(visible(name)), overflow="fold")
    for row in rows:
        table.add_row(*(Text(visible(value)) for value in row))
    Console().print(table)
