"""TLS as bytes: a ClientHello as wrong as one likes, and what a server answers before any key is in use.

Written after RFC 8446, sections 4 and 5, and RFC 5246, section 7.4. Nothing is encrypted here: in TLS 1.2 a server
shows its whole first flight in the clear, in TLS 1.3 its ServerHello, and that is enough to see what it chose.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

CHANGE_CIPHER_SPEC, ALERT, HANDSHAKE, APPLICATION_DATA, HEARTBEAT = range(20, 25)
CLIENT_HELLO, SERVER_HELLO, CERTIFICATE, SERVER_KEY_EXCHANGE, SERVER_HELLO_DONE = 1, 2, 11, 12, 14

SSL_3, TLS_1_0, TLS_1_1, TLS_1_2, TLS_1_3 = range(0x0300, 0x0305)
VERSIONS = {SSL_3: "SSL 3", TLS_1_0: "TLS 1.0", TLS_1_1: "TLS 1.1", TLS_1_2: "TLS 1.2", TLS_1_3: "TLS 1.3"}

SERVER_NAME, SUPPORTED_GROUPS, POINT_FORMATS, SIGNATURE_ALGORITHMS, ALPN = 0, 10, 11, 13, 16
EXTENDED_MASTER_SECRET, SESSION_TICKET, PRE_SHARED_KEY, EARLY_DATA, SUPPORTED_VERSIONS = 23, 35, 41, 42, 43
PSK_MODES, KEY_SHARE, RENEGOTIATION_INFO = 45, 51, 0xFF01
HEARTBEAT_EXTENSION = 15
RENEGOTIATION_SCSV, FALLBACK_SCSV = 0x00FF, 0x5600

HANDSHAKE_FAILURE, ILLEGAL_PARAMETER, DECODE_ERROR, PROTOCOL_VERSION = 40, 47, 50, 70
ALERTS = {
    0: "close_notify", 10: "unexpected_message", 20: "bad_record_mac", 21: "decryption_failed", 22: "record_overflow",
    40: "handshake_failure", 42: "bad_certificate", 47: "illegal_parameter", 50: "decode_error", 51: "decrypt_error",
    70: "protocol_version", 71: "insufficient_security", 80: "internal_error", 86: "inappropriate_fallback",
    90: "user_canceled", 100: "no_renegotiation", 109: "missing_extension", 110: "unsupported_extension",
    112: "unrecognized_name", 116: "certificate_required", 120: "no_application_protocol",
}  # fmt: skip

RETRY_RANDOM = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")
"""ServerHello.random of a HelloRetryRequest (RFC 8446, section 4.1.3)."""

SUITES_1_3 = (0x1301, 0x1302, 0x1303)
SUITES_1_2 = (0xC02B, 0xC02F, 0xC02C, 0xC030, 0xCCA9, 0xCCA8)
SIGNATURES = (0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0603, 0x0806, 0x0601)
P256, P384, P521, X25519, X448 = 23, 24, 25, 29, 30
GROUPS = (X25519, P256, P384)

# The generators of the curves: points that are on them, which is all that a share needs that is never used.
_P256_POINT = bytes.fromhex(
    "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
    "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
)
_P384_POINT = bytes.fromhex(
    "04aa87ca22be8b05378eb1c71ef320ad746e1d3b628ba79b9859f741e082542a385502f25dbf55296c3a545e3872760ab7"
    "3617de4a96262c6f5d9e98bf9292dc29f8f41dbd289a147ce9da3113b5f0b8c00a60b1ce1d7e819d7a431d7c90ea0e5f"
)
SHARES = {P256: _P256_POINT, P384: _P384_POINT, X25519: b"\x09" + bytes(31)}


def vector(content: bytes, length_bytes: int) -> bytes:
    """`content` behind its length."""
    return len(content).to_bytes(length_bytes, "big") + content


def numbers(values: Iterable[int]) -> bytes:
    """Each in two bytes."""
    return b"".join(value.to_bytes(2, "big") for value in values)


def record(kind: int, content: bytes, version: int = TLS_1_2) -> bytes:
    """One record in the clear."""
    return bytes((kind,)) + version.to_bytes(2, "big") + vector(content, 2)


def message(kind: int, content: bytes) -> bytes:
    """One handshake message."""
    return bytes((kind,)) + vector(content, 3)


def server_name(name: bytes, kind: int = 0) -> bytes:
    """The content of a server_name extension with one name."""
    return vector(bytes((kind,)) + vector(name, 2), 2)


def alpn(*protocols: bytes) -> bytes:
    """The content of an ALPN extension."""
    return vector(b"".join(vector(protocol, 1) for protocol in protocols), 2)


def key_shares(shares: Mapping[int, bytes]) -> bytes:
    """The content of a client's key_share extension."""
    return vector(b"".join(numbers((group,)) + vector(share, 2) for group, share in shares.items()), 2)


@dataclass(slots=True)
class Hello:
    """A ClientHello; whatever it holds is written as it is.

    Attributes:
        version: legacy_version.
        suites: cipher suites, in order.
        extensions: by number, in order; None in the place of all for a hello without the whole block.
        session_id: legacy_session_id.
        compressions: compression methods.
        random: 32 bytes.
    """

    version: int = TLS_1_2
    suites: Sequence[int] = SUITES_1_2
    extensions: dict[int, bytes] | None = field(default_factory=dict)
    session_id: bytes = b""
    compressions: bytes = b"\0"
    random: bytes = field(default_factory=lambda: os.urandom(32))

    def put(self, extension: int, content: bytes) -> Hello:
        """Add or replace an extension; returns self."""
        assert self.extensions is not None
        self.extensions[extension] = content
        return self

    def without(self, extension: int) -> Hello:
        """Leave an extension out; returns self."""
        assert self.extensions is not None
        self.extensions.pop(extension, None)
        return self

    def body(self) -> bytes:
        """Without the header of the message."""
        content = self.version.to_bytes(2, "big") + self.random + vector(self.session_id, 1)
        content += vector(numbers(self.suites), 2) + vector(self.compressions, 1)
        if self.extensions is not None:
            block = b"".join(numbers((kind,)) + vector(value, 2) for kind, value in self.extensions.items())
            content += vector(block, 2)
        return content

    def record(self, version: int = TLS_1_0) -> bytes:
        """The whole in one record."""
        return record(HANDSHAKE, message(CLIENT_HELLO, self.body()), version)


def hello_1_2(name: str = "", *, suites: Sequence[int] = SUITES_1_2) -> Hello:
    """What a good client of TLS 1.2 sends; without ALPN."""
    extensions = {SERVER_NAME: server_name(name.encode("idna"))} if name else {}
    extensions |= {
        SUPPORTED_GROUPS: vector(numbers(GROUPS), 2),
        POINT_FORMATS: b"\x01\x00",
        SIGNATURE_ALGORITHMS: vector(numbers(SIGNATURES), 2),
        EXTENDED_MASTER_SECRET: b"",
        RENEGOTIATION_INFO: b"\x00",
    }
    return Hello(suites=suites, extensions=extensions)


def hello_1_3(
    name: str = "", *, groups: Sequence[int] = GROUPS, shares: Mapping[int, bytes] | None = None,
    suites: Sequence[int] = SUITES_1_3, versions: Sequence[int] = (TLS_1_3,),
) -> Hello:  # fmt: skip
    """What a good client of TLS 1.3 sends; without ALPN. `shares` has the key shares, one of X25519 if it is None."""
    extensions = {SERVER_NAME: server_name(name.encode("idna"))} if name else {}
    extensions |= {
        SUPPORTED_GROUPS: vector(numbers(groups), 2),
        SIGNATURE_ALGORITHMS: vector(numbers(SIGNATURES), 2),
        SUPPORTED_VERSIONS: vector(numbers(versions), 1),
        PSK_MODES: b"\x01\x01",
        KEY_SHARE: key_shares({X25519: SHARES[X25519], P256: SHARES[P256]} if shares is None else shares),
    }
    return Hello(suites=suites, extensions=extensions, session_id=os.urandom(32))


@dataclass(slots=True)
class ServerHello:
    """What the server chose."""

    version: int
    random: bytes
    session_id: bytes
    suite: int
    compression: int
    extensions: dict[int, bytes]

    @property
    def chosen_version(self) -> int:
        """The version in truth: that of the extension, where there is one."""
        chosen = self.extensions.get(SUPPORTED_VERSIONS)
        return self.version if chosen is None else int.from_bytes(chosen, "big")

    @property
    def retry(self) -> bool:
        """It is a HelloRetryRequest."""
        return self.random == RETRY_RANDOM

    @property
    def group(self) -> int:
        """Of the key share; 0 without one."""
        return int.from_bytes(self.extensions.get(KEY_SHARE, b"")[:2], "big")


class Reader:
    """Takes vectors from `data`; ValueError at its end."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def take(self, count: int) -> bytes:
        """So many bytes."""
        if count > len(self.data):
            raise ValueError("a length goes past the end")
        taken, self.data = self.data[:count], self.data[count:]
        return taken

    def number(self, count: int) -> int:
        """An integer of so many bytes."""
        return int.from_bytes(self.take(count), "big")

    def vector(self, length_bytes: int) -> bytes:
        """What is behind a length of so many bytes."""
        return self.take(self.number(length_bytes))


def read_server_hello(body: bytes) -> ServerHello:
    """Read a ServerHello.

    Errors: ValueError for one that breaks the format.
    """
    reader = Reader(body)
    version, random, session_id = reader.number(2), reader.take(32), reader.vector(1)
    suite, compression = reader.number(2), reader.number(1)
    extensions: dict[int, bytes] = {}
    if reader.data:
        block = Reader(reader.vector(2))
        while block.data:
            kind = block.number(2)
            if kind in extensions:
                raise ValueError(f"extension {kind} is there twice")
            extensions[kind] = block.vector(2)
    if reader.data:
        raise ValueError("bytes follow its end")
    return ServerHello(version, random, session_id, suite, compression, extensions)


@dataclass(slots=True)
class Flight:
    """What came in answer to a ClientHello, as far as it can be read.

    Attributes:
        server_hello: None if none came.
        alert: description of the fatal alert; None if none came.
        warnings: descriptions of alerts that were not fatal.
        messages: bodies of the handshake messages in the clear, by type.
        records: types of all records.
        ended: how the connection ended, for people; empty if it did not.
        strange: bytes that are no TLS.
    """

    server_hello: ServerHello | None = None
    alert: int | None = None
    warnings: list[int] = field(default_factory=list)
    messages: dict[int, bytes] = field(default_factory=dict)
    records: list[int] = field(default_factory=list)
    ended: str = ""
    strange: bytes = b""
    _buffer: bytes = b""
    _handshake: bytes = b""

    @property
    def complete(self) -> bool:
        """Nothing more will come in the clear."""
        if self.alert is not None or self.ended or self.strange:
            return True
        hello = self.server_hello
        return hello is not None and (hello.chosen_version >= TLS_1_3 or SERVER_HELLO_DONE in self.messages)

    @property
    def refused(self) -> bool:
        """The server did not go on; some (Go's) think better of it after their ServerHello of TLS 1.2."""
        return self.alert is not None or (self.server_hello is None and bool(self.ended))

    @property
    def words(self) -> str:
        """For people."""
        hello = self.server_hello
        if self.alert is not None:
            return f"alert {ALERTS.get(self.alert, self.alert)}"
        if hello is not None:
            version = VERSIONS.get(hello.chosen_version, hex(hello.chosen_version))
            return f"{'HelloRetryRequest' if hello.retry else 'ServerHello'}, {version}, suite {hello.suite:04x}"
        if self.strange:
            return f"no TLS, but {self.strange[:40]!r}"
        return self.ended or "nothing"

    def feed(self, data: bytes) -> None:
        """Take the next bytes.

        Errors: ValueError for what breaks the format.
        """
        self._buffer += data
        while len(self._buffer) >= 5 and not self.complete:
            kind, length = self._buffer[0], int.from_bytes(self._buffer[3:5], "big")
            if not CHANGE_CIPHER_SPEC <= kind <= HEARTBEAT or self._buffer[1] != 3:
                self.strange = self._buffer
                return
            if len(self._buffer) < 5 + length:
                return
            content, self._buffer = self._buffer[5 : 5 + length], self._buffer[5 + length :]
            self.records.append(kind)
            if kind == ALERT and len(content) == 2:
                self._take_alert(content)
            elif kind == HANDSHAKE:
                self._take_handshake(content)

    def _take_alert(self, content: bytes) -> None:
        if content[0] == 1 and content[1] != 0:
            self.warnings.append(content[1])
        else:
            self.alert = content[1]

    def _take_handshake(self, content: bytes) -> None:
        self._handshake += content
        while len(self._handshake) >= 4:
            length = int.from_bytes(self._handshake[1:4], "big")
            if len(self._handshake) < 4 + length:
                return
            kind, body = self._handshake[0], self._handshake[4 : 4 + length]
            self._handshake = self._handshake[4 + length :]
            self.messages[kind] = body
            if kind == SERVER_HELLO:
                self.server_hello = read_server_hello(body)

    # What TLS 1.2 shows

    def certificates(self) -> list[bytes]:
        """The chain of TLS 1.2 in DER form; empty if none came.

        Errors: ValueError.
        """
        found = []
        if CERTIFICATE in self.messages:
            chain = Reader(Reader(self.messages[CERTIFICATE]).vector(3))
            while chain.data:
                found.append(chain.vector(3))
        return found

    def exchange(self) -> tuple[int, int]:
        """(group, signature scheme) of an ECDHE ServerKeyExchange of TLS 1.2.

        Errors: ValueError if there is none, or it breaks the format.
        """
        reader = Reader(self.messages.get(SERVER_KEY_EXCHANGE, b""))
        if reader.number(1) != 3:
            raise ValueError("the curve has no name")
        group = reader.number(2)
        reader.vector(1)
        return group, reader.number(2)

    def prime_bits(self) -> int:
        """The size of the prime of a DHE ServerKeyExchange.

        Errors: ValueError.
        """
        reader = Reader(self.messages.get(SERVER_KEY_EXCHANGE, b""))
        return int.from_bytes(reader.vector(2), "big").bit_length()
