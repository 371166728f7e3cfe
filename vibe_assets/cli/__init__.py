"""The `vibe` command: thin, over the same functions that the assets call. One module per subject; importing it adds its commands."""

from vibe_assets.cli import library, queries, setup, students, teacher, truth  # noqa: F401 - each adds its commands to `main`
from vibe_assets.cli.app import main

__all__ = ["main"]
