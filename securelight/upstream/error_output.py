"""What an application says on its standard error, on its way to the event log: bounded for each request."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

ERROR_OUTPUT_BYTES = 8192
"""As much of it is logged for one request; the rest is read and dropped."""


class ErrorOutput:
    """Logs it.

    Args:
        log: gets a text for each piece.
    """

    __slots__ = ("_left", "_log")

    def __init__(self, log: Callable[[str], None]) -> None:
        self._log = log
        self._left = ERROR_OUTPUT_BYTES

    def begin(self) -> None:
        """A new request."""
        self._left = ERROR_OUTPUT_BYTES

    def add(self, data: bytes) -> None:
        """More of it."""
        part = data[: self._left]
        self._left -= len(part)
        text = part.decode("utf-8", "backslashreplace").strip()
        if text:
            self._log(text)
