"""One photo with its tags as a source found it, before anything of it was checked."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Found:
    """`path` of a file that is there, or None with the reason why not."""

    source: str  # unsplash | file | audited | auto
    source_id: str
    name: str
    raw_tags: tuple[str, ...]
    path: bytes | None
    image_id: str | None = None  # where the library knows it already, and has measured it
    phash: str | None = None
    photographer: str | None = None
    credit_url: str | None = None
    licence: str | None = None
    reason: str | None = None
    detail: str | None = None
