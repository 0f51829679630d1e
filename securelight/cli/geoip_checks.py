"""What `securelight check` finds wrong with databases of addresses, and with conditions that ask for them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from securelight.config.conditions import asks_for_place, conditions_in
from securelight.files.geo_database import GeoDatabaseError, library_missing, open_database
from securelight.model.errors import ConfigError
from securelight.pipeline.conditions import NO_DATABASES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from securelight.config.schema import Config


def geoip_faults(config: Config, place: Callable[..., str]) -> Iterator[ConfigError]:
    """All of them.

    Args:
        config: what of it is good.
        place: where a key of `[server]` was set.
    """
    databases = config.server.geoip.databases
    missing = library_missing() if databases else None
    if missing is not None:
        yield ConfigError(place("geoip", "databases"), missing)
        return
    for path in databases:
        try:
            open_database(Path(path))
        except (GeoDatabaseError, PermissionError) as error:
            yield ConfigError(place("geoip", "databases"), str(error))
    if databases:
        return
    for site in config.sites:
        for route in site.routes:
            settings = [(route.when, route.where), *((item.settings, item.where) for item in route.features)]
            for one, where in settings:
                if any(map(asks_for_place, conditions_in(one))):
                    yield ConfigError(where, NO_DATABASES)
