"""Makes the conditions of the configuration (config/conditions) into functions, once; a request meets no configuration.

The cheap tests come first, and none is made once one has failed. What a condition captures is a fact of the request
only if the whole of it fits. A text that is longer than an expression may be given (model/patterns) is refused rather
than taken for one that does not fit: else padding would be a way around a rule.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from pathlib import Path
from stat import S_ISREG
from time import monotonic
from typing import TYPE_CHECKING, Final, NamedTuple

from securelight.config.conditions import Condition, asks_for_place, condition_faults, conditions_in
from securelight.files.safe_path import DocumentRoot, relative_path
from securelight.model.errors import Refusal
from securelight.model.forwarded import TrustedProxies, parse_networks
from securelight.model.headers import CREDENTIALS
from securelight.model.patterns import BoundedPattern, PatternTooLong, compile_pattern
from securelight.model.request import Facts, Request
from securelight.pipeline.request_values import cookie_values, query_values

if TYPE_CHECKING:
    from securelight.files.geo_database import GeoDatabases
    from securelight.model.forwarded import Network

Test = Callable[[Request, Facts], bool]
TextTest = Callable[[str], bool]

NO_DATABASES: Final = "country, continent and asn need databases; name them in [server.geoip]"
PLACE_CAPTURES: Final = frozenset({"country", "continent", "asn"})
_FILES_REMEMBERED: Final = 1_024
_FILE_SECONDS: Final = 1.0
"""How long it is believed that a file is there, as in files/content_cache."""


class Compiled:
    """A condition, ready to run.

    Attributes:
        test: whether a request fits; sets `facts.captures` if it does. It may raise Refusal.
        captures: the names that it may set.
        head_only: whether it depends on nothing but the request's head, its credentials aside.
    """

    __slots__ = ("captures", "head_only", "test")

    def __init__(self, test: Test, captures: frozenset[str], *, head_only: bool) -> None:
        self.test = test
        self.captures = captures
        self.head_only = head_only


def compile_condition(settings: Condition, base: Path, geo: GeoDatabases | None = None) -> Compiled:
    """The condition `settings`.

    Args:
        settings: the condition.
        base: where its relative paths start from.
        geo: knows where addresses are from; None if nothing does.

    Errors: ValueError for what `condition_faults` reports, and for a question that needs `geo` where there is none.
    """
    faults = condition_faults(settings)
    if geo is None and any(map(asks_for_place, conditions_in(settings))):
        faults.append(NO_DATABASES)
    if faults:
        raise ValueError("; ".join(faults))
    captures: set[str] = set()
    tests = _tests(settings, _World(base, geo), captures)
    test = tests[0] if len(tests) == 1 else _every(tests)
    if captures and (len(tests) > 1 or settings.any):  # a single expression captures only where it matches
        test = _keeping_captures(test)
    return Compiled(test, frozenset(captures), head_only=depends_on_head_only(settings))


def captured_names(settings: Condition | None) -> frozenset[str]:
    """The captures that a condition may set; none if it has faults."""
    if settings is None:
        return frozenset()
    names: frozenset[str] = PLACE_CAPTURES if asks_for_place(settings) else frozenset()
    for text in (settings.path_regex, settings.query_regex, *settings.header_regex.values()):
        try:
            names |= compile_pattern(text).names if text else frozenset()
        except ValueError:
            continue
    for inner in (*settings.all, *settings.any):
        names |= captured_names(inner)
    return names


def glob_test(patterns: Sequence[str]) -> TextTest:
    """Whether a text fits one of `patterns`, in which `*` stands for any characters. Takes linear time."""
    exact = frozenset(pattern for pattern in patterns if "*" not in pattern)
    starts = tuple(pattern[:-1] for pattern in patterns if pattern.find("*") == len(pattern) - 1)
    ends = tuple(pattern[1:] for pattern in patterns if pattern.rfind("*") == 0 and pattern != "*")
    others = tuple(tuple(p.split("*")) for p in patterns if p.rfind("*") > 0 and p.find("*") != len(p) - 1)

    def fits(text: str) -> bool:
        if text in exact or (starts and text.startswith(starts)) or (ends and text.endswith(ends)):
            return True
        return any(_fits_parts(text, parts) for parts in others)

    if "" in starts:
        return lambda _text: True
    if not starts and not ends and not others:
        return exact.__contains__
    if not exact and not ends and not others:
        return lambda text: text.startswith(starts)
    return fits


def _fits_parts(text: str, parts: tuple[str, ...]) -> bool:
    first, last = parts[0], parts[-1]
    if len(text) < len(first) + len(last) or not text.startswith(first) or not text.endswith(last):
        return False
    place, end = len(first), len(text) - len(last)
    for part in parts[1:-1]:
        place = text.find(part, place, end)
        if place < 0:
            return False
        place += len(part)
    return True


def depends_on_head_only(settings: Condition) -> bool:
    """Whether it depends on nothing but the request's head, its credentials aside."""
    if settings.client or settings.certificate is not None or settings.user or settings.file_exists:
        return False
    if settings.cookie or any(
        name.lower().encode() in CREDENTIALS for name in (*settings.header, *settings.header_regex)
    ):
        return False
    if asks_for_place(settings):
        return False
    inner = (*settings.all, *settings.any, *(() if settings.not_ is None else (settings.not_,)))
    return all(map(depends_on_head_only, inner))


class _World(NamedTuple):
    """What tests look at beside the request."""

    base: Path
    geo: GeoDatabases | None


def _tests(settings: Condition, world: _World, captures: set[str]) -> list[Test]:
    """The tests of one condition, the cheap ones first."""
    tests: list[Test] = []
    if settings.method:
        tests.append(_method(frozenset(settings.method)))
    if settings.scheme is not None:
        tests.append(_scheme(settings.scheme))
    if settings.host:
        tests.append(_host([host.lower() for host in settings.host]))
    tests += _path_tests(settings, captures)
    tests += _field_tests(settings, captures)
    if settings.client:
        tests.append(_client(parse_networks(settings.client)))
    if asks_for_place(settings) and world.geo is not None:
        tests.append(_place(settings, world.geo))
        captures |= PLACE_CAPTURES
    if settings.certificate is not None:
        tests.append(_certificate(settings.certificate))
    if settings.user:
        tests.append(_user(glob_test(settings.user)))
    for inner in settings.all:
        tests += _tests(inner, world, captures)
    if settings.any:
        tests.append(_some([_every(_tests(inner, world, captures)) for inner in settings.any]))
    if settings.not_ is not None:
        tests.append(_none(_every(_tests(settings.not_, world, set()))))
    if settings.file_exists:
        tests.append(_file(DocumentRoot(world.base / settings.file_exists)))
    return tests


def _every(tests: Sequence[Test]) -> Test:
    if len(tests) == 1:
        return tests[0]
    if len(tests) == 2:
        first, second = tests
        return lambda request, facts: first(request, facts) and second(request, facts)
    return lambda request, facts: all(test(request, facts) for test in tests)


def _some(tests: Sequence[Test]) -> Test:
    return lambda request, facts: any(test(request, facts) for test in tests)


def _none(test: Test) -> Test:
    def fits_not(request: Request, facts: Facts) -> bool:
        before = facts.captures
        fits = test(request, facts)
        facts.captures = before
        return not fits

    return fits_not


def _keeping_captures(test: Test) -> Test:
    def fits(request: Request, facts: Facts) -> bool:
        before = facts.captures
        if test(request, facts):
            return True
        facts.captures = before
        return False

    return fits


def _method(methods: frozenset[str]) -> Test:
    return lambda request, _facts: request.method in methods


def _scheme(scheme: str) -> Test:
    return lambda request, _facts: request.scheme == scheme


def _host(patterns: Sequence[str]) -> Test:
    fits = glob_test(patterns)
    return lambda request, _facts: fits(request.host)


def _path_tests(settings: Condition, captures: set[str]) -> list[Test]:
    tests: list[Test] = []
    if settings.path:
        tests.append(_path(settings.path))
    if settings.path_prefix:
        tests.append(_path_prefix(settings.path_prefix))
    if settings.path_regex:
        pattern = compile_pattern(settings.path_regex)
        captures |= pattern.names
        tests.append(_path_regex(pattern))
    return tests


def _path(patterns: Sequence[str]) -> Test:
    if len(patterns) == 1 and "*" not in patterns[0]:
        only = patterns[0]
        return lambda request, _facts: request.path == only
    if len(patterns) == 1 and patterns[0].find("*") == len(patterns[0]) - 1:
        start = patterns[0][:-1]
        return lambda request, _facts: request.path.startswith(start)
    if len(patterns) == 1 and patterns[0].rfind("*") == 0:
        end = patterns[0][1:]
        return lambda request, _facts: request.path.endswith(end)
    fits = glob_test(patterns)
    return lambda request, _facts: fits(request.path)


def _path_prefix(prefixes: Sequence[str]) -> Test:
    if len(prefixes) == 1:
        prefix = prefixes[0].rstrip("/")
        length = len(prefix)
        return lambda request, _facts: (
            request.path.startswith(prefix) and request.path[length : length + 1] in ("/", "")
        )
    exact = frozenset(prefix.rstrip("/") for prefix in prefixes)
    starts = tuple(prefix + "/" for prefix in exact)
    return lambda request, _facts: request.path.startswith(starts) or request.path in exact


def _search(pattern: BoundedPattern, text: str, facts: Facts, what: str) -> bool:
    try:
        match = pattern.search(text)
    except PatternTooLong as error:
        detail = f"{what} of {len(text)} characters for {pattern.expression.pattern[:80]!r}"
        raise Refusal(414 if what in ("path", "query") else 431, f"The {what} is too long.", detail) from error
    if match is None:
        return False
    if pattern.names:
        found = {name: text for name, text in match.groupdict().items() if text is not None}
        found |= {str(number): text for number, text in enumerate(match.groups(), 1) if text is not None}
        facts.captures = found if facts.captures is None else facts.captures | found
    return True


def _path_regex(pattern: BoundedPattern) -> Test:
    literal = pattern.literal
    if not literal:
        search, longest = pattern.expression.search, pattern.longest
        if pattern.names:
            return lambda request, facts: _search(pattern, request.path, facts, "path")
        return lambda request, facts: (
            search(request.path) is not None
            if len(request.path) <= longest
            else _search(pattern, request.path, facts, "path")
        )
    return lambda request, facts: request.path.startswith(literal) and _search(pattern, request.path, facts, "path")


def _field_tests(settings: Condition, captures: set[str]) -> list[Test]:
    tests: list[Test] = []
    for name, text in settings.header.items():
        tests.append(_header(name.lower().encode(), text))
    for name, text in settings.query.items():
        tests.append(_query(name, glob_test([text])))
    for name, text in settings.cookie.items():
        tests.append(_cookie(name, glob_test([text])))
    if settings.query_regex:
        pattern = compile_pattern(settings.query_regex)
        captures |= pattern.names
        tests.append(_query_regex(pattern))
    for name, text in settings.header_regex.items():
        pattern = compile_pattern(text)
        captures |= pattern.names
        tests.append(_header_regex(name.lower().encode(), pattern))
    return tests


def _query_regex(pattern: BoundedPattern) -> Test:
    return lambda request, facts: _search(pattern, request.query.decode("ascii", "replace"), facts, "query")


def _header(name: bytes, pattern: str) -> Test:
    fits = glob_test([pattern])
    if pattern.isascii() and pattern.find("*") == len(pattern) - 1:
        start = pattern[:-1].encode()
        if start:
            return lambda request, _facts: (request.headers.get(name) or b"").startswith(start)
        return lambda request, _facts: name in request.headers

    def header(request: Request, _facts: Facts) -> bool:
        value = request.headers.get(name)
        return value is not None and fits(value.decode("latin-1"))

    return header


def _header_regex(name: bytes, pattern: BoundedPattern) -> Test:
    what = f"field {name.decode()}"

    def header_regex(request: Request, facts: Facts) -> bool:
        value = request.headers.get(name)
        return value is not None and _search(pattern, value.decode("latin-1"), facts, what)

    return header_regex


def _query(name: str, fits: TextTest) -> Test:
    return lambda request, _facts: bool(request.query) and any(map(fits, query_values(request, name)))


def _cookie(name: str, fits: TextTest) -> Test:
    return lambda request, _facts: any(map(fits, cookie_values(request, name)))


def address_test(networks: Sequence[Network]) -> TextTest:
    """Whether the address in a text is in one of `networks`; a text that is none is in none."""
    return TrustedProxies(networks).trusts


def _client(networks: Sequence[Network]) -> Test:
    trusts = TrustedProxies(networks).trusts
    return lambda _request, facts: trusts(facts.client_address)


def _place(settings: Condition, geo: GeoDatabases) -> Test:
    any_country, countries = "*" in settings.country, frozenset(settings.country)
    continents, networks = frozenset(settings.continent), frozenset(settings.asn)

    def place(_request: Request, facts: Facts) -> bool:
        known = geo.facts_of(facts.client_address)
        if countries and known.country not in countries and not (any_country and known.country):
            return False
        if (continents and known.continent not in continents) or (networks and known.asn not in networks):
            return False
        found = {"country": known.country, "continent": known.continent, "asn": str(known.asn) if known.asn else ""}
        facts.captures = found if facts.captures is None else facts.captures | found
        return True

    return place


def is_address(text: str) -> bool:
    """Whether `text` is an IP address."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _certificate(wanted: bool) -> Test:
    return lambda _request, facts: (facts.certificate is not None) is wanted


def _user(fits: TextTest) -> Test:
    return lambda _request, facts: facts.user is not None and fits(facts.user)


def _file(root: DocumentRoot) -> Test:
    seen: dict[str, tuple[bool, float]] = {}

    def file_exists(request: Request, _facts: Facts) -> bool:
        now = monotonic()
        known = seen.get(request.path)
        if known is not None and now < known[1]:
            return known[0]
        if len(seen) >= _FILES_REMEMBERED:
            seen.clear()
        found = _is_file(root, request.path)
        seen[request.path] = found, now + _FILE_SECONDS
        return found

    return file_exists


def _is_file(root: DocumentRoot, path: str) -> bool:
    relative = None if path.endswith("/") else relative_path(path, well_known=True)
    if relative is None:
        return False
    try:
        descriptor, status = root.open(relative)
    except OSError:
        return False
    os.close(descriptor)
    return S_ISREG(status.st_mode)
