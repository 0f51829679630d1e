"""The event log: what the server has to say besides the access log. To standard error, human on a terminal, else JSON.

Values that come from the network are always passed as values, never formatted into the event's name. Header values do
not belong here at all; Authorization and cookies least of all.
"""

from __future__ import annotations

import contextlib
import sys
from typing import Any, TextIO, cast

_absent = object()
_rich = sys.modules.get("rich", _absent)
if _rich is _absent:  # where rich is installed, structlog imports it for its tracebacks: 4 MB that nobody here looks at
    sys.modules["rich"] = None  # type: ignore[assignment]  # so that importing it fails
import structlog  # noqa: E402 - see above

if _rich is _absent:
    del sys.modules["rich"]


class _Lossy:
    """A stream that may break, such as a terminal that is closed or a pipe whose reader ends: the server goes on."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()


def configure(form: str = "auto", stream: TextIO | None = None) -> None:
    """Set the form of all event logs: `human`, `json`, or `auto` (human if `stream`, standard error, is a terminal)."""
    out = stream if stream is not None else sys.stderr
    human = form == "human" or (form == "auto" and out.isatty())
    processors: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso" if not human else "%H:%M:%S", utc=not human),
    ]
    if human:
        plain = structlog.dev.plain_traceback
        processors.append(structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=plain))
    else:
        processors += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    structlog.configure(
        processors=processors,
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, _Lossy(out))),
        cache_logger_on_first_use=False,
    )


def event_log(part: str) -> Any:
    """A logger that says which `part` of the server speaks."""
    return structlog.get_logger(part=part)
