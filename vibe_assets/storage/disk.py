"""A local file or folder goes in; what was written of it is on the disk when the call returns, and room for more can be claimed before."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from pathlib import Path

_KEEP_SIZE = 1  # FALLOC_FL_KEEP_SIZE: blocks are the file's, its length stays
_CANNOT = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EPERM)


def to_disk(path: Path) -> None:
    """Wait until the file's bytes, or the folder's names, survive a power cut: a new name needs its folder synced, too. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def still_named(path: Path, descriptor: int) -> bool:
    """Whether `path` leads to the open file: false once it was deleted, renamed away or replaced, even if writes to it still succeed."""
    opened = os.fstat(descriptor)
    try:
        return opened.st_nlink > 0 and os.path.samestat(path.stat(), opened)
    except FileNotFoundError:
        return False


def claim_room(descriptor: int, offset: int, size: int) -> None:
    """Make the `size` bytes from `offset` on the open file's own: a later write of them cannot meet a full disk. Its length stays.

    Where a file system has no such claim, the free space is compared. Raises OSError (ENOSPC, EDQUOT) when there is no room.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.fallocate(descriptor, _KEEP_SIZE, ctypes.c_int64(offset), ctypes.c_int64(size)) == 0:
            return
        if (number := ctypes.get_errno()) not in _CANNOT:
            raise OSError(number, os.strerror(number))
    free = os.fstatvfs(descriptor)
    if free.f_bavail * free.f_frsize < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
