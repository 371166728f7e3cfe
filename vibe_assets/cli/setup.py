"""Set up, examine, serve, demonstrate."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

import click

from vibe_assets.cli.app import OUT, Pack, leave, main, platform, tell


@main.command()
@click.argument("photos", required=False)
@click.option("--output", type=OUT, default=Path("vibe.toml"), show_default=True)
@click.option("--labels", type=Pack(), help="A starter file as labels.yaml, for another job than the packaged labels.")
@click.option("--force", is_flag=True, help="Write over an existing vibe.toml, and with --labels over labels.yaml.")
def init(photos: str | None, output: Path, labels: str | None, force: bool) -> None:
    """Write a commented vibe.toml, and beside it labels.yaml: what photos are asked.

    \b
    Examples:
      vibe init ~/Pictures
      vibe init ~/Pictures --labels wildlife
      vibe init s3://my-bucket/photos
    """
    from vibe_assets.operate.setup import write_settings
    from vibe_assets.storage import parse_place

    try:
        root = parse_place(photos) if photos else None
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="PHOTOS") from error
    begun = write_settings(output, root=root, labels=labels, force=force)
    asked = f"kept {begun.labels}, which was there" if begun.kept else f"wrote {begun.labels}: what photos are asked"
    tell(asked, labels=begun.labels, labels_kept=begun.kept)
    tell(f"wrote {begun.settings}; look through it, then run `vibe doctor`", file=begun.settings)


@main.command()
def doctor() -> None:
    """Check the set-up and say what to mend: FAIL stops the platform, warn does not."""
    from vibe_assets.operate.setup import examine

    found = []
    for finding in examine(platform().settings):
        found.append(finding)
        word, colour = ("FAIL", "red") if not finding.ok else ("warn", "yellow") if finding.remedy else ("ok  ", "green")
        tell(f" {finding.what}: {finding.detail}", mark=click.style(word, fg=colour), findings=[asdict(one) for one in found])
        if finding.remedy:
            tell(f"     -> {finding.remedy}")
    sys.exit(0 if all(finding.ok for finding in found) else 1)


@main.command(prints=False)
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=3000, show_default=True, type=click.IntRange(1, 65535))
@click.option("--no-daemon", is_flag=True, help="Serve the pages only: no sensors, schedules or queued runs.")
@click.option("--read-only", is_flag=True, help="Show, but allow no run and no change.")
@click.option(
    "-w", "--workspace", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Code servers to use: a workspace file."
)
@click.option("--served-as", multiple=True, metavar="HOST[:PORT]", help="Name that people reach the proxy in front by; may be repeated.")
def ui(host: str, port: int, no_daemon: bool, read_only: bool, workspace: Path | None, served_as: tuple[str, ...]) -> None:
    """Serve the Dagster UI and daemon of this installation, guarded against other sites' pages.

    \b
    Examples:
      vibe ui --read-only --no-daemon
      vibe ui --host 0.0.0.0 --served-as photos.example.org -w deploy/workspace.yaml     behind a proxy that asks who it is
    """
    from vibe_assets.demo.run import teacher_for_demo
    from vibe_assets.operate.ui import serve

    with teacher_for_demo(platform().settings):
        serve(host=host, port=port, daemon=not no_daemon, read_only=read_only, workspace=workspace, served_as=served_as)


@main.command(prints=False)
@click.option("--folder", type=OUT, default=Path("demo"), show_default=True, help="Where photos, lake and reports of the demo go.")
@click.option("--photos", default=400, show_default=True, type=click.IntRange(min=1), help="How many photos to render.")
@click.option("--studies/--no-studies", default=True, show_default=True, help="Also run the studies: triage, names, tags.")
def demo(folder: Path, photos: int, studies: bool) -> None:
    """Run the whole lineage through Dagster on a rendered library: no network service, no GPU."""
    from vibe_assets.demo.run import run_demo
    from vibe_assets.photos.workers import stop_idle_workers

    passed = run_demo(folder, photos=photos, studies=studies)
    stop_idle_workers()
    leave(0 if passed else 1)
