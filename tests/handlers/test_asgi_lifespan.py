"""Startup, shutdown, and everything that an application may do instead."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from securelight.handlers.asgi_lifespan import LifespanFailed, LifespanService
from tests.handlers.asgi_exchange import RecordedEvents

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from securelight.handlers.asgi_lifespan import Application, Receive, Scope, Send


def service_for(application: Application, shutdown_seconds: float = 5.0) -> tuple[LifespanService, RecordedEvents]:
    events = RecordedEvents()
    return LifespanService(application, "test:app", events, shutdown_seconds), events


@asynccontextmanager
async def serving(service: LifespanService) -> AsyncIterator[None]:
    """The service started as a worker does it, and stopped."""

    async def run(task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        await service.run(task_status.started)

    async with trio.open_nursery() as nursery:
        await nursery.start(run)
        yield
        nursery.cancel_scope.cancel()


async def test_startup_comes_before_ready_and_shutdown_after_the_end() -> None:
    said: list[str] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "lifespan"
        assert scope["asgi"] == {"version": "3.0", "spec_version": "2.0"}
        assert await receive() == {"type": "lifespan.startup"}
        await trio.lowlevel.checkpoint()
        scope["state"]["database"] = "open"
        said.append("started")
        await send({"type": "lifespan.startup.complete"})
        assert await receive() == {"type": "lifespan.shutdown"}
        await trio.lowlevel.checkpoint()  # not cancelled: there is time to clean up
        said.append("stopped")
        await send({"type": "lifespan.shutdown.complete"})

    service, events = service_for(application)
    async with serving(service):
        said.append("ready")
        assert service.state == {"database": "open"}
    assert said == ["started", "ready", "stopped"]
    assert events.names == []


async def test_a_failed_startup_stops_the_worker_with_the_applications_words() -> None:
    async def application(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})
        raise RuntimeError("the same, raised")

    service, _events = service_for(application)
    with pytest.raises(LifespanFailed, match="test:app failed to start: no database"):
        await service.run(lambda: pytest.fail("not ready"))


@pytest.mark.parametrize("failing", ["raises", "returns", "raises after receive", "exits"])
async def test_an_application_without_lifespan_is_served_all_the_same(failing: str) -> None:
    async def application(scope: Scope, receive: Receive, _send: Send) -> None:
        if failing == "raises":
            assert scope["type"] == "http"
        elif failing == "exits":
            raise SystemExit(1)
        elif failing == "raises after receive":
            raise LookupError((await receive())["type"])

    service, events = service_for(application)
    async with serving(service):
        await wait_all_tasks_blocked()
    assert events.names == ["application has no lifespan, serving without"]


async def test_an_application_on_asyncio_is_told_what_it_needs() -> None:
    async def application(_scope: Scope, _receive: Receive, _send: Send) -> None:
        await asyncio.sleep(1)

    service, events = service_for(application)
    async with serving(service):
        pass
    assert "anyio" in events.values[0]["hint"]


async def test_a_lifespan_that_dies_later_is_reported_and_the_rest_goes_on() -> None:
    async def application(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        raise LookupError("in the middle")

    service, events = service_for(application)
    async with serving(service):
        await wait_all_tasks_blocked()
        assert events.names == ["application failed in its lifespan"]
    assert isinstance(events.values[0]["exc_info"], LookupError)


async def test_an_application_that_only_starts_up_is_not_waited_for() -> None:
    async def application(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})

    service, events = service_for(application)
    async with serving(service):
        pass
    assert events.names == []


async def test_a_shutdown_that_fails_is_reported() -> None:
    async def application(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.failed", "message": "could not flush"})

    service, events = service_for(application)
    async with serving(service):
        pass
    assert events.names == ["application failed to shut down"]
    assert events.values[0]["reason"] == "could not flush"


async def test_a_shutdown_has_a_limit(autojump_clock: trio.testing.MockClock) -> None:
    cancelled = False

    async def application(_scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal cancelled
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        try:
            await trio.sleep(1000)
        finally:
            cancelled = True

    service, events = service_for(application, shutdown_seconds=5.0)
    async with serving(service):
        pass
    assert cancelled
    assert trio.current_time() == pytest.approx(5.0)
    assert events.names == ["application did not shut down in time"]


async def test_a_stop_during_startup_does_not_wait_for_it() -> None:
    cleaned = False

    async def application(_scope: Scope, receive: Receive, _send: Send) -> None:
        nonlocal cleaned
        await receive()
        try:
            await trio.sleep_forever()
        finally:
            cleaned = True

    service, events = service_for(application)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(service.run, lambda: pytest.fail("not ready"))
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert cleaned
    assert events.names == []


async def test_an_application_that_asks_on_after_the_shutdown_just_waits() -> None:
    async def application(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        assert await receive() == {"type": "lifespan.shutdown"}
        await send({"type": "lifespan.shutdown.complete"})
        await receive()

    service, events = service_for(application)
    async with serving(service):
        pass
    assert events.names == []


@pytest.mark.parametrize(
    "messages",
    [
        ["lifespan.shutdown.complete"],
        ["lifespan.startup.complete", "lifespan.startup.complete"],
        ["lifespan.startup.complete", "lifespan.startup.failed"],
        ["http.response.start"],
    ],
)
async def test_messages_out_of_order_are_the_applications_error(messages: list[str]) -> None:
    errors: list[Any] = []

    async def application(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        try:
            for kind in messages:
                await send({"type": kind})
        except RuntimeError as error:
            errors.append(error)

    service, _events = service_for(application)
    async with serving(service):
        await wait_all_tasks_blocked()
    assert len(errors) == 1
