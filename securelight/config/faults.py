"""Where a fault lies, what it is, and all of them at once.

Everything that came from a configuration file is shown with its control characters escaped, so that a hostile file
cannot write to the operator's terminal.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from securelight.model.errors import ConfigError, SecurelightError

if TYPE_CHECKING:
    from collections.abc import Sequence

MAXIMUM_FAULTS: Final = 100
"""Faults kept of one run; nobody reads more, and a hostile file has no end of them."""
_SHOWN_CHARACTERS: Final = 120
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]{1,80}")


def printable(text: str, characters: int = _SHOWN_CHARACTERS) -> str:
    """`text` cut to `characters` and with whatever does not print (escape sequences, line ends) escaped."""
    shown = text if len(text) <= characters else text[:characters] + "..."
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in shown)


def quoted(text: str) -> str:
    """`text` in double quotes, ready for a message."""
    return f'"{printable(text)}"'


class Where(NamedTuple):
    """A place in the configuration: a file, and a path of keys within it."""

    file: str
    path: str = ""

    def key(self, name: str) -> Where:
        """The place of the key `name` in the table that lies here."""
        shown = name if _BARE_KEY.fullmatch(name) else quoted(name)
        return Where(self.file, f"{self.path}.{shown}" if self.path else shown)

    def item(self, index: int) -> Where:
        """The place of element `index`, counted from 0, of the list that lies here."""
        return Where(self.file, f"{self.path}[{index}]")

    def __str__(self) -> str:
        return f"{self.file}: {self.path}" if self.path else self.file


class ConfigFaults(SecurelightError):
    """A configuration that cannot be used.

    Args:
        faults: everything that is wrong with it, in the order of the files.
    """

    def __init__(self, faults: Sequence[ConfigError]) -> None:
        super().__init__(tuple(faults))
        self.faults = tuple(faults)

    def __str__(self) -> str:
        return "\n".join(str(fault) for fault in self.faults)


class Faults:
    """Collects faults, so that all are reported at once."""

    def __init__(self) -> None:
        self._faults: list[ConfigError] = []
        self._left_out = 0

    def add(self, where: Where | str, what: str) -> None:
        """Remember that `what` is wrong at `where`."""
        if len(self._faults) < MAXIMUM_FAULTS:
            self._faults.append(ConfigError(str(where), what))
        else:
            self._left_out += 1

    def __len__(self) -> int:
        return len(self._faults) + self._left_out

    def all(self) -> tuple[ConfigError, ...]:
        """The faults, in the order of their finding; the last one counts those past MAXIMUM_FAULTS."""
        if not self._left_out:
            return tuple(self._faults)
        return (*self._faults, ConfigError("configuration", f"{self._left_out} more faults are not shown"))
