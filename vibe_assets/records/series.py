"""Tables of the triage study: series, preferences, quality, picks."""

from __future__ import annotations

from vibe_assets.records.table import Table

SERIES: tuple[Table, ...] = ()
