"""The ClientHello and the records around it: form, extensions, compression (RFC 8446, sections 4.1.2, 4.2, 5, 6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from securelight.conformance import tls_records as tls
from securelight.conformance.case import Failed, Skipped, Topic
from securelight.conformance.tls_questions import (
    accepts,
    flight_on,
    name_of,
    offer,
    refuses,
    spoken,
    was_refused,
    went_on,
)

if TYPE_CHECKING:
    from securelight.conformance.case import Question
    from securelight.conformance.dial import Dial
    from securelight.conformance.tls_records import Hello

FORM = Topic(
    "The form of the ClientHello",
    rfc=8446,
    why="A parser that reads past a length or guesses is where memory leaks and state machines break (Heartbleed).",
    cure="Refuse what breaks the format with decode_error or illegal_parameter, before anything is done with it.",
)
EXTENSIONS = Topic(
    "Extensions of TLS 1.2",
    rfc=5746,
    why="Without these two, an attacker can put a request before that of a client (RFC 5746), or join two sessions "
    "into one (RFC 7627); compression gives away cookies (CRIME).",
    cure="Answer renegotiation_info and extended_master_secret, choose no compression, and nothing not offered.",
)
RECORDS = Topic(
    "Records before the handshake",
    rfc=8446,
    why="What is no handshake must end at once: each state that is left open is memory for an attacker.",
    cure="End such connections with unexpected_message, record_overflow or decode_error.",
)


CRLF = b"\r\n"


def _cut(name: str) -> bytes:
    body = tls.hello_1_3(name).body()[:-7]
    return tls.record(tls.HANDSHAKE, tls.message(tls.CLIENT_HELLO, body))


def _longer(name: str) -> bytes:
    body = tls.hello_1_3(name).body() + b"\0\0\0"
    return tls.record(tls.HANDSHAKE, tls.message(tls.CLIENT_HELLO, body))


def _raw_body(change: tuple[bytes, bytes]) -> bytes:
    before, after = change
    body = tls.hello_1_3().body()
    assert before in body
    return tls.record(tls.HANDSHAKE, tls.message(tls.CLIENT_HELLO, body.replace(before, after, 1)))


def _with(hello: Hello, **changes: bytes) -> Hello:
    for name, value in changes.items():
        setattr(hello, name, value)
    return hello


def _twice(name: str) -> bytes:
    body = tls.hello_1_3(name).body()
    extensions = tls.hello_1_3(name).extensions or {}
    length = len(body) - sum(4 + len(value) for value in extensions.values())
    head, block = body[: length - 2], body[length:]
    twice = block + tls.numbers((tls.PSK_MODES, 2)) + b"\x01\x01"
    return tls.record(tls.HANDSHAKE, tls.message(tls.CLIENT_HELLO, head + tls.vector(twice, 2)))


def _odd_suites(_: str) -> bytes:
    suites = tls.vector(tls.numbers(tls.SUITES_1_3), 2)
    return _raw_body((suites, tls.vector(tls.numbers(tls.SUITES_1_3) + b"\x13", 2)))


FORM.must("tls/4.1.2/cut", "A ClientHello whose extensions end too early")(refuses(_cut))
FORM.must("tls/4.1.2/longer", "A ClientHello with bytes after its extensions")(refuses(_longer))
FORM.must("tls/4.1.2/odd-suites", "A list of suites of an odd number of bytes")(refuses(_odd_suites))
FORM.must("tls/4.1.2/no-suites", "An empty list of suites")(refuses(lambda name: tls.hello_1_3(name, suites=())))
FORM.must("tls/4.1.2/no-compression", "An empty list of compression methods")(
    refuses(lambda name: _with(tls.hello_1_3(name), compressions=b""))
)
FORM.must("tls/4.1.2/compression", "TLS 1.3 with compression methods besides null")(
    refuses(lambda name: _with(tls.hello_1_3(name), compressions=b"\0\1"), tls.ILLEGAL_PARAMETER, version=tls.TLS_1_3)
)
FORM.must("tls/4.1.2/compression-only", "Compression without the method null")(
    refuses(lambda name: _with(tls.hello_1_2(name), compressions=b"\1"))
)
FORM.must("tls/4.1.2/long-session-id", "A session id of 33 bytes")(
    refuses(lambda name: _with(tls.hello_1_3(name), session_id=bytes(33)))
)
FORM.must("tls/4.2/twice", "An extension twice")(refuses(_twice))
FORM.must("tls/4.2.8/bad-share-length", "A key share whose length goes past the end")(
    refuses(lambda name: tls.hello_1_3(name).put(tls.KEY_SHARE, b"\0\x24\0\x1d\0\x40" + bytes(32)), version=tls.TLS_1_3)
)
FORM.must("tls/4.2.7/odd-groups", "supported_groups of an odd number of bytes")(
    refuses(lambda name: tls.hello_1_3(name).put(tls.SUPPORTED_GROUPS, b"\0\x03\0\x1d\0"), version=tls.TLS_1_3)
)
FORM.must("tls/4.2.3/odd-signatures", "signature_algorithms of an odd number of bytes")(
    refuses(lambda name: tls.hello_1_3(name).put(tls.SIGNATURE_ALGORITHMS, b"\0\x03\4\3\0"), version=tls.TLS_1_3)
)


def _psk() -> bytes:
    identity = tls.vector(bytes(range(32)), 2) + bytes(4)
    return tls.vector(identity, 2) + tls.vector(tls.vector(bytes(32), 1), 2)


def _psk_first(name: str) -> Hello:
    hello = tls.hello_1_3(name)
    hello.extensions = {tls.PRE_SHARED_KEY: _psk()} | (hello.extensions or {})
    return hello


FORM.must("tls/4.2.11/psk-not-last", "pre_shared_key before other extensions")(refuses(_psk_first, version=tls.TLS_1_3))


def _unknown_psk(name: str) -> Hello:
    return tls.hello_1_3(name).put(tls.PRE_SHARED_KEY, _psk())


@FORM.must("tls/4.2.11/unknown-psk", "A pre-shared key that the server does not know")
async def unknown_psk(dial: Dial) -> str:
    """It goes on with a full handshake."""
    await spoken(dial, tls.TLS_1_3)
    if tls.PRE_SHARED_KEY in went_on(await offer(dial, _unknown_psk(name_of(dial)))).extensions:
        raise Failed("the server took a key that it cannot know")
    return "a full handshake"


@FORM.must("tls/4.2.10/early-data", "Early data below a key that the server does not know")
async def early_data(dial: Dial) -> str:
    """It is dropped unread, and the handshake goes on; whoever takes it can be made to take it twice."""
    await spoken(dial, tls.TLS_1_3)
    hello = tls.hello_1_3(name_of(dial)).put(tls.EARLY_DATA, b"").put(tls.PRE_SHARED_KEY, _psk())
    data = hello.record() + tls.record(tls.APPLICATION_DATA, bytes(64))
    flight = await offer(dial, data)
    if tls.PRE_SHARED_KEY in went_on(flight).extensions:
        raise Failed("the server took a key that it cannot know")
    return flight.words


def _many_extensions(name: str) -> Hello:
    hello = tls.hello_1_3(name)
    for number in range(200):
        hello.put(0x4000 + number, bytes(8))
    return hello


FORM.must("tls/4.2/many", "Two hundred unknown extensions beside good ones")(accepts(_many_extensions, tls.TLS_1_3))
FORM.must("tls/4.2/padding", "A ClientHello of 600 bytes, with padding", rfc=7685, section="3")(
    accepts(lambda name: tls.hello_1_3(name).put(21, bytes(400)), tls.TLS_1_3)
)


def _pieces(name: str) -> bytes:
    whole = tls.message(tls.CLIENT_HELLO, tls.hello_1_3(name).body())
    return b"".join(tls.record(tls.HANDSHAKE, whole[at : at + 50]) for at in range(0, len(whole), 50))


FORM.must("tls/5.1/pieces", "A ClientHello in records of 50 bytes", section="5.1")(accepts(_pieces, tls.TLS_1_3))


@FORM.must("tls/5.1/segments", "A ClientHello in seven TCP segments", section="5.1")
async def segments(dial: Dial) -> str:
    """Records have nothing to do with segments."""
    await spoken(dial, tls.TLS_1_3)
    wire = await dial.tcp()
    data = tls.hello_1_3(name_of(dial)).record()
    for at in (0, 1, 4, 6, 20, 90):
        end = {0: 1, 1: 4, 4: 6, 6: 20, 20: 90, 90: len(data) - 1}[at]
        await wire.send(data[at:end], "a part of a ClientHello")
    flight = await flight_on(dial, wire, data[-1:], "the last byte")
    return f"{went_on(flight).suite:04x}"


# TLS 1.2


@EXTENSIONS.must("tls/5746-3.6/renegotiation-info", "renegotiation_info is answered in TLS 1.2", section="3.6")
async def renegotiation_info(dial: Dial) -> str:
    """With an empty value."""
    content = went_on(await spoken(dial, tls.TLS_1_2)).extensions.get(tls.RENEGOTIATION_INFO)
    if content != b"\0":
        raise Failed("it is missing" if content is None else f"it holds {content.hex()}")
    return "with an empty value"


@EXTENSIONS.must("tls/5746-3.6/signal", "The signal 00ff in its place is answered too", section="3.6")
async def signal(dial: Dial) -> str:
    """By renegotiation_info."""
    await spoken(dial, tls.TLS_1_2)
    hello = tls.hello_1_2(name_of(dial), suites=(*tls.SUITES_1_2, tls.RENEGOTIATION_SCSV))
    answer = went_on(await offer(dial, hello.without(tls.RENEGOTIATION_INFO)))
    if tls.RENEGOTIATION_INFO not in answer.extensions:
        raise Failed("renegotiation_info is missing")
    return "with renegotiation_info"


EXTENSIONS.must("tls/5746-3.6/wrong-info", "renegotiation_info that is not empty in a first handshake", section="3.6")(
    refuses(lambda name: tls.hello_1_2(name).put(tls.RENEGOTIATION_INFO, b"\x0c" + bytes(12)), version=tls.TLS_1_2)
)


@EXTENSIONS.should("tls/7627-5.1/extended-master-secret", "extended_master_secret is answered", rfc=7627, section="5.1")
async def extended_master_secret(dial: Dial) -> str:
    """It binds the session to this handshake."""
    if tls.EXTENDED_MASTER_SECRET not in went_on(await spoken(dial, tls.TLS_1_2)).extensions:
        raise Failed("it is missing")
    return "answered"


@EXTENSIONS.must("tls/9325-3.3/compression", "TLS 1.2 with compression offered", rfc=9325, section="3.3")
async def compression(dial: Dial) -> str:
    """None is chosen."""
    await spoken(dial, tls.TLS_1_2)
    hello = _with(tls.hello_1_2(name_of(dial)), compressions=b"\1\0")
    chosen = went_on(await offer(dial, hello)).compression
    if chosen:
        raise Failed(f"compression method {chosen} was chosen")
    return "none"


@EXTENSIONS.must("tls/5246-7.4.1.4/nothing-else", "The ServerHello has no extension that was not offered",
                 rfc=5246, section="7.4.1.4")  # fmt: skip
async def nothing_else(dial: Dial) -> str:
    """Clients must break off."""
    await spoken(dial, tls.TLS_1_2)
    hello = tls.hello_1_2(name_of(dial)).without(tls.EXTENDED_MASTER_SECRET)
    strange = set(went_on(await offer(dial, hello)).extensions) - set(hello.extensions or {})
    if strange:
        raise Failed(f"extensions {sorted(strange)} were not offered")
    return "none"


@EXTENSIONS.should("tls/9325-3/heartbeat", "Heartbeats are offered", rfc=6520, section="2")
async def heartbeat(dial: Dial) -> str:
    """Nobody needs them, and they have leaked keys (CVE-2014-0160)."""
    await spoken(dial, tls.TLS_1_2)
    flight = await offer(dial, tls.hello_1_2(name_of(dial)).put(tls.HEARTBEAT_EXTENSION, b"\1"))
    if tls.HEARTBEAT_EXTENSION in went_on(flight).extensions:
        raise Failed("the server takes heartbeats")
    return "not answered"


# Records


def _first(data: bytes) -> Question:
    async def question(dial: Dial) -> str:
        flight = await offer(dial, data)
        if flight.strange.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4")):
            return f"refused with {flight.strange.partition(CRLF)[0]!r}"  # it took that for a request: as good
        return was_refused(flight)

    return question


RECORDS.must("tls/5.1/unknown-type", "A record of a type that nobody knows")(_first(tls.record(99, bytes(16))))
RECORDS.must("tls/5/data-first", "Application data before any handshake", section="5")(
    _first(tls.record(tls.APPLICATION_DATA, b"GET / HTTP/1.1\r\n\r\n"))
)
RECORDS.must("tls/5/change-cipher-spec-first", "change_cipher_spec before any handshake", section="5")(
    _first(tls.record(tls.CHANGE_CIPHER_SPEC, b"\1") * 2 + tls.record(tls.APPLICATION_DATA, bytes(32)))
)
RECORDS.must("tls/4/server-hello-first", "A ServerHello from the client", section="4")(
    _first(tls.record(tls.HANDSHAKE, tls.message(tls.SERVER_HELLO, bytes(38))))
)
RECORDS.must("tls/4/finished-first", "Finished before any handshake", section="4")(
    _first(tls.record(tls.HANDSHAKE, tls.message(20, bytes(12))))
)
RECORDS.must("tls/5.1/empty-handshake", "A handshake record without content")(
    _first(tls.record(tls.HANDSHAKE, b"") * 40)
)
RECORDS.must("tls/5.1/record-too-long", "A record of 18,000 bytes before any handshake")(
    _first(tls.record(tls.HANDSHAKE, tls.message(1, bytes(17_996))))
)
RECORDS.must("tls/6/alert-first", "A fatal alert before any handshake", section="6.2")(
    _first(tls.record(tls.ALERT, b"\2\x28"))
)


@RECORDS.must("tls/6520-4/heartbleed", "A heartbeat that claims more than it has, after the ServerHello",
              rfc=6520, section="4")  # fmt: skip
async def heartbleed(dial: Dial) -> str:
    """No answer may hold what was not sent (CVE-2014-0160)."""
    await spoken(dial, tls.TLS_1_2)
    wire = await dial.tcp()
    hello = tls.hello_1_2(name_of(dial)).put(tls.HEARTBEAT_EXTENSION, b"\1")
    went_on(await flight_on(dial, wire, hello.record(), "ClientHello with heartbeat"))
    await wire.send(tls.record(tls.HEARTBEAT, b"\1\x40\0"), "heartbeat request of 16,384 bytes that has none")
    received = b""
    with trio.move_on_after(dial.patience.silence):
        while data := await wire.receive():
            received += data
    if received[:1] == bytes((tls.HEARTBEAT,)):
        raise Failed(f"the server answered with {len(received)} bytes of its memory")
    return wire.end_words or "no answer"


@RECORDS.must("tls/5.1/interleaved", "Application data between two parts of a ClientHello")
async def interleaved(dial: Dial) -> str:
    """Handshake messages that span records are not to be interrupted."""
    whole = tls.message(tls.CLIENT_HELLO, tls.hello_1_3(name_of(dial)).body())
    data = tls.record(tls.HANDSHAKE, whole[:40]) + tls.record(tls.APPLICATION_DATA, bytes(32))
    return was_refused(await offer(dial, data + tls.record(tls.HANDSHAKE, whole[40:])))


_PAGE_STATUS = (b" 200 ", b" 204 ", b" 206 ", b" 304 ")


async def _clear(dial: Dial, data: bytes) -> bytes:
    if not dial.target.tls:
        raise Skipped("the server has no TLS")
    wire = await dial.tcp()
    await wire.send(data)
    received = b""
    with trio.move_on_after(dial.patience.answer) as scope:
        while len(received) < 100_000 and (part := await wire.receive()):
            received += part
    if scope.cancelled_caught and not received:
        raise Failed(f"no answer, and no end of the connection, within {dial.patience.answer:g} s")
    return received


@RECORDS.must("tls/9110-4.2.2/http", "A request of HTTP without TLS on the port of TLS", rfc=9110, section="4.2.2")
async def http(dial: Dial) -> str:
    """It may be told so, or dropped; the page is not for it."""
    target = dial.target
    asked = f"GET {target.path} HTTP/1.1\r\nHost: {target.authority}\r\nConnection: close\r\n\r\n".encode()
    received = await _clear(dial, asked)
    line = received.partition(b"\r\n")[0]
    if line.startswith(b"HTTP/") and any(status in line + b" " for status in _PAGE_STATUS):
        raise Failed(f"the page was given in the clear: {line!r}")
    return f"answered with {line[:60]!r}" if line else "dropped"


@RECORDS.must("tls/9113-3.3/http2", "HTTP/2 without TLS on the port of TLS", rfc=9113, section="3.3")
async def http2(dial: Dial) -> str:
    """No SETTINGS may come."""
    received = await _clear(dial, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0)))
    if received[3:4] == b"\4" and received[:1] == b"\0":
        raise Failed("HTTP/2 is spoken in the clear")
    return f"answered with {received[:20]!r}" if received else "dropped"


@RECORDS.must("tls/5/other-protocol", "A client of SSH on the port of TLS", section="5")
async def other_protocol(dial: Dial) -> str:
    """It is dropped, with or without a word."""
    received = await _clear(dial, b"SSH-2.0-OpenSSH_9.2\r\n" + bytes(16))
    return f"answered with {received[:20]!r}" if received else "dropped"


@RECORDS.should("tls/5/proxy-header", "A header of the PROXY protocol from a stranger, then a ClientHello", section="5")
async def proxy_header(dial: Dial) -> str:
    """Whoever believes it lets any client choose its address."""
    header = b"PROXY TCP4 192.0.2.1 192.0.2.2 1234 443\r\n"
    received = await _clear(dial, header + tls.hello_1_3(name_of(dial)).record())
    if received[:1] == bytes((tls.HANDSHAKE,)):
        raise Failed("the header was believed")
    return "refused"


@RECORDS.must("tls/6.1/end-at-once", "The client ends the connection before it sends anything", section="6.1")
async def end_at_once(dial: Dial) -> str:
    """The server ends it too."""
    wire = await dial.tcp()
    await wire.end_input()
    if not await wire.until_end(dial.patience.answer):
        raise Failed(f"the connection is still open after {dial.patience.answer:g} s")
    return wire.end_words


@RECORDS.must("tls/6.1/end-in-hello", "The client ends the connection in the middle of a ClientHello", section="6.1")
async def end_in_hello(dial: Dial) -> str:
    """The server ends it too."""
    wire = await dial.tcp()
    await wire.send(tls.hello_1_3(name_of(dial)).record()[:60])
    await wire.end_input()
    if not await wire.until_end(dial.patience.answer):
        raise Failed(f"the connection is still open after {dial.patience.answer:g} s")
    return wire.end_words
