"""Expect: 100-continue (RFC 9110, section 10.1.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from securelight.conformance.case import Failed, Topic
from securelight.conformance.http1_client import connect, request
from securelight.conformance.http1_questions import ANSWERED, ANSWERED_CLOSED, REFUSED, Accept, filled, judged, sentinel

if TYPE_CHECKING:
    from securelight.conformance.case import Question
    from securelight.conformance.dial import Dial

EXPECT = Topic(
    "Expect",
    rfc=9110,
    why="A client that waits for 100 (Continue) waits for ever, or it and the server disagree on whether the content "
    "comes: then the content is the next request.",
    cure="Answer 100 before reading, or a final status at once; then read the content all the same, or close.",
)

_CONTENT = filled(b"{get}")


def _waits(method: str, expectation: bytes = b"100-continue") -> Question:
    """Waits for 100 or a final answer, as the RFC has it, then sends content that is a request."""

    async def question(dial: Dial) -> str:
        client = await connect(dial)
        body = _CONTENT(dial.target)
        lines = (b"Expect: " + expectation, b"Content-Length: %d" % len(body))
        await client.send(request(dial.target, *lines, method=method.encode()))
        first = await client.interim_or_answer(method)
        if first is None:
            raise Failed(f"neither 100 nor a final status: {client.wire.end_words or 'the client waits in vain'}")
        if first.status not in (100,) and first.status < 200:
            raise Failed(f"expected 100 or a final status, but got {first.status}")
        await client.send(body + sentinel(dial.target))
        found = await client.all([method] if first.status == 100 else ())
        if first.status != 100:
            found.answers.insert(0, first)
        return f"{'100, ' if first.status == 100 else ''}{judged(found, _ONE_EACH, 2)}"

    return question


_ONE_EACH = ANSWERED | ANSWERED_CLOSED | REFUSED

for _method in ("POST", "PUT", "GET", "HEAD", "DELETE"):
    EXPECT.must(f"h1/9110-10.1.1/{_method.lower()}", f"{_method} that waits for 100, and then sends a request as its "
                "content", section="10.1.1")(_waits(_method))  # fmt: skip
EXPECT.must("h1/9110-10.1.1/case", "Expect: 100-Continue", section="10.1.1")(_waits("POST", b"100-Continue"))


def _at_once(*lines: bytes, version: bytes = b"HTTP/1.1", accept: Accept = _ONE_EACH) -> Question:
    old = version == b"HTTP/1.0"  # its connection ends with the answer, so nothing is sent after it

    async def question(dial: Dial) -> str:
        client = await connect(dial)
        body = _CONTENT(dial.target)
        head = request(
            dial.target, *lines, b"Content-Length: %d" % len(body), method=b"POST", version=version, body=body
        )
        await client.send(head if old else head + sentinel(dial.target))
        found = await client.all()
        if old and any(answer.interim for answer in found.answers):
            raise Failed(f"a client that does not know of them got an interim response: {found.words()}")
        return judged(found, accept, 2)

    return question


EXPECT.must("h1/9110-10.1.1/at-once", "100-continue from a client that does not wait", section="10.1.1")(
    _at_once(b"Expect: 100-continue")
)
EXPECT.must("h1/9110-10.1.1/old-client", "100-continue in a request of HTTP/1.0 is to be ignored", section="10.1.1")(
    _at_once(
        b"Expect: 100-continue", version=b"HTTP/1.0", accept=ANSWERED_CLOSED | REFUSED
    )
)  # fmt: skip
EXPECT.must("h1/9110-15.2/old-client-no-interim", "No 1xx for a client of HTTP/1.0", section="15.2")(
    _at_once(version=b"HTTP/1.0", accept=ANSWERED_CLOSED | REFUSED)
)


@EXPECT.must(
    "h1/9110-10.1.1/no-content", "100-continue without any content: no client waits for long", section="10.1.1"
)
async def _no_content(dial: Dial) -> str:
    client = await connect(dial)
    await client.send(request(dial.target, b"Expect: 100-continue") + sentinel(dial.target))
    return judged(await client.all(), _ONE_EACH, 2)


@EXPECT.must("h1/9110-10.1.1/chunked", "100-continue with chunked content", section="10.1.1")
async def _chunked(dial: Dial) -> str:
    client = await connect(dial)
    lines = (b"Expect: 100-continue", b"Transfer-Encoding: chunked")
    await client.send(request(dial.target, *lines, method=b"POST"))
    first = await client.interim_or_answer("POST")
    if first is None:
        raise Failed(f"neither 100 nor a final status: {client.wire.end_words or 'the client waits in vain'}")
    body = _CONTENT(dial.target)
    await client.send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) + sentinel(dial.target))
    found = await client.all()
    if first.status >= 200:
        found.answers.insert(0, first)
    return judged(found, _ONE_EACH, 2)
