"""The chunked transfer coding (RFC 9112, section 7.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from securelight.conformance.case import Failed, Topic, bound
from securelight.conformance.http1_client import connect, request
from securelight.conformance.http1_questions import (
    ANSWERED,
    ANSWERED_CLOSED,
    DROPPED,
    REFUSED,
    filled,
    malformed_body,
    raw,
    sentinel,
)

if TYPE_CHECKING:
    from securelight.conformance.dial import Dial
    from securelight.conformance.http1_questions import Build
    from securelight.conformance.target import Target

CHUNKED = Topic(
    "Chunked content",
    rfc=9112,
    why="Two programs that find the end of a chunk in two places take content for a request: request smuggling by "
    "chunk sizes and extensions.",
    cure="Read a size as hexadecimal digits alone, end every line with CRLF and nothing else, bound the size, and "
    "close after anything else.",
)
_CODING = b"Transfer-Encoding: chunked"
_GET = b"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"

_GOOD = {
    "one-chunk": (b"5\r\nGET /\r\n0\r\n\r\n", "One chunk"),
    "no-chunk": (b"0\r\n\r\n", "No content"),
    "many-chunks": (b"1\r\nG\r\n" * 40 + b"0\r\n\r\n", "Forty chunks"),
    "lower-case": (b"a\r\nGET / HTTP\r\n0\r\n\r\n", "A size in lower case"),
    "upper-case": (b"A\r\nGET / HTTP\r\n0\r\n\r\n", "A size in upper case"),
    "leading-noughts": (b"005\r\nGET /\r\n0\r\n\r\n", "A size with leading noughts"),
    "many-noughts-at-the-end": (b"5\r\nGET /\r\n000\r\n\r\n", "A last chunk of several noughts"),
    "data-like-the-end": (b"7\r\n0\r\n\r\n0\r\r\n0\r\n\r\n", "Content that looks like the end"),
}
for _key, (_body, _words) in _GOOD.items():
    CHUNKED.must(f"h1/7.1/{_key}", f"{_words}: that is right")(
        raw(
            bound(lambda target, body: request(target, _CODING, method=b"POST", body=body), _body),
            ANSWERED | ANSWERED_CLOSED,
        )
    )
_EXTENSIONS = {
    "name": (b";judge", "A name"),
    "name-and-value": (b";judge=1", "A name and a value"),
    "quoted": (b';judge="a;b=c"', "A quoted value with a semicolon"),
    "quoted-pair": (b';judge="a\\"b"', "A quoted quotation mark"),
    "two": (b";a=1;b=2", "Two"),
    "long": (b";judge=" + b"a" * 100, "A hundred bytes"),
}
for _key, (_bytes, _words) in _EXTENSIONS.items():
    CHUNKED.must(f"h1/7.1.1/extension-{_key}", f"A chunk extension that nobody knows is to be ignored: {_words}")(
        raw(
            bound(
                lambda target, extension: request(
                    target, _CODING, method=b"POST", body=b"5" + extension + b"\r\nGET /\r\n0\r\n\r\n"
                ),
                _bytes,
            ),
            ANSWERED | ANSWERED_CLOSED,
        )
    )
_TRAILERS = {
    "one": (b"X-Trailer: 1\r\n", "A trailer field"),
    "several": (b"X-One: 1\r\nX-Two: 2\r\nX-Three: 3\r\n", "Three trailer fields"),
    "length": (b"Content-Length: 50\r\n", "Content-Length as a trailer field, which counts for nothing"),
    "coding": (b"Transfer-Encoding: chunked\r\n", "Transfer-Encoding as a trailer field, which counts for nothing"),
    "host": (b"Host: other.example\r\n", "Host as a trailer field, which counts for nothing"),
}


def _ends_with(trailers: bytes) -> Build:
    return lambda target: request(target, _CODING, method=b"POST", body=b"5\r\nGET /\r\n0\r\n" + trailers + b"\r\n")


for _key, (_bytes, _words) in _TRAILERS.items():
    if _key in ("one", "several"):
        CHUNKED.must(f"h1/7.1.2/trailer-{_key}", _words)(raw(_ends_with(_bytes), ANSWERED | ANSWERED_CLOSED))
    else:
        CHUNKED.must(f"h1/9110-6.5.1/trailer-{_key}", _words, rfc=9110, section="6.5.1")(
            raw(_ends_with(_bytes), ANSWERED | ANSWERED_CLOSED | REFUSED | DROPPED)
        )

_BAD = {
    # Sizes
    "size-0x": (b"0x5\r\nGET /\r\n0\r\n\r\n", "A size with 0x"),
    "size-plus": (b"+5\r\nGET /\r\n0\r\n\r\n", "A size with a plus sign"),
    "size-minus": (b"-5\r\nGET /\r\n0\r\n\r\n", "A size with a minus sign"),
    "size-underscore": (b"0_5\r\nGET /\r\n0\r\n\r\n", "A size with an underscore"),
    "size-leading-space": (b" 5\r\nGET /\r\n0\r\n\r\n", "A size with a space before it"),
    "size-trailing-space": (b"5 \r\nGET /\r\n0\r\n\r\n", "A size with a space after it"),
    "size-trailing-tab": (b"5\t\r\nGET /\r\n0\r\n\r\n", "A size with a tab after it"),
    "size-empty": (b"\r\nGET /\r\n0\r\n\r\n", "An empty size"),
    "size-letter": (b"g\r\nGET /\r\n0\r\n\r\n", "A size that is no number"),
    "size-digits-then-letter": (b"5g\r\nGET /\r\n0\r\n\r\n", "A size with a letter after it"),
    "size-nul": (b"5\x00\r\nGET /\r\n0\r\n\r\n", "A size with NUL"),
    "size-comma": (b"5,5\r\nGET /\r\n0\r\n\r\n", "Two sizes"),
    "size-quoted": (b'"5"\r\nGET /\r\n0\r\n\r\n', "A size in quotation marks"),
    "size-other-digits": (b"\xef\xbc\x95\r\nGET /\r\n0\r\n\r\n", "A size in full-width digits"),
    "size-minus-nought": (b"-0\r\n\r\n", "A last chunk of minus nought"),
    # Line ends
    "size-bare-lf": (b"5\nGET /\r\n0\r\n\r\n", "A size that ends with LF"),
    "size-bare-cr": (b"5\rGET /\r\n0\r\n\r\n", "A size that ends with CR"),
    "size-cr-and-more": (b"5\rX\r\nGET /\r\n0\r\n\r\n", "A bare CR after the size"),
    "data-bare-lf": (b"5\r\nGET /\n0\r\n\r\n", "A chunk that ends with LF"),
    "data-without-end": (b"5\r\nGET /0\r\n\r\n", "A chunk that no CRLF follows"),
    "data-two-bytes": (b"5\r\nGET /xx0\r\n\r\n", "Two other bytes where CRLF is due"),
    "data-longer": (b"3\r\nGET /\r\n0\r\n\r\n", "A chunk that is longer than its size"),
    "data-shorter": (b"6\r\nGET /\r\n0\r\n\r\n", "A chunk that is shorter than its size"),
    "last-bare-lf": (b"5\r\nGET /\r\n0\n\n", "A last chunk that ends with LF"),
    "last-cr-only": (b"5\r\nGET /\r\n0\r\r", "A last chunk that ends with CR"),
    # Extensions
    "extension-bare-lf": (b"5;\nGET /\r\n0\r\n\r\n", "An extension that ends with LF"),
    "extension-lf-inside": (b"5;a\nGET /\r\nGET /\r\n0\r\n\r\n", "LF inside an extension"),
    "extension-cr-inside": (b"5;a\rb\r\nGET /\r\n0\r\n\r\n", "CR inside an extension"),
    "extension-nul": (b"5;a\x00b\r\nGET /\r\n0\r\n\r\n", "NUL inside an extension"),
    "extension-quoted-crlf": (b'5;a="\r\nGET /\r\n0\r\n\r\n', "An extension whose quotation mark is still open"),
    "extension-quoted-lf": (b'5;a="\n"\r\nGET /\r\n0\r\n\r\n', "LF inside a quoted extension"),
    "extension-no-semicolon": (b"5 a=b\r\nGET /\r\n0\r\n\r\n", "An extension without its semicolon"),
    "last-extension-bare-lf": (b"0;a\n\n", "An extension of the last chunk that ends with LF"),
    # Trailers
    "no-end": (b"5\r\nGET /\r\n0\r\n", "No empty line after the last chunk"),
    "trailer-no-colon": (b"0\r\nX-Trailer\r\n\r\n", "A trailer field without a colon"),
    "trailer-space-before-colon": (b"0\r\nX-Trailer : 1\r\n\r\n", "A trailer field with a space before its colon"),
    "trailer-folded": (b"0\r\n X-Trailer: 1\r\n\r\n", "A trailer field after white space"),
    "trailer-bare-cr": (b"0\r\nX-Trailer: 1\rX: 2\r\n\r\n", "A trailer field with a bare CR"),
    "trailer-nul": (b"0\r\nX-Tra\x00iler: 1\r\n\r\n", "A trailer field with NUL in its name"),
    "trailer-request": (b"0\r\n" + _GET, "A request in the place of the trailer fields"),
}
for _key, (_body, _words) in _BAD.items():
    CHUNKED.should(f"h1/7.1/{_key}", _words)(malformed_body(_CODING, filled(_body)))

_LARGE = {
    "17-digits": b"10000000000000005",
    "2-to-32": b"100000005",
    "2-to-64-less-one": b"ffffffffffffffff",
    "2-to-63": b"8000000000000000",
    "40-digits": b"f" * 40,
    "long-with-noughts": b"1" + b"0" * 32 + b"5",
}
for _key, _size in _LARGE.items():

    @CHUNKED.must(f"h1/7.1/overflow-{_key}", f"A chunk of {_size.decode()} bytes (hexadecimal)")
    async def overflow(dial: Dial, size: bytes = _size) -> str:
        """The end of the content must never be found. A server may wait for all these bytes."""
        client = await connect(dial)
        body = size + b"\r\nGET /\r\n0\r\n\r\n"
        await client.send(request(dial.target, _CODING, method=b"POST", body=body) + sentinel(dial.target))
        first = await client.answer("POST", dial.patience.silence * 2)
        second = await client.answer("GET", dial.patience.silence * 2) if first is not None else None
        if second is not None:
            raise Failed(f"the size overflowed: the request after it was answered with {second.status}")
        if first is not None and first.status < 300 and not client.wire.ended:
            raise Failed(f"answered with {first.status} before the end of the content, and not closed")
        if first is not None:
            return f"answered with {first.status}, and nothing after it"
        return client.wire.end_words or "the server waits for the content"


@CHUNKED.must("h1/7.1/one-byte-at-a-time", "Chunked content that comes one byte at a time")
async def _one_byte_at_a_time(dial: Dial) -> str:
    client = await connect(dial)
    await client.send(request(dial.target, _CODING, method=b"POST"))
    for byte in b"5;a=b\r\nGET /\r\n0\r\nX: 1\r\n\r\n":
        await client.send(bytes([byte]))
    await client.send(sentinel(dial.target))
    found = await client.all()
    accept = ANSWERED | ANSWERED_CLOSED
    if not accept.takes(found, 2):
        raise Failed(f"expected {accept.words()}, but got {found.words()}")
    return found.words()


def _long_extension(target: Target) -> bytes:
    return request(target, _CODING, method=b"POST", body=b"5;" + b"a" * 1_000_000 + b"\r\nGET /\r\n0\r\n\r\n")


@CHUNKED.should("h1/7.1.1/extension-limit", "A chunk extension of a million bytes: there should be a limit")
async def _extension_limit(dial: Dial) -> str:
    client = await connect(dial)
    await client.send(_long_extension(dial.target) + sentinel(dial.target))
    found = await client.all()
    if len(found.answers) > 1 or not found.end:
        raise Failed(f"expected the end of the connection, but got {found.words()}")
    return found.words()
