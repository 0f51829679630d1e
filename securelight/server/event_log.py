"""The event log: what the server has to say besides the access log. To standard error, human on a terminal, else JSON.

Values that come from the network are always passed as values, never formatted into the event's name. Header values do
not belong here at all; Authorization and cookies least of all. A pipe or terminal that nobody reads is not waited for.
"""

from __future__ import annotations

import contextlib
import io
import os
import stat
import sys
from typing import Any, TextIO, cast

_absent = object()
_rich = sys.modules.get("rich", _absent)
if _rich is _absent:  # where rich is installed, structlog imports it for its tracebacks: 4 MB that nobody here looks at
    sys.modules["rich"] = None  # type: ignore[assignment]  # so that importing it fails
import structlog  # noqa: E402 - see above

if _rich is _absent:
    del sys.modules["rich"]

from securelight.server.log_sinks import FileSink  # noqa: E402 - see above


class _Lossy:
    """A stream that may break, or stand still: a terminal that is closed, a pipe whose reader ends or sleeps.

    The server goes on. What is not read is kept up to a bound, and lost beyond it.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._sink: FileSink | None = None
        with contextlib.suppress(OSError, ValueError):
            descriptor = stream.fileno()
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                self._sink = FileSink(descriptor)

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            if self._sink is None:
                self._stream.write(text)
            else:
                self._stream.flush()
                self._sink.write(text.encode("utf-8", "backslashreplace"))

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()


def _printable(text: str) -> str:
    """`text` with nothing in it that a terminal obeys."""
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")


def _printable_values(_logger: Any, _method: str, values: Any) -> Any:
    for name, value in values.items():
        if isinstance(value, str) and not value.isprintable():
            values[name] = _printable(value)
    return values


def _plain_traceback(out: TextIO, exc_info: Any) -> None:
    text = io.StringIO()
    structlog.dev.plain_traceback(text, exc_info)
    out.write("\n".join(map(_printable, text.getvalue().split("\n"))))


def configure(form: str = "auto", stream: TextIO | None = None) -> None:
    """Set the form of all event logs: `human`, `json`, or `auto` (human if `stream`, standard error, is a terminal)."""
    out = stream if stream is not None else sys.stderr
    human = form == "human" or (form == "auto" and out.isatty())
    processors: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso" if not human else "%H:%M:%S", utc=not human),
    ]
    if human:
        processors.append(_printable_values)
        processors.append(structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=_plain_traceback))
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
