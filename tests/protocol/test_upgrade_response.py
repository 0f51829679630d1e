"""Answers to a request to upgrade, byte by byte."""

from __future__ import annotations

import pytest
from hypothesis import given, settings, strategies as st

from securelight.model.limits import Limits
from securelight.protocol.response_head import ResponseFault
from securelight.protocol.upgrade_response import UpgradeResponse

GOOD = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: keep-alive, upgrade\r\nX-A: b\r\n"


def read(data: bytes, piece_bytes: int = 1 << 20) -> UpgradeResponse:
    response = UpgradeResponse(Limits())
    for start in range(0, len(data), piece_bytes):
        if response.feed(data[start : start + piece_bytes]):
            response.rest += data[start + piece_bytes :]
            return response
    raise AssertionError("it is not known yet")


@pytest.mark.parametrize("piece_bytes", [1, 7, 1 << 20])
def test_a_101_and_what_is_behind_it(piece_bytes: int) -> None:
    response = read(GOOD + b"\r\nfirst frames", piece_bytes)
    assert response.switched
    assert response.rest == b"first frames"
    assert (b"x-a", b"b") in response.fields
    response.check(b"websocket")


@pytest.mark.parametrize("piece_bytes", [1, 1 << 20])
def test_another_answer_is_kept_whole(piece_bytes: int) -> None:
    answer = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno"
    response = read(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + answer, piece_bytes)
    assert not response.switched
    assert response.rest == answer


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 101\nUpgrade: websocket\n\n\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n folded\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nbad field\r\n\r\n",
        b"HTTP/1.1 1a1 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 101 " + b"x" * 70_000,
        b"HTTP/1.1 101 \r\n" + b"a: b\r\n" * 300 + b"\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 20,
    ],
)
def test_malformed_heads(data: bytes) -> None:
    with pytest.raises(ResponseFault):
        read(data)


@pytest.mark.parametrize(
    "change",
    [
        (b"WebSocket", b"h2c"), (b"Upgrade: WebSocket\r\n", b""), (b"keep-alive, upgrade", b"keep-alive"),
        (b"X-A: b", b"Content-Length: 0"), (b"X-A: b", b"Transfer-Encoding: chunked"), (b"X-A: b", b"Upgrade: h2c"),
    ],
)  # fmt: skip
def test_a_101_that_is_not_for_us(change: tuple[bytes, bytes]) -> None:
    response = read(GOOD.replace(*change) + b"\r\n")
    assert response.switched
    with pytest.raises(ResponseFault):
        response.check(b"websocket")


@given(st.binary(max_size=300), st.integers(1, 20))
@settings(max_examples=300)
def test_any_bytes(data: bytes, piece_bytes: int) -> None:
    for whole in (data, b"HTTP/1.1 1" + data):
        response = UpgradeResponse(Limits())
        try:
            for start in range(0, len(whole), piece_bytes):
                if response.feed(whole[start : start + piece_bytes]):
                    break
        except ResponseFault:
            continue
        assert len(response.rest) <= len(whole)
