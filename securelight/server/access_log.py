"""The access log: one line a request, written in batches.

Formats are `combined` (Apache's, with HTTP/2 named) and `json`. Header values are limited to Referer and User-Agent;
Authorization and cookies never come near it. Whatever a client sent is escaped, so that a line is always one line.

A regular file is written at once (append mode: whole batches). A pipe or terminal that nobody reads is never waited
for: lines beyond `BACKLOG_BYTES` are dropped and counted.
"""

from __future__ import annotations

import os
import re
import select
import stat
import time
from collections import _count_elements  # type: ignore[attr-defined] # Counter.update without its way round in Python
from collections.abc import Sequence
from typing import Any, Literal

import msgspec
import trio

from securelight.model.request import Facts, Request
from securelight.server.reporter import Counters

FLUSH_SECONDS = 0.5
"""How old a line may get before it is written."""
BATCH_LINES = 256
"""Lines that are written together at the latest."""
BACKLOG_BYTES = 1 << 20
"""What is held for a pipe that nobody reads."""
_PIPE_BYTES = 4096
"""PIPE_BUF: a write of this size does not block once poll says that a pipe is writable."""
_UNSAFE = re.compile(rb'[^\x20-\x21\x23-\x5b\x5d-\x7e]')  # fmt: skip


_KEPT_BYTES = 256
"""Longer values are escaped anew each time, so that what is kept stays small."""
_KEPT_VALUES = 1024


def _escape(value: bytes) -> str:
    if _UNSAFE.search(value):
        value = _UNSAFE.sub(lambda match: b"\\x%02x" % match[0][0], value)
    return value.decode("ascii")


_kept: dict[bytes | None, str] = {}
"""Most targets and user agents are those of a moment ago."""
_kept_text = _kept.get


def _escaped(value: bytes | None) -> str:
    """For what `_kept_text` does not know."""
    text = _escape(value) if value else "-"
    if not value or len(value) <= _KEPT_BYTES:
        if len(_kept) >= _KEPT_VALUES:
            _kept.clear()
        _kept[value] = text
    return text


def _user(user: str | None) -> str:
    """A name may come from a certificate or a password file: with spaces and anything that prints."""
    return _escape(user.encode("utf-8", "surrogateescape")).replace(" ", "\\x20") if user else "-"


class AccessLog:
    """Collects lines and writes them.

    Args:
        descriptor: where to, owned by the caller; -1 writes nothing.
        form: `combined`, `json` or `off`.
    """

    __slots__ = ("_backlog", "_date", "_descriptor", "_form", "_lines", "_regular", "_second", "counters", "dropped")

    def __init__(self, descriptor: int, form: Literal["combined", "json", "off"]) -> None:
        self._form = form if descriptor >= 0 else "off"
        self._lines: list[str] = []
        self._backlog = b""
        self._second = -1
        self._date = ""
        self.counters: Counters | None = None
        """What is counted of each request, where something shows it."""
        self.dropped = 0
        """Lines lost because nobody read the pipe."""
        self.reopen(descriptor)

    def reopen(self, descriptor: int) -> int:
        """Write to `descriptor` from now on; returns the one before, for the caller to close (-1 at first)."""
        before = getattr(self, "_descriptor", -1)
        if before >= 0:
            self.flush()
        self._descriptor = descriptor
        self._regular = descriptor >= 0 and stat.S_ISREG(os.fstat(descriptor).st_mode)
        return before

    def record(self, request: Request, facts: Facts, status: int, sent_bytes: int, started: float) -> None:
        """Note a finished request. `started` is time.monotonic() at its head; `sent_bytes` of its response body."""
        if self.counters is not None:
            self.counters.count(status, sent_bytes, time.monotonic() - started)
        if self._form == "off":
            return
        second = int(time.time())
        if second != self._second:
            self._next_second(second)
        lines = self._lines
        if self._form == "combined":
            tail = self._tail(request, status, sent_bytes)
            lines.append(f"{facts.client_address or '-'} - {_user(facts.user)} [{self._date}]{tail}")
        else:
            lines.append(self._json(request, facts, status, sent_bytes, time.monotonic() - started))
        if len(lines) >= BATCH_LINES:
            self.flush()

    def _next_second(self, second: int) -> None:
        self._second = second
        self._date = time.strftime("%d/%b/%Y:%H:%M:%S %z", time.localtime(second))

    def _tail(self, request: Request, status: int, sent_bytes: int) -> str:
        target, get = request.target, request.headers.get
        referer, user_agent = get(b"referer"), get(b"user-agent")
        return (
            f' "{request.method} {_kept_text(target) or _escaped(target)} HTTP/{request.http_version}" {status}'
            f' {sent_bytes} "{_kept_text(referer) or _escaped(referer)}"'
            f' "{_kept_text(user_agent) or _escaped(user_agent)}"\n'
        )

    def repeated(self, request: Request, status: int, sent_bytes: int) -> str | None:
        """What the lines of this request have in common whoever makes it, for `record_repeated`.

        None if each line has to be made for itself, because the form has more to say.
        """
        return None if self._form == "json" else self._tail(request, status, sent_bytes)

    def record_repeated(self, client_address: str, lines: Sequence[str]) -> None:
        """Note requests from there that nobody is named for and that end now, by what `repeated` gave for them."""
        if self.counters is not None:
            _count_elements(self.counters.repeated, lines)
        if self._form == "off":
            return
        second = int(time.time())
        if second != self._second:
            self._next_second(second)
        beginning = f"{client_address or '-'} - - [{self._date}]"
        for line in lines:
            self._lines.append(beginning + line)
        if len(self._lines) >= BATCH_LINES:
            self.flush()

    def _json(self, request: Request, facts: Facts, status: int, sent_bytes: int, seconds: float) -> str:
        tls = request.peer.tls
        values: dict[str, Any] = {
            "time": self._date,
            "client": facts.client_address,
            "user": facts.user,
            "method": request.method,
            "scheme": request.scheme,
            "host": request.authority,
            "target": _kept_text(request.target) or _escaped(request.target),
            "protocol": f"HTTP/{request.http_version}",
            "status": status,
            "bytes": sent_bytes,
            "duration_ms": round(seconds * 1000, 3),
            "stream": request.stream_id,
            "tls_version": tls.version,
            "cipher": tls.cipher,
            "sni": tls.server_name,
            "resumed": tls.resumed,
            "referer": _escaped(request.headers.get(b"referer")),
            "user_agent": _escaped(request.headers.get(b"user-agent")),
        }
        if facts.certificate is not None:
            values["certificate"] = {
                "subject": facts.certificate.subject,
                "serial": facts.certificate.serial,
                "sha256": facts.certificate.fingerprint,
            }
        if facts.refusal is not None:
            values["refusal"] = facts.refusal.detail
        if facts.error_id:
            values["error_id"] = facts.error_id
        return msgspec.json.encode(values).decode() + "\n"

    def flush(self) -> None:
        """Write what there is, as far as it can be written without waiting."""
        if self.counters is not None:
            self.counters.settle()
        if self._descriptor < 0:
            return
        data = self._backlog + "".join(self._lines).encode("utf-8", "backslashreplace")
        self._lines.clear()
        try:
            self._backlog = self._write(data)
        except OSError:
            # A full disk or a closed pipe must not stop the service; the lines are lost, and counted.
            self.dropped += data.count(b"\n")
            self._backlog = b""
        if len(self._backlog) > BACKLOG_BYTES:
            cut = self._backlog.find(b"\n", len(self._backlog) - BACKLOG_BYTES) + 1
            self.dropped += self._backlog.count(b"\n", 0, cut)
            self._backlog = self._backlog[cut:]

    def _write(self, data: bytes) -> bytes:
        """Returns what could not be written now."""
        if self._regular:
            while data:
                data = data[os.write(self._descriptor, data) :]
            return b""
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        while data and any(mask & select.POLLOUT for _, mask in poll.poll(0)):
            data = data[os.write(self._descriptor, data[:_PIPE_BYTES]) :]
        return data

    async def run(self) -> None:
        """Flush every FLUSH_SECONDS until cancelled, and once more then."""
        try:
            while True:
                await trio.sleep(FLUSH_SECONDS)
                self.flush()
        finally:
            self.flush()
