"""Handshakes and messages of protocol/websocket, without a network."""

from __future__ import annotations

import contextlib
import zlib
from dataclasses import replace

import pytest
from hypothesis import given, settings, strategies as st

from securelight.model.errors import Refusal
from securelight.model.limits import Limits
from securelight.model.upgrade import wanted_protocols
from securelight.protocol.websocket import (
    Breach,
    Closed,
    Event,
    Ping,
    WebSocket,
    accept_key,
    deflate_fields,
    handshake_fields,
    subprotocols_of,
)
from tests.helpers import make_request
from tests.wire.websocket_client import ACCEPT, BINARY, CONTINUATION, KEY, PING, RSV1, TEXT, close, frame

LIMITS = replace(Limits(), websocket_message_bytes=1_000, websocket_message_frames=20)
GRANTED = b"permessage-deflate; server_no_context_takeover; client_no_context_takeover"


def events_of(data: bytes, *, piece_bytes: int = 1 << 20, deflate: bool = False) -> list[Event]:
    socket = WebSocket(LIMITS, deflate=deflate)
    found: list[Event] = []
    for start in range(0, len(data), piece_bytes):
        found += socket.receive(data[start : start + piece_bytes])
    return found


def shown(events: list[Event]) -> list[object]:
    """What can be compared."""
    return [
        (type(one).__name__, getattr(one, "code", None), getattr(one, "payload", None))
        if not isinstance(one, (str, bytes))
        else one
        for one in events
    ]


def test_the_example_of_the_rfc() -> None:
    assert accept_key(KEY.encode()).decode() == ACCEPT
    request = make_request(headers={b"sec-websocket-version": b"13", b"sec-websocket-key": KEY.encode()})
    assert handshake_fields(request) == ((b"sec-websocket-accept", ACCEPT.encode()),)


@pytest.mark.parametrize("key", [b"", b"QUJD", b"x" * 24, KEY.encode() + b"=", b"\xff" * 24, KEY[:-2].encode() + b"  "])
def test_malformed_keys(key: bytes) -> None:
    request = make_request(headers={b"sec-websocket-version": b"13", b"sec-websocket-key": key})
    with pytest.raises(Refusal) as refusal:
        handshake_fields(request)
    assert refusal.value.status == 400


@pytest.mark.parametrize(
    ("offer", "granted"),
    [
        (b"permessage-deflate", GRANTED),
        (b"permessage-deflate; client_max_window_bits", GRANTED),
        (b"permessage-deflate; client_max_window_bits=10", GRANTED),
        (b'permessage-deflate; client_max_window_bits="10"', GRANTED),
        (b"permessage-deflate; server_max_window_bits=15", GRANTED + b"; server_max_window_bits=12"),
        (b"permessage-deflate; server_max_window_bits=12", GRANTED + b"; server_max_window_bits=12"),
        (b"permessage-deflate; server_no_context_takeover; client_no_context_takeover", GRANTED),
        (b"x-other, permessage-deflate", GRANTED),
        (b"permessage-deflate; unknown, permessage-deflate", GRANTED),
        (b"permessage-deflate; server_max_window_bits=8", b""),
        (b"permessage-deflate; server_max_window_bits", b""),
        (b"permessage-deflate; client_max_window_bits=7", b""),
        (b"permessage-deflate; client_max_window_bits=16", b""),
        (b"permessage-deflate; client_max_window_bits=abc", b""),
        (b"permessage-deflate; server_no_context_takeover=1", b""),
        (b"permessage-deflate; client_max_window_bits; client_max_window_bits", b""),
        (b"permessage-deflate; unknown=1", b""),
        (b"x-webkit-deflate-frame", b""),
        (b"", b""),
        (b", " * 100 + b"permessage-deflate", b""),
    ],
)
def test_offers_of_compression(offer: bytes, granted: bytes) -> None:
    request = make_request(headers={b"sec-websocket-extensions": offer})
    expected = ((b"sec-websocket-extensions", granted),) if granted else ()
    assert deflate_fields(request) == expected


@given(st.binary(max_size=200))
@settings(max_examples=300)
def test_no_offer_does_more_than_be_granted_or_not(offer: bytes) -> None:
    for value in (offer, b"permessage-deflate;" + offer):
        request = make_request(headers={b"sec-websocket-extensions": value, b"sec-websocket-protocol": offer})
        assert deflate_fields(request) in (
            (),
            ((b"sec-websocket-extensions", GRANTED),),
            ((b"sec-websocket-extensions", GRANTED + b"; server_max_window_bits=12"),),
        )
        with contextlib.suppress(Refusal):
            subprotocols_of(request)


def test_what_a_request_wants() -> None:
    asked = {b"connection": b"keep-alive, Upgrade", b"upgrade": b"foo/2, WebSocket"}
    assert wanted_protocols(make_request(headers=asked)) == (b"foo/2", b"websocket")
    assert wanted_protocols(make_request()) == ()
    assert wanted_protocols(make_request(headers={b"upgrade": b"websocket"})) == ()
    assert wanted_protocols(make_request(headers={b"upgrade": b"websocket", b"connection": b"no-upgrade"})) == ()
    with_body = make_request("POST", headers=asked)
    with_body.has_body = True
    assert wanted_protocols(with_body) == ()
    old = make_request(headers=asked)
    old.http_version = "1.0"
    assert wanted_protocols(old) == ()


@given(st.binary(max_size=400), st.integers(1, 50), st.booleans())
@settings(max_examples=300, deadline=None)
def test_any_bytes_make_events_and_the_same_ones_however_they_are_cut(
    data: bytes, piece_bytes: int, deflate: bool
) -> None:
    whole = events_of(data, deflate=deflate)
    cut = events_of(data, piece_bytes=piece_bytes, deflate=deflate)
    assert shown(whole) == shown(cut)
    for one in whole[:-1]:
        assert not isinstance(one, (Closed, Breach)), "nothing follows the end"


messages = st.lists(st.one_of(st.text(max_size=100), st.binary(max_size=300)), max_size=6)


@given(messages, st.integers(1, 40), st.integers(1, 60), st.booleans())
@settings(max_examples=150, deadline=None)
def test_messages_come_out_as_they_were_sent(
    sent: list[str | bytes], fragment_bytes: int, piece_bytes: int, deflate: bool
) -> None:
    data = b""
    for message in sent:
        payload = message.encode() if isinstance(message, str) else message
        if deflate:
            packer = zlib.compressobj(wbits=-15)
            payload = (packer.compress(payload) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]
        fragments = [payload[start : start + fragment_bytes] for start in range(0, len(payload), fragment_bytes)][:19]
        rest = payload[fragment_bytes * len(fragments) :]
        parts = [*fragments, rest]
        for number, part in enumerate(parts):
            opcode = CONTINUATION if number else TEXT if isinstance(message, str) else BINARY
            rsv = RSV1 if deflate and not number else 0
            data += frame(opcode, part, fin=number == len(parts) - 1, rsv=rsv) + frame(PING, b"%d" % number)
    events = events_of(data, piece_bytes=piece_bytes, deflate=deflate)
    assert [one for one in events if not isinstance(one, Ping)] == sent


def test_a_bomb_is_inflated_no_further_than_a_message_may_be_long() -> None:
    packer = zlib.compressobj(wbits=-15)
    bomb = packer.compress(bytes(50 << 20)) + packer.flush(zlib.Z_SYNC_FLUSH)
    (only,) = events_of(frame(BINARY, bomb[:-4], rsv=RSV1), deflate=True)
    assert isinstance(only, Breach)
    assert only.code == 1009


def test_nothing_is_heard_after_the_end() -> None:
    socket = WebSocket(LIMITS, deflate=False)
    first = list(socket.receive(close(1000, b"bye") + frame(TEXT, b"more")))
    assert [(type(one), getattr(one, "reason", "")) for one in first] == [(Closed, "bye")]
    assert list(socket.receive(frame(TEXT, b"more"))) == []


def test_a_reason_that_is_too_long_is_cut_between_characters() -> None:
    data = WebSocket(LIMITS, deflate=False).close(1011, "ü" * 100)
    assert len(data) <= 127
    assert data[4:].decode() == "ü" * 61
