"""What a directory holds, as far as it may be seen: read, filtered and sorted in pieces.

Hidden are names that begin with a dot, what is neither a file nor a directory, what we may not open, symbolic links
that lead where no request may (files/safe_path), and names that the operator hides. Everything here blocks and is
called in threads; it works in pieces, so that no other thread waits long for the interpreter.
"""

from __future__ import annotations

import fnmatch
import heapq
import itertools
import os
import re
import stat
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from securelight.files.encoders import SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from securelight.files.safe_path import DocumentRoot

SortKey = Literal["name", "size", "time"]
_RUN_ENTRIES = 4_096
"""So many are sorted at a time, in about 3 ms; the runs are merged as they are read."""
_DIGITS = re.compile(rb"[0-9]+")
_DIGITS_WIDTH = 20


class Entry(NamedTuple):
    """One file or directory."""

    name: bytes
    is_directory: bool
    size: int
    """In bytes; 0 for a directory."""
    modified_seconds: int


class Visible:
    """Which entries of a directory may be seen.

    Args:
        root: what decides where symbolic links may lead.
        dot_files: whether names may begin with a dot.
        hide: patterns of names, as of a shell.
        siblings: whether the compressed siblings of files are hidden.
    """

    def __init__(self, root: DocumentRoot, *, dot_files: bool, hide: Sequence[str], siblings: bool) -> None:
        self._root = root
        self._dot_files = dot_files
        self._hide = re.compile(b"|".join(fnmatch.translate(pattern).encode() for pattern in hide)) if hide else None
        self._siblings = siblings

    def read(self, descriptor: int, relative: bytes, maximum: int) -> tuple[list[Entry], bool]:
        """(the entries in no order, whether there are more than `maximum`).

        Args:
            descriptor: of the directory; it stays open.
            relative: its path below the root.
            maximum: how many are read.

        Errors: OSError.
        """
        found: list[Entry] = []
        before = b"" if relative == b"." else relative + b"/"
        with os.scandir(descriptor) as entries:
            for entry in entries:
                if len(found) == maximum:
                    return found, True
                seen = self._look(entry, descriptor, before)
                if seen is not None:
                    found.append(seen)
        if self._siblings:
            names = {entry.name for entry in found}
            found = [entry for entry in found if not _is_sibling(entry.name, names)]
        return found, False

    def _look(self, entry: os.DirEntry[str], descriptor: int, before: bytes) -> Entry | None:
        name = os.fsencode(entry.name)
        if (not self._dot_files and name.startswith(b".")) or (self._hide is not None and self._hide.match(name)):
            return None
        try:
            if entry.is_symlink():
                opened, status = self._root.open(before + name)
                os.close(opened)
            else:
                status = entry.stat(follow_symlinks=False)
                wanted = os.X_OK if stat.S_ISDIR(status.st_mode) else os.R_OK
                if not os.access(name, wanted, dir_fd=descriptor, effective_ids=True):
                    return None
        except OSError:
            return None
        if stat.S_ISDIR(status.st_mode):
            return Entry(name, True, 0, int(status.st_mtime))
        if stat.S_ISREG(status.st_mode):
            return Entry(name, False, status.st_size, int(status.st_mtime))
        return None


def _is_sibling(name: bytes, names: set[bytes]) -> bool:
    return any(name.endswith(suffix) and name[: -len(suffix)] in names for suffix in SUFFIXES.values())


def in_order(entries: Sequence[Entry], by: SortKey, *, descending: bool) -> Iterator[Entry]:
    """`entries` sorted; directories first in any case, and equals by name."""
    key = _KEYS[by]
    for directories in (True, False):
        chosen = (entry for entry in entries if entry.is_directory is directories)
        runs = []
        while run := list(itertools.islice(chosen, _RUN_ENTRIES)):
            run.sort(key=key, reverse=descending)
            runs.append(run)
        yield from heapq.merge(*runs, key=key, reverse=descending)


def _name_key(entry: Entry) -> tuple[bytes, bytes]:
    """As people sort names: letter case does not matter, and 2 is before 10."""
    return _DIGITS.sub(lambda match: match[0].rjust(_DIGITS_WIDTH, b"0"), entry.name.lower()), entry.name


_KEYS: dict[SortKey, Callable[[Entry], tuple[Any, ...]]] = {
    "name": _name_key,
    "size": lambda entry: (entry.size, _name_key(entry)),
    "time": lambda entry: (entry.modified_seconds, _name_key(entry)),
}
