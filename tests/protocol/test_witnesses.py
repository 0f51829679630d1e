"""The witnesses of the state machines see what is wrong: engines with one fault each are told from good ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from securelight.model.errors import Http2Code
from securelight.protocol.events import BodyReceived, Event
from securelight.protocol.h2_adapter import H2Adapter
from securelight.protocol.h11_adapter import H11Adapter
from securelight.protocol.http2_output import goaway, window_update
from tests.protocol import http1_witness, http2_witness
from tests.protocol.http2_support import POST, data, raw_frame

GET = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"


class CutsTheBody(H11Adapter):
    def _put_body(self, data: bytes | memoryview) -> None:
        super()._put_body(data[:-1])


class AnswersTwice(H11Adapter):
    def _response_over(self, trailer_lines: bytes = b"") -> None:
        super()._response_over(trailer_lines)
        self._output.put(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")


class ReportsTwice(H11Adapter):
    def receive(self, data: bytes) -> Sequence[Event]:
        return [event for event in super().receive(data) for _ in range(2)]


@pytest.mark.parametrize("engine", [CutsTheBody, AnswersTwice, ReportsTwice])
def test_a_fault_of_http1_is_seen(engine: type[H11Adapter]) -> None:
    def converse(with_engine: type[H11Adapter]) -> None:
        witness = http1_witness.Witness(with_engine)
        witness.send(GET)
        witness.respond(b"hel", end=False)
        witness.write(b"lo", end=True)
        witness.finish()

    converse(H11Adapter)
    with pytest.raises(AssertionError):
        converse(engine)


class IgnoresWindows(H2Adapter):
    def start(self, *, upgrades: bool = False) -> None:
        super().start(upgrades=upgrades)
        self._engine.outbound_flow_control_window = 1 << 20

    def _window(self, stream_id: int) -> int:
        self._engine.streams[stream_id].outbound_flow_control_window = 1 << 20
        return 1 << 20


class RaisesTheLastStream(H2Adapter):
    def goodbye(self) -> None:
        self._ours += goaway(1, Http2Code.NO_ERROR) + goaway(3, Http2Code.NO_ERROR)


class GivesTooMuchCredit(H2Adapter):
    def consumed(self, stream_id: int, credit: int) -> None:
        self._ours += window_update(credit + 1, stream_id)


class GoesOnAfterTheEnd(H2Adapter):
    def goodbye(self) -> None:
        self._ours += raw_frame(0, 1, 1, b"more")


class ReportsTheBodyFirst(H2Adapter):
    def receive(self, data: bytes) -> Sequence[Event]:
        events = list(super().receive(data))
        return sorted(events, key=lambda event: not isinstance(event, BodyReceived))


def _upload(witness: http2_witness.Witness) -> None:
    witness.send(witness.client.head(1, POST, end=False) + data(1, b"abcd", end=True))


def _converse(witness: http2_witness.Witness, extra: Callable[[Any], None]) -> None:
    extra(witness)
    witness.look()
    witness.respond(1, b"b" * 70_000, end=True)
    witness.look()
    witness.finish()
    witness.adapter.goodbye()
    witness.look()


@pytest.mark.parametrize(
    "engine", [IgnoresWindows, RaisesTheLastStream, GivesTooMuchCredit, GoesOnAfterTheEnd, ReportsTheBodyFirst]
)
def test_a_fault_of_http2_is_seen(engine: type[H2Adapter]) -> None:
    def upload_and_use(witness: http2_witness.Witness) -> None:
        witness.send(witness.client.head(1, POST, end=False))
        witness.send(data(1, b"abcd"))
        witness.consume(1)
        witness.look()
        witness.send(data(1, b"efgh", end=True))

    for doing in (_upload, upload_and_use):
        _converse(http2_witness.Witness(H2Adapter), doing)
    with pytest.raises(AssertionError):  # noqa: PT012 - either dialogue may show it
        for doing in (_upload, upload_and_use):
            _converse(http2_witness.Witness(engine), doing)
