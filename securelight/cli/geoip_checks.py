"""What `securelight check` finds wrong with databases of addresses, and with conditions that ask for them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from securelight.config.conditions import Condition, asks_for_place, conditions_in
from securelight.config.log_template import parts_of, template_of
from securelight.config.logs import SERVER_LOG, logs_of
from securelight.files.geo_database import GeoDatabaseError, library_missing, open_database
from securelight.handlers.proxy import ProxyConfig
from securelight.handlers.respond import RespondConfig
from securelight.model.errors import ConfigError
from securelight.pipeline.conditions import NO_DATABASES
from securelight.pipeline.template import PLACES, tells_place

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
                if any(map(asks_for_place, conditions_in(one))) or any(map(tells_place, _templates_in(one))):
                    yield ConfigError(where, NO_DATABASES)
    for log in logs_of(config).values():
        if any(part.field in PLACES for part in parts_of(template_of(log.form))):
            yield ConfigError(place("access_log", "format") if log.where == SERVER_LOG else log.where, NO_DATABASES)


def _templates_in(settings: object) -> Iterator[str]:
    """The texts of a feature's settings that have parts of the request in them."""
    if isinstance(settings, ProxyConfig):
        yield from _texts_in(settings.fields)
    elif isinstance(settings, RespondConfig):
        yield from _texts_in((settings.body, settings.fields)) if settings.placeholders else ()
    else:
        yield from _texts_in(getattr(settings, "rule", None))


def _texts_in(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _texts_in(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _texts_in(one)
    elif isinstance(value, msgspec.Struct) and not isinstance(value, Condition):
        for name in value.__struct_fields__:
            yield from _texts_in(getattr(value, name))
