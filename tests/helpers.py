"""What tests of stages, handlers and filters have in common: requests, a build context, and a way to run a Deferred."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import trio

from securelight.files.content_cache import ContentCache
from securelight.model.body import AsyncBody, Parts
from securelight.model.headers import Headers
from securelight.model.limits import Limits
from securelight.model.request import Facts, Peer, Request
from securelight.model.response import Response
from securelight.pipeline.compile import BuildContext
from securelight.pipeline.stage import Deferred, Handler

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")

PEER = Peer("192.0.2.7", 50_000)


def make_request(
    method: str = "GET",
    path: str = "/",
    headers: Mapping[bytes, bytes] | None = None,
    *,
    query: bytes = b"",
    scheme: str = "https",
) -> Request:
    """A request head as protocol/request_head would make it; `path` is taken as it is, hostile or not."""
    fields = Headers((headers or {}).items())
    return Request(method, path, fields, peer=PEER, query=query, scheme=scheme, authority="a.test", host="a.test")


def make_facts() -> Facts:
    """The facts of a request that no stage has looked at."""
    return Facts(PEER.address)


class SilentEvents:
    """An event log that nobody reads."""

    def info(self, event: str, **values: Any) -> None: ...
    def warning(self, event: str, **values: Any) -> None: ...
    def error(self, event: str, **values: Any) -> None: ...


def make_context(base: Path, *, route_path: str = "/", limits: Limits | None = None) -> BuildContext:
    """What a feature is built with."""
    limits = limits or Limits()
    return BuildContext(
        limits, ContentCache(limits), SilentEvents(), base=base, where="test.toml", route_path=route_path
    )


async def in_thread(function: Callable[[], T]) -> T:
    """What a worker sets as the `in_thread` of a context."""
    return await trio.to_thread.run_sync(function)


class ThreadExchange:
    """As much of an Exchange as file handlers use: real threads."""

    def __init__(self, request: Request, facts: Facts) -> None:
        self.request = request
        self.facts = facts

    async def in_thread(self, function: Callable[[], T]) -> T:
        return await in_thread(function)


async def finish(deferred: Deferred, request: Request) -> Response:
    """The answer of a Deferred."""
    exchange: Any = ThreadExchange(request, make_facts())
    answer = await deferred.run(exchange)
    assert isinstance(answer, Response)
    return answer


def fetch(handler: Handler, request: Request) -> Response:
    """The answer of `handler`, waited for if it has to be: whether it does depends on the file system of the tests.

    Errors: Refusal, as the handler raises it.
    """
    answer = handler(request, make_facts())
    return trio.run(finish, answer, request) if isinstance(answer, Deferred) else answer


def read_body(response: Response) -> bytes:
    """The whole body, files read; the response is released."""
    body = response.body
    assert not isinstance(body, AsyncBody)
    parts = body.parts if isinstance(body, Parts) else (body,)
    pieces = [
        part if isinstance(part, bytes) else os.pread(part.file.descriptor, part.length, part.offset) for part in parts
    ]
    response.release()
    return b"".join(pieces)


def field(response: Response, name: bytes) -> bytes | None:
    """The value of a response field; None if it is not there. It must not be there twice."""
    values = [value for field_name, value in response.fields if field_name == name]
    assert len(values) < 2
    return values[0] if values else None


def open_descriptors() -> int:
    """How many descriptors this process has open."""
    return len(os.listdir("/proc/self/fd"))
