"""What every page shares: the templates' environment, how figures are written, and where an interval lies on its track."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

from vibe_assets.evaluate import charts
from vibe_assets.evaluate.labels import Mistake
from vibe_assets.questions import Questions
from vibe_assets.records import Estimate

TRUTHS = {"human": "people's labels", "auto": "the teacher's labels"}
_IMAGE = re.compile(r"data:image/(png|jpeg|webp|gif);base64,[A-Za-z0-9+/=]+")


@dataclass(frozen=True)
class Bar:
    """An interval on a track: positions in percent of the track's width."""

    value: float
    low: float
    high: float
    baseline: float | None


def percent(value: float | None, digits: int = 1) -> str:
    """0.7512 -> '75.1 %' (with a narrow no-break space); a dash for what is undefined."""
    return "–" if value is None or not math.isfinite(value) else f"{100 * value:.{digits}f}\u202f%"


def worth(estimate: Estimate | None) -> str:
    """'1,234 checks' where models that saw every photo narrow an interval: what the checks alone would need; '' elsewhere."""
    return f"{estimate.worth:,} checks" if estimate is not None and estimate.worth is not None else ""


def bar(estimate: Estimate | None, scale: float = 1.0) -> Bar | None:
    if estimate is None:
        return None
    low, high, value = (round(100 * min(1.0, max(0.0, x / scale)), 2) for x in (estimate.low, estimate.high, estimate.value))
    baseline = None if estimate.baseline is None else round(100 * min(1.0, max(0.0, estimate.baseline / scale)), 2)
    return Bar(value, low, high, baseline)


def signed(value: float, digits: int = 1) -> str:
    """0.0123 -> '+1.2', in points."""
    return f"{100 * value:+.{digits}f}".replace("-", "−")


def check_pictures(thumbnails: Mapping[str, str]) -> None:
    """Raises ValueError for a thumbnail that is not an inline picture: a page loads nothing."""
    for image_id, url in thumbnails.items():
        if not _IMAGE.fullmatch(url):
            raise ValueError(f"thumbnail of {image_id}: expected a data URL of a PNG, JPEG, WebP or GIF, got {url[:40]!r}")


def render(template: str, questions: Questions | None = None, **shown: Any) -> str:
    """One page: HTML that loads nothing and runs nothing. Everything shown is escaped; SVG comes from charts.py alone.

    Labels of `questions` have the names that people read.
    """
    return str(_environment(charts.short if questions is None else questions.short).get_template(template).render(**shown))


def _environment(name: Callable[[str], str]) -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup, escape

    def isolated(text: str) -> Markup:
        """A name of any script inside a sentence, whose own direction it leaves alone."""
        return escape(text) if text.isascii() else Markup("<bdi>{}</bdi>").format(text)

    def short(label: str) -> Markup:
        return isolated(name(label))

    def says(mistake: Mistake) -> Markup | str:
        """What was said, in words: an attribute's value stands for the attribute itself."""
        return "left open" if mistake.predicted is None else Markup(", ").join(map(short, mistake.predicted.split(", ")))

    def truly(mistake: Mistake) -> Markup:
        return Markup(", ").join(map(short, mistake.truth.split(", ")))

    def breakable(path: str) -> Markup:
        """A path that may break a line after its separators, not within its words."""
        return Markup(re.sub(r"([/_-]+)", r"\1<wbr>", str(escape(path))))  # noqa: S704 - escaped before

    environment = Environment(
        loader=PackageLoader("vibe_assets.evaluate"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )  # fmt: skip
    environment.filters.update(
        pct=percent, bar=bar, worth=worth, signed=signed, short=short, isolated=isolated, says=says, truly=truly, breakable=breakable
    )
    number = count(1)
    environment.filters["svg"] = lambda drawn: Markup(charts.numbered(drawn, next(number)))  # noqa: S704 - only what charts.py drew passes
    return environment
