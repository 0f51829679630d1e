"""As much HTTP as the lab's answers need: one HTTP/1.1 request a connection, and HTTP/2 in a few fixed frames.

The server proper is not used on purpose: it refuses to be as wrong as a case may need it, and a lab that shares its
code could not find its faults. Everything a client sends is bounded; what does not fit ends the connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from securelight.lab.visit import Answer, Request

if TYPE_CHECKING:
    from collections.abc import Callable

    from securelight.lab.tls_stream import TlsStream

MAXIMUM_HEAD_BYTES: Final = 16_384
MAXIMUM_FRAMES: Final = 200
"""That a client may send on one HTTP/2 connection."""

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
ACCEPTED_FRAME_BYTES: Final = 16_384
DATA, HEADERS, SETTINGS, PING, GOAWAY = 0, 1, 4, 6, 7
END_STREAM, END_HEADERS, ACK = 1, 4, 1

Finish = Literal["right", "no notify", "truncated", "short"]
"""How an HTTP/1.1 answer ends: with close_notify, without; in the middle of a body whose length only its end would
tell, or before Content-Length is reached."""


def head_of(answer: Answer, finish: Finish = "right") -> bytes:
    """Status line and fields."""
    lines = [f"HTTP/1.1 {answer.status} Lab", *(f"{name}: {value}" for name, value in answer.fields)]
    if finish != "truncated":
        lines.append(f"Content-Length: {len(answer.body) + (1000 if finish == 'short' else 0)}")
    lines += ["Cache-Control: no-store", "Connection: close", "", ""]
    return "\r\n".join(lines).encode()


def parse_head(head: bytes) -> Request | None:
    """The request in a complete head; None if it is not one."""
    lines = head.decode("latin-1").split("\r\n")
    words = lines[0].split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        return None
    cookies = next((line.partition(":")[2].strip() for line in lines[1:] if line.lower().startswith("cookie:")), "")
    return Request(words[0], words[1], cookies)


async def serve_http1(
    tls: TlsStream, answer: Callable[[Request], Answer], *, finish: Finish = "right", record_bytes: int = 16_384
) -> None:
    """Answer one request."""
    received = b""
    while b"\r\n\r\n" not in received:
        data = await tls.receive()
        received += data
        if not data or len(received) > MAXIMUM_HEAD_BYTES:
            return
    request = parse_head(received)
    if request is None:
        await tls.send(head_of(Answer(b"", 400)))
        return
    content = answer(request)
    body = b"" if request.method == "HEAD" else content.body
    if finish == "truncated":
        body = body[: len(body) // 2]
    await tls.send(head_of(content, finish) + body, record_bytes)
    if finish in ("right", "short"):
        await tls.close()


def frame(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    """An HTTP/2 frame (RFC 9113, section 4.1)."""
    return len(payload).to_bytes(3) + bytes((kind, flags)) + stream_id.to_bytes(4) + payload


def _literal(text: bytes) -> bytes:
    # A string of RFC 7541, section 5.2, without Huffman.
    if len(text) < 127:
        return bytes((len(text),)) + text
    rest, encoded = len(text) - 127, b"\x7f"
    while rest >= 128:
        encoded += bytes((rest & 127 | 128,))
        rest >>= 7
    return encoded + bytes((rest,)) + text


def header_block(answer: Answer) -> bytes:
    """The fields of an answer, none of them in a table (RFC 7541, section 6.2.2)."""
    fields = [(":status", str(answer.status)), *answer.fields, ("content-length", str(len(answer.body)))]
    return b"".join(b"\0" + _literal(name.lower().encode()) + _literal(value.encode()) for name, value in fields)


async def serve_http2(tls: TlsStream, answer: Callable[[Request], Answer]) -> None:
    """Answer every stream alike, with `answer` for `/`: the header blocks of the client are not read.

    So whatever needs the path or the cookies of a request offers HTTP/1.1 only.
    """
    await tls.send(frame(SETTINGS, 0, 0, b""))
    received = b""
    while len(received) < len(PREFACE):
        data = await tls.receive()
        if not data:
            return
        received += data
    received = received.removeprefix(PREFACE)
    for _ in range(MAXIMUM_FRAMES):
        while len(received) < 9 or len(received) < 9 + int.from_bytes(received[:3]):
            if len(received) >= 9 and int.from_bytes(received[:3]) > ACCEPTED_FRAME_BYTES:
                return
            data = await tls.receive()
            if not data:
                return
            received += data
        length, kind, flags = 9 + int.from_bytes(received[:3]), received[3], received[4]
        stream_id = int.from_bytes(received[5:9]) & 0x7FFFFFFF
        payload, received = received[9:length], received[length:]
        if kind == SETTINGS and not flags & ACK:
            await tls.send(frame(SETTINGS, ACK, 0, b""))
        elif kind == PING and not flags & ACK:
            await tls.send(frame(PING, ACK, 0, payload))
        elif kind == HEADERS:
            content = answer(Request("GET", "/"))
            await tls.send(
                frame(HEADERS, END_HEADERS, stream_id, header_block(content))
                + frame(DATA, END_STREAM, stream_id, content.body[:ACCEPTED_FRAME_BYTES])
            )
        elif kind == GOAWAY:
            break
    await tls.close()
