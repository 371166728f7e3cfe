"""Folders and files by path or by URL (file, s3, gs, az): the same few operations on either."""

from __future__ import annotations

from vibe_assets.storage.place import Place, Url, below, is_url, parse_place

__all__ = ["Place", "Url", "below", "is_url", "parse_place"]
