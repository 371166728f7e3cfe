"""Counts in words: the same everywhere that people read them."""

from __future__ import annotations


def some(count: int, what: str) -> str:
    """Say "1 folder", "1,200 folders"."""
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"
