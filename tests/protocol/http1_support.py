"""What the HTTP/1 tests share: both adapters, and a plain account of what they reported."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import re
from collections.abc import Iterable, Sequence
from typing import Any

import pytest

from securelight.model.limits import Limits
from securelight.model.request import Peer, Request, TlsFacts
from securelight.model.response import Response
from securelight.protocol.events import BodyEnded, BodyReceived, Event, RequestRefused, StreamAborted
from securelight.protocol.h11_adapter import H11Adapter
from securelight.protocol.http1_adapter import Http1Adapter
from securelight.protocol.httptools_adapter import HttptoolsAdapter
from tests.protocol.spelled_out import spelled_out

PEER = Peer("192.0.2.7", 50_000, tls=TlsFacts(version="TLSv1.3"))
Maker = type[Http1Adapter]

both_engines = pytest.mark.parametrize("engine", [H11Adapter, HttptoolsAdapter])


@functools.cache
def limits_with(**limits: Any) -> Limits:
    """The defaults but for `limits`; the same object each time, so that adapters share what they know of heads."""
    return dataclasses.replace(Limits(), **limits)


def make(engine: Maker, **limits: Any) -> Http1Adapter:
    """An adapter on a TLS connection; `limits` differ from the defaults."""
    return spelled_out(engine)(PEER, limits_with(**limits))


def told(events: Iterable[Event]) -> list[Any]:
    """Events as plain data; the pieces of a body joined, because their borders mean nothing."""
    account: list[Any] = []
    for event in events:
        match event:
            case Request():
                account.append(
                    ("request", event.stream_id, event.method, event.target, event.http_version, event.headers.fields,
                     event.path, event.query, event.authority, event.has_body, event.content_length,
                     event.expects_continue)
                )  # fmt: skip
            case BodyReceived():
                assert event.data
                assert event.credit == len(event.data)
                if account and account[-1][0] == "body":
                    account[-1] = ("body", event.stream_id, account[-1][2] + event.data)
                else:
                    account.append(("body", event.stream_id, event.data))
            case BodyEnded():
                account.append(("ended", event.stream_id, event.trailers))
            case RequestRefused():
                account.append(
                    ("refused", event.stream_id, event.refusal.status, event.method, event.target, event.in_body)
                )
            case StreamAborted():
                account.append(("aborted", event.stream_id, event.by_peer))
            case _:
                raise AssertionError(f"unexpected {event!r}")
    return account


def without_date(output: bytes) -> bytes:
    """`output` without its Date fields."""
    return re.sub(rb"date: [^\r]+\r\n", b"", output)


OK = Response(200, (), b"ok")


def converse(engine: Maker, pieces: Sequence[bytes], **limits: Any) -> tuple[list[Any], bytes, bool]:
    """Feed `pieces`, answer every request with `ok` once it is whole; returns (account, output, closing)."""
    adapter = make(engine, **limits)
    events: list[Event] = []
    output = b""
    for piece in pieces:
        data = piece
        while True:
            new = list(adapter.receive(data))
            events += new
            for event in new:
                if isinstance(event, (BodyEnded, RequestRefused)) or (
                    isinstance(event, Request) and not event.has_body
                ):
                    adapter.respond(event.stream_id, OK, b"ok", end=True)
            output += adapter.take_output(1 << 20)
            if not adapter.input_ready:
                break
            data = b""
    assert len(adapter._guard.held) <= sum(map(len, pieces))
    return told(events), without_date(output), adapter.closing


def cut_at(data: bytes, places: Iterable[int]) -> list[bytes]:
    """`data` in pieces, cut at `places`."""
    borders = [0, *sorted({place % (len(data) + 1) for place in places}), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(borders)]
