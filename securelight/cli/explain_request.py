"""What a configuration makes of one request: `securelight check --explain URL`.

The pipeline is compiled as for a worker and really run, with what it would ask put on record; only applications and
servers behind us are not asked. Nothing is started and nobody is connected to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

import trio

from securelight.config.faults import printable
from securelight.features import FEATURES
from securelight.files.content_cache import ContentCache
from securelight.model.errors import Refusal, SecurelightError
from securelight.model.field_syntax import is_field_name
from securelight.model.headers import Fields, Headers
from securelight.model.request import UNIX, Facts, Peer, Request, TlsFacts
from securelight.model.response import Response, reason_phrase
from securelight.model.uri import parse_authority, parse_target
from securelight.pipeline.compile import BuildContext, Feature, compile_sites
from securelight.pipeline.conditions import is_address
from securelight.pipeline.run import Outcome, finish, run
from securelight.pipeline.stage import Deferred, Rewritten
from securelight.server.geo_service import geo_databases

if TYPE_CHECKING:
    from securelight.config.schema import Config, SiteConfig
    from securelight.pipeline.exchange import Exchange

T = TypeVar("T")
_RUN: frozenset[str] = frozenset({"static_file", "respond"})
"""Handlers whose answer can be had without asking anybody."""


class Asked(NamedTuple):
    """The request to explain, as typed.

    Attributes:
        url: `https://host/path?query`.
        headers: lines such as `Accept: text/html`.
        address: of the client.
        method: such as GET.
    """

    url: str
    headers: Sequence[str] = ()
    address: str = "127.0.0.1"
    method: str = "GET"


class BadQuestion(SecurelightError):
    """What was typed is not a request."""


def explain(config: Config, asked: Asked) -> list[str]:
    """What happens to the request, a line for each step.

    Args:
        config: one without faults.
        asked: the request.

    Errors: BadQuestion; ConfigError from a builder.
    """
    request, site = _request_of(config, asked)
    record = _Record()
    context = BuildContext(config.server.limits, ContentCache(config.server.limits), _Silence(), trace=record.condition)
    if config.server.geoip.databases:
        context.geo = geo_databases(config.server.geoip.databases, context.events)
        Facts.find_place = context.geo.facts_of
    sites = compile_sites(config, [record.watched(feature) for feature in FEATURES], context)
    record.line("request", f"{request.method} {asked.url} from {asked.address}")
    if site is None:
        record.line("site", f"none has the host {request.host}")
    else:
        record.line("site", f"{site.where}, for {', '.join(site.hosts)}")
    facts = Facts(asked.address)
    route_of = sites.route_of

    def told_route_of(request: Request, facts: Facts) -> Any:
        route = route_of(request, facts)
        place = next(
            (one.where for one in (site.routes if site else ()) if one.path == route.path and one.when is None), ""
        )
        record.line("route", f"{route.path}{f', {place}' if place and route.when is None else ''}")
        return route

    sites.route_of = told_route_of  # type: ignore[method-assign]  # each request is told of its route
    outcome = run(sites, request, facts)
    if isinstance(outcome, Outcome):
        outcome = trio.run(_waited_for, sites, outcome)
    record.answer(outcome, facts)
    return record.lines


async def _waited_for(sites: Any, outcome: Outcome) -> Response:
    """The answer of a file that has to be read by a thread."""
    while True:
        exchange: Exchange = _Exchange(outcome.request, outcome.facts)  # type: ignore[assignment]  # has what is asked of it
        try:
            answer: Any = await outcome.deferred.run(exchange)
        except Refusal as refusal:
            return outcome.route.refuse(outcome.request, outcome.facts, refusal)
        result = finish(sites, outcome, answer)
        if isinstance(result, Response):
            return result
        outcome = result


class _Exchange:
    """As much of an Exchange as files need."""

    def __init__(self, request: Request, facts: Facts) -> None:
        self.request = request
        self.facts = facts

    async def in_thread(self, function: Callable[[], T]) -> T:
        return await trio.to_thread.run_sync(function)

    def inform(self, _status: int, _fields: Fields) -> None: ...


class _Silence:
    """An event log that nobody reads."""

    def info(self, event: str, **values: Any) -> None: ...
    def warning(self, event: str, **values: Any) -> None: ...
    def error(self, event: str, **values: Any) -> None: ...


class _Record:
    """Collects what happens."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._filters: list[str] = []

    def line(self, what: str, text: str) -> None:
        """Remember a step."""
        self.lines.append(f"{what:<9}{printable(text, 500)}")

    def condition(self, place: str, fits: bool) -> None:
        """A condition was asked."""
        self.line("  when", f"{place.rpartition(': ')[2]}: {'fits' if fits else 'does not fit'}")

    def watched(self, feature: Feature) -> Feature:
        """`feature`, with what it does put on record."""
        wraps: dict[str, Callable[[str, Any], Any]] = {
            "stage": self._stage,
            "handler": self._handler,
            "filter": self._filter,
        }
        wrap = wraps[feature.kind]
        if feature.kind == "handler" and feature.name not in _RUN:
            return _built_by(feature, lambda settings, _context: self._named(feature.name, settings))

        def build(settings: Any, context: BuildContext) -> Any:
            made = feature.build(settings, context)
            return None if made is None else wrap(feature.name, made)  # the log and the cache stand elsewhere

        return _built_by(feature, build)

    def _stage(self, name: str, stage: Callable[[Request, Facts], Any]) -> Any:
        def watched(request: Request, facts: Facts) -> Any:
            try:
                answer = stage(request, facts)
            except Refusal as refusal:
                self.line("stage", f"{name}: refuses with {refusal.status} ({refusal.detail or refusal.public})")
                raise
            if answer is None:
                self.line("stage", f"{name}: lets it pass")
            elif isinstance(answer, Rewritten):
                what = f"asks for {_shown(answer.request)} instead" if answer.restart else "changes its fields"
                self.line("stage", f"{name}: {what}")
            elif isinstance(answer, Deferred):
                self.line("stage", f"{name}: has to wait; taken to let it pass")
                return None
            else:
                self.line("stage", f"{name}: answers")
            return answer

        return watched

    def _handler(self, name: str, handler: Callable[[Request, Facts], Any]) -> Any:
        def watched(request: Request, facts: Facts) -> Any:
            self.line("handler", name)
            return handler(request, facts)

        return watched

    def _named(self, name: str, settings: Any) -> Any:
        told = next(
            (f" {key} = {value!r}" for key in ("upstreams", "app", "address", "root", "script", "command")
             if (value := getattr(settings, key, None))), ""
        )  # fmt: skip

        def named(_request: Request, _facts: Facts) -> Response:
            self.line("handler", f"{name}{told}; it is not asked here")
            return Response(200)

        return named

    def _filter(self, name: str, apply: Callable[[Request, Facts, Response], Response]) -> Any:
        def watched(request: Request, facts: Facts, response: Response) -> Response:
            after = apply(request, facts, response)
            self._filters += [name] if after is not response else []
            return after

        return watched

    def answer(self, response: Response, facts: Facts) -> None:
        """The end of it."""
        if facts.captures:
            self.line("captures", ", ".join(f"{name} = {value!r}" for name, value in sorted(facts.captures.items())))
        if self._filters:
            self.line("filters", ", ".join(self._filters))
        why = f" ({facts.refusal.detail or facts.refusal.public})" if facts.refusal is not None else ""
        self.line("answer", f"{response.status} {reason_phrase(response.status)}{why}")
        for name, value in response.fields:
            self.line("", f"{name.decode('latin-1')}: {value.decode('latin-1')}")
        response.release()


def _built_by(feature: Feature, build: Callable[[Any, BuildContext], Any]) -> Feature:
    return Feature(
        feature.name, feature.kind, feature.config_class, build, feature.check, feature.repeatable, feature.finds_user
    )


def _shown(request: Request) -> str:
    return request.target.decode("ascii", "replace")


def _request_of(config: Config, asked: Asked) -> tuple[Request, SiteConfig | None]:
    try:
        parts = urlsplit(asked.url)
        target = ((parts.path or "/") + (f"?{parts.query}" if parts.query else "")).encode("ascii")
        if parts.scheme not in ("https", "http") or not parts.netloc:
            raise ValueError("it has to begin with https:// and a host")
        path, query = parse_target(target)
        authority, host = parse_authority(parts.netloc.encode("ascii"))
    except (Refusal, ValueError) as error:
        raise BadQuestion(f"{printable(asked.url)} is not a URL that could be asked for: {error}") from error
    if asked.address != UNIX and not is_address(asked.address):
        raise BadQuestion(f"--from {printable(asked.address)} is not an IP address")
    site = _site_of(config, host)
    tls = TlsFacts(server_name=host, alpn="h2", asked_by="" if site is None else site.where)
    request = Request(
        asked.method,
        path,
        Headers([(b"host", authority.encode()), *map(_field, asked.headers)]),
        peer=Peer(asked.address, 0, tls=tls),
        scheme=parts.scheme,
        authority=authority,
        host=host,
        target=target,
        query=query,
        http_version="2",
    )
    return request, site


def _field(line: str) -> tuple[bytes, bytes]:
    name, colon, value = line.partition(":")
    if not colon or not is_field_name(name.strip()):
        raise BadQuestion(f"-H {printable(line)} is not a field; write -H 'Accept: text/html'")
    return name.strip().lower().encode("ascii"), value.strip().encode("utf-8")


def _site_of(config: Config, host: str) -> SiteConfig | None:
    def named(wanted: str) -> Iterator[SiteConfig]:
        return (site for site in config.sites if wanted in site.hosts)

    dots = [place for place, character in enumerate(host) if character == "."]
    for wanted in (host, *(f"*{host[place:]}" for place in dots), "*"):
        for site in named(wanted):
            return site
    return None
