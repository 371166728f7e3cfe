"""The `vibe` command: thin, over the same functions that the assets call. One module per subject; importing it adds its commands."""

from vibe_assets.cli import (  # noqa: F401 - each adds its commands to `main`
    audit,
    export,
    label_studio,
    labels,
    library,
    names,
    queries,
    repair,
    reports,
    run,
    search,
    setup,
    status,
    students,
    tags,
    teacher,
    triage,
    truth,
    vlm,
)
from vibe_assets.cli.app import main

__all__ = ["main"]
