"""Requests and their fields (RFC 9113, sections 8.1 to 8.5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from securelight.conformance import http2_frames as frames
from securelight.conformance.case import Topic, bound
from securelight.conformance.http2_accept import ANSWERED, IGNORED, MALFORMED, Accept
from securelight.conformance.http2_questions import requests, sends

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from securelight.conformance.http2_client import Field, Http2Client

    Fields = Callable[[Http2Client], Sequence[Field]]

FIELDS = Topic(
    "Fields of requests",
    rfc=9113,
    why="What is malformed here becomes another request, or another field, once it is passed on over HTTP/1.1: request "
    "smuggling.",
    cure="Check every name and value before the request is looked at, and reset the stream with PROTOCOL_ERROR.",
)
PSEUDO = Topic(
    "Pseudo-header fields",
    rfc=9113,
    why="A server and a proxy that choose different values for one request disagree on what it asks for.",
    cure="Take each pseudo-header field once, before the others, and refuse those that a request does not have.",
)


def _with(*extra: Field) -> Fields:
    return lambda client: client.request(b"GET", None, *extra)


def _without(name: bytes) -> Fields:
    return lambda client: [field for field in client.request() if field[0] != name]


def _replaced(name: bytes, value: bytes) -> Fields:
    return lambda client: [(one, value if one == name else old) for one, old in client.request()]


# Names and values

_NAMES = {
    "upper-case": (b"X-Upper", "in upper case"),
    "one-upper-case": (b"x-uppeR", "with one letter in upper case"),
    "nul": (b"x-\x00name", "with NUL"),
    "line-feed": (b"x-\nname", "with LF"),
    "carriage-return": (b"x-\rname", "with CR"),
    "space": (b"x- name", "with a space"),
    "trailing-space": (b"x-name ", "that ends with a space"),
    "tab": (b"x-\tname", "with a tab"),
    "delete": (b"x-\x7fname", "with DEL"),
    "byte-80": (b"x-\x80name", "with the byte 0x80"),
    "byte-ff": (b"x-\xffname", "with the byte 0xff"),
    "colon": (b"x:name", "with a colon"),
    "trailing-colon": (b"x-name:", "that ends with a colon"),
}
for _key, (_name, _words) in _NAMES.items():
    FIELDS.must(f"h2/8.2.1/name-with-{_key}", f"A field name {_words}")(requests(_with((_name, b"1")), MALFORMED))

_VALUES = {
    "nul": (b"a\x00b", "with NUL"),
    "line-feed": (b"a\nb", "with LF"),
    "carriage-return": (b"a\rb", "with CR"),
    "new-line": (b"a\r\nx-injected: b", "with CR LF and another field"),
    "leading-space": (b" a", "that begins with a space"),
    "leading-tab": (b"\ta", "that begins with a tab"),
    "trailing-space": (b"a ", "that ends with a space"),
    "trailing-tab": (b"a\t", "that ends with a tab"),
}
for _key, (_value, _words) in _VALUES.items():
    FIELDS.must(f"h2/8.2.1/value-with-{_key}", f"A field value {_words}")(
        requests(_with((b"x-field", _value)), MALFORMED)
    )

FIELDS.should("h2/8.2.1/empty-name", "A field with an empty name", rfc=9110, section="5.1")(
    requests(_with((b"", b"1")), MALFORMED)
)
FIELDS.should("h2/8.2.1/name-no-token", "A field name with characters that no name may have", rfc=9110, section="5.1")(
    requests(_with((b"x-(name)", b"1")), MALFORMED)
)

_CONNECTION = {
    "connection": (b"connection", b"keep-alive"),
    "proxy-connection": (b"proxy-connection", b"keep-alive"),
    "keep-alive": (b"keep-alive", b"timeout=5"),
    "transfer-encoding": (b"transfer-encoding", b"chunked"),
    "upgrade": (b"upgrade", b"websocket"),
    "te": (b"te", b"gzip"),
    "te-with-more": (b"te", b"trailers, deflate;q=0.5"),
}
for _key, _field in _CONNECTION.items():
    FIELDS.must(f"h2/8.2.2/{_key}", f"A field that is about an HTTP/1.1 connection: {_field[0].decode()}")(
        requests(_with(_field), MALFORMED)
    )

_GOOD: dict[str, tuple[str, Sequence[Field]]] = {
    "te-trailers": ("TE with the value trailers", [(b"te", b"trailers")]),
    "cookie-crumbs": ("A Cookie field in pieces", [(b"cookie", b"a=1"), (b"cookie", b"b=2"), (b"cookie", b"c=3")]),
    "empty-value": ("A field with an empty value", [(b"x-empty", b"")]),
    "inner-space": ("A field value with spaces and a tab inside", [(b"x-field", b"a  b\tc")]),
    "obs-text": ("A field value with bytes above 0x7f", [(b"x-field", b"caf\xc3\xa9")]),
    "repeated": ("A field name twice", [(b"x-field", b"1"), (b"x-field", b"2")]),
    "all-name-characters": ("A field name with every character that is allowed", [
        (b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz", b"1"),
    ]),
    "priority": ("A Priority field (RFC 9218)", [(b"priority", b"u=1, i")]),
}  # fmt: skip
for _key, (_words, _fields) in _GOOD.items():
    FIELDS.must(f"h2/8.2/{_key}", f"{_words}: that is right")(requests(_with(*_fields), ANSWERED))

FIELDS.must("h2/8.2/never-indexed", "A field that is marked as never to be indexed: that is right")(
    sends(
        lambda client: [
            frames.headers(1, client.encode(client.request()) + b"\x10\x07x-token\x06secret"),
        ],
        ANSWERED,
    )
)

# Pseudo-header fields

for _name in (b":method", b":scheme", b":path"):
    _key = _name[1:].decode()
    PSEUDO.must(f"h2/8.3.1/no-{_key}", f"A request without :{_key}")(requests(_without(_name), MALFORMED))
for _name in (b":method", b":scheme", b":path", b":authority"):
    _key = _name[1:].decode()
    PSEUDO.must(f"h2/8.3.1/two-{_key}", f"A request with two :{_key}")(
        requests(
            bound(lambda client, name: [
                *client.request(), (name, dict(client.request())[name]),
            ], _name),
            MALFORMED,
        )
    )  # fmt: skip
PSEUDO.must("h2/8.3.1/empty-path", "A request with an empty :path")(requests(_replaced(b":path", b""), MALFORMED))
PSEUDO.must("h2/8.3.1/relative-path", "A request whose :path does not begin with a slash")(
    requests(_replaced(b":path", b"index.html"), MALFORMED)
)
PSEUDO.must("h2/8.3.1/star-path", "A GET request for *")(requests(_replaced(b":path", b"*"), MALFORMED))
PSEUDO.must("h2/8.3/after-a-field", "A pseudo-header field after a field")(
    requests(lambda client: [*client.request()[:3], (b"x-field", b"1"), client.request()[3]], MALFORMED)
)
PSEUDO.must("h2/8.3/unknown", "A pseudo-header field that nobody knows")(
    requests(lambda client: [*client.request(), (b":unknown", b"1")], MALFORMED)
)
PSEUDO.must("h2/8.3/of-a-response", "A request with :status")(
    requests(lambda client: [*client.request(), (b":status", b"200")], MALFORMED)
)
PSEUDO.must("h2/8.3/only-status", "A response in the place of a request")(
    requests(lambda client: [(b":status", b"200")], MALFORMED)
)
PSEUDO.must("h2/8.3.1/new-line-in-path", "A :path with CR LF and another field")(
    requests(_replaced(b":path", b"/ HTTP/1.1\r\nx-injected: 1"), MALFORMED)
)
PSEUDO.must("h2/8.3.1/new-line-in-method", "A :method with CR LF and another request line")(
    requests(_replaced(b":method", b"GET / HTTP/1.1\r\nx-injected: 1\r\nGET"), MALFORMED)
)
PSEUDO.must("h2/8.3.1/nul-in-authority", "An :authority with NUL")(
    requests(_replaced(b":authority", b"local\x00host"), MALFORMED)
)
PSEUDO.should("h2/8.3.1/space-in-method", "A :method with a space")(requests(_replaced(b":method", b"GE T"), MALFORMED))
PSEUDO.should("h2/8.3.1/space-in-path", "A :path with a space")(requests(_replaced(b":path", b"/a b"), MALFORMED))
PSEUDO.should("h2/8.3.1/empty-method", "A request with an empty :method")(
    requests(_replaced(b":method", b""), MALFORMED)
)
PSEUDO.should("h2/8.3.1/other-host", "A Host field that names another host than :authority")(
    requests(_with((b"host", b"other.example")), MALFORMED)
)
PSEUDO.should("h2/8.3.1/user-information", "An :authority with user information")(
    requests(lambda client: client.request(authority=b"user@" + client.target.authority.encode()), MALFORMED)
)
PSEUDO.must("h2/8.3.1/same-host", "A Host field that is the same as :authority: that is right")(
    requests(lambda client: [*client.request(), (b"host", client.target.authority.encode())], ANSWERED)
)
PSEUDO.must("h2/8.3.1/host-alone", "A Host field and no :authority, as intermediaries send it: that is right")(
    requests(lambda client: [*_without(b":authority")(client), (b"host", client.target.authority.encode())], ANSWERED)
)
PSEUDO.must("h2/8.3.1/any-order", "Pseudo-header fields in another order: that is right")(
    requests(lambda client: client.request()[::-1], ANSWERED)
)
PSEUDO.must("h2/8.3.1/unknown-method", "A method that nobody knows: refused, and no fault of the connection")(
    requests(_replaced(b":method", b"JUDGE"), Accept(refused=True, answered=True))
)

# CONNECT

_TUNNEL: dict[str, tuple[str, Fields]] = {
    "with-path": (
        "CONNECT with :path and :scheme",
        lambda client: client.request(b"CONNECT"),
    ),
    "without-authority": ("CONNECT without :authority", lambda client: [(b":method", b"CONNECT")]),
}
for _key, (_words, _build) in _TUNNEL.items():
    PSEUDO.must(f"h2/8.5/connect-{_key}", _words)(requests(_build, MALFORMED, end=False))
PSEUDO.must(
    "h2/8.5/connect",
    "CONNECT to a port of the server itself: no open proxy",
    why="A server that tunnels for anybody is a way around every firewall before it.",
    cure="Refuse CONNECT unless the server is meant to be a proxy.",
)(
    requests(
        lambda client: [(b":method", b"CONNECT"), (b":authority", b"127.0.0.1:9")],
        MALFORMED | IGNORED,
        end=False,
    )
)


def _websocket(client: Http2Client) -> list[Field]:
    return [(b":method", b"CONNECT"), (b":protocol", b"websocket"), *client.request()[1:]]


PSEUDO.must("h2/8441-4/protocol-on-get", "GET with :protocol", rfc=8441, section="4")(
    requests(lambda client: [*client.request(), (b":protocol", b"websocket")], MALFORMED)
)
PSEUDO.must("h2/8441-4/unknown-protocol", "Extended CONNECT for a protocol that nobody knows", rfc=8441, section="4")(
    requests(
        lambda client: [
            (b":method", b"CONNECT"), (b":protocol", b"judgment"), *client.request()[1:],
        ],
        MALFORMED,
        end=False,
    )
)  # fmt: skip
