"""A local file or folder goes in; what was written of it is on the disk when the call returns."""

from __future__ import annotations

import os
from pathlib import Path


def to_disk(path: Path) -> None:
    """Wait until the file's bytes, or the folder's names, survive a power cut: a new name needs its folder synced, too. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
