"""Databases of addresses while a worker lives."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing

from securelight.model.errors import ConfigError
from securelight.pipeline.compile import InThread
from securelight.server.geo_service import LOOK_SECONDS, GeoService, geo_databases
from tests.files.mmdb import place, write
from tests.helpers import SilentEvents, make_context


async def test_a_changed_database_is_taken_up(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    assert autojump_clock.autojump_threshold == 0
    path = write(tmp_path / "a.mmdb", {"192.0.2.0/24": place("DE")})
    geo = geo_databases([str(path)], SilentEvents())
    in_thread: InThread = make_context(tmp_path).in_thread
    async with trio.open_nursery() as nursery:
        ready = trio.Event()
        nursery.start_soon(GeoService(geo, in_thread).run, ready.set)
        await ready.wait()
        write(path, {"192.0.2.0/24": place("AT")})
        await trio.sleep(LOOK_SECONDS + 1)
        assert geo.facts_of("192.0.2.1").country == "AT"
        nursery.cancel_scope.cancel()


def test_a_database_that_is_none_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "a.mmdb").write_text("nothing")
    for name in ("a.mmdb", "missing.mmdb"):
        with pytest.raises(ConfigError, match=name):
            geo_databases([str(tmp_path / name)], SilentEvents())
