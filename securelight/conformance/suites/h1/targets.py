"""Request targets and Host (RFC 9112, sections 3.2 and 3.3; RFC 9110, section 7.2)."""

from __future__ import annotations

from securelight.conformance.case import Topic
from securelight.conformance.http1_client import request
from securelight.conformance.http1_questions import (
    ANSWERED,
    DROPPED,
    REFUSED_OPEN,
    Accept,
    answered,
    filled,
    line,
    raw,
)

TARGETS = Topic(
    "Request targets",
    rfc=9112,
    why="A target that two programs read in two ways gets around access rules, or into the wrong cache entry.",
    cure="Accept origin-form and absolute-form, `*` for OPTIONS only, and refuse bytes that no URI has.",
)
HOST = Topic(
    "Host",
    rfc=9112,
    why="Whoever chooses the site by another Host than the program before it serves what was not meant to be reached, "
    "and fills caches with it.",
    cure="Refuse a request of HTTP/1.1 unless it has exactly one valid Host.",
)

_GOOD = {
    "absolute": (b"GET {scheme}://{host}{path} HTTP/1.1", "A target in absolute form"),
    "absolute-without-path": (b"GET {scheme}://{host} HTTP/1.1", "A target in absolute form without a path"),
    "query": (b"GET {path}?a=b&c=%20/?;:@ HTTP/1.1", "A target with a query"),
}
for _key, (_bytes, _words) in _GOOD.items():
    TARGETS.must(f"h1/3.2.2/{_key}" if _key != "query" else "h1/3.2.1/query", f"{_words}: that is right")(
        raw(line(_bytes), ANSWERED)
    )
TARGETS.must("h1/3.2.2/absolute-upper-case-scheme", "A target in absolute form, its scheme in upper case")(
    raw(lambda target: line(b"GET " + target.scheme.upper().encode() + b"://{host}{path} HTTP/1.1")(target), ANSWERED)
)
TARGETS.must("h1/3.2.2/absolute-wins", "A target in absolute form and a Host that is another one, to be ignored")(
    raw(filled(b"GET {scheme}://{host}{path} HTTP/1.1\r\nHost: other.example\r\n\r\n"), ANSWERED)
)
TARGETS.must("h1/3.2.2/absolute-without-host", "A target in absolute form and no Host")(
    raw(filled(b"GET {scheme}://{host}{path} HTTP/1.1\r\n\r\n"), REFUSED_OPEN)
)

_LOOKED_FOR = answered(400, 404)
"""Refused, or there is no such resource; the connection may go on."""
_BAD = {
    "star-with-get": (b"GET * HTTP/1.1", "GET for *"),
    "relative": (b"GET index.html HTTP/1.1", "A target that does not begin with a slash"),
    "authority-with-get": (b"GET {host} HTTP/1.1", "GET for an authority alone"),
    "fragment": (b"GET {path}#part HTTP/1.1", "A target with a fragment"),
    "backslash": (b"GET \\ HTTP/1.1", "A backslash for a slash"),
    "byte-80": (b"GET {path}\x80 HTTP/1.1", "A target with the byte 0x80"),
    "delete": (b"GET {path}\x7f HTTP/1.1", "A target with DEL"),
    "tab": (b"GET {path}\t HTTP/1.1", "A target with a tab"),
    "percent-alone": (b"GET /% HTTP/1.1", "A percent sign without digits"),
    "percent-letters": (b"GET /%zz HTTP/1.1", "A percent sign with letters"),
    "encoded-nul": (b"GET {path}%00 HTTP/1.1", "An encoded NUL"),
    "no-scheme": (b"GET ://{host}{path} HTTP/1.1", "A target in absolute form without a scheme"),
    "user-information": (b"GET {scheme}://user@{host}{path} HTTP/1.1", "A target with user information"),
    "encoded-dots": (b"GET /..%2f..%2f..%2fetc/passwd HTTP/1.1", "Encoded path traversal"),
    "dots": (b"GET /../../../etc/passwd HTTP/1.1", "Path traversal"),
}
for _key, (_bytes, _words) in _BAD.items():
    TARGETS.should(f"h1/3.2/{_key}", _words)(
        raw(
            line(_bytes),
            REFUSED_OPEN | DROPPED | (_LOOKED_FOR | answered(301, 308, 403) if "dots" in _key else _LOOKED_FOR),
        )
    )
TARGETS.must("h1/3/long-target", "A target of 200,000 bytes: 414, if it is too long")(
    raw(
        lambda target: request(target, path=target.path.encode() + b"?" + b"a" * 200_000),
        Accept(answered=True, answered_closed=True, statuses=frozenset({414, 200, 404})),
    )
)
TARGETS.should("h1/3/8000-bytes", "A request line of 8000 bytes, which everybody should take")(
    raw(lambda target: request(target, path=target.path.encode() + b"?" + b"a" * (7_980 - len(target.path))), ANSWERED)
)

_HOSTS = {
    "space": (b"a b", "with a space"),
    "comma": (b"{host},{host}", "with a comma and another"),
    "slash": (b"{host}/x", "with a path"),
    "user-information": (b"user@{host}", "with user information"),
    "letters-for-port": (b"localhost:port", "with letters for a port"),
    "two-ports": (b"localhost:80:80", "with two ports"),
    "open-bracket": (b"[::1", "with an open bracket"),
    "scheme": (b"{scheme}://{host}", "with a scheme"),
    "query": (b"{host}?x", "with a query"),
    "nul": (b"local\x00host", "with NUL"),
    "bare-cr": (b"local\rhost", "with a bare CR"),
    "tab": (b"local\thost", "with a tab"),
    "delete": (b"local\x7fhost", "with DEL"),
    "backslash": (b"local\\host", "with a backslash"),
}
for _key, (_bytes, _words) in _HOSTS.items():
    HOST.must(f"h1/3.2/host-with-{_key}", f"A Host {_words}")(
        raw(filled(b"GET {path} HTTP/1.1\r\nHost: " + _bytes + b"\r\n\r\n"), REFUSED_OPEN)
    )
HOST.must("h1/3.2/no-host", "A request of HTTP/1.1 without Host")(
    raw(lambda target: request(target, host=False), REFUSED_OPEN)
)
HOST.must("h1/3.2/two-hosts", "Two Host fields")(
    raw(lambda target: request(target, b"Host: other.example"), REFUSED_OPEN)
)
HOST.must("h1/3.2/same-host-twice", "The same Host twice")(
    raw(lambda target: request(target, b"Host: " + target.authority.encode()), REFUSED_OPEN)
)
HOST.must("h1/9110-4.2.3/host-upper-case", "A Host in upper case: that is right", rfc=9110, section="4.2.3")(
    raw(
        lambda target: request(target, b"Host: " + target.authority.upper().encode(), host=False), ANSWERED
    )
)  # fmt: skip
HOST.should("h1/3.2/old-without-host", "A request of HTTP/1.0 without Host: that is right")(
    raw(
        lambda target: request(target, host=False, version=b"HTTP/1.0"), ANSWERED, requests=1, follow=False
    )
)  # fmt: skip
