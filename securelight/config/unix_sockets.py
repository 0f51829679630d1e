"""Where unix sockets may be made: what of it the machine has to say, for `check` and for who makes them."""

from __future__ import annotations

import contextlib
import grp
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def folder_fault(path: Path) -> str:
    """Why no socket is made at `path`; empty if one can be."""
    folder = path.parent
    try:
        mode = folder.stat().st_mode
    except OSError as error:
        return f"the folder {str(folder)!r} cannot be used: {error.strerror}; make it, or choose another"
    if not stat.S_ISDIR(mode):
        return f"{str(folder)!r} is not a folder"
    if mode & stat.S_IWOTH:
        return f"everybody can make files in {str(folder)!r}, this socket too; choose a folder of the server's own"
    with contextlib.suppress(OSError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            return f"{str(path)!r} is there and is not a socket; it is not replaced"
    return ""


def group_fault(group: str) -> str:
    """Why a socket cannot be of `group`; empty if it can, and for no group."""
    try:
        if group:
            grp.getgrnam(group)
    except KeyError:
        return f"there is no group {group!r}"
    return ""
