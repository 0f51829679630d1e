"""Finds the files that another server's configuration includes: a bounded number of them, of a bounded size."""

from __future__ import annotations

import glob
from typing import TYPE_CHECKING, Final

from securelight.config.foreign.draft import SyntaxFault

if TYPE_CHECKING:
    from pathlib import Path

MAXIMUM_FILES: Final = 256
MAXIMUM_BYTES: Final = 4 << 20
"""Of all of them together."""
MAXIMUM_DEPTH: Final = 8


class Includes:
    """The files that are included from one main file.

    Args:
        base: the folder that relative paths start from.
    """

    def __init__(self, base: Path) -> None:
        self._base = base
        self._files = 0
        self._bytes = 0

    def read(self, pattern: str, depth: int) -> list[tuple[str, str]] | None:
        """Path and text of each file; None if a file that is named is not there or is no text.

        Args:
            pattern: as it stands in a file.
            depth: of that file: 0 for the main one.

        Errors: SyntaxFault for more than anybody has.
        """
        if depth >= MAXIMUM_DEPTH:
            raise SyntaxFault(f"includes files more than {MAXIMUM_DEPTH} deep")
        paths = sorted(self._base / name for name in glob.glob(pattern, root_dir=self._base))
        found = []
        for path in paths:
            if not path.is_file():
                continue
            try:
                text = path.read_bytes()[: MAXIMUM_BYTES + 1].decode("utf-8")
            except (OSError, UnicodeDecodeError):
                return None
            self._files += 1
            self._bytes += len(text)
            if self._files > MAXIMUM_FILES or self._bytes > MAXIMUM_BYTES:
                raise SyntaxFault(f"includes more than {MAXIMUM_FILES} files, or {MAXIMUM_BYTES} bytes")
            found.append((str(path), text))
        return found if found or glob.has_magic(pattern) else None
