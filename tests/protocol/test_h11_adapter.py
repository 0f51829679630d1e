"""What is particular to the h11 engine; the dialogues are in test_http1_adapter."""

from __future__ import annotations

import time

import pytest

from securelight.model.errors import Refusal
from securelight.protocol.adapter import COSTLY_READ_BYTES, READ_BYTES
from securelight.protocol.h11_adapter import H11Adapter
from securelight.protocol.http1_guard import Head
from tests.protocol.http1_support import make, told

POST = b"POST / HTTP/1.1\r\nHost: a.test\r\n"


@pytest.mark.parametrize(
    "raw",
    [
        POST.replace(b"t:", b"t :") + b"\r\n",  # h11 does not like it
        POST + b"Content-Length: 5\r\n\r\n",  # h11 expects a body
        POST,  # h11 expects more of the head
    ],
)
def test_what_only_h11_objects_to_is_a_refusal_and_no_exception(raw: bytes) -> None:
    """Should the guard ever let it through, or frame it otherwise, the request is refused and the server goes on."""
    adapter = make(H11Adapter)
    with pytest.raises(Refusal) as caught:
        adapter._read_head(Head(raw, b"POST", b"/", "1.1", has_upgrade=False))
    assert caught.value.status == 400


@pytest.mark.parametrize(("data", "ended"), [(b"5\r\nhello\r\n", True), (b"0\r\n\r\n", False), (b"x\r\n", False)])
def test_a_body_that_h11_frames_otherwise_is_refused(data: bytes, ended: bool) -> None:
    adapter = make(H11Adapter)
    adapter.receive(POST + b"Transfer-Encoding: chunked\r\n\r\n")
    with pytest.raises(Refusal) as caught:
        adapter._read_body(data, ended=ended)
    assert caught.value.status == 400


def test_many_small_chunks_take_a_bounded_time() -> None:
    adapter = make(H11Adapter)
    adapter.receive(POST + b"Transfer-Encoding: chunked\r\n\r\n")
    started = time.process_time()
    (piece,) = told(adapter.receive(b"8\r\nabcdefgh\r\n" * 1200))
    assert len(piece[2]) == 9600
    assert time.process_time() - started < 0.5


def test_tiny_chunks_are_read_a_few_at_a_time_and_large_ones_whole() -> None:
    adapter = make(H11Adapter)
    assert adapter.read_bytes == COSTLY_READ_BYTES
    adapter.receive(POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
    assert adapter.read_bytes == COSTLY_READ_BYTES
    adapter.receive(b"1000\r\n" + bytes(96))
    assert adapter.read_bytes == COSTLY_READ_BYTES + 4000
    adapter.receive(bytes(4000) + b"\r\n100000\r\n")
    assert adapter.read_bytes == READ_BYTES, "never more, however much is announced"
