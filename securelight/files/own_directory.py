"""A folder that the server alone writes to and makes where it is missing: what may be wrong with it beforehand."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def own_directory_faults(path: Path) -> list[str]:
    """What keeps `path` from being such a folder: none or one.

    Whether the server's user may write there is not asked: this may be another user.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return []
    except OSError as error:  # what leads there is a file, for one
        return [f"directory {str(path)!r}: {error.strerror}"]
    if not stat.S_ISDIR(mode):
        return [f"directory {str(path)!r} is not a directory"]
    if mode & 0o022:
        return [f"directory {str(path)!r} can be written by others, who could change what is served: chmod go-w"]
    return []
