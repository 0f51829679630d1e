"""Keeps the databases of countries and networks current for as long as a worker lives, beside the requests."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio

from securelight.files.geo_database import GeoDatabaseError, GeoDatabases, library_missing
from securelight.model.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from securelight.pipeline.compile import EventLog, InThread

LOOK_SECONDS: Final = 10.0


def geo_databases(paths: Sequence[str], events: EventLog) -> GeoDatabases:
    """The databases of `[server.geoip]`.

    Errors: ConfigError if they cannot be used.
    """
    try:
        missing = library_missing()
        if missing is not None:
            raise GeoDatabaseError(missing)
        return GeoDatabases(
            [Path(path) for path in paths], lambda why: events.error("database of addresses not taken up", why=why)
        )
    except (GeoDatabaseError, PermissionError) as error:
        raise ConfigError("server.geoip.databases", str(error)) from error


class GeoService:
    """A service of the worker (pipeline.compile.Service).

    Args:
        databases: looked at every LOOK_SECONDS.
        in_thread: where files are read.
    """

    def __init__(self, databases: GeoDatabases, in_thread: InThread) -> None:
        self._databases = databases
        self._in_thread = in_thread

    async def run(self, ready: Callable[[], None]) -> None:
        """Run until cancelled."""
        ready()
        while True:
            await trio.sleep(LOOK_SECONDS)
            await self._in_thread(self._databases.refresh)
