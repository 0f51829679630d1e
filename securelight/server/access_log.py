"""The access log: one line a request, written in batches.

Formats are `combined` (Apache's, with HTTP/2 named) and `json`; LogTable in site_logs has the others. Header values are
limited to Referer and User-Agent; Authorization and cookies never come near it. Whatever a client sent is escaped, so
that a line is always one line (log_format). Nothing is waited for (log_sinks); lines that are lost are counted.
"""

from __future__ import annotations

import time
from collections import _count_elements  # type: ignore[attr-defined] # Counter.update without its way round in Python
from collections.abc import Iterable, Sequence
from typing import Any

import trio

from securelight.model.request import Facts, Request
from securelight.pipeline.compile import EventLog
from securelight.server.log_format import Entry, Moment, escaped, json_line, kept_text, user_text
from securelight.server.log_sinks import FileSink, Sink
from securelight.server.reporter import Counters

FLUSH_SECONDS = 0.5
"""How old a line may get before it is written."""
BATCH_LINES = 256
"""Lines that are written together at the latest."""
TELL_SECONDS = 10.0
"""How often it is told that lines are lost."""


class AccessLog:
    """Collects lines and writes them: those of the two first formats, to a descriptor.

    Args:
        descriptor: where to, owned by the caller; -1 writes nothing.
        form: `combined`, `json` or `off`.

    Attributes:
        counters: what is counted of each request, where something shows it.
        events: told of lines that were lost.
    """

    __slots__ = ("_form", "_lines", "_moment", "_sink", "_tell_at", "_told", "counters", "events")

    def __init__(self, descriptor: int, form: str) -> None:
        self._form = form if descriptor >= 0 else "off"
        self._lines: list[str] = []
        self._moment = Moment()
        self._sink: Sink = FileSink(descriptor)
        self._told = 0
        self._tell_at = 0.0
        self.counters: Counters | None = None
        self.events: EventLog | None = None

    @property
    def dropped(self) -> int:
        """Lines that were lost."""
        return sum(sink.dropped for _name, sink in self._sinks())

    def _sinks(self) -> Iterable[tuple[str, Sink]]:
        return (("", self._sink),)

    def reopen(self, descriptor: int, _number: int = 0) -> int:
        """Write to `descriptor` from now on; returns the one before, for the caller to close (-1 at first)."""
        self.flush()
        return self._sink.reopen(descriptor)

    def record(self, request: Request, facts: Facts, status: int, sent_bytes: int, started: float) -> None:
        """Note a finished request. `started` is time.monotonic() at its head; `sent_bytes` of its response body."""
        if self.counters is not None:
            self.counters.count(status, sent_bytes, time.monotonic() - started)
        if self._form == "off":
            return
        moment = self._moment
        if int(time.time()) != moment.second:
            moment.look()
        lines = self._lines
        if self._form == "combined":
            tail = self._tail(request, status, sent_bytes)
            lines.append(f"{facts.client_address or '-'} - {user_text(facts.user)} [{moment.common}]{tail}")
        else:
            lines.append(json_line(Entry(request, facts, status, sent_bytes, time.monotonic() - started, moment)))
        if len(lines) >= BATCH_LINES:
            self.flush()

    def _tail(self, request: Request, status: int, sent_bytes: int) -> str:
        target, get = request.target, request.headers.get
        referer, user_agent = get(b"referer"), get(b"user-agent")
        return (
            f' "{request.method} {kept_text(target) or escaped(target)} HTTP/{request.http_version}" {status}'
            f' {sent_bytes} "{kept_text(referer) or escaped(referer)}"'
            f' "{kept_text(user_agent) or escaped(user_agent)}"\n'
        )

    def repeated(self, request: Request, _facts: Facts, status: int, sent_bytes: int) -> Any:
        """What the lines of this request have in common whoever makes it, for `record_repeated`.

        None if each line has to be made for itself, because the form has more to say.
        """
        return None if self._form == "json" else self._tail(request, status, sent_bytes)

    def record_repeated(self, client_address: str, lines: Sequence[Any]) -> None:
        """Note requests from there that nobody is named for and that end now, by what `repeated` gave for them."""
        if self.counters is not None:
            _count_elements(self.counters.repeated, lines)
        if self._form == "off":
            return
        moment = self._moment
        if int(time.time()) != moment.second:
            moment.look()
        beginning = f"{client_address or '-'} - - [{moment.common}]"
        for line in lines:
            self._lines.append(beginning + line)
        if len(self._lines) >= BATCH_LINES:
            self.flush()

    def flush(self) -> None:
        """Write what there is, as far as it can be written without waiting."""
        if self.counters is not None:
            self.counters.settle()
        self._sink.write("".join(self._lines).encode("utf-8", "backslashreplace"))
        self._lines.clear()

    def _tell_losses(self) -> None:
        dropped = self.dropped
        now = time.monotonic()
        if dropped == self._told or now < self._tell_at or self.events is None:
            return
        troubles = {name: sink.trouble for name, sink in self._sinks() if sink.dropped}
        why = "; ".join(f"{name}: {trouble}" if name else trouble for name, trouble in troubles.items())
        self.events.warning("access log lines lost", lines=dropped - self._told, why=why)
        self._told, self._tell_at = dropped, now + TELL_SECONDS

    async def run(self) -> None:
        """Flush every FLUSH_SECONDS until cancelled, and once more then."""
        try:
            while True:
                await trio.sleep(FLUSH_SECONDS)
                self.flush()
                self._tell_losses()
        finally:
            self.flush()
            self._tell_losses()
