"""Tables of the VLM study: tagged photos, what taggers said of them, instruction data."""

from __future__ import annotations

from vibe_assets.records.table import Table

TAGS: tuple[Table, ...] = ()
