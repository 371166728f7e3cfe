"""The audit page as a command."""

from __future__ import annotations

import click

from vibe_assets.cli.app import main, platform


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to serve on; any but this machine's needs the printed link.")
@click.option("--port", type=int, help="Port; default: [audit] port, 3001.")
@click.option("--open", "in_browser", is_flag=True, help="Open it in the browser.")
def audit(host: str, port: int | None, in_browser: bool) -> None:
    """Serve the page where people check the sample: one photo at a time, one key a label.

    \b
    Examples:
      vibe audit --open
      vibe audit --host 192.168.1.20       for people on your network; send them the link that is printed
    """
    from vibe_assets.stages.audit import serve_audit

    def announce(address: str) -> None:
        click.echo(f"the audit page is at {address} (Ctrl-C ends it)")
        if in_browser:
            click.launch(address)

    home = platform()
    serve_audit(home, host=host, port=home.settings.audit.port if port is None else port, announce=announce)
