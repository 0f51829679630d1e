"""Connections: persistence, pipelining, closing (RFC 9112, section 9)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from securelight.conformance.case import Failed, Skipped, Topic
from securelight.conformance.http1_client import connect, request
from securelight.conformance.http1_questions import (
    ANSWERED,
    ANSWERED_CLOSED,
    DROPPED,
    REFUSED,
    asks,
    exchange,
    judged,
    raw,
    sentinel,
)

if TYPE_CHECKING:
    from securelight.conformance.dial import Dial

CONNECTIONS = Topic(
    "Connections",
    rfc=9112,
    why="A client that takes a connection for open, or closed, when the server does not, waits, or gets the answer to "
    "another request.",
    cure="Keep a connection of HTTP/1.1 until `close`; after it, answer nothing more. Answer in the order of the "
    "requests.",
)
MISSING = b"/judge-finds-nothing-here"


@CONNECTIONS.should("h1/9.3/two-requests", "Two requests on one connection, one after the other's answer")
async def _two_requests(dial: Dial) -> str:
    client = await connect(dial)
    for number in (1, 2):
        await client.send(request(dial.target))
        answer = await client.answer()
        if answer is None:
            raise Failed(f"request {number} was not answered: {client.wire.end_words or 'nothing came'}")
        if b"close" in answer.options:
            raise Failed(f"the server wants to close after request {number}")
    return "both were answered"


@CONNECTIONS.must("h1/9.3.2/pipeline", "Ten requests in one write are answered in their order")
async def pipeline(dial: Dial) -> str:
    """Every other one is for a page that is not there, or a HEAD: so the order shows."""
    single = await exchange(dial, request(dial.target, b"Connection: close"))
    missing = await exchange(dial, request(dial.target, b"Connection: close", path=MISSING))
    if not single.answers or not missing.answers:
        raise Failed("plain requests were not answered")
    one, other = single.answers[0].status, missing.answers[0].status
    if one == other:
        raise Skipped(f"pages that are there and pages that are not are both answered with {one}")
    client = await connect(dial)
    plan = [("GET", False), ("GET", True), ("HEAD", False), ("GET", False), ("HEAD", True)] * 2
    data = b"".join(
        request(dial.target, method=method.encode(), path=MISSING if gone else None) for method, gone in plan
    )
    await client.send(data + sentinel(dial.target))
    found = await client.all([method for method, _ in plan])
    wanted = [other if gone else one for _, gone in plan] + [one]
    if found.statuses != wanted:
        raise Failed(f"expected {wanted}, but got {found.words()}")
    return "answered in order"


@CONNECTIONS.must("h1/9.3/content-between", "Requests with and without content in one write")
async def _content_between(dial: Dial) -> str:
    one = request(dial.target, b"Content-Length: 5", method=b"POST", body=b"GET /")
    two = request(dial.target, b"Transfer-Encoding: chunked", method=b"POST", body=b"5\r\nGET /\r\n0\r\n\r\n")
    found = await exchange(dial, request(dial.target) + one + two + sentinel(dial.target))
    if len(found.answers) > 4 or len(found.answers) < 2 or not found.end:
        raise Failed(f"expected four answers, or fewer and the end of the connection, but got {found.words()}")
    return found.words()


_CLOSES = {
    "close": (b"Connection: close", "close"),
    "upper-case": (b"CONNECTION: CLOSE", "close in upper case"),
    "in-a-list": (b"Connection: x-judge, close", "close in a list"),
    "in-a-list-first": (b"Connection: close,x-judge", "close in a list, first"),
    "in-two-fields": (b"Connection: x-judge\r\nConnection: close", "close in the second of two fields"),
    "with-keep-alive": (b"Connection: keep-alive, close", "keep-alive and close"),
    "empty-members": (b"Connection: , ,close,", "close among empty members"),
}
for _key, (_line, _words) in _CLOSES.items():
    CONNECTIONS.must(
        f"h1/9.6/{_key}", f"A request after Connection: {_words} is not answered, and the connection ends"
    )(asks(ANSWERED_CLOSED, _line))
CONNECTIONS.must("h1/9.6/close-with-content", "A request with content and close: nothing after it is answered")(
    raw(
        lambda target: request(target, b"Connection: close", b"Content-Length: 5", method=b"POST", body=b"GET /"),
        ANSWERED_CLOSED,
    )
)


@CONNECTIONS.should("h1/9.6/announced", "The answer to a request with close says close")
async def _announced(dial: Dial) -> str:
    found = await exchange(dial, sentinel(dial.target))
    if not found.answers:
        raise Failed(f"not answered: {found.words()}")
    if b"close" not in found.answers[0].options:
        raise Failed(f"the answer has Connection: {found.answers[0].get(b'connection')!r}")
    return "it does"


@CONNECTIONS.should("h1/9.6/refusal-announced", "An answer after which the server closes says close")
async def _refusal_announced(dial: Dial) -> str:
    found = await exchange(dial, b"judge\r\n\r\n")
    if not found.answers:
        raise Skipped("the server closes without an answer")
    if b"close" not in found.answers[0].options and found.end:
        raise Failed(f"{found.words()}, but Connection: {found.answers[0].get(b'connection')!r}")
    return found.words()


_KEEPS = {
    "keep-alive": (b"Connection: keep-alive", "Connection: keep-alive"),
    "another-option": (b"Connection: x-close", "a connection option that only looks like close"),
    "in-another-field": (b"X-Connection: close", "close in another field"),
    "upgrade": (b"Connection: Upgrade\r\nUpgrade: judge/1", "an Upgrade that nobody knows, to be ignored"),
    "h2c": (
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk",
        "an Upgrade to h2c, which is no more",
    ),
    "upgrade-without-connection": (b"Upgrade: websocket", "an Upgrade that Connection does not name, to be ignored"),
}
for _key, (_line, _words) in _KEEPS.items():
    CONNECTIONS.should(f"h1/9.3/keeps-{_key}", f"The connection goes on: {_words}")(asks(ANSWERED, _line))


# HTTP/1.0

CONNECTIONS.must("h1/9.3/old-closes", "A request of HTTP/1.0 ends the connection")(
    asks(ANSWERED_CLOSED, version=b"HTTP/1.0")
)


@CONNECTIONS.must("h1/9.3/old-keep-alive", "keep-alive in a request of HTTP/1.0: announced, or closed")
async def _old_keep_alive(dial: Dial) -> str:
    client = await connect(dial)
    await client.send(request(dial.target, b"Connection: keep-alive", version=b"HTTP/1.0") + sentinel(dial.target))
    found = await client.all()
    if not found.answers:
        raise Failed(f"not answered: {found.words()}")
    first = found.answers[0]
    if len(found.answers) > 1 and b"keep-alive" not in first.options:
        raise Failed(f"kept open, but the answer has Connection: {first.get(b'connection')!r}")
    if len(found.answers) > 1 and first.framing == "close":
        raise Failed("kept open, but the answer has no length")
    return found.words()


@CONNECTIONS.must("h1/6.1/no-chunks-for-old", "No chunked answer to a request of HTTP/1.0", section="6.1")
async def _no_chunks_for_old(dial: Dial) -> str:
    shown = []
    for path in (None, MISSING):
        found = await exchange(dial, request(dial.target, version=b"HTTP/1.0", path=path))
        if not found.answers:
            raise Failed(f"not answered: {found.words()}")
        if found.answers[0].framing == "chunked":
            raise Failed(f"{found.answers[0].status} with Transfer-Encoding: chunked")
        shown.append(found.answers[0].framing)
    return f"answered with content that ends by {', '.join(shown)}"


@CONNECTIONS.should("h1/9110-6.2/version-of-answers", "Answers say HTTP/1.1, also to HTTP/1.0", rfc=9110, section="6.2")
async def _version_of_answers(dial: Dial) -> str:
    for version in (b"HTTP/1.1", b"HTTP/1.0"):
        found = await exchange(dial, request(dial.target, b"Connection: close", version=version))
        if not found.answers or found.answers[0].version != "1.1":
            raise Failed(
                f"{version.decode()} is answered with HTTP/{found.answers[0].version if found.answers else '?'}"
            )
    return "they do"


@CONNECTIONS.should("h1/9.6/half-closed", "A client that has ended its side still gets its answer")
async def _half_closed(dial: Dial) -> str:
    client = await connect(dial)
    await client.send(sentinel(dial.target))
    await client.wire.end_input()
    if client.wire.tls is not None:
        raise Skipped("with TLS, the client cannot read any more after it has ended its side")
    return judged(await client.all(), ANSWERED, 1)


@CONNECTIONS.must("h1/8/cut-head", "A connection that ends in the middle of a head: nothing was asked", section="8")
async def _cut_head(dial: Dial) -> str:
    client = await connect(dial)
    await client.send(sentinel(dial.target)[:-2])
    await client.wire.end_input()
    found = await client.all()
    if dial.target.tls and client.wire.ended:
        return found.words()
    return judged(found, REFUSED | DROPPED, 1)
