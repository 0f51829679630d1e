"""The first bytes of a connection: is it TLS, and for whom?

A sans-I/O reader takes them as they come, over any number of segments and TLS records, and gives the ClientHello's
server name, ALPN offer and versions (RFC 8446, section 4.1.2; RFC 6066; RFC 7301) before OpenSSL sees a byte. The
same bytes (`received`) are then fed to the handshake, so what is not looked at here is still checked there.

Each byte is looked at once, and at most `limit` bytes are held. Nothing that a peer sends makes it raise: whatever
is not a well-formed ClientHello is a NotTls with its reason and the alert to send. Encrypted ClientHello cannot be
opened from Python; its outer hello is a valid one for the public name, and is served as that.
"""

from __future__ import annotations

import enum
import ipaddress
import re
import struct
from typing import NamedTuple


class Alert(enum.IntEnum):
    """Descriptions of the fatal alerts that we send by ourselves (RFC 8446, section 6)."""

    UNEXPECTED_MESSAGE = 10
    RECORD_OVERFLOW = 22
    ILLEGAL_PARAMETER = 47
    DECODE_ERROR = 50
    PROTOCOL_VERSION = 70
    INTERNAL_ERROR = 80
    UNRECOGNIZED_NAME = 112
    NO_APPLICATION_PROTOCOL = 120


def alert(description: int) -> bytes:
    """A fatal alert in a plaintext record, as it goes on the wire before any key is agreed."""
    return bytes((0x15, 0x03, 0x03, 0x00, 0x02, 0x02, description))


class NeedMore(NamedTuple):
    """Nothing can be said yet."""


class ClientHello(NamedTuple):
    """What the client asks for.

    Attributes:
        server_name: from SNI, lower case, without trailing dot; "" if there is none, or if it is an IP address,
            which SNI may not carry.
        alpn: the protocols offered, best first, as on the wire; empty if the client knows no ALPN.
        versions: the TLS versions offered (0x0304 is TLS 1.3), best first, without GREASE.
    """

    server_name: str
    alpn: tuple[bytes, ...]
    versions: tuple[int, ...]


class PlainHttp(NamedTuple):
    """An HTTP/1.x request in the clear; `received` holds its beginning."""


class NotTls(NamedTuple):
    """Something else, or TLS that breaks the rules.

    Attributes:
        reason: for the log; holds nothing of what the peer sent.
        alert: what to send before closing; empty for a peer that would not understand it.
    """

    reason: str
    alert: bytes


Hello = NeedMore | ClientHello | PlainHttp | NotTls

_NEED_MORE = NeedMore()
_PLAIN_HTTP = PlainHttp()

_HANDSHAKE_RECORD = 22
_CLIENT_HELLO_MESSAGE = 1
_MAXIMUM_RECORD_BYTES = 1 << 14

_METHODS = tuple(
    method + b" "
    for method in (b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"PATCH")
)
_HTTP2_PREFACE = b"PRI * HTTP/2.0"

_SERVER_NAME_EXTENSION = 0
_ALPN_EXTENSION = 16
_SUPPORTED_VERSIONS_EXTENSION = 43

_HOST_NAME = re.compile(rb"(?=.{1,253}\Z)(?!-)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*")


class ClientHelloReader:
    """Reads until it is clear what the peer is.

    Args:
        limit_bytes: limits.client_hello_bytes; more than that without a whole ClientHello is a NotTls.
    """

    __slots__ = ("_at", "_limit", "_message", "_record_left", "_result", "received")

    def __init__(self, limit_bytes: int) -> None:
        self.received = bytearray()
        """Every byte so far, to be fed to the handshake, or read as HTTP."""
        self._limit = limit_bytes
        self._message = bytearray()
        self._at = 0
        self._record_left = 0
        self._result: Hello = _NEED_MORE

    def feed(self, data: bytes) -> Hello:
        """Take the next bytes. Once the answer is not NeedMore it stays the same, and bytes are only kept."""
        self.received += data
        if isinstance(self._result, NeedMore) and self.received:
            first = self.received[0]
            self._result = self._read_records() if first == _HANDSHAKE_RECORD else _other_protocol(self.received)
        return self._result

    def _read_records(self) -> Hello:
        received, message = self.received, self._message
        while True:
            if self._record_left == 0:
                if len(received) - self._at < 5:
                    break
                header = received[self._at : self._at + 5]
                length = header[3] << 8 | header[4]
                if header[0] != _HANDSHAKE_RECORD or length == 0:
                    return NotTls("a record that is not part of a ClientHello", alert(Alert.UNEXPECTED_MESSAGE))
                if header[1] != 3:
                    return NotTls("a record of an unknown TLS version", alert(Alert.PROTOCOL_VERSION))
                if length > _MAXIMUM_RECORD_BYTES:
                    return NotTls("a record that is too long", alert(Alert.RECORD_OVERFLOW))
                self._record_left = length
                self._at += 5
            fragment = received[self._at : self._at + self._record_left]
            if not fragment:
                break
            message += fragment
            self._at += len(fragment)
            self._record_left -= len(fragment)
            if len(message) >= 4:
                # A message of any size is refused by its first four bytes, not after its last.
                if message[0] != _CLIENT_HELLO_MESSAGE:
                    return NotTls("a handshake that does not begin with a ClientHello", alert(Alert.UNEXPECTED_MESSAGE))
                length = int.from_bytes(message[1:4], "big")
                if length + 4 > self._limit:
                    return self._too_long()
                if len(message) >= length + 4:
                    return _read_hello(bytes(message[4 : length + 4]))
            if self._at > self._limit:
                break
        return self._too_long() if len(received) > self._limit else _NEED_MORE

    def _too_long(self) -> NotTls:
        return NotTls(f"a ClientHello of more than {self._limit} bytes", alert(Alert.ILLEGAL_PARAMETER))


def _other_protocol(received: bytearray) -> Hello:
    """What a peer is whose first byte is not that of a handshake record."""
    beginning = bytes(received[: len(_HTTP2_PREFACE)])
    if beginning.startswith(_METHODS):
        return _PLAIN_HTTP
    if beginning == _HTTP2_PREFACE:
        return NotTls("HTTP/2 in the clear", b"")
    if any(known.startswith(beginning) for known in (*_METHODS, _HTTP2_PREFACE)):
        return _NEED_MORE
    if beginning[0] & 0x80 and beginning[2:3] in {b"", b"\x01"}:
        return NotTls("SSL 2", alert(Alert.PROTOCOL_VERSION))
    return NotTls("a protocol that is neither TLS nor HTTP", b"")


class _MalformedError(Exception):
    """Leaves the parser, never the module."""

    def __init__(self, reason: str, description: Alert = Alert.DECODE_ERROR) -> None:
        super().__init__(reason)
        self.reason = reason
        self.description = description


_PAST_END = "a ClientHello with a length past its end"
_beginning = struct.Struct(">H32xB").unpack_from
"""legacy_version, random, and the length of the session id."""
_length = struct.Struct(">H").unpack_from
_extension_header = struct.Struct(">HH").unpack_from
_name_header = struct.Struct(">HBH").unpack_from
"""The length of the list, a kind, and the length of the name."""


def _read_hello(body: bytes) -> ClientHello | NotTls:
    try:
        return _parse(body)
    except _MalformedError as error:
        return NotTls(error.reason, alert(error.description))
    except (struct.error, IndexError):  # a length was to be read where there is nothing
        return NotTls(_PAST_END, alert(Alert.DECODE_ERROR))


def _parse(body: bytes) -> ClientHello:
    legacy_version, session_id_bytes = _beginning(body)
    if session_id_bytes > 32:
        raise _MalformedError("a session id that is too long")
    at = 35 + session_id_bytes
    (suites_bytes,) = _length(body, at)
    if not suites_bytes or suites_bytes % 2:
        raise _MalformedError("a malformed list of cipher suites")
    at += 2 + suites_bytes
    methods_bytes = body[at]
    if not methods_bytes:
        raise _MalformedError("an empty list of compression methods")
    at += 1 + methods_bytes
    if at > len(body):
        raise _MalformedError(_PAST_END)
    extensions = _read_extensions(body, at) if at < len(body) else {}
    server_name = extensions.get(_SERVER_NAME_EXTENSION)
    alpn = extensions.get(_ALPN_EXTENSION)
    versions = extensions.get(_SUPPORTED_VERSIONS_EXTENSION)
    return ClientHello(
        "" if server_name is None else _server_name(server_name),
        () if alpn is None else _alpn(alpn),
        (legacy_version,) if versions is None else _versions(versions),
    )


def _read_extensions(body: bytes, at: int) -> dict[int, bytes]:
    """The extensions, which are all that is left of `body`."""
    (length,) = _length(body, at)
    at += 2
    end = len(body)
    if at + length != end:
        raise _MalformedError(_PAST_END if at + length > end else "bytes after the end of a ClientHello")
    extensions: dict[int, bytes] = {}
    while at < end:
        kind, length = _extension_header(body, at)
        if kind in extensions:
            raise _MalformedError("an extension twice", Alert.ILLEGAL_PARAMETER)
        at += 4
        extensions[kind] = body[at : at + length]
        at += length
    if at != end:
        raise _MalformedError(_PAST_END)
    return extensions


def _server_name(content: bytes) -> str:
    """The one host name of a server_name extension (RFC 6066, section 3)."""
    list_bytes, kind, name_bytes = _name_header(content)
    if kind != 0 or not name_bytes or list_bytes != name_bytes + 3 or len(content) != name_bytes + 5:
        raise _MalformedError("a server name extension without exactly one host name")
    name = content[5:].lower().removesuffix(b".")
    if _is_address(name):
        return ""
    if not _HOST_NAME.fullmatch(name):
        raise _MalformedError("a server name that is not a host name", Alert.UNRECOGNIZED_NAME)
    return name.decode("ascii")


def _is_address(name: bytes) -> bool:
    # An address is short and has a colon or ends in a digit; a host name's last label is never all digits.
    if len(name) > 47 or not (b":" in name or name[-1:].isdigit()):
        return False
    try:
        ipaddress.ip_address(name.decode("ascii").removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


def _alpn(content: bytes) -> tuple[bytes, ...]:
    """The names of an application_layer_protocol_negotiation extension (RFC 7301, section 3.1)."""
    (length,) = _length(content)
    at, end = 2, len(content)
    protocols = []
    while at < end:
        start = at + 1
        at = start + content[at]
        protocols.append(content[start:at])
    if at != end or length != end - 2 or not protocols or b"" in protocols:
        raise _MalformedError("a malformed ALPN extension")
    return tuple(protocols)


def _versions(content: bytes) -> tuple[int, ...]:
    """The list of a supported_versions extension (RFC 8446, section 4.2.1), without GREASE (RFC 8701)."""
    length = content[0]
    if not length or length % 2 or length != len(content) - 1:
        raise _MalformedError("a malformed list of TLS versions")
    numbers = struct.unpack(f">{length // 2}H", content[1:])
    return tuple([number for number in numbers if number & 0x0F0F != 0x0A0A])
