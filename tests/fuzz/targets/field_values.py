"""What clients and servers write into fields: dates, tags, credentials, lifetimes, handshakes. Nothing is raised but
Refusal, and what is made of them is within bounds."""

from __future__ import annotations

import contextlib

from securelight.files.cache_rules import (
    age_of,
    directives,
    lifetime,
    names_in_vary,
    tags_of,
    variant_of,
    wants_fresh,
)
from securelight.files.preconditions import evaluate, range_applies
from securelight.model.dates import http_date, parse_http_date
from securelight.model.errors import Refusal
from securelight.model.headers import Headers
from securelight.model.upgrade import wanted_protocols
from securelight.protocol.websocket import deflate_fields, handshake_fields, subprotocols_of
from securelight.stages.digest_fields import digest_credentials
from tests.helpers import make_request

NAMES = [
    b"if-none-match", b"if-match", b"if-modified-since", b"if-unmodified-since", b"if-range", b"cache-control",
    b"expires", b"age", b"vary", b"cache-tag", b"pragma", b"upgrade", b"connection", b"sec-websocket-protocol",
    b"authorization", b"sec-websocket-extensions", b"sec-websocket-version", b"sec-websocket-key",
    b"set-cookie", b"etag", b"accept",
]  # fmt: skip
"""A line is the number of one, and its value."""
SEEDS = [
    b'\x00"a", W/"b"\n\x02Sun, 06 Nov 1994 08:49:37 GMT\n\x04"a"',
    b'\x05max-age=60, s-maxage="9", no-cache\n\x06Thu, 01 Jan 1970 00:00:00 GMT\n\x075\n\x08accept\n\x09a b',
    b"\x0bwebsocket\n\x0cUpgrade\n\x0da, b\n\x0fpermessage-deflate; client_max_window_bits=9\n"
    b"\x1013\n\x11dGhlIHNhbXBsZSBub25jZQ==",
    b'\x0eDigest username="a", realm="r", nonce="n", uri="/", qop=auth, nc=00000001, cnonce="c", response="'
    + b"0" * 64
    + b'", algorithm=SHA-256',
    b"\x03Sunday, 06-Nov-94 08:49:37 GMT\n\x01*",
    b"\x02Sun Nov  6 08:49:37 1994",
]
WORDS = [b"max-age=", b"stale-while-revalidate=", b"must-revalidate", b"private", b"server_max_window_bits=", b"W/",
         b"GMT", b"Digest ", b"username*=UTF-8''", b"websocket", b"h2c", b"99999999999"]  # fmt: skip


def fuzz(data: bytes) -> None:
    lines = [line for line in data.split(b"\n") if line]
    fields = {NAMES[line[0] % len(NAMES)]: line[1:].replace(b"\r", b"").replace(b"\0", b"").strip() for line in lines}
    headers = Headers(fields.items())
    assert evaluate(headers, b'"a"', 784_111_777) in (200, 304, 412)
    range_applies(headers, b'"a"', 784_111_777)
    for value in fields.values():
        moment = parse_http_date(value)
        if moment is not None:
            http_date(moment)
        directives(value)
        credentials = digest_credentials(value)
        assert credentials is None or credentials.user.isprintable() or credentials.user
    kept = lifetime(Headers([(b"accept", b"x")]), 200, headers)
    assert kept is None or min(kept[:3]) >= 0
    assert age_of(headers) >= 0
    assert all(0 < len(tag) <= 128 for tag in tags_of(headers))
    names = names_in_vary(headers)
    if names is not None:
        variant_of(names, headers)
    wants_fresh(headers, 1, 1)
    request = make_request(headers=fields)
    wanted_protocols(request)
    deflate_fields(request)
    for read in (handshake_fields, subprotocols_of):
        with contextlib.suppress(Refusal):
            read(request)
