"""Runs ASGI applications that need asyncio, on a loop that trio-asyncio runs within Trio (extra: asyncio).

For `event_loop = "asyncio"` alone: each step between the two worlds costs time, and applications on anyio or trio do
without. Each application has a loop of its own, open from before its startup until after its shutdown.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

import trio

from securelight.handlers.asgi_lifespan import LifespanService
from securelight.model.extras import install_command

if TYPE_CHECKING:
    from collections.abc import Callable

    from securelight.handlers.asgi_lifespan import Application, Receive, Scope, Send
    from securelight.pipeline.compile import EventLog

MISSING = f'event_loop = "asyncio" needs an extra: {install_command("asyncio")}'


def available() -> bool:
    """Whether trio-asyncio is installed."""
    return importlib.util.find_spec("trio_asyncio") is not None


class AsyncioLifespan(LifespanService):
    """The lifespan of an application that needs asyncio, and its loop.

    Its arguments and attributes are those of LifespanService; `application` is what Trio may call.
    """

    def __init__(self, application: Application, name: str, events: EventLog, shutdown_seconds: float) -> None:
        super().__init__(self._call, name, events, shutdown_seconds)
        self.given = application
        # Imported where it is needed, as it imports asyncio with it.
        self._trio_asyncio: Any = importlib.import_module("trio_asyncio")
        self._loop: Any = None

    async def run(self, ready: Callable[[], None]) -> None:
        """As LifespanService.run; when that is cancelled the loop goes on until the shutdown is over."""
        living = trio.CancelScope()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._run_on_loop, ready, living)
            try:
                await trio.sleep_forever()
            finally:
                living.cancel()

    async def _run_on_loop(self, ready: Callable[[], None], living: trio.CancelScope) -> None:
        with trio.CancelScope(shield=True):
            async with self._trio_asyncio.open_loop() as loop:
                self._loop = loop
                with living:
                    await super().run(ready)

    async def _call(self, scope: Scope, receive: Receive, send: Send) -> None:
        library = self._trio_asyncio
        library.current_loop.set(self._loop)
        await library.aio_as_trio(self.given)(scope, library.trio_as_aio(receive), library.trio_as_aio(send))
