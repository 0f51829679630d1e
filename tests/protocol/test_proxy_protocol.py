"""The PROXY protocol: both versions, in any pieces, and nothing believed that is not exactly one of them."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given, settings, strategies as st

from securelight.protocol.proxy_protocol import (
    SIGNATURE,
    ProxiedTls,
    ProxyFault,
    ProxyHeader,
    ProxyHeaderReader,
    crc32c,
    is_proxy_header,
    write_v1,
    write_v2,
)

LIMIT = 4096
SOURCE, DESTINATION = ("192.0.2.7", 51234), ("198.51.100.1", 443)
SOURCE_6, DESTINATION_6 = ("2001:db8::7", 1), ("2001:db8::1", 65535)


def read(data: bytes, step: int = 0) -> tuple[ProxyHeader | None, bytes]:
    reader = ProxyHeaderReader(LIMIT)
    pieces = [data[at : at + step] for at in range(0, len(data), step)] if step else [data]
    for number, piece in enumerate(pieces):
        header = reader.feed(piece)
        if header is not None:
            return header, reader.rest + b"".join(pieces[number + 1 :])
    return None, b""


def version_2(body: bytes, command: int = 0x21, family: int = 0x11, length: int | None = None) -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, family, len(body) if length is None else length) + body


def tlv(kind: int, value: bytes) -> bytes:
    return struct.pack("!BH", kind, len(value)) + value


ADDRESSES = bytes((192, 0, 2, 7, 198, 51, 100, 1)) + struct.pack("!HH", 51234, 443)


@pytest.mark.parametrize("step", [0, 1, 5])
@pytest.mark.parametrize("write", [write_v1, write_v2])
@pytest.mark.parametrize(("source", "destination"), [(SOURCE, DESTINATION), (SOURCE_6, DESTINATION_6)])
def test_what_is_written_is_read_in_any_pieces_and_the_rest_is_kept(
    write: object, step: int, source: tuple[str, int], destination: tuple[str, int]
) -> None:
    assert write in (write_v1, write_v2)
    header = write_v1(source, destination) if write is write_v1 else write_v2(source, destination)
    assert is_proxy_header(header)
    assert read(header + b"\x16\x03\x01hello", step) == (ProxyHeader(source, destination), b"\x16\x03\x01hello")


def test_tls_of_the_client_is_told_in_version_2() -> None:
    tls = ProxiedTls("TLSv1.3", "TLS_AES_128_GCM_SHA256", "Ana Müller", verified=True)
    header = write_v2(SOURCE, DESTINATION, alpn=b"h2", authority="example.org", tls=tls)
    assert read(header)[0] == ProxyHeader(SOURCE, DESTINATION, b"h2", "example.org", tls)


def test_a_certificate_that_was_not_found_good_is_not_called_verified() -> None:
    for client, verify in ((1, 0), (3, 1), (0, 0)):
        value = struct.pack("!BI", client, verify) + tlv(0x22, b"somebody")
        header = read(version_2(ADDRESSES + tlv(0x20, value)))[0]
        assert header is not None
        assert header.tls is None if not client else header.tls is not None and not header.tls.verified


@pytest.mark.parametrize(
    "data", [b"PROXY UNKNOWN\r\n", b"PROXY UNKNOWN ffff::1 whatever 0 0\r\n",
             version_2(b"junk", command=0x20, family=0), version_2(b"", family=0), version_2(bytes(216), family=0x31)],
)  # fmt: skip
def test_a_header_may_say_nothing_about_the_client(data: bytes) -> None:
    assert read(data + b"x") == (ProxyHeader(None, None), b"x")


def test_an_ipv4_client_in_ipv6_form_is_an_ipv4_client() -> None:
    header = read(b"PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n")[0]
    assert header is not None
    assert header.source == ("192.0.2.7", 1)


def test_a_checksum_is_checked() -> None:
    assert crc32c(b"123456789") == 0xE3069283
    blank = version_2(ADDRESSES + tlv(3, bytes(4)))
    good = version_2(ADDRESSES + tlv(3, struct.pack("!I", crc32c(blank))))
    assert read(good)[0] == ProxyHeader(SOURCE, DESTINATION)
    with pytest.raises(ProxyFault, match="checksum"):
        read(good[:-1] + bytes((good[-1] ^ 1,)))


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"\x16\x03\x01",
        b"proxy TCP4 192.0.2.7 192.0.2.1 1 2\r\n",
        b"PROXY TCP4 192.0.2.7 192.0.2.1 1 2\n",
        b"PROXY TCP4  192.0.2.7 192.0.2.1 1 2\r\n",
        b"PROXY TCP4 192.0.2.7 192.0.2.1 1 2 \r\n",
        b"PROXY TCP4 192.0.2.7 192.0.2.1 01 2\r\n",
        b"PROXY TCP4 192.0.2.7 192.0.2.1 1 65536\r\n",
        b"PROXY TCP4 192.0.2.07 192.0.2.1 1 2\r\n",
        b"PROXY TCP4 192.0.2 192.0.2.1 1 2\r\n",
        b"PROXY TCP4 ::1 ::1 1 2\r\n",
        b"PROXY TCP6 192.0.2.7 192.0.2.1 1 2\r\n",
        b"PROXY UDP4 192.0.2.7 192.0.2.1 1 2\r\n",
        b"PROXY UNKNOWNS\r\n",
        b"PROXY TCP4 " + b"1" * 200,
        b"PROXY UNKNOWN " + b"x" * 200 + b"\r\n",
        version_2(ADDRESSES, command=0x22),
        version_2(ADDRESSES, command=0x11),
        version_2(ADDRESSES, family=0x12),
        version_2(ADDRESSES, family=0x21),
        version_2(ADDRESSES[:-1]),
        version_2(ADDRESSES, length=LIMIT),
        version_2(ADDRESSES + b"\x01"),
        version_2(ADDRESSES + b"\x01\x00\x05abcd"),
        version_2(ADDRESSES + tlv(4, b"") * 33),
        version_2(ADDRESSES + tlv(2, b"a.example") * 2),
        version_2(ADDRESSES + tlv(2, b"a\r\nb")),
        version_2(ADDRESSES + tlv(2, b"a" * 256)),
        version_2(ADDRESSES + tlv(5, b"a" * 129)),
        version_2(ADDRESSES + tlv(0x20, b"\x01\x00")),
        version_2(ADDRESSES + tlv(0x20, b"\x01\x00\x00\x00\x00\x21\x00\xff")),
        version_2(ADDRESSES + tlv(3, b"abc")),
    ],
)
def test_what_is_refused(data: bytes) -> None:
    with pytest.raises(ProxyFault):
        read(data)
    with pytest.raises(ProxyFault):
        read(data, 1)


def test_addresses_that_do_not_go_together_are_not_told() -> None:
    for source, destination in ((SOURCE, DESTINATION_6), (("", 0), ("", 0)), (SOURCE, ("", 0))):
        assert write_v1(source, destination) == b"PROXY UNKNOWN\r\n"
        assert read(write_v2(source, destination))[0] == ProxyHeader(None, None)


@settings(max_examples=300)
@given(st.binary(max_size=300), st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21\x11"]))
def test_no_bytes_do_anything_but_be_a_header_or_a_fault_the_same_in_pieces(data: bytes, beginning: bytes) -> None:
    def verdict(step: int) -> object:
        try:
            return read(beginning + data, step)
        except ProxyFault:
            return "refused"

    assert verdict(0) == verdict(1)


@settings(max_examples=200)
@given(
    st.tuples(st.ip_addresses(v=4).map(str), st.integers(0, 65535)),
    st.tuples(st.ip_addresses(v=4).map(str), st.integers(0, 65535)),
    st.binary(max_size=20),
    st.text("abc.xyz", max_size=40),
)
def test_every_pair_of_addresses_comes_through(
    source: tuple[str, int], destination: tuple[str, int], alpn: bytes, authority: str
) -> None:
    assert read(write_v1(source, destination))[0] == ProxyHeader(source, destination)
    header = write_v2(source, destination, alpn=alpn, authority=authority)
    assert read(header)[0] == ProxyHeader(source, destination, alpn, authority)


@settings(max_examples=100)
@given(st.binary(max_size=60))
def test_a_header_with_any_tlvs_holds_no_more_than_the_limit(data: bytes) -> None:
    with contextlib.suppress(ProxyFault):
        read(version_2(ADDRESSES + data))
