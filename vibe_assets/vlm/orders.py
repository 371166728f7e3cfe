"""The flat knobs of a command or a run become the order that ingest takes."""

from __future__ import annotations

from pathlib import Path

from vibe_assets.vlm.ingest import Order
from vibe_assets.vlm.unsplash import Wish


def order_of(
    *,
    query: str = "",
    collection: str = "",
    random: bool = False,
    count: int = 30,
    first_page: int = 1,
    file: str | Path = "",
    library: str = "",
    limit: int | None = None,
    allow_nothing_new: bool = False,
) -> Order:
    """Raises VlmError later, in ingest, where no source or several are named."""
    wish = Wish(query=query, collection=collection, random=random, count=count, first_page=first_page)
    return Order(
        unsplash=wish if query or collection or random else None,
        file=Path(file).expanduser() if str(file) not in ("", ".") else None,
        library=library,
        limit=limit,
        allow_nothing_new=allow_nothing_new,
    )
