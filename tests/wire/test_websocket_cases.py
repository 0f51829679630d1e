"""RFC 6455 and RFC 7692 frame by frame: what a server has to answer, on both protocols and both engines.

Each row is what a client sends after the handshake to an application that echoes, and what it gets back before the end.
The Autobahn suite asks much the same over HTTP/1.1 (tests/peers/test_autobahn.py); this list is written from the RFCs.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.wire.clients import Http1, Http2
from tests.wire.server_process import ServerProcess, serving, write_config
from tests.wire.websocket_client import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    RSV1,
    RSV2,
    RSV3,
    TEXT,
    Received,
    close,
    frame,
    open_websocket,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.certificates import TestCertificates

HERE = Path(__file__).parent
SITE = f"""
[site.asgi]
app = "websocket_apps:bare"
app_directory = "{HERE}"
"""
MESSAGE_BYTES = 200_000
MESSAGE_FRAMES = 50
LIMITS = f"""
websocket_message_bytes = {MESSAGE_BYTES}
websocket_message_frames = {MESSAGE_FRAMES}
"""
DEFLATE = {"sec-websocket-extensions": "permessage-deflate; client_max_window_bits"}


@pytest.fixture(scope="module")
def server(
    engine: str, tmp_path_factory: pytest.TempPathFactory, certificates: TestCertificates
) -> Iterator[ServerProcess]:
    """An application that echoes."""
    directory = tmp_path_factory.mktemp(f"websocket-cases-{engine}")
    write_config(directory, certificates, SITE, engine=engine, limits=LIMITS)
    with serving(directory) as process:
        yield process


@pytest.fixture(scope="module")
def http2(server: ServerProcess, certificates: TestCertificates) -> Iterator[Http2]:
    """One connection: each case is a stream of it."""
    client = Http2(server.port, certificates.ca)
    yield client
    client.close()


@pytest.fixture(params=["h1", "h2"])
def client(
    request: pytest.FixtureRequest, server: ServerProcess, certificates: TestCertificates
) -> Iterator[Http1 | Http2]:
    """A connection to it; that of HTTP/2 is shared, so that a case which broke it would break the next ones too."""
    if request.param == "h2":
        yield request.getfixturevalue("http2")
        return
    made = Http1(server.port, certificates.ca)
    yield made
    made.close()


def text(data: bytes) -> Received:
    return Received(TEXT, data)


def binary(data: bytes) -> Received:
    return Received(BINARY, data)


def deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return (packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]


def inflated(data: bytes) -> bytes:
    return zlib.decompressobj(-15).decompress(data + b"\x00\x00\xff\xff")


Case = tuple[str, list[bytes], list[Received], int | None]
"""Its name, the frames sent, those that come back before a Close, and the code of that Close."""


def good(name: str, sent: list[bytes], expected: list[Received]) -> Case:
    """Answered by `expected`; the connection goes on."""
    return name, sent, expected, 1000


def bad(name: str, sent: list[bytes], code: int = 1002) -> Case:
    """Answered by a Close alone."""
    return name, sent, [], code


def closed(name: str, sent: list[bytes], code: int | None) -> Case:
    """The client closes, and gets its Close back."""
    return name, sent, [], code


SIZES = (0, 1, 125, 126, 127, 128, 65_535, 65_536, 65_537, MESSAGE_BYTES)
LONG = b"0123456789" * 13
FRAMING: list[Case] = [
    *(good(f"text of {size} bytes", [frame(TEXT, b"*" * size)], [text(b"*" * size)]) for size in SIZES),
    *(good(f"binary of {size} bytes", [frame(BINARY, b"\xfe" * size)], [binary(b"\xfe" * size)]) for size in SIZES),
    good("all mask bytes zero", [frame(TEXT, b"abc", mask=b"\0\0\0\0")], [text(b"abc")]),
    good("many messages", [frame(TEXT, b"%d" % number) for number in range(100)],
         [text(b"%d" % number) for number in range(100)]),
    bad("no mask", [frame(TEXT, b"abc", mask=None)]),
    bad("no mask on a ping", [frame(PING, b"abc", mask=None)]),
    bad("length of 5 in 2 bytes", [frame(TEXT, b"abcde", length_bytes=2)]),
    bad("length of 125 in 2 bytes", [frame(TEXT, b"x" * 125, length_bytes=2)]),
    bad("length of 5 in 8 bytes", [frame(TEXT, b"abcde", length_bytes=8)]),
    bad("length of 65535 in 8 bytes", [frame(TEXT, b"x" * 65_535, length_bytes=8)]),
    bad("length with its first bit set", [frame(BINARY, b"", length=1 << 63)]),
    *(bad(f"RSV {rsv:#x} on opcode {opcode}", [frame(opcode, b"abc", rsv=rsv)])
      for rsv in (RSV1, RSV2, RSV3, RSV1 | RSV2 | RSV3) for opcode in (TEXT, BINARY, PING, PONG, CLOSE)),
    *(bad(f"reserved opcode {opcode}", [frame(opcode, b"abc")]) for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)),
    *(bad(f"reserved opcode {opcode}, empty", [frame(opcode)]) for opcode in (3, 7, 11, 15)),
]  # fmt: skip
UMLAUTS = b"x" + "ü".encode() * 40_000
BORDERS = (125, 126, 127, 65_535, 65_536)
FRAGMENTS: list[Case] = [
    *(good(f"two fragments of {size} bytes", [frame(BINARY, b"\xfe" * size, fin=False),
                                             frame(CONTINUATION, b"\xfd" * size)],
           [binary(b"\xfe" * size + b"\xfd" * size)]) for size in BORDERS),
    *(good(f"text cut in a character after {size} bytes", [frame(TEXT, UMLAUTS[:size], fin=False),
                                                          frame(CONTINUATION, UMLAUTS[size:])],
           [text(UMLAUTS)]) for size in (2, 126, 65_536)),
    good("two fragments", [frame(TEXT, b"ab", fin=False), frame(CONTINUATION, b"cd")], [text(b"abcd")]),
    good("three binary fragments", [frame(BINARY, b"a", fin=False), frame(CONTINUATION, b"b", fin=False),
                                    frame(CONTINUATION, b"c")], [binary(b"abc")]),
    good("empty fragments", [frame(TEXT, fin=False), frame(CONTINUATION, fin=False), frame(CONTINUATION)],
         [text(b"")]),
    good("only the middle has content", [frame(TEXT, fin=False), frame(CONTINUATION, b"x", fin=False),
                                         frame(CONTINUATION)], [text(b"x")]),
    good("a ping in between", [frame(TEXT, b"ab", fin=False), frame(PING, b"p"), frame(CONTINUATION, b"cd")],
         [Received(PONG, b"p"), text(b"abcd")]),
    good("a pong in between", [frame(TEXT, b"ab", fin=False), frame(PONG, b"p"), frame(CONTINUATION, b"cd")],
         [text(b"abcd")]),
    good("as many fragments as are allowed",
         [frame(TEXT, b"a", fin=False), *[frame(CONTINUATION, b"a", fin=False)] * (MESSAGE_FRAMES - 2),
          frame(CONTINUATION, b"a")], [text(b"a" * MESSAGE_FRAMES)]),
    closed("a close in between", [frame(TEXT, b"ab", fin=False), close(1000)], 1000),
    bad("a continuation of nothing", [frame(CONTINUATION, b"abc")]),
    bad("a continuation of nothing, to go on", [frame(CONTINUATION, b"abc", fin=False)]),
    bad("a continuation after the end", [frame(TEXT, b"ab", fin=False), frame(CONTINUATION, b"c", fin=False),
                                         frame(TEXT, b"d")]),
    bad("text within text", [frame(TEXT, b"ab", fin=False), frame(TEXT, b"cd")]),
    bad("binary within text", [frame(TEXT, b"ab", fin=False), frame(BINARY, b"cd")]),
    bad("text within binary", [frame(BINARY, b"ab", fin=False), frame(TEXT, b"cd", fin=False)]),
    bad("a fragment too many", [frame(TEXT, fin=False), *[frame(CONTINUATION, fin=False)] * MESSAGE_FRAMES], 1008),
]  # fmt: skip
CONTROL: list[Case] = [
    *(good(f"ping of {size} bytes", [frame(PING, b"\xff" * size)], [Received(PONG, b"\xff" * size)])
      for size in (0, 1, 125)),
    good("ten pings", [frame(PING, b"%d" % number) for number in range(10)],
         [Received(PONG, b"%d" % number) for number in range(10)]),
    good("a pong that nobody asked for", [frame(PONG, b"x"), frame(TEXT, b"on")], [text(b"on")]),
    good("an empty pong", [frame(PONG), frame(TEXT, b"on")], [text(b"on")]),
    *(bad(f"control frame {opcode} of 126 bytes", [frame(opcode, b"x" * 126)]) for opcode in (PING, PONG, CLOSE)),
    *(bad(f"control frame {opcode} in fragments", [frame(opcode, b"x", fin=False), frame(CONTINUATION)])
      for opcode in (PING, PONG, CLOSE)),
    closed("close without a code", [close()], None),
    closed("nothing is heard after close", [close(1000), frame(PING, b"x"), frame(TEXT, b"y")], 1000),
    closed("close, then junk", [close(1000), b"\xff\xff\xff\xff"], 1000),
    *(closed(f"close with {code}", [close(code)], code)
      for code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 3000, 3999, 4000, 4999)),
    *(bad(f"close with {code}", [close(code)])
      for code in (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535)),
    closed("close with a reason", [close(1000, "grüße".encode())], 1000),
    closed("close with the longest reason", [close(1000, b"x" * 123)], 1000),
    bad("close of one byte", [frame(CLOSE, b"\x03")]),
    bad("close whose reason is not UTF-8", [close(1000, b"\xff\xfe")], 1007),
    bad("close whose reason is cut in a character", [close(1000, "ü".encode()[:1])], 1007),
]  # fmt: skip
KAPPA = "κόσμε-\U0001f600-ﬀ-\U0010ffff-\ufffd-\x00".encode()
INVALID_UTF8 = [
    b"\x80", b"\xbf", b"\xc0\x80", b"\xc1\xbf", b"\xc3", b"\xc3\x28", b"\xe0\x80\x80", b"\xe0\x9f\xbf", b"\xe2\x82",
    b"\xe2\x28\xa1", b"\xed\xa0\x80", b"\xed\xbf\xbf", b"\xf0\x80\x80\x80", b"\xf0\x8f\xbf\xbf", b"\xf0\x9f\x98",
    b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80", b"\xf8\x88\x80\x80\x80", b"\xfc\x84\x80\x80\x80\x80", b"\xfe", b"\xff",
]  # fmt: skip
UTF8: list[Case] = [
    good("UTF-8", [frame(TEXT, KAPPA)], [text(KAPPA)]),
    good("UTF-8 in fragments of a byte", [
        frame(TEXT, KAPPA[:1], fin=False),
        *(frame(CONTINUATION, KAPPA[number : number + 1], fin=False) for number in range(1, len(KAPPA) - 1)),
        frame(CONTINUATION, KAPPA[-1:]),
    ], [text(KAPPA)]),
    good("what is not UTF-8 is welcome as binary", [frame(BINARY, INVALID_UTF8[-1])], [binary(INVALID_UTF8[-1])]),
    *(bad(f"not UTF-8: {data.hex()}", [frame(TEXT, b"ok " + data)], 1007) for data in INVALID_UTF8),
    *(bad(f"not UTF-8, in fragments: {data.hex()}", [frame(TEXT, b"ok", fin=False), frame(CONTINUATION, data)], 1007)
      for data in INVALID_UTF8),
    bad("not UTF-8 in a message that goes on", [frame(TEXT, b"\xf4\x90\x80\x80", fin=False)], 1007),
]  # fmt: skip
SIZE: list[Case] = [
    bad("a message too large", [frame(BINARY, b"x" * (MESSAGE_BYTES + 1))], 1009),
    bad("a text too large by its second character", [frame(TEXT, "ü".encode() * (MESSAGE_BYTES // 2) + b"x")], 1009),
    bad("fragments too large together", [frame(BINARY, b"x" * MESSAGE_BYTES, fin=False), frame(CONTINUATION, b"x")],
        1009),
    bad("a frame that announces a terabyte", [frame(BINARY, b"x" * (MESSAGE_BYTES + 1), length=1 << 40)], 1009),
]  # fmt: skip
PACKED = deflated(LONG)
FINAL = zlib.compressobj(wbits=-15)
FINAL_BLOCK = FINAL.compress(LONG) + FINAL.flush(zlib.Z_FINISH) + b"\x00"
BOMB = deflated(bytes(20 << 20))
COMPRESSED: list[Case] = [
    good("compressed", [frame(TEXT, PACKED, rsv=RSV1)], [text(LONG)]),
    good("compressed twice", [frame(TEXT, PACKED, rsv=RSV1)] * 2, [text(LONG)] * 2),
    good("compressed, empty", [frame(TEXT, b"\x00", rsv=RSV1)], [text(b"")]),
    good("not compressed", [frame(TEXT, LONG)], [text(LONG)]),
    good("compressed, then not, then compressed", [
        frame(TEXT, PACKED, rsv=RSV1), frame(BINARY, b"plain"), frame(TEXT, PACKED, rsv=RSV1)
    ], [text(LONG), binary(b"plain"), text(LONG)]),
    good("compressed in fragments", [frame(TEXT, PACKED[:3], fin=False, rsv=RSV1), frame(CONTINUATION, PACKED[3:])],
         [text(LONG)]),
    good("a ping within a compressed message", [
        frame(TEXT, PACKED[:3], fin=False, rsv=RSV1), frame(PING, b"p"), frame(CONTINUATION, PACKED[3:])
    ], [Received(PONG, b"p"), text(LONG)]),
    good("an empty last fragment", [frame(TEXT, PACKED, fin=False, rsv=RSV1), frame(CONTINUATION)], [text(LONG)]),
    good("a final block", [frame(TEXT, FINAL_BLOCK, rsv=RSV1)], [text(LONG)]),
    good("a stored block", [frame(TEXT, b"\x00\x05\x00\xfa\xffHello\x00", rsv=RSV1)], [text(b"Hello")]),
    bad("RSV1 on a continuation", [frame(TEXT, PACKED[:3], fin=False, rsv=RSV1),
                                   frame(CONTINUATION, PACKED[3:], rsv=RSV1)]),
    bad("RSV1 on a ping", [frame(PING, b"x", rsv=RSV1)]),
    bad("RSV2 beside RSV1", [frame(TEXT, PACKED, rsv=RSV1 | RSV2)]),
    bad("no deflate at all", [frame(TEXT, b"\xff\xff\xff\xff", rsv=RSV1)], 1007),
    bad("what is inflated is not UTF-8", [frame(TEXT, deflated(b"ok \xff"), rsv=RSV1)], 1007),
    bad("a bomb", [frame(BINARY, BOMB, rsv=RSV1)], 1009),
    bad("a bomb in fragments", [frame(BINARY, BOMB[:9], fin=False, rsv=RSV1), frame(CONTINUATION, BOMB[9:])], 1009),
    bad("a bomb after empty final blocks", [frame(BINARY, b"\x03\x00" * 9_000 + BOMB, rsv=RSV1)], 1009),
]  # fmt: skip


def plain(found: Received) -> Received:
    """A frame of the server, inflated."""
    return found._replace(payload=inflated(found.payload), rsv=0) if found.rsv == RSV1 else found


def run(client: Http1 | Http2, case: Case, headers: dict[str, str], piece_bytes: int = 1 << 30) -> None:
    _name, sent, expected, code = case
    socket = open_websocket(client, "/echo", headers)
    data = b"".join(sent)
    for start in range(0, len(data), piece_bytes):
        try:
            socket.send(data[start : start + piece_bytes])
        except ConnectionError:
            break  # the server has had enough
    found = []
    for _ in expected:
        one = socket.receive()
        assert one is not None
        found.append(plain(one))
    assert found == expected
    if expected:
        socket.send(close(1000))
    (last,) = socket.rest()
    assert (last.opcode, last.code, last.fin, last.rsv) == (CLOSE, code, True, 0)
    socket.end()


TABLE = [*FRAMING, *FRAGMENTS, *CONTROL, *UTF8, *SIZE]
SHORT = [case for case in (*FRAGMENTS, *CONTROL[:8], *UTF8[:4]) if sum(map(len, case[1])) < 100]
SHORT_COMPRESSED = [case for case in COMPRESSED if sum(map(len, case[1])) < 200]


def names(cases: list[Case]) -> list[str]:
    return [case[0] for case in cases]


@pytest.mark.parametrize("case", TABLE, ids=names(TABLE))
def test_frames(client: Http1 | Http2, case: Case) -> None:
    run(client, case, {})


@pytest.mark.parametrize("case", COMPRESSED, ids=names(COMPRESSED))
def test_compressed_frames(client: Http1 | Http2, case: Case) -> None:
    run(client, case, DEFLATE)


@pytest.mark.parametrize("case", SHORT, ids=names(SHORT))
def test_frames_that_come_byte_by_byte(client: Http1 | Http2, case: Case) -> None:
    run(client, case, {}, 1)


@pytest.mark.parametrize("case", SHORT_COMPRESSED, ids=names(SHORT_COMPRESSED))
def test_compressed_frames_that_come_byte_by_byte(client: Http1 | Http2, case: Case) -> None:
    run(client, case, DEFLATE, 1)


def test_the_server_compresses_where_it_helps(client: Http1 | Http2) -> None:
    socket = open_websocket(client, "/echo", DEFLATE)
    granted = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
    assert socket.answer.headers["sec-websocket-extensions"] == granted
    socket.send(frame(TEXT, b"x" * 10_000), frame(TEXT, b"short"))
    long, short = socket.receive(), socket.receive()
    assert long is not None
    assert long.rsv == RSV1
    assert len(long.payload) < 200
    assert plain(long) == text(b"x" * 10_000)
    assert short == text(b"short")
    socket.send(close(1000))
    assert [one.code for one in socket.rest()] == [1000]
    socket.end()


TAKEOVERS = "server_no_context_takeover; client_no_context_takeover"
OFFERS = [
    ("permessage-deflate", TAKEOVERS),
    ("permessage-deflate; client_max_window_bits", TAKEOVERS),
    *((f"permessage-deflate; client_max_window_bits={bits}", TAKEOVERS) for bits in range(8, 16)),
    ("permessage-deflate; server_no_context_takeover", TAKEOVERS),
    ("permessage-deflate; client_no_context_takeover", TAKEOVERS),
    *((f"permessage-deflate; server_max_window_bits={bits}", f"{TAKEOVERS}; server_max_window_bits=12")
      for bits in range(12, 16)),
    ('permessage-deflate; server_max_window_bits="12"', f"{TAKEOVERS}; server_max_window_bits=12"),
    ("x-webkit-deflate-frame, permessage-deflate", TAKEOVERS),
    ("permessage-deflate; server_max_window_bits=9, permessage-deflate", TAKEOVERS),
    ("permessage-deflate; mode=9, permessage-deflate; client_max_window_bits", TAKEOVERS),
]  # fmt: skip
"""What a client offers, and what is granted of it (RFC 7692, section 7.1)."""
NO_OFFERS = [
    *(f"permessage-deflate; server_max_window_bits={bits}" for bits in ("8", "11", "7", "16", "012", "-12", "x", "")),
    "permessage-deflate; server_max_window_bits",
    *(f"permessage-deflate; client_max_window_bits={bits}" for bits in ("7", "16", "08", "x", "")),
    "permessage-deflate; client_max_window_bits=10; client_max_window_bits=10",
    "permessage-deflate; server_no_context_takeover=1",
    "permessage-deflate; client_no_context_takeover; client_no_context_takeover",
    "permessage-deflates", "deflate-frame", "bbf-usp-protocol",
]  # fmt: skip
"""What has to be declined, so that the WebSocket goes on without it."""


@pytest.mark.parametrize(("offer", "granted"), OFFERS, ids=[one[0] for one in OFFERS])
def test_an_offer_of_compression_is_taken(client: Http1 | Http2, offer: str, granted: str) -> None:
    socket = open_websocket(client, "/echo", {"sec-websocket-extensions": offer})
    assert socket.answer.headers["sec-websocket-extensions"] == f"permessage-deflate; {granted}"
    # Its window is as small as was granted, and no message leans on the one before.
    window = -12 if "server_max_window_bits" in granted else -15
    data = (LONG * 60)[:7_000] + bytes(range(97, 123)) * 100
    for _ in range(2):
        socket.send(frame(BINARY, deflated(data), rsv=RSV1))
        found = socket.receive()
        assert found is not None
        assert found.rsv == RSV1
        assert zlib.decompressobj(window).decompress(found.payload + b"\x00\x00\xff\xff") == data
    socket.send(close(1000))
    assert [one.code for one in socket.rest()] == [1000]
    socket.end()


def test_offers_that_are_wrong_or_can_not_be_met_are_declined(http2: Http2) -> None:
    for offer in NO_OFFERS:
        socket = open_websocket(http2, "/echo", {"sec-websocket-extensions": offer})
        assert "sec-websocket-extensions" not in socket.answer.headers, offer
        assert socket.ask("plain") == "plain"
        socket.send(close(1000))
        assert [one.code for one in socket.rest()] == [1000]
        socket.end()


def test_compression_is_not_forced_on_anybody(client: Http1 | Http2) -> None:
    socket = open_websocket(client, "/echo", {"sec-websocket-extensions": "permessage-deflate; from_the_future"})
    assert "sec-websocket-extensions" not in socket.answer.headers
    socket.send(frame(TEXT, PACKED, rsv=RSV1))
    assert [one.code for one in socket.rest()] == [1002]
    socket.end()
