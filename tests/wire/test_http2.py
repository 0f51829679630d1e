"""HTTP/2 over TLS as hostile and careless clients speak it: what costs a stream, what the connection, and floods."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.wire.raw_http2 import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PING,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    RawHttp2,
    raw_frame,
    settings,
    window_update,
)
from tests.wire.server_process import ServerProcess, serving, write_config

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.certificates import TestCertificates
    from tests.wire.conftest import Dial

NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, SETTINGS_TIMEOUT, STREAM_CLOSED, FRAME_SIZE_ERROR = range(
    7
)
REFUSED_STREAM, CANCEL, COMPRESSION_ERROR = 7, 8, 9
ENHANCE_YOUR_CALM = 11
LARGEST = (1 << 31) - 1
LITERALS = b"\x00\x01a\x01b" * 2_000
LIMITS = """
concurrent_streams = 20
stream_resets = 30
stream_resets_per_second = 1
control_frames = 100
control_frames_per_second = 10
request_body_bytes = 200000
"""


@pytest.fixture(scope="module")
def server(
    engine: str, tmp_path_factory: pytest.TempPathFactory, certificates: TestCertificates
) -> Iterator[ServerProcess]:
    """A server with few streams a connection, and little patience."""
    directory = tmp_path_factory.mktemp(f"http2-{engine}")
    (directory / "site").mkdir()
    (directory / "site" / "index.html").write_text("hello\n")
    (directory / "site" / "large.bin").write_bytes(b"x" * 2_000_000)
    write_config(directory, certificates, 'root = "site"', engine=engine, limits=LIMITS)
    with serving(directory) as process:
        warm = RawHttp2(process.port, certificates.ca)
        assert warm.works(1), "from now on the page needs no thread"
        warm.close()
        yield process


def uint32(value: int) -> bytes:
    return value.to_bytes(4, "big")


CONNECTION_FAULTS: list[tuple[str, bytes, int]] = [
    ("DATA on stream 0", raw_frame(DATA, 0, 0, b"x"), PROTOCOL_ERROR),
    ("DATA on an idle stream", raw_frame(DATA, 0, 99, b"x"), PROTOCOL_ERROR),
    ("HEADERS on stream 0", raw_frame(HEADERS, 5, 0, b"\x82"), PROTOCOL_ERROR),
    ("HEADERS on an even stream", raw_frame(HEADERS, 5, 2, b"\x82"), PROTOCOL_ERROR),
    ("HEADERS on a stream that has ended", raw_frame(HEADERS, 5, 1, b"\x82"), STREAM_CLOSED),
    ("frame too long", raw_frame(DATA, 0, 1, b"x" * 16_385), FRAME_SIZE_ERROR),
    ("PING of a wrong length", raw_frame(PING, 0, 0, b"1234567"), FRAME_SIZE_ERROR),
    ("PING on a stream", raw_frame(PING, 0, 1, b"12345678"), PROTOCOL_ERROR),
    ("SETTINGS on a stream", raw_frame(SETTINGS, 0, 1), PROTOCOL_ERROR),
    ("SETTINGS of a wrong length", raw_frame(SETTINGS, 0, 0, b"12345"), FRAME_SIZE_ERROR),
    ("SETTINGS ACK with a payload", raw_frame(SETTINGS, ACK, 0, b"123456"), FRAME_SIZE_ERROR),
    ("window setting too large", settings({4: 1 << 31}), FLOW_CONTROL_ERROR),
    ("frame size setting too small", settings({5: 100}), PROTOCOL_ERROR),
    ("many settings", settings(dict.fromkeys(range(100, 133), 1)), ENHANCE_YOUR_CALM),
    ("PUSH_PROMISE", raw_frame(PUSH_PROMISE, 4, 1, uint32(2) + b"\x82"), PROTOCOL_ERROR),
    ("WINDOW_UPDATE of zero on the connection", window_update(0, 0), PROTOCOL_ERROR),
    ("WINDOW_UPDATE past the largest window", window_update(0, LARGEST), FLOW_CONTROL_ERROR),
    ("WINDOW_UPDATE of a wrong length", raw_frame(WINDOW_UPDATE, 0, 0, b"123"), FRAME_SIZE_ERROR),
    ("RST_STREAM on an idle stream", raw_frame(RST_STREAM, 0, 99, uint32(8)), PROTOCOL_ERROR),
    ("RST_STREAM of a wrong length", raw_frame(RST_STREAM, 0, 1, b"123"), FRAME_SIZE_ERROR),
    ("CONTINUATION out of nowhere", raw_frame(CONTINUATION, 4, 1, b"\x82"), PROTOCOL_ERROR),
    ("PING inside a header block", raw_frame(HEADERS, 1, 3, b"\x82") + raw_frame(PING, 0, 0, b"8" * 8), PROTOCOL_ERROR),
    ("header block that cannot be decoded", raw_frame(HEADERS, 5, 3, b"\xff\xff\xff\xff\xff\xff"), COMPRESSION_ERROR),
    ("padding longer than its frame", raw_frame(DATA, 8, 1, b"\xff" + b"x" * 10), PROTOCOL_ERROR),
]  # fmt: skip


@pytest.mark.parametrize(
    ("fault", "code"), [row[1:] for row in CONNECTION_FAULTS], ids=[r[0] for r in CONNECTION_FAULTS]
)
def test_connection_fault_after_a_good_request_of_the_same_read(dial: Dial, fault: bytes, code: int) -> None:
    client = dial.raw()
    client.send(client.head(1), fault)
    last, found = client.goaway() or (None, None)
    assert found == code
    if last == 0:
        # The fast engine cannot answer after these two; the client knows that it may ask again.
        assert code == COMPRESSION_ERROR or fault == window_update(0, LARGEST)
        assert client.statuses == {}
    else:
        assert client.statuses == {1: 200}
        assert client.body(1) == b"hello\n"
    assert last in (0, 1, 3)


def heads(
    client: RawHttp2, *extra: tuple[bytes, bytes], end: bool = True, method: str = "GET", path: str = "/"
) -> bytes:
    return client.head(3, path, method, end=end, extra=extra)


STREAM_FAULTS: list[tuple[str, Callable[[RawHttp2], bytes], int]] = [
    ("upper-case name", lambda c: heads(c, (b"X-Upper", b"1")), PROTOCOL_ERROR),
    ("connection field", lambda c: heads(c, (b"connection", b"close")), PROTOCOL_ERROR),
    ("transfer-encoding", lambda c: heads(c, (b"transfer-encoding", b"chunked"), end=False), PROTOCOL_ERROR),
    ("te other than trailers", lambda c: heads(c, (b"te", b"gzip")), PROTOCOL_ERROR),
    ("pseudo-header after a field", lambda c: heads(c, (b"a", b"b"), (b":path", b"/x")), PROTOCOL_ERROR),
    ("pseudo-header twice", lambda c: heads(c, (b":path", b"/x")), PROTOCOL_ERROR),
    ("unknown pseudo-header", lambda c: heads(c, (b":status", b"200")), PROTOCOL_ERROR),
    ("line end in a value", lambda c: heads(c, (b"a", b"b\r\nx: y")), PROTOCOL_ERROR),
    ("NUL in a value", lambda c: heads(c, (b"a", b"b\0c")), PROTOCOL_ERROR),
    ("space in a name", lambda c: heads(c, (b"a b", b"c")), PROTOCOL_ERROR),
    ("name with a space at its end", lambda c: heads(c, (b"content-length ", b"c")), PROTOCOL_ERROR),
    ("empty name", lambda c: heads(c, (b"", b"c")), PROTOCOL_ERROR),
    ("host that is not the authority", lambda c: heads(c, (b"host", b"other.test")), PROTOCOL_ERROR),
    ("bad content-length", lambda c: heads(c, (b"content-length", b"+1"), end=False, method="POST"), PROTOCOL_ERROR),
    ("content-length without a body", lambda c: heads(c, (b"content-length", b"1"), method="POST"), PROTOCOL_ERROR),
    ("body longer than announced", lambda c: heads(c, (b"content-length", b"1"), end=False)
     + raw_frame(DATA, END_STREAM, 3, b"xx"), PROTOCOL_ERROR),
    ("depends on itself", lambda c: c.head(3, end=False) + window_update(3, 0), PROTOCOL_ERROR),
    ("stream window too large", lambda c: c.head(3, "/large.bin") + window_update(3, LARGEST), FLOW_CONTROL_ERROR),
    ("PRIORITY of a wrong length", lambda c: c.head(3, end=False) + raw_frame(PRIORITY, 0, 3, b"123"),
     FRAME_SIZE_ERROR),
]  # fmt: skip


@pytest.mark.parametrize(("make", "code"), [row[1:] for row in STREAM_FAULTS], ids=[row[0] for row in STREAM_FAULTS])
def test_stream_fault_costs_one_stream(dial: Dial, make: Callable[[RawHttp2], bytes], code: int) -> None:
    client = dial.raw()
    client.send(client.head(1), make(client), client.head(5))
    assert client.reset_code(3) == code
    assert client.until(lambda: {1, 5} <= client.ended_streams())
    assert (client.statuses[1], client.statuses[5]) == (200, 200)
    assert client.works(7)


REFUSED: list[tuple[str, Callable[[RawHttp2], bytes], int]] = [
    ("target too long", lambda c: heads(c, path="/" + "a" * 9000), 414),
    ("head too long", lambda c: heads(c, *((b"a%d" % n, b"x" * 1000) for n in range(33))), 431),
    ("too many fields", lambda c: heads(c, *((b"a", b"") for _ in range(120))), 431),
    ("unknown method", lambda c: heads(c, method="BREW"), 501),
    ("body too large", lambda c: heads(c, (b"content-length", b"200001"), end=False, method="POST"), 413),
]


@pytest.mark.parametrize(("make", "status"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_refused_request_gets_its_status(dial: Dial, make: Callable[[RawHttp2], bytes], status: int) -> None:
    client = dial.raw()
    first, data = client.head(1), make(client)
    if len(data) > 9 + 16_384:
        payload = data[9:]
        pieces = [payload[at : at + 16_384] for at in range(0, len(payload), 16_384)]
        data = raw_frame(HEADERS, END_STREAM, 3, pieces[0])
        for piece in pieces[1:]:
            data += raw_frame(CONTINUATION, END_HEADERS if piece is pieces[-1] else 0, 3, piece)
    client.send(first, data)
    assert client.until(lambda: 3 in client.statuses)
    assert client.statuses == {1: 200, 3: status}
    assert client.works(7)


def head_and_reset(client: RawHttp2, number: int) -> bytes:
    stream_id = 2 * number + 3
    return client.head(stream_id, "/large.bin") + raw_frame(RST_STREAM, 0, stream_id, uint32(CANCEL))


def head_and_bad_update(client: RawHttp2, number: int) -> bytes:
    stream_id = 2 * number + 3
    return client.head(stream_id, "/large.bin") + window_update(stream_id, 0)


FLOODS: list[tuple[str, Callable[[RawHttp2, int], bytes]]] = [
    ("rapid reset (CVE-2023-44487)", head_and_reset),
    ("MadeYouReset (CVE-2025-8671)", head_and_bad_update),
    ("PING (CVE-2019-9512)", lambda c, n: raw_frame(PING, 0, 0, b"12345678")),
    ("SETTINGS (CVE-2019-9515)", lambda c, n: settings({4: 65_535})),
    ("PRIORITY (CVE-2019-9513)", lambda c, n: raw_frame(PRIORITY, 0, 5, uint32(3) + b"\x10")),
    ("empty DATA (CVE-2019-9518)", lambda c, n: raw_frame(DATA, 0, 1)),
    ("padding alone", lambda c, n: raw_frame(DATA, 8, 1, b"\x03abc")),
    ("unknown frames", lambda c, n: raw_frame(0xBB, 0, 1, b"abc")),
    ("WINDOW_UPDATE", lambda c, n: window_update(0, 1)),
    ("empty CONTINUATION (CVE-2024-27316)", lambda c, n: raw_frame(CONTINUATION if n else HEADERS, 0, 3)),
    ("CONTINUATION of literals", lambda c, n: raw_frame(CONTINUATION if n else HEADERS, 0, 3, LITERALS)),
    ("HPACK bomb (CVE-2016-6581)", lambda c, n: raw_frame(
        HEADERS, 5, 3 + 2 * n, b"\x40\x01a\x7f\x91\x1e" + b"x" * 4000 + b"\xbe" * 12_000)),
    ("HTTP/2 bomb (CVE-2026-49975)", lambda c, n: raw_frame(
        HEADERS, 5, 3 + 2 * n, b"\x40\x01a\x01b" + b"\xbe" * 16_000)),
    ("cookie crumbs", lambda c, n: raw_frame(HEADERS, 5, 3 + 2 * n, b"\x60\x01a" + b"\xbe" * 16_000)),
]  # fmt: skip


@pytest.mark.parametrize("make", [row[1] for row in FLOODS], ids=[row[0] for row in FLOODS])
def test_flood_is_stopped_and_others_go_on(
    dial: Dial, server: ServerProcess, make: Callable[[RawHttp2, int], bytes]
) -> None:
    stopped = server.count_events(code="ENHANCE_YOUR_CALM")
    other = dial.raw()
    assert other.works(1)
    client = dial.raw()
    client.send(client.head(1, method="POST", end=False))
    for number in range(0, 3000, 20):
        if not client.send(*(make(client, one) for one in range(number, number + 20))):
            break
    found = client.goaway()
    assert found is None or found[1] == ENHANCE_YOUR_CALM, "None: the reset of the connection was faster than GOAWAY"
    server.wait_for_count(stopped + 1, code="ENHANCE_YOUR_CALM")
    assert other.works(3)


def test_floods_are_counted(dial: Dial, server: ServerProcess) -> None:
    client = dial.raw()
    client.send(*[raw_frame(PING, 0, 0, b"12345678")] * 200)
    assert client.goaway() == (0, ENHANCE_YOUR_CALM)
    event = server.wait_for_event("flood: PING")
    assert (event["level"], event["code"], event["peer"]) == ("info", "ENHANCE_YOUR_CALM", "127.0.0.1")


def test_streams_beyond_the_limit_are_refused(dial: Dial) -> None:
    client = dial.raw({4: 0})
    streams = range(1, 51, 2)
    client.send(*(client.head(stream_id, "/large.bin") for stream_id in streams))
    assert client.until(lambda: len(client.resets()) == 5)
    assert client.resets() == dict.fromkeys(range(41, 51, 2), REFUSED_STREAM)
    client.send(raw_frame(RST_STREAM, 0, 1, uint32(CANCEL)), window_update(0, 1 << 20), window_update(3, 1 << 20))
    client.send(client.head(51), window_update(51, 1000))
    assert client.until(lambda: 51 in client.ended_streams()), "one that ended makes room for another"


def test_windows_of_the_client_are_kept(dial: Dial) -> None:
    client = dial.raw({4: 10})
    client.send(client.head(1, "/large.bin"), raw_frame(PING, 0, 0, b"marker 1"))
    assert client.until(lambda: any(frame.type == PING for frame in client.frames))
    assert client.until(lambda: len(client.body(1)) == 10)
    client.send(window_update(1, 5), raw_frame(PING, 0, 0, b"marker 2"))
    assert client.until(lambda: len(client.body(1)) == 15)
    client.send(settings({4: 0}), window_update(1, 20))
    assert client.until(lambda: len(client.body(1)) == 25), "the setting takes ten back (RFC 9113, section 6.9.2)"
