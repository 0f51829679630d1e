"""`when`: which requests a route or a rule is for, as it stands in the configuration.

Every key that is there has to fit; of a list, one element is enough. `all`, `any` and `not` hold further conditions.
What they mean to a request is in pipeline/conditions.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Final, Literal

import msgspec

from securelight.model.field_syntax import is_field_name
from securelight.model.forwarded import parse_networks
from securelight.model.patterns import compile_pattern

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

MAXIMUM_DEPTH: Final = 8
"""Of conditions inside of conditions."""

Pattern = Annotated[str, msgspec.Meta(min_length=1)]
Continent = Literal["AF", "AN", "AS", "EU", "NA", "OC", "SA"]
_COUNTRY: Final = re.compile(r"[A-Z]{2}|\*")


class Condition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`when`: which requests are meant.

    A pattern is a text in which `*` stands for any characters, none and slashes too.
    """

    method: list[Pattern] = []
    """Methods, such as `["POST", "PUT"]`."""
    scheme: Literal["https", "http"] | None = None
    host: list[Pattern] = []
    """Patterns of the host name, without its port: `["*.example.org"]`."""
    path: list[Pattern] = []
    """Patterns of the decoded path: `["/downloads/*", "*.php"]`."""
    path_prefix: list[Pattern] = []
    """Paths with everything below them: `/admin` is `/admin` and `/admin/users`, not `/administrator`."""
    path_regex: str = ""
    """A regular expression that is searched for in the path; its groups are captures: `^/blog/(?P<slug>[a-z-]+)$`."""
    query: dict[str, str] = {}
    """Decoded parameters of the query, with a pattern each; `"*"` asks for no more than that it is there."""
    query_regex: str = ""
    """A regular expression that is searched for in the query as it was sent."""
    header: dict[str, str] = {}
    """Request fields, with a pattern each; several must all fit."""
    header_regex: dict[str, str] = {}
    """Request fields, with a regular expression each."""
    cookie: dict[str, str] = {}
    """Cookies, with a pattern each."""
    client: list[Pattern] = []
    """Addresses and networks of the client, behind trusted_proxies of the site: `["10.0.0.0/8", "::1"]`."""
    country: list[Pattern] = []
    """Countries that the client's address is from, by `[server.geoip]`: `["DE", "AT"]`; `"*"` for any that is known.
    The captures `country`, `continent` and `asn` then say what is known."""
    continent: list[Continent] = []
    """Continents, such as `["EU"]`."""
    asn: list[Annotated[int, msgspec.Meta(ge=1, le=(1 << 32) - 1)]] = []
    """Autonomous systems: the networks of providers, by number."""
    certificate: bool | None = None
    """Whether the client has proved itself with a certificate."""
    user: list[Pattern] = []
    """Patterns of the user's name, as far as it is known by then: of a certificate always, of a password to rules."""
    file_exists: str = ""
    """A folder: the path of the request is that of a file below it."""
    all: list[Condition] = []
    """Further conditions that must all fit."""
    any: list[Condition] = []
    """Further conditions of which one must fit."""
    not_: Condition | None = msgspec.field(name="not", default=None)
    """A condition that must not fit."""


def condition_faults(settings: Condition, name: str = "when") -> list[str]:
    """What is wrong with a condition, besides its types; `name` is its key."""
    return list(_faults(settings, name, 1))


def _faults(settings: Condition, name: str, depth: int) -> Sequence[str]:
    if depth > MAXIMUM_DEPTH:
        return [f"{name} is nested more than {MAXIMUM_DEPTH} deep"]
    faults: list[str] = []
    if settings == Condition():
        faults.append(f"{name} is empty, which fits every request; leave it out, or name what has to fit")
    regexes = {f"{name}.path_regex": settings.path_regex, f"{name}.query_regex": settings.query_regex}
    regexes |= {f"{name}.header_regex.{field}": text for field, text in settings.header_regex.items()}
    for key, text in regexes.items():
        try:
            compile_pattern(text)
        except ValueError as error:
            faults.append(f"{key}: {error}")
    for key, paths in (("path", settings.path), ("path_prefix", settings.path_prefix)):
        faults += [
            f"{name}.{key}: {path!r} has to begin with a slash" + (" or a *" if key == "path" else "")
            for path in paths
            if not path.startswith("/") and not (key == "path" and path.startswith("*"))
        ]
    faults += [
        f"{name}.{key}: {field!r} is not a field name"
        for key, names in (("header", settings.header), ("header_regex", settings.header_regex))
        for field in names
        if not is_field_name(field)
    ]
    try:
        parse_networks(settings.client)
    except ValueError as error:
        faults.append(f"{name}.client: {error}")
    faults += [
        f"{name}.country: {text!r} is not a country; write two capitals of ISO 3166, such as DE, or *"
        for text in settings.country
        if not _COUNTRY.fullmatch(text)
    ]
    for key, inner in (("all", settings.all), ("any", settings.any)):
        for number, one in enumerate(inner):
            faults += _faults(one, f"{name}.{key}[{number}]", depth + 1)
    if settings.not_ is not None:
        faults += _faults(settings.not_, f"{name}.not", depth + 1)
    return faults


def asks_for_place(settings: Condition) -> bool:
    """Whether it, leaving out those inside of it, asks where the client's address is from."""
    return bool(settings.country or settings.continent or settings.asn)


def conditions_in(settings: object) -> Iterator[Condition]:
    """All conditions of a feature's settings or a part of them: they stand in rules, and in each other."""
    if isinstance(settings, Condition):
        yield settings
    inner: Iterable[object] = ()
    if isinstance(settings, msgspec.Struct):
        inner = [getattr(settings, name) for name in settings.__struct_fields__]
    elif isinstance(settings, (list, tuple)):
        inner = settings
    elif isinstance(settings, dict):
        inner = settings.values()
    for item in inner:
        yield from conditions_in(item)
