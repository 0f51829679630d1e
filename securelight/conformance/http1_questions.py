"""Questions that many HTTP/1.1 cases are made of, and the sets of right answers to them.

After the bytes in question comes a plain GET with `Connection: close`, the sentinel, in the same write. So a server
that is right always closes, nobody waits, and the number of answers tells what the server took for a request.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from securelight.conformance.case import Failed
from securelight.conformance.http1_client import Answer, Exchange, connect, request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from securelight.conformance.case import Question
    from securelight.conformance.dial import Dial
    from securelight.conformance.target import Target

Build = Callable[["Target"], bytes]
"""The bytes to send."""

REFUSALS = frozenset({400, 408, 411, 413, 414, 417, 421, 431, 501, 505})
"""A request that is answered with one of these was not acted on. 404 and 405 are none: the request was looked at."""


@dataclass(frozen=True, slots=True)
class Accept:
    """A set of right answers; join with `|`.

    Attributes:
        refused: the first request is refused, and the connection ends without another answer.
        refused_open: it is refused, and what comes after it may be answered.
        answered: every request is answered, no more and no less, and the first is not refused; or only that one, if
            its answer says `Connection: close`, as it may.
        answered_closed: the first one is answered, not refused, and the connection ends without another answer.
        dropped: the connection ends without any answer.
        waiting: the server waits for more, without having answered more than once.
        statuses: of the first answer, instead of any that is no refusal.
    """

    refused: bool = False
    refused_open: bool = False
    answered: bool = False
    answered_closed: bool = False
    dropped: bool = False
    waiting: bool = False
    statuses: frozenset[int] = frozenset()

    def __or__(self, other: Accept) -> Accept:
        """Either of both."""
        return Accept(
            self.refused or other.refused,
            self.refused_open or other.refused_open,
            self.answered or other.answered,
            self.answered_closed or other.answered_closed,
            self.dropped or other.dropped,
            self.waiting or other.waiting,
            self.statuses | other.statuses,
        )

    def words(self) -> str:
        """What was expected."""
        names = {
            "refused": "a refusal (400 or its like) and the end of the connection",
            "refused_open": "a refusal (400 or its like)",
            "answered": "an answer to each request",
            "answered_closed": "one answer and the end of the connection",
            "dropped": "the end of the connection",
            "waiting": "silence",
        }
        text = ", or ".join(words for name, words in names.items() if getattr(self, name))
        return f"{text} (status {', '.join(map(str, sorted(self.statuses)))})" if self.statuses else text

    def takes(self, exchange: Exchange, requests: int) -> bool:
        """Whether an exchange that began with `requests` requests is right."""
        statuses = exchange.statuses
        count = len(statuses)
        if not exchange.end and count < requests:
            return self.waiting and count <= 1
        if not statuses:
            return self.dropped
        refusal = statuses[0] in REFUSALS
        wanted = statuses[0] in self.statuses if self.statuses else not refusal and statuses[0] < 500
        return (
            (self.refused and refusal and count == 1)
            or (self.refused_open and refusal and count <= requests)
            or (self.answered and wanted and count == requests and statuses[-1] not in REFUSALS)
            or (self.answered and wanted and count == 1 and b"close" in exchange.answers[0].options)
            or (self.answered_closed and wanted and count == 1)
        )


REFUSED = Accept(refused=True)
REFUSED_OPEN = Accept(refused=True, refused_open=True)
ANSWERED = Accept(answered=True)
ANSWERED_CLOSED = Accept(answered_closed=True)
DROPPED = Accept(dropped=True)
WAITING = Accept(waiting=True)


def answered(*statuses: int) -> Accept:
    """Every request is answered, the first with one of these."""
    return Accept(answered=True, statuses=frozenset(statuses))


def sentinel(target: Target) -> bytes:
    """The plain GET that ends the connection."""
    return request(target, b"Connection: close")


def filled(text: bytes) -> Build:
    """Bytes in which `{path}`, `{host}` and `{scheme}` are those of the target, and `{get}` is a plain request."""

    def build(target: Target) -> bytes:
        return (
            text.replace(b"{get}", b"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")
            .replace(b"{path}", target.path.encode())
            .replace(b"{host}", target.authority.encode())
            .replace(b"{scheme}", target.scheme.encode())
        )

    return build


def line(text: bytes) -> Build:
    """A request with this request line, filled in."""
    return filled(text + b"\r\nHost: {host}\r\n\r\n")


async def exchange(dial: Dial, data: bytes, methods: Sequence[str] = ()) -> Exchange:
    """All that comes back for `data` on a new connection. Errors: as Http1Client.answer."""
    client = await connect(dial)
    await client.send(data)
    return await client.all(methods)


def raw(
    build: Build, accept: Accept, *, requests: int = 2, method: str = "GET", follow: bool = True
) -> Question:  # fmt: skip
    """A question that is one write on a new connection.

    Args:
        build: the bytes in question.
        accept: the right answers.
        requests: how many there are, with the sentinel.
        method: of the first one.
        follow: whether the sentinel is sent.
    """

    async def question(dial: Dial) -> str:
        data = build(dial.target) + (sentinel(dial.target) if follow else b"")
        found = await exchange(dial, data, [method])
        return judged(found, accept, requests)

    return question


def judged(found: Exchange, accept: Accept, requests: int) -> str:
    """The words for what happened. Errors: Failed if it was not right."""
    if not accept.takes(found, requests):
        more = ""
        if len(found.answers) > requests:
            more = ": a part of the message was taken for another request"
        raise Failed(f"expected {accept.words()}, but got {found.words()}{more}")
    return found.words()


def asks(accept: Accept, *lines: bytes, method: bytes = b"GET", version: bytes = b"HTTP/1.1") -> Question:
    """A plain request with these field lines, and the sentinel."""
    return raw(
        lambda target: request(target, *lines, method=method, version=version), accept, method=method.decode("latin-1")
    )


def malformed_body(framing: bytes, body: Callable[[Target], bytes]) -> Question:
    """A POST whose body breaks the rules. Nothing after it may be answered, because nobody knows where it ends.

    A server may answer with a refusal, or with nothing. One that does not need the body may answer whenever it likes,
    before it or after it has thrown it away (RFC 9112, section 9.6): then it has only to close.
    """

    async def question(dial: Dial) -> str:
        head = request(dial.target, framing, method=b"POST")
        found = await exchange(dial, head + body(dial.target) + sentinel(dial.target))
        return judged(found, REFUSED | DROPPED | ANSWERED_CLOSED, 2)

    return question


async def get(dial: Dial, *lines: bytes, method: str = "GET", path: bytes | None = None) -> Answer:
    """The answer to one request that ends its connection. Errors: Failed if there is none."""
    client = await connect(dial)
    await client.send(request(dial.target, *lines, b"Connection: close", method=method.encode(), path=path))
    answer = await client.answer(method)
    if answer is None:
        raise Failed(f"a {method} request was not answered: {client.wire.end_words or 'nothing came'}")
    return answer
