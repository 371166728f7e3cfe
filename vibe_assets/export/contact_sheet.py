"""Photos found by a search go in; one page of small pictures comes out that loads nothing and runs nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_IMAGE = re.compile(r"data:image/(png|jpeg|webp|gif);base64,[A-Za-z0-9+/=]+")


@dataclass(frozen=True)
class Shot:
    """One photo of the sheet."""

    rel_path: str
    cosine: float
    picture: str | None  # data URL
    labels: str = ""
    alike: int = 0  # further photos of its group that are not shown
    share: float = 0.0  # length of the bar, 0..100
    keys: str = ""  # the labels as programs read them


def render_sheet(shots: Sequence[Shot], *, title: str, subtitle: str, footer: str, example: str | None = None) -> str:
    """HTML with pictures as data URLs, for light and dark, desk and phone. Raises ValueError for a picture that is not inline."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    for url in [example, *(shot.picture for shot in shots)]:
        if url is not None and not _IMAGE.fullmatch(url):
            raise ValueError(f"expected a data URL of a picture, got {url[:40]!r}")
    environment = Environment(
        loader=PackageLoader("vibe_assets.export"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    page = environment.get_template("contact_sheet.html")
    return str(page.render(shots=shots, title=title, subtitle=subtitle, footer=footer, example=example))
