"""What the server itself sends (RFC 9113, sections 4.2, 8.1 to 8.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from securelight.conformance import http2_frames as frames
from securelight.conformance.case import Failed, Skipped, Topic

if TYPE_CHECKING:
    from securelight.conformance.dial import Dial
    from securelight.conformance.http2_client import Http2Client

ANSWERS = Topic(
    "The server's answers",
    rfc=9113,
    why="Clients refuse a malformed answer whole, and intermediaries may pass it on as something else.",
    cure="Write names in lower case, no fields of an HTTP/1.1 connection, and the length that you then send.",
)
_CONNECTION_FIELDS = {b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"}


async def _ask(dial: Dial, method: bytes = b"GET", path: bytes | None = None) -> Http2Client:
    client = await dial.http2()
    await client.send(client.head(1, client.request(method, path)))
    await client.until(lambda: client.ended(1) or client.over)
    if not client.ended(1) or 1 in client.resets:
        raise Failed(f"the request was not answered: {client.situation(1)}")
    return client


@ANSWERS.must("h2/8.2/lower-case", "The field names of an answer are in lower case")
async def lower_case(dial: Dial) -> str:
    """All of them."""
    client = await _ask(dial)
    wrong = [name for name, _ in client.answers[1].fields if name != name.lower()]
    if wrong:
        raise Failed(f"names in upper case: {wrong}")
    return f"{len(client.answers[1].fields)} fields"


@ANSWERS.must("h2/8.2.2/no-connection-fields", "An answer has no fields of an HTTP/1.1 connection")
async def no_connection_fields(dial: Dial) -> str:
    """Connection, Keep-Alive, Transfer-Encoding and their like."""
    client = await _ask(dial)
    wrong = [name for name, _ in client.answers[1].fields if name in _CONNECTION_FIELDS]
    if wrong:
        raise Failed(f"fields of an HTTP/1.1 connection: {wrong}")
    return "none"


@ANSWERS.must("h2/8.3.2/one-status", "An answer has one :status, before its fields, and no other pseudo-header field")
async def one_status(dial: Dial) -> str:
    """The first field, and the only one with a colon."""
    client = await _ask(dial)
    names = [name for name, _ in client.answers[1].fields]
    if names[:1] != [b":status"] or any(name.startswith(b":") for name in names[1:]):
        raise Failed(f"the fields are {names}")
    return "one, at the beginning"


@ANSWERS.must("h2/8.1.1/true-length", "Content-Length of an answer is the length of its content")
async def true_length(dial: Dial) -> str:
    """To the byte."""
    client = await _ask(dial)
    answer = client.answers[1]
    announced = dict(answer.fields).get(b"content-length")
    if announced is None:
        raise Skipped("the answer has no Content-Length")
    if not announced.isdigit() or int(announced) != len(answer.body):
        raise Failed(f"Content-Length says {announced.decode('ascii', 'replace')}, and {len(answer.body)} bytes came")
    return f"{len(answer.body)} bytes"


@ANSWERS.must("h2/8.1/head-without-content", "HEAD is answered without content", rfc=9110, section="9.3.2")
async def head_without_content(dial: Dial) -> str:
    """Whatever Content-Length says."""
    client = await _ask(dial, b"HEAD")
    if client.answers[1].body:
        raise Failed(f"{len(client.answers[1].body)} bytes of content came")
    return client.situation(1)


@ANSWERS.must("h2/8.1/end-stream", "The streams of a found and of a missing resource are both ended")
async def end_stream(dial: Dial) -> str:
    """By END_STREAM, on whichever frame."""
    client = await _ask(dial)
    missing = await _ask(dial, b"GET", b"/there/is/no/such/resource")
    return f"{client.answers[1].status} and {missing.answers[1].status}"


@ANSWERS.must("h2/4.2/frame-size", "No frame of the server is longer than 16,384 bytes, unless it was allowed")
async def frame_size(dial: Dial) -> str:
    """The page has to be longer than that to show it."""
    client = await _ask(dial)
    longest = max((len(frame.data) for frame in client.frames if isinstance(frame, frames.DataFrame)), default=0)
    if longest > frames.DEFAULT_FRAME_BYTES:
        raise Failed(f"a DATA frame has {longest} bytes")
    return f"the longest DATA frame has {longest} bytes"


@ANSWERS.must("h2/8.4/no-push", "The server pushes nothing, as the client has said ENABLE_PUSH=0")
async def no_push(dial: Dial) -> str:
    """Nor opens a stream otherwise."""
    client = await dial.http2({frames.ENABLE_PUSH: 0})
    await client.send(client.head(1))
    await client.until(lambda: client.ended(1) or client.over)
    pushed = [frame for frame in client.frames if isinstance(frame, frames.PushPromiseFrame)]
    if pushed or any(not stream_id & 1 for stream_id in client.answers):
        raise Failed("the server pushed")
    return "nothing was pushed"


@ANSWERS.must("h2/8.1/no-strangers", "Frames come only on the stream that was opened")
async def no_strangers(dial: Dial) -> str:
    """Or on stream 0."""
    client = await _ask(dial)
    strangers = {frame.stream_id for frame in client.frames} - {0, 1}
    if strangers:
        raise Failed(f"frames came on streams {sorted(strangers)}")
    return "on streams 0 and 1"


@ANSWERS.must("h2/8.1/many-requests", "Fifty requests on one connection, one after the other")
async def many_requests(dial: Dial) -> str:
    """Each answered as the first one."""
    client = await dial.http2()
    for _ in range(50):
        await client.works()
    return "all were answered"
