"""Tables of the names study: the index of faces and what probes said."""

from __future__ import annotations

from vibe_assets.records.table import Table

FIRST_NAMES: tuple[Table, ...] = ()
