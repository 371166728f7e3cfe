"""The packaged questions, and files with others beside them."""

from __future__ import annotations

from pathlib import Path

from vibe_assets.questions import Questions, load

PACKAGED = load()
ATTRIBUTES = tuple(field.name for field in PACKAGED["attributes"].fields)
STYLE = """
  style:
    type: one_of
    ask: what it was taken with
    labels: {film: {hint: an analogue camera}, phone: {}, drone: {hint: from above}}
"""


def with_style(folder: Path) -> Path:
    """The packaged file with a question more, `style`."""
    from importlib.resources import files

    text = files("vibe_assets.questions").joinpath("labels.yaml").read_text(encoding="utf-8")
    at = text.index("\n# A label that follows")
    file = folder / "labels.yaml"
    file.write_text(text[:at] + STYLE + text[at:], encoding="utf-8")
    return file


def styled(folder: Path) -> Questions:
    """Those of `with_style`."""
    return load(with_style(folder))
