"""The photo root as the platform sees it."""

from __future__ import annotations

import click

from vibe_assets.cli.app import main, nothing, platform, show, tell
from vibe_assets.strangers import shortened, visible


@main.command()
@click.option("--accept-missing", is_flag=True, help="Folders and photos that vanished are really gone: accept it.")
def folders(accept_missing: bool) -> None:
    """Look at the photo root and list its folders with their partition keys."""
    from vibe_assets.stages.library import accept_missing as accept
    from vibe_assets.stages.library import look_at_folders

    home = platform()
    accepted = accept(home) if accept_missing else []
    look = look_at_folders(home, accept_missing=accept_missing)
    rows = list(look.folders.select("folder_key", "rel_path", "files").iter_rows())
    show("Folders", ["partition", "folder", "files"], rows, name="folders")
    for problem in look.problems:
        click.echo(visible(f"cannot read {shortened(problem.rel_path)}: {problem.reason} ({problem.detail})"), err=True)
    if accepted:
        tell(f"what vanished from {', '.join(accepted)} counts as gone: a running daemon takes it from here, or `vibe run`", gone=accepted)
    if not rows:
        nothing(f"no photos below {home.settings.root}: put some there, or set library.root to the folder that holds them")
