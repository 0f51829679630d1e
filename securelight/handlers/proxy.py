"""Answers requests by a server behind us: a reverse proxy.

Owns the settings and what is built of them. One request is in proxy_call, which server gets it in proxy_route, what its
fields become in proxy_fields and forwarded; connections, balance and health are in the folder `upstream`.

WebSockets and other upgrades are in proxy_upgrade; unless they are allowed, they are answered as ordinary requests.

Refused: CONNECT, TRACE, and being an open proxy: the servers are those of the configuration, never one that a client
names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from securelight.handlers.proxy_call import ProxyCall
from securelight.handlers.proxy_direct import DIRECT_METHODS, DirectProxy
from securelight.handlers.proxy_fields import HOP_BY_HOP, PLACEHOLDER, VALUES, RequestFields
from securelight.handlers.proxy_greeting import Kind as GreetingKind, greeting_faults, greeting_of, own_greeting
from securelight.handlers.proxy_route import ProxyRoute
from securelight.handlers.proxy_settings import (
    ProxyConnections,
    ProxyFields,
    ProxyTimeouts,
    ProxyTls,
)
from securelight.handlers.proxy_upgrade import WEBSOCKET, ProxyUpgrade, ProxyUpgrades, upgrade_faults
from securelight.handlers.sendfile import SendfileConfig, faults as sendfile_faults, make_sendfile
from securelight.handlers.upstream_settings import (
    HOST,
    BalanceConfig,
    balance_faults,
    check_rules,
    health_rules,
    key_of,
    reporter,
    sticky_cookie,
)
from securelight.model.errors import CertificateError, ConfigError, Refusal
from securelight.model.field_syntax import is_field_name, is_field_value
from securelight.model.forwarded import ForwardingFields, TrustedProxies, parse_networks
from securelight.pipeline.compile import BuildContext, Feature
from securelight.pipeline.stage import Deferred, DirectlyDeferred
from securelight.tls.upstream import upstream_context
from securelight.upstream.address import Address, parse_address
from securelight.upstream.balance import BALANCERS
from securelight.upstream.endpoint import ConnectionRules, Endpoint
from securelight.upstream.service import UpstreamService
from securelight.upstream.spool import SpoolConfig, SpoolRoom, spool_faults

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from securelight.model.request import Facts, Request
    from securelight.pipeline.exchange import Exchange
    from securelight.pipeline.stage import Handler, Responded

ALLOWED_METHODS = b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
"""What 405 names; the server behind may know more, and is asked."""


class ProxyConfig(BalanceConfig, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`proxy`: servers behind this one."""

    upstreams: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=256)]
    """The servers: `http://127.0.0.1:9000`, `https://name`, `h2c://name:port`, `h2://name`, `unix:/path/of/socket`."""
    host: str = "keep"
    """The Host field: `keep` what the client asked for, `upstream` for the server's own address, or a name."""
    strip_prefix: bool = False
    """Take the route's path off the front of what is asked for; X-Forwarded-Prefix then names it."""
    rewrite_location: bool = True
    """Turn a redirect to the server's own address into one to ours."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses and networks of proxies in front of us whose X-Forwarded-For and Forwarded are believed."""
    forwarded: Literal["x", "rfc7239", "both", "off"] = "x"
    """How the server is told who asks: X-Forwarded-For, -Proto and -Host, or Forwarded (RFC 7239)."""
    send_proxy_protocol: GreetingKind = "off"
    """Begin connections with a PROXY protocol header that names the client. Each then serves one request."""
    timeouts: ProxyTimeouts = ProxyTimeouts()
    connections: ProxyConnections = ProxyConnections()
    tls: ProxyTls = ProxyTls()
    fields: ProxyFields = ProxyFields()
    upgrade: ProxyUpgrade = ProxyUpgrade()
    sendfile: SendfileConfig = SendfileConfig()
    spool: SpoolConfig = SpoolConfig()


def check(settings: ProxyConfig, base: Path) -> Sequence[str]:
    """What is wrong with the settings, besides their types."""
    faults: list[str] = []
    addresses = _addresses(settings, faults)
    faults += balance_faults(settings, settings.upstreams, base)
    if not HOST.fullmatch(settings.host):
        faults.append(f"host {settings.host!r} is not 'keep', 'upstream' or a host name")
    try:
        parse_networks(settings.trusted_proxies)
    except ValueError as error:
        faults.append(f"trusted_proxies: {error}")
    faults += _field_faults(settings.fields)
    faults += upgrade_faults(settings.upgrade, settings.upstreams)
    faults += _tls_faults(settings, addresses, base)
    faults += sendfile_faults(settings.sendfile, base)
    faults += spool_faults(settings.spool, base)
    faults += greeting_faults(settings.send_proxy_protocol, settings.upstreams)
    return faults


def _addresses(settings: ProxyConfig, faults: list[str]) -> list[Address]:
    addresses = []
    for url in settings.upstreams:
        try:
            addresses.append(parse_address(url))
        except ValueError as error:
            faults.append(f"upstreams: {error}")
    return addresses


def _field_faults(fields: ProxyFields) -> list[str]:
    faults = []
    for name in (*fields.set, *fields.add, *fields.remove):
        lower = name.lower().encode("utf-8", "replace")
        if not is_field_name(name):
            faults.append(f"fields: {name!r} is not a field name")
        elif lower == b"host":
            faults.append("fields: set Host by the key host, beside fields")
        elif lower in HOP_BY_HOP:
            faults.append(f"fields: {name} is written by the proxy itself")
    for name, value in (*fields.set.items(), *fields.add.items()):
        if not is_field_value(value):
            faults.append(f"fields: the value of {name} must be visible ASCII without spaces around it")
        faults += [
            f"fields: {match[0]} stands for nothing; there are {', '.join(sorted(VALUES))}"
            for match in PLACEHOLDER.finditer(value)
            if match[1] not in VALUES
        ]
    return faults


def _tls_faults(settings: ProxyConfig, addresses: Sequence[Address], base: Path) -> list[str]:
    tls = settings.tls
    if not any(address.scheme in ("https", "h2") for address in addresses):
        return ["tls is for https:// and h2:// upstreams"] if tls != ProxyTls() else []
    faults = []
    if tls.key and not tls.certificate:
        faults.append("tls.key is of use with tls.certificate only")
    if tls.ca and not tls.verify:
        faults.append("tls.ca is of no use with tls.verify = false")
    try:
        _context(settings, base)
    except CertificateError as error:
        faults.append(f"tls: {error}")
    return faults


def _context(settings: ProxyConfig, base: Path) -> ssl.SSLContext:
    tls = settings.tls
    return upstream_context(
        ca=base / tls.ca if tls.ca else None,
        certificate=base / tls.certificate if tls.certificate else None,
        key=base / tls.key if tls.key else None,
        verify=tls.verify,
        alpn=("h2",) if any(url.startswith("h2:") for url in settings.upstreams) else ("http/1.1",),
    )


def build(settings: ProxyConfig, context: BuildContext) -> Handler:
    """The handler; its connections and checks are one of the worker's services.

    Errors: ConfigError for what `check` reports.
    """
    faults = check(settings, context.base)
    if faults:
        raise ConfigError(context.where, "; ".join(faults))
    trusted = TrustedProxies(parse_networks(settings.trusted_proxies))
    forwarding = ForwardingFields(trusted, settings.forwarded)
    endpoints = _endpoints(settings, context)
    route = ProxyRoute(
        endpoints,
        BALANCERS[settings.balance](),
        key_of(settings, forwarding.client_address),
        fields=RequestFields(
            forwarding,
            "" if settings.host == "keep" else settings.host,
            set_fields=settings.fields.set,
            add_fields=settings.fields.add,
            remove_fields=settings.fields.remove,
        ),
        timeouts=settings.timeouts,
        retries=settings.retries,
        try_seconds=settings.try_seconds,
        prefix=context.route_path if settings.strip_prefix and context.route_path != "/" else "",
        rewrites_location=settings.rewrite_location,
        failure_statuses=settings.health.failure_statuses,
        sticky=sticky_cookie(settings, context.base, endpoints),
        events=context.events,
        sendfile=make_sendfile(settings.sendfile, context.base, context.limits, context.events),
        greeting=_greeting(settings, forwarding),
        spool=None if settings.spool.when == "never" else SpoolRoom(settings.spool, context.base),
    )
    context.services.append(UpstreamService(endpoints, check_rules(settings.health), settings.connections.idle_seconds))

    upgrades = ProxyUpgrades(route, settings.upgrade, context.limits) if settings.upgrade.protocols else None
    context.upgrades = WEBSOCKET.decode() in settings.upgrade.protocols

    direct = DirectProxy(route)
    directly = direct.usable

    async def run(exchange: Exchange) -> Responded:
        return await ProxyCall(route, exchange).run()

    def proxy(request: Request, _facts: Facts) -> Deferred:
        if request.method == "TRACE":  # its answer would show a script what only servers are to see
            raise Refusal(405, "The method is not allowed.", fields=((b"allow", ALLOWED_METHODS),))
        if upgrades is not None and b"upgrade" in request.headers and (upgrading := upgrades.of(request)) is not None:
            return Deferred(upgrading)
        if directly and not request.has_body and request.method in DIRECT_METHODS:
            return DirectlyDeferred(run, direct.begin)
        return Deferred(run)

    return proxy


def _endpoints(settings: ProxyConfig, context: BuildContext) -> list[Endpoint]:
    secure = any(url.startswith(("https:", "h2:")) for url in settings.upstreams)
    pool = settings.connections
    rules = ConnectionRules(
        connect_seconds=settings.timeouts.connect_seconds,
        maximum=pool.maximum,
        idle_maximum=pool.idle,
        idle_seconds=pool.idle_seconds,
        queue=pool.queue,
        queue_seconds=pool.queue_seconds,
        resolve_seconds=pool.resolve_seconds,
        tls=_context(settings, context.base) if secure else None,
        tls_name=settings.tls.name,
        greeting=own_greeting(settings.send_proxy_protocol),
    )
    health = health_rules(settings.health, len(settings.upstreams))
    return [
        Endpoint(
            parse_address(url),
            settings.weights.get(url, 1),
            rules,
            health,
            context.limits,
            reporter(context.events, url),
        )
        for url in settings.upstreams
    ]


def _greeting(settings: ProxyConfig, forwarding: ForwardingFields) -> Callable[[Request, Facts], bytes] | None:
    kind = settings.send_proxy_protocol
    return None if kind == "off" else lambda request, facts: greeting_of(kind, forwarding, request, facts)


FEATURE = Feature(name="proxy", kind="handler", config_class=ProxyConfig, build=build, check=check)
