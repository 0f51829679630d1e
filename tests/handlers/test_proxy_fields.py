"""What a request's fields and target become on the way to a server behind us, and a response's on the way back."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings, strategies as st

from securelight.handlers.proxy_fields import RequestFields, response_fields, upstream_target, with_own_location
from securelight.model.errors import Refusal
from securelight.model.forwarded import ForwardingFields, TrustedProxies
from securelight.model.headers import Headers
from securelight.model.request import Facts, Peer, Request, TlsFacts
from securelight.model.uri import parse_target

PEER = Peer("192.0.2.7", 50_000, tls=TlsFacts(version="TLSv1.3"))


def asked(*fields: tuple[bytes, bytes], target: bytes = b"/", authority: str = "a.test") -> Request:
    parsed = parse_target(target)
    return Request(
        "GET", parsed.path, Headers(fields), peer=PEER, authority=authority, host="a.test", target=target,
        query=parsed.query,
    )  # fmt: skip


def made(
    *fields: tuple[bytes, bytes],
    host: str = "",
    authority: str = "a.test",
    change: dict[str, str] | None = None,
    add: dict[str, str] | None = None,
    remove: tuple[str, ...] = (),
    user: str | None = None,
) -> list[tuple[bytes, bytes]]:
    maker = RequestFields(
        ForwardingFields(TrustedProxies(()), "off"), host, set_fields=change or {}, add_fields=add or {},
        remove_fields=remove,
    )  # fmt: skip
    facts = Facts(PEER.address)
    facts.user = user
    return maker.of(asked(*fields, authority=authority), facts, "127.0.0.1:9000")


@pytest.mark.parametrize(
    ("host", "authority", "expected"),
    [
        ("", "a.test:8443", b"a.test:8443"),
        ("upstream", "a.test", b"127.0.0.1:9000"),
        ("b.test", "a.test", b"b.test"),
        ("", "", b"127.0.0.1:9000"),
    ],
)
def test_the_host_comes_first_and_once(host: str, authority: str, expected: bytes) -> None:
    assert made((b"host", b"whatever"), host=host, authority=authority) == [(b"host", expected)]


def test_fields_of_one_connection_end_here() -> None:
    dropped = [
        (b"connection", b"close, X-Secret"), (b"x-secret", b"1"), (b"keep-alive", b"1"), (b"te", b"gzip"),
        (b"upgrade", b"h2c"), (b"http2-settings", b"AAMAAABk"), (b"transfer-encoding", b"chunked"),
        (b"proxy-authorization", b"Basic eDp5"), (b"proxy-connection", b"close"), (b"proxy", b"http://x"),
        (b"content-length", b"5"), (b"expect", b"100-continue"),
    ]  # fmt: skip

    assert made(*dropped, (b"accept", b"*/*")) == [(b"host", b"a.test"), (b"accept", b"*/*")]


def test_connection_cannot_take_away_what_the_server_relies_on() -> None:
    named = (b"connection", b"close, host, authorization, content-length, cache-control")

    assert made(named, (b"authorization", b"x"), (b"cache-control", b"no-cache")) == [
        (b"host", b"a.test"),
        (b"authorization", b"x"),
        (b"cache-control", b"no-cache"),
    ]


def test_crumbs_of_cookies_become_one_line() -> None:
    assert made((b"cookie", b"a=b"), (b"accept", b"x"), (b"cookie", b"c=d"))[-1] == (b"cookie", b"a=b; c=d")


def test_trailers_are_asked_for_if_the_client_does() -> None:
    assert (b"te", b"trailers") in made((b"te", b"trailers, deflate;q=0.5"))


def test_fields_are_set_added_and_removed() -> None:
    found = made(
        (b"x-set", b"lie"), (b"x-add", b"1"), (b"x-gone", b"1"),
        change={"X-Set": "{client_address} {host} {scheme} {tls_version} {user}"}, add={"X-Add": "2"},
        remove=("X-Gone",), user="ann",
    )  # fmt: skip

    assert found == [
        (b"host", b"a.test"),
        (b"x-add", b"1"),
        (b"x-set", b"192.0.2.7 a.test https TLSv1.3 ann"),
        (b"x-add", b"2"),
    ]


@pytest.mark.parametrize("user", ["a\r\nX-B: c", "a\x00b", "\u00e4\ud83d"])
def test_what_a_placeholder_stands_for_never_ends_a_line(user: str) -> None:
    ((_name, value),) = made(change={"X-User": "{user}"}, user=user)[1:]

    assert re.fullmatch(rb"[ -~]*", value)


PIECES = st.sampled_from(
    [
        b"/",
        b"//",
        b"a",
        b"app",
        b".",
        b"..",
        b"%2e",
        b"%2E%2e",
        b"%2f",
        b"%41",
        b";",
        b"?",
        b"=",
        b"%20",
        b"%c3%a4",
        b"~",
    ]
)


@settings(max_examples=400, deadline=None)
@given(st.lists(PIECES, max_size=10), st.sampled_from(["", "/app"]))
def test_no_target_has_dot_segments_or_leaves_its_prefix_on(pieces: list[bytes], strip: str) -> None:
    try:
        request = asked(target=b"/" + b"".join(pieces))
    except Refusal:
        return
    if strip and request.path != strip and not request.path.startswith(strip + "/"):
        return
    target = upstream_target(request, strip)
    path, _, query = target.partition(b"?")

    assert re.fullmatch(rb"/[!-~]*", target)
    assert query == request.query
    assert not re.search(rb"/\.{1,2}(/|$)", path)
    assert strip + parse_target(path).path.rstrip("/") == request.path.rstrip("/")


def test_the_asterisk_is_no_path() -> None:
    request = Request("OPTIONS", "*", Headers(), peer=PEER, target=b"*")

    assert upstream_target(request, "") == b"*"


def test_response_fields_of_one_connection_end_here() -> None:
    fields = (
        (b"content-type", b"text/plain"), (b"connection", b"close, x-hop"), (b"x-hop", b"1"), (b"content-length", b"5"),
        (b"transfer-encoding", b"chunked"), (b"server", b"old"), (b"date", b"never"), (b"set-cookie", b"a=b"),
        (b"set-cookie", b"c=d"), (b"keep-alive", b"5"),
    )  # fmt: skip

    assert response_fields(fields) == [
        (b"content-type", b"text/plain"),
        (b"set-cookie", b"a=b"),
        (b"set-cookie", b"c=d"),
    ]


@pytest.mark.parametrize(
    ("location", "prefix", "expected"),
    [
        (b"http://127.0.0.1:9000/x?y", b"", b"/x?y"),
        (b"http://127.0.0.1:9000", b"", b"/"),
        (b"http://127.0.0.1:9000?x", b"/app", b"/app/?x"),
        (b"http://127.0.0.1:9000/x", b"/app", b"/app/x"),
        (b"http://127.0.0.1:90001/x", b"", b"http://127.0.0.1:90001/x"),
        (b"http://127.0.0.1:9000.evil.test/x", b"", b"http://127.0.0.1:9000.evil.test/x"),
        (b"http://127.0.0.1:9000//evil.test/x", b"", b"/evil.test/x"),
        (b"https://other.test/x", b"/app", b"https://other.test/x"),
        (b"/x", b"/app", b"/app/x"),
        (b"/app/x", b"/app", b"/app/x"),
        (b"/x", b"", b"/x"),
        (b"//other.test/x", b"/app", b"//other.test/x"),
        (b"x", b"/app", b"x"),
    ],
)
def test_locations(location: bytes, prefix: bytes, expected: bytes) -> None:
    fields = with_own_location([(b"a", b"b"), (b"location", location)], (b"http://127.0.0.1:9000",), prefix)

    assert fields == [(b"a", b"b"), (b"location", expected)]
