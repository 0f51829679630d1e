"""Where the content of a request ends (RFC 9112, section 6)."""

from __future__ import annotations

from securelight.conformance.case import Topic, bound
from securelight.conformance.http1_client import request
from securelight.conformance.http1_questions import (
    ANSWERED,
    ANSWERED_CLOSED,
    DROPPED,
    REFUSED,
    REFUSED_OPEN,
    WAITING,
    raw,
)

LENGTH = Topic(
    "Content-Length",
    rfc=9112,
    why="Two programs in a chain that count the content in two ways take one's content for the other's next request: "
    "request smuggling.",
    cure="Take one Content-Length that is digits and nothing else; answer any other with 400 and close.",
)
CODING = Topic(
    "Transfer-Encoding",
    rfc=9112,
    why="A coding that one program knows and the next ignores makes content a request: request smuggling.",
    cure="Take `chunked` alone; answer other codings with 501 or 400 and close.",
)

_LENGTHS = {
    "plus": (b"+5", "with a plus sign"),
    "minus": (b"-5", "with a minus sign"),
    "minus-zero": (b"-0", "of minus nought"),
    "fraction": (b"5.0", "with a fraction"),
    "exponent": (b"5e0", "with an exponent"),
    "hexadecimal": (b"0x5", "in hexadecimal"),
    "underscore": (b"0_5", "with an underscore"),
    "space-inside": (b"0 5", "with a space inside"),
    "letters": (b"five", "in letters"),
    "digits-then-letters": (b"5a", "with a letter after it"),
    "empty": (b"", "that is empty"),
    "quoted": (b'"5"', "in quotation marks"),
    "semicolon": (b"5;", "with a semicolon"),
    "trailing-comma": (b"5,6", "with two values"),
    "vertical-tab": (b"\x0b5", "with a vertical tab"),
    "form-feed": (b"5\x0c", "with a form feed"),
    "nul": (b"5\x00", "with NUL"),
    "other-digits": (b"\xd9\xa5", "in digits of another script"),
    "full-width": (b"\xef\xbc\x95", "in full-width digits"),
    "2-to-64": (b"18446744073709551621", "of 2^64 + 5"),
    "2-to-32-wide": (b"9" * 400, "of 400 digits"),
}
for _key, (_value, _words) in _LENGTHS.items():
    LENGTH.must(f"h1/6.3/length-{_key}", f"A Content-Length {_words}")(
        raw(
            bound(
                lambda target, value: request(target, b"Content-Length: " + value, method=b"POST", body=b"GET /"),
                _value,
            ),
            # A server whose numbers have no end may wait for that much content; none may take five bytes for all of it.
            REFUSED | WAITING if _key.startswith("2-to") else REFUSED,
        )
    )
LENGTH.must("h1/6.3/two-lengths", "Two Content-Length fields with different values")(
    raw(
        lambda target: request(target, b"Content-Length: 5", b"Content-Length: 0", method=b"POST", body=b"GET /"),
        REFUSED,
    )
)
LENGTH.must("h1/6.3/two-lengths-nought-first", "Two Content-Length fields, the first is nought")(
    raw(
        lambda target: request(target, b"Content-Length: 0", b"Content-Length: 5", method=b"POST", body=b"GET /"),
        REFUSED,
    )
)
LENGTH.must("h1/6.3/two-lengths-of-get", "GET with two Content-Length fields with different values")(
    raw(lambda target: request(target, b"Content-Length: 5", b"Content-Length: 0", body=b"GET /"), REFUSED)
)
for _key, _lines in {
    "same-length-twice": (b"Content-Length: 5", b"Content-Length: 5"),
    "same-length-in-list": (b"Content-Length: 5, 5",),
}.items():
    LENGTH.must(f"h1/6.3/{_key}", "The same Content-Length twice: refused, or taken once")(
        raw(
            bound(lambda target, lines: request(target, *lines, method=b"POST", body=b"GET /"), _lines),
            REFUSED | ANSWERED,
        )
    )
LENGTH.must("h1/6.2/leading-noughts", "A Content-Length with leading noughts, as decimal")(
    raw(
        lambda target: request(target, b"Content-Length: 0010", method=b"POST", body=b"GET / HTTP"),
        ANSWERED | ANSWERED_CLOSED | REFUSED,
    )
)
LENGTH.must("h1/6.2/nought", "POST with Content-Length: 0")(
    raw(lambda target: request(target, b"Content-Length: 0", method=b"POST"), ANSWERED | ANSWERED_CLOSED)
)
LENGTH.must("h1/6.3/no-length", "POST without any length has no content")(
    raw(
        lambda target: request(target, method=b"POST"),
        REFUSED_OPEN | ANSWERED | ANSWERED_CLOSED,
    )
)
LENGTH.must("h1/6.3/exact", "Content of exactly its length, and then another request")(
    raw(lambda target: request(target, b"Content-Length: 5", method=b"POST", body=b"GET /"), ANSWERED | ANSWERED_CLOSED)
)

_CODINGS = {
    "xchunked": (b"xchunked", "called xchunked"),
    "chunkedx": (b"chunkedx", "called chunkedx"),
    "gzip": (b"gzip", "that is gzip and never chunked"),
    "identity": (b"identity", "called identity, which is none any more"),
    "chunked-identity": (b"chunked, identity", "that is chunked, then identity"),
    "chunked-gzip": (b"chunked, gzip", "that is chunked, then gzip"),
    "chunked-twice": (b"chunked, chunked", "that is chunked twice"),
    "quoted": (b'"chunked"', "in quotation marks"),
    "vertical-tab": (b"\x0bchunked", "with a vertical tab before it"),
    "form-feed": (b"chunked\x0c", "with a form feed after it"),
    "nul": (b"chunked\x00", "with NUL after it"),
    "space-inside": (b"chun ked", "with a space inside"),
    "semicolon": (b"chunked;q=1", "with a parameter"),
    "no-break-space": (b"\xa0chunked", "with a no-break space before it"),
    "two-words": (b"x chunked", "of two words"),
    "list-without-comma": (b"gzip chunked", "of two codings without a comma"),
}
for _key, (_value, _words) in _CODINGS.items():
    CODING.must(f"h1/6.3/coding-{_key}", f"A Transfer-Encoding {_words}")(
        raw(
            bound(
                lambda target, value: request(
                    target, b"Transfer-Encoding: " + value, method=b"POST", body=b"0\r\n\r\n"
                ),
                _value,
            ),
            REFUSED,
        )
    )
_TWO = {
    "chunked-then-identity": (b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"),
    "chunked-twice-in-two-fields": (b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
    "chunked-then-unknown": (b"Transfer-Encoding: chunked", b"Transfer-Encoding: x"),
}
for _key, _lines in _TWO.items():
    CODING.must(f"h1/6.3/{_key}", "Two Transfer-Encoding fields")(
        raw(
            bound(lambda target, lines: request(target, *lines, method=b"POST", body=b"0\r\n\r\n"), _lines),
            REFUSED | ANSWERED_CLOSED if "twice" in _key else REFUSED,
        )
    )
CODING.should("h1/6.1/unknown-coding", "A coding that nobody knows, then chunked: 501 (or 400)")(
    raw(
        lambda target: request(target, b"Transfer-Encoding: judge, chunked", method=b"POST", body=b"0\r\n\r\n"), REFUSED
    )
)
CODING.must("h1/7/case-of-chunked", "Transfer-Encoding: CHUNKED counts as chunked")(
    raw(
        lambda target: request(target, b"Transfer-Encoding: CHUNKED", method=b"POST", body=b"0\r\n\r\n"),
        ANSWERED | ANSWERED_CLOSED,
    )
)
CODING.must("h1/6.1/old-with-coding", "Transfer-Encoding in a request of HTTP/1.0: a faulty framing, so it must close")(
    raw(
        lambda target: request(
            target, b"Transfer-Encoding: chunked", b"Connection: keep-alive", method=b"POST", version=b"HTTP/1.0",
            body=b"0\r\n\r\n",
        ),
        REFUSED | ANSWERED_CLOSED | DROPPED,
    )
)  # fmt: skip
