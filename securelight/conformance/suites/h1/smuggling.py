"""Request smuggling: what the server treats as the next request (RFC 9112, sections 6.1, 6.3 and 11.2)."""

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
    asks,
    filled,
    judged,
    raw,
    sentinel,
)

if TYPE_CHECKING:
    from securelight.conformance.case import Question
    from securelight.conformance.dial import Dial
    from securelight.conformance.target import Target

SMUGGLING = Topic(
    "Request smuggling",
    rfc=9112,
    why="The attacker's content becomes the next request on a connection that others use: it is answered to somebody "
    "else, or does what the program before the server forbids.",
    cure="Refuse a request with two lengths and close; read the content of every request to its end, whatever the "
    "method and the answer, or close.",
)

_REQUEST = filled(b"{get}")


def _chunked(target: Target) -> bytes:
    """A request, framed as one chunk."""
    content = _REQUEST(target)
    return b"%x\r\n%b\r\n0\r\n\r\n" % (len(content), content)


def _both(*lines: bytes) -> Question:
    """Both lengths, and content that has a request in it if only the one or the other counts.

    Right: refused, or answered once and closed (section 6.1: the connection must close after such a request).
    """

    def build(target: Target) -> bytes:
        body = b"0\r\n\r\n" + _REQUEST(target)
        filled_lines = [one.replace(b"{length}", b"%d" % len(body)) for one in lines]
        return request(target, *filled_lines, method=b"POST", body=body)

    return raw(build, REFUSED | ANSWERED_CLOSED | DROPPED)


_LENGTH = b"Content-Length: {length}"
_BOTH = {
    "length-then-coding": ((_LENGTH, b"Transfer-Encoding: chunked"), "Content-Length, then Transfer-Encoding (CL.TE)"),
    "coding-then-length": ((b"Transfer-Encoding: chunked", _LENGTH), "Transfer-Encoding, then Content-Length (TE.CL)"),
    "space-before-colon": ((_LENGTH, b"Transfer-Encoding : chunked"), "the same with a space before the colon"),
    "tab-before-value": ((_LENGTH, b"Transfer-Encoding:\tchunked"), "the same with a tab before the value"),
    "tab-after-value": ((_LENGTH, b"Transfer-Encoding: chunked\t"), "the same with a tab after the value"),
    "vertical-tab": ((_LENGTH, b"Transfer-Encoding:\x0bchunked"), "the same with a vertical tab before the value"),
    "upper-case": ((_LENGTH, b"TRANSFER-ENCODING: CHUNKED"), "the same in upper case"),
    "unknown-coding": ((_LENGTH, b"Transfer-Encoding: xchunked"), "the same with an unknown coding"),
    "two-codings": ((_LENGTH, b"Transfer-Encoding: chunked", b"Transfer-Encoding: x"), "and two codings (TE.TE)"),
    "two-codings-reversed": (
        (_LENGTH, b"Transfer-Encoding: identity", b"Transfer-Encoding: chunked"), "and two codings, reversed (TE.TE)",
    ),
    "nul-in-name": ((_LENGTH, b"Transfer-Encoding\x00: chunked"), "the same with NUL in the name"),
    "control-before-name": ((_LENGTH, b"\x01Transfer-Encoding: chunked"), "the same with a control character before"),
    "folded": ((_LENGTH, b"Transfer-Encoding:\r\n chunked"), "the same, folded"),
    "bare-lf": ((_LENGTH + b"\nTransfer-Encoding: chunked",), "the same after a bare LF"),
    "quoted": ((_LENGTH, b'Transfer-Encoding: "chunked"'), "the same in quotation marks"),
    "empty-coding": ((_LENGTH, b"Transfer-Encoding:"), "the same with an empty coding"),
    "list-with-gap": ((_LENGTH, b"Transfer-Encoding: , chunked"), "the same with an empty member before it"),
    "length-nought": ((b"Content-Length: 0", b"Transfer-Encoding: chunked"), "the length being nought"),
}  # fmt: skip
for _key, (_lines, _words) in _BOTH.items():
    SMUGGLING.must(f"h1/6.1/both-{_key}", f"Both lengths: {_words}")(_both(*_lines))


def _not_a_length(line: bytes) -> Question:
    """A field that is no length, and a request right after: it is one of its own, or all is refused."""
    return raw(lambda target: request(target, line, method=b"POST"), ANSWERED | REFUSED | DROPPED)


_LOOKALIKES = {
    "underscore-coding": (b"Transfer_Encoding: chunked", "Transfer_Encoding, which is no Transfer-Encoding"),
    "underscore-length": (b"Content_Length: 40", "Content_Length, which is no Content-Length"),
    "prefixed-length": (b"X-Content-Length: 40", "X-Content-Length, which is no Content-Length"),
    "suffixed-coding": (b"Transfer-Encoding-X: chunked", "Transfer-Encoding-X, which is no Transfer-Encoding"),
    "in-a-value": (b"X-Field: Transfer-Encoding: chunked", "Transfer-Encoding in the value of another field"),
    "te": (b"TE: chunked", "TE, which is about the answer"),
    "content-encoding": (b"Content-Encoding: chunked", "Content-Encoding: chunked, which is no framing"),
}
for _key, (_line, _words) in _LOOKALIKES.items():
    SMUGGLING.must(f"h1/6.3/lookalike-{_key}", _words)(_not_a_length(_line))


def _hidden(method: str, *lines: bytes, path: bytes | None = None, chunked: bool = False) -> Question:
    """A request whose content is a request: two answers with the sentinel's, or one and the end, never three."""

    def build(target: Target) -> bytes:
        body = _chunked(target) if chunked else _REQUEST(target)
        framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(body)
        return request(target, *lines, framing, method=method.encode(), path=path, body=body)

    accept = ANSWERED | ANSWERED_CLOSED | REFUSED | DROPPED
    if method == "JUDGE":
        accept |= answered(200, 404, 405, 501)  # nobody has to know it
    return raw(build, accept, method=method)


for _method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "JUDGE"):
    SMUGGLING.must(f"h1/6.3/length-of-{_method.lower()}", f"{_method} with a request as its content (CL.0)")(
        _hidden(_method)
    )
    SMUGGLING.must(f"h1/6.3/chunks-of-{_method.lower()}", f"{_method} with a request as its chunked content (TE.0)")(
        _hidden(_method, chunked=True)
    )
_PLACES: dict[str, tuple[str, tuple[bytes, ...], bytes | None]] = {
    "missing": ("for a page that is not there", (), b"/judge-finds-nothing-here"),
    "missing-folder": ("for a folder that is not there", (), b"/judge-finds/nothing/"),
    "encoded": ("for an encoded path", (), b"/%2e%2e%2f"),
    "range": ("with a Range", (b"Range: bytes=0-0",), None),
    "unsatisfiable-range": ("with a Range that cannot be satisfied", (b"Range: bytes=999999999999-",), None),
    "not-modified": ("that is answered with 304", (b"If-None-Match: *",), None),
    "precondition": ("that is answered with 412", (b'If-Match: "judge"',), None),
    "upgrade": ("with Upgrade", (b"Connection: Upgrade", b"Upgrade: judge"), None),
    "h2c": (
        "with Upgrade: h2c",
        (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk"), None,
    ),
    "websocket": (
        "with Upgrade: websocket",
        (b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 1", b"Sec-WebSocket-Key: judge"), None,
    ),
    "unknown-expectation": ("with an Expect that nobody knows", (b"Expect: judgment",), None),
    "expect-list": ("with 100-continue twice", (b"Expect: 100-continue, 100-continue",), None),
    "expect-obfuscated": ("with an obfuscated Expect", (b"Expect: y 100-continue",), None),
    "expect-tab": ("with a tab before 100-continue", (b"Expect:\t100-continue",), None),
    "length-named-hop": ("with Connection: Content-Length", (b"Connection: Content-Length",), None),
    "coding-named-hop": ("with Connection: Transfer-Encoding", (b"Connection: Transfer-Encoding",), None),
    "method-override": ("with X-HTTP-Method-Override", (b"X-HTTP-Method-Override: GET",), None),
}  # fmt: skip
for _key, (_words, _lines, _path) in _PLACES.items():
    SMUGGLING.must(f"h1/6.3/content-{_key}", f"GET {_words}, a request as its content")(
        _hidden("GET", *_lines, path=_path)
    )
for _key in ("missing", "upgrade", "expect-obfuscated", "unknown-expectation"):
    _words, _lines, _path = _PLACES[_key]
    SMUGGLING.must(f"h1/6.3/chunks-{_key}", f"POST {_words}, a request as its chunked content")(
        _hidden("POST", *_lines, path=_path, chunked=True)
    )

SMUGGLING.should("h1/2.2/bare-lf-line", "A field after a bare LF: refused, or a field", section="2.2")(
    raw(
        lambda target: request(target, b"X-Field: 1\nContent-Length: 5", method=b"POST", body=b"GET /"),
        REFUSED | ANSWERED | ANSWERED_CLOSED | DROPPED,
    )
)
SMUGGLING.must("h1/2.2/lf-cr", "LF CR for a line end: neither is one", section="2.2")(
    asks(REFUSED | DROPPED, b"X-Field: 1\n\rTransfer-Encoding: chunked")
)
SMUGGLING.must("h1/2.2/bare-cr-hides-length", "A bare CR before Content-Length: the field is no field", section="2.2")(
    raw(
        lambda target: request(target, b"X-Field: 1\rContent-Length: %d" % len(sentinel(target)), method=b"POST"),
        REFUSED | ANSWERED | DROPPED,
    )
)
SMUGGLING.must("h1/2.2/bare-cr-ends-head", "CR CR before a request: it does not end the head", section="2.2")(
    raw(
        lambda target: request(target)[:-4] + b"\r\rGET " + target.path.encode() + b" HTTP/1.1\r\n\r\n",
        REFUSED | DROPPED,
    )
)


@SMUGGLING.must("h1/6.3/cut-content", "A connection that ends in the middle of the content", section="8")
async def _cut_content(dial: Dial) -> str:
    client = await connect(dial)
    body = b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % dial.target.path.encode()
    await client.send(request(dial.target, b"Content-Length: 5000", method=b"POST", body=body))
    await client.wire.end_input()
    found = await client.all()
    return judged(found, REFUSED | ANSWERED_CLOSED | DROPPED, 2)


@SMUGGLING.must("h1/6.3/pause", "Content that comes after a pause is still content (CL.0 with a pause)")
async def pause(dial: Dial) -> str:
    """A server that gives up waiting for content must close, or it takes what comes later for a request."""
    client = await connect(dial)
    body = _REQUEST(dial.target)
    await client.send(request(dial.target, b"Content-Length: %d" % len(body), method=b"POST"))
    early = await client.answer("POST", dial.patience.silence)
    await client.send(body + sentinel(dial.target))
    found = await client.all()
    if early is not None:
        found.answers.insert(0, early)
    return judged(found, ANSWERED | ANSWERED_CLOSED | REFUSED, 2)


@SMUGGLING.must("h1/6.3/answer-order", "Three requests with content: three answers, and the sentinel's")
async def _answer_order(dial: Dial) -> str:
    client = await connect(dial)
    body = _REQUEST(dial.target)
    one = request(dial.target, b"Content-Length: %d" % len(body), method=b"POST", body=body)
    await client.send(one * 3 + sentinel(dial.target))
    found = await client.all()
    if not 1 <= len(found.answers) <= 4 or not found.end:
        raise Failed(f"expected four answers, or fewer and the end of the connection, but got {found.words()}")
    return found.words()
