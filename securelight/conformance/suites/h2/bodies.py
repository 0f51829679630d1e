"""Content, its length, and trailers (RFC 9113, sections 8.1, 8.1.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from securelight.conformance import http2_frames as frames
from securelight.conformance.case import Failed, Topic, bound
from securelight.conformance.http2_accept import ANSWERED, IGNORED, MALFORMED
from securelight.conformance.http2_questions import requests, sends

if TYPE_CHECKING:
    from securelight.conformance.dial import Dial
    from securelight.conformance.http2_client import Field, Http2Client
    from securelight.conformance.http2_questions import Build

LENGTH = Topic(
    "Content-Length",
    rfc=9113,
    why="Passed on over HTTP/1.1, the difference between the announced and the true length is another request.",
    cure="Add up the DATA of each request, and reset the stream as soon as it differs from Content-Length.",
)
TRAILERS = Topic(
    "Trailers",
    rfc=9113,
    why="Fields that come after the content were not looked at when the request was let through.",
    cure="Take one trailer section, at the end, without pseudo-header fields, and keep it apart from the fields.",
)


def _body(length: bytes, *pieces: bytes) -> tuple[tuple[Field, ...], list[bytes]]:
    last = len(pieces) - 1
    sent = [frames.data(1, piece, end=number == last) for number, piece in enumerate(pieces)]
    return ((b"content-length", length),), sent


_WRONG = {
    "too-little": ("Content-Length: 5 and three bytes", _body(b"5", b"abc")),
    "too-much": ("Content-Length: 3 and five bytes", _body(b"3", b"abcde")),
    "too-much-in-pieces": ("Content-Length: 3 and five bytes in two frames", _body(b"3", b"ab", b"cde")),
    "zero-and-content": ("Content-Length: 0 and three bytes", _body(b"0", b"abc")),
    "no-number": ("Content-Length: abc", _body(b"abc", b"abc")),
    "negative": ("Content-Length: -3", _body(b"-3", b"abc")),
    "plus": ("Content-Length: +3", _body(b"+3", b"abc")),
    "hexadecimal": ("Content-Length: 0x3", _body(b"0x3", b"abc")),
    "overflow": ("Content-Length: 18446744073709551619, which is 3 in 64 bits",
                 _body(b"18446744073709551619", b"abc")),
}  # fmt: skip
for _key, (_words, (_extra, _frames)) in _WRONG.items():
    LENGTH.must(f"h2/8.1.1/length-{_key}", _words)(
        requests(
            bound(lambda client, extra: client.request(b"POST", None, *extra), _extra),
            MALFORMED,
            end=False,
            after=_frames,
            too_late=True,
        )
    )

LENGTH.must("h2/8.1.1/length-without-content", "Content-Length: 5 and a request that ends with its fields")(
    requests(lambda client: client.request(b"POST", None, (b"content-length", b"5")), MALFORMED)
)
LENGTH.must(
    "h2/8.1.1/get-length-without-content", "GET with Content-Length: 5 and a request that ends with its fields"
)(requests(lambda client: client.request(b"GET", None, (b"content-length", b"5")), MALFORMED))
LENGTH.must("h2/8.1.1/two-lengths", "Content-Length: 3 and Content-Length: 5", rfc=9110, section="8.6")(
    requests(
        lambda client: client.request(b"POST", None, (b"content-length", b"3"), (b"content-length", b"5")),
        MALFORMED,
        end=False,
        after=[frames.data(1, b"abc", end=True)],
        too_late=True,
    )
)
LENGTH.must("h2/8.1.1/length-in-pieces", "Content-Length: 5 and five bytes in three frames: that is right")(
    requests(
        lambda client: client.request(b"POST", None, (b"content-length", b"5")),
        ANSWERED | IGNORED,
        end=False,
        after=[frames.data(1, b"ab"), frames.data(1, b"cd"), frames.data(1, b"e", end=True)],
    )
)
LENGTH.must("h2/8.1.1/length-zero", "Content-Length: 0 and no content: that is right")(
    requests(lambda client: client.request(b"GET", None, (b"content-length", b"0")), ANSWERED)
)


def _with_trailers(*trailers: Field, end: bool = True, length: bytes = b"") -> Build:
    def build(client: Http2Client) -> list[bytes]:
        extra = [(b"content-length", length)] if length else []
        return [
            client.head(1, client.request(b"POST", None, *extra), end=False),
            frames.data(1, b"abc"),
            client.head(1, trailers, end=end),
        ]

    return build


TRAILERS.must("h2/8.1/trailers", "Trailers after the content: that is right")(
    sends(_with_trailers((b"x-trailer", b"1"), length=b"3"), ANSWERED | IGNORED)
)
_MALFORMED_TRAILERS: dict[str, tuple[str, Field]] = {
    "pseudo": ("with a pseudo-header field", (b":path", b"/admin")),
    "status": ("with :status", (b":status", b"200")),
    "upper-case": ("with a name in upper case", (b"X-Trailer", b"1")),
    "new-line": ("with CR LF in a value", (b"x-trailer", b"a\r\nb: c")),
    "transfer-encoding": ("with Transfer-Encoding", (b"transfer-encoding", b"chunked")),
}
for _key, (_words, _field) in _MALFORMED_TRAILERS.items():
    TRAILERS.must(f"h2/8.1/trailers-with-{_key}", f"Trailers {_words}")(
        sends(_with_trailers(_field), MALFORMED, too_late=True)
    )
TRAILERS.must("h2/8.1/trailers-without-end", "A second HEADERS that does not end the request")(
    sends(_with_trailers((b"x-trailer", b"1"), end=False), MALFORMED, too_late=True)
)
TRAILERS.must("h2/8.1.1/trailers-and-length", "Trailers after less content than Content-Length says")(
    sends(_with_trailers((b"x-trailer", b"1"), length=b"5"), MALFORMED, too_late=True)
)
TRAILERS.must("h2/8.1/trailers-without-content", "Trailers and no content: that is right")(
    sends(
        lambda client: [
            client.head(1, client.request(b"POST"), end=False),
            client.head(1, [(b"x-trailer", b"1")]),
        ],
        ANSWERED | IGNORED,
    )
)


@TRAILERS.must("h2/8.1/expect-continue", "Expect: 100-continue, and the content is sent all the same", rfc=9110,
               section="10.1.1")  # fmt: skip
async def expect_continue(dial: Dial) -> str:
    """A 100, a final answer, or both."""
    client = await dial.http2()
    fields = client.request(b"POST", None, (b"expect", b"100-continue"), (b"content-length", b"3"))
    await client.send(client.head(1, fields, end=False))
    await client.until(lambda: 1 in client.answers or client.over or 1 in client.resets, client.silence_seconds)
    await client.send(frames.data(1, b"abc", end=True))
    await client.until(lambda: client.ended(1) or client.over)
    answer = client.answers.get(1)
    if answer is None or not answer.status:
        raise Failed(f"there was no answer: {client.situation(1)}")
    return client.situation(1)
