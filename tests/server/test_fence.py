from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import trio

from securelight.server.fence import contained
from tests.certificates import TestCertificates
from tests.wire.clients import Http1
from tests.wire.server_process import running, write_config

APPLICATION = """
import sys
import trio

class Odd(BaseException):
    pass

async def app(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError
    if scope["path"] == "/exit":
        sys.exit(3)
    if scope["path"] == "/interrupt":
        raise KeyboardInterrupt
    if scope["path"] == "/odd":
        raise Odd
    if scope["path"] == "/nursery":
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            sys.exit(4)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"well"})
"""


def test_nothing_that_an_application_raises_ends_its_worker(tmp_path: Path, certificates: TestCertificates) -> None:
    (tmp_path / "raising.py").write_text(APPLICATION)
    write_config(tmp_path, certificates, 'app = "raising:app"')
    with running(tmp_path) as server:
        workers = server.workers()
        with closing(Http1(server.port, certificates.ca)) as bystander:
            for path in ("/exit", "/interrupt", "/odd", "/nursery"):
                with closing(Http1(server.port, certificates.ca)) as client:
                    assert client.request("GET", path).status == 500, path
                assert bystander.request("GET", "/").body == b"well", path
        assert server.workers() == workers
        server.wait_for_count(4, event="internal error")


def cancelled() -> trio.Cancelled:
    """A real one; nobody else can make them."""
    caught: list[trio.Cancelled] = []

    async def main() -> None:
        with trio.CancelScope() as scope:
            scope.cancel()
            try:
                await trio.lowlevel.checkpoint()
            except trio.Cancelled as error:
                caught.append(error)
                raise

    trio.run(main)
    return caught[0]


@pytest.mark.parametrize("make", [cancelled, GeneratorExit])
def test_what_ends_a_task_on_purpose_goes_on(make: Callable[[], BaseException]) -> None:
    error = make()
    with pytest.raises(type(error)):
        contained(error)
    with pytest.raises(BaseExceptionGroup) as caught:
        contained(BaseExceptionGroup("several", [KeyboardInterrupt(), error]))
    assert caught.value.exceptions == (error,)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1), BaseExceptionGroup("one", [SystemExit(1)])])
def test_what_would_end_a_process_becomes_a_failure(error: BaseException) -> None:
    assert contained(error).__cause__ is error
