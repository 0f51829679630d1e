"""The settings of `[server]` as environment variables: SECURELIGHT_SERVER_WORKERS is `workers` in `[server]`.

The tables below it are joined with underscores, as in SECURELIGHT_SERVER_ACCESS_LOG_FORMAT and
SECURELIGHT_SERVER_LIMITS_IDLE_SECONDS. A variable wins over the file. Sites and listens have no variables of their own,
but any text in a file may name some: `"${HOME}/site"`, `"*:${PORT:-8443}"`. They are put in after the file is read, so
that no value can become another key; `$${` is `${`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from securelight.config.convert import hints_of, is_table
from securelight.config.explain import nearest
from securelight.config.faults import Where, printable
from securelight.config.schema import ServerConfig
from securelight.model.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from securelight.config.convert import Converter
    from securelight.config.faults import Faults

PREFIX: Final = "SECURELIGHT_"
_REFERENCE: Final = re.compile(r"\$(\$\{)|\$\{([A-Z_][A-Z0-9_]{0,99})(?::-([^{}]*))?\}")


def with_variables(value: Any, environment: Mapping[str, str], where: Where, faults: Faults) -> Any:
    """`value`, as read from TOML, with the variables that its texts name.

    Args:
        value: a text, number, list or table.
        environment: the variables.
        where: the place of the value.
        faults: told of variables that are not set and have no default.
    """
    if isinstance(value, dict):
        return {key: with_variables(item, environment, where.key(key), faults) for key, item in value.items()}
    if isinstance(value, list):
        return [with_variables(item, environment, where.item(place), faults) for place, item in enumerate(value)]
    if not isinstance(value, str) or "${" not in value:
        return value

    def replaced(match: re.Match[str]) -> str:
        if match[1]:
            return match[1]
        text: str | None = environment.get(match[2], match[3])
        if text is None:
            faults.add(where, f"the environment has no {match[2]}; set it, or write ${{{match[2]}:-default}}")
        return text or ""

    return _REFERENCE.sub(replaced, value)


def variables() -> dict[str, tuple[str, ...]]:
    """Every variable that is read, with the key path below `[server]` that it sets."""
    return {PREFIX + "_".join(("SERVER", *path)).upper(): path for path, _ in _settings(ServerConfig, ())}


def _settings(kind: type[Any], path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, hint in hints_of(kind).items():
        if is_table(hint):
            yield from _settings(hint, (*path, key))
        else:
            yield (*path, key), hint


def unknown_variables(environment: Mapping[str, str], command_prefixes: Iterable[str]) -> list[ConfigError]:
    """One warning for each variable that begins with SECURELIGHT_ and that nothing reads.

    Args:
        environment: the variables.
        command_prefixes: the beginnings of variables that commands read as options, such as `SECURELIGHT_SERVE_`.
    """
    known = {variable.removeprefix(PREFIX) for variable in variables()}
    prefixes = tuple(command_prefixes)
    warnings = []
    for name in sorted(environment):
        rest = name.removeprefix(PREFIX)
        if rest != name and rest not in known and not name.startswith(prefixes):
            close = nearest(rest, known)
            meant = f"; did you mean {PREFIX}{close}?" if close else ""
            where = Where("environment", printable(name))
            warnings.append(ConfigError(str(where), f"no setting has this name{meant}"))
    return warnings


def place_of(path: tuple[str, ...], environment: Mapping[str, str], where: Where) -> Where:
    """Where the setting `path` of `[server]` was made: in the environment, or in the table at `where`."""
    variable = PREFIX + "_".join(("SERVER", *path)).upper()
    if variable in environment:
        return Where("environment", variable)
    for key in path:
        where = where.key(key)
    return where


def apply_environment(
    table: Mapping[str, object], environment: Mapping[str, str], converter: Converter
) -> dict[str, object]:
    """A copy of the `[server]` table with the settings of `environment` in it.

    Args:
        table: as read; what is wrong in it is left for later.
        environment: the variables.
        converter: checks the values and collects faults.
    """
    result = dict(table)
    for path, hint in _settings(ServerConfig, ()):
        variable = PREFIX + "_".join(("SERVER", *path)).upper()
        if variable not in environment:
            continue
        value = converter.value(path[-1], environment[variable], hint, Where("environment", variable), strict=False)
        if value is None:
            continue
        target = result
        for key in path[:-1]:
            inner = target.setdefault(key, {})
            if not isinstance(inner, dict):
                break
            target[key] = target = dict(inner)
        else:
            target[path[-1]] = value
    return result
