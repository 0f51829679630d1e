"""One request and the head of its answer, by HTTP/1.1 or, where the server has nothing else, HTTP/2: for cases that
look at fields and do not mind how they came."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from securelight.conformance.case import Failed
from securelight.conformance.wire import HandshakeFailed

if TYPE_CHECKING:
    from securelight.conformance.dial import Dial

MAXIMUM_HEAD_BYTES = 65_536
MISSING = "/there/is/no/such/resource"
_STATUS = re.compile(r"HTTP/1\.[01] ([1-5]\d\d)")


@dataclass(frozen=True, slots=True)
class Page:
    """The head of an answer.

    Attributes:
        status: three digits.
        fields: names in lower case, and values, in order.
    """

    status: int
    fields: tuple[tuple[str, str], ...]

    def all(self, name: str) -> list[str]:
        """Every value of a field."""
        return [value for one, value in self.fields if one == name]

    def get(self, name: str) -> str:
        """All of them, joined; empty if there is none."""
        return ", ".join(self.all(name))

    @property
    def html(self) -> bool:
        """Whether it is a document that a browser shows and runs."""
        return self.get("content-type").partition(";")[0].strip().lower() in ("text/html", "application/xhtml+xml")


async def fetch(
    dial: Dial, path: str = "", *fields: tuple[str, str], method: str = "GET", authority: str = ""
) -> Page:  # fmt: skip
    """Ask for `path`, that of the target if it is empty.

    Errors: Failed if no answer comes.
    """
    target = dial.target
    path, authority = path or target.path, authority or target.authority
    try:
        wire = await dial.tls(("http/1.1",))
    except HandshakeFailed:
        return await _fetch_http2(dial, path, fields, method, authority)
    lines = [f"{method} {path} HTTP/1.1", f"Host: {authority}", *(f"{name}: {value}" for name, value in fields)]
    await wire.send("\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1"), lines[0])
    received = b""
    with trio.move_on_after(dial.patience.answer):
        while b"\r\n\r\n" not in received and len(received) < MAXIMUM_HEAD_BYTES and (part := await wire.receive()):
            received += part
    status_line, *rest = received.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    status = _STATUS.match(status_line)
    if status is None:
        raise Failed(f"no answer of HTTP/1.1, but {status_line[:60]!r}")
    parts = (line.partition(":") for line in rest)
    return Page(int(status[1]), tuple((name.lower(), value.strip(" \t")) for name, _, value in parts))


async def _fetch_http2(
    dial: Dial, path: str, fields: tuple[tuple[str, str], ...], method: str, authority: str
) -> Page:  # fmt: skip
    client = await dial.http2()
    extra = [(name.lower().encode(), value.encode("latin-1")) for name, value in fields]
    request = client.request(method.encode(), path.encode(), *extra, authority=authority.encode())
    await client.send(client.head(1, request))
    await client.until(lambda: client.ended(1) or client.over)
    answer = client.answers.get(1)
    if answer is None or not answer.status:
        raise Failed(client.situation(1))
    found = ((name.decode("latin-1"), value.decode("latin-1")) for name, value in answer.fields)
    return Page(answer.status, tuple(found))
