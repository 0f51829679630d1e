"""What tells that a file has changed, by one stat call."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

FileState = tuple[int, int, int, int, int] | None
"""Device, inode, size, and times of the last change of content and of mode; None if it is not there."""


def state_of(path: Path) -> FileState:
    """The state of the file `path` points to."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
