"""The request line and what may stand in its place (RFC 9112, sections 2 and 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from securelight.conformance.case import Failed, Topic
from securelight.conformance.http1_client import connect, request
from securelight.conformance.http1_questions import (
    ANSWERED,
    ANSWERED_CLOSED,
    DROPPED,
    REFUSED,
    answered,
    filled,
    line,
    raw,
    sentinel,
)

if TYPE_CHECKING:
    from securelight.conformance.dial import Dial

LINE = Topic(
    "The request line",
    rfc=9112,
    why="Two programs in a chain that read one request line in two ways disagree on what is asked for: what the first "
    "forbids, the second serves.",
    cure="Take `method SP target SP HTTP/1.x CRLF` and nothing else; answer anything else with 400 and close.",
)

_LINES = {
    "two-spaces": (b"GET  {path} HTTP/1.1", "Two spaces after the method"),
    "two-spaces-before-version": (b"GET {path}  HTTP/1.1", "Two spaces before the version"),
    "tab": (b"GET\t{path}\tHTTP/1.1", "Tabs for spaces"),
    "form-feed": (b"GET\x0c{path}\x0cHTTP/1.1", "Form feeds for spaces"),
    "trailing-space": (b"GET {path} HTTP/1.1 ", "A space after the version"),
    "leading-space": (b" GET {path} HTTP/1.1", "A space before the method"),
    "trailing-word": (b"GET {path} HTTP/1.1 x", "A word after the version"),
    "space-in-target": (b"GET {path} x HTTP/1.1", "A space in the target"),
    "no-target": (b"GET HTTP/1.1", "No target"),
    "only-method": (b"GET", "A method and nothing else"),
    "nul-in-target": (b"GET {path}\x00 HTTP/1.1", "NUL in the target"),
}
for _key, (_bytes, _words) in _LINES.items():
    LINE.should(f"h1/3/{_key}", _words)(raw(line(_bytes), REFUSED | DROPPED))

_METHODS = {
    "parenthesis": (b"GE(T", "a parenthesis"),
    "quote": (b'GE"T', "a quotation mark"),
    "nul": (b"GET\x00", "NUL"),
    "colon": (b"GET:", "a colon"),
    "slash": (b"GE/T", "a slash"),
    "byte-80": (b"GE\x80T", "the byte 0x80"),
}
for _key, (_bytes, _words) in _METHODS.items():
    LINE.should(f"h1/3.1/method-with-{_key}", f"A method with {_words}")(
        # It may also be taken for a method that nobody knows.
        raw(line(_bytes + b" {path} HTTP/1.1"), REFUSED | DROPPED | answered(400, 405, 501))
    )

_VERSIONS = {
    "lower-case": (b"http/1.1", "in lower case"),
    "other-name": (b"HTTPS/1.1", "of a protocol called HTTPS"),
    "another-protocol": (b"ICAP/1.0", "of another protocol"),
    "no-minor": (b"HTTP/1", "without a minor version"),
    "no-minor-digit": (b"HTTP/1.", "without a digit after the dot"),
    "two-minor-digits": (b"HTTP/1.10", "with two digits after the dot"),
    "two-major-digits": (b"HTTP/11.1", "with two digits before the dot"),
    "comma": (b"HTTP/1,1", "with a comma"),
    "letter": (b"HTTP/1.x", "with a letter for a digit"),
    "space-inside": (b"HTTP/ 1.1", "with a space inside"),
    "sign": (b"HTTP/+1.1", "with a sign"),
    "nul": (b"HTTP/1.1\x00", "with NUL after it"),
}
for _key, (_bytes, _words) in _VERSIONS.items():
    LINE.should(f"h1/2.3/version-{_key}", f"A version {_words}")(raw(line(b"GET {path} " + _bytes), REFUSED | DROPPED))
for _number in ("2.0", "3.0", "0.9"):
    LINE.should(f"h1/9110-15.6.6/version-{_number}", f"HTTP/{_number} in a request line", rfc=9110, section="15.6.6")(
        raw(line(b"GET {path} HTTP/" + _number.encode()), REFUSED | DROPPED)
    )
LINE.should("h1/9110-2.5/version-1.2", "HTTP/1.2, which is to be taken as HTTP/1.1", rfc=9110, section="2.5")(
    raw(line(b"GET {path} HTTP/1.2"), ANSWERED | ANSWERED_CLOSED)
)
LINE.should("h1/2.3/http-0.9", "A simple request, as of HTTP/0.9")(
    raw(filled(b"GET {path}\r\n\r\n"), REFUSED | DROPPED)
)

LINE.must("h1/2.2/bare-cr-after-version", "A bare CR after the version, and more in the line")(
    raw(filled(b"GET {path} HTTP/1.1\rX: y\r\nHost: {host}\r\n\r\n"), REFUSED | DROPPED)
)
LINE.must("h1/2.2/bare-cr-in-target", "A bare CR in the target")(
    raw(line(b"GET {path}\rx HTTP/1.1"), REFUSED | DROPPED)
)
LINE.must("h1/2.2/bare-cr-line-ends", "A request whose lines end with bare CR")(
    raw(
        lambda target: sentinel(target).replace(b"\r\n", b"\r") + b"\r\n\r\n", REFUSED | DROPPED, follow=False
    )
)  # fmt: skip
LINE.should("h1/2.2/empty-line-first", "An empty line before the request, which is to be ignored")(
    raw(lambda target: b"\r\n" + request(target), ANSWERED)
)

_SHAPELESS = {
    "garbage": (b"\x00\x01\x02\xff\xfe judge\r\n\r\n", "Bytes that are no HTTP"),
    "ssh": (b"SSH-2.0-judge\r\n\r\n", "The greeting of another protocol"),
    "smtp": (b"EHLO judge.example\r\n\r\n", "A command of SMTP"),
    "response": (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "A response in the place of a request"),
    "tls": (b"\x16\x03\x01\x00\x05hello\r\n\r\n", "The beginning of a TLS handshake where HTTP is due"),
    "colon-first": (b": x\r\n\r\n", "A field line in the place of a request line"),
}
for _key, (_bytes, _words) in _SHAPELESS.items():
    LINE.should(f"h1/2.2/{_key}", _words)(raw(filled(_bytes), REFUSED | DROPPED))


@LINE.must("h1/2.2/one-byte-at-a-time", "A request that comes one byte at a time")
async def _one_byte_at_a_time(dial: Dial) -> str:
    client = await connect(dial)
    data = sentinel(dial.target)
    for position in range(len(data)):
        await client.send(data[position : position + 1])
    answer = await client.answer()
    if answer is None or (dial.baseline.status and answer.status != dial.baseline.status):
        raise Failed(f"expected the answer to a plain GET, but got {answer.status if answer else 'none'}")
    return f"answered with {answer.status}"
