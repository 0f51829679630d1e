"""Questions that many HTTP/2 cases are made of, and the states that a stream can be brought into."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from securelight.conformance import http2_frames as frames
from securelight.conformance.case import Failed, Skipped
from securelight.conformance.http2_client import TooLate

if TYPE_CHECKING:
    from securelight.conformance.case import Question
    from securelight.conformance.dial import Dial
    from securelight.conformance.http2_accept import Accept
    from securelight.conformance.http2_client import Field, Http2Client

Build = Callable[["Http2Client"], Sequence[bytes]]
"""The frames to send, for a connection on which nothing was asked yet."""


def sends(
    build: Build, accept: Accept, *, stream_id: int = 1, settings: Mapping[int, int] | None = None,
    barrier: bool = True, too_late: bool = False,
) -> Question:  # fmt: skip
    """A question that is one write on a new connection. The arguments are those of Http2Client.judge and Dial.http2."""

    async def question(dial: Dial) -> str:
        client = await dial.http2(settings)
        await client.send(*build(client))
        try:
            return await client.judge(accept, stream_id, barrier=barrier, too_late=too_late)
        except TooLate:
            await _skip_if_early(dial, lambda one: build(one)[0])
            raise

    return question


async def _skip_if_early(dial: Dial, head: Callable[[Http2Client], bytes]) -> None:
    """Find out on another connection whether the server answers a request after its head, without its end.

    Errors: Skipped if it does, as it need not see what comes later.
    """
    client = await dial.http2()
    await client.send(head(client))
    await client.barrier(1)
    await client.until(lambda: client.over or client.ended(1), client.silence_seconds)
    if client.ended(1):
        raise Skipped(f"the server answers such a request before its end: {client.situation(1)}")


def writes(*pieces: bytes) -> Build:
    """The same bytes on every connection."""
    return lambda client: pieces


def writes_before_request(*pieces: bytes) -> Build:
    """The same bytes, and then a plain request on stream 1."""
    return lambda client: [*pieces, client.head(1)]


def requests(
    fields: Callable[[Http2Client], Sequence[Field]],
    accept: Accept,
    *,
    end: bool = True,
    after: Sequence[bytes] = (),
    too_late: bool = False,
) -> Question:
    """A question that is one request on stream 1, with these fields and what comes `after` its HEADERS."""

    def build(client: Http2Client) -> list[bytes]:
        return [client.head(1, fields(client), end=end), *after]

    return sends(build, accept, too_late=too_late)


State = Callable[["Dial"], Awaitable[tuple["Http2Client", Sequence[bytes]]]]
"""Brings stream 1 of a new connection into a state; the frames are still to be sent, in one write with the probe."""


async def idle(dial: Dial) -> tuple[Http2Client, Sequence[bytes]]:
    """Never used."""
    return await dial.http2(), ()


async def open_(dial: Dial) -> tuple[Http2Client, Sequence[bytes]]:
    """A request has begun. In one write with the probe, because a server may answer before its end."""
    client = await dial.http2()
    return client, (client.head(1, client.request(b"POST"), end=False),)


async def half_closed(dial: Dial) -> tuple[Http2Client, Sequence[bytes]]:
    """The request has ended and the response has not: its body does not fit into a window of one byte.

    With one of none, some servers (nginx) hold back the head too.
    """
    client = await dial.http2({frames.INITIAL_WINDOW_SIZE: 1})
    await client.send(client.head(1))
    if not await client.until(lambda: 1 in client.answers or client.over):
        raise Failed(f"a request was not answered: {client.situation(1)}")
    if client.ended(1):
        raise Skipped("the answer to a plain GET has no body, so that its stream cannot be held open")
    client.forget(1)
    return client, ()


async def closed(dial: Dial) -> tuple[Http2Client, Sequence[bytes]]:
    """Both sides have ended it."""
    client = await dial.http2()
    await client.send(client.head(1))
    if not await client.until(lambda: client.ended(1)):
        raise Failed(f"a request was not answered: {client.situation(1)}")
    client.forget(1)
    return client, ()


async def reset_by_client(dial: Dial) -> tuple[Http2Client, Sequence[bytes]]:
    """We have reset it."""
    client = await dial.http2()
    return client, (client.head(1, client.request(b"POST"), end=False), frames.rst_stream(1))


async def reset_by_server(dial: Dial) -> tuple[Http2Client, Sequence[bytes]]:
    """The server resets it, for a malformed request that has not ended; in one write with the probe, so that the
    frames are on their way at that moment. Tried out on a connection of its own.
    """
    clients = [await dial.http2(), await dial.http2()]
    first, second = ([one.head(1, one.request(b"POST", None, (b"Upper", b"case")), end=False)] for one in clients)
    await clients[0].send(*first)
    await clients[0].barrier(1)
    if not clients[0].resets.get(1) or clients[0].over:
        raise Skipped(f"the server does not reset a stream for a malformed request: {clients[0].situation(1)}")
    return clients[1], second


STATES: Mapping[str, tuple[str, State]] = {
    "idle": ("an idle stream", idle),
    "open": ("an open stream", open_),
    "half-closed": ("a stream whose request has ended", half_closed),
    "closed": ("a stream that both sides have ended", closed),
    "reset": ("a stream that the client has reset", reset_by_client),
    "server-reset": ("a stream that the server has reset", reset_by_server),
}
"""The states that a client can bring a stream into (RFC 9113, section 5.1), by name, with words for them."""


def in_state(state: str, probe: Build, accept: Accept) -> Question:
    """A question that is one write on stream 1 in a state."""

    async def question(dial: Dial) -> str:
        client, before = await STATES[state][1](dial)
        await client.send(*before, *probe(client))
        too_late = state in ("open", "reset")
        try:
            return await client.judge(accept, 0 if state == "server-reset" else 1, too_late=too_late)
        except TooLate:
            await _skip_if_early(dial, lambda one: one.head(1, one.request(b"POST"), end=False))
            raise

    return question
