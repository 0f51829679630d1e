from __future__ import annotations

import itertools
import ssl
import time

import pytest
from hypothesis import given, settings, strategies as st

from securelight.model.limits import Limits
from securelight.tls.client_hello import (
    Alert,
    ClientHello,
    ClientHelloReader,
    Hello,
    NeedMore,
    NotTls,
    PlainHttp,
    alert,
)
from tests.tls.handshakes import client_context, client_hello

LIMIT = Limits().client_hello_bytes
REAL = client_hello()


def read(data: bytes, limit: int = LIMIT) -> Hello:
    return ClientHelloReader(limit).feed(data)


def vector(length_bytes: int, content: bytes) -> bytes:
    return len(content).to_bytes(length_bytes, "big") + content


def extension(kind: int, content: bytes) -> bytes:
    return kind.to_bytes(2, "big") + vector(2, content)


def sni(*names: bytes, kind: int = 0) -> bytes:
    return extension(0, vector(2, b"".join(bytes([kind]) + vector(2, name) for name in names)))


def alpn(*protocols: bytes) -> bytes:
    return extension(16, vector(2, b"".join(vector(1, protocol) for protocol in protocols)))


def hello_body(
    *extensions: bytes, session_id: bytes = b"", suites: bytes = b"\x13\x01", methods: bytes = b"\0"
) -> bytes:
    head = b"\x03\x03" + b"r" * 32 + vector(1, session_id) + vector(2, suites) + vector(1, methods)
    return head + (vector(2, b"".join(extensions)) if extensions else b"")


def message(body: bytes, kind: int = 1) -> bytes:
    return bytes([kind]) + vector(3, body)


def records(data: bytes, size: int = 16_384) -> bytes:
    return b"".join(b"\x16\x03\x01" + vector(2, data[at : at + size]) for at in range(0, len(data), size))


def made(*extensions: bytes) -> bytes:
    return records(message(hello_body(*extensions)))


def refused(data: bytes) -> NotTls:
    result = read(data)
    assert isinstance(result, NotTls), result
    return result


def named(name: bytes) -> Hello:
    return read(made(sni(name)))


# What real clients send.


def test_a_real_client_is_understood() -> None:
    hello = read(REAL)
    assert hello == ClientHello("example.test", (b"h2", b"http/1.1"), (0x0304, 0x0303))


def test_a_client_without_sni_and_alpn() -> None:
    assert read(client_hello(None, ())) == ClientHello("", (), (0x0304, 0x0303))


def test_a_client_of_tls_1_2_alone() -> None:
    context = client_context(alpn=["http/1.1"])
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    assert read(client_hello("a.test", context=context)) == ClientHello("a.test", (b"http/1.1",), (0x0303,))


def test_a_client_from_before_extensions() -> None:
    assert read(records(message(hello_body()))) == ClientHello("", (), (0x0303,))


def test_grease_and_encrypted_client_hello_are_passed_over() -> None:
    """RFC 8701; the outer hello of ECH is a whole one for the public name."""
    hello = made(
        extension(0x1A1A, b""),
        sni(b"public.test"),
        extension(0xFE0D, b"\0" * 180),
        alpn(b"\x0a\x0a", b"h2"),
        extension(43, b"\x06\x3a\x3a\x03\x04\x03\x03"),
        extension(0xFAFA, b"\0"),
    )
    assert read(hello) == ClientHello("public.test", (b"\x0a\x0a", b"h2"), (0x0304, 0x0303))


def test_every_byte_received_is_kept_for_the_handshake() -> None:
    reader = ClientHelloReader(LIMIT)
    reader.feed(REAL[:10])
    reader.feed(REAL[10:] + b"what follows")
    assert bytes(reader.received) == REAL + b"what follows"


def test_byte_by_byte() -> None:
    reader = ClientHelloReader(LIMIT)
    for byte in REAL[:-1]:
        assert reader.feed(bytes([byte])) == NeedMore()
    assert reader.feed(REAL[-1:]) == read(REAL)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 100, 16_384])
def test_over_many_records(size: int) -> None:
    assert read(records(REAL[5:], size)) == read(REAL)


def test_the_answer_stays() -> None:
    reader = ClientHelloReader(LIMIT)
    assert reader.feed(REAL) == reader.feed(b"\xff" * 100)


# Server names.


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        (b"example.test", "example.test"),
        (b"EXAMPLE.Test", "example.test"),
        (b"example.test.", "example.test"),
        (b"xn--bcher-kva.test", "xn--bcher-kva.test"),
        (b"under_score.test", "under_score.test"),
        (b"localhost", "localhost"),
        (b"a" * 63 + b"." + b"b" * 63, "a" * 63 + "." + "b" * 63),
        (b"1and1.test", "1and1.test"),
        (b"9", "9"),
    ],
)
def test_host_names_are_given_in_one_form(sent: bytes, name: str) -> None:
    assert named(sent) == ClientHello(name, (), (0x0303,))


@pytest.mark.parametrize("sent", [b"127.0.0.1", b"::1", b"[2001:db8::1]", b"192.0.2.1."])
def test_an_address_counts_as_no_name(sent: bytes) -> None:
    """RFC 6066, section 3: literal addresses are not permitted, but some clients send them."""
    assert named(sent) == ClientHello("", (), (0x0303,))


@pytest.mark.parametrize(
    "sent",
    [
        b".",
        b"..",
        b"a..test",
        b".a.test",
        b"a b",
        b"b\xc3\xbccher.test",
        b"a\0.test",
        b"a/../b",
        b"a:443",
        b"-a.test",
        b"a" * 64 + b".test",
        b".".join([b"abcdefg"] * 40),
        b"\n",
        b"example.test\n",
        b"%s%n",
        b"*.test",
    ],
)
def test_what_is_no_host_name_is_refused(sent: bytes) -> None:
    assert refused(made(sni(sent))).alert == alert(Alert.UNRECOGNIZED_NAME)


@pytest.mark.parametrize(
    "field",
    [
        sni(b""),
        sni(),
        sni(b"a.test", b"b.test"),
        sni(b"a.test", kind=1),
        extension(0, b""),
        extension(0, b"\0"),
        extension(0, b"\xff\xff\0\0\x01a"),
        extension(0, vector(2, b"\0" + vector(2, b"a.test")) + b"x"),
        extension(0, vector(2, b"\0" + vector(2, b"a.test") + b"x")),
        extension(16, b""),
        alpn(),
        alpn(b""),
        alpn(b"h2", b""),
        extension(16, vector(2, b"\x05h2")),
        extension(16, vector(2, vector(1, b"h2")) + b"x"),
        extension(43, b""),
        extension(43, b"\0"),
        extension(43, b"\x03\x03\x04\x03"),
        extension(43, b"\x02\x03\x04\x03"),
    ],
)
def test_malformed_extensions_are_refused(field: bytes) -> None:
    assert refused(made(field)).alert == alert(Alert.DECODE_ERROR)


def test_an_extension_twice_is_refused() -> None:
    for twice in (sni(b"a.test"), alpn(b"h2"), extension(0x1234, b"")):
        assert refused(made(twice, extension(5, b""), twice)).alert == alert(Alert.ILLEGAL_PARAMETER)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x03",
        b"\x03\x03" + b"r" * 31,
        hello_body(session_id=b"s" * 33),
        hello_body(suites=b""),
        hello_body(suites=b"\x13"),
        hello_body(methods=b""),
        hello_body(alpn(b"h2")) + b"x",
        hello_body(alpn(b"h2"))[:-1],
        hello_body() + b"\0",
        hello_body() + b"\0\x04\0\x10\0\x01",
    ],
)
def test_malformed_hellos_are_refused(body: bytes) -> None:
    assert refused(records(message(body))).alert == alert(Alert.DECODE_ERROR)


@pytest.mark.parametrize(
    ("data", "description"),
    [
        (b"\x16\x03\x01\0\0", Alert.UNEXPECTED_MESSAGE),  # RFC 8446, section 5.1: no empty fragments
        (b"\x16\x03\x01\x40\x01\x01", Alert.RECORD_OVERFLOW),
        (b"\x16\x02\x00\0\x10", Alert.PROTOCOL_VERSION),
        (records(message(hello_body(), kind=2)), Alert.UNEXPECTED_MESSAGE),
        (records(REAL[5:], 20)[:25] + b"\x15\x03\x03\0\x02\x02\x28", Alert.UNEXPECTED_MESSAGE),
        (b"\x80\x2e\x01\x00\x02\0\x15", Alert.PROTOCOL_VERSION),  # SSL 2
    ],
    ids=["empty fragment", "long record", "old version", "not a hello", "alert within", "SSL 2"],
)
def test_records_that_carry_no_client_hello(data: bytes, description: Alert) -> None:
    assert refused(data).alert == alert(description)


# Bounds.


def test_a_hello_that_is_announced_too_long_is_refused_at_once() -> None:
    assert "more than 16384 bytes" in refused(records(b"\x01\x00\x40\x00")).reason
    assert refused(records(b"\x01\xff\xff\xff")).alert == alert(Alert.ILLEGAL_PARAMETER)


def test_a_hello_of_the_limit_is_read() -> None:
    padding = LIMIT - len(message(hello_body(extension(21, b""))))
    largest = message(hello_body(extension(21, b"\0" * padding)))
    assert len(largest) == LIMIT
    assert isinstance(read(records(largest)), ClientHello)
    assert isinstance(read(records(message(hello_body(extension(21, b"\0" * (padding + 1)))))), NotTls)


def test_record_headers_count_against_the_limit() -> None:
    body = message(hello_body(extension(21, b"\0" * 4000)))
    assert isinstance(read(records(body, 1)), NotTls)
    assert isinstance(read(records(body, 1)[:LIMIT]), NeedMore)


@pytest.mark.parametrize("piece", [1, 7])
def test_a_trickle_of_tiny_records_costs_little(piece: int) -> None:
    data = records(b"\x01\x00\x3f\x00" + b"\0" * LIMIT, 1)
    reader = ClientHelloReader(LIMIT)
    started = time.process_time()
    fed = 0
    for at in range(0, len(data), piece):
        fed += piece
        if not isinstance(reader.feed(data[at : at + piece]), NeedMore):
            break
    assert LIMIT <= fed <= LIMIT + piece
    assert time.process_time() - started < 1


# Other protocols.


@pytest.mark.parametrize(
    "request_line",
    [b"GET / HTTP/1.1\r\n", b"POST /x HTTP/1.0\r\n", b"OPTIONS * HTTP/1.1\r\n", b"CONNECT a:1 HTTP/1.1\r\n"],
)
def test_plain_http_is_told_from_tls(request_line: bytes) -> None:
    assert read(request_line) == PlainHttp()
    reader = ClientHelloReader(LIMIT)
    assert reader.feed(request_line[:2]) == NeedMore()
    assert reader.feed(request_line[2:]) == PlainHttp()
    assert bytes(reader.received) == request_line


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-x\r\n",
        b"GETAWAY / HTTP/1.1",
        b"get / HTTP/1.1\r\n",
        b"\0",
        b"\xff\xff\xff",
        b"\r\n",
        b"PRI * HTTP/2.0\r\n",
    ],
)
def test_other_protocols_get_no_answer(data: bytes) -> None:
    assert refused(data).alert == b""


def test_the_http_2_preface_is_named() -> None:
    assert read(b"PRI * HTTP/2") == NeedMore()
    assert "HTTP/2" in refused(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").reason


def test_nothing_is_asked_of_a_silent_peer() -> None:
    assert read(b"") == NeedMore()


def test_a_client_understands_our_alert() -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context(alpn=["smtp"]).wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    incoming.write(alert(Alert.NO_APPLICATION_PROTOCOL))
    with pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"):
        client.do_handshake()


# Anything at all.


def whole(pieces: list[bytes]) -> Hello:
    reader = ClientHelloReader(LIMIT)
    result: Hello = NeedMore()
    for piece in pieces:
        result = reader.feed(piece)
    return result


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.booleans())
def test_random_bytes_never_raise(data: bytes, tls: bool) -> None:
    read(b"\x16\x03\x01" + data if tls else data)
    read(records(b"\x01" + vector(3, data)))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(0, len(REAL)), max_size=20), st.integers(1, 200))
def test_any_split_into_segments_and_records_is_the_same(cuts: list[int], size: int) -> None:
    data = records(REAL[5:], size)
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[begin:end] for begin, end in itertools.pairwise(edges)]
    assert whole(pieces) == read(REAL)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(REAL) - 1))
def test_a_cut_off_hello_waits_for_more(length: int) -> None:
    assert read(REAL[:length]) == NeedMore()


@settings(max_examples=500, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, len(REAL) - 1), st.integers(0, 255)), min_size=1, max_size=8), st.integers(1, 600)
)
def test_a_mutated_hello_gives_some_answer_that_does_not_depend_on_the_split(
    changes: list[tuple[int, int]], cut: int
) -> None:
    data = bytearray(REAL)
    for at, value in changes:
        data[at] = value
    assert whole([bytes(data[:cut]), bytes(data[cut:])]) == read(bytes(data))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0, 16, 43, 0x0A0A, 0xFE0D]), st.binary(max_size=40)), max_size=6))
def test_random_extensions_never_raise(extensions: list[tuple[int, bytes]]) -> None:
    result = read(made(*(extension(kind, content) for kind, content in extensions)))
    assert isinstance(result, (ClientHello, NotTls))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(REAL) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_what_openssl_accepts_we_read_as_it_does(changes: list[tuple[int, int]]) -> None:
    """A differential test: where we give a server name, OpenSSL gets that one too, or gives up before."""
    data = bytearray(REAL)
    for at, value in changes:
        data[at] = value
    result = read(bytes(data))
    if not isinstance(result, ClientHello) or not result.server_name:
        return
    asked: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sni_callback = lambda _object, name, _context: asked.append(name)
    incoming = ssl.MemoryBIO()
    incoming.write(bytes(data))
    with pytest.raises(ssl.SSLError):  # wants more, or has no certificate
        context.wrap_bio(incoming, ssl.MemoryBIO(), server_side=True).do_handshake()
    for name in asked:
        assert (name or "").lower().removesuffix(".") == result.server_name
