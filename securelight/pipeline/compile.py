"""Turns the configuration into flat tuples of callables, once per worker, so that a request meets no configuration.

A feature's builder is called here with its settings and a BuildContext. What it returns has the shape of its kind
(pipeline/stage). A builder that cannot do what the settings ask raises ConfigError.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from securelight.config.logs import FEATURE_NAME as LOG
from securelight.model.errors import ConfigError, Refusal
from securelight.model.forwarded import TrustedProxies, parse_networks
from securelight.model.status import error_response
from securelight.pipeline.client_identity import client_identity
from securelight.pipeline.conditions import compile_condition, depends_on_head_only
from securelight.pipeline.scoreboard import Scoreboard

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    import msgspec

    from securelight.config.conditions import Condition
    from securelight.config.schema import Config, FeatureConfig, FeatureKind, RouteConfig, SiteConfig
    from securelight.files.content_cache import ContentCache
    from securelight.files.geo_database import GeoDatabases
    from securelight.model.limits import Limits
    from securelight.model.request import Facts, Request
    from securelight.model.response import Response
    from securelight.pipeline.conditions import Test
    from securelight.pipeline.error_route import ErrorHandlers
    from securelight.pipeline.stage import Filter, Handler, Stage


T = TypeVar("T")


class InThread(Protocol):
    """Runs a blocking function in a thread, bounded by Limits.worker_threads; not cancelled half-way."""

    async def __call__(self, function: Callable[[], T]) -> T: ...  # noqa: D102 - as the class says


async def _no_wait(_seconds: float) -> None:
    pass


async def _at_once(function: Callable[[], T]) -> T:
    return function()


class Service(Protocol):
    """Something that runs beside the requests for as long as a worker lives, such as an application's lifespan."""

    async def run(self, ready: Callable[[], None]) -> None:
        """Run until cancelled; call `ready` once requests may come. Raising before that stops the worker's start."""


class EventLog(Protocol):
    """The event log, as structlog gives it."""

    def info(self, event: str, **values: Any) -> Any: ...  # noqa: D102 - as its name says
    def warning(self, event: str, **values: Any) -> Any: ...  # noqa: D102 - as its name says
    def error(self, event: str, **values: Any) -> Any: ...  # noqa: D102 - as its name says


@dataclass(slots=True)
class BuildContext:
    """What a builder may use.

    Attributes:
        limits: the server's bounds.
        content_cache: the worker's one cache of file facts and small contents.
        events: where to report.
        base: the directory that relative paths of this feature's settings start from.
        where: file and key path of the settings, for ConfigError.
        route_path: the prefix of the route that the feature is built for, `/` or without a trailing slash.
        services: append to it what has to run beside the requests.
        in_thread: for bodies that are made by blocking work; the worker sets it.
        clock: monotonic seconds.
        scoreboard: what the workers say of themselves.
        inner_routes: the paths of the site's other routes that lie below this one's.
        around: append to it what is to stand between the route's stages and its handler; then return None.
        repeatable: that this route was chosen, what its stages let pass, and its filters depend on the request's head,
            its credentials aside, and the response alone, so that a handler of which the same is true may set
            `facts.basis`.
        upgrades: set it in the builder of a handler that grants upgrades (Exchange.upgrade); other handlers never see
            the CONNECT of HTTP/2.
    """

    limits: Limits
    content_cache: ContentCache
    events: EventLog
    base: Path = Path()
    where: str = ""
    route_path: str = "/"
    services: list[Service] = field(default_factory=list)
    in_thread: InThread = _at_once
    scoreboard: Scoreboard = field(default_factory=lambda: Scoreboard(1))
    clock: Callable[[], float] = monotonic
    sleep: Callable[[float], Awaitable[None]] = _no_wait
    """Waits so many seconds; the worker sets it."""
    workers: int = 1
    """How many share what a setting grants to all of them together."""
    made: dict[str, tuple[object, object]] = field(default_factory=dict)
    """What `shared` gave, by place."""
    error_handlers: ErrorHandlers | None = None
    """Set it in a builder to have errors of the route answered elsewhere."""
    inner_routes: tuple[str, ...] = ()
    around: list[Callable[[Handler], Handler]] = field(default_factory=list)
    repeatable: bool = False
    upgrades: bool = False
    first: list[Stage] = field(default_factory=list)
    """Stages that come before those that find out who the client is; they answer nothing."""
    stages: list[Stage] = field(default_factory=list)
    """What a filter has to do to the requests of its route too: its builder appends it. These run before other stages,
    and let pass what they do not answer."""
    filters: list[Filter] = field(default_factory=list)
    """What a stage has to do to the answers of its route too: its builder appends it. These run before other filters,
    and those of a repeatable stage are repeatable."""
    by_user: list[Stage] = field(default_factory=list)
    """Append to it a stage that has to know the user: it runs after those that find out who that is."""
    geo: GeoDatabases | None = None
    """Knows where addresses are from; None without `[server.geoip]`."""
    guards: list[Test] = field(default_factory=list)
    """What a stage lets pass, if it keeps requests out by what they ask for: it appends that, so that lists of what
    there is leave out what could not be had. A handler keeps the list itself, because stages may come later."""
    trace: Callable[[str, bool], None] | None = None
    """Told which conditions were asked, and whether they fitted; for `check --explain` alone."""

    def shared(self, settings: object, make: Callable[[], T]) -> T:
        """What `make` gives, once for all routes that have these very `settings` from their site."""
        known = self.made.get(self.where)
        if known is None or known[0] is not settings:
            known = self.made[self.where] = settings, make()
        return cast(T, known[1])

    def condition(self, settings: Condition | None, key: str) -> Test | None:
        """The condition `settings` that stands at `key` of the feature's settings, ready to run; None for None.

        Errors: ConfigError.
        """
        if settings is None:
            return None
        place = f"{self.where}.{key}"
        try:
            test = compile_condition(settings, self.base, self.geo).test
        except ValueError as error:
            raise ConfigError(place, str(error)) from error
        trace = self.trace
        return test if trace is None else _traced(test, place, trace)


def _traced(test: Test, place: str, trace: Callable[[str, bool], None]) -> Test:
    def traced(request: Request, facts: Facts) -> bool:
        fits = test(request, facts)
        trace(place, fits)
        return fits

    return traced


@dataclass(frozen=True, slots=True)
class Feature:
    """One row of the feature table.

    Attributes:
        name: its key in a site or route table.
        kind: what `build` returns.
        config_class: the struct that its table is converted to.
        build: makes the stage, handler or filter.
        check: what `securelight check` asks of the settings beyond their types (files that must exist ...); gives one
            message for each fault. It must not change anything.
        repeatable: of a filter: what it does to a response that is sent many times depends on nothing but that and the
            request's head, its credentials (model/headers) aside. Of a stage: the same, where it lets a request pass.
            If that depends on the settings, a function of them.
        finds_user: of a stage: it finds out who the user is.
    """

    name: str
    kind: FeatureKind
    config_class: type[msgspec.Struct]
    build: Callable[[Any, BuildContext], Any]
    check: Callable[[Any, Path], Sequence[str]] = lambda _settings, _base: ()
    repeatable: bool | Callable[[Any], bool] = False
    finds_user: bool = False

    def is_repeatable(self, settings: Any) -> bool:
        """Whether it is, with these settings."""
        return self.repeatable(settings) if callable(self.repeatable) else self.repeatable


class Route:
    """One route, ready to run; `when` says which requests below its path it is for."""

    __slots__ = ("bare_handler", "error_handlers", "filters", "handler", "path", "prefix", "stages", "upgrades", "when")

    def __init__(
        self,
        path: str,
        stages: tuple[Stage, ...],
        handler: Handler,
        filters: tuple[Filter, ...] = (),
        *,
        upgrades: bool = False,
        when: Test | None = None,
    ) -> None:
        self.path = path
        self.prefix = "" if path == "/" else path
        self.stages = stages
        self.handler = handler
        self.filters = filters
        self.upgrades = upgrades
        """The handler may grant an upgrade."""
        self.when = when
        self.bare_handler = handler
        """Without what stands around it."""
        self.error_handlers: ErrorHandlers | None = None
        """Who answers its errors; None for nobody but the server."""

    def filtered(self, request: Request, facts: Facts, response: Response) -> Response:
        """`response` after all filters."""
        for apply in self.filters:
            response = apply(request, facts, response)
        return response

    def refuse(self, request: Request, facts: Facts, refusal: Refusal) -> Response:
        """The error page for `refusal`, through the filters; a misdirected request sees nothing of the site."""
        facts.refusal = refusal
        response = error_response(refusal, facts.error_id)
        return response if refusal.status == 421 else self.filtered(request, facts, response)


def _nothing_here(_request: Request, _facts: Facts) -> Response:
    raise Refusal(404, "There is nothing here.")


def _not_our_host(request: Request, _facts: Facts) -> Response:
    raise Refusal(421, "This server does not serve that host.", f"host {request.host[:80]!r}")


class CompiledSites:
    """All sites: finds the route of a request.

    Attributes:
        limits: the server's bounds.
        upgrades: some route grants upgrades.
    """

    def __init__(self, limits: Limits, events: EventLog | None = None) -> None:
        self.limits = limits
        self._events = events
        self._loops: set[str] = set()
        self.upgrades = False
        self.default_route = Route("/", (), _not_our_host)
        self._exact: dict[str, tuple[Route, ...]] = {}
        self._suffixes: dict[str, tuple[Route, ...]] = {}
        self._fallback: tuple[Route, ...] = (self.default_route,)

    def rewrites_in_a_circle(self, rule: str) -> None:
        """Tell of a rule that does, once: whoever knows a path that meets it could fill the log."""
        if rule not in self._loops and self._events is not None:
            self._loops.add(rule)
            self._events.warning("rewrite loop", rule=rule)

    def add(self, hosts: Sequence[str], routes: Sequence[Route]) -> None:
        """Serve `routes` for `hosts`; a later site never takes a host from an earlier one."""
        ordered = sorted(routes, key=lambda route: (-len(route.prefix), route.when is None))
        if not ordered or ordered[-1].prefix or ordered[-1].when is not None:
            ordered.append(Route("/", (), _nothing_here))
        compiled = tuple(ordered)
        self.upgrades = self.upgrades or any(route.upgrades for route in compiled)
        for host in hosts:
            if host == "*":
                if self._fallback == (self.default_route,):
                    self._fallback = compiled
            elif host.startswith("*."):
                self._suffixes.setdefault(host[1:], compiled)
            else:
                self._exact.setdefault(host, compiled)

    def route_of(self, request: Request, facts: Facts) -> Route:
        """The route for `request`; sets `facts.route_path`.

        Errors: Refusal, from the condition of a route.
        """
        routes = self._exact.get(request.host)
        if routes is None:
            routes = self._by_suffix(request.host) if self._suffixes else self._fallback
        path = request.path
        for route in routes:
            prefix = route.prefix
            if not prefix:
                if route.when is None or route.when(request, facts):
                    return route
                continue
            if path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in ("", "/"):
                if route.when is not None and not route.when(request, facts):
                    continue
                facts.route_path = prefix
                return route
        return self.default_route

    def _by_suffix(self, host: str) -> tuple[Route, ...]:
        dot = host.find(".")
        while dot >= 0:
            routes = self._suffixes.get(host[dot:])
            if routes is not None:
                return routes
            dot = host.find(".", dot + 1)
        return self._fallback


def compile_sites(config: Config, features: Sequence[Feature], context: BuildContext) -> CompiledSites:
    """Build every feature of every route.

    Errors: ConfigError from a builder.
    """
    by_name = {feature.name: feature for feature in features}
    sites = CompiledSites(config.server.limits, context.events)
    for site in config.sites:
        own = _own_stages(site)
        # A condition that asks for more than the head may choose another route for the same head.
        repeatable = not own and all(route.when is None or depends_on_head_only(route.when) for route in site.routes)
        routes = [_compile_route(site, route, by_name, context, own, repeatable=repeatable) for route in site.routes]
        if all(route.prefix for route in routes):
            routes.append(Route("/", (*_site_log(site, by_name, context), *own), _nothing_here))
        sites.add(site.hosts, routes)
    return sites


def _site_log(site: SiteConfig, by_name: dict[str, Feature], context: BuildContext) -> Sequence[Stage]:
    """What puts requests for paths that no route has into the site's log, where it has one."""
    items = (item for route in site.routes for item in route.features)
    own = next((item for item in items if item.name == LOG and item.where == f"{site.where}.{LOG}"), None)
    context.first = []
    if own is not None and LOG in by_name:
        context.where = own.where
        _build(own, by_name, context)
    return context.first


def _own_stages(site: SiteConfig) -> tuple[Stage, ...]:
    """Those that no feature has switched on, before those that one has."""
    stages: list[Stage] = []
    if site.trusted_proxies:
        stages.append(_client_address(TrustedProxies(parse_networks(site.trusted_proxies))))
    rules = site.client_certificates
    if rules is not None:
        stages.append(client_identity(site.where, rules.user_from, dict(rules.users)))
    return tuple(stages)


def _client_address(trusted: TrustedProxies) -> Stage:
    def client_address(request: Request, facts: Facts) -> None:
        facts.client_address = trusted.chain(request)[0]

    return client_address


def _compile_route(
    site: SiteConfig,
    route: RouteConfig,
    by_name: dict[str, Feature],
    context: BuildContext,
    own: tuple[Stage, ...],
    *,
    repeatable: bool,
) -> Route:
    context.base = site.base
    context.route_path = route.path
    below = route.path.rstrip("/") + "/"
    context.inner_routes = tuple(one.path for one in site.routes if one.path.startswith(below) and one.path != below)
    context.repeatable = repeatable and all(
        item.kind == "handler" or by_name[item.name].is_repeatable(item.settings) for item in route.features
    )
    context.upgrades, context.error_handlers = False, None
    context.first, context.stages, context.filters, context.around = [], [], [], []
    context.guards = []
    context.by_user = []
    built: dict[FeatureKind, list[Any]] = {"stage": [], "handler": [], "filter": []}
    user_known = 0
    for item in route.features:
        context.where = item.where
        made = _build(item, by_name, context)
        if made is not None:
            built[item.kind].append(made)
        if by_name[item.name].finds_user:
            user_known = len(built["stage"])
    built["stage"][user_known:user_known] = context.by_user
    handler = built["handler"][0] if built["handler"] else _nothing_here
    bare = handler
    for wrap in context.around:
        handler = wrap(handler)
    context.where = route.where
    when = context.condition(route.when, "when")
    if when is not None and own:
        when = _informed(when, own)
    stages, filters = (*context.first, *own, *context.stages, *built["stage"]), (*context.filters, *built["filter"])
    made = Route(route.path, stages, handler, filters, upgrades=context.upgrades, when=when)
    made.bare_handler, made.error_handlers = bare, context.error_handlers
    return made


def _informed(when: Test, own: tuple[Stage, ...]) -> Test:
    """`when`, asked after the stages that find out who the client is."""

    def informed(request: Request, facts: Facts) -> bool:
        for stage in own:
            stage(request, facts)
        return when(request, facts)

    return informed


def _build(item: FeatureConfig, by_name: dict[str, Feature], context: BuildContext) -> Any:
    return by_name[item.name].build(item.settings, context)
