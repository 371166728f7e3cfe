"""The audit page as a command."""

from __future__ import annotations

from collections.abc import Sequence

import click

from vibe_assets.cli.app import PORT, main, platform


@main.command(prints=False)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to serve on; any but this machine's needs the printed link.")
@click.option("--port", type=PORT, help="Port; default: [audit] port, 3001. 0 takes a free one.")
@click.option("--served-as", multiple=True, metavar="HOST[:PORT]", help="Name that people reach a proxy in front by; may be repeated.")
@click.option("--open", "in_browser", is_flag=True, help="Open it in the browser.")
def audit(host: str, port: int | None, served_as: tuple[str, ...], in_browser: bool) -> None:
    """Serve the page where people check the sample: one photo at a time, one key a label.

    \b
    Examples:
      vibe audit --open
      vibe audit --host 192.168.1.20       for people on your network; send them the link that is printed
      vibe audit --served-as photos.example.org        behind a proxy, which passes Host and Origin through
    """
    from vibe_assets.stages.audit import serve_audit

    def announce(addresses: Sequence[str]) -> None:
        click.echo(f"the audit page is at {' and '.join(addresses)} (Ctrl-C ends it)")
        if in_browser:
            click.launch(addresses[0])

    home = platform()
    chosen = home.settings.audit.port if port is None else port
    serve_audit(home, host=host, port=chosen, served_as=served_as, announce=announce)
