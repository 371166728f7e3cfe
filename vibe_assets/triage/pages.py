"""Series and figures become self-contained pages in the look of the reports, and photos their small inline pictures."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from vibe_assets.stages.platform import Platform

if TYPE_CHECKING:
    import polars as pl

SHEET_PX = 300  # longest side of a picture on a contact sheet


def render(template: str, **shown: Any) -> str:
    """One page from this room's templates, over the reports' base, style and macros. Everything shown is escaped."""
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    from vibe_assets.evaluate import charts
    from vibe_assets.evaluate.page import bar, percent

    environment = Environment(
        loader=ChoiceLoader([PackageLoader("vibe_assets.triage"), PackageLoader("vibe_assets.evaluate")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(pct=percent, bar=bar, short=charts.short, isolated=str, says=str, truly=str, breakable=str, signed=str)
    environment.filters["points"] = lambda value: f"{value:+.1f}".replace("-", "−")
    return environment.get_template(template).render(**shown)


def pictures(platform: Platform, rows: pl.DataFrame, image_ids: Iterable[str]) -> dict[str, str]:
    """image_id -> JPEG data URL, of PHOTO_SERIES rows; photos that cannot be read any more are left out."""
    import polars as pl

    from vibe_assets.photos.decode import PhotoRejected, open_accepted

    found = {}
    wanted = rows.unique("image_id", keep="first").filter(pl.col("image_id").is_in(sorted(set(image_ids))))
    for ref in platform.photo_refs(wanted):
        try:
            image = open_accepted(ref.path, platform.settings.library, draft_px=2 * SHEET_PX).image
        except PhotoRejected:
            continue
        image.thumbnail((SHEET_PX, SHEET_PX))
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=78)
        found[ref.image_id] = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
    return found
