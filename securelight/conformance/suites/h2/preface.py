"""The beginning of a connection (RFC 9113, section 3.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from securelight.conformance import http2_frames as frames
from securelight.conformance.case import Failed, Skipped, Topic
from securelight.conformance.http2_accept import ANSWERED, FRAME_SIZE_ERROR, PROTOCOL_ERROR, connection_error
from securelight.conformance.http2_frames import PREFACE

if TYPE_CHECKING:
    from securelight.conformance.case import Question
    from securelight.conformance.dial import Dial

BEGINNING = Topic(
    "Connection preface",
    rfc=9113,
    why="A server that takes something else for HTTP/2 can be made to read another protocol's bytes as requests.",
    cure="Compare all 24 bytes of the preface, and require SETTINGS as the first frame.",
)


def _begins_with(opening: bytes, *, barrier: bool = False) -> Question:
    async def question(dial: Dial) -> str:
        client = await dial.http2(handshake=False)
        await client.send(opening)
        return await client.judge(connection_error(PROTOCOL_ERROR, FRAME_SIZE_ERROR), barrier=barrier)

    return question


_WRONG = {
    "http1-request": ("An HTTP/1.1 request instead of the preface", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    "wrong-first-byte": ("A preface whose first byte is wrong", b"X" + PREFACE[1:] + frames.settings()),
    "wrong-last-byte": ("A preface whose last byte is wrong", PREFACE[:-1] + b"X" + frames.settings()),
    "no-preface": ("SETTINGS without the preface", frames.settings() + bytes(24)),
    "lower-case": ("A preface in lower case", PREFACE.lower() + frames.settings()),
    "bare-line-feeds": ("A preface with LF instead of CR LF", PREFACE.replace(b"\r", b"") + frames.settings() * 2),
}
for _name, (_title, _opening) in _WRONG.items():
    BEGINNING.must(f"h2/3.4/{_name}", _title)(_begins_with(_opening))

_FIRST_FRAMES = {
    "ping": frames.ping(),
    "window-update": frames.window_update(0, 1),
    "settings-ack": frames.settings_ack(),
    "data": frames.data(1, b"x"),
    "headers": frames.headers(1, b"\x82\x87\x84\x41\x09localhost"),
    "goaway": frames.goaway(),
    "priority": frames.priority(1),
}
for _name, _frame in _FIRST_FRAMES.items():
    BEGINNING.must(
        f"h2/3.4/first-frame-{_name}", f"{_name.upper().replace('-', ' ')} as the first frame, before SETTINGS"
    )(_begins_with(PREFACE + _frame + frames.settings(), barrier=True))


@BEGINNING.must("h2/3.4/server-settings-first", "The first frame of the server is SETTINGS")
async def server_settings_first(dial: Dial) -> str:
    """Whatever the client asks first."""
    client = await dial.http2(handshake=False)
    await client.send(PREFACE, frames.settings(), frames.ping(), client.head(1))
    await client.until(lambda: client.ended(1) or client.over)
    if not client.frames:
        raise Failed(f"the server sent no frame: {client.situation()}")
    first = client.frames[0]
    if not isinstance(first, frames.SettingsFrame) or "ACK" in first.flags:
        raise Failed(f"the first frame was {type(first).__name__} {sorted(first.flags)}")
    return "the first frame was SETTINGS"


@BEGINNING.must("h2/3.4/request-at-once", "Preface, SETTINGS and a request in one write")
async def request_at_once(dial: Dial) -> str:
    """A client need not wait for the server's SETTINGS."""
    client = await dial.http2(handshake=False)
    await client.send(PREFACE, frames.settings(), client.head(1))
    return await client.judge(ANSWERED, 1)


@BEGINNING.must("h2/3.4/in-pieces", "Preface, SETTINGS and a request in pieces of one byte")
async def in_pieces(dial: Dial) -> str:
    """A frame need not come in one piece."""
    client = await dial.http2(handshake=False)
    stream = PREFACE + frames.settings() + client.head(1)
    client.highest = 1
    client.wire.logs = True
    for position in range(len(stream)):
        await client.wire.send(stream[position : position + 1])
    client.wire.logs = False
    return await client.judge(ANSWERED, 1)


@BEGINNING.must("h2/3.2/alpn", "ALPN with h2 and http/1.1 is answered with one of them", section="3.2")
async def alpn(dial: Dial) -> str:
    """HTTP/2 over TLS is negotiated by ALPN."""
    if not dial.target.tls:
        raise Skipped("there is no ALPN without TLS")
    wire = await dial.tls(("h2", "http/1.1"))
    if wire.alpn not in ("h2", "http/1.1"):
        raise Failed("the server chose nothing, although it was offered h2")
    return f"the server chose {wire.alpn}"


@BEGINNING.must("h2/9.2/tls-version", "TLS 1.2 or higher")
async def tls_version(dial: Dial) -> str:
    """Without it, HTTP/2 is not allowed."""
    if not dial.target.tls:
        raise Skipped("there is no TLS")
    client = await dial.http2()
    version = client.wire.tls.version() if client.wire.tls is not None else None
    if version not in ("TLSv1.2", "TLSv1.3"):
        raise Failed(f"HTTP/2 was chosen on {version}")
    return f"{version}"


@BEGINNING.must("h2/5.4.1/closed-after-error", "The TCP connection is closed after a connection error")
async def closed_after_error(dial: Dial) -> str:
    """A server may wait a moment for what is on its way."""
    client = await dial.http2()
    await client.send(frames.data(0, b"x"))
    await client.until(lambda: client.over)
    if not await client.until(lambda: bool(client.wire.ended)):
        raise Failed(f"still open after {client.answer_seconds:g} s: {client.situation()}")
    return client.situation()


@BEGINNING.should("h2/5.4.1/goaway-before-close", "A connection error is announced with GOAWAY")
async def goaway_before_close(dial: Dial) -> str:
    """So that the client knows why, and which requests were not seen."""
    client = await dial.http2()
    await client.send(frames.data(0, b"x"))
    await client.until(lambda: bool(client.goaways or client.wire.ended))
    if not client.goaways:
        raise Failed(client.situation())
    return client.situation()


@BEGINNING.must("h2/6.8/last-stream", "GOAWAY names the last stream that was answered")
async def last_stream(dial: Dial) -> str:
    """Streams above it may be asked for again: one that was answered must not be among them."""
    client = await dial.http2()
    await client.send(client.head(1), client.head(3))
    await client.until(lambda: client.ended(1) and client.ended(3))
    await client.send(frames.data(0, b"x"))
    await client.until(lambda: bool(client.goaways or client.wire.ended))
    if not client.goaways:
        raise Skipped("the server sends no GOAWAY")
    if client.goaways[-1][0] < 3:
        raise Failed(f"stream 3 was answered, but {client.situation()}")
    return client.situation()


@BEGINNING.must("h2/5.4.2/no-reset-for-reset", "RST_STREAM is not answered with RST_STREAM")
async def no_reset_for_reset(dial: Dial) -> str:
    """Or two sides could go on for ever."""
    client = await dial.http2({frames.INITIAL_WINDOW_SIZE: 1})
    await client.send(client.head(1))
    await client.until(lambda: 1 in client.answers or client.over)
    if client.ended(1):
        raise Skipped("the answer to a plain GET has no body, so that its stream cannot be held open")
    await client.send(frames.rst_stream(1))
    await client.barrier()
    if 1 in client.resets:
        raise Failed(client.situation(1))
    return await client.works()


@BEGINNING.must("h2/7/unknown-code", "RST_STREAM with an error code that nobody knows")
async def unknown_code(dial: Dial) -> str:
    """It triggers no special behaviour."""
    client = await dial.http2()
    await client.send(client.head(1, client.request(b"POST"), end=False), frames.rst_stream(1, 0xFFFFFFFF))
    await client.barrier()
    return await client.works()


@BEGINNING.must("h2/3.4/empty-writes", "Nothing for a while after the handshake, then a request")
async def a_while(dial: Dial) -> str:
    """A connection may be idle."""
    client = await dial.http2()
    await trio.sleep(client.silence_seconds)
    return await client.works()
