"""The PROXY protocol: who the client is, told by a balancer in front of us before the first byte of the connection.

Source: "The PROXY protocol, versions 1 & 2" (HAProxy). Both versions are read and written here, without I/O. Reading is
strict, because what it says is believed: one spelling of each address, ports without leading zeros, TLVs that fill the
header exactly, a checksum that is right if there is one. At most `limit` bytes are held before a verdict.

Refused: datagrams, and unix addresses as clients (nobody could tell what they stand for; they count as unknown).
"""

from __future__ import annotations

import re
import struct
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
"""What version 2 begins with."""
_V1 = b"PROXY "
_V1_BYTES = 107
"""The longest line of version 1, with its end."""
_V1_LINE = re.compile(rb"PROXY (TCP4|TCP6) ([0-9a-fA-F.:]{2,39}) ([0-9a-fA-F.:]{2,39}) ([0-9]{1,5}) ([0-9]{1,5})\r\n")
_V2_HEAD_BYTES = 16

LOCAL, PROXY = 0x20, 0x21
_TCP4, _TCP6, _UNIX_STREAM, _UNSPECIFIED = 0x11, 0x21, 0x31, 0x00
_ADDRESS_BYTES = {_TCP4: 12, _TCP6: 36, _UNIX_STREAM: 216, _UNSPECIFIED: 0}

ALPN, AUTHORITY, CRC32C, UNIQUE_ID, TLS = 0x01, 0x02, 0x03, 0x05, 0x20
_TLS_VERSION, _TLS_COMMON_NAME, _TLS_CIPHER = 0x21, 0x22, 0x23
_TLVS = 32
_UNIQUE_ID_BYTES = 128
_NAME_BYTES = 255


class ProxiedTls(NamedTuple):
    """The TLS connection that the balancer had with the client.

    Attributes:
        version, cipher: such as `TLSv1.3`; empty if they were not told.
        common_name: of the client's certificate; empty without one.
        verified: it had a certificate that was found good.
    """

    version: str = ""
    cipher: str = ""
    common_name: str = ""
    verified: bool = False


class ProxyHeader(NamedTuple):
    """What a header says.

    Attributes:
        source, destination: (address, port) of the client and of what it connected to; None where the header does not
            tell (health checks of the balancer itself), and the connection is what it seems to be.
        alpn: what the client and the balancer agreed on; empty without it.
        authority: the name that the client asked for; empty without it.
        tls: None if the client did not speak TLS with the balancer.
    """

    source: tuple[str, int] | None
    destination: tuple[str, int] | None
    alpn: bytes = b""
    authority: str = ""
    tls: ProxiedTls | None = None


class ProxyFault(ValueError):
    """It is no PROXY header, or a malformed one; `str()` is for the log and holds nothing of what came."""


def is_proxy_header(beginning: bytes) -> bool:
    """Whether what a connection begins with can only be meant as a PROXY header."""
    return beginning.startswith((_V1, SIGNATURE))


class ProxyHeaderReader:
    """Reads the header of one connection.

    Args:
        limit_bytes: of the whole header.

    Attributes:
        rest: what came behind the header.
    """

    __slots__ = ("_limit", "_received", "rest")

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._received = b""
        self.rest = b""

    def feed(self, data: bytes) -> ProxyHeader | None:
        """Take the next bytes; None until the header is whole.

        Errors: ProxyFault.
        """
        received = self._received = self._received + data
        if received.startswith(SIGNATURE):
            return self._version_2(received)
        if received.startswith(_V1):
            return self._version_1(received)
        if not (SIGNATURE.startswith(received) or _V1.startswith(received)):
            raise ProxyFault("no PROXY header")
        return None

    def _version_1(self, received: bytes) -> ProxyHeader | None:
        end = received.find(b"\n", 0, _V1_BYTES) + 1
        if not end:
            if len(received) >= _V1_BYTES:
                raise ProxyFault("a PROXY line of more than 107 bytes")
            return None
        self.rest = received[end:]
        line = received[:end]
        if re.fullmatch(rb"PROXY UNKNOWN(?: [ -~]*)?\r\n", line):
            return ProxyHeader(None, None)
        match = _V1_LINE.fullmatch(line)
        if match is None:
            raise ProxyFault("a malformed PROXY line")
        family, *addresses = match.groups()
        kind = IPv4Address if family == b"TCP4" else IPv6Address
        try:
            source, destination = (kind(text.decode("ascii")) for text in addresses[:2])
        except ValueError as error:
            raise ProxyFault("a PROXY line with a malformed address") from error
        ports = [_port(text) for text in addresses[2:]]
        return ProxyHeader((_plain(source), ports[0]), (_plain(destination), ports[1]))

    def _version_2(self, received: bytes) -> ProxyHeader | None:
        if len(received) < _V2_HEAD_BYTES:
            return None
        command, kind, length = struct.unpack("!BBH", received[12:16])
        if command not in (LOCAL, PROXY):
            raise ProxyFault("a PROXY header of an unknown version or command")
        size = _V2_HEAD_BYTES + length
        if size > self._limit:
            raise ProxyFault(f"a PROXY header of more than {self._limit} bytes")
        if command == PROXY and length < _ADDRESS_BYTES.get(kind, 0):
            raise ProxyFault("a PROXY header too short for its addresses")
        if command == PROXY and kind not in _ADDRESS_BYTES:
            raise ProxyFault("a PROXY header of an unknown address family")
        if len(received) < size:
            return None
        self.rest = received[size:]
        if command == LOCAL:  # whatever follows is to be ignored
            return ProxyHeader(None, None)
        at = _V2_HEAD_BYTES + _ADDRESS_BYTES[kind]
        source, destination = _addresses(kind, received[_V2_HEAD_BYTES:at])
        return _with_tlvs(source, destination, received[:size], at)


def _port(text: bytes) -> int:
    port = int(text)
    if port > 65_535 or (len(text) > 1 and text[:1] == b"0"):
        raise ProxyFault("a PROXY line with a malformed port")
    return port


def _plain(address: IPv4Address | IPv6Address) -> str:
    """As text; an IPv4 address in IPv6 form as IPv4, so that rules for it apply."""
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)


def _addresses(kind: int, data: bytes) -> tuple[tuple[str, int] | None, tuple[str, int] | None]:
    if kind not in (_TCP4, _TCP6):
        return None, None
    size = 4 if kind == _TCP4 else 16
    ports = struct.unpack("!HH", data[2 * size :])
    source, destination = (_plain(ip_address(data[at : at + size])) for at in (0, size))
    return (source, ports[0]), (destination, ports[1])


def _split_tlvs(data: bytes) -> list[tuple[int, bytes, int]]:
    """(type, value, offset of the value) of each; they fill `data` exactly."""
    found = []
    at = 0
    while at < len(data):
        if at + 3 > len(data):
            raise ProxyFault("a PROXY header with a cut TLV")
        kind, length = struct.unpack("!BH", data[at : at + 3])
        at += 3
        if at + length > len(data):
            raise ProxyFault("a PROXY header with a TLV past its end")
        found.append((kind, data[at : at + length], at))
        if len(found) > _TLVS:
            raise ProxyFault(f"a PROXY header with more than {_TLVS} TLVs")
        at += length
    return found


def _with_tlvs(
    source: tuple[str, int] | None, destination: tuple[str, int] | None, header: bytes, at: int
) -> ProxyHeader:
    alpn, authority = b"", ""
    tls: ProxiedTls | None = None
    seen: set[int] = set()
    for kind, value, offset in _split_tlvs(header[at:]):
        if kind not in (ALPN, AUTHORITY, CRC32C, UNIQUE_ID, TLS):
            continue
        if kind in seen:
            raise ProxyFault("a PROXY header with the same TLV twice")
        seen.add(kind)
        if kind == ALPN:
            alpn = value
        elif kind == AUTHORITY:
            authority = _text(value)
        elif kind == CRC32C:
            start = at + offset
            blank = header[:start] + bytes(4) + header[start + 4 :]
            if len(value) != 4 or crc32c(blank) != int.from_bytes(value, "big"):
                raise ProxyFault("a PROXY header with a wrong checksum")
        elif kind == UNIQUE_ID and len(value) > _UNIQUE_ID_BYTES:
            raise ProxyFault("a PROXY header with an identifier that is too long")
        elif kind == TLS:
            tls = _tls(value)
    return ProxyHeader(source, destination, alpn, authority, tls)


def _tls(value: bytes) -> ProxiedTls | None:
    if len(value) < 5:
        raise ProxyFault("a PROXY header with a cut TLS TLV")
    client, verify = struct.unpack("!BI", value[:5])
    texts = {kind: data for kind, data, _offset in _split_tlvs(value[5:])}
    if not client & 1:
        return None
    presented = bool(client & 6)
    return ProxiedTls(
        _text(texts.get(_TLS_VERSION, b"")),
        _text(texts.get(_TLS_CIPHER, b"")),
        _text(texts.get(_TLS_COMMON_NAME, b"")) if presented else "",
        verified=presented and verify == 0,
    )


def _text(value: bytes) -> str:
    if len(value) > _NAME_BYTES:
        raise ProxyFault("a PROXY header with a name that is too long")
    text = value.decode("utf-8", "replace")
    if not text.isprintable():
        raise ProxyFault("a PROXY header with control characters in a name")
    return text


def _crc_table() -> tuple[int, ...]:
    table = []
    for number in range(256):
        crc = number
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
        table.append(crc)
    return tuple(table)


_CRC_TABLE = _crc_table()


def crc32c(data: bytes) -> int:
    """The checksum of RFC 4960, appendix B."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _CRC_TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def write_v1(source: tuple[str, int], destination: tuple[str, int]) -> bytes:
    """A header of version 1; UNKNOWN where the addresses are not two of one family."""
    try:
        families = {ip_address(address).version for address, _port in (source, destination)}
    except ValueError:
        families = set()
    if len(families) != 1:
        return b"PROXY UNKNOWN\r\n"
    line = f"PROXY TCP{families.pop()} {source[0]} {destination[0]} {source[1]} {destination[1]}\r\n"
    return line.encode("ascii")


def write_v2(
    source: tuple[str, int],
    destination: tuple[str, int],
    *,
    alpn: bytes = b"",
    authority: str = "",
    tls: ProxiedTls | None = None,
) -> bytes:
    """A header of version 2; LOCAL where the addresses are not two of one family.

    Args:
        source, destination: of the client, and what it connected to.
        alpn, authority, tls: what is told of its TLS connection.
    """
    try:
        first, second = ip_address(source[0]), ip_address(destination[0])
    except ValueError:
        return SIGNATURE + struct.pack("!BBH", LOCAL, _UNSPECIFIED, 0)
    if first.version != second.version:
        return SIGNATURE + struct.pack("!BBH", LOCAL, _UNSPECIFIED, 0)
    body = first.packed + second.packed + struct.pack("!HH", source[1], destination[1])
    if alpn:
        body += _tlv(ALPN, alpn[:_NAME_BYTES])
    if authority:
        body += _tlv(AUTHORITY, authority.encode("utf-8", "replace")[:_NAME_BYTES])
    if tls is not None:
        client = 1 | (2 if tls.common_name else 0)
        value = struct.pack("!BI", client, 0 if tls.verified else 1)
        for kind, text in ((_TLS_VERSION, tls.version), (_TLS_COMMON_NAME, tls.common_name), (_TLS_CIPHER, tls.cipher)):
            if text:
                value += _tlv(kind, text.encode("utf-8", "replace")[:_NAME_BYTES])
        body += _tlv(TLS, value)
    kind = _TCP4 if first.version == 4 else _TCP6
    return SIGNATURE + struct.pack("!BBH", PROXY, kind, len(body)) + body


def _tlv(kind: int, value: bytes) -> bytes:
    return struct.pack("!BH", kind, len(value)) + value
